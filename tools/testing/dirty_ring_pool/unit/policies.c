// SPDX-License-Identifier: GPL-2.0
/* The order in which policies offer rings, and switches between policies. */
#include "unit.h"

void test_last_used(void)
{
	vm_init(&vm, 4, 4, 64, 4, "last-used", 0);
	EQUAL(touch(0), 0);
	EQUAL(touch(0), 0);
	EQUAL(claim(0), 0);
	EQUAL(claim(1), 1);
	EQUAL(claim(2), 2);
	give(0);
	give(1);
	give(2);
	/* each user keeps its ring, others take the next one */
	EQUAL(touch(2), 2);
	EQUAL(touch(1), 1);
	EQUAL(touch(0), 0);
	EQUAL(claim(3), 0);
	EQUAL(claim(0), 1);
	EQUAL(vm.ring[0].retries, 0);
	EQUAL(vm.ring[1].retries, 2);
	give(3);
	EQUAL(touch(0) /* held by itself */, 2);
	EQUAL(vm.ring[0].moves, 1);
	vm_exit(&vm);
}

void test_round_robin(void)
{
	u32 i;

	vm_init(&vm, 3, 4, 64, 4, "round-robin:1", 0);
	for (i = 0; i < 9; i++)
		EQUAL(touch(i % 2), i % 3);
	EQUAL(claim(0), 0);
	EQUAL(touch(1), 1);
	EQUAL(touch(1), 2);
	EQUAL(touch(1), 1);
	give(0);
	vm_exit(&vm);
}

void test_lru(void)
{
	u32 i;

	vm_init(&vm, 4, 4, 64, 4, "lru:1", 0);
	for (i = 0; i < 8; i++)
		EQUAL(touch(0), i % 4);
	for (i = 0; i < 4; i++)
		EQUAL(claim(i), i);
	/* rings are claimed in the order of their return */
	give(2);
	give(0);
	give(3);
	give(1);
	EQUAL(claim(0), 2);
	EQUAL(claim(1), 0);
	EQUAL(claim(2), 3);
	give(1);
	EQUAL(claim(1), 1);
	EQUAL(claim(3), 0);
	give(0);
	give(1);
	give(2);
	give(3);
	/* a drained ring counts as returned when it was drained */
	EQUAL(claim(0), 2);
	while (claims[0].room)
		kvm_dirty_pool_push(&claims[0], 0, 0);
	give(0);
	EQUAL(vm_word(&vm, 2), PARKED);
	EQUAL(touch(0), 1);
	EQUAL(vm_drain(&vm, 2), 60);
	EQUAL(touch(0), 3);
	EQUAL(touch(0), 0);
	EQUAL(touch(0), 1);
	EQUAL(touch(0), 2);
	vm_exit(&vm);
}

void test_mru(void)
{
	u32 i;

	vm_init(&vm, 4, 4, 64, 4, "mru:1", 0);
	for (i = 0; i < 8; i++)
		EQUAL(touch(i % 3), 3);
	EQUAL(claim(0), 3);
	EQUAL(claim(1), 2);
	EQUAL(claim(2), 1);
	EQUAL(claim(3), 0);
	give(2);
	give(0);
	give(3);
	give(1);
	EQUAL(claim(0), 2);
	EQUAL(claim(1), 0);
	EQUAL(claim(2), 3);
	EQUAL(claim(3), 1);
	for (i = 0; i < 4; i++)
		give(i);
	EQUAL(touch(1), 1);
	vm_exit(&vm);
}

/* One user fills all rings alike, but for the first, which is a quarter ahead. */
void test_emptiest(void)
{
	u32 i, used, least = ~0u, most = 0;

	vm_init(&vm, 16, 16, 256, 16, "emptiest:4", 0);
	/* although one of them is ahead at first */
	vm.user[1].last = &vm.ring[5];
	EQUAL(claim(1), 5);
	for (i = 0; i < 60; i++)
		kvm_dirty_pool_push(&claims[1], 0, 0);
	give(1);
	for (i = 0; i < 16 * 100; i++)
		touch(0);
	for (i = 1; i < 16; i++) {
		used = kvm_dirty_pool_used(&vm.ring[i]);
		least = used < least ? used : least;
		most = used > most ? used : most;
	}
	CHECK(most - least <= 16);
	used = kvm_dirty_pool_used(&vm.ring[0]);
	CHECK(used >= least + 64 && used <= most + 64 + 4);
	vm_exit(&vm);
}

