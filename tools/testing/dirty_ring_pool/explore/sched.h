/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A scheduler that decides at every access to shared memory which thread does
 * the next one.  Threads are contexts of one real thread, so each schedule can
 * be had again.  Memory is sequentially consistent in here; what weaker orders
 * do is the matter of litmus/.
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

/* Every interleaving; with @bound >= 0, those of at most so many preemptions. */
bool sched_explore(const struct sched_case *c, int bound, u64 max,
		   void (*setup)(void), void (*check)(void),
		   struct sched_stats *stats);
/* PCT: random priorities, changed at @depth random steps. */
bool sched_random(const struct sched_case *c, u32 seed, u64 schedules,
		  u32 depth, void (*setup)(void), void (*check)(void),
		  struct sched_stats *stats);
/*
 * Thread 0 runs alone until its step @stop within sched_watch(true..false) and
 * then never again; the others in random turns.  Returns false if thread 0 had
 * no such step.
 */
bool sched_stop(const struct sched_case *c, u32 stop, u32 seed,
		void (*setup)(void), void (*check)(void));
/* A schedule as printed by a failure. */
bool sched_replay(const struct sched_case *c, const char *schedule,
		  void (*setup)(void), void (*check)(void));

void sched_watch(bool on);
void sched_fail(const char *fmt, ...);
bool sched_failed(void);
const char *sched_schedule(void);

#endif
