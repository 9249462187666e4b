// SPDX-License-Identifier: GPL-2.0
/*
 * The pool, called as virt/kvm/dirty_ring_pool_kvm.c does, under each policy
 * that was asked for.
 */
#include <stdlib.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include "rival_pool.h"

__thread int bench_preempt_count;

static struct pool_tracker *pool_of(struct kvm_dirty_pool *pool)
{
	return (void *)((char *)pool - offsetof(struct pool_tracker, pool));
}

/* As pool_vm_notify(), without signalling anyone. */
static void pool_notify(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_user *user,
			struct kvm_dirty_pool_ring *ring,
			enum kvm_dirty_pool_event event)
{
	struct pool_tracker *t = pool_of(pool);
	struct pool_vcpu *vcpu;

	if (event == KVM_DIRTY_POOL_EV_PARK) {
		__atomic_fetch_add(&t->tracker.parks, 1, __ATOMIC_RELAXED);
		WRITE_ONCE(t->tracker.wake, true);
		if (t->rival->nostop)
			return;
	}

	if (user != &pool->vm_user)
		vcpu = &t->vcpu[user->id];
	else if (ring && event == KVM_DIRTY_POOL_EV_PARK)
		vcpu = &t->vcpu[ring->index];
	else
		return;
	if (event == KVM_DIRTY_POOL_EV_PARK)
		WRITE_ONCE(vcpu->user.exit_ring, ring->index + 1);
	WRITE_ONCE(vcpu->request, true);
}

static void pool_protect(struct kvm_dirty_pool *pool,
			 const struct kvm_dirty_pool_run *runs, u32 nr)
{
}

static void pool_flush(struct kvm_dirty_pool *pool)
{
}

static const struct kvm_dirty_pool_ops pool_ops = {
	.notify		= pool_notify,
	.protect	= pool_protect,
	.flush		= pool_flush,
};

void *pool_create(const struct bench_rival *rival, u32 nr, u32 entries)
{
	struct pool_tracker *t = bench_alloc(sizeof(*t));
	size_t bytes = entries * sizeof(struct kvm_dirty_gfn);
	u32 i;

	t->tracker.nr = nr;
	t->rival = rival;
	t->vcpu = bench_alloc(nr * sizeof(*t->vcpu));
	t->ring = bench_alloc(nr * sizeof(*t->ring));
	t->fetch = bench_alloc(nr * sizeof(*t->fetch));
	if (kvm_dirty_pool_init(&t->pool, &pool_ops, nr) ||
	    kvm_dirty_pool_set_policy(&t->pool, rival->policy))
		bench_die("can't create a pool under %s", rival->policy);
	for (i = 0; i < nr; i++) {
		kvm_dirty_pool_user_init(&t->vcpu[i].user, i);
		kvm_dirty_pool_ring_init(&t->ring[i], bench_alloc(bytes),
					 entries, bench_rsvd());
		kvm_dirty_pool_add(&t->pool, &t->ring[i]);
		/* As kvm_dirty_ring_pool_add_vcpu() does. */
		t->vcpu[i].user.last = &t->ring[i];
	}
	return t;
}

void pool_destroy(void *tracker)
{
	struct pool_tracker *t = tracker;
	u32 i;

	kvm_dirty_pool_exit(&t->pool);
	for (i = 0; i < t->tracker.nr; i++)
		kfree(t->ring[i].gfns);
	kfree(t->vcpu);
	kfree(t->ring);
	kfree(t->fetch);
	kfree(t);
}

/* One mark for each page, as mark_page_dirty_in_slot() makes it. */
static u32 pool_run_single(struct pool_tracker *t,
			   struct kvm_dirty_pool_user *user,
			   const u64 *page, u32 nr, const bool *request)
{
	u32 done = 0;

	while (done < nr) {
		kvm_dirty_pool_mark(&t->pool, user, BENCH_SLOT, page[done], 1, 0);
		done++;
		if (unlikely(READ_ONCE(*request)))
			break;
	}
	return done;
}

