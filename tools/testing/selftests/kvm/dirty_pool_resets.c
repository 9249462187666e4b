// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resets that signals interrupt, and that run in parallel.
 */
#include <signal.h>

#include "dirty_pool_test.h"

static enum { SIGNALS_OFF, SIGNALS_ON, SIGNALS_END } signals;

static void *signaller(void *data)
{
	pthread_t victim = *(pthread_t *)data;
	int i = 0;

	while (READ_ONCE(signals) != SIGNALS_END) {
		if (READ_ONCE(signals) == SIGNALS_ON)
			pthread_kill(victim, SIGUSR1);
		else
			usleep(1000);
		/* Let the victim make progress. */
		if (++i % 4 == 0)
			sched_yield();
	}
	return NULL;
}

/*
 * A client resets only once what it has harvested: no signal that it handles may
 * make a reset stop early.
 */
static void test_reset_signal(int unused)
{
	struct sigaction sa = { .sa_handler = nop_signal };
	pthread_t self = pthread_self(), thread;
	uint32_t round, i, n[2];
	struct env e = {};
	int ret;

	/* Without SA_RESTART, an interrupted call fails. */
	sigaction(SIGUSR1, &sa, NULL);
	env_init_entries(&e, 2, 0, 4 * ring_entries);
	env_set_writes(&e, 300);
	pthread_create(&thread, NULL, signaller, &self);

	for (round = 0; round < scale(20, 8); round++) {
		step("round %u: fill the rings", round);
		for (i = 0; i < 10; i++)
			__vm_mark_dirty(e.vm, FIRST_SLOT, env_random(&e, 500), 100,
					NULL);
		/* Until their first exit, as nobody drains the rings. */
		WRITE_ONCE(e.quit, true);
		env_start_vcpus(&e);
		env_join_vcpus(&e);
		WRITE_ONCE(e.quit, false);
		for (i = 0; i < 2; i++)
			n[i] = env_harvest(&e, i, UINT_MAX);

		step("round %u: reset", round);
		WRITE_ONCE(signals, SIGNALS_ON);
		usleep(1000);
		if (round % 2) {
			ret = __vm_ioctl(e.vm, KVM_RESET_DIRTY_RINGS, NULL);
			TEST_ASSERT(ret == n[0] + n[1],
				    "Reset of %u entries returned %d, errno %d",
				    n[0] + n[1], ret, errno);
		} else {
			for (i = 0; i < 2; i++) {
				ret = __vm_reset_dirty_ring(e.vm, i);
				TEST_ASSERT(ret == n[i],
					    "Reset of %u entries returned %d, errno %d",
					    n[i], ret, errno);
			}
		}
		WRITE_ONCE(signals, SIGNALS_OFF);
		env_get_state(&e);
		TEST_ASSERT(!e.rings[0].used && !e.rings[1].used,
			    "%u and %u entries are left", e.rings[0].used,
			    e.rings[1].used);
		env_note_pages(&e, &e.pages, n[0] + n[1]);
	}
	WRITE_ONCE(signals, SIGNALS_END);
	pthread_join(thread, NULL);
	env_fini(&e);
}

/*
 * Another thread's call may reset this thread's entries.  Still, the next write
 * to their pages must be reported when this thread's call has returned.
 */
static void *reset_worker(void *data)
{
	struct thread_arg *arg = data;
	struct guest_random_state rng = new_guest_random_state(env_opt.seed + arg->i);
	struct env *e = arg->e;
	struct pages pages;

	env_pages_init(&pages);
	while (atomic_read(&e->running)) {
		int ring = guest_random_u32(&rng) % e->nr_vcpus;
		uint32_t max = 1 + guest_random_u32(&rng) % 50;

		env_harvest_locked(e, ring, max, env_list_gfn, &pages);
		if (!pages.entries)
			sched_yield();
		else if (guest_random_u32(&rng) % 4)
			env_note_pages(e, &pages, vm_reset_dirty_ring(e->vm, ring));
		else
			env_note_pages(e, &pages, vm_reset_dirty_rings(e->vm));
	}
	free(pages.page);
	return NULL;
}

static void test_reset_parallel(int nr_vcpus)
{
	struct thread_arg args[3];
	pthread_t threads[3];
	struct env e = {};
	int i;

	env_init(&e, nr_vcpus, 0);
	env_set_writes(&e, scale(4000, 1200) / nr_vcpus);
	env_start_vcpus(&e);
	for (i = 0; i < ARRAY_SIZE(threads); i++) {
		args[i].e = &e;
		args[i].i = i;
		pthread_create(&threads[i], NULL, reset_worker, &args[i]);
	}
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	env_join_vcpus(&e);
	env_fini(&e);
}

static pthread_barrier_t reset_start;

static void *reset_ring_worker(void *data)
{
	struct thread_arg *arg = data;
	uintptr_t n;

	pthread_barrier_wait(&reset_start);
	n = vm_reset_dirty_ring(arg->e->vm, arg->i);
	return (void *)n;
}

/* Two threads reset the same ring at once: each entry is reset once. */
static void test_reset_same_ring(int unused)
{
	struct thread_arg arg = { .i = 0 };
	uint32_t round, n, sum;
	pthread_t threads[2];
	struct env e = {};
	void *reset;
	int i;

	env_init_entries(&e, 1, 0, max(ring_entries, 1024u));
	pthread_barrier_init(&reset_start, NULL, ARRAY_SIZE(threads));
	arg.e = &e;
	for (round = 0; round < 20; round++) {
		step("round %u", round);
		env_mark_all(&e);
		n = env_harvest(&e, 0, UINT_MAX);
		for (i = 0; i < ARRAY_SIZE(threads); i++)
			pthread_create(&threads[i], NULL, reset_ring_worker, &arg);
		for (sum = 0, i = 0; i < ARRAY_SIZE(threads); i++) {
			pthread_join(threads[i], &reset);
			sum += (uintptr_t)reset;
		}
		TEST_ASSERT(sum == n, "%u entries were reset of %u harvested", sum, n);
		env_note_pages(&e, &e.pages, sum);
	}
	env_fini(&e);
}

const struct test reset_tests[] = {
	{ "reset_signal",	test_reset_signal },
	{ "reset_parallel",	test_reset_parallel,	4 },
	{ "reset_same_ring",	test_reset_same_ring },
	{}
};
