// SPDX-License-Identifier: GPL-2.0-only
/*
 * A policy of the dirty ring pool in a module: any ring, at random.
 *
 * Useful as a yardstick (a policy that is not better than this one is not
 * worth its code) and as the smallest example of a policy.  After insmod,
 * KVM_SET_DIRTY_RING_POLICY takes "random".  The module stays loaded as long
 * as a VM uses it.
 */
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/slab.h>

struct random_policy {
	u32 state;
};

static void *random_create(u32 max_rings)
{
	struct random_policy *random;

	random = kzalloc(sizeof(*random), GFP_KERNEL_ACCOUNT);
	if (random)
		random->state = 1;
	return random;
}

static void random_destroy(void *data)
{
	kfree(data);
}

static u32 random_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	struct random_policy *random = data;
	u32 state = next_pseudo_random32(READ_ONCE(random->state));

	/* A race only makes two claimants try the same ring. */
	WRITE_ONCE(random->state, state);
	return kvm_dirty_pool_next(pool, (state >> 16) %
				   READ_ONCE(pool->nr_rings));
}

static struct kvm_dirty_pool_policy random_policy = {
	.name		= "random",
	.quantum	= KVM_DIRTY_POOL_QUANTUM,
	.owner		= THIS_MODULE,
	.create		= random_create,
	.destroy	= random_destroy,
	.pick		= random_pick,
};

static int __init policy_random_init(void)
{
	return kvm_dirty_pool_policy_register(&random_policy);
}
module_init(policy_random_init);

static void __exit policy_random_exit(void)
{
	kvm_dirty_pool_policy_unregister(&random_policy);
}
module_exit(policy_random_exit);

MODULE_DESCRIPTION("Random choice among the rings of a KVM dirty ring pool");
MODULE_LICENSE("GPL");
