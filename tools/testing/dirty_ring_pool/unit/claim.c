// SPDX-License-Identifier: GPL-2.0
/* The life of a ring: claim, push, return, park and reset. */
#include "unit.h"

void test_states(void)
{
	u32 i;

	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(claim(0), 0);
	EQUAL(vm_word(&vm, 0), CLAIMED);
	EQUAL(claims[0].room, 12);
	give(0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm_mark(&vm, 0, 0, 0, 11, 0), 11);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm_mark(&vm, 0, 0, 11, 1, 0), 1);
	EQUAL(vm_word(&vm, 0), PARKED);
	CHECK(kvm_dirty_pool_exhausted(&vm.pool));
	EQUAL(vm.parks, 1);
	EQUAL(vm.last_park, 0);
	/* the ring is parked before the event is sent */
	EQUAL(vm.park_word, PARKED);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	/* the reserve */
	EQUAL(claim(0), 0);
	EQUAL(vm_word(&vm, 0), CLAIMED | PARKED | RESERVE);
	EQUAL(claims[0].room, 4);
	EQUAL(vm.pool.nr_reserve.counter, 1);
	CHECK(vm.user[0].reserve);
	kvm_dirty_pool_push(&claims[0], 0, 12);
	give(0);
	EQUAL(vm_word(&vm, 0), PARKED | RESERVE);
	EQUAL(vm.reserves, 1);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 13);
	/* only the reset of the last entry frees it */
	for (i = 0; i < 13; i++) {
		EQUAL(vm_word(&vm, 0), PARKED | RESERVE);
		EQUAL(vm_harvest(&vm, 0, 1, NULL, NULL), 1);
		EQUAL(vm_reset(&vm, 0), 1);
	}
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	EQUAL(vm.ring[0].drains, 1);
	EQUAL(vm.ring[0].pushed, 13);
	EQUAL(vm.protected, 13);
	CHECK(!kvm_dirty_pool_exhausted(&vm.pool));
	EQUAL(claim(0), 0);
	EQUAL(claims[0].room, 12);
	give(0);
	vm_exit(&vm);
}

void test_reset_while_claimed(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	/* drained between push and return: it is never parked */
	vm_mark(&vm, 0, 0, 0, 11, 0);
	claim(0);
	EQUAL(claims[0].room, 1);
	kvm_dirty_pool_push(&claims[0], 0, 11);
	EQUAL(vm_drain(&vm, 0), 12);
	give(0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.parks, 0);
	/* parked, then drained while its reserve is claimed */
	vm_mark(&vm, 0, 0, 0, 12, 0);
	EQUAL(vm_word(&vm, 0), PARKED);
	claim(0);
	EQUAL(vm_drain(&vm, 0), 12);
	EQUAL(vm_word(&vm, 0), CLAIMED | PARKED | RESERVE);
	kvm_dirty_pool_push(&claims[0], 0, 0);
	give(0);
	EQUAL(vm_word(&vm, 0), PARKED | RESERVE);
	EQUAL(vm_drain(&vm, 0), 1);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	/* the same, with the push before the drain */
	vm_mark(&vm, 0, 0, 0, 12, 0);
	claim(0);
	kvm_dirty_pool_push(&claims[0], 0, 0);
	EQUAL(vm_drain(&vm, 0), 13);
	EQUAL(vm_word(&vm, 0), CLAIMED | PARKED | RESERVE);
	give(0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.pool.nr_reserve.counter, 0);
	CHECK(!kvm_dirty_pool_exhausted(&vm.pool));
	vm_exit(&vm);
}

void test_nowait(void)
{
	vm_init(&vm, 2, 2, 16, 4, "last-used", 0);
	/* an interrupt while the last used ring is claimed */
	EQUAL(claim(0), 0);
	EQUAL(claim_flags(0, &claims[1], KVM_DIRTY_POOL_NOWAIT), 1);
	EQUAL(claim_flags(0, &claims[2], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(claim_flags(0, &claims[2], KVM_DIRTY_POOL_NORESERVE), NONE);
	give(1);
	give(0);
	/* one ring parked, one claimed: the parked one's reserve, at once */
	vm_mark(&vm, 0, 0, 0, 12, 0);
	EQUAL(claim(1), 0);
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), 1);
	CHECK(claims[2].word & RESERVE);
	give(2);
	give(1);
	vm_exit(&vm);
}

void test_all_claimed(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	claim(0);
	/* the owner never returns: the wait is bounded, OVERFLOW is set */
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	EQUAL(vm.overflows, 1);
	give(0);
	vm_exit(&vm);
	/* no ring yet */
	vm_init(&vm, 0, 1, 16, 4, NULL, 0);
	CHECK(kvm_dirty_pool_exhausted(&vm.pool));
	EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
	EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
	EQUAL(vm.overflows, 1);
	vm_exit(&vm);
}

