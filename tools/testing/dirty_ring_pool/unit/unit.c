// SPDX-License-Identifier: GPL-2.0
/* Unit tests: one thread, each rule of the pool by itself.  TAP. */
#include <errno.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include "harness.h"

#define FREE	KVM_DIRTY_POOL_FREE
#define CLAIMED	KVM_DIRTY_POOL_CLAIMED
#define PARKED	KVM_DIRTY_POOL_PARKED
#define RESERVE	KVM_DIRTY_POOL_RESERVE
#define DETACHED	KVM_DIRTY_POOL_DETACHED
#define NONE	KVM_DIRTY_POOL_NONE

static const char *const policies[] = {
	"last-used", "round-robin", "lru", "mru",
};

static struct vm vm;

static int failed, tests, bad;

#define CHECK(c) do {							\
	if (!(c)) {							\
		printf("# %s:%d: %s\n", __func__, __LINE__, #c);	\
		failed = 1;						\
	}								\
} while (0)

#define EQUAL(a, b) do {						\
	long long _a = (a), _b = (b);					\
	if (_a != _b) {							\
		printf("# %s:%d: %s is %lld, not %lld\n", __func__,	\
		       __LINE__, #a, _a, _b);				\
		failed = 1;						\
	}								\
} while (0)

/* Claim and return: which ring was it? */
static struct kvm_dirty_pool_claim claims[VM_MAX_RINGS];

static u32 claim_flags(int user, struct kvm_dirty_pool_claim *claim,
		       unsigned int flags)
{
	struct kvm_dirty_pool_user *u;
	bool ok;

	u = user < 0 ? &vm.pool.vm_user : &vm.user[user];
	preempt_disable();
	ok = kvm_dirty_pool_claim(&vm.pool, u, flags, claim);
	preempt_enable();
	return ok ? claim->ring->index : NONE;
}

static u32 claim(int user)
{
	return claim_flags(user, &claims[user], 0);
}

static void give(int user)
{
	preempt_disable();
	kvm_dirty_pool_return(&vm.pool, &vm.user[user], &claims[user]);
	preempt_enable();
}

static u32 touch(int user)
{
	u32 ring = claim(user);

	if (ring != NONE) {
		kvm_dirty_pool_push(&claims[user], 0, 0);
		give(user);
	}
	return ring;
}

/* Use up what is free of one ring, through a user that has it. */
static void fill_all(void)
{
	u32 n = 0;

	while (!kvm_dirty_pool_exhausted(&vm.pool) && n++ < 10000)
		vm_mark(&vm, 0, 0, 0, 1, 0);
}

static void test_states(void)
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
	/* it is parked when it is said to be */
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
	/* a drain in parts frees it with the last one */
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

static void test_reset_while_claimed(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	/* drained between the push and the return: never seen as parked */
	vm_mark(&vm, 0, 0, 0, 11, 0);
	claim(0);
	EQUAL(claims[0].room, 1);
	kvm_dirty_pool_push(&claims[0], 0, 11);
	EQUAL(vm_drain(&vm, 0), 12);
	give(0);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.parks, 0);
	/* parked, its reserve claimed, and drained meanwhile */
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
	/* the same, the return comes last */
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

static void test_reserve_full(void)
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
	/* the user's own share first */
	EQUAL(vm.user[1].last->index, 0);
	EQUAL(claim_flags(0, &claims[0], 0), NONE);
	EQUAL(claim_flags(0, &claims[0], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(vm_mark(&vm, 0, 0, 32, 3, 0), 3);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflow.counter, 1);
	EQUAL(vm.pool.overflows.counter, 3);
	CHECK(vm.user[0].reserve);
	CHECK(vm.pool.exhaustions.counter >= 3);
	/* one entry reset of a full ring makes room for one */
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

static void test_reserve_home(void)
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

static void test_reserve_hint(void)
{
	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	EQUAL(vm.pool.room[0], 7);
	fill_all();
	EQUAL(vm_mark(&vm, 0, 0, 0, 8, 0), 8);
	EQUAL(vm.pool.room[0], 4);
	EQUAL(touch(0), 2);
	/* a reset that takes nothing, one of a single entry */
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.pool.room[0], 4);
	EQUAL(vm_harvest(&vm, 1, 1, NULL, NULL), 1);
	EQUAL(vm_reset(&vm, 1), 1);
	EQUAL(vm.pool.room[0], 6);
	EQUAL(touch(0), 1);
	EQUAL(vm.pool.room[0], 4);
	/* wrong, it costs time and no more: 3 entries are left */
	vm.pool.room[0] = 3;
	EQUAL(touch(0), 2);
	vm.pool.room[0] = 0;
	EQUAL(touch(0), 2);
	EQUAL(touch(0), 2);
	EQUAL(vm.overflows, 0);
	vm.pool.room[0] = 7;
	EQUAL(claim(0), NONE);
	/* freed */
	vm.pool.room[0] = 0;
	EQUAL(vm_drain(&vm, 0), 16);
	EQUAL(vm_word(&vm, 0), FREE);
	EQUAL(vm.pool.room[0], 1);
	vm_exit(&vm);
}

static void test_reserve_claimed_by_other(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	EQUAL(claim(0), 0);
	vm.user[1].home = 0;
	EQUAL(claim(1), 1);
	/* both reserves are held: an interrupt does not wait */
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), NONE);
	give(0);
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), 0);
	give(2);
	give(1);
	vm_exit(&vm);
}

