// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pool of dirty rings: the protocol.
 *
 * N rings belong to a VM.  A user that has to mark pages dirty, be it a vCPU or
 * the VM itself, claims a ring, pushes, and returns it.  A ring that is returned
 * at its soft limit is parked, and is not handed out again until a reset leaves
 * it empty:
 *
 *   FREE --claim--> CLAIMED --return--> FREE, or at the soft limit PARKED
 *   PARKED --reset leaves it empty--> FREE
 *   PARKED --no FREE ring is left--> CLAIMED|PARKED --return--> PARKED
 *   any state --its memory is unmapped--> DETACHED --mapped again--> FREE
 *
 * The third line is the reserve: the entries between the soft limit and the
 * size of a ring.  The reserves of N rings suffice for N vCPUs as long as no stay
 * in the guest marks more pages than one reserve holds, and each vCPU enters the
 * guest with its share intact.  kvm_dirty_pool_gate() ensures the latter.
 *
 * Ownership.  The CLAIMED bit is a trylock: a claimant that finds it set tries
 * another ring.  The claim acquires and the return releases the ring's index and
 * entries.  A reset that frees a parked ring claims it first, so that only the
 * owner of the claim ever changes a ring's word, its bit in pool->avail and its
 * counters.
 *
 * Reset.  A reset runs concurrently with the owner of the claim and takes entries
 * from reset_index on, up to dirty_index.  Both indices are in memory that
 * userspace cannot write, which bounds the reset whatever the entries contain.
 *
 * RCU.  Claims run with preemption disabled, which is the read side that protects
 * the policy in use.
 */
#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/log2.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <trace/events/kvm_dirty_ring_pool.h>

/* Searches while all available rings are claimed, before taking a reserve. */
#define POOL_TRIES_FREE		16
/* Tries of rings that pool->room names, before all rings are searched. */
#define POOL_TRIES_HINT		4
/* Rings that share one quiesce: their dirty_index is kept on the stack. */
#define POOL_RESET_RINGS	32
/*
 * Searches while every ring that could take a mark is claimed.  The owners run
 * with preemption disabled and push at most KVM_DIRTY_POOL_BATCH entries, so the
 * limit is reached only if none of them runs at all for tens of milliseconds:
 * their CPUs were stopped, by a hypervisor for instance.
 */
#define POOL_TRIES_BUSY		BIT(18)

/*
 * The next ring at or after @from whose bit in @map is set, wrapping around.  Bits
 * change during the search: find_next_bit_wrap() will not do, because it reads a
 * word plainly, and so may find it non-zero and then read it again as zero.
 */
static u32 pool_next(struct kvm_dirty_pool *pool,
		     const unsigned long *map, u32 from)
{
	u32 words = BITS_TO_LONGS(READ_ONCE(pool->nr_rings));
	u32 first = from / BITS_PER_LONG;
	unsigned long mask;
	u32 i;

	if (first >= words) {
		first = 0;
		from = 0;
	}

	/* The first word is read twice: from @from on, and whole at the end. */
	mask = ~0UL << (from % BITS_PER_LONG);
	for (i = 0; i <= words; i++) {
		u32 w = first + i < words ? first + i : first + i - words;
		unsigned long bits;

		if (w >= words)
			break;
		bits = READ_ONCE(map[w]) & mask;
		if (bits)
			return w * BITS_PER_LONG + __ffs(bits);
		mask = ~0UL;
	}

	return KVM_DIRTY_POOL_NONE;
}

/**
 * kvm_dirty_pool_next - find the next ring that is not parked
 * @pool: the pool
 * @from: the ring to start at; may be out of range
 *
 * For policies.  The search wraps around, and reads one word of a bitmap for 64
 * rings, however many of them are parked.
 *
 * Context: as kvm_dirty_pool_claim().
 * Return: the first ring at or after @from that is neither parked nor detached,
 * but possibly claimed; KVM_DIRTY_POOL_NONE if there is none.
 */
u32 kvm_dirty_pool_next(struct kvm_dirty_pool *pool, u32 from)
{
	return pool_next(pool, pool->avail, from);
}
EXPORT_SYMBOL_GPL(kvm_dirty_pool_next);

/**
 * kvm_dirty_pool_exhausted - test whether no ring is FREE
 * @pool: the pool
 *
 * A ring that is claimed, but not parked, counts as FREE: its owner returns it
 * within the time of a few entries.
 *
 * Context: any.
 * Return: true if all rings are parked or detached.
 */
bool kvm_dirty_pool_exhausted(struct kvm_dirty_pool *pool)
{
	return kvm_dirty_pool_next(pool, 0) == KVM_DIRTY_POOL_NONE;
}

static bool pool_ring_detached(const struct kvm_dirty_pool_ring *ring)
{
	return atomic_read(&ring->word) & KVM_DIRTY_POOL_DETACHED;
}

/* Up to the end of the reserve: only a reset makes room again. */
static bool pool_ring_full(const struct kvm_dirty_pool_ring *ring)
{
	return kvm_dirty_pool_used(ring) > ring->mask;
}

static bool pool_gfn_harvested(struct kvm_dirty_gfn *entry)
{
	/* Pairs with the release by which userspace harvests the entry. */
	return smp_load_acquire(&entry->flags) & KVM_DIRTY_GFN_F_RESET;
}

/*
 * Claim @ring, whose word was seen as @word, not CLAIMED.  Acquire: pairs with the
 * release by which the last owner returned it, in pool_release().
 */
static bool pool_take(struct kvm_dirty_pool_ring *ring, u32 word, u32 set)
{
	int old = word;

	return atomic_try_cmpxchg_acquire(&ring->word, &old,
					  word | KVM_DIRTY_POOL_CLAIMED | set);
}

/*
 * Give a claimed ring back.  Release: pairs with pool_take().  A plain store will
 * do, as nobody else writes the word of a claimed ring.
 */
static void pool_release(struct kvm_dirty_pool_ring *ring, u32 word)
{
	atomic_set_release(&ring->word, word);
}

/*
 * Only the owner of the claim writes a ring's counters, so they need no atomics.
 * Nor WRITE_ONCE(): it keeps the compiler from adding in memory, which makes the
 * mark of one page a third slower.  Readers run concurrently and are content with
 * an old value.
 */
static __always_inline void pool_count(u64 *counter, u64 n)
{
	/* Statistics, see above. */
	data_race(*counter += n);
}

/* Tell the policy that a ring is FREE, after the ring's word says so. */
static void pool_put(struct kvm_dirty_pool *pool,
		     struct kvm_dirty_pool_ring *ring)
{
	const struct kvm_dirty_pool_selector *selector;

