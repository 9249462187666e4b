/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_MATH_H
#define SHIM_MATH_H

#include <linux/types.h>

/* Of a random @val, a number below @limit */
static inline u32 reciprocal_scale(u32 val, u32 limit)
{
	return (u64)val * limit >> 32;
}

#endif
