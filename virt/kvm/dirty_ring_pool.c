// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pool of dirty rings: the protocol.
 *
 * N rings belong to a VM.  Whoever must mark pages dirty claims a ring,
 * pushes, and returns it.  A ring that is returned at its soft limit is
 * parked, and not handed out until a reset leaves it empty:
 *
 *   FREE --claim--> CLAIMED --return--> FREE, or at the soft limit PARKED
 *   PARKED --reset leaves it empty--> FREE
 *   PARKED --no FREE ring is left--> CLAIMED|PARKED --return--> PARKED
 *   any of these --its memory is unmapped--> DETACHED --mapped again--> FREE
 *
 * The third line is the reserve: the entries between the soft limit and the
 * size of a ring.  N rings' reserves suffice for N vCPUs as long as a stay in
 * the guest marks no more pages than a reserve holds, and each vCPU enters the
 * guest with its share intact.  kvm_dirty_pool_gate() ensures the latter.
 *
 * Ownership.  The CLAIMED bit is a lock that nobody waits for: a claimant
 * that finds it set tries another ring.  The claim acquires and the return
 * releases the ring's index and entries.  A reset of a parked ring frees it as
 * its owner, too, so that only owners ever change a ring's word, its bit in
 * pool->avail and its counters.
 *
 * Reset.  A reset runs beside the owner of the claim, and takes entries from
 * reset_index on.  It never looks beyond dirty_index, which no more than
 * reset_index lives where userspace could write it.
 *
 * RCU.  Claims run with preemption off, which keeps the policy that they use.
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

/* Searches while some ring is available, but claimed, before the reserve. */
#define POOL_TRIES_FREE		16
/* Rings whose reserve is said to have room, before all are looked at. */
#define POOL_TRIES_HINT		4
/* Rings that a reset waits for once: how far each is filled has to be kept. */
#define POOL_RESET_RINGS	32
/*
 * Searches while every ring that could take a mark is claimed.  Their owners
 * run with preemption off and push at most KVM_DIRTY_POOL_BATCH entries, so
 * this is only reached if none of them runs at all, for tens of milliseconds.
 */
#define POOL_TRIES_BUSY		BIT(18)

/* The next ring at or after @from whose bit in @map is set, going round. */
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

	/* The first word is seen twice: from @from on, and at the end. */
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
 * kvm_dirty_pool_next - the next ring that is not parked
 * @pool: the pool
 * @from: where to start; may be out of range
 *
 * For policies: at or after @from, going round.  A word of the bitmap for
 * each 64 rings is read at most, however many rings are parked.
 *
 * Context: as kvm_dirty_pool_claim().
 * Return: the ring, which may be claimed, or KVM_DIRTY_POOL_NONE.
 */
u32 kvm_dirty_pool_next(struct kvm_dirty_pool *pool, u32 from)
{
	return pool_next(pool, pool->avail, from);
}
EXPORT_SYMBOL_GPL(kvm_dirty_pool_next);

/**
 * kvm_dirty_pool_exhausted - is no ring FREE
 * @pool: the pool
 *
 * A ring that is claimed, but not parked, counts as FREE: it is about to be.
 *
 * Context: any.
 */
bool kvm_dirty_pool_exhausted(struct kvm_dirty_pool *pool)
{
	return kvm_dirty_pool_next(pool, 0) == KVM_DIRTY_POOL_NONE;
}

/*
 * Take @ring from the unclaimed state @word.  Acquire: pairs with the release
 * by which the last owner returned it, in pool_release().
 */
static bool pool_take(struct kvm_dirty_pool_ring *ring, u32 word, u32 set)
{
	int old = word;

	return atomic_try_cmpxchg_acquire(&ring->word, &old,
					  word | KVM_DIRTY_POOL_CLAIMED | set);
}

/* Pairs with pool_take().  No other CPU writes the word of a claimed ring. */
static void pool_release(struct kvm_dirty_pool_ring *ring, u32 word)
{
	atomic_set_release(&ring->word, word);
}

/*
 * The owner counts, others read at any time.  No other CPU writes the counters,
 * so they need no atomics; and no WRITE_ONCE(), by which a mark of one page takes
 * a third longer: the compiler then does not add in memory.
 */
static __always_inline void pool_count(u64 *counter, u64 n)
{
	/* Readers run beside this.  An old value is good enough for them. */
	data_race(*counter += n);
}

