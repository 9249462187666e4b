// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pool of dirty rings: KVM's side.
 *
 * Capability, ioctls, exits, notifications and statistics.  The protocol is in
 * dirty_ring_pool.c.
 */
#include <linux/eventfd.h>
#include <linux/irq_work.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/kvm_host.h>
#include <linux/moduleparam.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>
#include <trace/events/kvm.h>
#include "kvm_mm.h"

#define CREATE_TRACE_POINTS
#include <trace/events/kvm_dirty_ring_pool.h>

/**
 * struct kvm_dirty_ring_pool - a pool and its VM
 * @pool: the protocol's part
 * @kvm: the VM
 * @cap_flags: KVM_DIRTY_RING_POOL_*, as enabled
 * @forced: userspace asked for per-vCPU rings
 * @work: signals and kicks, which the context that marks a page must not do
 * @eventfd: signalled when a ring is parked and at overflow; under RCU,
 *	written under kvm->lock
 * @kick: a bit for each vCPU to be kicked by @work
 */
struct kvm_dirty_ring_pool {
	struct kvm_dirty_pool pool;
	struct kvm *kvm;
	u32 cap_flags;
	bool forced;
	struct irq_work work;
	struct eventfd_ctx __rcu *eventfd;
	unsigned long *kick;
};

static bool dirty_ring_pool;
module_param(dirty_ring_pool, bool, 0644);
MODULE_PARM_DESC(dirty_ring_pool,
		 "Turn VMs with per-vCPU dirty rings into VMs with a pool");

static int policy_param_set(const char *val, const struct kernel_param *kp)
{
	/* sysfs hands over the newline of an echo. */
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX + 1];

	if (strscpy(name, val, sizeof(name)) < 0)
		return -ENOENT;
	return kvm_dirty_pool_policy_set_default(strim(name));
}

static int policy_param_get(char *buf, const struct kernel_param *kp)
{
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];

	kvm_dirty_pool_policy_get_default(name);
	return sysfs_emit(buf, "%s\n", name);
}

static const struct kernel_param_ops policy_param_ops = {
	.set = policy_param_set,
	.get = policy_param_get,
};

module_param_cb(dirty_ring_policy, &policy_param_ops, NULL, 0644);
MODULE_PARM_DESC(dirty_ring_policy,
		 "Policy of new dirty ring pools, by name");

static struct kvm_dirty_ring_pool *pool_to_vm(struct kvm_dirty_pool *pool)
{
	return container_of(pool, struct kvm_dirty_ring_pool, pool);
}

static struct kvm_vcpu *ring_to_vcpu(struct kvm_dirty_pool_ring *ring)
{
	return container_of(ring, struct kvm_vcpu, dirty_pool_ring);
}

/*
 * Ask all vCPUs to report OVERFLOW, since the one that lost the mark may never run
 * again.  The first to enter the guest does, in kvm_dirty_ring_pool_check_request().
 */
static void pool_vm_request_overflow(struct kvm_dirty_ring_pool *vm, u32 nr)
{
	u32 i;

	/* A VMM that did not ask for a pool does not know OVERFLOW. */
	if (vm->forced)
		pr_warn_ratelimited("kvm: %s: dirty ring pool overflow, dirty pages were lost: drain the rings more often, or unset kvm.dirty_ring_pool\n",
				    vm->kvm->stats_id);

	for (i = 0; i < nr; i++) {
		kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL,
				 ring_to_vcpu(vm->pool.rings[i]));
		set_bit(i, vm->kick);
	}
}

static void pool_vm_work(struct irq_work *work)
{
	struct kvm_dirty_ring_pool *vm =
		container_of(work, struct kvm_dirty_ring_pool, work);
	u32 nr = kvm_dirty_pool_nr_rings(&vm->pool);
	struct eventfd_ctx *eventfd;
	u32 i;

	rcu_read_lock();
	eventfd = rcu_dereference(vm->eventfd);
	if (eventfd)
		eventfd_signal(eventfd);
	rcu_read_unlock();

	if (atomic_read(&vm->pool.overflow) == KVM_DIRTY_POOL_OVERFLOW_NEW)
		pool_vm_request_overflow(vm, nr);

	for_each_set_bit(i, vm->kick, nr) {
		if (test_and_clear_bit(i, vm->kick))
			kvm_vcpu_kick(ring_to_vcpu(vm->pool.rings[i]));
	}
}

/*
 * The mark may be that of a vCPU that is being scheduled out, under the run queue's
 * lock.  So set request bits only, and leave signals and kicks to the irq_work.
 */
static void pool_vm_notify(struct kvm_dirty_pool *pool,
			   struct kvm_dirty_pool_user *user,
			   struct kvm_dirty_pool_ring *ring,
			   enum kvm_dirty_pool_event event)
{
	struct kvm_dirty_ring_pool *vm = pool_to_vm(pool);
	struct kvm_vcpu *vcpu = NULL;

