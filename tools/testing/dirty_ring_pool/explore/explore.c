// SPDX-License-Identifier: GPL-2.0
/*
 * Systematic exploration of small cases by the scheduler in sched.c.
 *
 *   explore			all cases, with each policy
 *   explore CASE POLICY SCHEDULE	repeat a schedule that failed
 *   explore stop		stop a claimant forever, at each of its steps
 */
#include <stdlib.h>
#include "sched.h"
#include "harness.h"

#define SLOTS	8
#define MARKS	256

static struct vm vm;
static bool vm_up;
static const char *policy;
static u8 marked[SLOTS][MARKS], seen[SLOTS][MARKS], protected[SLOTS][MARKS];
static u32 next[SLOTS];
static u8 owner[VM_MAX_RINGS];
static bool lossy, leave_queue, finished[SCHED_MAX];
/* A ring was unmapped: pages may be marked, and so protected, twice. */
static bool unmaps, unmapped[VM_MAX_RINGS];
static u32 lives[VM_MAX_RINGS];
static struct mutex unmap_lock;
/* Threads inside a call of the pool. */
static u32 busy;
/* When pages were last protected, and when the last finished flush began. */
static u32 now, protected_at[SLOTS][MARKS], flushed;
/* What userspace harvested from each ring, in order. */
static struct {
	u8 slot, offset;
} taken[VM_MAX_RINGS][SLOTS * MARKS];
static u32 nr_taken[VM_MAX_RINGS], first_fetch[VM_MAX_RINGS];

static void on_seen(void *arg, u32 ring, u32 slot, u64 offset)
{
	if (slot >= SLOTS || offset >= MARKS || seen[slot][offset]++ > unmaps) {
		sched_fail("ring %u: entry %u:%llu harvested twice or invented",
			   ring, slot, (unsigned long long)offset);
		return;
	}
	taken[ring][nr_taken[ring]].slot = slot;
	taken[ring][nr_taken[ring]++].offset = offset;
}

static void on_protect(struct vm *v, u32 slot, u64 offset)
{
	if (slot >= SLOTS || offset >= MARKS ||
	    protected[slot][offset]++ > unmaps) {
		sched_fail("page %u:%llu protected twice or invented", slot,
			   (unsigned long long)offset);
		return;
	}
	protected_at[slot][offset] = ++now;
}

/* Other threads run during a flush. */
static void on_flush(struct vm *v)
{
	u32 begin = ++now;

	sched_point(&vm.flushes, SCHED_WRITE);
	if (begin > flushed)
		flushed = begin;
}

/*
 * What holds whenever no thread is inside a call.  Reads the pool without
 * scheduling points.
 */
static void look(void)
{
	u32 nr = vm.pool.nr_rings, reserves = 0, gated = 0, i;

	for (i = 0; i < nr; i++) {
		struct kvm_dirty_pool_ring *ring = &vm.ring[i];
		u32 used = ring->dirty_index - ring->reset_index;
		u32 word = vm_word(&vm, i);
		bool avail = vm.pool.avail[0] & BIT(i);
		bool parked = word & KVM_DIRTY_POOL_PARKED;

		if (word & KVM_DIRTY_POOL_CLAIMED)
			sched_fail("at rest: ring %u is claimed", i);
		if (avail == !!word)
			sched_fail("at rest: ring %u is %x and %savailable", i,
				   word, avail ? "" : "not ");
		if (ring->parks - ring->drains != parked)
			sched_fail("at rest: ring %u is %x: %llu parks, %llu drains",
				   i, word, (unsigned long long)ring->parks,
				   (unsigned long long)ring->drains);
		if (parked != !!used && (parked || word))
			sched_fail("at rest: ring %u is %x with %u entries", i,
				   word, used);
		if (used > ring->mask + 1 ||
		    (!word && ring->dirty_index == ring->soft_end))
			sched_fail("at rest: ring %u is %x and full", i, word);
		if ((word & KVM_DIRTY_POOL_DETACHED) &&
		    (word != KVM_DIRTY_POOL_DETACHED ||
		     vm.pool.room[0] & BIT(i)))
			sched_fail("at rest: detached ring %u is %x", i, word);
		reserves += !!(word & KVM_DIRTY_POOL_RESERVE);
	}
	for (i = 0; i < SCHED_MAX; i++) {
		gated += vm.user[i].gated.counter;
		if (vm.user[i].gated.counter && !vm.user[i].reserve)
			sched_fail("at rest: user %u waits, and would pass", i);
	}
	if ((vm.pool.avail[0] | vm.pool.room[0]) >> nr)
		sched_fail("at rest: a ring that is not there is available");
	if (vm.pool.nr_reserve.counter != (int)reserves)
		sched_fail("at rest: %u reserves, not %d", reserves,
			   vm.pool.nr_reserve.counter);
	if (vm.pool.nr_gated.counter != (int)gated)
		sched_fail("at rest: %u at the gate, not %d", gated,
			   vm.pool.nr_gated.counter);
}