/* It offers neither a ring that is claimed, nor the one that was tried before. */
void test_emptiest_offers(void)
{
	const struct kvm_dirty_pool_selector *selector;
	u32 i, ring, seen = 0;

	vm_init(&vm, 4, 4, 64, 4, "emptiest:1", 0);
	vm.user[0].last = &vm.ring[2];
	EQUAL(claim(0), 2);
	selector = vm.pool.selector;
	for (i = 0; i < 200; i++) {
		vm.ring[i % 4].dirty_index++;
		ring = selector->policy->pick(&vm.pool, selector->data, i % 4);
		CHECK(ring != i % 4);
		if (ring != NONE)
			seen |= BIT(ring);
	}
	EQUAL(seen, 0xb);
	give(0);
	vm_exit(&vm);
}

/* A user stays with a ring for a quantum, also if another one leaves its own. */
void test_quantum(void)
{
	u32 i;

	vm_init(&vm, 3, 3, 64, 4, "lru:4", -2);
	/* to the next multiple of the quantum: 2 entries here, then 4 */
	for (i = 0; i < 2; i++)
		EQUAL(touch(0), 0);
	for (i = 0; i < 2; i++)
		EQUAL(touch(0), 1);
	EQUAL(touch(1), 2);
	for (i = 0; i < 4; i++)
		EQUAL(touch(0), 0);
	EQUAL(touch(1), 2);
	/* a claim is not cut: it may pass the end of a quantum, and leaves then */
	EQUAL(vm_mark(&vm, 0, 0, 0, 7, 0), 7);
	EQUAL(vm.ring[1].dirty_index, 7);
	EQUAL(touch(0), 0);
	/* a ring that another has claimed is left at once */
	vm.user[2].last = &vm.ring[0];
	EQUAL(claim(2), 0);
	EQUAL(touch(0), 2);
	give(2);
	EQUAL(touch(0), 2);
	/* nor does a user stay with a ring to which it pushed nothing */
	EQUAL(claim(2), 1);
	give(2);
	EQUAL(claim(2), 0);
	give(2);
	vm_exit(&vm);
}

/* With its own ring again and again, a user makes no moves. */
void test_quantum_alone(void)
{
	u32 i;

	vm_init(&vm, 1, 1, 256, 4, "lru", 0);
	for (i = 0; i < 200; i++)
		EQUAL(touch(0), 0);
	EQUAL(vm.ring[0].claims, 200);
	EQUAL(vm.ring[0].retries, 0);
	EQUAL(vm.ring[0].moves, 0);
	vm_exit(&vm);
}

/* A vCPU that exits for its ring goes on with it, and leaves the others alone. */
void test_quantum_drained(void)
{
	vm_init(&vm, 2, 2, 16, 4, "lru:4", 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 12, 0), 12);
	EQUAL(vm_word(&vm, 0), PARKED);
	EQUAL(vm_drain(&vm, 0), 12);
	EQUAL(touch(0), 0);
	/* not if it is still parked */
	EQUAL(vm_mark(&vm, 0, 0, 0, 11, 0), 11);
	EQUAL(vm_word(&vm, 0), PARKED);
	EQUAL(touch(0), 1);
	vm_exit(&vm);
}

/*
 * The VM's user is shared: another thread can move it to another ring, and nobody
 * stays with the first one then.
 */
void test_quantum_shared(void)
{
	struct kvm_dirty_pool_user *user = &vm.pool.vm_user;
	struct kvm_dirty_pool_claim first, second;

	vm_init(&vm, 3, 3, 16, 4, "lru:4", 0);
	EQUAL(claim_flags(-1, &first, 0), 0);
	EQUAL(claim_flags(-1, &second, 0), 1);
	preempt_disable();
	kvm_dirty_pool_push(&first, 0, 0);
	kvm_dirty_pool_return(&vm.pool, user, &first);
	kvm_dirty_pool_push(&second, 0, 0);
	kvm_dirty_pool_return(&vm.pool, user, &second);
	preempt_enable();
	EQUAL(vm_mark(&vm, 0, 0, 0, 4, 0), 4);
	EQUAL(vm.ring[2].dirty_index, 4);
	EQUAL(touch(0), 0);
	/* it still stays with its last ring */
	EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
	EQUAL(vm.ring[1].dirty_index, 2);
	vm_exit(&vm);
}