	selector = rcu_dereference_sched(pool->selector);
	if (selector->policy->put)
		selector->policy->put(selector->data, ring->index);
}

/*
 * @ring is FREE, and @user may leave it.  If @done, its next claim asks the policy.
 * Not inlined: once in a quantum only, except for the VM's user.
 */
static noinline void pool_leave(struct kvm_dirty_pool *pool,
				struct kvm_dirty_pool_user *user,
				struct kvm_dirty_pool_ring *ring, bool done)
{
	if (done)
		WRITE_ONCE(user->ask, true);
	pool_put(pool, ring);
}

/*
 * Free a parked ring that is empty and that the caller has claimed.  A ring with
 * reserve entries is parked, and a parked ring takes no other entries, so its
 * reserve is drained exactly when the ring is.
 */
static void pool_free_parked(struct kvm_dirty_pool *pool,
			     struct kvm_dirty_pool_ring *ring, u32 word)
{
	ring->soft_end = ring->dirty_index + ring->soft_limit;
	pool_count(&ring->drains, 1);
	set_bit(ring->index, pool->avail);
	if (word & KVM_DIRTY_POOL_RESERVE) {
		set_bit(ring->index, pool->room);
		/* Pairs with the acquire in kvm_dirty_pool_gate(). */
		atomic_dec_return_release(&pool->nr_reserve);
	}
	trace_kvm_dirty_pool_drain(pool, ring->index);
	pool_release(ring, KVM_DIRTY_POOL_FREE);
	pool_put(pool, ring);
}

/*
 * Give a claimed ring back as parked, or as FREE if it is empty.  Userspace resets
 * an entry only once.  If a reset takes the last entry while the ring is being
 * returned, one of the two has to notice that the ring is empty, or it would stay
 * parked for ever.
 */
static void pool_settle(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_ring *ring, u32 word)
{
	word = (word | KVM_DIRTY_POOL_PARKED) & ~KVM_DIRTY_POOL_CLAIMED;

	do {
		if (!kvm_dirty_pool_used(ring)) {
			pool_free_parked(pool, ring, word);
			return;
		}

		pool_release(ring, word);
		/*
		 * Order the write of the word before the read of reset_index.
		 * Pairs with the barrier in pool_settle_reset(), which orders
		 * the write of reset_index before the read of the word.
		 */
		smp_mb();
	} while (!kvm_dirty_pool_used(ring) && pool_take(ring, word, 0));
}

/* The reset's half of pool_settle(). */
static void pool_settle_reset(struct kvm_dirty_pool *pool,
			      struct kvm_dirty_pool_ring *ring)
{
	u32 word;

	/* Test first: in most resets the bit is set already. */
	if (!test_bit(ring->index, pool->room) && !pool_ring_full(ring))
		set_bit(ring->index, pool->room);

	/* Order reset_index before the word; pairs with pool_settle(). */
	smp_mb();

	preempt_disable();
	word = atomic_read(&ring->word);
	if ((word & KVM_DIRTY_POOL_PARKED) &&
	    !(word & KVM_DIRTY_POOL_CLAIMED) &&
	    !kvm_dirty_pool_used(ring) && pool_take(ring, word, 0))
		pool_settle(pool, ring, word);
	preempt_enable();
}

/*
 * A user stays with its ring until dirty_index passes a multiple of the quantum.  It
 * fills a quantum of entries at most, but for the last claim, which is not cut.  It
 * does not stay if it pushed nothing.  It does stay with a ring that was parked and is
 * drained by its next claim: a vCPU that exits for its ring would else fill others.
 */
static __always_inline bool
pool_quantum_done(const struct kvm_dirty_pool_selector *selector,
		  const struct kvm_dirty_pool_claim *claim)
{
	u32 changed = claim->first ^ claim->ring->dirty_index;

	return (changed ?: ~0u) & ~selector->stay;
}

/*
 * Return a ring as FREE.  Threads and interrupts share the VM's user, and any of them
 * may have moved it to another ring since this one was claimed.  A policy that is
 * not told would miss a ring with which nobody stays, so it is told always.
 */
static __always_inline void
pool_return_free(struct kvm_dirty_pool *pool,
		 const struct kvm_dirty_pool_selector *selector,
		 struct kvm_dirty_pool_user *user,
		 const struct kvm_dirty_pool_claim *claim)
{
	bool done = pool_quantum_done(selector, claim);

	pool_release(claim->ring, KVM_DIRTY_POOL_FREE);
	if (unlikely(done || user->id == KVM_DIRTY_POOL_VM_USER))
		pool_leave(pool, user, claim->ring, done);
}

static __always_inline void pool_claimed(struct kvm_dirty_pool_user *user,
					 struct kvm_dirty_pool_ring *ring,
					 u32 word, u32 room,
					 struct kvm_dirty_pool_claim *claim)
{
	claim->ring = ring;
	claim->word = word;
	claim->room = min_t(u32, room, KVM_DIRTY_POOL_BATCH);
	claim->first = ring->dirty_index;

	pool_count(&ring->claims, 1);
	if (ring->last_user != user->id) {
		ring->last_user = user->id;
		pool_count(&ring->moves, 1);
	}
}

static __always_inline bool pool_claim_free(struct kvm_dirty_pool_user *user,
					    struct kvm_dirty_pool_ring *ring,
					    struct kvm_dirty_pool_claim *claim)
{
	if (!pool_take(ring, KVM_DIRTY_POOL_FREE, 0))
		return false;

	/* A FREE ring is never at soft_end: such a return parks it. */
	pool_claimed(user, ring, KVM_DIRTY_POOL_CLAIMED,
		     ring->soft_end - ring->dirty_index, claim);
	return true;
}

/*
 * Claim a FREE ring for a mark of the VM itself, which keeps out of the reserves.
 * While a vCPU waits at the gate, leave the last entry below the soft limit, so
 * that no ring is parked.  Without that a device that marks all the time could
 * fill each ring that a drain has freed before the vCPU is back to look, and the
 * gate would stay shut.
 *
 * nr_gated is read after the ring was claimed.  If the ring was drained on behalf
 * of the vCPU at the gate, the claim sees the vCPU counted, because it acquires
 * what pool_free_parked() released.
 */
static noinline bool pool_claim_spare(struct kvm_dirty_pool *pool,
				      struct kvm_dirty_pool_user *user,
				      struct kvm_dirty_pool_ring *ring,
				      struct kvm_dirty_pool_claim *claim)
{
	u32 keep, room;

	if (!pool_take(ring, KVM_DIRTY_POOL_FREE, 0))
		return false;