static void enter(void)
{
	busy++;
}

static void leave(void)
{
	if (!--busy)
		look();
}

/* When a reset returns, writes to all pages harvested before it are trapped. */
static u32 reset_ring(u32 ring)
{
	/* What is flagged RESET by now. */
	u32 nr = vm.fetch[ring] - first_fetch[ring], life = lives[ring], count, i;

	enter();
	count = vm_reset(&vm, ring);
	sched_point(&vm.flushes, SCHED_READ);
	/* The entries of an unmapped ring are marked again in others. */
	for (i = 0; i < nr && life == lives[ring] && !unmapped[ring]; i++) {
		u32 slot = taken[ring][i].slot, offset = taken[ring][i].offset;

		if (!protected_at[slot][offset])
			sched_fail("page %u:%u: reset, not protected", slot,
				   offset);
		if (protected_at[slot][offset] > flushed)
			sched_fail("page %u:%u: reset, not flushed", slot,
				   offset);
	}
	leave();
	return count;
}

/*
 * As kvm_dirty_pool_mark(), but checks that a ring has one owner.
 * Returns false if there was no ring.
 */
static bool mark_as(struct kvm_dirty_pool_user *user, u32 slot, u32 n,
		    unsigned int flags, void (*inside)(void))
{
	struct kvm_dirty_pool_claim claim;
	u32 before;
	bool ok;

	enter();
	preempt_disable();
	ok = kvm_dirty_pool_claim(&vm.pool, user, flags, &claim);
	if (ok) {
		struct kvm_dirty_pool_ring *ring = claim.ring;

		if (owner[ring->index])
			sched_fail("ring %u has two owners", ring->index);
		owner[ring->index] = 1;
		if (!claim.room)
			sched_fail("claim of ring %u has no room", ring->index);
		if (!(claim.word & KVM_DIRTY_POOL_PARKED) &&
		    ring->soft_end - ring->dirty_index > ring->soft_limit)
			sched_fail("ring %u is over its soft limit", ring->index);
		if ((claim.word & KVM_DIRTY_POOL_PARKED) &&
		    (flags & KVM_DIRTY_POOL_NORESERVE))
			sched_fail("parked ring %u handed out", ring->index);
		if (inside)
			inside();
		before = ring->dirty_index + n;
		while (n && claim.room) {
			marked[slot][next[slot]] = 1;
			kvm_dirty_pool_push(&claim, slot, next[slot]);
			next[slot]++;
			n--;
		}
		if (ring->dirty_index + n != before)
			sched_fail("ring %u: somebody else pushed", ring->index);
		owner[ring->index] = 0;
		kvm_dirty_pool_return(&vm.pool, user, &claim);
	}
	preempt_enable();
	leave();
	return ok;
}

static void mark(u32 me, u32 n)
{
	while (n--)
		if (!mark_as(&vm.user[me], me, 1, 0, NULL) && !lossy)
			sched_fail("user %u lost a page", me);
}

static void harvest_reset(u32 ring)
{
	u32 fetch;

	/* Userspace does not read a ring while it unmaps it. */
	if (unmaps)
		mutex_lock(&unmap_lock);
	if (!unmapped[ring])
		vm_harvest(&vm, ring, ~0u, on_seen, NULL);
	fetch = vm.fetch[ring];
	if (unmaps)
		mutex_unlock(&unmap_lock);
	reset_ring(ring);
	if (!unmapped[ring] && (s32)(vm.ring[ring].reset_index - fetch) < 0)
		sched_fail("ring %u: harvested, but not reset", ring);
}

static void base(u32 rings, u32 size, u32 rsvd)
{
	u32 i;

	if (vm_up)
		vm_exit(&vm);
	vm_up = true;
	vm_init(&vm, rings, 8, size, rsvd, policy, -2);
	vm.on_protect = on_protect;
	vm.on_flush = on_flush;
	memset(marked, 0, sizeof(marked));
	memset(seen, 0, sizeof(seen));
	memset(protected, 0, sizeof(protected));
	memset(next, 0, sizeof(next));
	memset(owner, 0, sizeof(owner));
	memset(finished, 0, sizeof(finished));
	memset(protected_at, 0, sizeof(protected_at));
	memset(nr_taken, 0, sizeof(nr_taken));
	for (i = 0; i < VM_MAX_RINGS; i++)
		first_fetch[i] = vm.start;
	memset(unmapped, 0, sizeof(unmapped));
	mutex_init(&unmap_lock);
	busy = 0;
	now = 0;
	flushed = 0;
	unmaps = false;
	lossy = false;
	leave_queue = false;
}

