/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UPSTREAM_VMALLOC_H
#define UPSTREAM_VMALLOC_H

#include <linux/slab.h>

#define vzalloc(size)		kzalloc(size, GFP_KERNEL)
#define vfree(p)		kvfree(p)
#define vmalloc_to_page(p)	((struct page *)(p))

#endif