	keep = atomic_read(&pool->nr_gated) ? 1 : 0;
	/* A reset may have made room.  Acquire: as in pool_return(). */
	ring->soft_end = smp_load_acquire(&ring->reset_index) + ring->soft_limit;
	room = ring->soft_end - ring->dirty_index;
	if (room <= keep) {
		pool_release(ring, KVM_DIRTY_POOL_FREE);
		pool_put(pool, ring);
		return false;
	}

	pool_claimed(user, ring, KVM_DIRTY_POOL_CLAIMED, room - keep, claim);
	return true;
}

/*
 * A sum that changes whenever an entry of any ring is reset or a ring is attached
 * or detached: indices only grow, and attaching a ring raises its by at least one.
 */
static u32 pool_resets(struct kvm_dirty_pool *pool, u32 nr)
{
	u32 sum = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		struct kvm_dirty_pool_ring *ring = pool->rings[i];

		sum += 2 * READ_ONCE(ring->reset_index);
		sum += pool_ring_detached(ring);
	}

	return sum;
}

/*
 * Claim the reserve of a parked ring.  With @hint, look only at rings that
 * pool->room names.  Returns 1 if a reserve was claimed, 0 if each reserve was
 * full when it was looked at, -EBUSY if a ring is claimed and may yet have room.
 */
static int pool_scan_reserve(struct kvm_dirty_pool *pool,
			     struct kvm_dirty_pool_user *user, u32 nr,
			     bool hint, struct kvm_dirty_pool_claim *claim)
{
	u32 tries = hint ? POOL_TRIES_HINT : nr;
	int ret = 0;
	u32 at, i;

	for (i = 0, at = user->home; i < tries; i++, at++) {
		struct kvm_dirty_pool_ring *ring;
		u32 word, room;

		at = hint ? pool_next(pool, pool->room, at) : at % nr;
		if (at >= nr)
			break;

		ring = pool->rings[at];
		word = atomic_read(&ring->word);
		if (word & KVM_DIRTY_POOL_DETACHED)
			continue;
		if (!(word & KVM_DIRTY_POOL_PARKED) ||
		    (word & KVM_DIRTY_POOL_CLAIMED)) {
			ret = -EBUSY;
			continue;
		}

		if (pool_ring_full(ring))
			continue;

		if (!pool_take(ring, word, KVM_DIRTY_POOL_RESERVE)) {
			ret = -EBUSY;
			continue;
		}

		room = ring->mask + 1 - kvm_dirty_pool_used(ring);
		if (!room) {
			pool_settle(pool, ring, word);
			continue;
		}

		if (!(word & KVM_DIRTY_POOL_RESERVE))
			atomic_inc(&pool->nr_reserve);
		pool_count(&ring->reserve_claims, 1);
		WRITE_ONCE(user->reserve, true);
		pool_claimed(user, ring, word | KVM_DIRTY_POOL_CLAIMED |
			     KVM_DIRTY_POOL_RESERVE, room, claim);
		pool->ops->notify(pool, user, ring, KVM_DIRTY_POOL_EV_RESERVE);
		return 1;
	}

	return ret;
}

/*
 * As above, but return 0 only if all reserves were full at one point in time, and
 * -EAGAIN if rings were drained or added while others filled up.
 */
static int pool_claim_reserve(struct kvm_dirty_pool *pool,
			      struct kvm_dirty_pool_user *user, u32 nr,
			      struct kvm_dirty_pool_claim *claim)
{
	int ret = pool_scan_reserve(pool, user, nr, true, claim);
	u32 resets;

	if (ret <= 0)
		ret = pool_scan_reserve(pool, user, nr, false, claim);
	if (ret)
		return ret;

	/*
	 * Scan once more, now with a check that nothing was reset from one end of
	 * the scan to the other; what follows is rare, so it may take long.  No
	 * barrier is needed here: the scan reads the same indices again, and
	 * reads of one variable do not go back in time.
	 */
	resets = pool_resets(pool, nr);
	ret = pool_scan_reserve(pool, user, nr, false, claim);
	if (ret)
		return ret;

	/*
	 * Order the scan's reads of dirty_index before the count.  Pairs with
	 * the release of dirty_index in kvm_dirty_pool_push().
	 */
	smp_rmb();
	if (resets != pool_resets(pool, nr) ||
	    nr != kvm_dirty_pool_nr_rings(pool))
		return -EAGAIN;

	return 0;
}

static __always_inline bool pool_claim_ring(struct kvm_dirty_pool *pool,
					    struct kvm_dirty_pool_user *user,
					    struct kvm_dirty_pool_ring *ring,
					    unsigned int flags,
					    struct kvm_dirty_pool_claim *claim)
{
	if (unlikely(flags & KVM_DIRTY_POOL_NORESERVE))
		return pool_claim_spare(pool, user, ring, claim);

	return pool_claim_free(user, ring, claim);
}

static bool pool_search(struct kvm_dirty_pool *pool,
			const struct kvm_dirty_pool_selector *selector,
			struct kvm_dirty_pool_user *user, unsigned int flags,
			u32 nr, u32 *failed, struct kvm_dirty_pool_claim *claim)
{
	struct kvm_dirty_pool_ring *last = READ_ONCE(user->last);
	u32 at = last ? last->index : KVM_DIRTY_POOL_NONE;
	u32 i;

	/* Bound the tries: what a policy offers may be out of date. */
	for (i = 0; i < nr; i++) {
		at = selector->policy->pick(pool, selector->data, at);
		if (at >= nr)
			break;
		if (pool_claim_ring(pool, user, pool->rings[at], flags, claim))
			return true;
		(*failed)++;
	}

	/* A policy may miss a ring that is FREE; the bitmap does not. */
	for (i = 0, at = user->home; i < nr; i++, at++) {
		at = kvm_dirty_pool_next(pool, at);
		if (at >= nr)
			break;
		if (pool_claim_ring(pool, user, pool->rings[at], flags, claim))
			return true;
		(*failed)++;
	}

	return false;
}

static noinline bool pool_claim_slow(struct kvm_dirty_pool *pool,
				     const struct kvm_dirty_pool_selector *selector,
				     struct kvm_dirty_pool_user *user,
				     unsigned int flags, u32 failed,
				     struct kvm_dirty_pool_claim *claim)
{
	/* Acquire the room that pool_reset_ring() and pool_attach() released. */
	int resets = atomic_read_acquire(&pool->resets);
	bool exhausted = false;
	u32 tries;