/* Push @n entries of slot 7 to @ring: hold the rings that are offered before it. */
static void fill(u32 ring, u32 n)
{
	struct kvm_dirty_pool_claim claims[VM_MAX_RINGS];
	struct kvm_dirty_pool_user user;
	u32 i;

	while (n--) {
		kvm_dirty_pool_user_init(&user, ring);
		for (i = 0; i < vm.pool.nr_rings; i++) {
			if (!kvm_dirty_pool_claim(&vm.pool, &user,
						  KVM_DIRTY_POOL_NOWAIT,
						  &claims[i]))
				abort();
			if (claims[i].ring->index == ring)
				break;
		}
		marked[7][next[7]] = 1;
		kvm_dirty_pool_push(&claims[i], 7, next[7]++);
		do {
			kvm_dirty_pool_return(&vm.pool, &user, &claims[i]);
		} while (i--);
		/* This user does not come back. */
		if (vm.pool.selector->policy->put)
			vm.pool.selector->policy->put(vm.pool.selector->data, ring);
	}
}

/* The ring that @user tries first, which need not be in the queue. */
static unsigned long stays_with(const struct kvm_dirty_pool_user *user)
{
	return user->last && !user->ask ? BIT(user->last->index) : 0;
}

/* Exactly once; more often if a ring was unmapped and its entries moved. */
static void check_mark(u32 slot, u32 offset)
{
	u8 times = seen[slot][offset], taken_back = protected[slot][offset];

	if (unmaps) {
		times = !!times;
		taken_back = !!taken_back;
	}
	if (marked[slot][offset] != times || marked[slot][offset] != taken_back)
		sched_fail("mark %u:%u lost", slot, offset);
}

static void check(void)
{
	u32 nr = vm.pool.nr_rings, i, k;
	unsigned long got = 0;

	for (i = 0; i < nr; i++) {
		/* An empty ring is FREE without a further drain. */
		if (!kvm_dirty_pool_used(&vm.ring[i]) && !unmapped[i] &&
		    vm_word(&vm, i) != KVM_DIRTY_POOL_FREE)
			sched_fail("ring %u is empty and not FREE: %x", i,
				   vm_word(&vm, i));
		if (vm_word(&vm, i) & KVM_DIRTY_POOL_CLAIMED)
			sched_fail("ring %u is still claimed", i);
	}
	busy = 0;
	look();
	for (i = 0; i < nr; i++) {
		if (unmapped[i]) {
			if (vm_word(&vm, i) != KVM_DIRTY_POOL_DETACHED)
				sched_fail("ring %u is unmapped, and %x", i,
					   vm_word(&vm, i));
			continue;
		}
		harvest_reset(i);
		if (vm_word(&vm, i) || kvm_dirty_pool_used(&vm.ring[i]))
			sched_fail("ring %u not FREE when drained", i);
		if (!test_bit(i, vm.pool.avail))
			sched_fail("ring %u not available", i);
	}
	if (vm.pool.nr_reserve.counter)
		sched_fail("%d reserves left", vm.pool.nr_reserve.counter);
	for (i = 0; i < SLOTS; i++)
		for (k = 0; k < MARKS; k++)
			check_mark(i, k);
	if (vm.pool.overflow.counter && !lossy)
		sched_fail("OVERFLOW");

	/*
	 * The queue holds all FREE rings while nobody changes it, except those with
	 * which a user stays.
	 */
	if (vm.pool.selector->policy->put && !leave_queue) {
		for (i = 0; i < VM_MAX_RINGS; i++)
			got |= stays_with(&vm.user[i]);
		got |= stays_with(&vm.pool.vm_user);
		for (i = 0; i < nr; i++) {
			u32 ring = vm.pool.selector->policy->pick(&vm.pool,
					vm.pool.selector->data, 0);

			got |= ring < nr ? BIT(ring) : 0;
			got |= unmapped[i] ? BIT(i) : 0;
		}
		if (got != BIT(nr) - 1)
			sched_fail("the policy lost a ring: %lx of %u are left", got, nr);
	}
}

/* --- cases --- */

static void setup_claim1(void)
{
	base(1, 8, 2);
}

static void setup_claim2(void)
{
	base(2, 8, 2);
}

