/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What arch/x86/kvm/mmu/dirty_ring_reset.c needs of KVM's MMU: two page tables
 * of one level, and a call of spte_point() before each access to an SPTE.
 */
#ifndef SHIM_KVM_MMU_H
#define SHIM_KVM_MMU_H

#include <stdbool.h>
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/sched.h>
#include <linux/types.h>

#define SPTES			8
#define SPTE_ENT_PER_PAGE	4	/* fewer than pages in a range */

#define SPTE_PRESENT		BIT(0)
#define PT_WRITABLE_MASK	BIT(1)
#define SPTE_ACCESSED		BIT(5)
#define shadow_dirty_mask	BIT(6)
/* A zap under way: not present */
#define SPTE_FROZEN		BIT(62)

enum { PG_LEVEL_4K = 1, PG_LEVEL_2M };

typedef u64 gfn_t;
typedef u64 *tdp_ptep_t;

struct kvm_memory_slot {
	gfn_t base_gfn;
	int as_id;
};

struct kvm_dirty_ring_pool_range {
	struct kvm_memory_slot *memslot;
	u64 offset;
	unsigned long mask;
};

struct kvm_mmu_page {
	struct list_head link;
	struct {
		bool invalid;
	} role;
	int as_id;
	int level;
	unsigned long huge;	/* tables that a huge SPTE replaces */
	u64 *table[SPTES / SPTE_ENT_PER_PAGE];
};

static inline u64 *spte_of(struct kvm_mmu_page *root, gfn_t gfn)
{
	return root->table[gfn / SPTE_ENT_PER_PAGE] + gfn % SPTE_ENT_PER_PAGE;
}

struct kvm {
	int mmu_lock;		/* -1: held for write, else the number of readers */
	struct {
		struct list_head tdp_mmu_roots;
	} arch;
	bool rmaps;
	unsigned long by_writer;	/* pages */
	int pfns_dirty;
};

extern struct kvm *the_kvm;
extern struct { int cpu_dirty_log_size; } kvm_x86_ops;

/* Others may change the SPTE now. */
void spte_point(u64 *sptep);

enum { SHIM_RESCHED = 1, SHIM_NEEDBREAK };

bool shim_asked(int what);
/* The walk gave up the CPU: it must not hold the lock. */
void shim_rest(void);

#define read_lock(lock)		(shim_assert(*(lock) >= 0, "read_lock"), (void)++*(lock))
#define read_unlock(lock)	(shim_assert(*(lock) > 0, "read_unlock"), (void)--*(lock))
#define write_lock(lock)	(shim_assert(!*(lock), "write_lock"), (void)(*(lock) = -1))
#define write_unlock(lock)	(shim_assert(*(lock) == -1, "write_unlock"), (void)(*(lock) = 0))
#define lockdep_assert_held_read(lock)	shim_assert(*(lock) > 0, #lock)
#define rcu_read_lock()		do { } while (0)
#define rcu_read_unlock()	do { } while (0)
#define rcu_dereference(p)	(p)
#define list_for_each_entry_rcu(pos, head, member) \
	list_for_each_entry(pos, head, member)
/* The test decides whether somebody wants the CPU or the lock. */
#undef cond_resched
#define need_resched()		shim_asked(SHIM_RESCHED)
#define rwlock_needbreak(lock)	(shim_assert(*(lock) != 0, "needbreak"),	\
				 shim_asked(SHIM_NEEDBREAK))
#define cond_resched()		shim_rest()
#define cond_resched_rwlock_write(lock) do {				\
	shim_assert(*(lock) == -1, "mmu_lock for write, to be given up");	\
	*(lock) = 0;							\
	shim_rest();							\
	*(lock) = -1;							\
} while (0)
#define kvm_ad_enabled()	true
#define kvm_mmu_page_ad_need_write_protect(root)	false
#define kvm_mmu_page_as_id(root)	((root)->as_id)
#define kvm_memslots_have_rmaps(kvm)	((kvm)->rmaps)
#define kvm_dirty_log_manual_protect_and_init_set(kvm)	false
#define is_shadow_present_pte(spte)	((spte) & SPTE_PRESENT)
#define spte_to_pfn(spte)	((spte) >> 12)
#define kvm_set_pfn_dirty(pfn)	((void)(pfn), the_kvm->pfns_dirty++)
#define trace_kvm_tdp_mmu_spte_changed(...)	do { } while (0)

void shim_assert(bool ok, const char *what);

static inline bool shim_try_cmpxchg(u64 *p, u64 *old, u64 new)
{
	spte_point(p);
	return __atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static inline u64 shim_read(u64 *p)
{
	u64 value;

	spte_point(p);
	value = __atomic_load_n(p, __ATOMIC_RELAXED);
	spte_point(p);
	return value;
}

#undef READ_ONCE
#define READ_ONCE(x)		shim_read(&(x))
#define try_cmpxchg64(p, old, new)	shim_try_cmpxchg(p, old, new)

struct tdp_iter {
	u64 *sptep;
	gfn_t gfn;
	int level;
	int as_id;
	struct kvm_mmu_page *root;
};

static inline bool shim_iter(struct tdp_iter *iter, gfn_t end)
{
	if (iter->gfn >= end || iter->gfn >= SPTES)
		return false;
	iter->sptep = spte_of(iter->root, iter->gfn);
	iter->level = iter->root->huge & BIT(iter->gfn / SPTE_ENT_PER_PAGE) ?
		      PG_LEVEL_2M : iter->root->level;
	return true;
}

#define for_each_tdp_pte(iter, r, start, end)				\
	for (iter = (struct tdp_iter) {					\
			.root = (r), .gfn = (start), .level = (r)->level,	\
		}; shim_iter(&iter, end); iter.gfn++)

static inline void
kvm_arch_mmu_enable_log_dirty_pt_masked(struct kvm *kvm,
					struct kvm_memory_slot *slot,
					gfn_t offset, unsigned long mask)
{
	shim_assert(kvm->mmu_lock == -1, "mmu_lock for write");
	kvm->by_writer |= mask << (slot->base_gfn + offset);
}

void kvm_arch_dirty_ring_pool_quiesce(struct kvm *kvm);
void kvm_arch_dirty_ring_pool_protect(struct kvm *kvm,
				      const struct kvm_dirty_ring_pool_range *ranges,
				 u32 nr);

#endif
