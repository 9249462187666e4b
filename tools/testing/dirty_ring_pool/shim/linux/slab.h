/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_SLAB_H
#define SHIM_SLAB_H

#include <stdlib.h>
#include <string.h>
#include <linux/cache.h>

#define GFP_KERNEL		0
#define GFP_KERNEL_ACCOUNT	0

/* The allocation with this number fails, 0: none does. */
extern unsigned long shim_alloc_fail;

/* Aligned to a cache line, like larger allocations in the kernel. */
static inline void *kzalloc(size_t size, int gfp)
{
	void *p;

	if (shim_alloc_fail && !--shim_alloc_fail)
		return NULL;

	size = (size + SMP_CACHE_BYTES - 1) & -(size_t)SMP_CACHE_BYTES;
	p = aligned_alloc(SMP_CACHE_BYTES, size);
	return p ? memset(p, 0, size) : p;
}

#define kvcalloc(n, size, gfp)	kzalloc((size_t)(n) * (size), gfp)
#define kfree(p)		free((void *)(p))
#define kvfree(p)		kfree(p)

#endif