static void setup_claim3(void)
{
	base(3, 8, 2);
}

/* As the VM's user, which the threads share. */
static void body_shared(u32 me)
{
	finished[me] = mark_as(&vm.pool.vm_user, me, 1, 0, NULL);
}

static void body_one(u32 me)
{
	mark(me, 1);
}

static void body_two(u32 me)
{
	mark(me, 2);
}

static void setup_park(void)
{
	base(1, 4, 1);
	fill(0, 2);
}

/* One parks the ring; the other harvests and resets, which frees it. */
static void body_park(u32 me)
{
	if (me == 0) {
		mark(0, 1);
	} else {
		harvest_reset(0);
		harvest_reset(0);
	}
}

static void setup_fast(void)
{
	base(1, 4, 1);
	fill(0, 1);
	vm.user[0].last = &vm.ring[0];
}

/* As above, by the fast path of kvm_dirty_pool_mark() for one page. */
static void body_fast(u32 me)
{
	u32 i;

	for (i = 0; i < 2 && !me; i++) {
		marked[0][i] = 1;
		enter();
		vm_mark(&vm, 0, 0, i, 1, 0);
		leave();
	}
	if (me) {
		harvest_reset(0);
		harvest_reset(0);
	}
}

static void setup_reserve(void)
{
	base(1, 4, 1);
	fill(0, 3);
}

static void setup_reserve1(void)
{
	base(1, 4, 2);
	fill(0, 2);
}

/* Two users want the last entry: one gets it. */
static void setup_reserve_last(void)
{
	base(1, 4, 2);
	fill(0, 3);
	lossy = true;
}

static void setup_reserve2(void)
{
	base(2, 4, 2);
	fill(0, 2);
	fill(1, 2);
}

/* Threads 0 and 1 mark into reserves, thread 2 drains. */
static void body_reserve(u32 me)
{
	if (me < 2)
		mark(me, 1);
	else
		harvest_reset(0);
}

static void body_reserve_drain(u32 me)
{
	if (me < 2) {
		mark(me, 1);
	} else {
		harvest_reset(0);
		harvest_reset(1);
	}
}

/* Two concurrent resets of one ring, and a mark. */
static void body_resets(u32 me)
{
	if (me == 0)
		mark(0, 1);
	else if (me == 1)
		harvest_reset(0);
	else
		reset_ring(0);
}

/* A scan finds each ring full in turn, although there is room at any time. */
static void setup_snapshot(void)
{
	base(2, 4, 1);
	fill(0, 4);
	fill(1, 3);
	/* Without the hint, only a scan of all rings finds the room. */
	vm.pool.room[0] = 0;
	leave_queue = true;
}

static void in_irq(void)
{
	/* This mark is lost if the other thread took the last entry of ring 1. */
	mark_as(&vm.user[1], 1, 1, KVM_DIRTY_POOL_NOWAIT, NULL);
}

static void body_snapshot(u32 me)
{
	if (me == 0) {
		mark(0, 1);
	} else {
		harvest_reset(0);
		mark_as(&vm.user[1], 2, 1, 0, in_irq);
	}
}

/* Two vCPUs obey the gate, userspace drains only ring 0, twice. */
static void setup_gate(void)
{
	base(2, 4, 1);
	fill(0, 2);
	fill(1, 3);
}

static bool at_gate(u32 user)
{
	bool stay;

	enter();
	stay = kvm_dirty_pool_gate(&vm.pool, &vm.user[user]);
	leave();
	return stay;
}

static void stays(u32 me, u32 n)
{
	while (n) {
		if (at_gate(me)) {
			if (finished[2])
				break;
			sched_relax();
			continue;
		}
		mark(me, 1);
		n--;
	}
	finished[me] = true;
}

static void body_gate(u32 me)
{
	if (me < 2) {
		stays(me, 4);
	} else {
		harvest_reset(0);
		harvest_reset(0);
		finished[2] = true;
	}
}

/*
 * A vCPU is preempted while it looks at the gate, and marks a page then: thread
 * 1 acts for the same user as thread 0.
 */
static void setup_gate_preempted(void)
{
	base(2, 4, 2);
	fill(1, 2);
	vm.user[0].reserve = true;
}

static void body_gate_preempted(u32 me)
{
	if (me == 0) {
		enter();
		kvm_dirty_pool_gate(&vm.pool, &vm.user[0]);
		leave();
	} else {
		mark(0, 3);
		if (!vm.user[0].reserve)
			sched_fail("a reserve was used, and is forgotten");
	}
	/* The gate must not forget a reserve that the mark has used since it looked. */
	finished[me] = true;
	if (finished[0] && finished[1] && vm.pool.nr_reserve.counter &&
	    !vm.user[0].reserve)
		sched_fail("the gate forgot the use of a reserve");
}

