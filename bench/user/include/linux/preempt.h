/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Preemption costs what it does in the kernel: an increment of a per-CPU
 * variable, here a thread's.  The harness uses liburcu's read side, which costs
 * more.  No policy is switched while threads run, so there is no grace period to
 * wait for.
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
