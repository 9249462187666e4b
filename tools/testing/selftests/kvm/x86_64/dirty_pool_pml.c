// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page modification log of Intel's CPUs.
 *
 * The CPU logs the first write to a page that is mapped and whose Dirty bit a
 * reset has cleared.  KVM sees the log, and pushes it, when the vCPU leaves the
 * guest: up to 512 entries, if nothing else makes it leave.
 */
#include <signal.h>

#include "dirty_pool_test.h"

#define PML_ENTRIES	512

static void need_pml(void)
{
	if (!host_cpu_is_intel || !get_kvm_intel_param_bool("pml"))
		skip("no page modification log");
}

/* Map all pages, and have them logged from here on. */
static void write_all(struct env *e)
{
	step("write all pages");
	env_set_guest(e, 0, guest_sequential);
	env_set_writes(e, NR_PAGES);
	while (env_run_once(e, 0))
		env_drain(e);
	env_check(e);
}

/* Force vCPUs out of the guest at once by a signal, as VMMs do. */
static void kick_vcpus(struct env *e)
{
	int i;

	WRITE_ONCE(e->quit, true);
	env_wake_vcpus(e);
	/* A signal that comes before KVM_RUN is lost. */
	while (atomic_read(&e->running)) {
		for (i = 0; i < e->nr_vcpus; i++)
			pthread_kill(e->threads[i], SIGUSR2);
		usleep(200);
	}
	env_join_vcpus(e);
	WRITE_ONCE(e->quit, false);
}

/* How many entries vCPU @i pushed until it left for userspace. */
static uint32_t run_and_count(struct env *e, int i, uint32_t *flags,
			      uint64_t *claims)
{
	uint64_t pushed;

	env_get_state(e);
	pushed = e->st.pushed;
	*claims = e->st.claims;
	*flags = env_run_to_full(e, i);
	env_get_state(e);
	*claims = e->st.claims - *claims;
	return e->st.pushed - pushed;
}

/* The host's tick may make a vCPU leave early: the test tries several times. */
#define PML_TRIES_MIN	3
#define PML_TRIES	50

/* With all rings drained, a vCPU that was kept at the gate passes it. */
static void pass_gate(struct env *e, int i)
{
	uint32_t flags;

	env_set_writes(e, 0);
	flags = env_run_once(e, i);
	TEST_ASSERT(!flags, "vCPU %d is stopped with all rings drained, flags 0x%x",
		    i, flags);
}

/* With all rings parked, a full log has to fit into a ring's reserve. */
static void test_pml_full(int unused)
{
	uint32_t i, n, soft, flags, total, full = 0, tries = 0;
	struct env e = {};
	uint64_t claims;

	need_pml();
	env_init(&e, 2, 0);
	soft = env_soft_limit(&e);
	TEST_ASSERT(ring_entries - soft >= PML_ENTRIES,
		    "A reserve of %u entries", ring_entries - soft);
	write_all(&e);
	env_set_guest(&e, 1, guest_sequential);

	while (full < 2 || tries < PML_TRIES_MIN) {
		step("try %u: park all rings", tries);
		TEST_ASSERT(tries++ < PML_TRIES, "The log was never full");
		total = env_mark_all(&e);
		for (i = 0; i < 2; i++) {
			flags = env_run_once(&e, i);
			TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED,
				    "vCPU %u did not exit for its parked ring, flags 0x%x",
				    i, flags);
		}

		full = 0;
		for (i = 0; i < 2; i++) {
			step("try %u: vCPU %u", tries, i);
			n = run_and_count(&e, i, &flags, &claims);
			TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_EXHAUSTED &&
				    e.st.reserve_claims,
				    "Flags 0x%x after %u pages with no ring FREE",
				    flags, n);
			TEST_ASSERT(n && n <= PML_ENTRIES,
				    "%u pages were pushed in one stay", n);
			/* The reserve of the vCPU's own ring is enough. */
			TEST_ASSERT(claims <= n / 64 + 2,
				    "%lu claims for %u pages", claims, n);
			env_expect_gated(&e, i, "after it used the reserve");
			total += n;
			full += n == PML_ENTRIES;
		}
		for (i = 0, n = 0; i < 2; i++)
			n += e.rings[i].used;
		TEST_ASSERT(n == total, "The rings hold %u entries of %u", n,
			    total);
		env_drain(&e);
		for (i = 0; i < 2; i++)
			pass_gate(&e, i);
		env_check(&e);
	}
	env_fini(&e);
}

