/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The harness' hooks do not tell plain stores from locked instructions, which differ
 * most in cost.  Name the stores here and in atomic.h.  Any other write is locked.
 */
#ifndef VIRTUAL_COMPILER_H
#define VIRTUAL_COMPILER_H

#include_next <linux/compiler.h>

#define SCHED_STORE	((enum sched_access)(SCHED_SYNC + 1))

#undef WRITE_ONCE
#define WRITE_ONCE(x, val) do {					\
	typeof(x) *shim_to = &(x);				\
								\
	sched_point(shim_to, SCHED_STORE);			\
	__atomic_store_n(shim_to, (val), __ATOMIC_RELAXED);	\
} while (0)

#undef smp_store_release	/* a barrier by name only: no other CPU is real */
#define smp_store_release(p, val)	WRITE_ONCE(*(p), val)

void virtual_fence(void);
#undef smp_mb		/* waits for stores, as a locked instruction */
#define smp_mb()	virtual_fence()

#endif