static void test_nowait(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	/* interrupts the claim of the last used ring */
	EQUAL(claim(0), 0);
	EQUAL(claim_flags(0, &claims[1], KVM_DIRTY_POOL_NOWAIT), 1);
	EQUAL(claim_flags(0, &claims[2], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(claim_flags(0, &claims[2], KVM_DIRTY_POOL_NORESERVE), NONE);
	give(1);
	give(0);
	/* one parked, one claimed: its reserve, at once */
	vm_mark(&vm, 0, 0, 0, 12, 0);
	EQUAL(claim(1), 0);
	EQUAL(claim_flags(2, &claims[2], KVM_DIRTY_POOL_NOWAIT), 1);
	CHECK(claims[2].word & RESERVE);
	give(2);
	give(1);
	vm_exit(&vm);
}

static void test_all_claimed(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	claim(0);
	/* the owner never comes back: bounded, and lost loudly */
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

static u64 expect_next;

static void in_order(void *arg, u32 ring, u32 slot, u64 offset)
{
	EQUAL(slot, 5);
	EQUAL(offset, expect_next);
	expect_next++;
}

static void test_batches(void)
{
	/* 64 at a time, and not over the soft limit */
	vm_init(&vm, 3, 3, 256, 64, NULL, 0);
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
	vm_init(&vm, 2, 2, 128, 28, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 0, 0), 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 130, 0), 130);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 100);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 30);
	EQUAL(vm.ring[0].claims, 2);
	/* exactly full, with reserves */
	EQUAL(vm_mark(&vm, 0, 0, 0, 70 + 28 + 28, 0), 126);
	EQUAL(vm.overflows, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm.overflows, 1);
	vm_exit(&vm);
}

static void test_noreserve_partial(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 24);
	EQUAL(vm.overflows, 0);
	EQUAL(vm.reserves, 0);
	vm_exit(&vm);
}

static void test_wrap(void)
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

static void test_soft_end_lags(void)
{
	u32 i;

	/* a userspace that keeps up never sees a ring parked */
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	for (i = 0; i < 100; i++) {
		vm_mark(&vm, 0, 0, 0, 7, 0);
		EQUAL(vm_drain(&vm, 0), 7);
	}
	EQUAL(vm.parks, 0);
	/* the limit is counted from what is reset */
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

static void test_last_used(void)
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
	/* each keeps its own, and another's is the next one */
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

static void test_round_robin(void)
{
	u32 i;

	vm_init(&vm, 3, 4, 64, 4, "round-robin", 0);
	for (i = 0; i < 9; i++)
		EQUAL(touch(i % 2), i % 3);
	EQUAL(claim(0), 0);
	EQUAL(touch(1), 1);
	EQUAL(touch(1), 2);
	EQUAL(touch(1), 1);
	give(0);
	vm_exit(&vm);
}

static void test_lru(void)
{
	u32 i;

	vm_init(&vm, 4, 4, 64, 4, "lru", 0);
	for (i = 0; i < 8; i++)
		EQUAL(touch(0), i % 4);
	for (i = 0; i < 4; i++)
		EQUAL(claim(i), i);
	/* the order of return is the order of claim */
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

static void test_mru(void)
{
	u32 i;

	vm_init(&vm, 4, 4, 64, 4, "mru", 0);
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

static void test_policy_long(void)
{
	u32 p, i;

	/* laps of the queue, of the tags and of the cursor */
	for (p = 0; p < ARRAY_SIZE(policies); p++) {
		u32 used[VM_MAX_RINGS] = {};

		vm_init(&vm, 5, 64, 64, 4, policies[p], 0);
		for (i = 0; i < 2000; i++) {
			u32 ring = touch(i % 5);

			CHECK(ring < 5);
			used[ring % VM_MAX_RINGS]++;
			if (i % 7 == 0)
				vm_drain(&vm, i / 7 % 5);
		}
		if (!strcmp(policies[p], "lru") ||
		    !strcmp(policies[p], "round-robin"))
			for (i = 0; i < 5; i++)
				EQUAL(used[i], 400);
		EQUAL(vm.overflows, 0);
		EQUAL(vm.reserves, 0);
		vm_exit(&vm);
	}
}

static void test_next(void)
{
	u32 i;

	vm_init(&vm, 64, 64, 16, 4, NULL, 0);
	for (i = 0; i < 64; i++)
		EQUAL(kvm_dirty_pool_next(&vm.pool, i), i);
	EQUAL(kvm_dirty_pool_next(&vm.pool, 64), 0);
	EQUAL(kvm_dirty_pool_next(&vm.pool, NONE), 0);
	/* parked ones are skipped, around the end as well */
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

/* More than 64 rings: more than one word of the bitmap. */
static void test_many_rings(void)
{
	static struct kvm_dirty_pool_ring extra[70];
	static struct kvm_dirty_gfn gfns[70][4];
	u32 p, i;

	for (p = 0; p < ARRAY_SIZE(policies); p++) {
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
		/* the gfns of the rest are not from kzalloc() */
		vm.pool.nr_rings = 64;
		vm_exit(&vm);
	}
}

static void test_gate(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	fill_all();
	/* used no reserve: not stopped */
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
	vm_mark(&vm, 0, 0, 0, 1, 0);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
	/* a FREE ring, but a reserve entry undrained */
	EQUAL(vm_drain(&vm, 1), 12);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	/* the reserve drained in part */
	EQUAL(vm_harvest(&vm, 0, 12, NULL, NULL), 12);
	EQUAL(vm_reset(&vm, 0), 12);
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm_drain(&vm, 0), 1);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	CHECK(!vm.user[0].reserve);
	/* all reserves drained, but no ring FREE */
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

/* A userspace that only ever drains one ring lets nobody eat all reserves. */
static void test_gate_one_ring_drained(void)
{
	u32 round, u, entered = 0;

	vm_init(&vm, 4, 4, 16, 4, NULL, 0);
	for (round = 0; round < 200; round++) {
		for (u = 0; u < 4; u++) {
			if (kvm_dirty_pool_gate(&vm.pool, &vm.user[u]))
				continue;
			entered++;
			/* a stay: until a reserve is used, then rsvd at most */
			while (!vm.user[u].reserve)
				vm_mark(&vm, u, 0, 0, 1, 0);
			vm_mark(&vm, u, 0, 0, 3, 0);
		}
		vm_drain(&vm, 0);
	}
	EQUAL(vm.overflows, 0);
	EQUAL(vm.pool.overflow.counter, 0);
	CHECK(entered >= 4);
	/* they go on when all is drained */
	for (u = 0; u < 4; u++)
		vm_drain(&vm, u);
	for (u = 0; u < 4; u++)
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[u]));
	vm_exit(&vm);
}

static void test_growth(void)
{
	u32 p, i;

	for (p = 0; p < ARRAY_SIZE(policies); p++) {
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

static void test_switch(void)
{
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	bool seen[4] = {};
	u32 a, b, i;

	vm_init(&vm, 4, 4, 16, 4, NULL, 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "last-used"));
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "no such"), -ENOENT);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "last-used"));
	vm_exit(&vm);

	for (a = 0; a < 4; a++) {
		for (b = 0; b < 4; b++) {
			vm_init(&vm, 4, 4, 16, 4, policies[a], 0);
			/* one claimed over the switch, one parked */
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

static void test_switch_nomem(void)
{
	unsigned long n;
	int ret;

	for (n = 1; n < 8; n++) {
		vm_init(&vm, 2, 2, 16, 4, NULL, 0);
		shim_alloc_fail = n;
		ret = kvm_dirty_pool_set_policy(&vm.pool, n & 4 ? "mru" : "lru");
		if (shim_alloc_fail)
			EQUAL(ret, 0);
		else
			EQUAL(ret, -ENOMEM);
		shim_alloc_fail = n;
		ret = kvm_dirty_pool_set_policy(&vm.pool, n & 4 ? "lru" : "mru");
		if (shim_alloc_fail)
			EQUAL(ret, 0);
		else
			EQUAL(ret, -ENOMEM);
		shim_alloc_fail = 0;
		CHECK(touch(0) < 2);
		vm_exit(&vm);
	}
	shim_alloc_fail = 1;
	EQUAL(kvm_dirty_pool_policy_set_default("round-robin"), 0);
	shim_alloc_fail = 0;
	for (n = 1; n < 5; n++) {
		struct kvm_dirty_pool pool = {};
		static const struct kvm_dirty_pool_ops ops;

		shim_alloc_fail = n;
		EQUAL(kvm_dirty_pool_init(&pool, &ops, 4), -ENOMEM);
	}
	shim_alloc_fail = 0;
	EQUAL(kvm_dirty_pool_policy_set_default("last-used"), 0);
}

static u32 lazy_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	return NONE;
}

static u32 mad_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	static u32 n;

	n++;
	return (n * 2654435761u) >> (n % 32);
}