/* Userspace drains all rings until both vCPUs are done: they make progress. */
static void body_gate_live(u32 me)
{
	if (me < 2) {
		stays(me, 3);
		return;
	}
	while (!finished[0] || !finished[1]) {
		harvest_reset(0);
		harvest_reset(1);
		sched_relax();
	}
}

/* Claim two rings, and return them in the same order. */
static void body_hold_two(u32 me)
{
	struct kvm_dirty_pool_claim a, b;

	if (me == 0) {
		mark(0, 2);
		return;
	}
	enter();
	preempt_disable();
	if (!kvm_dirty_pool_claim(&vm.pool, &vm.user[1], 0, &a) ||
	    !kvm_dirty_pool_claim(&vm.pool, &vm.user[1], 0, &b))
		sched_fail("no ring");
	kvm_dirty_pool_return(&vm.pool, &vm.user[1], &a);
	kvm_dirty_pool_return(&vm.pool, &vm.user[1], &b);
	preempt_enable();
	leave();
}

static void switch_policy(void)
{
	bool lru = !strncmp(policy, "lru", 3);

	kvm_dirty_pool_set_policy(&vm.pool, lru ? "mru:1" : "lru:1");
}

static void setup_switch(void)
{
	base(2, 4, 1);
	fill(1, 2);
}

static void body_switch(u32 me)
{
	if (me == 0)
		mark(0, 2);
	else if (me == 1)
		switch_policy();
	else
		mark(2, 1);
}

static void add_ring(void)
{
	enter();
	vm_add_ring(&vm);
	leave();
}

static void setup_growth(void)
{
	base(1, 4, 1);
	leave_queue = true;
}

static void body_growth(u32 me)
{
	if (me == 1)
		add_ring();
	else
		mark(me, 2);
}

/* A ring is freed, or joins, while the policy is switched. */
static void setup_switch_drain(void)
{
	base(2, 4, 1);
	fill(0, 3);
}

static void body_switch_drain(u32 me)
{
	if (me == 0)
		switch_policy();
	else
		harvest_reset(0);
}

static void setup_switch_growth(void)
{
	base(1, 4, 1);
}

static void body_switch_growth(u32 me)
{
	if (me == 0)
		switch_policy();
	else
		add_ring();
}

/*
 * A scan finds each ring full in turn; but before the last one was filled,
 * another ring joined, which its claimant holds.
 */
static void setup_growth_full(void)
{
	base(1, 4, 1);
	fill(0, 3);
	leave_queue = true;
}

static void body_growth_full(u32 me)
{
	if (me == 0) {
		mark(0, 1);
	} else {
		add_ring();
		mark_as(&vm.user[1], 2, 1, 0, in_irq);
	}
}

/* All rings are full and marks are lost, but none after a reset. */
static void setup_full_at(void)
{
	base(1, 4, 1);
	fill(0, 4);
	lossy = true;
	leave_queue = true;
	/* OVERFLOW is set, and the next mark scans all rings again. */
	atomic_set(&vm.pool.overflow, 1);
	vm.pool.full_at = vm.pool.resets.counter - 1;
}

static void body_full_at(u32 me)
{
	if (me == 0) {
		mark(0, 1);
	} else {
		harvest_reset(0);
		if (!mark_as(&vm.user[1], 1, 1, 0, NULL))
			sched_fail("a mark is lost after a reset");
	}
}

/* Each entry parks the ring. */
static void setup_tiny(void)
{
	base(1, 2, 1);
	fill(0, 1);
	vm.user[0].last = &vm.ring[0];
}

static void body_tiny(u32 me)
{
	if (me == 0) {
		/* Two entries if there is room: the reset may come late. */
		mark_as(&vm.user[0], 0, 1, KVM_DIRTY_POOL_NORESERVE, NULL);
		mark_as(&vm.user[0], 0, 1, KVM_DIRTY_POOL_NORESERVE, NULL);
	} else {
		harvest_reset(0);
	}
}

/* Concurrent resets of the same entries: all return after the flush. */
static void setup_flush(void)
{
	base(2, 4, 1);
	fill(0, 1);
	fill(1, 1);
	vm_harvest(&vm, 0, 1, on_seen, NULL);
	vm_harvest(&vm, 1, 1, on_seen, NULL);
}

static void body_flush(u32 me)
{
	reset_ring(me == 1);
	if (me < 2)
		reset_ring(me == 0);
}