/*
 * Several rings together have less room below their soft limits than the log has
 * entries, or just as much.  If it is more than one ring has, two are parked.
 */
static void pml_straddle(struct env *e, uint32_t room)
{
	uint32_t i, n, flags, soft, used, over, before, tries = 0;
	uint64_t claims, parks;

	soft = env_soft_limit(e);
	do {
		step("room for %u, try %u", room, tries);
		TEST_ASSERT(tries++ < PML_TRIES, "The log was never full");
		before = env_capacity(e) - room;
		TEST_ASSERT(__vm_mark_dirty(e->vm, FIRST_SLOT, 0, before,
					    NULL) == before,
			    "Can't mark %u pages, errno %d", before, errno);
		env_get_state(e);
		parks = e->st.parks;
		if (e->rings[0].state & KVM_DIRTY_RING_PARKED)
			env_run_once(e, 0);

		n = run_and_count(e, 0, &flags, &claims);
		parks = e->st.parks - parks;
		for (i = 0, used = 0, over = 0; i < e->st.nr_rings; i++) {
			used += e->rings[i].used;
			over += e->rings[i].used - min(soft, e->rings[i].used);
		}
		TEST_ASSERT(used == before + n, "The rings hold %u entries of %u",
			    used, before + n);
		TEST_ASSERT(over == n - min(n, room),
			    "%u entries in reserves, %u pushed in room for %u",
			    over, n, room);
		if (n == PML_ENTRIES) {
			TEST_ASSERT(env_rings_in_state(e, KVM_DIRTY_RING_PARKED) ==
				    e->st.nr_rings && parks >= (room > soft ? 2 : 1),
				    "%lu rings parked", parks);
			TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) &&
				    !(flags & KVM_DIRTY_RING_POOL_EXHAUSTED) == !over,
				    "Flags 0x%x, %u entries in reserves", flags,
				    over);
			TEST_ASSERT(claims <= n / 64 + e->st.nr_rings + 1,
				    "%lu claims for %u pages", claims, n);
		}
		env_check(e);
	} while (n != PML_ENTRIES || tries < PML_TRIES_MIN);
}

static void test_pml_straddle(int unused)
{
	struct env e = {};

	need_pml();
	env_init(&e, 4, 0);
	write_all(&e);
	pml_straddle(&e, PML_ENTRIES);
	pml_straddle(&e, PML_ENTRIES - 1);
	pml_straddle(&e, env_soft_limit(&e) + 1);
	pml_straddle(&e, 65);
	env_fini(&e);
}

/* A log may have pages of slots that are not logged, which take no room. */
static void test_pml_not_logged(int unused)
{
	struct env e = {};
	uint32_t flags;

	need_pml();
	env_init(&e, 2, 0);
	write_all(&e);
	vm_mem_region_set_flags(e.vm, FIRST_SLOT, 0);

	step("park all rings");
	while (__vm_mark_dirty(e.vm, FIRST_SLOT + 1, 0, 100, NULL) > 0)
		;
	flags = env_run_once(&e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED, "Flags 0x%x", flags);

	step("write pages that are not logged");
	env_set_writes(&e, slot_pages[0]);
	flags = env_run_once(&e, 0);
	env_get_state(&e);
	TEST_ASSERT(!flags && !e.st.reserve_claims,
		    "A vCPU that dirtied nothing was stopped, flags 0x%x, %llu reserve claims",
		    flags, e.st.reserve_claims);
	env_drain(&e);
	env_free(&e);
}

static uint64_t writes_done(struct env *e)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		sum += READ_ONCE(env_guest_vcpu(e, i)->written);
	return sum;
}

/* After these, the log has pages, unless the host's tick came just then. */
static uint64_t some_more_writes(struct env *e)
{
	return writes_done(e) + 1 + env_random(e, 400);
}

static uint64_t parked_exits(struct env *e)
{
	return READ_ONCE(e->parked[0]) + READ_ONCE(e->parked[1]);
}

