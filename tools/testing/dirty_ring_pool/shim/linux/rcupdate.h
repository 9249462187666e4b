/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_RCUPDATE_H
#define SHIM_RCUPDATE_H

#include <linux/lockdep.h>
#include <linux/preempt.h>

/*
 * Dependent loads are ordered anyway.  The acquire is for the thread sanitizer,
 * and costs nothing on x86.
 */
#define rcu_dereference_sched(p)	smp_load_acquire(&(p))
#define rcu_dereference_protected(p, c)	({ (void)(c); (p); })
#define rcu_assign_pointer(p, v)	smp_store_release(&(p), (v))

#endif
