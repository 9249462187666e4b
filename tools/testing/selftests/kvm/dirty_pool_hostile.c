// SPDX-License-Identifier: GPL-2.0-only
/*
 * Userspace writes anything to the rings: the kernel must survive that.
 */
#include <limits.h>

#include "dirty_pool_test.h"

static void *scribbler(void *data)
{
	static const uint32_t flags[] = { 0, 1, 2, 3, ~0u, ~1u, 1u << 31 };
	static const uint32_t slots[] = {
		FIRST_SLOT, FIRST_SLOT + 1, 0, 0xffff, 0x7fff, 0x10001,
		0x7fff0001, 0xffff0001, ~0u,
	};
	static const uint64_t offsets[] = {
		0, 1, 63, 64, 130, 131, 2050, 2051, INT_MAX, 1ull << 32,
		1ull << 52, 1ull << 63, ~0ull - 63, ~0ull,
	};
	struct guest_random_state rng = new_guest_random_state(env_opt.seed + 1);
	struct env *e = data;

	while (!READ_ONCE(e->quit)) {
		struct kvm_vcpu *vcpu = e->vcpus[guest_random_u32(&rng) % e->nr_vcpus];
		struct kvm_dirty_gfn *gfn;

		gfn = &vcpu->dirty_gfns[guest_random_u32(&rng) %
					vcpu->dirty_gfns_count];
		if (guest_random_bool(&rng)) {
			WRITE_ONCE(gfn->slot, slots[guest_random_u32(&rng) %
						    ARRAY_SIZE(slots)]);
			WRITE_ONCE(gfn->offset, offsets[guest_random_u32(&rng) %
							ARRAY_SIZE(offsets)]);
			WRITE_ONCE(gfn->flags, flags[guest_random_u32(&rng) %
						     ARRAY_SIZE(flags)]);
		} else if (guest_random_bool(&rng)) {
			/* Every entry looks harvested: a reset must end. */
			WRITE_ONCE(gfn->flags, KVM_DIRTY_GFN_F_RESET);
		} else {
			WRITE_ONCE(gfn->slot, guest_random_u32(&rng));
			WRITE_ONCE(gfn->offset, guest_random_u64(&rng));
			WRITE_ONCE(gfn->flags, guest_random_u32(&rng));
		}
	}
	return NULL;
}

/* Only entries that the kernel pushes show where its next one is. */
static void resync(struct env *e)
{
	uint32_t i, n, marked;
	int r;

	for (r = 0; r < e->nr_vcpus; r++) {
		for (i = 0; i < ring_entries; i++)
			WRITE_ONCE(e->vcpus[r]->dirty_gfns[i].flags,
				   KVM_DIRTY_GFN_F_RESET);
	}
	vm_reset_dirty_rings(e->vm);
	env_get_state(e);
	for (r = 0; r < e->nr_vcpus; r++) {
		TEST_ASSERT(!e->rings[r].used && !e->rings[r].state,
			    "Ring %d has state 0x%x, %u entries; all were harvested and reset",
			    r, e->rings[r].state, e->rings[r].used);
		memset(e->vcpus[r]->dirty_gfns, 0,
		       ring_entries * sizeof(struct kvm_dirty_gfn));
	}

	/* Pages whose entries were overwritten are still writable. */
	for (i = 0; i < NR_SLOTS; i++) {
		vm_mem_region_set_flags(e->vm, FIRST_SLOT + i, 0);
		vm_mem_region_set_flags(e->vm, FIRST_SLOT + i,
					KVM_MEM_LOG_DIRTY_PAGES);
	}
	for (i = 0; i < NR_PAGES; i++)
		e->seen[i] = env_page_stamp(e, i);

	marked = env_mark_room(e, true);
	for (r = 0, n = 0; r < e->nr_vcpus; r++) {
		struct kvm_dirty_gfn *gfns = e->vcpus[r]->dirty_gfns;

		/* The first of a run of entries, in a ring with room left. */
		for (i = 0; i < ring_entries; i++) {
			if (gfns[i].flags && !gfns[(i - 1) % ring_entries].flags)
				break;
		}
		e->vcpus[r]->fetch_index = i;
		n += env_harvest(e, r, UINT_MAX);
	}
	TEST_ASSERT(n == marked, "%u entries for %u pages marked", n, marked);
	env_note_pages(e, &e->pages, vm_reset_dirty_rings(e->vm));
	/* Start counting anew: env_check() compares. */
	env_drain(e);
	e->harvested = e->st.pushed;
	e->reset = e->st.pushed;
}

static void test_hostile(int unused)
{
	uint32_t i, n = scale(150, 60);
	pthread_t threads[2];
	struct env e = {};
	int r, ret;

	env_init(&e, 4, 0);
	env_set_writes(&e, UINT_MAX);
	env_start_vcpus(&e);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, scribbler, &e);

	for (i = 0; i < n; i++) {
		step("reset %u of %u", i, n);
		r = env_random(&e, 5);
		if (r < 4)
			ret = __vm_reset_dirty_ring(e.vm, r);
		else
			ret = vm_reset_dirty_rings(e.vm);
		TEST_ASSERT(ret >= 0 && ret <= 4 * ring_entries,
			    "Reset of ring %d returned %d, errno %d", r, ret, errno);
		env_wake_vcpus(&e);
		__vm_mark_dirty(e.vm, FIRST_SLOT, env_random(&e, 100),
				1 + env_random(&e, 50), NULL);
		env_get_state(&e);
		for (r = 0; r < 4; r++)
			TEST_ASSERT(e.rings[r].used <= ring_entries,
				    "Ring %d holds %u entries", r, e.rings[r].used);
		sched_yield();
	}

	step("stop");
	env_stop_vcpus(&e);
	WRITE_ONCE(e.quit, true);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	WRITE_ONCE(e.quit, false);

	step("the VM is usable afterwards");
	/* Nobody drained the rings properly, but the gate prevents OVERFLOW. */
	vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &e.st,
			    NULL, 0);
	TEST_ASSERT(!(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW),
		    "OVERFLOW, although the gate stopped every vCPU");
	resync(&e);
	env_run_round(&e, scale(1000, 200));
	env_fini(&e);
}

/*
 * A harvester that spoils some entries before their reset loses those pages, and no
 * others.
 */
static void test_bad_entry(int unused)
{
	static bool spoilt[NR_PAGES];
	uint32_t i, first, page, flags;
	struct kvm_vcpu *vcpu;
	struct env e = {};

	env_init(&e, 1, 0);
	vcpu = e.vcpus[0];
	env_set_guest(&e, 0, guest_sequential);
	env_set_writes(&e, NR_PAGES);
	step("map all pages");
	while (env_run_once(&e, 0))
		env_drain(&e);
	env_check(&e);

	for (i = 0; i < 2; i++) {
		step("write all pages, for the %s time", i ? "third" : "second");
		do {
			flags = env_run_once(&e, 0);
			for (;;) {
				first = vcpu->fetch_index % vcpu->dirty_gfns_count;
				if (!env_harvest(&e, 0, UINT_MAX))
					break;
				spoilt[e.pages.page[0]] = true;
				WRITE_ONCE(vcpu->dirty_gfns[first].slot, 0xffff);
				env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
			}
		} while (flags);
	}
	for (page = 0; page < NR_PAGES; page++)
		TEST_ASSERT(spoilt[page] || e.seen[page] == env_page_stamp(&e, page),
			    "Page %u was written and not reported", page);
	env_free(&e);
}

const struct test hostile_tests[] = {
	{ "hostile",		test_hostile },
	{ "bad_entry",		test_bad_entry },
	{}
};
