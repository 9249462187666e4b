/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The surroundings of the pool in the tests: a VM with rings and users, and a
 * userspace that harvests and resets.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdio.h>
#include <linux/bitmap.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/preempt.h>

#define VM_MAX_RINGS	64

/*
 * The policies to test: the built-in ones, or those that the environment
 * variable POLICIES names.
 */
extern const char *policies[16];
extern u32 nr_policies;
void policies_init(void);

struct vm {
	struct kvm_dirty_pool pool;
	struct kvm_dirty_pool_ring ring[VM_MAX_RINGS];
	struct kvm_dirty_pool_user user[VM_MAX_RINGS];
	u32 fetch[VM_MAX_RINGS];	/* index of userspace's next entry */
	u32 size;
	u32 rsvd;
	u32 start;			/* first index of each ring */
	/* Counts of what the pool called. */
	unsigned long parks, reserves, losses, overflows;
	unsigned long protected, flushes, protects, quiesces;
	u32 last_park, park_word;
	int wanted_reserves;		/* nr_reserve, when wanted() was called */
	u32 unwanted;			/* slot that is not logged */
	/* Hooks for the tests. */
	void (*on_protect)(struct vm *vm, u32 slot, u64 offset);
	void (*on_run)(struct vm *vm, const struct kvm_dirty_pool_run *run);
	void (*on_flush)(struct vm *vm);
};

void vm_init(struct vm *vm, u32 rings, u32 max, u32 size, u32 rsvd,
	     const char *policy, u32 start);
void vm_add_ring(struct vm *vm);
void vm_exit(struct vm *vm);

/* Unmap and map the ring's memory. */
void vm_detach(struct vm *vm, u32 ring);
void vm_attach(struct vm *vm, u32 ring);

/* Mark pages for user @id, -1 is the VM. */
static inline u64 vm_mark(struct vm *vm, int id, u32 slot, u64 offset, u64 nr,
			  unsigned int flags)
{
	struct kvm_dirty_pool_user *user;

	user = id < 0 ? &vm->pool.vm_user : &vm->user[id];
	return kvm_dirty_pool_mark(&vm->pool, user, slot, offset, nr, flags);
}

/* As userspace: harvest up to @max entries of a ring, in order. */
u32 vm_harvest(struct vm *vm, u32 ring, u32 max,
	       void (*seen)(void *arg, u32 ring, u32 slot, u64 offset),
	       void *arg);
u32 vm_reset(struct vm *vm, u32 ring);

/* Harvest and reset a whole ring. */
static inline u32 vm_drain(struct vm *vm, u32 ring)
{
	vm_harvest(vm, ring, ~0u, NULL, NULL);
	return vm_reset(vm, ring);
}

static inline u32 vm_word(struct vm *vm, u32 ring)
{
	return (u32)vm->ring[ring].word.counter;
}

#endif
