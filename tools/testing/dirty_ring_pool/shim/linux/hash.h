/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_HASH_H
#define SHIM_HASH_H

#include <linux/types.h>

/* Fibonacci hashing: 2^32 / the golden ratio */
static inline u32 hash_32(u32 val, unsigned int bits)
{
	return val * 2654435769u >> (32 - bits);
}

#endif
