// SPDX-License-Identifier: GPL-2.0
/* The gate: a user of the reserve waits for a drain. */
#include "unit.h"

void test_gate(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	/* a user that used no reserve passes */
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
	vm_mark(&vm, 0, 0, 0, 1, 0);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
	/* one ring is FREE, but a reserve entry is left */
	EQUAL(vm_drain(&vm, 1), 12);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	/* a part of the reserve is drained */
	EQUAL(vm_harvest(&vm, 0, 12, NULL, NULL), 12);
	EQUAL(vm_reset(&vm, 0), 12);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm_drain(&vm, 0), 1);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!vm.user[0].reserve);
	/* all reserves are drained, but no ring is FREE */
	fill_all();
	vm_mark(&vm, 0, 0, 0, 1, 0);
	EQUAL(vm_drain(&vm, 0), 13);
	vm.user[1].last = &vm.ring[0];
	vm_mark(&vm, 1, 0, 0, 12, 0);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	CHECK(kvm_dirty_pool_exhausted(&vm.pool));
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm_drain(&vm, 1), 12);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	vm_exit(&vm);
}

/* Users cannot exhaust the reserves when userspace only drains one ring. */
void test_gate_one_ring_drained(void)
{
	u32 round, u, entered = 0;

	vm_init(&vm, 4, 4, 16, 4, NULL, 0);
	for (round = 0; round < 200; round++) {
		for (u = 0; u < 4; u++) {
			if (kvm_dirty_pool_gate(&vm.pool, &vm.user[u]))
				continue;
			entered++;
			/* a stay in the guest: at most rsvd marks into reserves */
			while (!vm.user[u].reserve)
				vm_mark(&vm, u, 0, 0, 1, 0);
			vm_mark(&vm, u, 0, 0, 3, 0);
		}
		vm_drain(&vm, 0);
	}
	EQUAL(vm.overflows, 0);
	EQUAL(vm.pool.overflow.counter, 0);
	CHECK(entered >= 4);
	/* they pass once all rings are drained */
	for (u = 0; u < 4; u++)
		vm_drain(&vm, u);
	for (u = 0; u < 4; u++)
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[u]));
	vm_exit(&vm);
}

void test_gate_spare(void)
{
	u32 p, i;

	for (p = 0; p < nr_policies; p++) {
		unsigned long parks;

		vm_init(&vm, 2, 2, 16, 4, policies[p], 0);
		fill_all();
		/* two users wait, and each is counted once */
		vm_mark(&vm, 0, 0, 0, 1, 0);
		vm_mark(&vm, 1, 0, 0, 1, 0);
		for (i = 0; i < 3; i++) {
			CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
			EQUAL(vm.pool.nr_gated.counter, 1);
		}
		CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
		EQUAL(vm.pool.nr_gated.counter, 2);
		/* a user that used no reserve is not counted */
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[2]));
		EQUAL(vm.pool.nr_gated.counter, 2);
		/* all reserves are drained */
		EQUAL(vm_drain(&vm, 0) + vm_drain(&vm, 1), 26);
		parks = vm.parks;
		/* marks of the VM leave the last entry of each ring */
		EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 22);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		EQUAL(vm.parks, parks);
		EQUAL(vm_word(&vm, 0), FREE);
		EQUAL(vm_word(&vm, 1), FREE);
		/* after a reset, of the new limit */
		EQUAL(vm_harvest(&vm, 0, 5, NULL, NULL), 5);
		EQUAL(vm_reset(&vm, 0), 5);
		EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 5);
		EQUAL(vm.parks, parks);
		/* one user passes, the other one still waits */
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
		EQUAL(vm.pool.nr_gated.counter, 1);
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
		EQUAL(vm.pool.nr_gated.counter, 1);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
		EQUAL(vm.pool.nr_gated.counter, 0);
		/* nobody waits: marks of the VM take the last entries */
		EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 2);
		EQUAL(vm.parks, parks + 2);
		EQUAL(vm.pool.overflow.counter, 0);
		vm_exit(&vm);
	}
	/* a vCPU's own marks take the last entry */
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	atomic_set(&vm.pool.nr_gated, 1);
	EQUAL(vm_mark(&vm, 0, 0, 0, 12, 0), 12);
	EQUAL(vm.parks, 1);
	EQUAL(vm.reserves, 0);
	vm_exit(&vm);
}

/* No room is kept for a user that will not look at the gate again. */
void test_ungate(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	vm_mark(&vm, 0, 0, 0, 1, 0);
	kvm_dirty_pool_ungate(&vm.pool, &vm.user[0]);
	EQUAL(vm.pool.nr_gated.counter, 0);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm.pool.nr_gated.counter, 1);
	kvm_dirty_pool_ungate(&vm.pool, &vm.user[1]);
	EQUAL(vm.pool.nr_gated.counter, 1);
	kvm_dirty_pool_ungate(&vm.pool, &vm.user[0]);
	kvm_dirty_pool_ungate(&vm.pool, &vm.user[0]);
	EQUAL(vm.pool.nr_gated.counter, 0);
	/* it does look again */
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm.pool.nr_gated.counter, 1);
	vm_drain(&vm, 0);
	vm_drain(&vm, 1);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm.pool.nr_gated.counter, 0);
	vm_exit(&vm);
}

/* Without any ring there is nothing to wait for. */
void test_gate_no_ring(void)
{
	u32 i;

	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	vm_mark(&vm, 0, 0, 0, 1, 0);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	for (i = 0; i < 2; i++) {
		vm.unwanted = 0;
		kvm_dirty_pool_detach(&vm.pool, &vm.ring[i]);
	}
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	CHECK(vm.pool.overflow.counter);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	kvm_dirty_pool_attach(&vm.pool, &vm.ring[1]);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	vm_exit(&vm);
}