/*
 * A device marks pages all the time while a vCPU waits at the gate.  Once all
 * rings are drained and the device has returned the ring that it claimed before
 * the vCPU waited, the gate stays open until the vCPU has passed.
 */
static bool asked, must_open, passed;
static u32 device_calls;
static bool device_busy;

static void setup_gate_device(void)
{
	base(2, 4, 1);
	fill(0, 3);
	fill(1, 2);
	asked = false;
	must_open = false;
	passed = false;
	device_calls = 0;
	device_busy = false;
	vm.user[0].reserve = true;
}

static void body_gate_device(u32 me)
{
	u32 calls;
	bool open;

	if (me == 0) {
		do {
			open = must_open;
			if (!at_gate(0))
				break;
			if (open)
				sched_fail("the gate is shut after a drain");
			asked = true;
			sched_relax();
		} while (1);
		passed = true;
	} else if (me == 1) {
		while (!passed) {
			device_busy = true;
			open = mark_as(&vm.pool.vm_user, 1, 1,
				       KVM_DIRTY_POOL_NORESERVE, NULL);
			device_busy = false;
			device_calls++;
			if (!open)
				sched_relax();
		}
	} else {
		while (!asked && !passed)
			sched_relax();
		calls = device_calls;
		while (device_busy && device_calls == calls)
			sched_relax();
		harvest_reset(0);
		harvest_reset(1);
		must_open = true;
		while (!passed) {
			if (vm.pool.nr_reserve.counter || !vm.pool.avail[0])
				sched_fail("the gate was shut again");
			sched_relax();
		}
	}
}

/* Unmap the memory of a ring, and map it again. */
static void unmap_ring(u32 ring)
{
	mutex_lock(&unmap_lock);
	unmapped[ring] = true;
	mutex_unlock(&unmap_lock);
	enter();
	vm_detach(&vm, ring);
	leave();
}

static void map_ring(u32 ring)
{
	enter();
	vm_attach(&vm, ring);
	leave();
	mutex_lock(&unmap_lock);
	nr_taken[ring] = 0;
	first_fetch[ring] = vm.fetch[ring];
	unmapped[ring] = false;
	lives[ring]++;
	mutex_unlock(&unmap_lock);
}

static void setup_detach(void)
{
	base(2, 4, 1);
	fill(0, 2);
	unmaps = true;
	leave_queue = true;
}

static void setup_detach_reserve(void)
{
	base(3, 4, 1);
	fill(0, 4);
	unmaps = true;
	leave_queue = true;
}

static void body_detach(u32 me)
{
	if (me == 0)
		mark(0, 2);
	else if (me == 1)
		unmap_ring(0);
	else
		harvest_reset(0);
}

static void body_detach_attach(u32 me)
{
	if (me == 1) {
		unmap_ring(0);
		map_ring(0);
	} else {
		body_detach(me);
	}
}

/* One thread looks, without a claim, while the other pushes and resets. */
static void body_used(u32 me)
{
	if (me == 0) {
		mark(0, 1);
		harvest_reset(0);
	} else if (kvm_dirty_pool_used(&vm.ring[0]) > vm.ring[0].mask + 1) {
		sched_fail("a ring holds more entries than fit in it");
	}
}

static void setup_big(void)
{
	base(3, 4, 1);
}

/* For random schedules: all operations at once, until all threads are done. */
static void body_big(u32 me)
{
	u32 i;

	if (me == 0) {
		while (!finished[1] || !finished[2] || !finished[3]) {
			for (i = 0; i < kvm_dirty_pool_nr_rings(&vm.pool); i++)
				harvest_reset(i);
			sched_relax();
		}
	} else if (me < 4) {
		for (i = 0; i < 12; i++) {
			while (at_gate(me - 1))
				sched_relax();
			if (!mark_as(&vm.user[me - 1], me, 1, 0, NULL))
				sched_fail("user %u lost a page", me);
		}
		finished[me] = true;
	} else if (me == 4) {
		for (i = 0; i < 3; i++) {
			kvm_dirty_pool_set_policy(&vm.pool,
						  policies[i % nr_policies]);
			reset_ring(i % 3);
		}
		kvm_dirty_pool_set_policy(&vm.pool, policy);
	} else {
		for (i = 0; i < 6; i++)
			mark_as(&vm.pool.vm_user, me, 1,
				KVM_DIRTY_POOL_NORESERVE, NULL);
	}
}