static void test_registry(void)
{
	struct module mod = {};
	struct kvm_dirty_pool_policy p = { .name = "lazy", .owner = &mod };
	struct kvm_dirty_pool_policy q = { .name = "lru", .pick = lazy_pick };
	const struct kvm_dirty_pool_policy *got;
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];

	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	p.pick = lazy_pick;
	memset(p.name, 'x', sizeof(p.name));
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	memset(p.name, 0, sizeof(p.name));
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	EQUAL(kvm_dirty_pool_policy_register(&q), -EEXIST);
	memcpy(p.name, "lazy", 5);
	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	memcpy(q.name, "lazy", 5);
	EQUAL(kvm_dirty_pool_policy_register(&q), -EEXIST);
	CHECK(!kvm_dirty_pool_policy_get("laz"));
	got = kvm_dirty_pool_policy_get("lazy");
	CHECK(got == &p);
	EQUAL(mod.refs, 1);
	kvm_dirty_pool_policy_put(got);
	EQUAL(mod.refs, 0);
	/* a pool keeps the module */
	vm_init(&vm, 2, 2, 16, 4, "lazy", 0);
	EQUAL(mod.refs, 1);
	EQUAL(touch(0), 0);
	EQUAL(touch(1), 1);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "mru"), 0);
	EQUAL(mod.refs, 0);
	mod.going = true;
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lazy"), -ENOENT);
	mod.going = false;
	vm_exit(&vm);
	/* the default keeps it, too */
	EQUAL(kvm_dirty_pool_policy_set_default("no such"), -ENOENT);
	EQUAL(kvm_dirty_pool_policy_set_default("lazy"), 0);
	EQUAL(mod.refs, 1);
	kvm_dirty_pool_policy_get_default(name);
	CHECK(!strcmp(name, "lazy"));
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(mod.refs, 2);
	vm_exit(&vm);
	EQUAL(kvm_dirty_pool_policy_set_default("last-used"), 0);
	EQUAL(mod.refs, 0);
	kvm_dirty_pool_policy_unregister(&p);
	CHECK(!kvm_dirty_pool_policy_get("lazy"));
}

static u32 nr_put;

static void count_put(void *data, u32 ring)
{
	nr_put++;
}

/* A policy may want both the last ring tried and all returns. */
static void test_sticky_put(void)
{
	struct kvm_dirty_pool_policy p = {
		.name = "both", .pick = lazy_pick, .put = count_put,
		.flags = KVM_DIRTY_POOL_POLICY_STICKY,
	};

	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	vm_init(&vm, 1, 1, 16, 4, "both", 0);
	nr_put = 0;
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, 0, 0, 1, 1, 0), 1);
	EQUAL(nr_put, 2);
	EQUAL(vm_mark(&vm, 0, 0, 2, 10, 0), 10);
	EQUAL(nr_put, 2);
	EQUAL(vm.quiesces, 0);
	EQUAL(vm_drain(&vm, 0), 12);
	EQUAL(vm.quiesces, 1);
	EQUAL(nr_put, 3);
	vm_exit(&vm);
	kvm_dirty_pool_policy_unregister(&p);
}

