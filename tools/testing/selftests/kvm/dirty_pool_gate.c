// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gate keeps a vCPU that used the reserve out of the guest until a ring is
 * FREE and all reserves are drained.
 */
#include "dirty_pool_test.h"

static void test_exhaustion(int unused)
{
	struct env e = {};
	uint32_t flags, i, n, reserve;
	uint64_t pushed;

	env_init(&e, 3, 0);
	env_set_guest(&e, 0, guest_sequential);
	env_set_guest(&e, 1, guest_sequential);
	env_set_guest(&e, 2, guest_sync);

	step("vCPU 0 exhausts the pool");
	for (n = 0; ; n++) {
		flags = env_run_to_full(&e, 0);
		env_get_state(&e);
		if ((flags & KVM_DIRTY_RING_POOL_EXHAUSTED) && e.st.reserve_claims)
			break;
		TEST_ASSERT(n < 100, "Never exhausted, flags 0x%x", flags);
	}
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_PARKED) == 3 &&
		    (e.st.status & KVM_DIRTY_RING_POOL_EXHAUSTED) &&
		    e.st.exhaustions, "EXHAUSTED with %u of 3 rings parked, status 0x%x",
		    env_rings_in_state(&e, KVM_DIRTY_RING_PARKED), e.st.status);
	env_expect_gated(&e, 0, "with no ring FREE");

	step("vCPU 2 dirties nothing");
	for (n = 0; n < 20; n++)
		TEST_ASSERT(!env_run_once(&e, 2),
			    "A vCPU that dirties nothing was stopped");

	step("vCPU 1 uses the reserve and is stopped, too");
	pushed = e.st.pushed;
	env_run_to_full(&e, 1);
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed > pushed &&
		    e.st.pushed - pushed <= ring_entries - e.rings[0].soft_limit,
		    "vCPU 1 pushed %llu entries in one stay",
		    e.st.pushed - pushed);
	env_expect_gated(&e, 1, "with no ring FREE");
	for (i = 0; i < 3; i++)
		TEST_ASSERT(e.rings[i].used <= ring_entries,
			    "Ring %u of %u entries holds %u", i, ring_entries,
			    e.rings[i].used);

	step("drain the rings without reserve entries");
	env_get_state(&e);
	reserve = env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE);
	TEST_ASSERT(reserve, "No ring has reserve entries");
	if (reserve < 3) {
		for (i = 0; i < 3; i++) {
			if (!(e.rings[i].state & KVM_DIRTY_RING_RESERVE))
				env_drain_ring(&e, i);
		}
		env_get_state(&e);
		TEST_ASSERT(!(e.st.status & KVM_DIRTY_RING_POOL_EXHAUSTED),
			    "The pool is still EXHAUSTED with a ring drained");
		env_expect_gated(&e, 0, "with reserve entries undrained");
		env_expect_gated(&e, 1, "with reserve entries undrained");
	}

	step("drain the others");
	env_drain(&e);
	for (i = 0; i < 2; i++) {
		env_get_state(&e);
		pushed = e.st.pushed;
		flags = env_run_to_full(&e, i);
		env_get_state(&e);
		TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) ||
			    e.st.pushed > pushed,
			    "vCPU %u is stopped although all rings were drained, flags 0x%x",
			    i, flags);
		env_drain(&e);
	}
	env_fini(&e);
}

static uint64_t exhausted_exits(struct env *e)
{
	uint64_t n = 0;
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		n += READ_ONCE(e->exhausted[i]);
	return n;
}

/*
 * Userspace drains the same ring again and again.  If this FREE ring let vCPUs
 * in that used reserves, they would use up the other rings' reserves: as long as
 * one of those has reserve entries, each vCPU may enter once at most.
 */
static void starve(struct env *e, uint32_t victim)
{
	uint32_t i, rsvd = ring_entries - env_soft_limit(e);
	uint64_t end, first = 0;
	int n;

	env_set_writes(e, UINT_MAX);
	env_start_vcpus(e);
	end = exhausted_exits(e) + 3 * rsvd * e->nr_vcpus / 2;
	for (n = 0; exhausted_exits(e) < end; n++) {
		step("drain %d of ring %u only, %lu exits to go", n, victim,
		     end - exhausted_exits(e));
		env_get_state(e);
		TEST_ASSERT(!(e->st.status & KVM_DIRTY_RING_POOL_OVERFLOW),
			    "OVERFLOW after %d drains of ring %u", n, victim);
		for (i = 0; i < e->st.nr_rings; i++) {
			TEST_ASSERT(e->rings[i].used <= ring_entries,
				    "Ring %u of %u entries holds %u", i,
				    ring_entries, e->rings[i].used);
			if (i != victim && !first &&
			    (e->rings[i].state & KVM_DIRTY_RING_RESERVE))
				first = e->st.reserve_claims;
		}
		TEST_ASSERT(!first || e->st.reserve_claims - first <=
			    rsvd * e->nr_vcpus,
			    "%llu reserve claims since a ring has had undrained reserve entries",
			    e->st.reserve_claims - first);
		if (!env_drain_ring(e, victim))
			sched_yield();
	}

	step("drain all rings");
	env_set_writes(e, 0);
	env_harvest_until_done(e);
	env_check(e);
}

static void test_starved(int unused)
{
	struct env e = {};

	env_init(&e, 3, 0);
	starve(&e, 0);
	starve(&e, 2);
	env_fini(&e);
}

const struct test gate_tests[] = {
	{ "exhaustion",		test_exhaustion },
	{ "starved",		test_starved },
	{}
};

/* KVM_PRE_FAULT_MEMORY marks pages, too: it stops when it has used the reserve. */
static void test_prefault_stops(int unused)
{
	struct kvm_pre_fault_memory range = {
		.gpa = SLOT_GPA(0), .size = slot_pages[0] * PAGE_SIZE,
	};
	uint32_t page, stops = 0;
	struct env e = {};
	int ret;

	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		skip("no KVM_PRE_FAULT_MEMORY");
	env_init(&e, 2, 0);
	env_set_guest(&e, 0, guest_sync);
	/* KVM maps a page writable, and marks it, only if the host has it writable. */
	for (page = 0; page < slot_pages[0]; page++)
		WRITE_ONCE(*env_page_hva(&e, page), 0);
	while (range.size) {
		uint64_t size = range.size;

		ret = __vcpu_ioctl(e.vcpus[0], KVM_PRE_FAULT_MEMORY, &range);
		TEST_ASSERT(ret ? errno == EAGAIN && range.size == size :
				  range.size < size,
			    "KVM_PRE_FAULT_MEMORY returned %d, errno %d, %llu bytes of %lu are left",
			    ret, errno, range.size, size);
		if (ret) {
			stops++;
			env_expect_gated(&e, 0, "after it used the reserve");
			env_drain(&e);
		}
	}
	env_get_state(&e);
	ksft_print_msg("stopped %u times, %llu pages marked\n", stops, e.st.pushed);
	TEST_ASSERT(!e.st.overflows && e.st.pushed == slot_pages[0] && stops,
		    "%llu marks lost of %llu, stopped %u times", e.st.overflows,
		    e.st.pushed + e.st.overflows, stops);
	env_fini(&e);
}

const struct test prefault_tests[] = {
	{ "prefault_stops",	test_prefault_stops },
	{}
};
