// SPDX-License-Identifier: GPL-2.0
/*
 * For cbmc: whatever userspace writes to the rings, claim, push, reset and attach
 * keep small rings sane().  Includes the kernel's own code.
 *
 * The shims call sched_point() before each access to shared memory.  The explorer
 * runs another thread there.  Here the others may do there whatever they can:
 * userspace writes anything to the rings, and another thread resets or pushes
 * one more entry.
 *
 * Each proof starts in an arbitrary sane() state, at an arbitrary index, and shows
 * that the state is sane() afterwards, and so after any number of calls.
 */
#include <linux/kvm_dirty_ring_pool.h>

/* A few entries reach these limits, where the kernel's take many. */
#undef KVM_DIRTY_POOL_BATCH
#define KVM_DIRTY_POOL_BATCH	3
#undef KVM_DIRTY_POOL_RUNS
#define KVM_DIRTY_POOL_RUNS	2

#include <virt/kvm/dirty_ring_pool.c>

#ifndef SIZE
#define SIZE	4
#endif

/* cbmc takes a variable without a value for any value. */
#define ANY(type)	({ type any; any; })
#define ASSUME(x)	__CPROVER_assume(x)
#define CHECK(x)	__CPROVER_assert(x, #x)

static bool maybe(void)
{
	bool any;

	return any;
}

static struct kvm_dirty_pool pool;
static struct kvm_dirty_pool_ring ring;
static struct kvm_dirty_pool_ring *rings[] = { &ring };
static struct kvm_dirty_gfn page[SIZE];
static unsigned long avail, room;

/* How often others may still act. */
static u32 may_reset, may_push;
static bool may_write;

static u32 runs_seen;
static struct kvm_dirty_gfn *witness;
static bool witnessed;

/* -- the shims */

__thread unsigned int shim_signal_after;
__thread bool shim_signal_harmless;

int sched_lock_owner(void)
{
	return 1;
}

void sched_relax(void)
{
}

void preempt_disable(void)
{
}

void preempt_enable(void)
{
}

static void others_reset(void)
{
	if (may_reset && ring.reset_index != ring.dirty_index && maybe()) {
		ring.reset_index++;
		may_reset--;
	}
}

static u32 used(void)
{
	return ring.dirty_index - ring.reset_index;
}

static bool is(u32 bit)
{
	return ring.word.counter & bit;
}

static void others_push(void)
{
	bool room = is(KVM_DIRTY_POOL_PARKED) ? used() < SIZE :
						ring.dirty_index != ring.soft_end;

	if (may_push && is(KVM_DIRTY_POOL_CLAIMED) && room && maybe()) {
		ring.dirty_index++;
		may_push--;
	}
}

void sched_point(const void *addr, enum sched_access access)
{
	if (may_write && __CPROVER_same_object(addr, page))
		__CPROVER_havoc_object(page);
	if (addr == &ring.reset_index)
		others_reset();
	if (addr == &ring.dirty_index)
		others_push();
}

/* -- the VM, and a policy that returns anything */

static void vm_notify(struct kvm_dirty_pool *p,
		      struct kvm_dirty_pool_user *user,
		      struct kvm_dirty_pool_ring *r,
		      enum kvm_dirty_pool_event event)
{
}

static void vm_protect(struct kvm_dirty_pool *p,
		       const struct kvm_dirty_pool_run *runs, u32 nr)
{
	u32 i;

	CHECK(nr >= 1 && nr <= KVM_DIRTY_POOL_RUNS);
	runs_seen += nr;
	for (i = 0; i < nr; i++) {
		u64 bit = witness ? witness->offset - runs[i].offset : 0;

		CHECK(runs[i].mask && runs[i].offset % BITS_PER_LONG == 0);
		if (witness && runs[i].slot == witness->slot &&
		    bit < BITS_PER_LONG && runs[i].mask & BIT(bit))
			witnessed = true;
	}
}

static void vm_flush(struct kvm_dirty_pool *p)
{
}

static const struct kvm_dirty_pool_ops vm_ops = {
	.notify		= vm_notify,
	.protect	= vm_protect,
	.flush		= vm_flush,
};

static u32 any_pick(struct kvm_dirty_pool *p, void *data, u32 prev)
{
	return ANY(u32);
}

static struct kvm_dirty_pool_policy any_policy = { .pick = any_pick };
static struct kvm_dirty_pool_selector any_selector = { .policy = &any_policy };

/* -- the state */

static bool sane(void)
{
	u32 word = ring.word.counter;
	/* reset_index as it was when soft_end was computed */
	u32 was = ring.soft_end - ring.soft_limit;

	if (used() > SIZE || !ring.soft_limit || ring.soft_limit > SIZE)
		return false;
	if (is(KVM_DIRTY_POOL_DETACHED))
		return word == KVM_DIRTY_POOL_DETACHED && !used();
	if (is(KVM_DIRTY_POOL_PARKED))
		return word <= (KVM_DIRTY_POOL_CLAIMED | KVM_DIRTY_POOL_PARKED |
				KVM_DIRTY_POOL_RESERVE);

	return word <= KVM_DIRTY_POOL_CLAIMED &&
	       ring.dirty_index - was <= ring.soft_limit - (word ? 0 : 1) &&
	       ring.reset_index - was <= ring.dirty_index - was;
}