/* A policy that offers nonsense is slow, and no more. */
static void test_mad_policy(void)
{
	struct kvm_dirty_pool_policy mad = { .name = "mad", .pick = mad_pick };
	u32 i;

	EQUAL(kvm_dirty_pool_policy_register(&mad), 0);
	vm_init(&vm, 3, 3, 16, 4, "mad", 0);
	for (i = 0; i < 3; i++) {
		CHECK(claim(i) < 3);
		CHECK(claims[i].word == CLAIMED);
	}
	for (i = 0; i < 3; i++)
		give(i);
	EQUAL(vm_mark(&vm, 0, 0, 0, 48, 0), 48);
	EQUAL(vm.overflows, 0);
	vm_exit(&vm);
	kvm_dirty_pool_policy_unregister(&mad);
}

static unsigned long long prot_sum;

static void sum_protect(struct vm *v, u32 slot, u64 offset)
{
	prot_sum += (slot + 1) * 1000003ull ^ offset;
}

static void test_reset_runs(void)
{
	static const u64 offsets[] = {
		0, 1, 2, 63, 64, 62, 61, 200, 199, 198, 137, 136, 500, 10, 500,
		~0ull, ~0ull - 1, 0, 1000, 1064, 1000, 937, 936, 1000, 5000,
	};
	unsigned long long want = 0;
	bool dup;
	u32 i, k;

	/* joined into masks or not, each page is protected, none else */
	vm_init(&vm, 1, 1, 128, 4, NULL, 0);
	vm.on_protect = sum_protect;
	prot_sum = 0;
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		vm_mark(&vm, 0, 3, offsets[i], 1, 0);
		prot_sum = 0;
		want = 4 * 1000003ull ^ offsets[i];
		EQUAL(vm_drain(&vm, 0), 1);
		CHECK(prot_sum == want);
	}
	want = 0;
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		vm_mark(&vm, 0, 3 + i / 13, offsets[i], 1, 0);
		for (k = 0, dup = false; k < i; k++)
			dup |= offsets[k] == offsets[i] && k / 13 == i / 13;
		/* once, also if it comes again */
		if (!dup)
			want += (4 + i / 13) * 1000003ull ^ offsets[i];
	}
	prot_sum = 0;
	EQUAL(vm_drain(&vm, 0), ARRAY_SIZE(offsets));
	CHECK(prot_sum == want);
	/* many far apart: more runs than are kept */
	vm.protected = 0;
	vm.protects = 0;
	for (i = 0; i < 99; i++)
		vm_mark(&vm, 0, i & 1, 1000 * i, 1, 0);
	EQUAL(vm_drain(&vm, 0), 99);
	EQUAL(vm.protected, 99);
	CHECK(vm.protects >= 2);
	/* a run up and one down is one run each */
	vm.protects = 0;
	for (i = 0; i < 32; i++)
		vm_mark(&vm, 0, 0, i, 1, 0);
	EQUAL(vm_drain(&vm, 0), 32);
	EQUAL(vm.protects, 1);
	vm_exit(&vm);
}

static struct kvm_dirty_pool_run runs_seen[64];
static u32 nr_runs_seen;

static void keep_run(struct vm *v, const struct kvm_dirty_pool_run *run)
{
	CHECK(nr_runs_seen < ARRAY_SIZE(runs_seen));
	runs_seen[nr_runs_seen++] = *run;
}

static void test_reset_merge(void)
{
	static const struct {
		u32 slot;
		u64 offset;
	} entries[] = {
		/* two scans by turns, one of them down, and each page twice */
		{ 1, 70 }, { 1, 4099 }, { 1, 71 }, { 1, 4098 }, { 1, 127 },
		{ 1, 4096 }, { 1, 70 }, { 1, 4099 }, { 1, 71 }, { 1, 4098 },
		/* at the ends of what a run can hold, and just beyond */
		{ 1, 64 }, { 1, 4160 }, { 1, 63 },
		/* the same place of another slot, also of another address space */
		{ 2, 70 }, { 1, 68 }, { 0x10001, 70 }, { 2, 71 },
		/* the same place in the index, far away */
		{ 1, 70 + (1ull << 40) }, { 1, 69 },
		/* on both sides of 2^64 */
		{ 1, ~0ull }, { 3, ~0ull - 63 }, { 3, 5 }, { 3, ~0ull },
	};
	static const struct kvm_dirty_pool_run want[] = {
		{ 1, 64, 1ull << 63 | 0xc1 },
		{ 1, 4096, 0xd },
		{ 1, 4160, 0x1 },
		{ 1, 0, 1ull << 63 },
		{ 2, 64, 0x40 },
		{ 1, 64, 0x10 },
		{ 0x10001, 64, 0x40 },
		{ 2, 64, 0x80 },
		{ 1, 64 + (1ull << 40), 0x40 },
		{ 1, 64, 0x20 },
		{ 1, ~0ull - 63, 1ull << 63 },
		{ 3, ~0ull - 63, 1ull << 63 | 0x1 },
		{ 3, 0, 0x20 },
	};
	u32 i;

	vm_init(&vm, 1, 1, 64, 4, NULL, 0);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		vm_mark(&vm, 0, entries[i].slot, entries[i].offset, 1, 0);
	vm.on_run = keep_run;
	nr_runs_seen = 0;
	EQUAL(vm_drain(&vm, 0), ARRAY_SIZE(entries));
	EQUAL(vm.protects, 1);
	EQUAL(nr_runs_seen, ARRAY_SIZE(want));
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		EQUAL(runs_seen[i].slot, want[i].slot);
		CHECK(runs_seen[i].offset == want[i].offset);
		CHECK(runs_seen[i].mask == want[i].mask);
	}
	vm_exit(&vm);
}

