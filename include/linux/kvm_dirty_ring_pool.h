/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A pool of dirty rings shared by all vCPUs of a VM.
 *
 * Three layers, each in a file and with a prefix of its own:
 *
 *   dirty_ring_pool.c	    The protocol: claim, push, return, park, reset.
 *	kvm_dirty_pool_*    Knows rings, not KVM.
 *   dirty_ring_policy.c    The order in which FREE rings are tried.
 *	kvm_dirty_pool_policy_*
 *   dirty_ring_pool_kvm.c  The VM: capability, ioctls, exits, statistics.
 *	kvm_dirty_ring_pool_*
 *
 * The first two also build in userspace, see tools/testing/dirty_ring_pool/.
 */
#ifndef KVM_DIRTY_RING_POOL_H
#define KVM_DIRTY_RING_POOL_H

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/kvm.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct module;
struct kvm_dirty_pool;

/*
 * The state of a ring is one atomic word; a FREE ring is 0.  Only the owner
 * of the CLAIMED bit writes the word, except for the claim itself.
 */
#define KVM_DIRTY_POOL_FREE		0
#define KVM_DIRTY_POOL_CLAIMED		BIT(0)
#define KVM_DIRTY_POOL_PARKED		BIT(1)
/* Entries were pushed while the ring was parked. */
#define KVM_DIRTY_POOL_RESERVE		BIT(2)

/* Not in use: its memory is not mapped, or it has not joined the pool yet. */
#define KVM_DIRTY_POOL_DETACHED		BIT(3)

/* The maximum number of entries pushed under one claim, with preemption disabled. */
#define KVM_DIRTY_POOL_BATCH		64

/* The maximum number of runs that are protected together; they are on the stack. */
#define KVM_DIRTY_POOL_RUNS		BITS_PER_LONG

/* OVERFLOW is set, and no exit has reported it yet, or one has. */
#define KVM_DIRTY_POOL_OVERFLOW_NEW		1
#define KVM_DIRTY_POOL_OVERFLOW_REPORTED	2

/* No ring: what a search that found none returns. */
#define KVM_DIRTY_POOL_NONE		(~0u)

/**
 * struct kvm_dirty_pool_ring - the pool's view of one ring
 * @word: FREE, or KVM_DIRTY_POOL_* bits
 * @dirty_index: free running; the entry that is pushed next
 * @soft_end: the @dirty_index at which the ring is parked.  Computed from an earlier
 *	@reset_index, so it may be too low, but never too high
 * @mask: number of entries - 1
 * @gfns: the entries; userspace can write them at any time
 * @last_user: id of the user that claimed the ring last
 * @index: of the ring in the pool
 * @claims: number of claims of the ring
 * @moves: number of claims by another user than the one before
 * @pushed: number of entries pushed
 * @reset_index: free running; the entry that is reset next
 * @soft_limit: in entries
 * @retries: number of claims of other rings that failed before this one was claimed
 * @reserve_claims: number of claims for the reserve
 * @parks: number of times that the ring was parked
 * @drains: number of times that the parked ring was found empty and freed, or was
 *	detached while parked
 * @reset_lock: serialises resets, attaching and detaching of the ring
 * @mappings: number of mappings of the ring in the process that the VM belongs to;
 *	under the mmap_lock of that process
 *
 * The first cache line belongs to the owner of the claim, and is all that an
 * uncontended claim, push and return touch.  In the second one, the counters belong
 * to the owner as well, and @reset_index is written under @reset_lock.
 */
struct kvm_dirty_pool_ring {
	atomic_t word ____cacheline_aligned_in_smp;
	u32 dirty_index;
	u32 soft_end;
	u32 mask;
	struct kvm_dirty_gfn *gfns;
	u32 last_user;
	u32 index;
	u64 claims;
	u64 moves;
	u64 pushed;

	u32 reset_index ____cacheline_aligned_in_smp;
	u32 soft_limit;
	u64 retries;
	u64 reserve_claims;
	u64 parks;
	u64 drains;
	struct mutex reset_lock; /* serialises resets, attaching and detaching */
	u32 mappings;
};