static void any_state(void)
{
	struct kvm_dirty_pool_ring any;

	ring = any;
	ring.index = 0;
	ring.gfns = page;
	ring.mask = SIZE - 1;
	ASSUME(sane());
	__CPROVER_havoc_object(page);

	avail = !is(KVM_DIRTY_POOL_PARKED | KVM_DIRTY_POOL_DETACHED);
	pool.avail = &avail;
	/* A hint, which may be wrong. */
	room = ANY(unsigned long);
	pool.room = &room;
	pool.rings = rings;
	pool.nr_rings = 1;
	pool.max_rings = 1;
	pool.ops = &vm_ops;
	pool.selector = &any_selector;
	any_selector.stay = ANY(u32);
	/* All full or not, users at the gate or not, flushed or not. */
	pool.full_at = ANY(int);
	pool.overflow.counter = ANY(int);
	pool.nr_gated.counter = ANY(int);
	pool.resets.counter = ANY(int);
	pool.flushed.counter = ANY(int);
	shim_signal_after = ANY(u32);
	shim_signal_harmless = maybe();
}

/* -- the proofs */

/* A reset, while another thread pushes and userspace writes to the ring. */
void proof_reset(void)
{
	u32 first, count = 0;
	int ret;

	any_state();
	may_write = true;
	may_push = 2;
	first = ring.reset_index;

	ret = kvm_dirty_pool_reset(&pool, 0, 1, &count);

	CHECK(!ret || ret == -EINTR);
	CHECK(count <= SIZE);
	CHECK(ring.reset_index == first + count);
	CHECK(runs_seen <= count && !runs_seen == !count);
	CHECK(sane());
}

/* A reset protects each page that it takes, unless userspace writes to the ring. */
void proof_reset_all(void)
{
	u32 first, at, count = 0;

	any_state();
	at = ANY(u32);
	first = ring.reset_index;
	witness = &page[at % SIZE];

	kvm_dirty_pool_reset(&pool, 0, 1, &count);

	if (at - first < count)
		CHECK(witnessed);
}

static void any_user(struct kvm_dirty_pool_user *user)
{
	struct kvm_dirty_pool_user any;

	*user = any;
	/* A pointer without a value points nowhere for cbmc. */
	user->last = maybe() ? &ring : NULL;
}

/* What the owner of a claim relies on. */
static bool claim_is_sane(const struct kvm_dirty_pool_claim *claim)
{
	u32 end = is(KVM_DIRTY_POOL_PARKED) ? ring.reset_index + SIZE :
					      ring.soft_end;

	return claim->word == ring.word.counter &&
	       is(KVM_DIRTY_POOL_CLAIMED) &&
	       claim->first == ring.dirty_index &&
	       claim->room && claim->room <= KVM_DIRTY_POOL_BATCH &&
	       claim->room <= end - ring.dirty_index;
}

/* A claim, with any offer of the policy, while others reset. */
void proof_claim(void)
{
	struct kvm_dirty_pool_claim claim;
	struct kvm_dirty_pool_user user;
	u32 first, flags;

	any_state();
	any_user(&user);
	may_reset = 1;
	flags = ANY(u32);
	flags &= KVM_DIRTY_POOL_NORESERVE | KVM_DIRTY_POOL_NOWAIT;
	/* Without NOWAIT, a claim waits until the ring is returned. */
	if (!(flags & KVM_DIRTY_POOL_NOWAIT))
		ASSUME(!is(KVM_DIRTY_POOL_CLAIMED));
	first = ring.dirty_index;

	if (kvm_dirty_pool_claim(&pool, &user, flags, &claim)) {
		CHECK(claim.ring == &ring);
		CHECK(claim_is_sane(&claim));
	}

	CHECK(ring.dirty_index == first);
	CHECK(sane());
}

/*
 * Pushes within any such claim, up to its room, and its return, while others
 * reset and userspace writes to the ring.
 */
void proof_push(void)
{
	struct kvm_dirty_pool_claim claim;
	struct kvm_dirty_pool_user user;
	u32 first, n = 0;

	any_state();
	any_user(&user);
	claim.ring = &ring;
	ASSUME(claim_is_sane(&claim));
	may_write = true;
	may_reset = 2;
	first = ring.dirty_index;

	do {
		kvm_dirty_pool_push(&claim, ANY(u32), ANY(u64));
		n++;
	} while (claim.room && maybe());
	kvm_dirty_pool_return(&pool, &user, &claim);

	CHECK(n <= SIZE);
	CHECK(ring.dirty_index == first + n);
	CHECK(!is(KVM_DIRTY_POOL_CLAIMED));
	CHECK(sane());
}

/* A ring that comes back is empty, and starts with its first entry. */
void proof_attach(void)
{
	u32 first;

	any_state();
	may_write = true;
	first = ring.dirty_index;
	if (is(KVM_DIRTY_POOL_DETACHED))
		CHECK(!avail);

	kvm_dirty_pool_attach(&pool, &ring);

	CHECK(!is(KVM_DIRTY_POOL_DETACHED));
	CHECK(sane());
	if (ring.dirty_index == first)
		return;
	CHECK(!used() && !(ring.dirty_index & ring.mask) && avail == 1);
	CHECK(ring.dirty_index - first <= SIZE);
	CHECK(ring.soft_end - ring.dirty_index == ring.soft_limit);
}
