// SPDX-License-Identifier: GPL-2.0-only
/*
 * Policies of the dirty ring pool: the order in which FREE rings are tried.
 *
 * A registry by name, as TCP has one for congestion control, and the built-in
 * policies.  A policy does not decide who owns a ring, so it need not be exact: a
 * ring that it offers may be taken already, and the pool itself finds a FREE ring
 * that the policy missed.
 */
#include <linux/bitmap.h>
#include <linux/hash.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/slab.h>
#include <linux/string.h>

/*
 * round-robin: the ring after the one that any user was given last.
 * The read and the write of the cursor are not atomic together: if two claimants
 * take the same step, they try the same ring, and the one that fails tries the next.
 */
struct pool_round_robin {
	u32 cursor;
};

static void *pool_rr_create(u32 max_rings)
{
	return kzalloc(sizeof(struct pool_round_robin), GFP_KERNEL_ACCOUNT);
}

static void pool_kfree(void *data)
{
	kfree(data);
}

static u32 pool_rr_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	struct pool_round_robin *rr = data;
	u32 ring = kvm_dirty_pool_next(pool, READ_ONCE(rr->cursor));

	WRITE_ONCE(rr->cursor, ring + 1);
	return ring;
}

static struct kvm_dirty_pool_policy pool_round_robin = {
	.name		= "round-robin",
	.quantum	= KVM_DIRTY_POOL_QUANTUM,
	.create		= pool_rr_create,
	.destroy	= pool_kfree,
	.pick		= pool_rr_pick,
};

/*
 * last-used: the ring that the user claimed last, or if that is claimed or parked,
 * the next one.  Two users that came to share a ring separate at their next
 * collision.
 */
static u32 pool_last_used_pick(struct kvm_dirty_pool *pool, void *data,
			       u32 prev)
{
	return kvm_dirty_pool_next(pool, prev + 1);
}

static struct kvm_dirty_pool_policy pool_last_used = {
	.name		= "last-used",
	.pick		= pool_last_used_pick,
};

/*
 * lru: the FREE ring that was returned longest ago.  The rings form a queue: a
 * return appends to the tail, a claim takes the head.
 *
 * @queued ensures that a ring is in the queue at most once, so there always is room.
 * A cell is valid if it contains the position for which it was written.  A claimant
 * that finds the head cell reserved, but not written yet, does not wait for the
 * writer, but leaves this search to the pool.
 */
struct pool_lru {
	atomic_t head ____cacheline_aligned_in_smp;
	atomic_t tail ____cacheline_aligned_in_smp;
	u32 mask;
	u64 *cells;
	unsigned long *queued;
};

static void pool_lru_destroy(void *data)
{
	struct pool_lru *lru = data;

	bitmap_free(lru->queued);
	kvfree(lru->cells);
	kfree(lru);
}

static void *pool_lru_create(u32 max_rings)
{
	struct pool_lru *lru;
	u32 size;

	lru = kzalloc(sizeof(*lru), GFP_KERNEL_ACCOUNT);
	if (!lru)
		return NULL;

	/*
	 * Enough: a ring has one cell between tail and head at most, because @queued
	 * is cleared only after the head has passed the cell.
	 */
	size = roundup_pow_of_two(max_rings);
	lru->mask = size - 1;
	lru->cells = kvcalloc(size, sizeof(*lru->cells), GFP_KERNEL_ACCOUNT);
	lru->queued = bitmap_zalloc(max_rings, GFP_KERNEL_ACCOUNT);
	if (!lru->cells || !lru->queued) {
		pool_lru_destroy(lru);
		return NULL;
	}

	return lru;
}

static void pool_dequeued(unsigned long *queued, u32 ring)
{
	clear_bit(ring, queued);
	/*
	 * Order the write of @queued before the claim of the ring.  If the claim
	 * fails, the owner of the ring finds @queued clear when it returns the
	 * ring, and queues it.  Pairs with pool_queue_once().
	 */
	smp_mb__after_atomic();
}

/*
 * Full barrier: orders the ring's release before the read of @queued.  Pairs with
 * pool_dequeued().
 */
static bool pool_queue_once(unsigned long *queued, u32 ring)
{
	return !test_and_set_bit(ring, queued);
}

static u32 pool_lru_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	struct pool_lru *lru = data;
	int head = atomic_read(&lru->head);
	/* Pairs with the release in pool_lru_put(). */
	u64 cell = smp_load_acquire(&lru->cells[head & lru->mask]);

	/*
	 * Once: if many vCPUs tried until it succeeds, they would take the cache line
	 * from each other for longer than it takes to search the bitmap.
	 */
	if ((u32)(cell >> 32) != (u32)head + 1 ||
	    !atomic_try_cmpxchg(&lru->head, &head, head + 1))
		return KVM_DIRTY_POOL_NONE;

	pool_dequeued(lru->queued, (u32)cell);
	return (u32)cell;
}