/**
 * struct kvm_dirty_pool_user - a claimant: a vCPU, or the VM itself
 * @last: the ring claimed last; a hint, may be NULL
 * @ask: a quantum of @last was filled: ask the policy for the next ring; a hint
 * @id: distinguishes users in the count of ring moves
 * @home: the vCPU's own ring, where searches start
 * @reserve: the user has used a reserve, or lost a mark because the reserves were
 *	full, and has not passed the gate since
 * @gated: the user is counted in kvm_dirty_pool::nr_gated
 * @exit_ring: index + 1 of a parked ring that the vCPU has yet to report, or 0
 */
struct kvm_dirty_pool_user {
	struct kvm_dirty_pool_ring *last;
	bool ask;
	u32 id;
	u32 home;
	bool reserve;
	atomic_t gated;
	u32 exit_ring;
};

/* The id of the VM itself, for KVM_MARK_DIRTY and other marks without a vCPU. */
#define KVM_DIRTY_POOL_VM_USER		KVM_DIRTY_POOL_NONE

/**
 * struct kvm_dirty_pool_claim - a claimed ring
 * @ring: the ring
 * @word: its word, as set by the claim
 * @room: the number of entries that may still be pushed under this claim
 * @first: index of the first entry pushed under this claim
 */
struct kvm_dirty_pool_claim {
	struct kvm_dirty_pool_ring *ring;
	u32 word;
	u32 room;
	u32 first;
};

/*
 * A flag of claims: fail rather than claim a reserve, and do not park a ring while a
 * vCPU waits at the gate.
 */
#define KVM_DIRTY_POOL_NORESERVE	BIT(0)
/* A flag of claims: do not wait for a claimant that this one may have interrupted. */
#define KVM_DIRTY_POOL_NOWAIT		BIT(1)

enum kvm_dirty_pool_event {
	KVM_DIRTY_POOL_EV_PARK,
	KVM_DIRTY_POOL_EV_RESERVE,
	KVM_DIRTY_POOL_EV_OVERFLOW,
};

/**
 * struct kvm_dirty_pool_run - neighbouring pages of a memslot
 * @slot: as kvm_dirty_gfn::slot
 * @offset: as kvm_dirty_gfn::offset, a multiple of BITS_PER_LONG
 * @mask: a bit for each page from @offset on, at least one
 */
struct kvm_dirty_pool_run {
	u32 slot;
	u64 offset;
	unsigned long mask;
};

/**
 * struct kvm_dirty_pool_ops - the services that a pool needs from its VM
 * @notify: EV_PARK: @user parked @ring.  EV_RESERVE: @user has to pass the gate,
 *	because it claimed the reserve of @ring, or lost a mark (@ring is NULL).
 *	EV_OVERFLOW: the OVERFLOW state was clear, and is set now.  Called with
 *	preemption disabled and possibly under the run queue's lock: must not
 *	wake, signal or kick anyone directly
 * @wanted: test whether the page of an entry is still logged.  The entry comes from
 *	userspace.  Process context, under the ring's reset_lock.  Optional
 * @quiesce: wait until the pages whose marks were pushed before the call are mapped,
 *	so that @protect finds the mappings.  Process context, under the ring's
 *	reset_lock.  Optional
 * @protect: trap writes to the pages of @nr runs again.  @runs comes from userspace
 *	and has to be validated.  Process context, under the ring's reset_lock
 * @flush: flush the TLBs of all vCPUs.  Process context
 */
struct kvm_dirty_pool_ops {
	void (*notify)(struct kvm_dirty_pool *pool,
		       struct kvm_dirty_pool_user *user,
		       struct kvm_dirty_pool_ring *ring,
		       enum kvm_dirty_pool_event event);
	bool (*wanted)(struct kvm_dirty_pool *pool, u32 slot, u64 offset);
	void (*quiesce)(struct kvm_dirty_pool *pool);
	void (*protect)(struct kvm_dirty_pool *pool,
			const struct kvm_dirty_pool_run *runs, u32 nr);
	void (*flush)(struct kvm_dirty_pool *pool);
};