	if (user != &pool->vm_user)
		vcpu = container_of(user, struct kvm_vcpu, dirty_pool_user);

	switch (event) {
	case KVM_DIRTY_POOL_EV_RESERVE:
		/* For the gate, on the next entry. */
		if (vcpu)
			kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
		return;
	case KVM_DIRTY_POOL_EV_PARK:
		if (vm->cap_flags & KVM_DIRTY_RING_POOL_NOSTOP)
			break;
		if (!vcpu) {
			vcpu = ring_to_vcpu(ring);
			set_bit(ring->index, vm->kick);
		}
		WRITE_ONCE(vcpu->dirty_pool_user.exit_ring, ring->index + 1);
		/* Release: orders exit_ring before the request. */
		kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
		break;
	case KVM_DIRTY_POOL_EV_OVERFLOW:
		break;
	}

	irq_work_queue(&vm->work);
}

/* The memslot of a slot number that comes from userspace.  Under SRCU. */
static struct kvm_memory_slot *pool_vm_memslot(struct kvm *kvm, u32 slot)
{
	u32 nr_as = kvm_arch_nr_memslot_as_ids(kvm);
	u32 as_id = slot >> 16;
	u16 id = slot;

	if (as_id >= nr_as || id >= KVM_USER_MEM_SLOTS)
		return ERR_PTR(-EINVAL);

	as_id = array_index_nospec(as_id, nr_as);
	return id_to_memslot(__kvm_memslots(kvm, as_id), id) ?: ERR_PTR(-ENOENT);
}

/*
 * Defaults for architectures whose faults mark a page and map it in one critical
 * section of mmu_lock: protecting pages under that lock waits for such faults.
 */
void __weak kvm_arch_dirty_ring_pool_quiesce(struct kvm *kvm)
{
}

void __weak kvm_arch_dirty_ring_pool_protect(struct kvm *kvm,
					     const struct kvm_dirty_ring_pool_range *ranges,
					u32 nr)
{
	u32 i;

	KVM_MMU_LOCK(kvm);
	for (i = 0; i < nr; i++) {
		kvm_arch_mmu_enable_log_dirty_pt_masked(kvm, ranges[i].memslot,
							ranges[i].offset,
							ranges[i].mask);
	}
	KVM_MMU_UNLOCK(kvm);
}

static bool pool_vm_wanted(struct kvm_dirty_pool *pool, u32 slot,
			   u64 offset)
{
	struct kvm *kvm = pool_to_vm(pool)->kvm;
	struct kvm_memory_slot *memslot;
	bool wanted;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);
	memslot = pool_vm_memslot(kvm, slot);
	wanted = !IS_ERR(memslot) && offset < memslot->npages &&
		 kvm_slot_dirty_track_enabled(memslot);
	srcu_read_unlock(&kvm->srcu, idx);
	return wanted;
}

static void pool_vm_quiesce(struct kvm_dirty_pool *pool)
{
	kvm_arch_dirty_ring_pool_quiesce(pool_to_vm(pool)->kvm);
}

static void pool_vm_protect(struct kvm_dirty_pool *pool,
			    const struct kvm_dirty_pool_run *runs, u32 nr)
{
	struct kvm_dirty_ring_pool_range ranges[KVM_DIRTY_POOL_RUNS];
	struct kvm *kvm = pool_to_vm(pool)->kvm;
	u32 i, valid = 0;
	int idx;

	idx = srcu_read_lock(&kvm->srcu);

	for (i = 0; i < nr; i++) {
		struct kvm_memory_slot *memslot;
		unsigned long mask = runs[i].mask;
		u64 offset = runs[i].offset;

		memslot = pool_vm_memslot(kvm, runs[i].slot);
		if (IS_ERR(memslot) || offset >= memslot->npages)
			continue;
		/*
		 * Clip the run rather than skip it.  Its entries may be of an old
		 * memslot and of the smaller one that has the same id now, whose
		 * pages have to be trapped.
		 */
		if (memslot->npages - offset < BITS_PER_LONG)
			mask &= BIT(memslot->npages - offset) - 1;
		if (!mask)
			continue;
		ranges[valid++] = (struct kvm_dirty_ring_pool_range) {
			.memslot = memslot,
			.offset = offset,
			.mask = mask,
		};
	}

	if (valid)
		kvm_arch_dirty_ring_pool_protect(kvm, ranges, valid);

	srcu_read_unlock(&kvm->srcu, idx);
}

static void pool_vm_flush(struct kvm_dirty_pool *pool)
{
	kvm_flush_remote_tlbs(pool_to_vm(pool)->kvm);
}

static const struct kvm_dirty_pool_ops pool_vm_ops = {
	.notify = pool_vm_notify,
	.wanted = pool_vm_wanted,
	.quiesce = pool_vm_quiesce,
	.protect = pool_vm_protect,
	.flush = pool_vm_flush,
};

/**
 * kvm_dirty_ring_pool_max_size - the value of KVM_CHECK_EXTENSION
 *
 * Return: the maximum size of a ring, in bytes.
 */