#define ANY_PAGES	124

static struct kvm_dirty_gfn pages_seen[ANY_PAGES * BITS_PER_LONG];
static u32 nr_pages_seen;

static void keep_page(struct vm *v, u32 slot, u64 offset)
{
	CHECK(nr_pages_seen < ARRAY_SIZE(pages_seen));
	pages_seen[nr_pages_seen++] = (struct kvm_dirty_gfn) {
		.slot = slot, .offset = offset,
	};
}

static bool has_page(const struct kvm_dirty_gfn *pages, u32 nr,
		     const struct kvm_dirty_gfn *page)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		if (pages[i].slot == page->slot && pages[i].offset == page->offset)
			return true;
	}
	return false;
}

/* Whatever userspace makes of the entries: these pages, and no other. */
static void test_reset_any(void)
{
	struct kvm_dirty_gfn any[ANY_PAGES];
	u32 round, i;

	vm_init(&vm, 1, 1, 128, 4, NULL, 0);
	vm.on_protect = keep_page;
	srandom(1);
	for (round = 0; round < 500; round++) {
		/* From neighbours to the other end of all that there is */
		u64 reach = ~0ull >> (random() % 62);
		u64 base = random() % 3 * (~0ull / 2 - 40);

		for (i = 0; i < ANY_PAGES; i++) {
			u64 r = (u64)random() << 40 ^ (u64)random() << 20 ^ random();

			any[i].slot = random() % 3 << 15;
			any[i].offset = base + r % reach - reach / 2;
			vm_mark(&vm, 0, any[i].slot, any[i].offset, 1, 0);
		}
		nr_pages_seen = 0;
		EQUAL(vm_drain(&vm, 0), ANY_PAGES);
		for (i = 0; i < ANY_PAGES; i++)
			CHECK(has_page(pages_seen, nr_pages_seen, &any[i]));
		for (i = 0; i < nr_pages_seen; i++)
			CHECK(has_page(any, ANY_PAGES, &pages_seen[i]));
	}
	vm_exit(&vm);
}

static void test_reset_signal(void)
{
	u32 count = 0;
	unsigned long flushes;

	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	vm_mark(&vm, 0, 0, 0, 12, 0);
	vm_harvest(&vm, 0, 12, NULL, NULL);
	flushes = vm.flushes;
	shim_signal_after = 6;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 1, &count), -EINTR);
	EQUAL(count, 5);
	/* what was taken is protected, and flushed */
	EQUAL(vm.protected, 5);
	EQUAL(vm.flushes, flushes + 1);
	EQUAL(vm_word(&vm, 0), PARKED);
	shim_signal_after = 0;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 1, &count), 0);
	EQUAL(count, 12);
	EQUAL(vm.flushes, flushes + 2);
	EQUAL(vm_word(&vm, 0), FREE);
	vm_exit(&vm);
}

/* The flush of a reset that another thread has done but not flushed. */
static void test_flush(void)
{
	unsigned long flushes;

	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	/* a ring that joins counts as a reset */
	EQUAL(vm_reset(&vm, 0), 0);
	flushes = vm.flushes;
	EQUAL(vm_reset(&vm, 0), 0);
	vm_mark(&vm, 0, 0, 0, 5, 0);
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.flushes, flushes);
	EQUAL(vm_drain(&vm, 0), 5);
	EQUAL(vm.flushes, flushes + 1);
	/* nothing is left to be taken back, but to be flushed */
	atomic_inc(&vm.pool.resets);
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.flushes, flushes + 2);
	EQUAL(vm_reset(&vm, 1), 0);
	EQUAL(vm.flushes, flushes + 2);
	/* its count goes round */
	atomic_set(&vm.pool.resets, 0x7fffffff);
	atomic_set(&vm.pool.flushed, 0x7fffffff);
	vm_mark(&vm, 0, 0, 0, 5, 0);
	EQUAL(vm_drain(&vm, 0), 5);
	EQUAL(vm.flushes, flushes + 3);
	vm_exit(&vm);
}

