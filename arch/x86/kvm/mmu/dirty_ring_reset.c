// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty ring pool: trap writes to harvested pages again, without standing in
 * the way of the guest.
 *
 * The walk of kvm_arch_mmu_enable_log_dirty_pt_masked() needs mmu_lock for
 * write, and meanwhile no vCPU can take a page fault.  Where all mappings are
 * the TDP MMU's, the same is done here under mmu_lock held for read, beside
 * faults and other resets.
 *
 * A fault marks the page before it installs the SPTE, both with mmu_lock held
 * for read.  A mark could be harvested and reset in between, and the SPTE be
 * installed, writable, after the walk has passed; nothing would tell of the
 * next write.  So a reset waits once, between reading how far the ring is
 * filled and its first walk, until the faults have dropped the lock that hold
 * it then: see kvm_arch_dirty_ring_pool_quiesce().
 *
 * A SPTE is only changed by a compare-and-swap that clears one bit, Writable
 * or Dirty, of a leaf that was seen to be present:
 *
 * - fast_page_fault() sets Writable by a compare-and-swap, and then marks the
 *   page.  If it comes first, its mark is pushed and the page is trapped; the
 *   guest faults once more.  If it comes second, that is a new write.
 * - The CPU sets Accessed and Dirty atomically; the swap fails and is redone.
 * - A zap under mmu_lock for read freezes the SPTE by a compare-and-swap
 *   first, and a frozen SPTE is not present.  One under mmu_lock for write is
 *   kept out by the lock.  A page table that is unlinked meanwhile is not
 *   freed before an RCU grace period; its SPTEs are zapped in the same way.
 * - Splitting a huge page replaces the huge SPTE, which is left alone: while
 *   a memslot is logged, huge SPTEs are not writable, nor are those which a
 *   split makes of them.
 * - A memslot that is deleted or moved, and the logging of which is disabled,
 *   is used under SRCU.  The range of gfns it had may be mapped by another
 *   then: a page that is trapped in vain costs a fault.
 *
 * Shadow pages can appear only while mmu_lock is held for write: no VM gets
 * its first one during a walk.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "mmutrace.h"
#include "spte.h"
#include "tdp_iter.h"
#include "tdp_mmu.h"

/* The page table of 4K SPTEs that was looked for last; NULL if there is none. */
struct last_table {
	struct kvm_mmu_page *root;
	gfn_t nr;
	tdp_ptep_t sptes;
};

static void find_table(struct last_table *last, struct kvm_mmu_page *root,
		       gfn_t gfn)
{
	struct tdp_iter iter;

	if (last->root == root && last->nr == gfn / SPTE_ENT_PER_PAGE)
		return;

	last->root = root;
	last->nr = gfn / SPTE_ENT_PER_PAGE;
	last->sptes = NULL;
	for_each_tdp_pte(iter, root, gfn, gfn + 1) {
		if (iter.level == PG_LEVEL_4K)
			last->sptes = iter.sptep - gfn % SPTE_ENT_PER_PAGE;
	}
}

static void clear_bit_shared(struct kvm_mmu_page *root, u64 *sptep, gfn_t gfn,
			     u64 bit)
{
	u64 old = READ_ONCE(*sptep);

	do {
		if (!is_shadow_present_pte(old) || !(old & bit))
			return;
		/* A failure reloads old.  Pairs with all that is named above. */
	} while (!try_cmpxchg64(sptep, &old, old & ~bit));

	trace_kvm_tdp_mmu_spte_changed(kvm_mmu_page_as_id(root), gfn,
				       PG_LEVEL_4K, old, old & ~bit);
	kvm_set_pfn_dirty(spte_to_pfn(old));
}

