/* SPDX-License-Identifier: GPL-2.0 */
/* The part of KVM that upstream's virt/kvm/dirty_ring.c uses. */
#ifndef UPSTREAM_KVM_HOST_H
#define UPSTREAM_KVM_HOST_H

#define CONFIG_HAVE_KVM_DIRTY_RING

#include <linux/bits.h>
#include <linux/bitops.h>
#include <linux/kvm.h>
#include <linux/lockdep.h>
#include <linux/types.h>

struct kvm;
struct kvm_vcpu;
struct page;

#include <linux/kvm_dirty_ring.h>

#define PAGE_SIZE		4096UL
#define WARN_ON_ONCE(x)		bench_warn(x)

#define KVM_DIRTY_RING_RSVD_ENTRIES	64
#define KVM_USER_MEM_SLOTS		32767
#define KVM_REQ_DIRTY_RING_SOFT_FULL	3

struct kvm_memory_slot {
	u64 npages;
};

struct kvm_memslots {
	struct kvm_memory_slot slot;
};

struct kvm {
	u32 dirty_ring_size;
	bool dirty_ring_with_bitmap;
	int slots_lock;
	struct kvm_memslots memslots;
};

struct kvm_vcpu {
	struct kvm *kvm;
	struct kvm_run *run;
	unsigned long requests;
	struct kvm_dirty_ring dirty_ring;
} ____cacheline_aligned_in_smp;

extern unsigned long bench_warnings;

static __always_inline bool bench_warn(bool cond)
{
	if (unlikely(cond))
		bench_warnings++;
	return cond;
}

static inline int kvm_arch_nr_memslot_as_ids(struct kvm *kvm)
{
	return 1;
}

static inline struct kvm_memslots *__kvm_memslots(struct kvm *kvm, int as_id)
{
	return &kvm->memslots;
}

static inline struct kvm_memory_slot *id_to_memslot(struct kvm_memslots *slots,
						    int id)
{
	return &slots->slot;
}

static inline unsigned long __fls(unsigned long word)
{
	return BITS_PER_LONG - 1 - __builtin_clzl(word);
}

static inline void
kvm_arch_mmu_enable_log_dirty_pt_masked(struct kvm *kvm,
					struct kvm_memory_slot *slot,
					u64 offset, unsigned long mask)
{
}

static __always_inline void kvm_make_request(int req, struct kvm_vcpu *vcpu)
{
	/* As in the kernel: pairs with kvm_check_request(). */
	smp_wmb();
	set_bit(req, &vcpu->requests);
}

static inline bool kvm_check_request(int req, struct kvm_vcpu *vcpu)
{
	if (!test_bit(req, &vcpu->requests))
		return false;
	clear_bit(req, &vcpu->requests);
	/* As in the kernel: pairs with kvm_make_request(). */
	smp_mb();
	return true;
}

#endif