/* Of a policy, with the NUL.  What userspace sets can have a quantum after it. */
#define KVM_DIRTY_POOL_NAME_MAX		16
/* The usual quantum of a policy, in entries. */
#define KVM_DIRTY_POOL_QUANTUM		64

/**
 * struct kvm_dirty_pool_policy - the order in which rings are tried
 * @name: the name by which userspace selects the policy
 * @quantum: the number of entries, a power of two, after which a user leaves its ring
 *	and asks @pick for another one; until then the pool tries the ring that the
 *	user claimed last.  With 1, each claim asks.  With 0, the user does not leave
 *	the ring until it is parked or another user has claimed it
 * @owner: module that implements the policy
 * @create: allocate the state for a pool of at most @max_rings rings; may sleep.
 *	Returns NULL if there is no memory.  Optional
 * @destroy: free the state, which no claimant uses any more.  Optional
 * @pick: return the ring to try next, or KVM_DIRTY_POOL_NONE to leave the search to
 *	the pool.  @prev is the ring that was tried before; for the first try the
 *	ring that the user claimed last, or KVM_DIRTY_POOL_NONE.  A ring that is
 *	claimed, parked or does not exist wastes a try, but does no harm
 * @put: @ring has become FREE and its user leaves it, or the user is the VM, which
 *	threads share; another user may have claimed it already.  Also called for
 *	rings that were FREE before.  Optional
 * @list: entry in the list of policies, under the registry's lock
 *
 * A policy decides about the order only, and the ring's word about ownership: a
 * wrong policy is slow, but never unsafe.  @pick and @put run concurrently, with
 * preemption disabled, in any context but NMI.  They take no lock and do not sleep.
 */
struct kvm_dirty_pool_policy {
	char name[KVM_DIRTY_POOL_NAME_MAX];
	u32 quantum;
	struct module *owner;
	void *(*create)(u32 max_rings);
	void (*destroy)(void *data);
	u32 (*pick)(struct kvm_dirty_pool *pool, void *data, u32 prev);
	void (*put)(void *data, u32 ring);
	struct list_head list;
};

/**
 * struct kvm_dirty_pool_selector - the policy in use by a pool, and its state
 * @policy: the policy
 * @data: its state
 * @stay: the quantum - 1, a mask of dirty_index; all bits if the quantum is 0
 *
 * Replaced as a whole, under RCU.
 */
struct kvm_dirty_pool_selector {
	const struct kvm_dirty_pool_policy *policy;
	void *data;
	u32 stay;
};

/**
 * struct kvm_dirty_pool - the rings of a VM
 * @selector: the policy and its state
 * @ops: the VM's side
 * @rings: array of @max_rings pointers, of which @nr_rings are set
 * @nr_rings: number of rings; never decreases, since a detached ring keeps its index
 * @max_rings: upper bound of @nr_rings
 * @avail: bitmap of the rings that are neither parked nor detached; a bit is written
 *	by the owner of the ring's claim
 * @room: bitmap of the rings whose reserve is not full; a hint
 * @vm_user: the user for marks without a vCPU; shared, so that only @last and @ask
 *	are of use
 * @nr_reserve: number of rings with reserve entries that are not reset yet
 * @nr_gated: number of vCPUs that the gate kept out, and that have not passed since
 * @nr_attached: number of rings that are not DETACHED
 * @overflow: 0, or KVM_DIRTY_POOL_OVERFLOW_*: a mark was lost, and all memory has to
 *	be taken as dirty; set until userspace clears it
 * @full_at: value of @resets before all rings were last found full
 * @exhaustions: number of claims that found no FREE ring
 * @overflows: number of marks lost
 * @resets: number of resets that have protected pages
 * @flushed: value of @resets when the last completed flush began
 * @selector_lock: serialises switches of the policy
 */
