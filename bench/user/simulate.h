/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Simulations of capacity and drains.  No clock, no threads: simulated vCPUs
 * mark pages in the real trackers, the same pages in every run.
 *
 * Time passes in ticks.  In each tick one page is dirtied by a vCPU drawn by
 * the skew, unless that vCPU stands still.
 *
 * Userspace is QEMU's: a vCPU that exits harvests all rings under a lock, and
 * a reaper does so every period.  A harvest takes a fixed time and some for
 * each entry, and ends with the reset.
 */
#ifndef BENCH_SIMULATE_H
#define BENCH_SIMULATE_H

#include "measure.h"

#define SIM_PAGES	4096	/* distinct pages, dirtied in turn */
#define SIM_MAX_CPUS	2

struct skew {
	const char *name;
	double s;	/* of Zipf's law; 0: all alike; < 0: the first's share */
};

#define NR_SKEWS	4
extern const struct skew skews[NR_SKEWS];

/* For each vCPU, the probability that it or one before it marks. */
double *skew_table(const struct skew *skew, u32 nr);
u32 skew_pick(const double *table, u32 nr, u64 *seed);

const u64 *sim_pages(void);

/**
 * struct sim_setup - what is simulated; times in us
 * @nr: number of vCPUs
 * @entries: of a ring
 * @skew: who dirties the pages
 * @tick: between two pages
 * @period: of the reaper
 * @length: of the simulation
 * @fixed: of a harvest
 * @entry: of a harvest, for each entry
 * @swap: between two vCPUs on one CPU
 * @cpus: number of CPUs that the vCPUs share; 0: each has its own
 */
struct sim_setup {
	u32 nr;
	u32 entries;
	const struct skew *skew;
	double tick;
	double period;
	double length;
	double fixed;
	double entry;
	double swap;
	u32 cpus;
};

struct sim {
	const struct bench_rival *rival;
	const struct sim_setup *setup;
	void *tracker;
	struct bench_tracker *common;
	u32 nr;
	double now;		/* us */
	u32 running[SIM_MAX_CPUS];
	double turn_begin[SIM_MAX_CPUS];
	double turn_end[SIM_MAX_CPUS];
	u32 burst;
	/* Those who wait for the lock; @nr is the reaper. */
	u32 *queue;
	u64 head;
	u64 tail;
	bool *queued;
	bool active;
	u32 active_who;
	double active_end;
	double *since;		/* when a vCPU's exit began, or < 0 */
	/* Results */
	u64 marked;
	u64 missed;
	u64 exits;
	double still;
	u64 harvests;
	u64 harvested;
	u64 longest;
	u64 parks_before;
	u64 windows;
	u64 parks_in_windows;
	u32 herd;
	u32 herd_now;
	double window_end;
};

void sim_run(struct sim *sim, const struct bench_rival *rival,
	     const struct sim_setup *setup);

#endif
