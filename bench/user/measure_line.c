// SPDX-License-Identifier: GPL-2.0
/* What it costs to get a cache line from another CPU. */
#include <pthread.h>
#include <sched.h>
#include <linux/atomic.h>
#include "measure.h"

#define TURNS		32	/* of each thread in a slice, short: few are disturbed */
#define SLICES		16	/* of which the fastest counts */

/*
 * Two threads increment a number by turns.  In each turn the one that waits gets the
 * line to read, and then to write.
 */
static void line_turns(atomic_t *ball, int from, int turns)
{
	int i, spins = 0;

	for (i = from; i < from + 2 * turns; i += 2) {
		while (atomic_read_acquire(ball) != i) {
			if (bench_cpus < 2 || ++spins > 100000)
				sched_yield();
		}
		atomic_set_release(ball, i + 1);
	}
}

static void *line_thread(void *ball)
{
	measure_pin(1);
	line_turns(ball, 1, (TURNS + 1) * SLICES);
	return NULL;
}

double measure_line(void)
{
	static atomic_t ball ____cacheline_aligned_in_smp;
	double best = 0;
	pthread_t other;
	int i;

	atomic_set(&ball, 0);
	measure_pin(0);
	pthread_create(&other, NULL, line_thread, &ball);
	for (i = 0; i < SLICES; i++) {
		int at = i * 2 * (TURNS + 1);
		double ns;

		/* The other one may have been away. */
		line_turns(&ball, at, 1);
		ns = bench_now();
		line_turns(&ball, at + 2, TURNS);
		ns = (bench_now() - ns) / (4 * TURNS);
		if (!i || ns < best)
			best = ns;
	}
	pthread_join(other, NULL);
	return best;
}
