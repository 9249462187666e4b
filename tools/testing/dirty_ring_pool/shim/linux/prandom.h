/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_PRANDOM_H
#define SHIM_PRANDOM_H

#include <linux/types.h>

static inline u32 next_pseudo_random32(u32 seed)
{
	return seed * 1664525 + 1013904223;
}

#endif