static void pool_lru_put(void *data, u32 ring)
{
	struct pool_lru *lru = data;
	u32 tail;

	if (!pool_queue_once(lru->queued, ring))
		return;

	tail = atomic_fetch_inc(&lru->tail);
	/* Release of the cell; pairs with pool_lru_pick(). */
	smp_store_release(&lru->cells[tail & lru->mask],
			  (u64)(tail + 1) << 32 | ring);
}

static struct kvm_dirty_pool_policy pool_lru = {
	.name		= "lru",
	.quantum	= KVM_DIRTY_POOL_QUANTUM,
	.create		= pool_lru_create,
	.destroy	= pool_lru_destroy,
	.pick		= pool_lru_pick,
	.put		= pool_lru_put,
};

/*
 * emptiest: of four rings the one with the fewest entries, so that all rings fill
 * alike, whoever writes.  They are taken at random: to look at a ring costs one or two
 * cache misses, so to look at all rings would cost more, the more vCPUs there are.
 *
 * Rings that fill alike are parked at the same time, and all vCPUs stop together.  So
 * the first ring is one of the four each 16th time, and is kept ahead of the others by
 * a quarter of its size.  When it is parked, the others have room for what is marked
 * until they are drained, if userspace drains four times as fast as the guest writes.
 * It is not one of them each time, or all vCPUs would wait for its cache lines.
 *
 * There is no state.  The ring that was tried before, and its index, are the seed.
 */
#define POOL_EMPTIEST_TRIES	4
#define POOL_EMPTIEST_LEAD	4
#define POOL_EMPTIEST_FIRST	16

static u32 pool_emptiest_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	u32 nr = kvm_dirty_pool_nr_rings(pool);
	u32 best = KVM_DIRTY_POOL_NONE;
	u32 seed = 0, least = ~0u;
	int i;

	if (prev < nr)
		seed = hash_32(prev + READ_ONCE(pool->rings[prev]->dirty_index), 32);

	for (i = 0; i < POOL_EMPTIEST_TRIES; i++) {
		bool first = !i && !reciprocal_scale(seed, POOL_EMPTIEST_FIRST);
		struct kvm_dirty_pool_ring *ring;
		u32 at, used;

		seed = next_pseudo_random32(seed);
		at = kvm_dirty_pool_next(pool, first ? 0 : reciprocal_scale(seed, nr));
		if (at >= nr)
			break;

		ring = pool->rings[at];
		if (at == prev || atomic_read(&ring->word) != KVM_DIRTY_POOL_FREE)
			continue;

		used = kvm_dirty_pool_used(ring);
		if (!at)
			used -= min_t(u32, used, (ring->mask + 1) / POOL_EMPTIEST_LEAD);
		if (used < least) {
			least = used;
			best = at;
		}
	}

	return best;
}

static struct kvm_dirty_pool_policy pool_emptiest = {
	.name		= "emptiest",
	.quantum	= KVM_DIRTY_POOL_QUANTUM,
	.pick		= pool_emptiest_pick,
};

/*
 * The registry.  Built-in policies have no owner, because pools that use them exist
 * only while KVM is loaded.
 */
static DEFINE_MUTEX(policy_lock);
static LIST_HEAD(policy_list);

static struct kvm_dirty_pool_policy *const policy_builtin[] = {
	&pool_last_used, &pool_round_robin, &pool_lru, &pool_emptiest,
};

static const struct kvm_dirty_pool_policy *policy_default = &pool_emptiest;
static u32 policy_default_quantum = KVM_DIRTY_POOL_QUANTUM;

static bool policy_quantum_valid(u32 quantum)
{
	return !quantum || is_power_of_2(quantum);
}

/* Digits only: kstrtou32() also takes a plus sign and a newline. */
static bool policy_quantum_parse(const char *digits, u32 *quantum)
{
	return !digits[strspn(digits, "0123456789")] &&
	       !kstrtou32(digits, 10, quantum) && policy_quantum_valid(*quantum);
}

/* @name need not end after @len characters. */
static bool policy_is(const struct kvm_dirty_pool_policy *policy, const char *name,
		      size_t len)
{
	return strlen(policy->name) == len && !memcmp(policy->name, name, len);
}

static const struct kvm_dirty_pool_policy *policy_find(const char *name, size_t len)
{
	struct kvm_dirty_pool_policy *policy;
	int i;

	lockdep_assert_held(&policy_lock);

	for (i = 0; i < ARRAY_SIZE(policy_builtin); i++) {
		if (policy_is(policy_builtin[i], name, len))
			return policy_builtin[i];
	}

	list_for_each_entry(policy, &policy_list, list) {
		if (policy_is(policy, name, len))
			return policy;
	}

	return NULL;
}

/**
 * kvm_dirty_pool_policy_register - add a policy
 * @policy: the policy, which must exist until it is unregistered
 *
 * Context: Process context.
 * Return: 0, -EINVAL if the name is empty, not terminated or contains a colon, if
 * there is no pick(), or if the quantum is neither 0 nor a power of two; -EEXIST if
 * the name is in use.
 */
