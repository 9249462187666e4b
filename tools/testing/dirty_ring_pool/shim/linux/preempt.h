/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A section with preemption off is an RCU read side critical section, as in the
 * kernel.  Each thread calls shim_thread_begin() before its first section and
 * shim_thread_end() after the last one.
 */
#ifndef SHIM_PREEMPT_H
#define SHIM_PREEMPT_H

#include <linux/export.h>
#include <linux/types.h>

#ifdef SHIM_SCHED

void preempt_disable(void);
void preempt_enable(void);
void synchronize_rcu(void);

#else

#if !defined(_LGPL_SOURCE) && !defined(__SANITIZE_THREAD__)
#define _LGPL_SOURCE	/* inline, but not seen by the thread sanitizer */
#endif
#include <urcu/urcu-memb.h>
/* Ours use the access macros. */
#undef rcu_dereference
#undef rcu_assign_pointer
#undef synchronize_rcu

static inline void shim_thread_begin(void)
{
	urcu_memb_register_thread();
}

static inline void shim_thread_end(void)
{
	urcu_memb_unregister_thread();
}

#ifdef __SANITIZE_THREAD__
/* liburcu is not instrumented: annotate what a grace period waits for. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
extern char shim_grace_period;
#define shim_rcu_acquire()	__tsan_acquire(&shim_grace_period)
#define shim_rcu_release()	__tsan_release(&shim_grace_period)
#else
#define shim_rcu_acquire()	do { } while (0)
#define shim_rcu_release()	do { } while (0)
#endif

static __always_inline void preempt_disable(void)
{
	urcu_memb_read_lock();
}

static __always_inline void preempt_enable(void)
{
	shim_rcu_release();
	urcu_memb_read_unlock();
}

static inline void synchronize_rcu(void)
{
	urcu_memb_synchronize_rcu();
	shim_rcu_acquire();
}

#endif

#endif
