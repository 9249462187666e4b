// SPDX-License-Identifier: GPL-2.0
/*
 * Rivals that all vCPUs share: one ring under a spinlock, one ring with
 * lock-free reservation of entries, and the bitmap.
 */
#include <sched.h>
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/kvm.h>
#include <linux/slab.h>
#include "rival.h"

struct vm_ring {
	struct bench_tracker tracker;
	u32 size;
	u32 soft_limit;
	struct kvm_dirty_gfn *gfns;
	unsigned long *bitmap;
	u32 fetch;

	atomic_t lock ____cacheline_aligned_in_smp;
	atomic_t index;

	u32 reset_index ____cacheline_aligned_in_smp;
};

static void *vm_create(const struct bench_rival *rival, u32 nr, u32 entries)
{
	struct vm_ring *vm = bench_alloc(sizeof(*vm));

	vm->tracker.nr = nr;
	if (rival == &bench_bitmap) {
		vm->bitmap = bitmap_zalloc(BENCH_PAGES, 0);
		return vm;
	}
	vm->size = nr * entries;
	vm->soft_limit = nr * (entries - bench_rsvd());
	vm->gfns = bench_alloc((size_t)vm->size * sizeof(*vm->gfns));
	return vm;
}

static void vm_destroy(void *tracker)
{
	struct vm_ring *vm = tracker;

	kfree(vm->gfns);
	bitmap_free(vm->bitmap);
	kfree(vm);
}

static __always_inline void vm_write(struct vm_ring *vm, u32 at, u64 page)
{
	struct kvm_dirty_gfn *gfn = &vm->gfns[at & (vm->size - 1)];

	WRITE_ONCE(gfn->slot, BENCH_SLOT);
	WRITE_ONCE(gfn->offset, page);
	/* Pairs with the acquire in vm_harvest(). */
	smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_DIRTY);
}

static __always_inline bool vm_soft_full(struct vm_ring *vm)
{
	return (u32)atomic_read(&vm->index) - READ_ONCE(vm->reset_index) >=
		vm->soft_limit;
}

/*
 * As in the kernel, the fast path is one compare-and-swap.  Waiters take the lock
 * in no order instead of queueing: a queue of preempted threads would make this
 * rival look worse than it is.
 */
static noinline void vm_push_locked(struct vm_ring *vm, const u64 *page, u32 nr)
{
	int old = 0;
	u32 at, i;

	while (!atomic_try_cmpxchg_acquire(&vm->lock, &old, 1)) {
		while (atomic_read(&vm->lock))
			cpu_relax();
		old = 0;
	}
	at = atomic_read(&vm->index);
	for (i = 0; i < nr; i++)
		vm_write(vm, at + i, page[i]);
	atomic_set(&vm->index, at + nr);
	atomic_set_release(&vm->lock, 0);
}

static noinline void vm_push_lockfree(struct vm_ring *vm, const u64 *page,
				      u32 nr)
{
	u32 at, i;

	at = __atomic_fetch_add(&vm->index.counter, nr, __ATOMIC_RELAXED);
	for (i = 0; i < nr; i++)
		vm_write(vm, at + i, page[i]);
}

static u32 vm_run_locked(void *tracker, u32 who, const u64 *page, u32 nr,
			 u32 batch)
{
	struct vm_ring *vm = tracker;
	u32 done = 0;

	while (done < nr && !vm_soft_full(vm)) {
		u32 some = nr - done < batch ? nr - done : batch;

		vm_push_locked(vm, page + done, some);
		done += some;
	}
	return done;
}

static u32 vm_run_lockfree(void *tracker, u32 who, const u64 *page, u32 nr,
			   u32 batch)
{
	struct vm_ring *vm = tracker;
	u32 done = 0;

	while (done < nr && !vm_soft_full(vm)) {
		u32 some = nr - done < batch ? nr - done : batch;

		vm_push_lockfree(vm, page + done, some);
		done += some;
	}
	return done;
}

static bool vm_exit(void *tracker, u32 who)
{
	return vm_soft_full(tracker);
}

/* An entry below the index may not be published yet: wait for it. */
static void vm_harvest(void *tracker, struct bench_harvest *harvest)
{
	struct vm_ring *vm = tracker;
	u32 end = atomic_read(&vm->index);
	u32 found = 0;

	while (vm->fetch != end) {
		struct kvm_dirty_gfn *gfn = &vm->gfns[vm->fetch & (vm->size - 1)];

		/* Pairs with the release in vm_write(). */
		while (!(smp_load_acquire(&gfn->flags) & KVM_DIRTY_GFN_F_DIRTY))
			sched_yield();
		/* Only the reset reads it from here on: there is no pair. */
		smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
		vm->fetch++;
		found++;
	}
	harvest->total += found;
	if (found > harvest->longest)
		harvest->longest = found;
}

static void vm_reset(void *tracker)
{
	struct vm_ring *vm = tracker;
	u32 index;

	for (index = vm->reset_index; index != vm->fetch; index++)
		WRITE_ONCE(vm->gfns[index & (vm->size - 1)].flags, 0);
	/* Pairs with the control dependency on vm_soft_full(). */
	smp_store_release(&vm->reset_index, index);
}

static noinline void bitmap_mark(struct vm_ring *vm, u64 page)
{
	set_bit(page, vm->bitmap);
}

static u32 bitmap_run(void *tracker, u32 who, const u64 *page, u32 nr,
		      u32 batch)
{
	u32 done;

	for (done = 0; done < nr; done++)
		bitmap_mark(tracker, page[done]);
	return done;
}

static bool bitmap_never(void *tracker, u32 who)
{
	return false;
}

static void bitmap_harvest(void *tracker, struct bench_harvest *harvest)
{
	struct vm_ring *vm = tracker;
	u32 i;

	for (i = 0; i < BITS_TO_LONGS(BENCH_PAGES); i++) {
		unsigned long word = READ_ONCE(vm->bitmap[i]);

		if (!word)
			continue;
		word = __atomic_exchange_n(&vm->bitmap[i], 0, __ATOMIC_SEQ_CST);
		harvest->total += __builtin_popcountl(word);
	}
}

static void bitmap_reset(void *tracker)
{
}

const struct bench_rival bench_vm_spinlock = {
	.name		= "vm-spinlock",
	.create		= vm_create,
	.destroy	= vm_destroy,
	.run		= vm_run_locked,
	.exit		= vm_exit,
	.gate		= vm_exit,
	.harvest	= vm_harvest,
	.reset		= vm_reset,
};

const struct bench_rival bench_vm_lockfree = {
	.name		= "vm-lockfree",
	.create		= vm_create,
	.destroy	= vm_destroy,
	.run		= vm_run_lockfree,
	.exit		= vm_exit,
	.gate		= vm_exit,
	.harvest	= vm_harvest,
	.reset		= vm_reset,
};

const struct bench_rival bench_bitmap = {
	.name		= "bitmap",
	.create		= vm_create,
	.destroy	= vm_destroy,
	.run		= bitmap_run,
	.exit		= bitmap_never,
	.gate		= bitmap_never,
	.harvest	= bitmap_harvest,
	.reset		= bitmap_reset,
};