int kvm_dirty_ring_pool_max_size(void)
{
	return KVM_DIRTY_RING_MAX_ENTRIES * sizeof(struct kvm_dirty_gfn);
}

/**
 * kvm_dirty_ring_pool_check_cap - check the arguments of KVM_ENABLE_CAP
 * @cap: the capability; the caller checks the size in args[0] as it does that of
 *	KVM_CAP_DIRTY_LOG_RING, of which it takes 32 bits
 *
 * Return: 0, -EINVAL, or -E2BIG.
 */
int kvm_dirty_ring_pool_check_cap(const struct kvm_enable_cap *cap)
{
	if (cap->flags || cap->args[1] & ~(u64)KVM_DIRTY_RING_POOL_NOSTOP ||
	    cap->args[2] || cap->args[3])
		return -EINVAL;
	if (cap->args[0] > U32_MAX)
		return -E2BIG;
	return 0;
}

/**
 * kvm_dirty_ring_pool_create - create the pool of a VM, if it is to have one
 * @kvm: the VM, which has no vCPU yet
 * @cap: the ring capability that is being enabled
 *
 * Context: Under kvm->lock.
 * Return: 0, even if the VM gets per-vCPU rings without a pool; -EINVAL if it has
 * rings already, or if a pool was asked for and KVM_DIRTY_LOG_INITIALLY_SET is
 * enabled; -ENOMEM.
 */
int kvm_dirty_ring_pool_create(struct kvm *kvm, const struct kvm_enable_cap *cap)
{
	struct kvm_dirty_ring_pool *vm;
	int ret;

	lockdep_assert_held(&kvm->lock);

	/* Again: the caller checked it before it took the lock. */
	if (kvm->dirty_ring_size)
		return -EINVAL;

	if (cap->cap != KVM_CAP_DIRTY_LOG_RING_POOL &&
	    !READ_ONCE(dirty_ring_pool))
		return 0;

	/*
	 * That flag has pages write-protected, and huge pages split, only when
	 * they are reset, which takes slots_lock; resets here do not take it.
	 */
	if (kvm_dirty_log_manual_protect_and_init_set(kvm))
		return cap->cap == KVM_CAP_DIRTY_LOG_RING_POOL ? -EINVAL : 0;

	vm = kzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return -ENOMEM;

	vm->kvm = kvm;
	init_irq_work(&vm->work, pool_vm_work);
	if (cap->cap == KVM_CAP_DIRTY_LOG_RING_POOL)
		vm->cap_flags = cap->args[1];
	else
		vm->forced = true;

	ret = -ENOMEM;
	vm->kick = bitmap_zalloc(kvm->max_vcpus, GFP_KERNEL_ACCOUNT);
	if (vm->kick)
		ret = kvm_dirty_pool_init(&vm->pool, &pool_vm_ops,
					  kvm->max_vcpus);
	if (ret) {
		bitmap_free(vm->kick);
		kfree(vm);
		return ret;
	}

	/*
	 * Pairs with the acquires in kvm_dirty_ring_pool_ioctl() and _stat(), and
	 * with the address dependencies where pages are marked.
	 */
	smp_store_release(&kvm->dirty_ring_pool, vm);
	return 0;
}

/**
 * kvm_dirty_ring_pool_destroy - destroy the pool of a VM
 * @kvm: the VM, to which nobody has a reference any more
 *
 * Called early in the destruction of a VM: after it left the list of VMs whose
 * statistics are read, and while the vCPUs that the irq_work may kick still exist.
 * Later marks go to the vCPU's ring as without a pool; nobody can harvest them.
 *
 * Context: Process context, may sleep.
 */
void kvm_dirty_ring_pool_destroy(struct kvm *kvm)
{
	struct kvm_dirty_ring_pool *vm = kvm->dirty_ring_pool;

	if (!vm)
		return;

	kvm->dirty_ring_pool = NULL;

	irq_work_sync(&vm->work);
	kvm_dirty_pool_exit(&vm->pool);
	if (rcu_access_pointer(vm->eventfd))
		eventfd_ctx_put(rcu_access_pointer(vm->eventfd));
	bitmap_free(vm->kick);
	kfree(vm);
}

/**
 * kvm_dirty_ring_pool_set_manual_protect - KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
 * @kvm: the VM
 * @flags: KVM_DIRTY_LOG_*, valid ones
 *
 * Context: Process context. Takes kvm->lock.
 * Return: 0, or -EINVAL for KVM_DIRTY_LOG_INITIALLY_SET in a VM with a pool.
 */
int kvm_dirty_ring_pool_set_manual_protect(struct kvm *kvm, u64 flags)
{
	int ret = 0;

	mutex_lock(&kvm->lock);
	if (kvm->dirty_ring_pool && flags & KVM_DIRTY_LOG_INITIALLY_SET)
		ret = -EINVAL;
	else
		kvm->manual_dirty_log_protect = flags;
	mutex_unlock(&kvm->lock);
	return ret;
}