struct kvm_dirty_pool {
	struct kvm_dirty_pool_selector __rcu *selector;
	const struct kvm_dirty_pool_ops *ops;
	struct kvm_dirty_pool_ring **rings;
	u32 nr_rings;
	u32 max_rings;
	unsigned long *avail;
	unsigned long *room;

	struct kvm_dirty_pool_user vm_user ____cacheline_aligned_in_smp;

	atomic_t nr_reserve ____cacheline_aligned_in_smp;
	atomic_t nr_gated;
	atomic_t nr_attached;
	atomic_t overflow;
	int full_at;
	atomic64_t exhaustions;
	atomic64_t overflows;
	atomic_t resets;
	atomic_t flushed;
	struct mutex selector_lock; /* serialises switches of the policy */
};

/* dirty_ring_pool.c */

int kvm_dirty_pool_init(struct kvm_dirty_pool *pool,
			const struct kvm_dirty_pool_ops *ops, u32 max_rings);
void kvm_dirty_pool_exit(struct kvm_dirty_pool *pool);
void kvm_dirty_pool_ring_init(struct kvm_dirty_pool_ring *ring,
			      struct kvm_dirty_gfn *gfns, u32 size, u32 rsvd);
void kvm_dirty_pool_add(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_ring *ring);
int kvm_dirty_pool_set_policy(struct kvm_dirty_pool *pool, const char *name);
void kvm_dirty_pool_get_policy(struct kvm_dirty_pool *pool, char *name);

bool kvm_dirty_pool_claim(struct kvm_dirty_pool *pool,
			  struct kvm_dirty_pool_user *user, unsigned int flags,
			  struct kvm_dirty_pool_claim *claim);
void kvm_dirty_pool_return(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user,
			   struct kvm_dirty_pool_claim *claim);
u64 kvm_dirty_pool_mark(struct kvm_dirty_pool *pool,
			struct kvm_dirty_pool_user *user, u32 slot, u64 offset,
			u64 nr, unsigned int flags);
bool kvm_dirty_pool_gate(struct kvm_dirty_pool *pool,
			 struct kvm_dirty_pool_user *user);
void kvm_dirty_pool_ungate(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user);
bool kvm_dirty_pool_report_overflow(struct kvm_dirty_pool *pool, bool exits);
bool kvm_dirty_pool_exhausted(struct kvm_dirty_pool *pool);
u32 kvm_dirty_pool_next(struct kvm_dirty_pool *pool, u32 from);
int kvm_dirty_pool_reset(struct kvm_dirty_pool *pool, u32 first, u32 end,
			 u32 *count);
void kvm_dirty_pool_attach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring);
void kvm_dirty_pool_detach(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_ring *ring);

static inline void kvm_dirty_pool_user_init(struct kvm_dirty_pool_user *user,
					    u32 id)
{
	user->last = NULL;
	user->ask = false;
	user->id = id;
	user->home = id == KVM_DIRTY_POOL_VM_USER ? 0 : id;
	user->reserve = false;
	atomic_set(&user->gated, 0);
	user->exit_ring = 0;
}

/**
 * kvm_dirty_pool_nr_rings - get the number of rings in the pool
 * @pool: the pool
 *
 * Context: any.
 * Return: the number of rings; those below it are set up, even while others join.
 */
static inline u32 kvm_dirty_pool_nr_rings(const struct kvm_dirty_pool *pool)
{
	/* Pairs with the release in kvm_dirty_pool_add(). */
	return smp_load_acquire(&pool->nr_rings);
}

/**
 * kvm_dirty_pool_used - get the number of entries that are not reset yet
 * @ring: the ring
 *
 * Context: any.
 * Return: the number of entries.  It is exact for the owner of the claim while nobody
 * resets the ring; otherwise it may have changed by the time it is used.
 */
static inline u32 kvm_dirty_pool_used(const struct kvm_dirty_pool_ring *ring)
{
	/* Read reset_index first, or the difference could be negative. */
	u32 reset = smp_load_acquire(&ring->reset_index);

	return READ_ONCE(ring->dirty_index) - reset;
}

