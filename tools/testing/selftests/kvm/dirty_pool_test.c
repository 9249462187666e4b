// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM dirty ring pool test
 */
#include "dirty_pool_util.h"

int main(void)
{
	TEST_REQUIRE(dirty_pool_max_size());
	return 0;
}
