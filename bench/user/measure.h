/* SPDX-License-Identifier: GPL-2.0 */
/* The measurements and simulations, and what the measurements share. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdio.h>
#include <sys/resource.h>
#include "rival.h"

#define CHUNK		2048	/* pages marked between two drains */
#define TRIES		4	/* for a slice that is not disturbed */
#define MAX_ROUNDS	1024

/**
 * struct bench_options - how much is done
 * @out: where the results go
 * @rounds: repetitions of short slices, at most MAX_ROUNDS
 * @loops: repetitions of those that take tens of milliseconds
 * @quick: less of everything, just to see that it works
 */
struct bench_options {
	FILE *out;
	int rounds;
	int loops;
	bool quick;
};

/* CPUs of the machine; slices that were timed, and those timed again. */
extern int bench_cpus;
extern unsigned long bench_slices;
extern unsigned long bench_disturbed;

/* Was this thread preempted since the last call? */
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

/* Keep this thread on one CPU; @cpu < 0: on all. */
void measure_pin(int cpu);

/* One thread: what a mark costs, and its parts; callgrind's counts of both. */
void measure_mark(const struct bench_options *opt);
void measure_parts(const struct bench_options *opt);
void count_instructions(void);

/* ns to get a cache line from another CPU; bench_line: measure_pair()'s median. */
double measure_line(void);
extern double bench_line;

/* Several threads: contention, over-commitment, a device. */
void measure_pair(const struct bench_options *opt);
void measure_threads(const struct bench_options *opt);
void measure_device(const struct bench_options *opt);

/* What a claim costs as the number of rings grows. */
void measure_scale(const struct bench_options *opt);

/* Without a clock. */
void simulate_capacity(const struct bench_options *opt);
void simulate_drains(const struct bench_options *opt);
void simulate_twin(const struct bench_options *opt);
void simulate_memory(const struct bench_options *opt);

#endif