static void protect_root_shared(struct kvm_mmu_page *root,
				const struct kvm_dirty_ring_pool_range *range,
				struct last_table *last)
{
	gfn_t base = range->memslot->base_gfn + range->offset;
	bool wrprot = !kvm_x86_ops.cpu_dirty_log_size || !kvm_ad_enabled() ||
		      kvm_mmu_page_ad_need_write_protect(root);
	u64 bit = wrprot ? PT_WRITABLE_MASK : shadow_dirty_mask;
	unsigned long mask;

	for (mask = range->mask; mask; mask &= mask - 1) {
		gfn_t gfn = base + __ffs(mask);

		find_table(last, root, gfn);
		if (last->sptes)
			clear_bit_shared(root, rcu_dereference(last->sptes) +
					       gfn % SPTE_ENT_PER_PAGE, gfn, bit);
	}
}

/* Returns the number of ranges done, less than @nr if others want the lock. */
static u32 protect_shared(struct kvm *kvm,
			  const struct kvm_dirty_ring_pool_range *ranges, u32 nr)
{
	/*
	 * One walk for neighbours, in one range or more: RCU keeps a table that
	 * is unlinked meanwhile, and no page of the ranges is mapped anew
	 * without being marked after they were taken from the ring.
	 */
	struct last_table last = { };
	struct kvm_mmu_page *root;
	u32 i = 0;

	lockdep_assert_held_read(&kvm->mmu_lock);

	rcu_read_lock();
	do {
		list_for_each_entry_rcu(root, &kvm->arch.tdp_mmu_roots, link) {
			if (!root->role.invalid &&
			    kvm_mmu_page_as_id(root) == ranges[i].memslot->as_id)
				protect_root_shared(root, &ranges[i], &last);
		}
	} while (++i < nr && !need_resched() &&
		 !rwlock_needbreak(&kvm->mmu_lock));
	rcu_read_unlock();

	return i;
}

/**
 * kvm_arch_dirty_ring_pool_quiesce - let the faults in flight install their SPTEs
 * @kvm: the VM
 *
 * Context: Process context. Takes mmu_lock for write, for no time at all.
 */
void kvm_arch_dirty_ring_pool_quiesce(struct kvm *kvm)
{
	/* Once a VM has rmaps, no walk is shared any more. */
	if (kvm_memslots_have_rmaps(kvm))
		return;

	/* The readers of now are gone when this is granted. */
	write_lock(&kvm->mmu_lock);
	write_unlock(&kvm->mmu_lock);
}

/**
 * kvm_arch_dirty_ring_pool_protect - trap writes to harvested pages again
 * @kvm: the VM
 * @ranges: pages of memslots
 * @nr: number of @ranges
 *
 * TLBs are left to the caller.
 *
 * Huge pages are not split: that takes slots_lock, and is asked for by
 * KVM_DIRTY_LOG_INITIALLY_SET, which no VM with a pool has.
 *
 * Context: Process context, under kvm->srcu. Takes mmu_lock, for read if it
 * can, and gives it up when others want it.
 */
void kvm_arch_dirty_ring_pool_protect(struct kvm *kvm,
				      const struct kvm_dirty_ring_pool_range *ranges,
				 u32 nr)
{
	u32 i = 0;

	while (i < nr) {
		bool shared;

		read_lock(&kvm->mmu_lock);
		/*
		 * Rmaps need the lock for write.  Under the lock, which keeps
		 * the first shadow page away.
		 */
		shared = !kvm_memslots_have_rmaps(kvm);
		if (shared)
			i += protect_shared(kvm, ranges + i, nr - i);
		read_unlock(&kvm->mmu_lock);

		if (!shared)
			break;
		cond_resched();
	}

	if (i == nr)
		return;

	write_lock(&kvm->mmu_lock);
	for (; i < nr; i++) {
		kvm_arch_mmu_enable_log_dirty_pt_masked(kvm, ranges[i].memslot,
							ranges[i].offset,
							ranges[i].mask);
		if (need_resched() || rwlock_needbreak(&kvm->mmu_lock))
			cond_resched_rwlock_write(&kvm->mmu_lock);
	}
	write_unlock(&kvm->mmu_lock);
}
