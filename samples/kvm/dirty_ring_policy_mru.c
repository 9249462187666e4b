// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy of the dirty ring pool in a module: the FREE ring that was left last, so
 * that few rings are hot.
 *
 * An example of a policy that is told when a ring is FREE.  It is not built in: rings
 * fill one after the other, so vCPUs exit nearly as often as with rings of their own.
 */
#include <linux/bitmap.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/module.h>
#include <linux/slab.h>

/*
 * The rings form a stack, in which a ring is at most once, as @queued ensures.  The low
 * half of @top holds the ring + 1, the high half a tag that each change increments.  The
 * tag protects against ABA: a claimant may read @next of a ring that is then popped and
 * pushed again, on top of other rings.
 */
struct mru {
	atomic64_t top ____cacheline_aligned_in_smp;
	u32 *next;
	unsigned long *queued;
};

static void mru_destroy(void *data)
{
	struct mru *mru = data;

	bitmap_free(mru->queued);
	kvfree(mru->next);
	kfree(mru);
}

static void *mru_create(u32 max_rings)
{
	struct mru *mru;

	mru = kzalloc(sizeof(*mru), GFP_KERNEL_ACCOUNT);
	if (!mru)
		return NULL;

	mru->next = kvcalloc(max_rings, sizeof(*mru->next), GFP_KERNEL_ACCOUNT);
	mru->queued = bitmap_zalloc(max_rings, GFP_KERNEL_ACCOUNT);
	if (!mru->next || !mru->queued) {
		mru_destroy(mru);
		return NULL;
	}

	return mru;
}

static s64 mru_top(s64 old, u32 ring_plus_1)
{
	return (s64)(((((u64)old >> 32) + 1) << 32) | ring_plus_1);
}

static u32 mru_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	struct mru *mru = data;
	s64 top = atomic64_read(&mru->top);
	u32 ring;

	do {
		/* The low half of @top is 0 if the stack is empty. */
		ring = (u32)top - 1;
		if (ring == KVM_DIRTY_POOL_NONE)
			return KVM_DIRTY_POOL_NONE;
		/*
		 * The address dependency orders the read of next after that of
		 * top, even if top comes from a failed exchange.  Pairs with the
		 * release in mru_put().
		 */
	} while (!atomic64_try_cmpxchg(&mru->top, &top,
				       mru_top(top, READ_ONCE(mru->next[ring]))));

	clear_bit(ring, mru->queued);
	/*
	 * Order the write of @queued before the claim of the ring.  If the claim
	 * fails, the owner of the ring finds @queued clear when it returns the
	 * ring, and pushes it.  Pairs with the full barrier in mru_put().
	 */
	smp_mb__after_atomic();
	return ring;
}

static void mru_put(void *data, u32 ring)
{
	struct mru *mru = data;
	s64 top;

	/*
	 * Full barrier: orders the ring's release before the read of @queued.  Pairs
	 * with the barrier in mru_pick().
	 */
	if (test_and_set_bit(ring, mru->queued))
		return;

	top = atomic64_read(&mru->top);
	do {
		WRITE_ONCE(mru->next[ring], (u32)top);
		/* Release of next; pairs with mru_pick(). */
	} while (!atomic64_try_cmpxchg_release(&mru->top, &top,
					       mru_top(top, ring + 1)));
}

static struct kvm_dirty_pool_policy mru_policy = {
	.name		= "mru",
	.quantum	= KVM_DIRTY_POOL_QUANTUM,
	.owner		= THIS_MODULE,
	.create		= mru_create,
	.destroy	= mru_destroy,
	.pick		= mru_pick,
	.put		= mru_put,
};

static int __init policy_mru_init(void)
{
	return kvm_dirty_pool_policy_register(&mru_policy);
}
module_init(policy_mru_init);

static void __exit policy_mru_exit(void)
{
	kvm_dirty_pool_policy_unregister(&mru_policy);
}
module_exit(policy_mru_exit);

MODULE_DESCRIPTION("Most recently used ring of a KVM dirty ring pool");
MODULE_LICENSE("GPL");