/**
 * kvm_dirty_ring_pool_init_vcpu - prepare a new vCPU for the pool
 * @vcpu: the vCPU, which has its ring and its index, but no fd yet
 *
 * The ring can be mapped as soon as the fd exists, as userspace may guess it.
 *
 * Context: Under kvm->lock.
 */
void kvm_dirty_ring_pool_init_vcpu(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring *ring = &vcpu->dirty_ring;

	if (!vcpu->kvm->dirty_ring_pool)
		return;

	kvm_dirty_pool_user_init(&vcpu->dirty_pool_user, vcpu->vcpu_idx);
	kvm_dirty_pool_ring_init(&vcpu->dirty_pool_ring, ring->dirty_gfns,
				 ring->size, ring->size - ring->soft_limit);
}

/**
 * kvm_dirty_ring_pool_add_vcpu - let a new vCPU's ring join the pool
 * @vcpu: the vCPU, which is not online yet
 *
 * Context: Under kvm->lock, and the vCPU's mutex: it must not run before.
 */
void kvm_dirty_ring_pool_add_vcpu(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring_pool *vm = vcpu->kvm->dirty_ring_pool;

	if (!vm)
		return;

	lockdep_assert_held(&vcpu->mutex);
	/* A vCPU starts with its own ring, so that each has one to itself. */
	vcpu->dirty_pool_user.last = &vcpu->dirty_pool_ring;
	kvm_dirty_pool_add(&vm->pool, &vcpu->dirty_pool_ring);
	/* Report marks that were lost before there was any vCPU. */
	if (atomic_read(&vm->pool.overflow) == KVM_DIRTY_POOL_OVERFLOW_NEW)
		kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
}

/*
 * The vCPU whose ring @vma maps; NULL if it maps none, or belongs to another process
 * than the VM, which cannot harvest.
 */
static struct kvm_vcpu *pool_vma_vcpu(struct vm_area_struct *vma)
{
	struct kvm_vcpu *vcpu = vma->vm_file->private_data;
	struct kvm *kvm = vcpu->kvm;
	unsigned long end = KVM_DIRTY_LOG_PAGE_OFFSET +
			    kvm->dirty_ring_size / PAGE_SIZE;

	if (!kvm->dirty_ring_pool || vma->vm_mm != kvm->mm ||
	    vma->vm_pgoff >= end ||
	    vma->vm_pgoff + vma_pages(vma) <= KVM_DIRTY_LOG_PAGE_OFFSET)
		return NULL;

	return vcpu;
}

/**
 * kvm_dirty_ring_pool_vma_open - the vm_ops::open() of a vCPU's mappings
 * @vma: a new mapping
 *
 * Attaches a ring that is mapped again to the pool.  Only mappings in the process
 * that the VM belongs to count, as only that process can reset rings.  A forked
 * child inherits the mappings, but does not count.
 *
 * Context: Under mmap_lock, held for write.
 */
void kvm_dirty_ring_pool_vma_open(struct vm_area_struct *vma)
{
	struct kvm_vcpu *vcpu = pool_vma_vcpu(vma);

	if (vcpu && !vcpu->dirty_pool_ring.mappings++)
		kvm_dirty_pool_attach(&vcpu->kvm->dirty_ring_pool->pool,
				      &vcpu->dirty_pool_ring);
}

/**
 * kvm_dirty_ring_pool_vma_close - the vm_ops::close() of a vCPU's mappings
 * @vma: the mapping
 *
 * Nobody can harvest a ring whose last mapping is gone, for instance because the
 * VMM unplugged the vCPU.  Detaches such a ring from the pool.
 *
 * Context: Under mmap_lock, which munmap() may have downgraded, unless the process
 * exits.  No other mapping is created or removed concurrently.
 */
void kvm_dirty_ring_pool_vma_close(struct vm_area_struct *vma)
{
	struct kvm_vcpu *vcpu = pool_vma_vcpu(vma);
	struct kvm_dirty_pool *pool;

	/* The process exits, and the VM with it: nobody needs the marks. */
	if (!vcpu || !atomic_read(&vma->vm_mm->mm_users))
		return;

	if (--vcpu->dirty_pool_ring.mappings)
		return;

	pool = &vcpu->kvm->dirty_ring_pool->pool;
	kvm_dirty_pool_detach(pool, &vcpu->dirty_pool_ring);
	/* Marks of the VM need not leave room for a vCPU that is unplugged. */
	kvm_dirty_pool_ungate(pool, &vcpu->dirty_pool_user);
}

/**
 * kvm_dirty_ring_pool_vma_may_split - the vm_ops::may_split() of these mappings
 * @vma: the mapping
 * @addr: where to split it
 *
 * Return: -EINVAL for the mapping of a ring, which is counted as a whole; else 0.
 */
int kvm_dirty_ring_pool_vma_may_split(struct vm_area_struct *vma,
				      unsigned long addr)
{
	return pool_vma_vcpu(vma) ? -EINVAL : 0;
}

