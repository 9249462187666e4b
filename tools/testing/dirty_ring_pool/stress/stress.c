// SPDX-License-Identifier: GPL-2.0
/*
 * Stress test: real threads, and a checker that knows every mark.
 *
 * vCPU threads join the pool with a ring each while others run, pass the gate,
 * and mark pages.  Further threads mark pages for the VM, harvest and reset rings
 * in parallel, and switch the policy.  Every mark is unique: at the end each one
 * was harvested and protected exactly once, and nothing else was.
 *
 * In a strict run vCPUs obey the gate, and marks of the VM do not use reserves:
 * no mark may be lost.  In a lossy run nobody waits at the gate, and signal
 * handlers mark pages as interrupts do: each mark was harvested or counted as
 * lost.
 *
 *   stress [SEED [MILLISECONDS]]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "harness.h"

#define MAX_USERS	128		/* from 64 on: the VM's threads */
#define MARKS		131072	/* at most, of each user */
#define IRQ		MAX_USERS	/* + user: the slot of its signal handler */

static const struct {
	u32 vcpus, vms, drainers;
	u32 size, rsvd;
	bool lossy;
} runs[] = {
	{ 1,	1,	1,	16,	4,	false },
	{ 2,	0,	1,	16,	4,	false },
	{ 3,	2,	2,	32,	8,	false },
	{ 8,	4,	3,	64,	16,	false },
	{ 16,	0,	2,	256,	64,	false },
	{ 48,	12,	4,	128,	32,	false },
	{ 64,	0,	4,	32,	8,	false },
	{ 1,	3,	1,	16,	4,	true },
	{ 4,	4,	2,	16,	4,	true },
	{ 24,	40,	4,	64,	16,	true },
};

static struct vm vm;
static u32 run, seed, start;
static unsigned char *seen, *protected;
static u32 next[2 * MAX_USERS];
static int stop, producers, errors, go, ready;
static pthread_mutex_t add_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t fetch_lock[VM_MAX_RINGS];
static pthread_t threads[MAX_USERS];

static __thread u32 me;
static __thread int producing;

static u32 random_of(u32 *state, u32 n)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state % n;
}

static void complain(const char *what, u32 a, u64 b)
{
	if (__atomic_fetch_add(&errors, 1, __ATOMIC_RELAXED) < 5)
		printf("# seed %u run %u: %s: %u %llu\n", seed, run, what, a,
		       (unsigned long long)b);
}

static void note(unsigned char *map, u32 slot, u64 offset, const char *what)
{
	if (slot >= 2 * MAX_USERS || offset >= MARKS)
		complain("invented", slot, offset);
	else if (__atomic_fetch_add(&map[slot * MARKS + offset], 1,
				    __ATOMIC_RELAXED))
		complain(what, slot, offset);
}

static void on_protect(struct vm *v, u32 slot, u64 offset)
{
	note(protected, slot, offset, "protected twice");
}

static void on_seen(void *arg, u32 ring, u32 slot, u64 offset)
{
	note(seen, slot, offset, "harvested twice");
}

static bool mark(u32 user, u32 nr, unsigned int flags)
{
	int id = user < VM_MAX_RINGS ? (int)user : -1;
	u64 done;

	if (next[user] + nr > MARKS)
		return false;
	done = vm_mark(&vm, id, user, next[user], nr, flags);
	if (done != nr && !(flags & KVM_DIRTY_POOL_NORESERVE))
		complain("fell short", user, done);
	next[user] += done;
	return done == nr;
}

/*
 * In a lossy run most marks should not be lost either.  After a loss, wait until
 * some rings were reset or some time has passed.
 */
static void let_drain(u32 *state, s64 *lost)
{
	s64 now = __atomic_load_n(&vm.pool.overflows.counter, __ATOMIC_RELAXED);
	int resets = __atomic_load_n(&vm.pool.resets.counter, __ATOMIC_RELAXED);
	u32 i;

	if (now == *lost)
		return;
	*lost = now;
	resets += random_of(state, runs[run].vcpus + runs[run].vms);
	for (i = 0; i < 30 && !__atomic_load_n(&stop, __ATOMIC_RELAXED) &&
	     resets - __atomic_load_n(&vm.pool.resets.counter,
				      __ATOMIC_RELAXED) >= 0; i++)
		usleep(100);
}

/* Like an interrupt that marks a page, possibly during a claim. */
static void on_signal(int sig)
{
	u32 slot = IRQ + me;

	if (!producing || next[slot] == MARKS)
		return;
	vm_mark(&vm, me < VM_MAX_RINGS ? (int)me : -1, slot, next[slot], 1,
		KVM_DIRTY_POOL_NOWAIT);
	next[slot]++;
}