static const struct {
	struct sched_case c;
	void (*setup)(void);
	int bound;		/* -1: all interleavings; -2: PCT */
	bool all_policies;
} cases[] = {
	{ { "claim-1-ring", 2, body_one }, setup_claim1, -1, true },
	{ { "claim-1-ring-twice", 2, body_two }, setup_claim1, 3, true },
	{ { "claim-2-rings", 2, body_one }, setup_claim2, -1, true },
	{ { "claim-2-rings-twice", 2, body_two }, setup_claim2, -1, true },
	{ { "claim-3-threads", 3, body_one }, setup_claim2, 2, true },
	{ { "claim-3-rings", 3, body_one }, setup_claim3, 2, true },
	{ { "hold-two", 2, body_hold_two }, setup_claim3, 3, true },
	{ { "shared-user", 2, body_shared }, setup_claim3, -1, true },
	{ { "park-reset", 2, body_park }, setup_park, -1, true },
	{ { "mark-reset", 2, body_fast }, setup_fast, -1, true },
	{ { "reserve-reset", 2, body_park }, setup_reserve, -1, true },
	{ { "reserve-1-ring", 2, body_one }, setup_reserve1, 2, true },
	{ { "reserve-last", 2, body_one }, setup_reserve_last, 2, true },
	{ { "reserve-2-marks", 3, body_reserve }, setup_reserve2, 1, false },
	{ { "reserve-2-drained", 3, body_reserve_drain }, setup_reserve2, 1, true },
	{ { "resets-mark", 3, body_resets }, setup_park, -1, false },
	{ { "resets-reserve", 3, body_resets }, setup_reserve, 2, false },
	{ { "full-one-by-one", 2, body_snapshot }, setup_snapshot, 2, true },
	{ { "gate-preempted", 2, body_gate_preempted }, setup_gate_preempted, 1, false },
	{ { "gate-one-drained", 3, body_gate }, setup_gate, 1, true },
	{ { "gate-progress", 3, body_gate_live }, setup_gate, 1, true },
	{ { "policy-switch", 2, body_switch, true }, setup_switch, -1, true },
	{ { "policy-switch-3", 3, body_switch, true }, setup_switch, 2, true },
	{ { "growth", 3, body_growth, true }, setup_growth, 2, true },
	{ { "policy-switch-drain", 2, body_switch_drain, true }, setup_switch_drain, -1, true },
	{ { "policy-switch-growth", 2, body_switch_growth, true }, setup_switch_growth, -1, true },
	{ { "growth-all-full", 2, body_growth_full }, setup_growth_full, 2, true },
	{ { "full-at", 2, body_full_at }, setup_full_at, 2, true },
	{ { "free-and-park", 2, body_tiny }, setup_tiny, -1, true },
	{ { "flush-2-threads", 2, body_flush }, setup_flush, 3, false },
	{ { "flush-3-threads", 3, body_flush }, setup_flush, 2, false },
	{ { "gate-device", 3, body_gate_device }, setup_gate_device, 1, true },
	{ { "detach", 3, body_detach }, setup_detach, 2, true },
	{ { "detach-reserve", 3, body_detach }, setup_detach_reserve, 1, true },
	{ { "detach-attach", 3, body_detach_attach }, setup_detach, 2, true },
	{ { "pct-6-threads", 6, body_big, true }, setup_big, -2, true },
	{ { "used", 2, body_used }, setup_claim1, -1, false },
};

/* --- a claimant that stops forever --- */

static u32 victim_kind;

static void setup_stop(void)
{
	base(3, 8, 2);
	leave_queue = true;
	switch (victim_kind) {
	case 1:		/* the return parks the ring */
		fill(0, 5);
		fill(1, 5);
		fill(2, 5);
		break;
	case 2:		/* claims a reserve */
		fill(0, 6);
		fill(1, 6);
		fill(2, 6);
		break;
	case 3:		/* returns a drained reserve */
		fill(0, 6);
		fill(1, 6);
		fill(2, 6);
		break;
	}
}

static void drain_inside(void)
{
	sched_watch(false);
	harvest_reset(0);
	harvest_reset(1);
	harvest_reset(2);
	sched_watch(true);
}

static void body_stop(u32 me)
{
	u32 i, n;

	if (me == 0) {
		/* Before its first access it runs alone, see sched_stop(). */
		sched_watch(true);
		mark_as(&vm.user[0], 0, 2, 0,
			victim_kind == 3 ? drain_inside : NULL);
		mark_as(&vm.user[0], 0, 1, 0, NULL);
		sched_watch(false);
	} else if (me == 1) {
		for (i = 0; i < 60; i++) {
			for (n = 0; n < 3; n++)
				harvest_reset(n);
			if (!mark_as(&vm.user[1], 1, 1, 0, NULL))
				sched_fail("a mark waits for the stopped one");
		}
		finished[1] = true;
		while (!finished[2]) {
			for (n = 0; n < 3; n++)
				harvest_reset(n);
			sched_relax();
		}
	} else {
		for (i = 0; i < 60; i++) {
			while (!mark_as(&vm.user[2], 2, 1,
					KVM_DIRTY_POOL_NORESERVE, NULL))
				sched_relax();
		}
		finished[2] = true;
	}
}

