// SPDX-License-Identifier: GPL-2.0
/* Threads that work on one tracker. */
#include <sched.h>
#include "crew.h"

void crew_run(struct crew *crew, void *(*fn)(void *member))
{
	int i;

	atomic_set(&crew->arrived, 0);
	for (i = 0; i < crew->nr; i++) {
		crew->member[i] = (struct member){ .crew = crew, .id = i };
		pthread_create(&crew->member[i].thread, NULL, fn,
			       &crew->member[i]);
	}
}

void crew_join(struct crew *crew)
{
	int i;

	for (i = 0; i < crew->nr; i++)
		pthread_join(crew->member[i].thread, NULL);
}

void crew_meet(struct crew *crew, int count)
{
	int spins = 0;

	atomic_fetch_inc(&crew->arrived);
	while (atomic_read_acquire(&crew->arrived) < count * crew->nr) {
		if (bench_cpus < crew->nr || ++spins > 10000)
			sched_yield();
		cpu_relax();
	}
}