	/*
	 * All rings were full, and no reset was counted since: fail fast, rather
	 * than search all rings again for each mark that is lost.  A reset in
	 * progress is not counted yet.  A mark that is lost for that reason is
	 * covered by OVERFLOW, like the one that was lost before it.
	 */
	if (unlikely(atomic_read(&pool->overflow)) &&
	    READ_ONCE(pool->full_at) == resets) {
		atomic64_inc(&pool->exhaustions);
		trace_kvm_dirty_pool_exhausted(pool, user->id);
		return false;
	}

	for (tries = 0; tries < POOL_TRIES_BUSY; tries++) {
		u32 nr = kvm_dirty_pool_nr_rings(pool);
		int ret;

		if (pool_search(pool, selector, user, flags, nr, &failed, claim)) {
			/* Counted in a cache line that most claims do not touch. */
			if (unlikely(failed))
				pool_count(&claim->ring->retries, failed);
			return true;
		}

		if (!exhausted && kvm_dirty_pool_exhausted(pool)) {
			exhausted = true;
			atomic64_inc(&pool->exhaustions);
			trace_kvm_dirty_pool_exhausted(pool, user->id);
		}

		/*
		 * A ring that is claimed, but not parked, is returned within
		 * the time of a few entries.  Try again for a while, because a
		 * reserve claim makes the vCPU leave the guest; but not for
		 * long, because the CPU of the owner may have been stopped.
		 */
		if (exhausted || tries >= POOL_TRIES_FREE ||
		    (flags & KVM_DIRTY_POOL_NOWAIT) ||
		    ((flags & KVM_DIRTY_POOL_NORESERVE) &&
		     atomic_read(&pool->nr_gated))) {
			if (flags & KVM_DIRTY_POOL_NORESERVE)
				return false;
			ret = pool_claim_reserve(pool, user, nr, claim);
			if (ret > 0) {
				pool_count(&claim->ring->retries, failed);
				return true;
			}
			if (!ret)
				WRITE_ONCE(pool->full_at, resets);
			if (!ret || (ret == -EBUSY &&
				     (flags & KVM_DIRTY_POOL_NOWAIT)))
				return false;
		}

		cpu_relax();
	}

	return false;
}

/*
 * Inlined into the functions that mark pages, where the compiler keeps @claim in
 * registers; that is why only @slow has its address taken.
 */
static __always_inline bool pool_claim(struct kvm_dirty_pool *pool,
				       struct kvm_dirty_pool_user *user,
				       unsigned int flags,
				       struct kvm_dirty_pool_claim *claim)
{
	const struct kvm_dirty_pool_selector *selector;
	struct kvm_dirty_pool_ring *ring;
	struct kvm_dirty_pool_claim slow;
	u32 failed = 0;

	selector = rcu_dereference_sched(pool->selector);

	ring = READ_ONCE(user->last);
	if (likely(ring && !READ_ONCE(user->ask))) {
		if (likely(pool_claim_ring(pool, user, ring, flags, claim)))
			goto claimed;
		failed++;
	}

	if (!pool_claim_slow(pool, selector, user, flags, failed, &slow))
		return false;

	*claim = slow;
	/*
	 * Release: other CPUs share the VM's user, and the ring may have joined
	 * just now.  Pairs with the address dependencies from user->last in
	 * pool_mark_last() and pool_search().
	 */
	smp_store_release(&user->last, claim->ring);
	WRITE_ONCE(user->ask, false);
claimed:
	trace_kvm_dirty_pool_claim(pool, claim->ring->index, user->id,
				   claim->word, claim->room);
	return true;
}

/**
 * kvm_dirty_pool_claim - claim a ring
 * @pool: the pool
 * @user: who claims; a vCPU's only on the CPU that has it loaded
 * @flags: KVM_DIRTY_POOL_NORESERVE, KVM_DIRTY_POOL_NOWAIT
 * @claim: filled in
 *
 * Takes a FREE ring in the order of the policy, or if there is none the reserve
 * of a parked ring.  Takes no lock.  A claimant that finds all rings claimed tries
 * again until an owner has returned one; it gives up at a limit that is reached
 * only if the CPUs of all owners were stopped.
 *
 * The claim is an acquire and pairs with the release in kvm_dirty_pool_return(): it
 * sees all that the last owner did to the ring.
 *
 * Context: Preemption disabled, until kvm_dirty_pool_return(). Any context but
 * NMI; one that may have interrupted a claim has to set KVM_DIRTY_POOL_NOWAIT.
 * Return: true if a ring was claimed.  With KVM_DIRTY_POOL_NORESERVE, false means
 * that no ring is FREE or has an entry to spare.  Without it, false means that all
 * rings are full, or claimed by owners that do not run: a mark is lost.
 */
bool kvm_dirty_pool_claim(struct kvm_dirty_pool *pool,
			  struct kvm_dirty_pool_user *user, unsigned int flags,
			  struct kvm_dirty_pool_claim *claim)
{
	return pool_claim(pool, user, flags, claim);
}

static __always_inline void pool_return(struct kvm_dirty_pool *pool,
					struct kvm_dirty_pool_user *user,
					const struct kvm_dirty_pool_claim *claim)
{
	struct kvm_dirty_pool_ring *ring = claim->ring;
	u32 pushed = ring->dirty_index - claim->first;
	u32 reset;

	pool_count(&ring->pushed, pushed);
	trace_kvm_dirty_pool_return(pool, ring->index, user->id, pushed);

	if (unlikely(claim->word & KVM_DIRTY_POOL_PARKED)) {
		if (pool_ring_full(ring))
			clear_bit(ring->index, pool->room);
		pool_settle(pool, ring, claim->word);
		return;
	}

	if (unlikely(ring->dirty_index == ring->soft_end)) {
		/*
		 * The ring may have been drained since soft_end was computed.
		 * Acquire: pairs with the release in pool_reset_ring(), which is
		 * done with the entries below reset_index.
		 */
		reset = smp_load_acquire(&ring->reset_index);
		ring->soft_end = reset + ring->soft_limit;
		if (ring->dirty_index == ring->soft_end) {
			pool_count(&ring->parks, 1);
			clear_bit(ring->index, pool->avail);
			trace_kvm_dirty_pool_park(pool, ring->index, user->id);
			pool_settle(pool, ring, claim->word);
			pool->ops->notify(pool, user, ring,
					  KVM_DIRTY_POOL_EV_PARK);
			return;
		}
	}

	pool_return_free(pool, rcu_dereference_sched(pool->selector), user, claim);
}

/**
 * kvm_dirty_pool_return - return a claimed ring
 * @pool: the pool
 * @user: who claimed it
 * @claim: the claim, void from here on
 *
 * The return is a release and pairs with the acquire in kvm_dirty_pool_claim().  A
 * ring that reached its soft limit is parked, and the VM is notified.
 *
 * Context: as kvm_dirty_pool_claim().
 */
