// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty ring pool: trap writes to harvested pages again, concurrently with the
 * page faults of the guest.
 *
 * kvm_arch_mmu_enable_log_dirty_pt_masked() needs mmu_lock for write, and no vCPU
 * can handle a page fault while it is held.  Where only the TDP MMU maps memory, do
 * the same here with mmu_lock held for read, concurrently with page faults and with
 * other resets.
 *
 * A page fault marks the page before it installs the SPTE, both with mmu_lock held
 * for read.  The mark could be harvested and reset in between, and the writable SPTE
 * be installed after the walk has passed; then no mark would report the next write.
 * To prevent that, a reset reads how far the rings are filled, waits until all page
 * faults that hold mmu_lock by then have dropped it, and walks after that.  See
 * kvm_arch_dirty_ring_pool_quiesce().  The same can happen to a SPTE that is present:
 * one fault maps the page, its mark is reset, and a second fault that began at the
 * same time finds the SPTE as it would install it.
 *
 * The walk changes a SPTE only by a compare-and-exchange that clears one bit,
 * Writable or Dirty, of a leaf that was seen to be present:
 *
 * - fast_page_fault() sets Writable by a compare-and-exchange, and then marks the
 *   page.  If it comes first, its mark is pushed and the page is trapped; the
 *   guest faults once more.  If it comes second, it is a new write.
 * - The CPU sets Accessed and Dirty atomically; the exchange fails and is retried.
 * - A zap, such as that of an NX huge page, under mmu_lock for read freezes the SPTE
 *   by a compare-and-exchange first, and a frozen SPTE is not present.  A zap under
 *   mmu_lock for write is excluded by the lock.  A page table that is unlinked during
 *   the walk is not freed before an RCU grace period has passed; its SPTEs are zapped
 *   in the same way.
 * - Splitting a huge page replaces the huge SPTE, which the walk leaves alone: while
 *   a memslot is logged, neither huge SPTEs nor the SPTEs that result from a split
 *   are writable.
 * - A memslot that is being deleted or moved, or whose logging is being disabled, is
 *   protected by SRCU.  Another memslot may have its gfns by then; trapping a page
 *   needlessly costs one fault.
 *
 * Shadow pages can appear only while mmu_lock is held for write, so no VM gets its
 * first shadow page during a walk.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include "mmu.h"
#include "mmu_internal.h"
#include "mmutrace.h"
#include "spte.h"
#include "tdp_iter.h"
#include "tdp_mmu.h"

/* The result of the last search for a page table of 4K SPTEs, NULL if none. */
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
		/* Reloads old on failure.  Pairs as described above. */
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

/* Returns the number of ranges done; less than @nr if the lock is contended. */
static u32 protect_shared(struct kvm *kvm,
			  const struct kvm_dirty_ring_pool_range *ranges, u32 nr)
{
	/*
	 * Neighbouring pages share one search, within a range and across ranges.
	 * RCU keeps a table that is unlinked after the search.  Pages that are
	 * mapped in a new table by then are marked anew if they are writable.
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
 * kvm_arch_dirty_ring_pool_quiesce - wait for page faults in flight
 * @kvm: the VM
 *
 * A fault that has marked a page before the call has installed its SPTE when this
 * returns.
 *
 * Context: Process context. Takes mmu_lock for write, and drops it at once.
 */
void kvm_arch_dirty_ring_pool_quiesce(struct kvm *kvm)
{
	/* Once a VM has rmaps, all walks hold the lock for write. */
	if (kvm_memslots_have_rmaps(kvm))
		return;

	/* Granted when all current readers have dropped the lock. */
	write_lock(&kvm->mmu_lock);
	write_unlock(&kvm->mmu_lock);
}

/**
 * kvm_arch_dirty_ring_pool_protect - trap writes to harvested pages again
 * @kvm: the VM
 * @ranges: pages of memslots
 * @nr: number of @ranges
 *
 * The caller flushes the TLBs.
 *
 * Huge pages are not split, which would need slots_lock.  They are split here only
 * with KVM_DIRTY_LOG_INITIALLY_SET, which no VM with a pool has.
 *
 * Context: Process context, under kvm->srcu. Takes mmu_lock, for read if possible,
 * and drops it when it is contended.
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
		 * Rmaps need the lock for write.  Test that under the lock,
		 * which keeps the first shadow page from being created.
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
