// SPDX-License-Identifier: GPL-2.0
/* The reserve of parked rings. */
#include "unit.h"

void test_reserve_full(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 24, 0), 24);
	CHECK(!vm.user[0].reserve);
	EQUAL(vm_mark(&vm, 0, 0, 0, 8, KVM_DIRTY_POOL_NORESERVE), 0);
	EQUAL(vm.overflows, 0);
	EQUAL(vm_mark(&vm, 1, 0, 24, 8, 0), 8);
	EQUAL(vm.overflows, 0);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 16);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 16);
	/* the user's own ring comes first */
	EQUAL(vm.user[1].last->index, 0);
	EQUAL(claim_flags(0, &claims[0], 0), NONE);
	EQUAL(claim_flags(0, &claims[0], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(vm_mark(&vm, 0, 0, 32, 3, 0), 3);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflow.counter, 1);
	EQUAL(vm.pool.overflows.counter, 3);
	CHECK(vm.user[0].reserve);
	CHECK(vm.pool.exhaustions.counter >= 3);
	/* the reset of one entry makes room for one */
	EQUAL(vm_harvest(&vm, 1, 1, NULL, NULL), 1);
	EQUAL(vm_reset(&vm, 1), 1);
	EQUAL(vm_word(&vm, 1), PARKED | RESERVE);
	EQUAL(claim(0), 1);
	EQUAL(claims[0].room, 1);
	kvm_dirty_pool_push(&claims[0], 0, 0);
	give(0);
	EQUAL(claim(0), NONE);
	vm_exit(&vm);
}

void test_reserve_home(void)
{
	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	fill_all();
	EQUAL(touch(1), 1);
	EQUAL(touch(2), 2);
	EQUAL(touch(0), 0);
	EQUAL(touch(1), 1);
	EQUAL(vm.pool.nr_reserve.counter, 3);
	vm_exit(&vm);
}

void test_reserve_hint(void)
{
	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	EQUAL(vm.pool.room[0], 7);
	fill_all();
	EQUAL(vm_mark(&vm, 0, 0, 0, 8, 0), 8);
	EQUAL(vm.pool.room[0], 4);
	EQUAL(touch(0), 2);
	/* an empty reset does not change the hint, one entry does */
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.pool.room[0], 4);
	EQUAL(vm_harvest(&vm, 1, 1, NULL, NULL), 1);
	EQUAL(vm_reset(&vm, 1), 1);
	EQUAL(vm.pool.room[0], 6);
	EQUAL(touch(0), 1);
	EQUAL(vm.pool.room[0], 4);
	/* a wrong hint only costs time: three entries are left */
	vm.pool.room[0] = 3;
	EQUAL(touch(0), 2);
	vm.pool.room[0] = 0;
	EQUAL(touch(0), 2);
	EQUAL(touch(0), 2);
	EQUAL(vm.overflows, 0);
	vm.pool.room[0] = 7;
	EQUAL(claim(0), NONE);
	/* the hint after a drain */
	vm.pool.room[0] = 0;
	EQUAL(vm_drain(&vm, 0), 16);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.pool.room[0], 1);
	vm_exit(&vm);
}

void test_reserve_claimed_by_other(void)
{
	u64 exhaustions;

	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	EQUAL(claim(0), 0);
	vm.user[1].home = 0;
	EQUAL(claim(1), 1);
	/* both reserves are claimed: an interrupt does not wait */
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), NONE);
	give(0);
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), 0);
	give(2);
	give(1);
	/* a claim that waits for them in vain has found no FREE ring once */
	EQUAL(claim(0), 0);
	EQUAL(claim(1), 1);
	exhaustions = vm.pool.exhaustions.counter;
	EQUAL(claim(2), NONE);
	EQUAL(vm.pool.exhaustions.counter, exhaustions + 1);
	give(0);
	give(1);
	vm_exit(&vm);
}

/* A claim of a reserve counts the rings that it tried before. */
void test_reserve_retries(void)
{
	vm_init(&vm, 2, 2, 16, 4, "last-used", 0);
	fill_all();
	vm.user[0].last = &vm.ring[1];
	vm_mark(&vm, 0, 0, 0, 1, 0);
	EQUAL(vm.ring[0].reserve_claims, 1);
	EQUAL(vm.ring[0].retries, 1);
	vm_mark(&vm, 0, 0, 1, 1, 0);
	EQUAL(vm.ring[0].reserve_claims, 2);
	EQUAL(vm.ring[0].retries, 2);
	vm_exit(&vm);
}

/* Each user of a reserve has to pass the gate, not only the first one. */
void test_reserve_second_user(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	fill_all();
	vm_mark(&vm, 0, 0, 0, 1, 0);
	vm_mark(&vm, 1, 0, 1, 1, 0);
	EQUAL(vm.pool.overflow.counter, 0);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
	EQUAL(vm.pool.nr_gated.counter, 2);
	EQUAL(vm.reserves, 2);
	vm_exit(&vm);
}