void kvm_dirty_pool_return(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user,
			   struct kvm_dirty_pool_claim *claim)
{
	pool_return(pool, user, claim);
}

/*
 * A mark is lost.  All that is left is to set OVERFLOW, to notify the VM once for
 * each time that userspace clears it, and to keep the vCPU out of the guest until
 * there is room again.
 */
static void pool_overflow(struct kvm_dirty_pool *pool,
			  struct kvm_dirty_pool_user *user, u32 slot,
			  u64 offset, u64 nr)
{
	int overflow;

	trace_kvm_dirty_pool_overflow(pool, user->id, slot, offset, nr);
	WRITE_ONCE(user->reserve, true);
	pool->ops->notify(pool, user, NULL, KVM_DIRTY_POOL_EV_RESERVE);
	atomic64_add(nr, &pool->overflows);
	/*
	 * If OVERFLOW is set already, userspace takes all pages as dirty after it
	 * has cleared it.  Order the write to the guest's page before the read of
	 * OVERFLOW: otherwise this could see OVERFLOW set while userspace clears
	 * it, and reads the page before the write.  Pairs with the exchange in
	 * pool_vm_get_state().
	 */
	smp_mb__after_atomic();
	overflow = atomic_read(&pool->overflow);
	if (!overflow && atomic_try_cmpxchg(&pool->overflow, &overflow,
					    KVM_DIRTY_POOL_OVERFLOW_NEW))
		pool->ops->notify(pool, user, NULL, KVM_DIRTY_POOL_EV_OVERFLOW);
}

/**
 * kvm_dirty_pool_report_overflow - test whether an exit has to report OVERFLOW
 * @pool: the pool
 * @exits: the vCPU exits for another reason anyway
 *
 * Context: any.
 * Return: true if OVERFLOW is set, and the vCPU exits anyway or no exit has reported
 * it yet.  It counts as reported from then on.
 */
bool kvm_dirty_pool_report_overflow(struct kvm_dirty_pool *pool, bool exits)
{
	int overflow = atomic_read(&pool->overflow);

	if (overflow == KVM_DIRTY_POOL_OVERFLOW_NEW &&
	    atomic_try_cmpxchg(&pool->overflow, &overflow,
			       KVM_DIRTY_POOL_OVERFLOW_REPORTED))
		return true;

	return overflow && exits;
}

/*
 * Mark one page in the user's last ring: claim, push and return in a row.  Most
 * marks take this path.  The locked instruction of the next claim waits for all
 * earlier stores, so the number of stores determines the cost.
 */
static __always_inline bool pool_mark_last(struct kvm_dirty_pool *pool,
					   struct kvm_dirty_pool_user *user,
					   u32 slot, u64 offset)
{
	const struct kvm_dirty_pool_selector *selector;
	struct kvm_dirty_pool_ring *ring;
	struct kvm_dirty_pool_claim claim;

	selector = rcu_dereference_sched(pool->selector);
	ring = READ_ONCE(user->last);
	if (unlikely(!ring || READ_ONCE(user->ask)) ||
	    unlikely(!pool_claim_free(user, ring, &claim)))
		return false;

	trace_kvm_dirty_pool_claim(pool, ring->index, user->id, claim.word,
				   claim.room);
	kvm_dirty_pool_push(&claim, slot, offset);

	if (unlikely(ring->dirty_index == ring->soft_end)) {
		struct kvm_dirty_pool_claim full = claim;

		kvm_dirty_pool_return(pool, user, &full);
		return true;
	}

	pool_count(&ring->pushed, 1);
	trace_kvm_dirty_pool_return(pool, ring->index, user->id, 1);
	pool_return_free(pool, selector, user, &claim);
	return true;
}

static noinline u64 pool_mark_run(struct kvm_dirty_pool *pool,
				  struct kvm_dirty_pool_user *user, u32 slot,
				  u64 offset, u64 nr, unsigned int flags)
{
	struct kvm_dirty_pool_claim claim;
	u64 done = 0;

	while (done < nr) {
		bool claimed;

		preempt_disable();
		claimed = pool_claim(pool, user, flags, &claim);
		if (likely(claimed)) {
			do {
				kvm_dirty_pool_push(&claim, slot, offset + done);
			} while (++done < nr && claim.room);
			pool_return(pool, user, &claim);
		} else if (!(flags & KVM_DIRTY_POOL_NORESERVE)) {
			pool_overflow(pool, user, slot, offset + done, nr - done);
			done = nr;
		}
		preempt_enable();

		if (!claimed)
			break;
	}

	return done;
}

/**
 * kvm_dirty_pool_mark - mark neighbouring pages dirty
 * @pool: the pool
 * @user: who marks, see kvm_dirty_pool_claim()
 * @slot: as kvm_dirty_gfn::slot
 * @offset: of the first page in the slot, in pages
 * @nr: number of pages
 * @flags: as for kvm_dirty_pool_claim()
 *
 * Claims a ring for every KVM_DIRTY_POOL_BATCH pages, and another one where a ring
 * reaches its soft limit.
 *
 * Context: Any but NMI, see kvm_dirty_pool_claim(). Does not sleep. Preemption is
 * disabled for one claim at a time.
 * Return: the number of pages marked, which is less than @nr only with
 * KVM_DIRTY_POOL_NORESERVE.  Without it, pages for which there is no room count as
 * marked, because they set OVERFLOW.
 */
u64 kvm_dirty_pool_mark(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_user *user, u32 slot, u64 offset,
			u64 nr, unsigned int flags)
{
	if (likely(nr == 1 && !(flags & KVM_DIRTY_POOL_NORESERVE))) {
		bool marked;

		preempt_disable();
		marked = pool_mark_last(pool, user, slot, offset);
		preempt_enable();
		if (likely(marked))
			return 1;
	}

	return pool_mark_run(pool, user, slot, offset, nr, flags);
}

static bool pool_gate_shut(struct kvm_dirty_pool *pool)
{
	/*
	 * Acquire: what is pushed from here on sees the rings as the resets
	 * left them.  Pairs with the release in pool_free_parked().
	 */
	if (atomic_read_acquire(&pool->nr_reserve))
		return true;

	/* Without any ring, waiting is pointless, and each mark sets OVERFLOW. */
	return kvm_dirty_pool_exhausted(pool) && atomic_read(&pool->nr_attached);
}