/**
 * kvm_dirty_pool_push - push one page into a claimed ring
 * @claim: the claim; its room must not be 0
 * @slot: as kvm_dirty_gfn::slot
 * @offset: in pages, as kvm_dirty_gfn::offset
 *
 * Context: as kvm_dirty_pool_claim().
 */
static inline void kvm_dirty_pool_push(struct kvm_dirty_pool_claim *claim,
				       u32 slot, u64 offset)
{
	struct kvm_dirty_pool_ring *ring = claim->ring;
	u32 index = ring->dirty_index;
	struct kvm_dirty_gfn *entry = &ring->gfns[index & ring->mask];

	WRITE_ONCE(entry->slot, slot);
	WRITE_ONCE(entry->offset, offset);
	/*
	 * Write dirty_index before the flags: userspace may harvest the entry as
	 * soon as it sees them, and the reset that follows has to find the entry
	 * below dirty_index.  Release: a claimant that finds this ring full also
	 * sees the resets that came before.  Pairs with the barrier in
	 * pool_claim_reserve().
	 */
	smp_store_release(&ring->dirty_index, index + 1);
	/* Pairs with the acquire by which userspace reads the flags. */
	smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_DIRTY);

	claim->room--;
}

/* dirty_ring_policy.c */

int kvm_dirty_pool_policy_register(struct kvm_dirty_pool_policy *policy);
void kvm_dirty_pool_policy_unregister(struct kvm_dirty_pool_policy *policy);
const struct kvm_dirty_pool_policy *
kvm_dirty_pool_policy_get(const char *name, u32 *quantum);
void kvm_dirty_pool_policy_put(const struct kvm_dirty_pool_policy *policy);
int kvm_dirty_pool_policy_set_default(const char *name);
void kvm_dirty_pool_policy_get_default(char *name);
void kvm_dirty_pool_policy_name(const struct kvm_dirty_pool_policy *policy,
				u32 quantum, char *name);

/* dirty_ring_pool_kvm.c */

struct kvm;
struct kvm_enable_cap;
struct kvm_memory_slot;
struct kvm_vcpu;
struct kvm_vm_stat;
struct vm_area_struct;

/**
 * struct kvm_dirty_ring_pool_range - a kvm_dirty_pool_run that has been validated
 * @memslot: the memslot, under SRCU
 * @offset: of the first page in the memslot, in pages
 * @mask: a bit for each page from @offset on, all in the memslot
 */
struct kvm_dirty_ring_pool_range {
	struct kvm_memory_slot *memslot;
	u64 offset;
	unsigned long mask;
};

#ifdef CONFIG_HAVE_KVM_DIRTY_RING_POOL

#define kvm_has_dirty_ring_pool(kvm)	((kvm)->dirty_ring_pool)

#define KVM_DIRTY_RING_POOL_VM_STATS()					\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_claims)		\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_claim_retries)	\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_reserve_claims)	\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_parks)		\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_drains)		\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_exhaustions)	\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_overflows)		\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_pushed)		\
	, STATS_DESC_COUNTER(VM_GENERIC, dirty_pool_moves)

int kvm_dirty_ring_pool_max_size(void);
int kvm_dirty_ring_pool_check_cap(const struct kvm_enable_cap *cap);
int kvm_dirty_ring_pool_create(struct kvm *kvm,
			       const struct kvm_enable_cap *cap);
void kvm_dirty_ring_pool_destroy(struct kvm *kvm);
int kvm_dirty_ring_pool_set_manual_protect(struct kvm *kvm, u64 flags);
void kvm_dirty_ring_pool_init_vcpu(struct kvm_vcpu *vcpu);
void kvm_dirty_ring_pool_add_vcpu(struct kvm_vcpu *vcpu);
void kvm_dirty_ring_pool_mmap(struct vm_area_struct *vma);
void kvm_dirty_ring_pool_vma_open(struct vm_area_struct *vma);
void kvm_dirty_ring_pool_vma_close(struct vm_area_struct *vma);
int kvm_dirty_ring_pool_vma_may_split(struct vm_area_struct *vma,
				      unsigned long addr);
