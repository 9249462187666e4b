// SPDX-License-Identifier: GPL-2.0
/* What the measurements share. */
#include <sched.h>
#include "measure.h"

int bench_cpus;
unsigned long bench_slices;
unsigned long bench_disturbed;

void measure_pin(int cpu)
{
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	for (i = 0; i < bench_cpus; i++) {
		if (cpu < 0 || i == cpu % bench_cpus)
			CPU_SET(i, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}
