/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that work on one tracker. */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <pthread.h>
#include <linux/atomic.h>
#include "measure.h"

#define MAX_THREADS	64
#define ENTRIES		4096
#define SLICES		8
#define BUDGET		15	/* seconds; a busy machine gets fewer rounds */

/**
 * struct crew - threads that work on one tracker
 * @rival: of the tracker
 * @tracker: they mark pages in it
 * @nr: number of threads
 * @batch: of marks
 * @page: what they mark, CHUNK pages
 * @arrived: threads at the start of a slice
 * @slice: the current one, in measure_pair()
 * @stop: end of the run
 * @share: the device's part of all marks
 * @progress: marks of the vCPU
 * @drain: held by the thread that drains, as QEMU's lock is
 * @member: the threads
 */
struct crew {
	const struct bench_rival *rival;
	void *tracker;
	int nr;
	u32 batch;
	const u64 *page;
	atomic_t arrived;
	int slice ____cacheline_aligned_in_smp;
	bool stop;
	double share;
	u64 progress;
	pthread_mutex_t drain;
	struct member {
		struct crew *crew;
		pthread_t thread;
		int id;
		bool disturbed;
		double rate[SLICES];
		double begin;
		double end;
		u64 marked ____cacheline_aligned_in_smp;
		u64 exits;
	} member[MAX_THREADS];
};

void crew_run(struct crew *crew, void *(*fn)(void *member));
void crew_join(struct crew *crew);
/* Wait until all members have met @count times: they start a slice together. */
void crew_meet(struct crew *crew, int count);

#endif