/**
 * kvm_dirty_ring_pool_mmap - count a new mapping of a vCPU
 * @vma: the mapping
 *
 * Context: Under mmap_lock, held for write.
 */
void kvm_dirty_ring_pool_mmap(struct vm_area_struct *vma)
{
	struct kvm_vcpu *vcpu = vma->vm_file->private_data;

	if (!vcpu->kvm->dirty_ring_pool)
		return;

	/* It must not grow into a ring either, or out of one. */
	vm_flags_set(vma, VM_DONTEXPAND);
	kvm_dirty_ring_pool_vma_open(vma);
}

/**
 * kvm_dirty_ring_pool_mark - mark a page of a VM with a pool dirty
 * @kvm: the VM
 * @memslot: the page's slot, NULL if there is none
 * @gfn: the page
 *
 * The running vCPU may belong to another VM, or there may be none; then the mark is
 * that of the VM itself.
 *
 * Context: Any but NMI; under mmu_lock or the run queue's lock as a rule.
 */
void kvm_dirty_ring_pool_mark(struct kvm *kvm,
			      const struct kvm_memory_slot *memslot, gfn_t gfn)
{
	struct kvm_dirty_pool *pool = &kvm->dirty_ring_pool->pool;
	struct kvm_dirty_pool_user *user = &pool->vm_user;
	unsigned int flags = 0;

	if (!memslot || !kvm_slot_dirty_track_enabled(memslot))
		return;

	if (unlikely(in_interrupt())) {
		flags = KVM_DIRTY_POOL_NOWAIT;
	} else {
		struct kvm_vcpu *vcpu = kvm_get_running_vcpu();

		if (vcpu && vcpu->kvm == kvm)
			user = &vcpu->dirty_pool_user;
	}

	kvm_dirty_pool_mark(pool, user, memslot->as_id << 16 | memslot->id,
			    gfn - memslot->base_gfn, 1, flags);
}

/**
 * kvm_dirty_ring_pool_mark_gpas - mark pages from the dirty log of a CPU
 * @vcpu: the vCPU, loaded, of a VM with a pool
 * @gpas: the guest physical addresses
 * @nr: number of @gpas
 *
 * Claims a ring once for up to KVM_DIRTY_POOL_BATCH pages.
 *
 * Context: The vCPU's thread, under kvm->srcu.
 */
void kvm_dirty_ring_pool_mark_gpas(struct kvm_vcpu *vcpu, const u64 *gpas,
				   u32 nr)
{
	struct kvm_dirty_pool *pool = &vcpu->kvm->dirty_ring_pool->pool;
	struct kvm_dirty_pool_user *user = &vcpu->dirty_pool_user;
	struct kvm_dirty_pool_claim claim;
	bool claimed = false;
	u32 i;

	for (i = 0; i < nr; i++) {
		gfn_t gfn = gpa_to_gfn(gpas[i]);
		struct kvm_memory_slot *memslot;
		u64 offset;
		u32 slot;

		memslot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);
		if (!memslot || !kvm_slot_dirty_track_enabled(memslot))
			continue;

		/*
		 * Claim only when there is a page to push: a reserve claim stops
		 * the vCPU even if nothing is pushed.
		 */
		if (!claimed) {
			preempt_disable();
			claimed = kvm_dirty_pool_claim(pool, user, 0, &claim);
		}
		slot = memslot->as_id << 16 | memslot->id;
		offset = gfn - memslot->base_gfn;
		if (!claimed) {
			preempt_enable();
			/* Counts as lost, unless there is room by now. */
			kvm_dirty_pool_mark(pool, user, slot, offset, 1, 0);
			continue;
		}

		kvm_dirty_pool_push(&claim, slot, offset);
		if (!claim.room) {
			kvm_dirty_pool_return(pool, user, &claim);
			preempt_enable();
			claimed = false;
		}
	}

	if (claimed) {
		kvm_dirty_pool_return(pool, user, &claim);
		preempt_enable();
	}
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_pool_mark_gpas);

/**
 * kvm_dirty_ring_pool_stop - test whether a loop that marks pages has to end early
 * @vcpu: the vCPU, loaded
 *
 * For loops that can mark any number of pages in one stay.  Such a loop ends when it
 * used a reserve, and is resumed after the rings were drained.
 *
 * Context: The vCPU's thread.
 * Return: true if the vCPU may not enter the guest now.
 */
bool kvm_dirty_ring_pool_stop(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_ring_pool *vm = vcpu->kvm->dirty_ring_pool;

	return vm && kvm_dirty_pool_gate(&vm->pool, &vcpu->dirty_pool_user);
}
EXPORT_SYMBOL_GPL(kvm_dirty_ring_pool_stop);

/**
 * kvm_dirty_ring_pool_check_request - test whether a vCPU has to exit to userspace
 * @vcpu: the vCPU, about to enter the guest
 *
 * Context: The vCPU's thread.
 * Return: true if it has to; kvm_run is filled in then.
 */