void kvm_dirty_ring_pool_mark(struct kvm *kvm,
			      const struct kvm_memory_slot *memslot,
			      u64 gfn);
void kvm_dirty_ring_pool_mark_gpas(struct kvm_vcpu *vcpu, const u64 *gpas,
				   u32 nr);
bool kvm_dirty_ring_pool_stop(struct kvm_vcpu *vcpu);
bool kvm_dirty_ring_pool_check_request(struct kvm_vcpu *vcpu);
int kvm_dirty_ring_pool_reset_all(struct kvm *kvm);
int kvm_dirty_ring_pool_ioctl(struct kvm *kvm, unsigned int ioctl,
			      unsigned long arg);
void kvm_dirty_ring_pool_stat(struct kvm *kvm, size_t offset, u64 *val);
void kvm_dirty_ring_pool_stats(struct kvm *kvm, struct kvm_vm_stat *stat);
void kvm_arch_dirty_ring_pool_quiesce(struct kvm *kvm);
void kvm_arch_dirty_ring_pool_protect(struct kvm *kvm,
				      const struct kvm_dirty_ring_pool_range *ranges,
				 u32 nr);

#else /* !CONFIG_HAVE_KVM_DIRTY_RING_POOL */

#define kvm_has_dirty_ring_pool(kvm)	((void)(kvm), false)

#define KVM_DIRTY_RING_POOL_VM_STATS()

static inline int kvm_dirty_ring_pool_max_size(void)
{
	return 0;
}

static inline int kvm_dirty_ring_pool_check_cap(const struct kvm_enable_cap *cap)
{
	return -EINVAL;
}

static inline int kvm_dirty_ring_pool_create(struct kvm *kvm,
					     const struct kvm_enable_cap *cap)
{
	return 0;
}

static inline void kvm_dirty_ring_pool_destroy(struct kvm *kvm) {}

/* The capability is enabled as it is without the pool. */
#define kvm_dirty_ring_pool_set_manual_protect(kvm, flags)	\
	((kvm)->manual_dirty_log_protect = (flags), 0)

static inline void kvm_dirty_ring_pool_init_vcpu(struct kvm_vcpu *vcpu) {}
static inline void kvm_dirty_ring_pool_add_vcpu(struct kvm_vcpu *vcpu) {}
static inline void kvm_dirty_ring_pool_mmap(struct vm_area_struct *vma) {}

#define kvm_dirty_ring_pool_vma_open		NULL
#define kvm_dirty_ring_pool_vma_close		NULL
#define kvm_dirty_ring_pool_vma_may_split	NULL

static inline void kvm_dirty_ring_pool_mark(struct kvm *kvm,
					    const struct kvm_memory_slot *memslot,
					    u64 gfn) {}

static inline void kvm_dirty_ring_pool_mark_gpas(struct kvm_vcpu *vcpu,
						 const u64 *gpas, u32 nr) {}

static inline bool kvm_dirty_ring_pool_stop(struct kvm_vcpu *vcpu)
{
	return false;
}

static inline bool kvm_dirty_ring_pool_check_request(struct kvm_vcpu *vcpu)
{
	return false;
}

static inline int kvm_dirty_ring_pool_reset_all(struct kvm *kvm)
{
	return -EINVAL;
}

static inline int kvm_dirty_ring_pool_ioctl(struct kvm *kvm, unsigned int ioctl,
					    unsigned long arg)
{
	return -EINVAL;
}

static inline void kvm_dirty_ring_pool_stat(struct kvm *kvm, size_t offset,
					    u64 *val) {}

static inline void kvm_dirty_ring_pool_stats(struct kvm *kvm,
					     struct kvm_vm_stat *stat) {}

#endif /* CONFIG_HAVE_KVM_DIRTY_RING_POOL */

#endif /* KVM_DIRTY_RING_POOL_H */
