// SPDX-License-Identifier: GPL-2.0
/* Lost marks, and how the pool reports them. */
#include "unit.h"

/*
 * Each OVERFLOW causes one exit.  Exits for another reason report it until it is
 * cleared.
 */
void test_report_overflow(void)
{
	u32 i;

	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, false));
	CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, true));
	for (i = 0; i < 2; i++) {
		vm_mark(&vm, 0, 0, 0, 20, 0);
		CHECK(kvm_dirty_pool_report_overflow(&vm.pool, i));
		CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, false));
		CHECK(kvm_dirty_pool_report_overflow(&vm.pool, true));
		/* further losses */
		vm_mark(&vm, 0, 0, 0, 2, 0);
		CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, false));
		EQUAL(vm.overflows, i + 1);
		/* cleared */
		atomic_set(&vm.pool.overflow, 0);
		CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, true));
	}
	vm_exit(&vm);
}

/* While no ring was reset since all were full, a mark is lost without a search. */
void test_full_at(void)
{
	struct kvm_dirty_pool_ring *ring = &vm.ring[0];
	u64 exhaustions;
	u32 round;

	vm_init(&vm, 1, 4, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 16, 0), 16);
	for (round = 0; round < 3; round++) {
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 1);
		/* no search for room that no reset has reported */
		ring->reset_index++;
		exhaustions = vm.pool.exhaustions.counter;
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm_mark(&vm, 1, 0, 0, 1, KVM_DIRTY_POOL_NOWAIT), 1);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 4);
		EQUAL(vm.pool.exhaustions.counter, exhaustions + 4);
		/* a reset, a cleared OVERFLOW or an old full_at starts one */
		if (round == 0)
			atomic_inc(&vm.pool.resets);
		else if (round == 1)
			atomic_set(&vm.pool.overflow, 0);
		else
			vm.pool.full_at = vm.pool.resets.counter - 1;
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 4);
	}
	/* by the API: a reset, a ring that joins, one that comes back */
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm.pool.overflows.counter, 13);
	vm.fetch[0] = ring->reset_index;
	EQUAL(vm_harvest(&vm, 0, 1, NULL, NULL), 1);
	EQUAL(vm_reset(&vm, 0), 1);
	EQUAL(vm_mark(&vm, 0, 0, 0, 2, 0), 2);
	EQUAL(vm.pool.overflows.counter, 14);
	vm_add_ring(&vm);
	EQUAL(vm_mark(&vm, 0, 0, 0, 17, 0), 17);
	EQUAL(vm.pool.overflows.counter, 15);
	vm_detach(&vm, 1);
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm.pool.overflows.counter, 15 + 17);
	vm_attach(&vm, 1);
	EQUAL(vm_mark(&vm, 0, 0, 0, 16, 0), 16);
	EQUAL(vm.pool.overflows.counter, 15 + 17);
	vm_exit(&vm);
}

void test_overflow_told(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 16, 0), 16);
	vm.user[1].reserve = false;
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	/* it used no reserve, but has to pass the gate */
	CHECK(vm.user[1].reserve);
	EQUAL(vm.losses, 1);
	EQUAL(vm.overflows, 1);
	EQUAL(vm_mark(&vm, 1, 0, 0, 3, 0), 3);
	EQUAL(vm_mark(&vm, 2, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
	EQUAL(vm.losses, 4);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflows.counter, 6);
	/* userspace clears OVERFLOW: the next loss is reported again */
	atomic_set(&vm.pool.overflow, 0);
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	EQUAL(vm.losses, 6);
	EQUAL(vm.overflows, 2);
	EQUAL(vm.reserves, 1);
	vm_exit(&vm);
}