/**
 * kvm_dirty_pool_gate - test whether a vCPU has to stay out of the guest
 * @pool: the pool
 * @user: the vCPU
 *
 * A vCPU that used a reserve may enter again when a ring is FREE and no reserve
 * entry is left undrained.  A FREE ring alone is not enough: a userspace that
 * keeps draining the same ring would let the vCPUs in again and again, each time
 * to use up more of the other rings' reserves.
 *
 * While a vCPU waits, marks that keep out of the reserves park no ring, see
 * pool_claim_spare().  Once all rings have been drained and the claims of that kind
 * that were in progress are returned, only marks of other vCPUs can shut the gate
 * again, and those vCPUs have to pass it, too.
 *
 * Context: The vCPU's thread.
 * Return: true if the vCPU has to stay out.  If false, its use of a reserve is
 * forgotten.
 */
bool kvm_dirty_pool_gate(struct kvm_dirty_pool *pool,
			 struct kvm_dirty_pool_user *user)
{
	if (!user->reserve)
		return false;

	if (pool_gate_shut(pool))
		goto shut;

	/*
	 * Look again after that.  If this thread was preempted after the first
	 * look, kvm_sched_out() may have marked a page, and used a reserve anew.
	 */
	WRITE_ONCE(user->reserve, false);
	barrier();
	if (pool_gate_shut(pool)) {
		WRITE_ONCE(user->reserve, true);
		goto shut;
	}

	kvm_dirty_pool_ungate(pool, user);
	return false;
shut:
	if (!atomic_read(&user->gated) && !atomic_xchg(&user->gated, 1))
		atomic_inc(&pool->nr_gated);
	return true;
}

/**
 * kvm_dirty_pool_ungate - stop counting a vCPU as waiting at the gate
 * @pool: the pool
 * @user: the vCPU
 *
 * For a vCPU that will not come back to look.  If it does come back, it is counted
 * again.
 *
 * Context: any.
 */
void kvm_dirty_pool_ungate(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user)
{
	/* Another thread may do the same. */
	if (atomic_read(&user->gated) && atomic_xchg(&user->gated, 0))
		atomic_dec(&pool->nr_gated);
}

/*
 * Runs of pages whose entries were reset, but that are not protected yet.  @hint is
 * a hash table, by a page's offset: the index of the run that was started there
 * last, which may be gone.  With it, pages that were dirtied in no order are merged
 * with their neighbours.
 */
struct pool_runs {
	u32 nr;
	struct kvm_dirty_pool_run run[KVM_DIRTY_POOL_RUNS];
	u8 hint[KVM_DIRTY_POOL_RUNS];
};

static void pool_runs_flush(struct kvm_dirty_pool *pool,
			    struct pool_runs *runs)
{
	if (runs->nr)
		pool->ops->protect(pool, runs->run, runs->nr);
	runs->nr = 0;
}

static void pool_runs_add(struct kvm_dirty_pool *pool,
			  struct pool_runs *runs, u32 slot, u64 offset)
{
	u8 *hint = &runs->hint[offset / BITS_PER_LONG % KVM_DIRTY_POOL_RUNS];
	u64 first = offset - offset % BITS_PER_LONG;
	struct kvm_dirty_pool_run *run = &runs->run[*hint];

	if (*hint >= runs->nr || run->slot != slot || run->offset != first) {
		if (runs->nr == KVM_DIRTY_POOL_RUNS) {
			pool_runs_flush(pool, runs);
			cond_resched();
		}

		*hint = runs->nr++;
		run = &runs->run[*hint];
		run->slot = slot;
		run->offset = first;
		run->mask = 0;
	}
	run->mask |= BIT(offset - first);
}

/*
 * Take back the entries of a ring that userspace has flagged as harvested, from
 * reset_index on, but not beyond @end.  So the work is bounded whatever userspace
 * writes.  The caller has read @end from dirty_index; the faults that pushed entries
 * below it have to install their mappings before pages are protected.  Wait for
 * them here, unless *@quiesced says that it was done after @end was read.
 */
static int pool_reset_ring(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring, u32 end,
			   bool *quiesced, struct pool_runs *runs, u32 *count)
{
	u32 index, first;
	int ret = 0;

	mutex_lock(&ring->reset_lock);

	first = ring->reset_index;
	/* Another reset went beyond @end, or the ring was attached anew. */
	if (end - first > ring->mask + 1)
		end = first;

	for (index = first; index != end; index++) {
		struct kvm_dirty_gfn *entry = &ring->gfns[index & ring->mask];
		u64 offset;
		u32 slot;

		if (!pool_gfn_harvested(entry))
			break;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}

		if (!*quiesced && pool->ops->quiesce)
			pool->ops->quiesce(pool);
		*quiesced = true;

		slot = READ_ONCE(entry->slot);
		offset = READ_ONCE(entry->offset);

		/* Or a reset would take it for harvested the next time round. */
		smp_store_release(&entry->flags, 0);
		/*
		 * Release the entry to the owner of the claim.  Pairs with the
		 * acquire in pool_return(), pool_claim_spare() and
		 * kvm_dirty_pool_used().
		 */
		smp_store_release(&ring->reset_index, index + 1);

		pool_runs_add(pool, runs, slot, offset);
	}

	if (index != first) {
		pool_runs_flush(pool, runs);
		/*
		 * Count the reset after its pages were protected, and before the
		 * lock is dropped: the next reset of the ring has to see that a
		 * flush is due.  Pairs with the acquire in pool_flush().
		 */
		atomic_inc_return_release(&pool->resets);
		*count += index - first;
		pool_settle_reset(pool, ring);
	}

	mutex_unlock(&ring->reset_lock);
	return ret;
}

/*
 * Flush the TLBs if a reset made that necessary, even if the caller itself took
 * back no entry: another thread may have taken the entries that the caller has
 * harvested, and not have flushed yet.  Writes to these pages have to trap when
 * the caller's reset returns.
 */
static void pool_flush(struct kvm_dirty_pool *pool)
{
	/* Pairs with pool_reset_ring(): pages of these resets are protected. */
	int resets = atomic_read_acquire(&pool->resets);
	/* Pairs with the release below: the flush for these resets is done. */
	int flushed = atomic_read_acquire(&pool->flushed);

	if (resets - flushed <= 0)
		return;

	pool->ops->flush(pool);

	while (resets - flushed > 0 &&
	       !atomic_try_cmpxchg_release(&pool->flushed, &flushed, resets))
		;
}

/**
 * kvm_dirty_pool_reset - take back the harvested entries of rings
 * @pool: the pool
 * @first: index of the first ring
 * @end: index after the last ring, not beyond kvm_dirty_pool_nr_rings()
 * @count: increased by the number of entries taken back
 *
 * Takes back all entries that were harvested before the call.  When it returns, the
 * next write to each of their pages traps, including pages of entries that a
 * concurrent call has taken back.  A parked ring that is empty then is freed.
 *
 * Different rings can be reset in parallel; resets of the same ring are serialised.
 *
 * Context: Process context, may sleep. Takes the rings' reset_lock.
 * Return: 0, or -EINTR if a fatal signal is pending; @count is valid either way.
 */