static void test_reset_hostile(void)
{
	static const u32 flags[] = { 0, 1, 2, 3, 4, 0xfffffffe, 0xffffffff };
	u32 seed = 1, round, i, f;

	/* all flagged as harvested though nothing was pushed */
	vm_init(&vm, 2, 2, 16, 4, NULL, -5);
	for (f = 0; f < ARRAY_SIZE(flags); f++) {
		for (i = 0; i < 16; i++)
			vm.ring[0].gfns[i] = (struct kvm_dirty_gfn) {
				.flags = flags[f], .slot = -1, .offset = -1,
			};
		EQUAL(vm_reset(&vm, 0), 0);
		EQUAL(vm.ring[0].reset_index, -5u);
	}
	EQUAL(vm.protected, 0);
	/* harvested beyond what was pushed */
	memset(vm.ring[0].gfns, 0, 16 * sizeof(struct kvm_dirty_gfn));
	vm_mark(&vm, 0, 0, 0, 3, 0);
	for (i = 0; i < 16; i++)
		vm.ring[0].gfns[i].flags = KVM_DIRTY_GFN_F_RESET;
	EQUAL(vm_reset(&vm, 0), 3);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 0);
	vm_exit(&vm);

	/* anything at any time: indices stay sane, rings come back */
	for (round = 0; round < 2000; round++) {
		vm_init(&vm, 2, 2, 8, 2, policies[round % 4], -3);
		for (i = 0; i < 30; i++) {
			u32 r = (seed = seed * 1103515245 + 12345) >> 16;
			u32 ring = r & 1;
			struct kvm_dirty_gfn *e = &vm.ring[ring].gfns[r >> 1 & 7];

			switch (r >> 4 & 3) {
			case 0:
				vm_mark(&vm, r >> 6 & 1, r, r, 1 + (r >> 7 & 3), 0);
				break;
			case 1:
				vm_reset(&vm, ring);
				break;
			default:
				e->flags = r >> 6 & 7;
				e->slot = seed;
				e->offset = seed * 7;
			}
			CHECK(kvm_dirty_pool_used(&vm.ring[0]) <= 8);
			CHECK(kvm_dirty_pool_used(&vm.ring[1]) <= 8);
		}
		for (i = 0; i < 2; i++) {
			for (f = 0; f < 8; f++)
				vm.ring[i].gfns[f].flags = KVM_DIRTY_GFN_F_RESET;
			vm_reset(&vm, i);
			EQUAL(kvm_dirty_pool_used(&vm.ring[i]), 0);
			EQUAL(vm_word(&vm, i), FREE);
		}
		EQUAL(vm.pool.nr_reserve.counter, 0);
		vm_exit(&vm);
	}
}

/* Several rings at once, in order: some of them, and all that is harvested. */
static void see_quiesces(struct vm *v, u32 slot, u64 offset)
{
	CHECK(vm.quiesces);
}

static void test_reset_range(void)
{
	u32 count = 7, i;

	vm_init(&vm, 40, 40, 16, 4, NULL, 0);
	vm.on_protect = see_quiesces;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 40, &count), 0);
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 3, 3, &count), 0);
	EQUAL(count, 7);
	/* nothing was harvested: nobody waits */
	EQUAL(vm.quiesces, 0);
	for (i = 0; i < 40; i++) {
		vm.user[0].last = &vm.ring[i];
		EQUAL(vm_mark(&vm, 0, i, 0, 3, 0), 3);
		EQUAL(vm_harvest(&vm, i, 3, NULL, NULL), 3);
	}
	/* those of the range, and with one wait before the first walk */
	vm.flushes = 0;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 2, 5, &count), 0);
	EQUAL(count, 7 + 9);
	EQUAL(vm.quiesces, 1);
	EQUAL(vm.flushes, 1);
	for (i = 0; i < 40; i++)
		EQUAL(kvm_dirty_pool_used(&vm.ring[i]), i >= 2 && i < 5 ? 0 : 3);
	/* not for a ring that has nothing, but for the next one */
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 3, 6, &count), 0);
	EQUAL(count, 7 + 12);
	EQUAL(vm.quiesces, 2);
	/* more rings than one wait serves */
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 40, &count), 0);
	EQUAL(count, 7 + 120);
	EQUAL(vm.quiesces, 4);
	EQUAL(vm.flushes, 3);
	EQUAL(vm.protected, 120);
	vm_exit(&vm);
}

static void test_reset_range_signal(void)
{
	u32 count = 0, i;

	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	for (i = 0; i < 3; i++) {
		vm.user[0].last = &vm.ring[i];
		vm_mark(&vm, 0, i, 0, 3, 0);
		vm_harvest(&vm, i, 3, NULL, NULL);
	}
	vm.flushes = 0;
	/* in the second ring: the third is left alone */
	shim_signal_after = 5;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 3, &count), -EINTR);
	shim_signal_after = 0;
	EQUAL(count, 4);
	EQUAL(vm.protected, 4);
	EQUAL(vm.flushes, 1);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 2);
	EQUAL(kvm_dirty_pool_used(&vm.ring[2]), 3);
	/* one that does not kill ends nothing */
	shim_signal_harmless = true;
	shim_signal_after = 2;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 3, &count), 0);
	shim_signal_harmless = false;
	shim_signal_after = 0;
	EQUAL(count, 9);
	EQUAL(vm.protected, 9);
	vm_exit(&vm);
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

static void test_detach(void)
{
	u32 p, i;

	for (p = 0; p < ARRAY_SIZE(policies); p++) {
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
		/* what was harvested is reset, the rest is elsewhere, in order */
		EQUAL(vm_word(&vm, i), DETACHED);
		EQUAL(vm.protected, 2);
		EQUAL(kvm_dirty_pool_used(&vm.ring[i]), 0);
		CHECK(!(vm.pool.avail[0] & BIT(i)));
		CHECK(!(vm.pool.room[0] & BIT(i)));
		EQUAL(vm.overflows, 0);
		expect_next = 2;
		/* round-robin and lru take another ring for each */
		if (p == 0 || p == 3)
			EQUAL(vm_harvest(&vm, vm.pool.vm_user.last->index, ~0u,
					 in_order, NULL), 3);
		for (i = 0; i < 3; i++)
			vm_drain(&vm, i);
		EQUAL(vm.protected, 5);
		EQUAL(parked_now(), 0);
		vm_exit(&vm);
	}
}