int kvm_dirty_pool_policy_register(struct kvm_dirty_pool_policy *policy)
{
	size_t len = strnlen(policy->name, sizeof(policy->name));
	int ret = 0;

	if (!len || len == sizeof(policy->name) || strchr(policy->name, ':') ||
	    !policy->pick || !policy_quantum_valid(policy->quantum))
		return -EINVAL;

	mutex_lock(&policy_lock);
	if (policy_find(policy->name, len))
		ret = -EEXIST;
	else
		list_add_tail(&policy->list, &policy_list);
	mutex_unlock(&policy_lock);

	return ret;
}
EXPORT_SYMBOL_GPL(kvm_dirty_pool_policy_register);

/**
 * kvm_dirty_pool_policy_unregister - remove a policy
 * @policy: the policy
 *
 * For the exit of a module.  Pools that use the policy hold a reference to the
 * module, so no pool uses it when this is called.
 *
 * Context: Process context.
 */
void kvm_dirty_pool_policy_unregister(struct kvm_dirty_pool_policy *policy)
{
	mutex_lock(&policy_lock);
	list_del(&policy->list);
	mutex_unlock(&policy_lock);
}
EXPORT_SYMBOL_GPL(kvm_dirty_pool_policy_unregister);

/**
 * kvm_dirty_pool_policy_get - find a policy and take a reference to its module
 * @name: NAME or NAME:QUANTUM; NULL for the default
 * @quantum: filled in, the policy's own if @name has none
 *
 * Context: Process context.
 * Return: the policy, or an ERR_PTR(): -ENOENT if no policy has this name, -EINVAL if
 * the quantum is not in decimal digits, or neither 0 nor a power of two.
 */
const struct kvm_dirty_pool_policy *
kvm_dirty_pool_policy_get(const char *name, u32 *quantum)
{
	const struct kvm_dirty_pool_policy *policy;

	mutex_lock(&policy_lock);
	if (name) {
		const char *colon = strchrnul(name, ':');

		policy = policy_find(name, colon - name);
		if (!policy)
			policy = ERR_PTR(-ENOENT);
		else if (!*colon)
			*quantum = policy->quantum;
		else if (!policy_quantum_parse(colon + 1, quantum))
			policy = ERR_PTR(-EINVAL);
	} else {
		policy = policy_default;
		*quantum = policy_default_quantum;
	}
	if (!IS_ERR(policy) && !try_module_get(policy->owner))
		policy = ERR_PTR(-ENOENT);
	mutex_unlock(&policy_lock);

	return policy;
}

/**
 * kvm_dirty_pool_policy_put - drop the reference of kvm_dirty_pool_policy_get()
 * @policy: the policy
 *
 * Context: Process context.
 */
void kvm_dirty_pool_policy_put(const struct kvm_dirty_pool_policy *policy)
{
	module_put(policy->owner);
}

/**
 * kvm_dirty_pool_policy_name - write the name of a policy with a quantum
 * @policy: the policy
 * @quantum: the quantum, which is left out if it is the policy's own
 * @name: filled in, KVM_DIRTY_RING_POLICY_NAME_MAX bytes, with zeroes to the end
 *
 * Context: any.
 */
void kvm_dirty_pool_policy_name(const struct kvm_dirty_pool_policy *policy,
				u32 quantum, char *name)
{
	/* All of it goes to userspace. */
	memset(name, 0, KVM_DIRTY_RING_POLICY_NAME_MAX);
	if (quantum == policy->quantum)
		strscpy(name, policy->name, KVM_DIRTY_RING_POLICY_NAME_MAX);
	else
		snprintf(name, KVM_DIRTY_RING_POLICY_NAME_MAX, "%s:%u",
			 policy->name, quantum);
}

/**
 * kvm_dirty_pool_policy_set_default - set the policy of pools created from now on
 * @name: NAME or NAME:QUANTUM
 *
 * Holds a reference to the module of the default policy.
 *
 * Context: Process context.
 * Return: 0, or an error of kvm_dirty_pool_policy_get().
 */
int kvm_dirty_pool_policy_set_default(const char *name)
{
	const struct kvm_dirty_pool_policy *policy, *old;
	u32 quantum;

	policy = kvm_dirty_pool_policy_get(name, &quantum);
	if (IS_ERR(policy))
		return PTR_ERR(policy);

	mutex_lock(&policy_lock);
	old = policy_default;
	policy_default = policy;
	policy_default_quantum = quantum;
	mutex_unlock(&policy_lock);

	kvm_dirty_pool_policy_put(old);
	return 0;
}

/**
 * kvm_dirty_pool_policy_get_default - get the name of the default policy
 * @name: filled in, KVM_DIRTY_RING_POLICY_NAME_MAX bytes
 *
 * Context: Process context.
 */
void kvm_dirty_pool_policy_get_default(char *name)
{
	mutex_lock(&policy_lock);
	kvm_dirty_pool_policy_name(policy_default, policy_default_quantum, name);
	mutex_unlock(&policy_lock);
}
