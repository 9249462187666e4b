/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Preemption as the kernel counts it: one increment of a variable of the CPU,
 * here of the thread.  The harness has liburcu's read side instead, which
 * costs more than the kernel's does.  Nobody switches policies while the
 * benchmark's threads run, so there is no grace period to wait for.
 */
#ifndef BENCH_PREEMPT_H
#define BENCH_PREEMPT_H

#include <linux/export.h>
#include <linux/types.h>

extern __thread int bench_preempt_count;

static __always_inline void preempt_disable(void)
{
	bench_preempt_count++;
	barrier();
}

static __always_inline void preempt_enable(void)
{
	barrier();
	bench_preempt_count--;
}

static inline void synchronize_rcu(void)
{
}

#endif