/* No thread marks before all threads run, in particular those that drain. */
static void wait_for_go(void)
{
	__atomic_fetch_add(&ready, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void *vcpu(void *arg)
{
	s64 lost = 0;
	u32 state;
	u32 pause;

	me = (uintptr_t)arg;
	state = seed * 31 + me + 1;
	shim_thread_begin();
	wait_for_go();

	for (pause = random_of(&state, 20); pause; pause--)
		usleep(100);
	pthread_mutex_lock(&add_lock);
	vm_add_ring(&vm);
	pthread_mutex_unlock(&add_lock);

	producing = 1;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u32 stay = 1 + random_of(&state, 50);

		if (!runs[run].lossy &&
		    kvm_dirty_pool_gate(&vm.pool, &vm.user[me])) {
			sched_yield();
			continue;
		}
		/* Leave the guest soon after the use of a reserve. */
		while (stay-- && (runs[run].lossy || !vm.user[me].reserve)) {
			if (!mark(me, 1 + random_of(&state, runs[run].rsvd), 0))
				goto out;
			let_drain(&state, &lost);
		}
	}
out:
	producing = 0;
	__atomic_fetch_sub(&producers, 1, __ATOMIC_RELEASE);
	shim_thread_end();
	return NULL;
}

static void *vm_thread(void *arg)
{
	unsigned int flags = runs[run].lossy ? 0 : KVM_DIRTY_POOL_NORESERVE;
	u32 most = runs[run].lossy ? runs[run].size : 100;
	s64 lost = 0;
	u32 state;

	me = (uintptr_t)arg;
	state = seed * 37 + me + 1;
	shim_thread_begin();
	wait_for_go();
	producing = 1;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (next[me] + 100 > MARKS)
			break;
		if (!mark(me, 1 + random_of(&state, most), flags))
			sched_yield();
		let_drain(&state, &lost);
	}
	producing = 0;
	__atomic_fetch_sub(&producers, 1, __ATOMIC_RELEASE);
	shim_thread_end();
	return NULL;
}

static void *drainer(void *arg)
{
	u32 state = seed * 41 + (u32)(uintptr_t)arg + 1;

	shim_thread_begin();
	wait_for_go();
	while (__atomic_load_n(&producers, __ATOMIC_ACQUIRE)) {
		u32 nr = kvm_dirty_pool_nr_rings(&vm.pool), ring, max;
		char name[KVM_DIRTY_RING_POLICY_NAME_MAX];

		/* The switcher replaces the policy at the same time. */
		kvm_dirty_pool_get_policy(&vm.pool, name);
		if (!nr)
			continue;
		ring = random_of(&state, nr);
		max = random_of(&state, 4) ? ~0u : random_of(&state, 9);
		if (random_of(&state, 8)) {
			pthread_mutex_lock(&fetch_lock[ring]);
			vm_harvest(&vm, ring, max, on_seen, NULL);
			pthread_mutex_unlock(&fetch_lock[ring]);
		}
		if (random_of(&state, 8))
			vm_reset(&vm, random_of(&state, 4) ? ring :
				 random_of(&state, nr));
	}
	shim_thread_end();
	return NULL;
}

static void *switcher(void *arg)
{
	u32 state = seed * 43 + 1;

	shim_thread_begin();
	wait_for_go();
	while (__atomic_load_n(&producers, __ATOMIC_ACQUIRE)) {
		u32 next_policy = random_of(&state, nr_policies);

		kvm_dirty_pool_set_policy(&vm.pool, policies[next_policy]);
		usleep(random_of(&state, 2000));
	}
	shim_thread_end();
	return NULL;
}

/*
 * A run that loses nearly all marks shows little: a lossy run goes on until a
 * tenth of its marks was not lost, for up to half a minute.
 */
static bool enough(u64 passed, u32 milliseconds)
{
	if (passed < milliseconds)
		return false;
	if (!runs[run].lossy || passed > 30000)
		return true;
	return 8 * __atomic_load_n(&vm.protected, __ATOMIC_RELAXED) >
	       (u64)__atomic_load_n(&vm.pool.overflows.counter, __ATOMIC_RELAXED);
}