/* A VMM that harvests kicks the vCPUs to have KVM push the logs. */
static void test_pml_kick(int unused)
{
	uint32_t i, round, rounds = scale(40, 12);
	uint64_t writes, parked;
	struct env e = {};

	need_pml();
	/* vCPUs do not fill rings of this size: only kicks make them leave. */
	env_init_entries(&e, 2, 0, 4 * ring_entries);
	write_all(&e);
	TEST_ASSERT(env_soft_limit(&e) > NR_PAGES, "Rings of %u entries",
		    env_soft_limit(&e));

	for (round = 0; round < rounds; round++) {
		step("round %u", round);
		env_set_writes(&e, UINT_MAX);
		env_start_vcpus(&e);
		for (i = 0; i < env_random(&e, 4); i++)
			env_harvest_some(&e);
		writes = some_more_writes(&e);
		wait_for(writes_done(&e) >= writes, "writes");
		if (round % 2) {
			/*
			 * Each parked ring kicks a vCPU, which does not enter
			 * again.  Both may kick the same one.
			 */
			parked = parked_exits(&e);
			WRITE_ONCE(e.quit, true);
			while (atomic_read(&e.running) &&
			       __vm_mark_dirty(e.vm, FIRST_SLOT, 0, 500, NULL) > 0)
				;
			wait_for(parked_exits(&e) > parked, "a vCPU that was kicked");
		}
		kick_vcpus(&e);
		env_check(&e);
	}
	env_fini(&e);
}

static bool used_reserve(struct env *e, uint64_t claims)
{
	env_get_state(e);
	return e->st.reserve_claims > claims;
}

/* When a vCPU stops, its last log may find all rings parked. */
static void test_pml_stop(int unused)
{
	uint32_t i, round, rounds = scale(60, 20);
	uint64_t writes, claims;
	struct env e = {};

	need_pml();
	env_init(&e, 3, 0);
	write_all(&e);
	for (round = 0; round < rounds; round++) {
		step("round %u", round);
		if (round % 2) {
			/* A vCPU that still waits at the gate would be left room. */
			for (i = 0; i < 3; i++)
				pass_gate(&e, i);
			env_drain(&e);
			env_mark_all(&e);
		}
		env_get_state(&e);
		claims = e.st.reserve_claims;
		env_set_writes(&e, UINT_MAX);
		env_start_vcpus(&e);
		writes = some_more_writes(&e);
		wait_for(writes_done(&e) >= writes || used_reserve(&e, claims),
			 "writes, or a log with all rings parked");
		kick_vcpus(&e);
		env_check(&e);
	}
	env_fini(&e);
}

/* Pages of the log that find no ring count as lost. */
static void test_pml_lost(int unused)
{
	struct kvm_dirty_ring_pool_state st;
	uint64_t lost, written;
	struct env e = {};
	uint32_t i;

	need_pml();
	need_vcpu_mark();
	env_init(&e, 2, 0);
	write_all(&e);
	env_set_guest(&e, 1, guest_sequential);
	env_set_writes(&e, 100);
	env_mark_all(&e);
	for (i = 0; i < 2; i++)
		env_run_once(&e, i);

	step("fill the reserves by the other vCPU");
	do {
		vcpu_mark(e.vcpus[0]);
		env_get_state(&e);
	} while (!(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW));
	vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &st, NULL, 0);

	step("write");
	env_run_once(&e, 1);
	env_get_state(&e);
	lost = e.st.overflows - st.overflows;
	written = env_guest_vcpu(&e, 1)->written;
	/* The guest may have left before it counted the last write. */
	TEST_ASSERT(lost && (lost == written || lost == written + 1),
		    "%lu pages written without room, %lu lost", written, lost);
	TEST_ASSERT(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW, "Status 0x%x",
		    e.st.status);
	env_free(&e);
}

const struct test pml_tests[] = {
	{ "pml_full",		test_pml_full },
	{ "pml_straddle",	test_pml_straddle },
	{ "pml_not_logged",	test_pml_not_logged },
	{ "pml_kick",		test_pml_kick },
	{ "pml_stop",		test_pml_stop },
	{ "pml_lost",		test_pml_lost },
	{}
};