void test_policy_long(void)
{
	u32 p, i;

	/* the queue, the tags and the cursor wrap several times */
	for (p = 0; p < nr_policies; p++) {
		u32 used[VM_MAX_RINGS] = {};

		vm_init(&vm, 5, 64, 64, 4, policies[p], 0);
		for (i = 0; i < 2000; i++) {
			u32 ring = touch(i % 5);

			CHECK(ring < 5);
			used[ring % VM_MAX_RINGS]++;
			if (i % 7 == 0)
				vm_drain(&vm, i / 7 % 5);
		}
		if (!strcmp(policies[p], "lru:1") ||
		    !strcmp(policies[p], "round-robin:1"))
			for (i = 0; i < 5; i++)
				EQUAL(used[i], 400);
		EQUAL(vm.overflows, 0);
		EQUAL(vm.reserves, 0);
		vm_exit(&vm);
	}
}

void test_next(void)
{
	u32 i;

	vm_init(&vm, 64, 64, 16, 4, NULL, 0);
	for (i = 0; i < 64; i++)
		EQUAL(kvm_dirty_pool_next(&vm.pool, i), i);
	EQUAL(kvm_dirty_pool_next(&vm.pool, 64), 0);
	EQUAL(kvm_dirty_pool_next(&vm.pool, NONE), 0);
	/* parked rings are skipped, also across the end */
	vm.user[0].last = &vm.ring[63];
	vm_mark(&vm, 0, 0, 0, 12, 0);
	EQUAL(vm_word(&vm, 63), PARKED);
	EQUAL(kvm_dirty_pool_next(&vm.pool, 63), 0);
	fill_all();
	EQUAL(kvm_dirty_pool_next(&vm.pool, 5), NONE);
	EQUAL(vm_drain(&vm, 3), 12);
	EQUAL(kvm_dirty_pool_next(&vm.pool, 5), 3);
	EQUAL(kvm_dirty_pool_next(&vm.pool, 3), 3);
	vm_exit(&vm);
}

/* More than 64 rings need more than one word of the bitmaps. */
void test_many_rings(void)
{
	static struct kvm_dirty_pool_ring extra[70];
	static struct kvm_dirty_gfn gfns[70][4];
	u32 p, i;

	for (p = 0; p < nr_policies; p++) {
		vm_init(&vm, 0, 134, 4, 1, policies[p], 0);
		for (i = 0; i < 64; i++)
			vm_add_ring(&vm);
		for (i = 0; i < 70; i++) {
			memset(gfns[i], 0, sizeof(gfns[i]));
			kvm_dirty_pool_ring_init(&extra[i], gfns[i], 4, 1);
			kvm_dirty_pool_add(&vm.pool, &extra[i]);
		}
		EQUAL(kvm_dirty_pool_next(&vm.pool, 130), 130);
		EQUAL(kvm_dirty_pool_next(&vm.pool, 134), 0);
		EQUAL(vm_mark(&vm, 0, 0, 0, 134 * 3, 0), 134 * 3);
		EQUAL(vm.parks, 134);
		EQUAL(vm.reserves, 0);
		CHECK(kvm_dirty_pool_exhausted(&vm.pool));
		EQUAL(kvm_dirty_pool_next(&vm.pool, 70), NONE);
		EQUAL(vm_drain(&vm, 7), 3);
		EQUAL(kvm_dirty_pool_next(&vm.pool, 70), 7);
		/* vm_exit() must not free the gfns of the others */
		vm.pool.nr_rings = 64;
		vm_exit(&vm);
	}
}

void test_switch(void)
{
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	bool seen[4] = {};
	u32 a, b, i;

	vm_init(&vm, 4, 4, 16, 4, NULL, 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "emptiest"));
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "no such"), -ENOENT);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "emptiest"));
	vm_exit(&vm);

	for (a = 0; a < nr_policies; a++) {
		for (b = 0; b < nr_policies; b++) {
			vm_init(&vm, 4, 4, 16, 4, policies[a], 0);
			/* during the switch one ring is claimed and one parked */
			EQUAL(vm_mark(&vm, 3, 0, 0, 12, 0), 12);
			CHECK(claim(0) < 4);
			EQUAL(kvm_dirty_pool_set_policy(&vm.pool, policies[b]), 0);
			kvm_dirty_pool_get_policy(&vm.pool, name);
			CHECK(!strcmp(name, policies[b]));
			give(0);
			memset(seen, 0, sizeof(seen));
			for (i = 0; i < 3; i++) {
				u32 ring = claim(i);

				CHECK(ring < 4 && !seen[ring % 4] &&
				      vm_word(&vm, ring % 4) == CLAIMED);
				seen[ring % 4] = true;
			}
			EQUAL(vm.reserves, 0);
			for (i = 0; i < 3; i++)
				give(i);
			vm_exit(&vm);
		}
	}
}
