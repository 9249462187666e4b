// SPDX-License-Identifier: GPL-2.0
/* Rings join the pool, leave it, and come back. */
#include "unit.h"

void test_growth(void)
{
	u32 p, i;

	for (p = 0; p < nr_policies; p++) {
		vm_init(&vm, 1, 8, 16, 4, policies[p], 0);
		for (i = 1; i < 8; i++) {
			EQUAL(vm_mark(&vm, 0, 0, 0, 12, 0), 12);
			CHECK(kvm_dirty_pool_exhausted(&vm.pool));
			vm_add_ring(&vm);
			CHECK(!kvm_dirty_pool_exhausted(&vm.pool));
			EQUAL(touch(0), i);
			vm_drain(&vm, i);
		}
		EQUAL(vm.overflows, 0);
		EQUAL(vm.reserves, 0);
		vm_exit(&vm);
	}
}

static unsigned long long parked_now(void)
{
	unsigned long long n = 0;
	u32 i;

	for (i = 0; i < vm.pool.nr_rings; i++) {
		EQUAL(vm.ring[i].parks - vm.ring[i].drains,
		      !!(vm_word(&vm, i) & PARKED));
		n += vm.ring[i].parks - vm.ring[i].drains;
	}
	return n;
}

void test_detach(void)
{
	u32 p, i;

	for (p = 0; p < nr_policies; p++) {
		vm_init(&vm, 3, 3, 16, 4, policies[p], -2);
		claim(0);
		i = claims[0].ring->index;
		give(0);
		vm.user[0].last = &vm.ring[i];
		claim(0);
		i = claims[0].ring->index;
		while (claims[0].ring->dirty_index != -2u + 5)
			kvm_dirty_pool_push(&claims[0], 5,
					    claims[0].ring->dirty_index + 2);
		give(0);
		EQUAL(vm_harvest(&vm, i, 2, NULL, NULL), 2);
		vm_detach(&vm, i);
		/* harvested entries are reset, the others move, in order */
		EQUAL(vm_word(&vm, i), DETACHED);
		EQUAL(vm.protected, 2);
		EQUAL(kvm_dirty_pool_used(&vm.ring[i]), 0);
		CHECK(!(vm.pool.avail[0] & BIT(i)));
		CHECK(!(vm.pool.room[0] & BIT(i)));
		EQUAL(vm.overflows, 0);
		expect_next = 2;
		/* the others spread them over the rings */
		if (!strcmp(policies[p], "last-used") ||
		    !strcmp(policies[p], "mru:1"))
			EQUAL(vm_harvest(&vm, vm.pool.vm_user.last->index, ~0u,
					 in_order, NULL), 3);
		for (i = 0; i < 3; i++)
			vm_drain(&vm, i);
		EQUAL(vm.protected, 5);
		EQUAL(parked_now(), 0);
		vm_exit(&vm);
	}
}

void test_detach_unused(void)
{
	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	vm_detach(&vm, 1);
	/* no policy offers the ring, no claim waits for it */
	EQUAL(vm_mark(&vm, 1, 0, 0, 24, 0), 24);
	EQUAL(vm.ring[1].claims, 0);
	CHECK(kvm_dirty_pool_exhausted(&vm.pool));
	EQUAL(vm_mark(&vm, 1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 0);
	EQUAL(vm_mark(&vm, 1, 0, 0, 8, 0), 8);
	EQUAL(vm.overflows, 0);
	/* all other rings are full: full_at records that */
	vm.pool.full_at = ~vm.pool.resets.counter;
	EQUAL(claim_flags(1, &claims[1], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(vm.pool.full_at, vm.pool.resets.counter);
	if (failed) {
		/* The marks below would wait forever. */
		vm_exit(&vm);
		return;
	}
	EQUAL(claim(1), NONE);
	EQUAL(vm.ring[1].claims, 0);
	/* a second detach does nothing */
	EQUAL(vm.ring[1].reset_index, 0);
	vm_detach(&vm, 1);
	EQUAL(vm_word(&vm, 1), DETACHED);
	EQUAL(vm.ring[1].drains, 0);
	/* neither does a reset */
	EQUAL(vm_drain(&vm, 1), 0);
	EQUAL(vm_word(&vm, 1), DETACHED);
	/* the last rings */
	EQUAL(vm_drain(&vm, 0), 16);
	vm_detach(&vm, 2);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 16);
	vm_detach(&vm, 0);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflows.counter, 16);
	EQUAL(vm.pool.avail[0] | vm.pool.room[0], 0);
	EQUAL(parked_now(), 0);
	vm_exit(&vm);
}

void test_detach_parked(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	/* parked, with entries in its reserve; the other ring has room */
	fill_all();
	vm_mark(&vm, 0, 0, 0, 1, 0);
	EQUAL(vm.pool.nr_reserve.counter, 1);
	EQUAL(vm_drain(&vm, 1), 12);
	EQUAL(parked_now(), 1);
	EQUAL(vm_harvest(&vm, 0, 4, NULL, NULL), 4);
	vm_detach(&vm, 0);
	EQUAL(vm_word(&vm, 0), DETACHED);
	EQUAL(vm.ring[0].drains, 1);
	EQUAL(parked_now(), 0);
	/* the gate stays shut while the entries move */
	EQUAL(vm.wanted_reserves, 1);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 9);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	/* no room for all of them */
	vm_attach(&vm, 0);
	fill_all();
	EQUAL(vm_mark(&vm, 0, 0, 0, 2, 0), 2);
	EQUAL(vm_word(&vm, 0), PARKED | RESERVE);
	EQUAL(vm.pool.nr_reserve.counter, 1);
	vm_detach(&vm, 0);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflows.counter, 14 - 4);
	EQUAL(vm.pool.nr_reserve.counter, 1);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 16);
	EQUAL(parked_now(), 1);
	vm_exit(&vm);
}