static void one_run(u32 milliseconds)
{
	u32 n_threads = runs[run].vcpus + runs[run].vms;
	u64 marked = 0, harvested = 0, lost, pushed = 0;
	pthread_t helpers[8];
	u32 i, k, slot, pesters = 0;
	struct timespec t0, t1;

	memset(next, 0, sizeof(next));
	memset(seen, 0, (size_t)2 * MAX_USERS * MARKS);
	memset(protected, 0, (size_t)2 * MAX_USERS * MARKS);
	stop = 0;
	go = 0;
	ready = 0;
	producers = n_threads;
	start = -40u + random_of(&seed, 80);
	vm_init(&vm, 0, runs[run].vcpus, runs[run].size, runs[run].rsvd,
		policies[run % nr_policies], start);
	vm.on_protect = on_protect;

	for (i = 0; i < runs[run].vcpus; i++)
		pthread_create(&threads[i], NULL, vcpu, (void *)(uintptr_t)i);
	for (i = 0; i < runs[run].vms; i++)
		pthread_create(&threads[runs[run].vcpus + i], NULL, vm_thread,
			       (void *)(uintptr_t)(VM_MAX_RINGS + i));
	for (k = 0; k < runs[run].drainers; k++)
		pthread_create(&helpers[k], NULL, drainer, (void *)(uintptr_t)k);
	pthread_create(&helpers[k], NULL, switcher, NULL);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < (int)(n_threads + k + 1))
		sched_yield();
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);

	clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		if (runs[run].lossy) {
			pthread_kill(threads[pesters++ % n_threads], SIGUSR1);
			usleep(20);
		} else {
			usleep(1000);
		}
		clock_gettime(CLOCK_MONOTONIC, &t1);
	} while (!enough((t1.tv_sec - t0.tv_sec) * 1000 +
			 (t1.tv_nsec - t0.tv_nsec) / 1000000, milliseconds));
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);

	for (i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i <= k; i++)
		pthread_join(helpers[i], NULL);

	for (i = 0; i < vm.pool.nr_rings; i++) {
		vm_harvest(&vm, i, ~0u, on_seen, NULL);
		vm_reset(&vm, i);
		if (vm_word(&vm, i) != KVM_DIRTY_POOL_FREE)
			complain("not FREE in the end", i, vm_word(&vm, i));
		if (kvm_dirty_pool_used(&vm.ring[i]))
			complain("not empty in the end", i, 0);
		if (!test_bit(i, vm.pool.avail))
			complain("not available in the end", i, 0);
		pushed += vm.ring[i].pushed;
	}
	if (vm.pool.nr_reserve.counter)
		complain("reserves left", vm.pool.nr_reserve.counter, 0);

	lost = vm.pool.overflows.counter;
	for (slot = 0; slot < 2 * MAX_USERS; slot++) {
		marked += next[slot];
		for (k = 0; k < MARKS; k++) {
			bool s = seen[slot * MARKS + k];

			if (s != protected[slot * MARKS + k])
				complain("harvested, not protected", slot, k);
			if (s && k >= next[slot])
				complain("invented", slot, k);
			if (!s && k < next[slot] && !runs[run].lossy)
				complain("lost", slot, k);
			harvested += s;
		}
	}
	if (harvested * 10 < marked)
		complain("hardly any mark was harvested", marked / 100, harvested);
	if (harvested + lost != marked)
		complain("marks unaccounted for", marked - harvested, lost);
	if (pushed != harvested)
		complain("pushed and harvested differ", pushed, harvested);
	if (lost && !runs[run].lossy)
		complain("lost in a strict run", 0, lost);
	if (!!lost != !!vm.pool.overflow.counter)
		complain("OVERFLOW and losses differ", 0, lost);

	printf("%sok %u stress: %u vCPUs, %u others, %u drainers, %s: ",
	       errors ? "not " : "", run + 1, runs[run].vcpus, runs[run].vms,
	       runs[run].drainers, runs[run].lossy ? "lossy" : "strict");
	printf("%llu marks, %lu parks, %lu reserves, %llu lost\n",
	       (unsigned long long)marked, vm.parks, vm.reserves,
	       (unsigned long long)lost);
	vm_exit(&vm);
}

int main(int argc, char **argv)
{
	u32 milliseconds = argc > 2 ? atoi(argv[2]) : 300;
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	u32 i;
	int bad = 0;

	/* A fixed default, so that a failure can be reproduced. */
	seed = argc > 1 && atoi(argv[1]) ? (u32)atoi(argv[1]) : 20191203;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# stress: seed %u, %u ms a run\n", seed, milliseconds);
	sigaction(SIGUSR1, &sa, NULL);
	for (i = 0; i < VM_MAX_RINGS; i++)
		pthread_mutex_init(&fetch_lock[i], NULL);
	seen = malloc((size_t)2 * MAX_USERS * MARKS);
	protected = malloc((size_t)2 * MAX_USERS * MARKS);
	if (!seen || !protected)
		return 1;
	shim_thread_begin();
	policies_init();
	for (run = 0; run < ARRAY_SIZE(runs); run++) {
		errors = 0;
		one_run(milliseconds);
		bad += errors;
	}
	printf("1..%u\n", run);
	shim_thread_end();
	free(seen);
	free(protected);
	return !!bad;
}
