/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The userspace side of KVM's dirty rings: harvest and reset, for per-vCPU
 * rings and for the pool alike, and the ioctls of KVM_CAP_DIRTY_LOG_RING_POOL.
 *
 * Functions with two leading underscores return what the ioctl returns and
 * leave errno; the others assert success.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_UTIL_H
#define SELFTEST_KVM_DIRTY_POOL_UTIL_H

#include "dirty_pool_emulator.h"
#include "kvm_util.h"

/* Called for every harvested entry. */
typedef void (*dirty_gfn_fn)(void *arg, uint32_t slot, uint64_t offset);

/* The largest ring in bytes; 0 where the kernel has no pool. */
static inline uint32_t dirty_pool_max_size(void)
{
	return kvm_check_cap(KVM_CAP_DIRTY_LOG_RING_POOL);
}

/*
 * Make @vm a pool VM with @entries per ring, before its first vCPU.  @flags
 * are those of the capability (KVM_DIRTY_RING_POOL_NOSTOP).
 */
int __vm_enable_dirty_pool(struct kvm_vm *vm, uint64_t bytes, uint64_t flags);
void vm_enable_dirty_pool(struct kvm_vm *vm, uint32_t entries, uint64_t flags);

/* The policies that are built into the kernel. */
#define NR_DIRTY_POOL_POLICIES	4
extern const char * const dirty_pool_policies[NR_DIRTY_POOL_POLICIES];

int __vm_set_dirty_policy(struct kvm_vm *vm, const char *name);
void vm_set_dirty_policy(struct kvm_vm *vm, const char *name);
void vm_get_dirty_policy(struct kvm_vm *vm,
			 char name[KVM_DIRTY_RING_POLICY_NAME_MAX]);

/* @fd == -1: none. */
int __vm_dirty_pool_eventfd(struct kvm_vm *vm, int fd, uint32_t flags);
/* A new non-blocking eventfd, set for @vm. */
int vm_dirty_pool_eventfd(struct kvm_vm *vm);
/* How often it was signalled since the last call. */
uint64_t dirty_pool_eventfd_read(int fd);

/* As the ioctl; @marked (may be NULL) gets the count, also on failure. */
int __vm_mark_dirty(struct kvm_vm *vm, uint32_t slot, uint64_t first_page,
		    uint64_t num_pages, uint64_t *marked);

/* Harvested entries that were reset; the double underscore one: or -1. */
int __vm_reset_dirty_ring(struct kvm_vm *vm, unsigned long ring);
uint32_t vm_reset_dirty_ring(struct kvm_vm *vm, unsigned long ring);
uint32_t vm_reset_dirty_rings(struct kvm_vm *vm);

/* @rings (may be NULL) has room for @nr rings. */
int __vm_dirty_pool_state(struct kvm_vm *vm, uint32_t flags,
			  struct kvm_dirty_ring_pool_state *state,
			  struct kvm_dirty_ring_state *rings, uint32_t nr);
void vm_dirty_pool_state(struct kvm_vm *vm, uint32_t flags,
			 struct kvm_dirty_ring_pool_state *state,
			 struct kvm_dirty_ring_state *rings, uint32_t nr);

/* Did KVM_RUN return because of a full (per-vCPU) or parked (pool) ring? */
static inline bool vcpu_dirty_ring_exit(struct kvm_vcpu *vcpu)
{
	return vcpu->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
}

/*
 * Harvest the ring that is mapped through @vcpu, at most @max entries: call
 * @fn (may be NULL) for each and hand it back for reset.  Returns how many.
 * Callers make sure that a ring has one harvester at a time.  The kernel may
 * push and reset at the same time, whatever the state of the ring.
 */
uint32_t vcpu_harvest_dirty_ring(struct kvm_vcpu *vcpu, uint32_t max,
				 dirty_gfn_fn fn, void *arg);

/* Did the emulator break the guest, and not KVM?  With the vCPU out of KVM_RUN. */
bool is_emulator_fault(struct kvm_vcpu *vcpu);
/* By the process that waited for it: @status is that of waitpid(). */
bool exited_by_emulator_fault(int status);

/*
 * As ksft_finished(), but with EMULATOR_FAULT if @faults tests failed because the
 * emulator broke their guests each time, and no other test failed.
 */
static inline void __noreturn emulator_finished(unsigned int faults)
{
	if (faults && faults == ksft_get_fail_cnt()) {
		ksft_print_cnts();
		exit(EMULATOR_FAULT);
	}
	ksft_finished();
}

#endif /* SELFTEST_KVM_DIRTY_POOL_UTIL_H */