bool kvm_dirty_ring_pool_check_request(struct kvm_vcpu *vcpu)
{
	struct kvm_dirty_pool *pool = &vcpu->kvm->dirty_ring_pool->pool;
	struct kvm_dirty_pool_user *user = &vcpu->dirty_pool_user;
	u32 ring = 0, flags = 0, exit_ring;

	/* Acquire: orders the request before exit_ring; see pool_vm_notify(). */
	if (!kvm_check_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu))
		return false;

	exit_ring = xchg(&user->exit_ring, 0);
	if (exit_ring && atomic_read(&pool->rings[exit_ring - 1]->word) &
			 KVM_DIRTY_POOL_PARKED) {
		ring = exit_ring - 1;
		flags |= KVM_DIRTY_RING_POOL_PARKED;
	}

	if (kvm_dirty_pool_gate(pool, user)) {
		/* Check again on each entry, until the gate opens. */
		kvm_make_request(KVM_REQ_DIRTY_RING_SOFT_FULL, vcpu);
		flags |= KVM_DIRTY_RING_POOL_EXHAUSTED;
	}

	if (kvm_dirty_pool_report_overflow(pool, flags))
		flags |= KVM_DIRTY_RING_POOL_OVERFLOW;

	if (!flags)
		return false;

	if (!(flags & KVM_DIRTY_RING_POOL_PARKED))
		ring = user->last->index;

	vcpu->run->exit_reason = KVM_EXIT_DIRTY_RING_FULL;
	vcpu->run->dirty_ring_pool.ring = ring;
	vcpu->run->dirty_ring_pool.flags = flags;
	trace_kvm_dirty_ring_exit(vcpu);
	return true;
}

/**
 * kvm_dirty_ring_pool_reset_all - KVM_RESET_DIRTY_RINGS
 * @kvm: the VM
 *
 * Context: Process context, may sleep. Other threads may reset rings concurrently.
 * Return: the number of entries reset, or -EINTR for a fatal signal.
 */
int kvm_dirty_ring_pool_reset_all(struct kvm *kvm)
{
	struct kvm_dirty_pool *pool = &kvm->dirty_ring_pool->pool;
	u32 count = 0;

	return kvm_dirty_pool_reset(pool, 0, kvm_dirty_pool_nr_rings(pool),
				    &count) ?: count;
}

static int pool_vm_reset_one(struct kvm_dirty_ring_pool *vm, unsigned long ring)
{
	u32 nr = kvm_dirty_pool_nr_rings(&vm->pool);
	u32 count = 0;

	if (ring >= nr)
		return -EINVAL;

	ring = array_index_nospec(ring, nr);
	return kvm_dirty_pool_reset(&vm->pool, ring, ring + 1, &count) ?: count;
}

static int pool_vm_set_policy(struct kvm_dirty_ring_pool *vm, void __user *argp)
{
	struct kvm_dirty_ring_policy policy;

	if (copy_from_user(&policy, argp, sizeof(policy)))
		return -EFAULT;
	if (strnlen(policy.name, sizeof(policy.name)) == sizeof(policy.name))
		return -EINVAL;

	return kvm_dirty_pool_set_policy(&vm->pool, policy.name);
}

static int pool_vm_get_policy(struct kvm_dirty_ring_pool *vm, void __user *argp)
{
	struct kvm_dirty_ring_policy policy;

	kvm_dirty_pool_get_policy(&vm->pool, policy.name);
	return copy_to_user(argp, &policy, sizeof(policy)) ? -EFAULT : 0;
}

static int pool_vm_set_eventfd(struct kvm_dirty_ring_pool *vm, void __user *argp)
{
	struct kvm_dirty_ring_pool_eventfd args;
	struct eventfd_ctx *new = NULL, *old;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags)
		return -EINVAL;

	if (args.fd != -1) {
		new = eventfd_ctx_fdget(args.fd);
		if (IS_ERR(new))
			return PTR_ERR(new);
	}

	mutex_lock(&vm->kvm->lock);
	old = rcu_replace_pointer(vm->eventfd, new,
				  lockdep_is_held(&vm->kvm->lock));
	mutex_unlock(&vm->kvm->lock);

	if (old) {
		/* Pairs with the read side in pool_vm_work(). */
		synchronize_rcu();
		eventfd_ctx_put(old);
	}
	return 0;
}

/* Mark as many pages for KVM_MARK_DIRTY as one SRCU read section should take. */
static int pool_vm_mark_some(struct kvm_dirty_ring_pool *vm,
			     struct kvm_mark_dirty *args)
{
	struct kvm_memory_slot *memslot;
	u64 nr, marked;

	memslot = pool_vm_memslot(vm->kvm, args->slot);
	if (IS_ERR(memslot))
		return PTR_ERR(memslot);
	if (args->first_page >= memslot->npages ||
	    args->num_pages > memslot->npages - args->first_page)
		return -EINVAL;
	if (!kvm_slot_dirty_track_enabled(memslot))
		return 0;