/* A ring has become FREE.  Not before its word says so. */
static void pool_put(struct kvm_dirty_pool *pool,
		     struct kvm_dirty_pool_ring *ring)
{
	const struct kvm_dirty_pool_selector *selector;

	selector = rcu_dereference_sched(pool->selector);
	if (selector->policy->put)
		selector->policy->put(selector->data, ring->index);
}

/*
 * A ring that holds reserve entries is parked, and a parked ring takes no
 * other entries: the reserve is drained when, and only when, the ring is.
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
 * Give a claimed ring back as parked, or as FREE if it is empty.  Userspace
 * resets a ring once: whichever of the return and the reset comes last has to
 * notice that the ring is empty, or it stays parked for ever.
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
		 * Order the word before reset_index.  Pairs with the barrier
		 * in pool_settle_reset(), which orders them the other way.
		 */
		smp_mb();
	} while (!kvm_dirty_pool_used(ring) && pool_take(ring, word, 0));
}

/* The reset's part of the above. */
static void pool_settle_reset(struct kvm_dirty_pool *pool,
			      struct kvm_dirty_pool_ring *ring)
{
	u32 word;

	/* Read first: most resets have nothing to tell. */
	if (!test_bit(ring->index, pool->room) &&
	    kvm_dirty_pool_used(ring) <= ring->mask)
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
 * A mark for the VM, which keeps out of the reserves: while a vCPU waits at the
 * gate, leave the last entry of each ring, so that no ring is parked.  A device
 * that marks all the time would else fill each ring that a drain has freed
 * before the vCPU is back to look, and the gate would stay shut.
 *
 * nr_gated is read after the ring was taken: a ring that was drained because
 * the vCPU asked for it brings the count along, by the release in
 * pool_free_parked().
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
	/* Resets may have made room.  Acquire: as in pool_return(). */
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
 * Changes whenever an entry of any ring is reset, or a ring is attached: indices
 * only grow, and that of a ring that is attached does by one at least.
 */
static u32 pool_resets(struct kvm_dirty_pool *pool, u32 nr)
{
	u32 sum = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		struct kvm_dirty_pool_ring *ring = pool->rings[i];

		sum += 2 * READ_ONCE(ring->reset_index);
		sum += !!(atomic_read(&ring->word) & KVM_DIRTY_POOL_DETACHED);
	}

	return sum;
}