static void check_stop(void)
{
	u32 i, k, n = 0;

	for (i = 0; i < 3; i++)
		harvest_reset(i);
	for (i = 1; i <= 2; i++) {
		if (!finished[i])
			sched_fail("%u did not finish", i);
		for (k = 0; k < 60; k++)
			if (!seen[i][k])
				sched_fail("mark %u:%u lost", i, k);
	}
	/* The stopped thread blocks at most the one ring that it claimed. */
	for (i = 0; i < 3; i++)
		n += !!vm_word(&vm, i);
	if (n > 1)
		sched_fail("%u rings are held up", n);
	if (vm.pool.overflow.counter)
		sched_fail("OVERFLOW");
}

static int stop_sweep(void)
{
	static const char *const kinds[] = {
		"claim, push, return", "return parks", "reserve",
		"reserve drained before its return",
	};
	static const struct sched_case c = { "stop", 3, body_stop };
	u32 p, step, s, total = 0, test = 0, bad = 0;

	for (p = 0; p < nr_policies; p++) {
		policy = policies[p];
		for (victim_kind = 0; victim_kind < 4; victim_kind++) {
			bool ok = true, stopped = true;

			for (step = 0; stopped && ok; step++)
				for (s = 1; s <= 4 && ok; s++) {
					stopped = sched_stop(&c, step, s, setup_stop,
							     check_stop);
					ok = !sched_failed();
				}
			step--;
			total += step;
			bad += !ok;
			printf("%sok %u stop: %s, %s: stopped at each of %u steps\n",
			       ok ? "" : "not ", ++test, policy,
			       kinds[victim_kind], step);
		}
	}
	printf("1..%u\n# stop: %u steps\n", test, total);
	return !!bad;
}

int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	u64 max = 3000000, schedules = 0, steps = 0;
	u32 i, p, test = 0, bad = 0;
	u32 seed = getenv("SEED") ? (u32)atoi(getenv("SEED")) : 12345;
	u32 pct = getenv("PCT") ? (u32)atoi(getenv("PCT")) : 10000;

	setvbuf(stdout, NULL, _IOLBF, 0);
	policies_init();
	if (only && !strcmp(only, "stop"))
		return stop_sweep();

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (only && strcmp(only, cases[i].c.name))
			continue;
		for (p = 0; p < nr_policies; p++) {
			struct sched_stats stats = {};
			char how[64];
			bool ok;

			policy = policies[p];
			if (p && !cases[i].all_policies)
				break;
			if (argc > 2 && strcmp(argv[2], policy))
				continue;
			if (argc > 3) {
				sched_replay(&cases[i].c, argv[3],
					     cases[i].setup, check);
				return sched_failed();
			}
			if (cases[i].bound == -2) {
				ok = sched_random(&cases[i].c, seed + p, pct, 5,
						  cases[i].setup, check, &stats);
				snprintf(how, sizeof(how),
					 "PCT depth 5, seed %u", seed + p);
			} else {
				int bound = cases[i].bound;

				ok = sched_explore(&cases[i].c, bound, max,
						   cases[i].setup, check, &stats);
				/* A policy that is only tried may read a lot. */
				if (!ok && !sched_failed() && bound < 0 &&
				    getenv("POLICIES")) {
					bound = 3;
					ok = sched_explore(&cases[i].c, bound, max,
							   cases[i].setup, check,
							   &stats);
				}
				if (bound < 0)
					snprintf(how, sizeof(how), "all");
				else
					snprintf(how, sizeof(how),
						 "up to %d preemptions", bound);
			}
			bad += !ok;
			schedules += stats.schedules;
			steps += stats.steps;
			printf("%sok %u explore: %s, %s: %s: ",
			       ok ? "" : "not ", ++test, cases[i].c.name, policy,
			       how);
			printf("%llu schedules (%llu cut), %llu steps, deepest %u\n",
			       (unsigned long long)stats.schedules,
			       (unsigned long long)stats.cut,
			       (unsigned long long)stats.steps, stats.deepest);
			if (!ok && only)
				return 1;
		}
	}
	printf("1..%u\n# explore: %llu schedules, %llu steps\n", test,
	       (unsigned long long)schedules, (unsigned long long)steps);
	return !!bad || !test;
}