	nr = min_t(u64, args->num_pages - args->marked,
		   16 * KVM_DIRTY_POOL_BATCH);
	marked = kvm_dirty_pool_mark(&vm->pool, &vm->pool.vm_user, args->slot,
				     args->first_page + args->marked, nr,
				     KVM_DIRTY_POOL_NORESERVE);
	args->marked += marked;
	if (marked < nr) {
		/* No ring may have been parked, so ask for a drain here. */
		irq_work_queue(&vm->work);
		return -EAGAIN;
	}
	return args->marked < args->num_pages;
}

static int pool_vm_mark_dirty(struct kvm_dirty_ring_pool *vm,
			      struct kvm_mark_dirty __user *argp)
{
	struct kvm_mark_dirty args;
	int idx, ret;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags || !args.num_pages)
		return -EINVAL;

	args.marked = 0;
	do {
		if (signal_pending(current)) {
			ret = -EINTR;
			break;
		}
		cond_resched();
		/* A new read section each time: updates of memslots wait for it. */
		idx = srcu_read_lock(&vm->kvm->srcu);
		ret = pool_vm_mark_some(vm, &args);
		srcu_read_unlock(&vm->kvm->srcu, idx);
	} while (ret > 0);

	if (put_user(args.marked, &argp->marked))
		return -EFAULT;
	/* Fits: a memslot has less than 2^31 pages. */
	return ret ? ret : args.marked;
}

/* The sum of a counter of all rings; @offset is in struct kvm_dirty_pool_ring. */
static u64 pool_vm_sum(struct kvm_dirty_pool *pool, size_t offset)
{
	u32 nr = kvm_dirty_pool_nr_rings(pool);
	u64 sum = 0;
	u32 i;

	for (i = 0; i < nr; i++)
		/* Races with pool_count(). */
		sum += data_race(READ_ONCE(*(u64 *)((void *)pool->rings[i] + offset)));

	return sum;
}

#define pool_sum(pool, counter)	\
	pool_vm_sum(pool, offsetof(struct kvm_dirty_pool_ring, counter))

/* The value of a counter; @offset is in struct kvm_dirty_ring_pool_state. */
static u64 pool_vm_counter(struct kvm_dirty_pool *pool, size_t offset)
{
	switch (offset) {
	case offsetof(struct kvm_dirty_ring_pool_state, claims):
		return pool_sum(pool, claims);
	case offsetof(struct kvm_dirty_ring_pool_state, claim_retries):
		return pool_sum(pool, retries);
	case offsetof(struct kvm_dirty_ring_pool_state, reserve_claims):
		return pool_sum(pool, reserve_claims);
	case offsetof(struct kvm_dirty_ring_pool_state, parks):
		return pool_sum(pool, parks);
	case offsetof(struct kvm_dirty_ring_pool_state, drains):
		return pool_sum(pool, drains);
	case offsetof(struct kvm_dirty_ring_pool_state, exhaustions):
		return atomic64_read(&pool->exhaustions);
	case offsetof(struct kvm_dirty_ring_pool_state, overflows):
		return atomic64_read(&pool->overflows);
	case offsetof(struct kvm_dirty_ring_pool_state, pushed):
		return pool_sum(pool, pushed);
	case offsetof(struct kvm_dirty_ring_pool_state, moves):
		return pool_sum(pool, moves);
	}
	return 0;
}

#define POOL_FIRST_COUNTER	offsetof(struct kvm_dirty_ring_pool_state, claims)
#define POOL_END_COUNTERS	offsetof(struct kvm_dirty_ring_pool_state, reserved)

/* The VM's statistics have the same counters in the same order. */
#define POOL_FIRST_STAT		offsetof(struct kvm_vm_stat, generic.dirty_pool_claims)
#define POOL_END_STATS		(POOL_FIRST_STAT + POOL_END_COUNTERS -	\
				 POOL_FIRST_COUNTER)

static_assert(offsetofend(struct kvm_vm_stat, generic.dirty_pool_moves) ==
	      POOL_END_STATS);

static void pool_vm_count(struct kvm_dirty_pool *pool,
			  struct kvm_dirty_ring_pool_state *state)
{
	u32 i;

	for (i = POOL_FIRST_COUNTER; i < POOL_END_COUNTERS; i += sizeof(u64))
		*(u64 *)((void *)state + i) = pool_vm_counter(pool, i);

	state->nr_rings = kvm_dirty_pool_nr_rings(pool);
	for (i = 0; i < state->nr_rings; i++) {
		if (atomic_read(&pool->rings[i]->word) & KVM_DIRTY_POOL_PARKED)
			state->status |= KVM_DIRTY_RING_POOL_PARKED;
	}
}

