/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_ALIGN_H
#define SHIM_ALIGN_H

/* To a power of two. */
#define ALIGN(x, a)	(((x) + ((typeof(x))(a) - 1)) & ~((typeof(x))(a) - 1))

#endif
