/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The threads of dirty_pool_oracle, and a watchdog that sees when one hangs.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_WORKERS_H
#define SELFTEST_KVM_DIRTY_POOL_WORKERS_H

#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include <linux/compiler.h>

#include "test_util.h"

#define MAX_WORKERS	20

struct worker {
	pthread_t thread;
	void (*loop)(struct worker *w);		/* until @stop */
	void (*kick)(struct worker *w);		/* make it look at @stop; or NULL */
	const char *kind, *what;
	unsigned int id;
	uint64_t *progress, seen, loops, rng;
	time_t since;
	bool stop, live, signals;
	void *data;				/* kept from one thread to the next */
};

/* The last one is the first thread's. */
extern struct worker workers[MAX_WORKERS + 1];
extern __thread struct worker *me;

/* What this thread waits for, for the watchdog to report. */
#define AT(text)	WRITE_ONCE(me->what, text)
#define until_stopped() \
	for (; !READ_ONCE(me->stop); WRITE_ONCE(me->loops, me->loops + 1))

static inline uint64_t xorshift(uint64_t *state)
{
	uint64_t r = *state;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	return *state = r;
}

static inline uint64_t rnd(uint64_t n)
{
	return (xorshift(&me->rng) >> 11) % n;
}

static inline void nap(unsigned int us)
{
	AT("sleep");
	usleep(us);
}

/* @report: what else to print when a thread hangs */
void workers_init(void (*report)(void));
/* @progress has to move while the thread lives; NULL: it counts its loops. */
struct worker *worker_spawn(const char *kind, unsigned int id,
			    void (*loop)(struct worker *w), uint64_t *progress);
void worker_join(struct worker *w);
/* All that run this loop */
void workers_join(void (*loop)(struct worker *w));
/* A loop: signals the others, all the time. */
void worker_signal_loop(struct worker *w);

#endif /* SELFTEST_KVM_DIRTY_POOL_WORKERS_H */