static int pool_vm_get_rings(struct kvm_dirty_pool *pool, u32 nr,
			     struct kvm_dirty_ring_state __user *argp)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		struct kvm_dirty_pool_ring *ring = pool->rings[i];
		struct kvm_dirty_ring_state state = {
			.vcpu_id = ring_to_vcpu(ring)->vcpu_id,
			.state = atomic_read(&ring->word),
			.used = kvm_dirty_pool_used(ring),
			.soft_limit = ring->soft_limit,
			/* Races with pool_count(). */
			.claims = data_race(READ_ONCE(ring->claims)),
			/* Races with pool_count(). */
			.pushed = data_race(READ_ONCE(ring->pushed)),
		};

		if (copy_to_user(argp + i, &state, sizeof(state)))
			return -EFAULT;
	}
	return 0;
}

static int pool_vm_get_state(struct kvm_dirty_ring_pool *vm,
			     struct kvm_dirty_ring_pool_state __user *argp)
{
	struct kvm_dirty_pool *pool = &vm->pool;
	struct kvm_dirty_ring_pool_state args, state = {};
	int ret;

	if (copy_from_user(&args, argp, sizeof(args)))
		return -EFAULT;
	if (args.flags & ~KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW ||
	    memchr_inv(args.reserved, 0, sizeof(args.reserved)))
		return -EINVAL;

	pool_vm_count(pool, &state);
	state.flags = args.flags;
	state.rings = args.rings;
	state.cap_flags = vm->cap_flags;
	if (kvm_dirty_pool_exhausted(pool))
		state.status |= KVM_DIRTY_RING_POOL_EXHAUSTED;
	if (atomic_read(&pool->overflow))
		state.status |= KVM_DIRTY_RING_POOL_OVERFLOW;

	ret = pool_vm_get_rings(pool, min(args.nr_rings, state.nr_rings),
				u64_to_user_ptr(args.rings));
	if (ret)
		return ret;
	if (copy_to_user(argp, &state, sizeof(state)))
		return -EFAULT;

	/* After userspace was told; the next OVERFLOW is reported anew. */
	if ((args.flags & KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW) &&
	    state.status & KVM_DIRTY_RING_POOL_OVERFLOW)
		atomic_xchg(&pool->overflow, 0);
	return 0;
}

/**
 * kvm_dirty_ring_pool_ioctl - the VM ioctls of the pool
 * @kvm: the VM
 * @ioctl: one of them
 * @arg: its argument
 *
 * Context: Process context, may sleep.
 * Return: as in Documentation/virt/kvm/dirty-ring-pool.rst; -EINVAL if the VM has no
 * pool.
 */
int kvm_dirty_ring_pool_ioctl(struct kvm *kvm, unsigned int ioctl,
			      unsigned long arg)
{
	/* Pairs with the release in kvm_dirty_ring_pool_create(). */
	struct kvm_dirty_ring_pool *vm = smp_load_acquire(&kvm->dirty_ring_pool);
	void __user *argp = (void __user *)arg;

	if (!vm)
		return -EINVAL;

	switch (ioctl) {
	case KVM_RESET_DIRTY_RING:
		return pool_vm_reset_one(vm, arg);
	case KVM_SET_DIRTY_RING_POLICY:
		return pool_vm_set_policy(vm, argp);
	case KVM_GET_DIRTY_RING_POLICY:
		return pool_vm_get_policy(vm, argp);
	case KVM_DIRTY_RING_POOL_EVENTFD:
		return pool_vm_set_eventfd(vm, argp);
	case KVM_MARK_DIRTY:
		return pool_vm_mark_dirty(vm, argp);
	case KVM_GET_DIRTY_RING_POOL_STATE:
		return pool_vm_get_state(vm, argp);
	}
	return -ENOTTY;
}

/**
 * kvm_dirty_ring_pool_stat - get one of the VM's statistics
 * @kvm: the VM
 * @offset: of the statistic in struct kvm_vm_stat
 * @val: set if the statistic is the pool's, else left as it is
 *
 * Rings have counters of their own, which are summed up here, when they are read.
 *
 * Context: Any but NMI.
 */
void kvm_dirty_ring_pool_stat(struct kvm *kvm, size_t offset, u64 *val)
{
	/* Pairs with the release in kvm_dirty_ring_pool_create(). */
	struct kvm_dirty_ring_pool *vm = smp_load_acquire(&kvm->dirty_ring_pool);

	if (vm && offset >= POOL_FIRST_STAT && offset < POOL_END_STATS)
		*val = pool_vm_counter(&vm->pool, offset - POOL_FIRST_STAT +
					     POOL_FIRST_COUNTER);
}

/**
 * kvm_dirty_ring_pool_stats - get all of the VM's statistics that are the pool's
 * @kvm: the VM
 * @stat: a copy of kvm->stat, in which they are set
 *
 * Context: Any but NMI.
 */
void kvm_dirty_ring_pool_stats(struct kvm *kvm, struct kvm_vm_stat *stat)
{
	size_t offset;

	for (offset = POOL_FIRST_STAT; offset < POOL_END_STATS;
	     offset += sizeof(u64))
		kvm_dirty_ring_pool_stat(kvm, offset, (void *)stat + offset);
}