int kvm_dirty_pool_reset(struct kvm_dirty_pool *pool, u32 first, u32 end,
			 u32 *count)
{
	struct pool_runs runs;
	u32 ends[POOL_RESET_RINGS];
	int ret = 0;
	u32 i, nr;

	runs.nr = 0;
	memset(runs.hint, 0, sizeof(runs.hint));

	for (; first < end && !ret; first += nr) {
		bool quiesced = false;

		nr = min_t(u32, end - first, POOL_RESET_RINGS);
		/*
		 * Any entry that userspace has seen is below this index, because
		 * kvm_dirty_pool_push() writes dirty_index before the flags.
		 */
		for (i = 0; i < nr; i++)
			ends[i] = READ_ONCE(pool->rings[first + i]->dirty_index);

		for (i = 0; i < nr && !ret; i++)
			ret = pool_reset_ring(pool, pool->rings[first + i],
					      ends[i], &quiesced, &runs, count);
	}

	pool_flush(pool);
	return ret;
}

static struct kvm_dirty_pool_selector *pool_selector_create(const char *name, u32 max)
{
	struct kvm_dirty_pool_selector *selector;
	u32 quantum;
	int ret;

	selector = kzalloc(sizeof(*selector), GFP_KERNEL_ACCOUNT);
	if (!selector)
		return ERR_PTR(-ENOMEM);

	selector->policy = kvm_dirty_pool_policy_get(name, &quantum);
	if (IS_ERR(selector->policy)) {
		ret = PTR_ERR(selector->policy);
		goto free;
	}
	selector->stay = quantum - 1;

	ret = -ENOMEM;
	if (selector->policy->create) {
		selector->data = selector->policy->create(max);
		if (!selector->data)
			goto put;
	}
	return selector;

put:
	kvm_dirty_pool_policy_put(selector->policy);
free:
	kfree(selector);
	return ERR_PTR(ret);
}

static void pool_selector_destroy(struct kvm_dirty_pool_selector *selector)
{
	if (selector->policy->destroy)
		selector->policy->destroy(selector->data);
	kvm_dirty_pool_policy_put(selector->policy);
	kfree(selector);
}

/* Tell a policy about all rings that it can offer. */
static void pool_selector_seed(struct kvm_dirty_pool *pool,
			       const struct kvm_dirty_pool_selector *selector)
{
	u32 nr = kvm_dirty_pool_nr_rings(pool);
	u32 i;

	if (!selector->policy->put)
		return;

	preempt_disable();
	for (i = 0; i < nr; i++) {
		if (!(atomic_read(&pool->rings[i]->word) &
		      (KVM_DIRTY_POOL_PARKED | KVM_DIRTY_POOL_DETACHED)))
			selector->policy->put(selector->data, i);
	}
	preempt_enable();
}

/**
 * kvm_dirty_pool_set_policy - switch the policy
 * @pool: the pool
 * @name: of the new policy, NAME or NAME:QUANTUM; NULL for the default
 *
 * Claims continue during the switch.  The order in which rings were used is lost.  A
 * user that has filled a quantum of the old policy asks the new one.
 *
 * Context: Process context, sleeps for a grace period.
 * Return: 0, -ENOENT for an unknown name, -EINVAL for a bad quantum, -ENOMEM.
 */
int kvm_dirty_pool_set_policy(struct kvm_dirty_pool *pool, const char *name)
{
	struct kvm_dirty_pool_selector *selector, *old;
	char full[KVM_DIRTY_RING_POLICY_NAME_MAX];

	selector = pool_selector_create(name, pool->max_rings);
	if (IS_ERR(selector))
		return PTR_ERR(selector);

	mutex_lock(&pool->selector_lock);
	old = rcu_dereference_protected(pool->selector,
					lockdep_is_held(&pool->selector_lock));
	pool_selector_seed(pool, selector);
	rcu_assign_pointer(pool->selector, selector);
	kvm_dirty_pool_policy_name(selector->policy, selector->stay + 1, full);
	trace_kvm_dirty_pool_policy(pool, full);
	if (old) {
		/* Pairs with the claims' preemption-off sections. */
		synchronize_rcu();
		/* Again, for rings that were put to the old policy since. */
		pool_selector_seed(pool, selector);
		pool_selector_destroy(old);
	}
	mutex_unlock(&pool->selector_lock);
	return 0;
}

/**
 * kvm_dirty_pool_get_policy - get the name of the policy in use
 * @pool: the pool
 * @name: filled in, KVM_DIRTY_RING_POLICY_NAME_MAX bytes
 *
 * Context: Process context.
 */
void kvm_dirty_pool_get_policy(struct kvm_dirty_pool *pool, char *name)
{
	const struct kvm_dirty_pool_selector *selector;

	mutex_lock(&pool->selector_lock);
	selector = rcu_dereference_protected(pool->selector,
					     lockdep_is_held(&pool->selector_lock));
	kvm_dirty_pool_policy_name(selector->policy, selector->stay + 1, name);
	mutex_unlock(&pool->selector_lock);
}

/**
 * kvm_dirty_pool_ring_init - set up a ring that has not joined a pool yet
 * @ring: the ring
 * @gfns: its entries, all zero
 * @size: number of entries, a power of two
 * @rsvd: entries of the reserve, less than @size
 */
void kvm_dirty_pool_ring_init(struct kvm_dirty_pool_ring *ring,
			      struct kvm_dirty_gfn *gfns, u32 size, u32 rsvd)
{
	memset(ring, 0, sizeof(*ring));
	mutex_init(&ring->reset_lock);
	atomic_set(&ring->word, KVM_DIRTY_POOL_DETACHED);
	ring->index = KVM_DIRTY_POOL_NONE;
	ring->gfns = gfns;
	ring->mask = size - 1;
	ring->soft_limit = size - rsvd;
}

/* Under reset_lock, whose holder owns the word of a DETACHED ring. */
static void pool_attach(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_ring *ring)
{
	ring->soft_end = ring->dirty_index + ring->soft_limit;
	atomic_inc(&pool->nr_attached);

	preempt_disable();
	set_bit(ring->index, pool->room);
	set_bit(ring->index, pool->avail);
	pool_release(ring, KVM_DIRTY_POOL_FREE);
	pool_put(pool, ring);
	preempt_enable();

	/* There is room now, as after a reset.  Pairs with pool_claim_slow(). */
	atomic_inc_return_release(&pool->resets);
}