void test_batches(void)
{
	/* at most 64 entries a claim, up to the soft limit */
	vm_init(&vm, 3, 3, 256, 64, "last-used", 0);
	EQUAL(claim(0), 0);
	EQUAL(claims[0].room, KVM_DIRTY_POOL_BATCH);
	give(0);
	EQUAL(vm_mark(&vm, 0, 5, 0, 512, 0), 512);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 192);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 192);
	EQUAL(kvm_dirty_pool_used(&vm.ring[2]), 128);
	EQUAL(vm_word(&vm, 0), PARKED);
	EQUAL(vm_word(&vm, 1), PARKED);
	EQUAL(vm_word(&vm, 2), FREE);
	EQUAL(vm.ring[0].claims, 4);
	EQUAL(vm.ring[2].claims, 2);
	EQUAL(vm.parks, 2);
	expect_next = 0;
	EQUAL(vm_harvest(&vm, 0, ~0u, in_order, NULL), 192);
	EQUAL(vm_harvest(&vm, 1, ~0u, in_order, NULL), 192);
	EQUAL(vm_harvest(&vm, 2, ~0u, in_order, NULL), 128);
	EQUAL(expect_next, 512);
	vm_exit(&vm);
	/* an odd soft limit splits batches unevenly */
	vm_init(&vm, 2, 2, 128, 28, "last-used", 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 0, 0), 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 130, 0), 130);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 100);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 30);
	EQUAL(vm.ring[0].claims, 2);
	/* the reserves fill exactly */
	EQUAL(vm_mark(&vm, 0, 0, 0, 70 + 28 + 28, 0), 126);
	EQUAL(vm.overflows, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm.overflows, 1);
	vm_exit(&vm);
}

void test_noreserve_partial(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 24);
	EQUAL(vm.overflows, 0);
	EQUAL(vm.reserves, 0);
	vm_exit(&vm);
}

void test_wrap(void)
{
	static const u32 starts[] = { 0, -1u, -8u, -12u, -13u, -16u, -1000u };
	u32 i, k;

	for (i = 0; i < ARRAY_SIZE(starts); i++) {
		vm_init(&vm, 1, 1, 16, 4, NULL, starts[i]);
		for (k = 0; k < 200; k++) {
			u32 n = 1 + k % 12;

			expect_next = k;
			EQUAL(vm_mark(&vm, 0, 5, k, n, 0), n);
			EQUAL(kvm_dirty_pool_used(&vm.ring[0]), n);
			EQUAL(vm_word(&vm, 0), n == 12 ? PARKED : FREE);
			EQUAL(vm_harvest(&vm, 0, ~0u, in_order, NULL), n);
			EQUAL(vm_reset(&vm, 0), n);
			EQUAL(vm_word(&vm, 0), FREE);
		}
		EQUAL(vm.overflows, 0);
		vm_exit(&vm);
	}
}

void test_soft_end_lags(void)
{
	u32 i;

	/* a userspace that keeps up never sees a ring parked */
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	for (i = 0; i < 100; i++) {
		vm_mark(&vm, 0, 0, 0, 7, 0);
		EQUAL(vm_drain(&vm, 0), 7);
	}
	EQUAL(vm.parks, 0);
	/* the limit moves with the resets */
	vm_mark(&vm, 0, 0, 0, 8, 0);
	vm_harvest(&vm, 0, 3, NULL, NULL);
	EQUAL(vm_reset(&vm, 0), 3);
	vm_mark(&vm, 0, 0, 0, 6, 0);
	EQUAL(vm.parks, 0);
	vm_mark(&vm, 0, 0, 0, 1, 0);
	EQUAL(vm.parks, 1);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 12);
	vm_exit(&vm);
}

void test_vm_user(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, -1, 0, 0, 30, 0), 30);
	EQUAL(vm.reserves, 2);
	EQUAL(vm.overflows, 0);
	EQUAL(vm.ring[0].last_user, KVM_DIRTY_POOL_VM_USER);
	EQUAL(vm_mark(&vm, -1, 0, 0, 3, 0), 3);
	EQUAL(vm.overflows, 1);
	vm_exit(&vm);
}

/* The first claim is no move: a vCPU's ring is its own until another claims it. */
void test_first_claim(void)
{
	vm_init(&vm, 3, 3, 16, 4, "last-used", 0);
	vm.user[2].last = &vm.ring[2];
	vm_mark(&vm, 2, 0, 0, 1, 0);
	vm_mark(&vm, 2, 0, 1, 1, 0);
	EQUAL(vm.ring[2].moves, 0);
	vm.pool.vm_user.last = &vm.ring[2];
	vm_mark(&vm, -1, 0, 2, 1, 0);
	EQUAL(vm.ring[2].moves, 1);
	vm_mark(&vm, 2, 0, 3, 1, 0);
	EQUAL(vm.ring[2].moves, 2);
	vm_exit(&vm);
}

/* Nor is the first claim of a ring that has come back, by who had it before. */
void test_attach_moves(void)
{
	vm_init(&vm, 2, 2, 16, 4, "last-used", 0);
	vm.user[0].last = &vm.ring[1];
	vm_mark(&vm, 0, 0, 0, 1, 0);
	EQUAL(vm.ring[1].moves, 1);
	vm_drain(&vm, 1);
	vm_detach(&vm, 1);
	vm_attach(&vm, 1);
	vm_mark(&vm, 0, 0, 1, 1, 0);
	EQUAL(vm.ring[1].claims, 2);
	EQUAL(vm.ring[1].moves, 1);
	vm_exit(&vm);
}

/* A ring at its old soft limit that was drained is not parked, and not counted. */
void test_no_park(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	vm_mark(&vm, 0, 0, 0, 11, 0);
	EQUAL(vm_drain(&vm, 0), 11);
	vm_mark(&vm, 0, 0, 11, 1, 0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.ring[0].parks, 0);
	EQUAL(vm.parks, 0);
	vm_mark(&vm, 0, 0, 12, 11, 0);
	EQUAL(vm_word(&vm, 0), PARKED);
	EQUAL(vm.ring[0].parks, 1);
	EQUAL(vm.parks, 1);
	vm_exit(&vm);
}
