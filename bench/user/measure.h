/* SPDX-License-Identifier: GPL-2.0 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include "rival.h"

#define CHUNK		2048	/* pages marked between two drains */
#define TRIES		4	/* for a slice that is not disturbed */

static inline double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Have so many seconds passed? */
static inline bool bench_late(double begin, double seconds)
{
	return bench_now() - begin > seconds * 1e9;
}

/* Was this thread thrown off its CPU since the last call? */
static inline bool measure_disturbed(void)
{
	static __thread long last = -1;
	struct rusage usage;
	bool disturbed;

	getrusage(RUSAGE_THREAD, &usage);
	disturbed = last >= 0 && usage.ru_nivcsw != last;
	last = usage.ru_nivcsw;
	return disturbed;
}

static inline void measure_pages(u64 *page, int nr, u64 seed)
{
	int i;

	for (i = 0; i < nr; i++)
		page[i] = bench_random(&seed) % BENCH_PAGES;
}

void measure_pin(int cpu);

#endif