/* Pages that are no longer logged take no room, and are not lost. */
void test_detach_unwanted(void)
{
	vm_init(&vm, 2, 2, 16, 4, "last-used", 0);
	vm.user[0].last = &vm.ring[0];
	vm_mark(&vm, 0, 3, 0, 4, 0);
	vm_mark(&vm, 0, 5, 0, 2, 0);
	vm.unwanted = 3;
	kvm_dirty_pool_detach(&vm.pool, &vm.ring[0]);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 2);
	EQUAL(vm.ring[1].gfns[0].slot, 5);
	EQUAL(vm.pool.overflow.counter, 0);
	vm_exit(&vm);
}

void test_attach(void)
{
	static const u32 starts[] = { 0, -1u, -5u, -16u, -21u, 3 };
	u32 s, n, i;

	for (s = 0; s < ARRAY_SIZE(starts); s++) {
		for (n = 0; n < 16; n++) {
			u32 was;

			vm_init(&vm, 1, 1, 16, 4, policies[n % nr_policies], starts[s]);
			vm_mark(&vm, 0, 0, 0, n, 0);
			vm_harvest(&vm, 0, n / 2, NULL, NULL);
			was = vm.ring[0].dirty_index;
			vm_detach(&vm, 0);
			EQUAL(vm.pool.overflows.counter, n - n / 2);
			for (i = 0; i < 16; i++)
				EQUAL(vm.ring[0].gfns[i].flags, 0);
			vm_attach(&vm, 0);
			EQUAL(vm_word(&vm, 0), FREE);
			EQUAL(vm.ring[0].dirty_index % 16, 0);
			EQUAL(vm.ring[0].reset_index, vm.ring[0].dirty_index);
			CHECK(vm.ring[0].dirty_index - was >= 1 &&
			      vm.ring[0].dirty_index - was <= 16);
			EQUAL(vm.pool.avail[0], 1);
			EQUAL(vm.pool.room[0], 1);
			/* entries begin at the first one, up to the soft limit */
			expect_next = 100;
			EQUAL(vm_mark(&vm, 0, 5, 100, 12, 0), 12);
			EQUAL(vm.ring[0].gfns[0].offset, 100);
			EQUAL(vm_word(&vm, 0), PARKED);
			EQUAL(vm_harvest(&vm, 0, ~0u, in_order, NULL), 12);
			EQUAL(vm_reset(&vm, 0), 12);
			/* a second attach does nothing */
			was = vm.ring[0].dirty_index;
			kvm_dirty_pool_attach(&vm.pool, &vm.ring[0]);
			EQUAL(vm.ring[0].dirty_index, was);
			EQUAL(vm_word(&vm, 0), FREE);
			vm_exit(&vm);
		}
	}
}

void test_not_added(void)
{
	static struct kvm_dirty_gfn gfns[16];
	struct kvm_dirty_pool_ring *ring = &vm.ring[1];

	vm_init(&vm, 1, 2, 16, 4, NULL, 0);
	kvm_dirty_pool_ring_init(ring, gfns, 16, 4);
	EQUAL(ring->index, NONE);
	EQUAL(vm_word(&vm, 1), DETACHED);
	kvm_dirty_pool_detach(&vm.pool, ring);
	kvm_dirty_pool_attach(&vm.pool, ring);
	EQUAL(vm_word(&vm, 1), DETACHED);
	EQUAL(ring->dirty_index, 0);
	EQUAL(vm.pool.avail[0], 1);
	kvm_dirty_pool_add(&vm.pool, ring);
	EQUAL(ring->index, 1);
	EQUAL(vm_word(&vm, 1), FREE);
	EQUAL(ring->dirty_index, 0);
	EQUAL(ring->soft_end, 12);
	EQUAL(vm.pool.avail[0], 3);
	vm.pool.nr_rings = 1;
	vm_exit(&vm);
}

/* No policy offers a detached ring, also after a switch. */
void test_detach_policy(void)
{
	u32 a, b, i;

	for (a = 0; a < nr_policies; a++) {
		for (b = 0; b < nr_policies; b++) {
			vm_init(&vm, 4, 4, 16, 4, policies[a], 0);
			vm_detach(&vm, 2);
			kvm_dirty_pool_set_policy(&vm.pool, policies[b]);
			for (i = 0; i < 8; i++)
				CHECK(touch(0) != 2);
			for (i = 0; i < 4; i++)
				EQUAL(vm.ring[i].retries, 0);
			vm_attach(&vm, 2);
			for (i = 0; i < 4; i++)
				CHECK(claim(i) < 4);
			EQUAL(vm.reserves, 0);
			for (i = 0; i < 4; i++)
				give(i);
			vm_exit(&vm);
		}
	}
}