/**
 * kvm_dirty_pool_add - let a ring join the pool, as FREE
 * @pool: the pool, which must have room
 * @ring: the ring
 *
 * Claims may run concurrently.
 *
 * Context: Process context. The caller serialises additions.
 */
void kvm_dirty_pool_add(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_ring *ring)
{
	mutex_lock(&ring->reset_lock);
	ring->index = pool->nr_rings;
	/* The vCPU that the ring comes with; its first claim is no move. */
	ring->last_user = ring->index;
	pool->rings[ring->index] = ring;
	/* Pairs with the acquire in kvm_dirty_pool_nr_rings(). */
	smp_store_release(&pool->nr_rings, ring->index + 1);
	pool_attach(pool, ring);
	mutex_unlock(&ring->reset_lock);
}

/**
 * kvm_dirty_pool_attach - use a ring again that was detached
 * @pool: the pool
 * @ring: a ring that kvm_dirty_pool_ring_init() has set up
 *
 * The ring is empty, and its next mark goes to its first entry.  Does nothing if
 * the ring is attached, or has not joined the pool yet.
 *
 * Context: Process context, may sleep. Takes the ring's reset_lock.
 */
void kvm_dirty_pool_attach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring)
{
	u32 index;

	mutex_lock(&ring->reset_lock);
	if (ring->index != KVM_DIRTY_POOL_NONE && pool_ring_detached(ring)) {
		/* The first entry; and another index always, for pool_resets(). */
		index = ALIGN(ring->dirty_index + 1, ring->mask + 1);
		WRITE_ONCE(ring->dirty_index, index);
		/* After dirty_index; pairs with kvm_dirty_pool_used(). */
		smp_store_release(&ring->reset_index, index);
		pool_attach(pool, ring);
	}
	mutex_unlock(&ring->reset_lock);
}

/* Claim a ring in any state.  Waits for its owner; disables preemption. */
static u32 pool_take_any(struct kvm_dirty_pool_ring *ring)
{
	for (;;) {
		u32 word;

		preempt_disable();
		word = atomic_read(&ring->word);
		if (!(word & KVM_DIRTY_POOL_CLAIMED) && pool_take(ring, word, 0))
			return word;
		preempt_enable();
		cpu_relax();
		cond_resched();
	}
}

/**
 * kvm_dirty_pool_detach - stop using a ring that nobody can harvest any more
 * @pool: the pool
 * @ring: a ring that kvm_dirty_pool_ring_init() has set up
 *
 * Resets the entries that were harvested.  Marks the pages of the others again, in
 * other rings or their reserves, if their memslot is still logged; if there is no
 * room, that sets OVERFLOW.  Does nothing if the ring is detached, or has not
 * joined the pool yet.
 *
 * Claims may run concurrently.
 *
 * Context: Process context, may sleep. Takes the ring's reset_lock, and waits
 * for the owner of the ring's claim.
 */
void kvm_dirty_pool_detach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring)
{
	u32 word, index, count = 0;
	bool joined;

	/* Under the lock, because the ring may be about to join. */
	mutex_lock(&ring->reset_lock);
	joined = ring->index != KVM_DIRTY_POOL_NONE;
	mutex_unlock(&ring->reset_lock);
	if (!joined)
		return;

	kvm_dirty_pool_reset(pool, ring->index, ring->index + 1, &count);

	mutex_lock(&ring->reset_lock);
	if (pool_ring_detached(ring))
		goto unlock;

	word = pool_take_any(ring);
	clear_bit(ring->index, pool->avail);
	clear_bit(ring->index, pool->room);
	if (word & KVM_DIRTY_POOL_PARKED) {
		pool_count(&ring->drains, 1);
		trace_kvm_dirty_pool_drain(pool, ring->index);
	}
	pool_release(ring, KVM_DIRTY_POOL_DETACHED);
	preempt_enable();

	/* From here on nobody pushes to the ring or resets it. */
	for (index = ring->reset_index; index != ring->dirty_index; index++) {
		struct kvm_dirty_gfn *entry = &ring->gfns[index & ring->mask];

		u32 slot = READ_ONCE(entry->slot);
		u64 offset = READ_ONCE(entry->offset);

		if (!pool->ops->wanted || pool->ops->wanted(pool, slot, offset))
			kvm_dirty_pool_mark(pool, &pool->vm_user, slot, offset, 1, 0);
		cond_resched();
	}
	/* After its entries were moved.  Release: as in pool_free_parked(). */
	if (word & KVM_DIRTY_POOL_RESERVE)
		atomic_dec_return_release(&pool->nr_reserve);
	atomic_dec(&pool->nr_attached);
	for (index = 0; index <= ring->mask; index++)
		WRITE_ONCE(ring->gfns[index].flags, 0);
	/* Empty now.  Release: as in pool_reset_ring(). */
	smp_store_release(&ring->reset_index, ring->dirty_index);
unlock:
	mutex_unlock(&ring->reset_lock);
}

/**
 * kvm_dirty_pool_init - set up an empty pool, with the default policy
 * @pool: the pool, all zero
 * @ops: the VM
 * @max_rings: the number of rings that may join
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int kvm_dirty_pool_init(struct kvm_dirty_pool *pool,
			const struct kvm_dirty_pool_ops *ops, u32 max_rings)
{
	int ret;

	pool->ops = ops;
	pool->max_rings = max_rings;
	mutex_init(&pool->selector_lock);
	kvm_dirty_pool_user_init(&pool->vm_user, KVM_DIRTY_POOL_VM_USER);

	pool->rings = kvcalloc(max_rings, sizeof(*pool->rings),
			       GFP_KERNEL_ACCOUNT);
	pool->avail = bitmap_zalloc(max_rings, GFP_KERNEL_ACCOUNT);
	pool->room = bitmap_zalloc(max_rings, GFP_KERNEL_ACCOUNT);
	ret = -ENOMEM;
	if (pool->rings && pool->avail && pool->room)
		ret = kvm_dirty_pool_set_policy(pool, NULL);
	if (ret) {
		bitmap_free(pool->room);
		bitmap_free(pool->avail);
		kvfree(pool->rings);
	}
	return ret;
}

/**
 * kvm_dirty_pool_exit - free what kvm_dirty_pool_init() allocated
 * @pool: the pool, which nobody uses any more
 *
 * The caller frees the rings and their entries.
 *
 * Context: Process context, may sleep.
 */
void kvm_dirty_pool_exit(struct kvm_dirty_pool *pool)
{
	pool_selector_destroy(rcu_dereference_protected(pool->selector, 1));
	bitmap_free(pool->room);
	bitmap_free(pool->avail);
	kvfree(pool->rings);
}