static void test_detach_unused(void)
{
	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	vm_detach(&vm, 1);
	/* nobody is offered the ring, nor waits for it */
	EQUAL(vm_mark(&vm, 1, 0, 0, 24, 0), 24);
	EQUAL(vm.ring[1].claims, 0);
	CHECK(kvm_dirty_pool_exhausted(&vm.pool));
	EQUAL(vm_mark(&vm, 1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 0);
	EQUAL(vm_mark(&vm, 1, 0, 0, 8, 0), 8);
	EQUAL(vm.overflows, 0);
	/* all full, as if it were not there: not given up, see full_at */
	vm.pool.full_at = ~vm.pool.resets.counter;
	EQUAL(claim_flags(1, &claims[1], KVM_DIRTY_POOL_NOWAIT), NONE);
	EQUAL(vm.pool.full_at, vm.pool.resets.counter);
	if (failed) {
		/* Else each mark to come waits for ever. */
		vm_exit(&vm);
		return;
	}
	EQUAL(claim(1), NONE);
	EQUAL(vm.ring[1].claims, 0);
	/* a second time: nothing is done */
	EQUAL(vm.ring[1].reset_index, 0);
	vm_detach(&vm, 1);
	EQUAL(vm_word(&vm, 1), DETACHED);
	EQUAL(vm.ring[1].drains, 0);
	/* nor by a reset */
	EQUAL(vm_drain(&vm, 1), 0);
	EQUAL(vm_word(&vm, 1), DETACHED);
	/* the last ones */
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

static void test_detach_parked(void)
{
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	/* parked, with entries in its reserve; the other has room */
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

static void test_attach(void)
{
	static const u32 starts[] = { 0, -1u, -5u, -16u, -21u, 3 };
	u32 s, n, i;

	for (s = 0; s < ARRAY_SIZE(starts); s++) {
		for (n = 0; n < 16; n++) {
			u32 was;

			vm_init(&vm, 1, 1, 16, 4, policies[n % 4], starts[s]);
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
			/* from the first entry on, to the soft limit */
			expect_next = 100;
			EQUAL(vm_mark(&vm, 0, 5, 100, 12, 0), 12);
			EQUAL(vm.ring[0].gfns[0].offset, 100);
			EQUAL(vm_word(&vm, 0), PARKED);
			EQUAL(vm_harvest(&vm, 0, ~0u, in_order, NULL), 12);
			EQUAL(vm_reset(&vm, 0), 12);
			/* attached already */
			was = vm.ring[0].dirty_index;
			kvm_dirty_pool_attach(&vm.pool, &vm.ring[0]);
			EQUAL(vm.ring[0].dirty_index, was);
			EQUAL(vm_word(&vm, 0), FREE);
			vm_exit(&vm);
		}
	}
}

static void test_not_added(void)
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

/* What a policy is told: not of a ring that is detached. */
static void test_detach_policy(void)
{
	u32 a, b, i;

	for (a = 0; a < 4; a++) {
		for (b = 0; b < 4; b++) {
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

static void test_gate_spare(void)
{
	u32 p, i;

	for (p = 0; p < ARRAY_SIZE(policies); p++) {
		unsigned long parks;

		vm_init(&vm, 2, 2, 16, 4, policies[p], 0);
		fill_all();
		/* two have to wait, and are counted once each */
		vm_mark(&vm, 0, 0, 0, 1, 0);
		vm_mark(&vm, 1, 0, 0, 1, 0);
		for (i = 0; i < 3; i++) {
			CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
			EQUAL(vm.pool.nr_gated.counter, 1);
		}
		CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
		EQUAL(vm.pool.nr_gated.counter, 2);
		/* who used no reserve is none of them */
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[2]));
		EQUAL(vm.pool.nr_gated.counter, 2);
		/* a ring is claimed: no reason to wait */
		EQUAL(vm_drain(&vm, 0) + vm_drain(&vm, 1), 26);
		parks = vm.parks;
		/* the last entry of each is left */
		EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 22);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		EQUAL(vm.parks, parks);
		EQUAL(vm_word(&vm, 0), FREE);
		EQUAL(vm_word(&vm, 1), FREE);
		/* counted from what is reset */
		EQUAL(vm_harvest(&vm, 0, 5, NULL, NULL), 5);
		EQUAL(vm_reset(&vm, 0), 5);
		EQUAL(vm_mark(&vm, -1, 0, 0, 100, KVM_DIRTY_POOL_NORESERVE), 5);
		EQUAL(vm.parks, parks);
		/* one passes, and the other still waits */
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
		EQUAL(vm.pool.nr_gated.counter, 1);
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
		EQUAL(vm.pool.nr_gated.counter, 1);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[1]));
		EQUAL(vm.pool.nr_gated.counter, 0);
		/* nobody does: to the last entry */
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

/* A ring comes with its vCPU: no move until somebody else has it. */
static void test_first_claim(void)
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

/* Rings that were tried in vain before a reserve was claimed. */
static void test_reserve_retries(void)
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

/* Each who uses a reserve has to pass the gate, not only who begins it. */
static void test_reserve_second_user(void)
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

/* At its old soft limit, but drained meanwhile: no park, and none is counted. */
static void test_no_park(void)
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

/* Whoever will not come back to look need not have room left for it. */
static void test_ungate(void)
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
	/* it does come back */
	CHECK(kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm.pool.nr_gated.counter, 1);
	vm_drain(&vm, 0);
	vm_drain(&vm, 1);
	CHECK(!kvm_dirty_pool_gate(&vm.pool, &vm.user[0]));
	EQUAL(vm.pool.nr_gated.counter, 0);
	vm_exit(&vm);
}

/* With no ring there is none to wait for. */
static void test_gate_no_ring(void)
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

/* What nobody asks for any more takes no room, and is not lost. */
static void test_detach_unwanted(void)
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

/* One exit tells of each OVERFLOW, and all others that happen anyway. */
static void test_report_overflow(void)
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
		/* more of the same */
		vm_mark(&vm, 0, 0, 0, 2, 0);
		CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, false));
		EQUAL(vm.overflows, i + 1);
		/* cleared */
		atomic_set(&vm.pool.overflow, 0);
		CHECK(!kvm_dirty_pool_report_overflow(&vm.pool, true));
	}
	vm_exit(&vm);
}