/*
 * Claim the reserve of a parked ring.  Returns 1 if that was done, 0 if all
 * reserves were seen full, -EBUSY if a ring is claimed and may yet have room.
 * With @hint, only rings that are said to have room are looked at.
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

		/* Parked and full: only a reset makes room again. */
		if (kvm_dirty_pool_used(ring) > ring->mask)
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
 * As above, but 0 only if all reserves were full at the same time, and -EAGAIN
 * if they were not, because rings were drained or added while others filled.
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
	 * Rare, so only now: were they full from one end of a scan to the other?
	 * No barrier here: the scan reads the same indices, so none is older.
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

	/* As many tries as rings: what a policy offers may be out of date. */
	for (i = 0; i < nr; i++) {
		at = selector->policy->pick(pool, selector->data, at);
		if (at >= nr)
			break;
		if (pool_claim_ring(pool, user, pool->rings[at], flags, claim))
			return true;
		(*failed)++;
	}

	/* The policy may have lost sight of a ring; the bitmap never does. */
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
	/* Pairs with pool_reset_ring() and pool_attach(): there is room now. */
	int resets = atomic_read_acquire(&pool->resets);
	bool exhausted = false;
	u32 tries;

	/*
	 * All was full, and nothing has been reset since: do not look at each
	 * ring for each mark that is lost.  A reset that is under way is not
	 * counted yet; what is lost for that is lost under OVERFLOW, too.
	 */
	if (unlikely(atomic_read(&pool->overflow)) &&
	    READ_ONCE(pool->full_at) == resets) {
		atomic64_inc(&pool->exhaustions);
		return false;
	}

	for (tries = 0; tries < POOL_TRIES_BUSY; tries++) {
		u32 nr = kvm_dirty_pool_nr_rings(pool);
		int ret;

		if (pool_search(pool, selector, user, flags, nr, &failed, claim)) {
			/* Another cache line, which few claims need. */
			if (unlikely(failed))
				pool_count(&claim->ring->retries, failed);
			return true;
		}

		if (kvm_dirty_pool_exhausted(pool)) {
			if (!exhausted) {
				exhausted = true;
				atomic64_inc(&pool->exhaustions);
				trace_kvm_dirty_pool_exhausted(pool, user->id);
			}
			if (flags & KVM_DIRTY_POOL_NORESERVE)
				return false;
		} else if ((flags & KVM_DIRTY_POOL_NORESERVE) &&
			   atomic_read(&pool->nr_gated)) {
			return false;
		}

		/*
		 * A ring that is merely claimed comes back within a few
		 * entries' time.  A reserve makes the vCPU leave the guest, so
		 * do not take one lightly; but do not wait for long either,
		 * the owner may have been stopped.
		 */
		if (exhausted || tries >= POOL_TRIES_FREE ||
		    (flags & KVM_DIRTY_POOL_NOWAIT)) {
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
 * Inlined where pages are marked, so that @claim is kept in registers there:
 * only @slow has an address.
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
	if ((selector->flags & KVM_DIRTY_POOL_POLICY_STICKY) && likely(ring)) {
		if (likely(pool_claim_ring(pool, user, ring, flags, claim)))
			goto claimed;
		failed++;
	}

	if (!pool_claim_slow(pool, selector, user, flags, failed, &slow))
		return false;

	*claim = slow;
	/*
	 * Release: the VM's user is shared, and the ring may have joined just
	 * now.  Pairs with the dependent reads of the ring in pool_mark_last()
	 * and pool_search().
	 */
	smp_store_release(&user->last, claim->ring);
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
 * Takes a FREE ring in the order of the policy, or if there is none the
 * reserve of a parked one.  No lock is taken.  A claimant that finds all
 * rings claimed retries, which is bounded by the progress of their owners, up
 * to a limit after which the owners must have been stopped.
 *
 * The claim is an acquire, paired with the release in kvm_dirty_pool_return():
 * what the last owner did to the ring is visible.
 *
 * Context: Preemption disabled, until kvm_dirty_pool_return(). Any context but
 * NMI; one that may have interrupted a claim has to set KVM_DIRTY_POOL_NOWAIT.
 * Return: true if a ring was claimed.  With KVM_DIRTY_POOL_NORESERVE, false
 * means that no ring is FREE, else that all are full or not coming back:
 * a mark would be lost.
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
		if (kvm_dirty_pool_used(ring) > ring->mask)
			clear_bit(ring->index, pool->room);
		pool_settle(pool, ring, claim->word);
		return;
	}

	if (unlikely(ring->dirty_index == ring->soft_end)) {
		/*
		 * The ring may have been drained since soft_end was computed.
		 * Acquire: the reset is done with the entries that it took.
		 * Pairs with the release in kvm_dirty_pool_reset().
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

	pool_release(ring, KVM_DIRTY_POOL_FREE);
	pool_put(pool, ring);
}

/**
 * kvm_dirty_pool_return - return a claimed ring
 * @pool: the pool
 * @user: who claimed it
 * @claim: the claim, void from here on
 *
 * A release, paired with the acquire in kvm_dirty_pool_claim().  A ring that
 * reached its soft limit is parked, and the VM is notified.
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
 * Nothing can be done but to say so, once for each time that userspace clears
 * the state, and to keep a vCPU out of the guest until there is room again.
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
	 * If OVERFLOW is set already there is nothing to do: when it is cleared,
	 * all memory is read again.  Order the write to the guest's page before
	 * this look at it, or the page may be read too early.  Pairs with the
	 * exchange in pool_vm_get_state(), before which userspace reads no page.
	 */
	smp_mb__after_atomic();
	overflow = atomic_read(&pool->overflow);
	if (!overflow && atomic_try_cmpxchg(&pool->overflow, &overflow,
					    KVM_DIRTY_POOL_OVERFLOW_NEW))
		pool->ops->notify(pool, user, NULL, KVM_DIRTY_POOL_EV_OVERFLOW);
}

/**
 * kvm_dirty_pool_report_overflow - test whether an exit has to tell of OVERFLOW
 * @pool: the pool
 * @exits: the vCPU exits anyway
 *
 * Context: any.
 * Return: true if OVERFLOW is set and @exits, or if no exit has told of it yet:
 * this one does then.
 */
bool kvm_dirty_pool_report_overflow(struct kvm_dirty_pool *pool,
				    bool exits)
{
	int overflow = atomic_read(&pool->overflow);

	if (overflow == KVM_DIRTY_POOL_OVERFLOW_NEW &&
	    atomic_try_cmpxchg(&pool->overflow, &overflow,
			       KVM_DIRTY_POOL_OVERFLOW_REPORTED))
		return true;

	return overflow && exits;
}

/* Not inlined, so that who calls it saves no registers if there is no put(). */
static noinline void pool_put_last(const struct kvm_dirty_pool_selector *selector,
				   struct kvm_dirty_pool_ring *ring)
{
	selector->policy->put(selector->data, ring->index);
}

/*
 * One page into the user's last ring, which is what most marks are: claim,
 * push and return in a row.  The locked instruction in the next claim waits
 * for all stores before it, so what counts here is how many there are.
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
	if (!(selector->flags & KVM_DIRTY_POOL_POLICY_STICKY) || unlikely(!ring) ||
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
	pool_release(ring, KVM_DIRTY_POOL_FREE);
	if (unlikely(selector->policy->put))
		pool_put_last(selector, ring);
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
 * Claims as often as needed: once for KVM_DIRTY_POOL_BATCH pages at most, and
 * anew where a ring reaches its soft limit.
 *
 * Context: Any but NMI, see kvm_dirty_pool_claim(). Does not sleep. Preemption
 * is off for one claim at a time.
 * Return: the number of pages marked.  Less than @nr only with
 * KVM_DIRTY_POOL_NORESERVE; without it the OVERFLOW state is set if there is
 * no room, and all of @nr is returned: nothing is left to be done.
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

	/* Without any ring there is none to wait for, and all is OVERFLOW. */
	return kvm_dirty_pool_exhausted(pool) && atomic_read(&pool->nr_attached);
}