/* As kvm_dirty_ring_pool_mark_gpas() does for the pages that PML logged. */
static u32 pool_run(void *tracker, u32 who, const u64 *page, u32 nr, u32 batch)
{
	struct pool_tracker *t = tracker;
	struct kvm_dirty_pool_user *user = &t->pool.vm_user;
	unsigned int flags = KVM_DIRTY_POOL_NORESERVE;
	struct kvm_dirty_pool_claim claim;
	static const bool never;
	const bool *request = &never;
	u32 done = 0;

	if (likely(who != BENCH_VM)) {
		user = &t->vcpu[who].user;
		request = &t->vcpu[who].request;
		if (batch == 1)
			return pool_run_single(t, user, page, nr, request);
		flags = 0;
	}

	while (done < nr) {
		u32 end = nr - done < batch ? nr : done + batch;

		while (done < end) {
			bool claimed;

			preempt_disable();
			claimed = kvm_dirty_pool_claim(&t->pool, user, flags,
						       &claim);
			while (claimed && done < end && claim.room)
				kvm_dirty_pool_push(&claim, BENCH_SLOT,
						    page[done++]);
			if (likely(claimed))
				kvm_dirty_pool_return(&t->pool, user, &claim);
			preempt_enable();
			if (!claimed)
				return done;
		}
		if (unlikely(READ_ONCE(*request)))
			break;
	}
	return done;
}

static bool pool_exit(void *tracker, u32 who)
{
	struct pool_tracker *t = tracker;
	struct pool_vcpu *vcpu = &t->vcpu[who];
	u32 ring;

	if (!READ_ONCE(vcpu->request))
		return false;
	WRITE_ONCE(vcpu->request, false);
	ring = __atomic_exchange_n(&vcpu->user.exit_ring, 0, __ATOMIC_SEQ_CST);
	if (kvm_dirty_pool_gate(&t->pool, &vcpu->user))
		WRITE_ONCE(vcpu->request, true);
	else if (!ring || !(atomic_read(&t->ring[ring - 1].word) &
			    KVM_DIRTY_POOL_PARKED))
		return false;
	return true;
}

static bool pool_gate(void *tracker, u32 who)
{
	struct pool_tracker *t = tracker;

	return kvm_dirty_pool_gate(&t->pool, &t->vcpu[who].user);
}

static void pool_harvest(void *tracker, struct bench_harvest *harvest)
{
	struct pool_tracker *t = tracker;
	u32 i;

	for (i = 0; i < t->tracker.nr; i++)
		bench_harvest_ring(t->ring[i].gfns, t->ring[i].mask + 1,
				   &t->fetch[i], harvest);
}

static void pool_reset(void *tracker)
{
	struct pool_tracker *t = tracker;
	u32 count = 0;

	kvm_dirty_pool_reset(&t->pool, 0, t->tracker.nr, &count);
}

static void pool_stats(void *tracker, struct bench_stats *stats)
{
	struct pool_tracker *t = tracker;
	u32 i;

	for (i = 0; i < t->tracker.nr; i++) {
		stats->claims += t->ring[i].claims;
		stats->retries += t->ring[i].retries;
		stats->moves += t->ring[i].moves;
	}
}

static struct bench_rival pool_rival(const char *name, const char *suffix)
{
	struct bench_rival rival = {
		.policy		= name,
		.nostop		= *suffix,
		.create		= pool_create,
		.destroy	= pool_destroy,
		.run		= pool_run,
		.exit		= pool_exit,
		.gate		= pool_gate,
		.harvest	= pool_harvest,
		.reset		= pool_reset,
		.stats		= pool_stats,
	};
	char *label;

	if (asprintf(&label, "%s%s", name, suffix) < 0)
		bench_die("out of memory");
	rival.name = label;
	return rival;
}

void bench_add_policy(const char *name)
{
	const struct kvm_dirty_pool_policy *policy;
	char fallback[KVM_DIRTY_RING_POLICY_NAME_MAX];
	int i = bench_nr_policies;
	u32 quantum;

	policy = kvm_dirty_pool_policy_get(name, &quantum);
	if (IS_ERR(policy))
		bench_die("there is no policy '%s', or its quantum is wrong", name);
	if (i == BENCH_MAX_POLICIES)
		bench_die("more than %d policies", BENCH_MAX_POLICIES);
	kvm_dirty_pool_policy_get_default(fallback);
	if (!strcmp(name, fallback))
		bench_main_policy = i;
	bench_pool[i] = pool_rival(name, "");
	bench_pool_nostop[i] = pool_rival(name, "+nostop");
	bench_nr_policies++;
}