/* Nothing was reset since all was full: another mark is lost without a search. */
static void test_full_at(void)
{
	struct kvm_dirty_pool_ring *ring = &vm.ring[0];
	u64 exhaustions;
	u32 round;

	vm_init(&vm, 1, 4, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 16, 0), 16);
	for (round = 0; round < 3; round++) {
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 1);
		/* room that no reset has told of is not looked for */
		ring->reset_index++;
		exhaustions = vm.pool.exhaustions.counter;
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm_mark(&vm, 1, 0, 0, 1, KVM_DIRTY_POOL_NOWAIT), 1);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, KVM_DIRTY_POOL_NORESERVE), 0);
		EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 4);
		EQUAL(vm.pool.exhaustions.counter, exhaustions + 4);
		/* nor if it is told of, but after OVERFLOW was cleared it is */
		if (round == 0)
			atomic_inc(&vm.pool.resets);
		else if (round == 1)
			atomic_set(&vm.pool.overflow, 0);
		else
			vm.pool.full_at = vm.pool.resets.counter - 1;
		EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
		EQUAL(vm.pool.overflows.counter, 4 * round + 4);
	}
	/* for real: a reset, a ring that joins, one that comes back */
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

static void test_overflow_told(void)
{
	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	EQUAL(vm_mark(&vm, 0, 0, 0, 16, 0), 16);
	vm.user[1].reserve = false;
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	/* used no reserve, and has to pass the gate all the same */
	CHECK(vm.user[1].reserve);
	EQUAL(vm.losses, 1);
	EQUAL(vm.overflows, 1);
	EQUAL(vm_mark(&vm, 1, 0, 0, 3, 0), 3);
	EQUAL(vm_mark(&vm, 2, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, -1, 0, 0, 1, 0), 1);
	EQUAL(vm.losses, 4);
	EQUAL(vm.overflows, 1);
	EQUAL(vm.pool.overflows.counter, 6);
	/* userspace clears it: the next is news */
	atomic_set(&vm.pool.overflow, 0);
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, 1, 0, 0, 1, 0), 1);
	EQUAL(vm.losses, 6);
	EQUAL(vm.overflows, 2);
	EQUAL(vm.reserves, 1);
	vm_exit(&vm);
}

static void test_vm_user(void)
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

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "each state change", test_states },
	{ "drained while claimed", test_reset_while_claimed },
	{ "reserve, and OVERFLOW when it is full", test_reserve_full },
	{ "reserve: the own share first", test_reserve_home },
	{ "reserve: the hint of where there is room", test_reserve_hint },
	{ "reserve: claimed by one at a time", test_reserve_claimed_by_other },
	{ "interrupt: never waits", test_nowait },
	{ "all rings claimed for ever, or none there", test_all_claimed },
	{ "batches split at 64 and at the soft limit", test_batches },
	{ "back-pressure stays out of the reserve", test_noreserve_partial },
	{ "indices wrap around", test_wrap },
	{ "soft limit counts from the last reset", test_soft_end_lags },
	{ "order of last-used", test_last_used },
	{ "order of round-robin", test_round_robin },
	{ "order of lru", test_lru },
	{ "order of mru", test_mru },
	{ "each policy goes round", test_policy_long },
	{ "next ring that is not parked", test_next },
	{ "more rings than bits in a word", test_many_rings },
	{ "gate: FREE ring and no reserve entry", test_gate },
	{ "gate: userspace that drains one ring only", test_gate_one_ring_drained },
	{ "growth", test_growth },
	{ "policy switch, each to each", test_switch },
	{ "policy switch without memory", test_switch_nomem },
	{ "registry", test_registry },
	{ "policy with both a last ring and a put()", test_sticky_put },
	{ "policy that offers nonsense", test_mad_policy },
	{ "reset protects each page, in runs", test_reset_runs },
	{ "reset merges pages that come by turns", test_reset_merge },
	{ "reset protects what entries say, whatever that is", test_reset_any },
	{ "reset stops at a signal", test_reset_signal },
	{ "flush for what another has reset", test_flush },
	{ "reset bounded whatever userspace writes", test_reset_hostile },
	{ "marks of the VM itself", test_vm_user },
	{ "reset of many rings: one wait, one flush", test_reset_range },
	{ "reset of many rings, and a signal", test_reset_range_signal },
	{ "detach: what was not harvested is elsewhere", test_detach },
	{ "detach: nobody waits for the ring", test_detach_unused },
	{ "detach of a parked ring, with and without room", test_detach_parked },
	{ "attach: empty, and from the first entry", test_attach },
	{ "detach and attach of a ring that has not joined", test_not_added },
	{ "detach: no policy offers the ring", test_detach_policy },
	{ "gate: marks of the VM park no ring", test_gate_spare },
	{ "moves: the first claim of a ring", test_first_claim },
	{ "no park at an old soft limit", test_no_park },
	{ "reserve: what was tried before it", test_reserve_retries },
	{ "reserve: the second one who uses it", test_reserve_second_user },
	{ "gate: a vCPU that does not come back", test_ungate },
	{ "gate: without any ring", test_gate_no_ring },
	{ "detach: what is not logged any more", test_detach_unwanted },
	{ "OVERFLOW is reported once", test_report_overflow },
	{ "OVERFLOW: no search until something is reset", test_full_at },
	{ "OVERFLOW is told once", test_overflow_told },
};

int main(int argc, char **argv)
{
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	shim_thread_begin();
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		failed = 0;
		cases[i].run();
		tests++;
		bad += failed;
		printf("%sok %d unit: %s\n", failed ? "not " : "", tests,
		       cases[i].name);
	}
	printf("1..%d\n", tests);
	shim_thread_end();
	return !!bad;
}