/**
 * kvm_dirty_pool_gate - must a vCPU stay out of the guest
 * @pool: the pool
 * @user: the vCPU
 *
 * A vCPU that used a reserve may enter again when a ring is FREE and no
 * reserve entry is left undrained.  A FREE ring alone is not enough: a
 * userspace that keeps draining one ring would let the vCPUs in again and
 * again, each time to eat more of the other rings' reserves.
 *
 * While a vCPU waits, marks that keep out of the reserves park no ring, see
 * pool_claim_spare(): once all rings have been drained, and claims of that kind
 * that were under way are returned, only marks of other vCPUs can shut the gate
 * again, and who makes them has to pass it, too.
 *
 * Context: The vCPU's thread.
 * Return: true if it must; false also forgets that it used a reserve.
 */
bool kvm_dirty_pool_gate(struct kvm_dirty_pool *pool,
			 struct kvm_dirty_pool_user *user)
{
	if (!user->reserve)
		return false;

	if (pool_gate_shut(pool))
		goto shut;

	/*
	 * Then look again: where this vCPU was preempted since the first look,
	 * it may have marked a page, and used a reserve once more.
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
 * kvm_dirty_pool_ungate - forget that a vCPU waits at the gate
 * @pool: the pool
 * @user: the vCPU
 *
 * For a vCPU that will not come back to look.  If it does, it waits again.
 *
 * Context: any.
 */
void kvm_dirty_pool_ungate(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user)
{
	/* Against the same by another thread. */
	if (atomic_read(&user->gated) && atomic_xchg(&user->gated, 0))
		atomic_dec(&pool->nr_gated);
}

/*
 * Runs of pages that were reset but not protected yet.  By a page's place, @hint
 * names the run that was begun there last, if it is still there: so pages that
 * were dirtied in no order find their neighbours.
 */
struct pool_runs {
	u32 nr;
	struct kvm_dirty_pool_run run[KVM_DIRTY_POOL_RUNS];
	u8 hint[KVM_DIRTY_POOL_RUNS];
};

static void pool_runs_init(struct pool_runs *runs)
{
	runs->nr = 0;
	memset(runs->hint, 0, sizeof(runs->hint));
}

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
 * Take entries of a ring from reset_index on while userspace has flagged them as
 * harvested, but not beyond @end: userspace cannot keep it busy, whatever it
 * writes.  @end was read from dirty_index before anyone waited for the faults
 * that pushed entries below it, which is done here unless it was: @quiesced.
 */
static int pool_reset_ring(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring, u32 end,
			   bool *quiesced, struct pool_runs *runs, u32 *count)
{
	u32 index, first;
	int ret = 0;

	mutex_lock(&ring->reset_lock);

	first = ring->reset_index;
	/* Another reset went further, or the ring has been attached anew. */
	if (end - first > ring->mask + 1)
		end = first;

	for (index = first; index != end; index++) {
		struct kvm_dirty_gfn *entry = &ring->gfns[index & ring->mask];
		u64 offset;
		u32 slot;

		/* Pairs with the release by which userspace harvests. */
		if (!(smp_load_acquire(&entry->flags) & KVM_DIRTY_GFN_F_RESET))
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

		/* Not harvested, when it comes round again. */
		smp_store_release(&entry->flags, 0);
		/*
		 * The entry may be pushed to again.  Pairs with the acquire in
		 * pool_return(), pool_claim_spare() and kvm_dirty_pool_used().
		 */
		smp_store_release(&ring->reset_index, index + 1);

		pool_runs_add(pool, runs, slot, offset);
	}

	if (index != first) {
		pool_runs_flush(pool, runs);
		/*
		 * After the pages were protected, before the lock is dropped:
		 * who resets the ring next sees that a flush is due.  Pairs
		 * with pool_flush().
		 */
		atomic_inc_return_release(&pool->resets);
		*count += index - first;
		pool_settle_reset(pool, ring);
	}

	mutex_unlock(&ring->reset_lock);
	return ret;
}

/*
 * Flush TLBs, if a reset made that necessary.  Called also if the caller took
 * back no entry: it may have been another thread that took the caller's entries,
 * and has not flushed yet.  The caller's pages have to be trapped when its call
 * is done, whoever did it.
 */
static void pool_flush(struct kvm_dirty_pool *pool)
{
	/* Pairs with pool_reset_ring(): these resets have protected. */
	int resets = atomic_read_acquire(&pool->resets);
	/* Pairs with the release below: these flushes are done. */
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
 * Takes all entries that were harvested before the call, and traps the next
 * write to their pages.  When it returns that is done for each of them, also for
 * those that the call of another thread has taken.  A ring that is parked and
 * empty then is freed.
 *
 * Different rings are reset in parallel; of two resets of the same ring the
 * second waits.
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

	pool_runs_init(&runs);

	for (; first < end && !ret; first += nr) {
		bool quiesced = false;

		nr = min_t(u32, end - first, POOL_RESET_RINGS);
		/*
		 * An entry that userspace saw was pushed below this index: it
		 * was written before the entry's flags, in kvm_dirty_pool_push().
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
	int ret = -ENOENT;

	selector = kzalloc(sizeof(*selector), GFP_KERNEL_ACCOUNT);
	if (!selector)
		return ERR_PTR(-ENOMEM);

	selector->policy = kvm_dirty_pool_policy_get(name);
	if (!selector->policy)
		goto free;
	selector->flags = selector->policy->flags;

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

/* Tell a policy of all rings that it could offer. */
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
 * @name: of the new policy; NULL for the default
 *
 * Claims go on meanwhile.  The order in which rings were used is forgotten.
 *
 * Context: Process context, sleeps for a grace period.
 * Return: 0, -ENOENT for an unknown name, -ENOMEM.
 */
int kvm_dirty_pool_set_policy(struct kvm_dirty_pool *pool,
			      const char *name)
{
	struct kvm_dirty_pool_selector *selector, *old;

	selector = pool_selector_create(name, pool->max_rings);
	if (IS_ERR(selector))
		return PTR_ERR(selector);

	mutex_lock(&pool->selector_lock);
	old = rcu_dereference_protected(pool->selector,
					lockdep_is_held(&pool->selector_lock));
	pool_selector_seed(pool, selector);
	rcu_assign_pointer(pool->selector, selector);
	trace_kvm_dirty_pool_policy(pool, selector->policy->name);
	if (old) {
		/* Pairs with the claims' preemption-off sections. */
		synchronize_rcu();
		/* Again, for the rings that were returned to the old one. */
		pool_selector_seed(pool, selector);
		pool_selector_destroy(old);
	}
	mutex_unlock(&pool->selector_lock);
	return 0;
}

/**
 * kvm_dirty_pool_get_policy - the name of the policy in use
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
	memcpy(name, selector->policy->name, KVM_DIRTY_RING_POLICY_NAME_MAX);
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

/* Under reset_lock, which is who may change the word of a DETACHED ring. */
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

	/* As if by a reset: not all is full now.  Pairs with pool_claim_slow(). */
	atomic_inc_return_release(&pool->resets);
}

/**
 * kvm_dirty_pool_add - let a ring join the pool, as FREE
 * @pool: the pool, which must have room
 * @ring: the ring
 *
 * Claims go on meanwhile.
 *
 * Context: Process context. The caller serialises additions.
 */
void kvm_dirty_pool_add(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_ring *ring)
{
	mutex_lock(&ring->reset_lock);
	ring->index = pool->nr_rings;
	/* Who has it first without a move: the vCPU that it comes with. */
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
 * @ring: one that kvm_dirty_pool_ring_init() has set up
 *
 * The ring is empty, and the next mark goes to its first entry.  Nothing is
 * done if the ring is attached, or was not added yet.
 *
 * Context: Process context, may sleep. Takes the ring's reset_lock.
 */
void kvm_dirty_pool_attach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring)
{
	u32 index;

	mutex_lock(&ring->reset_lock);
	if (ring->index != KVM_DIRTY_POOL_NONE &&
	    atomic_read(&ring->word) & KVM_DIRTY_POOL_DETACHED) {
		/* Always another one, for pool_resets(). */
		index = ALIGN(ring->dirty_index + 1, ring->mask + 1);
		WRITE_ONCE(ring->dirty_index, index);
		/* In this order; pairs with kvm_dirty_pool_used(). */
		smp_store_release(&ring->reset_index, index);
		pool_attach(pool, ring);
	}
	mutex_unlock(&ring->reset_lock);
}

/* Wait for the owner of the claim.  Returns with preemption off. */
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
 * @ring: one that kvm_dirty_pool_ring_init() has set up
 *
 * Harvested entries are reset.  What was not harvested, and is still wanted, is
 * marked again, in other rings or their reserves, and lost to the OVERFLOW state
 * if there is no room.
 * Nothing is done if the ring is detached, or was not added yet.
 *
 * Claims go on meanwhile.
 *
 * Context: Process context, may sleep. Takes the ring's reset_lock, and waits
 * for the owner of the ring's claim.
 */
void kvm_dirty_pool_detach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring)
{
	u32 word, index, count = 0;
	bool joined;

	/* With the lock: it may be about to join. */
	mutex_lock(&ring->reset_lock);
	joined = ring->index != KVM_DIRTY_POOL_NONE;
	mutex_unlock(&ring->reset_lock);
	if (!joined)
		return;

	kvm_dirty_pool_reset(pool, ring->index, ring->index + 1, &count);

	mutex_lock(&ring->reset_lock);
	if (atomic_read(&ring->word) & KVM_DIRTY_POOL_DETACHED)
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

	/* Nobody pushes to the ring or resets it from here on. */
	for (index = ring->reset_index; index != ring->dirty_index; index++) {
		struct kvm_dirty_gfn *entry = &ring->gfns[index & ring->mask];

		u32 slot = READ_ONCE(entry->slot);
		u64 offset = READ_ONCE(entry->offset);

		if (!pool->ops->wanted || pool->ops->wanted(pool, slot, offset))
			kvm_dirty_pool_mark(pool, &pool->vm_user, slot, offset, 1, 0);
		cond_resched();
	}
	/* Not before its entries are elsewhere.  As in pool_free_parked(). */
	if (word & KVM_DIRTY_POOL_RESERVE)
		atomic_dec_return_release(&pool->nr_reserve);
	atomic_dec(&pool->nr_attached);
	for (index = 0; index <= ring->mask; index++)
		WRITE_ONCE(ring->gfns[index].flags, 0);
	/* Empty, and as in pool_reset_ring(). */
	smp_store_release(&ring->reset_index, ring->dirty_index);
unlock:
	mutex_unlock(&ring->reset_lock);
}

/**
 * kvm_dirty_pool_init - set up an empty pool, with the default policy
 * @pool: the pool, all zero
 * @ops: the VM
 * @max_rings: how many rings may join
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
 * @pool: the pool; nobody uses it any more
 *
 * The rings and their entries stay the caller's.
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
