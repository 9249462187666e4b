/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_BITMAP_H
#define SHIM_BITMAP_H

#include <linux/bitops.h>
#include <linux/slab.h>

#define bitmap_zalloc(n, gfp)	\
	((unsigned long *)kvcalloc(BITS_TO_LONGS(n), sizeof(long), gfp))
#define bitmap_free(map)	kfree(map)

#endif
