/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler that decides at every access to shared memory which thread runs
 * next.  Threads are contexts of one real thread, so every schedule can be
 * repeated.  Memory is sequentially consistent here; litmus/ is about weaker
 * orders.
 */
#ifndef EXPLORE_SCHED_H
#define EXPLORE_SCHED_H

#include <linux/types.h>

#define SCHED_MAX	8

struct sched_case {
	const char *name;
	u32 threads;
	void (*body)(u32 me);
	bool rcu;		/* preempt_disable() and _enable() are points */
};

struct sched_stats {
	u64 schedules, steps, cut;
	u32 deepest;
};

/* All interleavings; with @bound >= 0 only those of at most @bound preemptions. */
bool sched_explore(const struct sched_case *c, int bound, u64 max,
		   void (*setup)(void), void (*check)(void),
		   struct sched_stats *stats);
/* PCT: random priorities that change at @depth random steps. */
bool sched_random(const struct sched_case *c, u32 seed, u64 schedules,
		  u32 depth, void (*setup)(void), void (*check)(void),
		  struct sched_stats *stats);
/*
 * Thread 0 runs alone up to its step @stop between sched_watch(true) and
 * sched_watch(false), and never again; then the others run in random turns.
 * Returns false if thread 0 had no such step.
 */
bool sched_stop(const struct sched_case *c, u32 stop, u32 seed,
		void (*setup)(void), void (*check)(void));
/* Repeat a schedule that a failure has printed. */
bool sched_replay(const struct sched_case *c, const char *schedule,
		  void (*setup)(void), void (*check)(void));

void sched_watch(bool on);
void sched_fail(const char *fmt, ...);
bool sched_failed(void);
const char *sched_schedule(void);

#endif
