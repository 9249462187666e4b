// SPDX-License-Identifier: GPL-2.0
#include "harness.h"
#include "policies.h"

const char *policies[16];
u32 nr_policies;

static void add_policy(const char *name)
{
	const struct kvm_dirty_pool_policy *policy;
	u32 quantum;

	policy = kvm_dirty_pool_policy_get(name, &quantum);
	if (IS_ERR(policy) || nr_policies == ARRAY_SIZE(policies)) {
		printf("not ok 1 policy %s %s\n1..1\n", name,
		       !IS_ERR(policy) ? "is one too many" :
		       PTR_ERR(policy) == -ENOENT ?
		       "is neither built in nor in samples/kvm" :
		       "has a quantum that is neither 0 nor a power of two");
		exit(1);
	}
	kvm_dirty_pool_policy_put(policy);
	policies[nr_policies++] = name;
}

void policies_init(void)
{
	const char *asked = getenv("POLICIES");
	char *name;
	u32 i;

	if (asked && *asked) {
		for (name = strtok(strdup(asked), " "); name;
		     name = strtok(NULL, " "))
			add_policy(name);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(tested_policies); i++)
		add_policy(tested_policies[i]);
}

static void vm_notify(struct kvm_dirty_pool *pool,
		      struct kvm_dirty_pool_user *user,
		      struct kvm_dirty_pool_ring *ring,
		      enum kvm_dirty_pool_event event)
{
	struct vm *vm = (struct vm *)pool;

	switch (event) {
	case KVM_DIRTY_POOL_EV_PARK:
		__atomic_fetch_add(&vm->parks, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&vm->last_park, ring->index, __ATOMIC_RELAXED);
		__atomic_store_n(&vm->park_word, atomic_read(&ring->word),
				 __ATOMIC_RELAXED);
		break;
	case KVM_DIRTY_POOL_EV_RESERVE:
		__atomic_fetch_add(ring ? &vm->reserves : &vm->losses, 1,
				   __ATOMIC_RELAXED);
		break;
	case KVM_DIRTY_POOL_EV_OVERFLOW:
		__atomic_fetch_add(&vm->overflows, 1, __ATOMIC_RELAXED);
		break;
	}
}

static void vm_protect(struct kvm_dirty_pool *pool,
		       const struct kvm_dirty_pool_run *runs, u32 nr)
{
	struct vm *vm = (struct vm *)pool;
	unsigned long mask, count = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		sched_point(&vm->flushes, SCHED_WRITE);
		if (vm->on_run)
			vm->on_run(vm, &runs[i]);
		for (mask = runs[i].mask; mask; mask &= mask - 1) {
			count++;
			if (vm->on_protect)
				vm->on_protect(vm, runs[i].slot,
					       runs[i].offset + __ffs(mask));
		}
	}
	__atomic_fetch_add(&vm->protected, count, __ATOMIC_RELAXED);
	__atomic_fetch_add(&vm->protects, 1, __ATOMIC_RELAXED);
}

static void vm_flush(struct kvm_dirty_pool *pool)
{
	struct vm *vm = (struct vm *)pool;

	sched_point(&vm->flushes, SCHED_WRITE);
	__atomic_fetch_add(&vm->flushes, 1, __ATOMIC_RELAXED);
	if (vm->on_flush)
		vm->on_flush(vm);
}

static void vm_quiesce(struct kvm_dirty_pool *pool)
{
	struct vm *vm = (struct vm *)pool;

	__atomic_fetch_add(&vm->quiesces, 1, __ATOMIC_RELAXED);
}

static bool vm_wanted(struct kvm_dirty_pool *pool, u32 slot, u64 offset)
{
	struct vm *vm = (struct vm *)pool;

	vm->wanted_reserves = atomic_read(&pool->nr_reserve);
	return slot != vm->unwanted;
}

static const struct kvm_dirty_pool_ops vm_ops = {
	.notify		= vm_notify,
	.wanted		= vm_wanted,
	.quiesce	= vm_quiesce,
	.protect	= vm_protect,
	.flush		= vm_flush,
};

void vm_add_ring(struct vm *vm)
{
	u32 i = vm->pool.nr_rings;
	struct kvm_dirty_pool_ring *ring = &vm->ring[i];

	kvm_dirty_pool_ring_init(ring, kzalloc(vm->size * sizeof(*ring->gfns), 0),
				 vm->size, vm->rsvd);
	ring->dirty_index += vm->start;
	ring->reset_index += vm->start;
	vm->fetch[i] = vm->start;
	kvm_dirty_pool_add(&vm->pool, ring);
}

void vm_init(struct vm *vm, u32 rings, u32 max, u32 size, u32 rsvd,
	     const char *policy, u32 start)
{
	u32 i;

	memset(vm, 0, sizeof(*vm));
	vm->size = size;
	vm->rsvd = rsvd;
	vm->start = start;
	vm->last_park = KVM_DIRTY_POOL_NONE;
	vm->unwanted = KVM_DIRTY_POOL_NONE;
	if (kvm_dirty_pool_init(&vm->pool, &vm_ops, max) ||
	    (policy && kvm_dirty_pool_set_policy(&vm->pool, policy))) {
		fprintf(stderr, "no pool with policy %s\n", policy);
		abort();
	}
	for (i = 0; i < VM_MAX_RINGS; i++)
		kvm_dirty_pool_user_init(&vm->user[i], i);
	for (i = 0; i < rings; i++)
		vm_add_ring(vm);
}

void vm_detach(struct vm *vm, u32 ring)
{
	kvm_dirty_pool_detach(&vm->pool, &vm->ring[ring]);
}

void vm_attach(struct vm *vm, u32 ring)
{
	/* Userspace starts over with the first entry. */
	vm->fetch[ring] = (vm->ring[ring].dirty_index / vm->size + 1) * vm->size;
	kvm_dirty_pool_attach(&vm->pool, &vm->ring[ring]);
}

void vm_exit(struct vm *vm)
{
	u32 i, nr = vm->pool.nr_rings;

	kvm_dirty_pool_exit(&vm->pool);
	for (i = 0; i < nr; i++)
		kfree(vm->ring[i].gfns);
}

u32 vm_harvest(struct vm *vm, u32 ring, u32 max,
	       void (*seen)(void *arg, u32 ring, u32 slot, u64 offset),
	       void *arg)
{
	struct kvm_dirty_gfn *gfns = vm->ring[ring].gfns;
	u32 n;

	for (n = 0; n < max; n++) {
		struct kvm_dirty_gfn *e;

		e = &gfns[vm->fetch[ring] & (vm->size - 1)];
		/* Pairs with the release in kvm_dirty_pool_push(). */
		if (smp_load_acquire(&e->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		if (seen)
			seen(arg, ring, READ_ONCE(e->slot), READ_ONCE(e->offset));
		/* Pairs with the acquire in pool_gfn_harvested(). */
		smp_store_release(&e->flags, KVM_DIRTY_GFN_F_RESET);
		vm->fetch[ring]++;
	}

	return n;
}

u32 vm_reset(struct vm *vm, u32 ring)
{
	u32 count = 0;

	kvm_dirty_pool_reset(&vm->pool, ring, ring + 1, &count);
	return count;
}
