/* SPDX-License-Identifier: GPL-2.0 */
/* Stores of atomic variables, see compiler.h. */
#ifndef VIRTUAL_ATOMIC_H
#define VIRTUAL_ATOMIC_H

#include_next <linux/atomic.h>

#define atomic_set(v, i)		WRITE_ONCE((v)->counter, i)
/* A barrier by name only, as smp_store_release(). */
#define atomic_set_release(v, i)	atomic_set(v, i)

#endif
