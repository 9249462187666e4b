// SPDX-License-Identifier: GPL-2.0
/*
 * For cbmc: whatever slots and offsets userspace writes to a ring, exactly the
 * pages of a run that are in an existing memslot get to the MMU.  run.sh takes the
 * code that validates them out of virt/kvm/dirty_ring_pool_kvm.c.
 */
#include <linux/kvm_dirty_ring_pool.h>

#undef KVM_DIRTY_POOL_RUNS
#define KVM_DIRTY_POOL_RUNS	2

#define ANY(type)	({ type any; any; })
#define ASSUME(x)	__CPROVER_assume(x)
#define CHECK(x)	__CPROVER_assert(x, #x)

/* As on x86: SMM is a second address space. */
#define KVM_USER_MEM_SLOTS	32764
#define ADDRESS_SPACES		2

/* Of any size. */
struct kvm_memory_slot {
	unsigned long npages;
};

struct kvm_memslots {
	struct kvm_memory_slot *slot;
};

struct kvm {
	u32 nr_as;
	struct kvm_memslots slots[ADDRESS_SPACES];
	int srcu;
};

struct kvm_dirty_ring_pool {
	struct kvm_dirty_pool pool;
	struct kvm *kvm;
};

static bool in_srcu;

static struct kvm_dirty_ring_pool *pool_to_vm(struct kvm_dirty_pool *pool)
{
	return (struct kvm_dirty_ring_pool *)pool;
}

static u32 kvm_arch_nr_memslot_as_ids(struct kvm *kvm)
{
	return kvm->nr_as;
}

static u32 array_index_nospec(u32 index, u32 nr)
{
	CHECK(index < nr);
	return index;
}

static struct kvm_memslots *__kvm_memslots(struct kvm *kvm, int as_id)
{
	CHECK(in_srcu);
	return &kvm->slots[as_id];
}

static struct kvm_memory_slot *id_to_memslot(struct kvm_memslots *slots, int id)
{
	CHECK(id >= 0 && id < KVM_USER_MEM_SLOTS);
	return slots->slot;
}

static int srcu_read_lock(int *srcu)
{
	in_srcu = true;
	return 1;
}

static void srcu_read_unlock(int *srcu, int idx)
{
	in_srcu = false;
}

static u32 ranges_seen;

/* Any page of any run, and its memslot if it has one. */
static struct {
	const struct kvm_memory_slot *slot;
	u64 offset;
	u32 bit;
	bool seen;
} witness;

void kvm_arch_dirty_ring_pool_protect(struct kvm *kvm,
				      const struct kvm_dirty_ring_pool_range *ranges,
				      u32 nr)
{
	u32 i, bit = ANY(u32);

	CHECK(in_srcu);
	ranges_seen = nr;
	for (i = 0; i < nr; i++) {
		CHECK(ranges[i].mask);
		witness.seen |= ranges[i].memslot == witness.slot &&
				ranges[i].offset == witness.offset &&
				ranges[i].mask & BIT(witness.bit);
	}

	i = ANY(u32);
	ASSUME(i < nr && bit < BITS_PER_LONG && ranges[i].mask & BIT(bit));
	CHECK(ranges[i].memslot == kvm->slots[0].slot ||
	      ranges[i].memslot == kvm->slots[1].slot);
	CHECK(ranges[i].offset < ranges[i].memslot->npages);
	CHECK(bit < ranges[i].memslot->npages - ranges[i].offset);
}

#include <pool_vm_protect.c>

void proof_protect(void)
{
	struct kvm_dirty_pool_run runs[KVM_DIRTY_POOL_RUNS];
	struct kvm_memory_slot slot0, slot1;
	struct kvm kvm = { .slots = { { &slot0 }, { &slot1 } } };
	bool exists[ADDRESS_SPACES], in_slot;
	struct kvm_dirty_ring_pool vm = { .kvm = &kvm };
	u32 nr = ANY(u32), i, as_id;

	ASSUME(nr && nr <= KVM_DIRTY_POOL_RUNS);
	for (i = 0; i < KVM_DIRTY_POOL_RUNS; i++)
		ASSUME(runs[i].mask);	/* shown by proof_reset() */
	ASSUME(slot0.npages && slot1.npages);

	kvm.nr_as = ANY(u32);
	ASSUME(kvm.nr_as == 1 || kvm.nr_as == ADDRESS_SPACES);
	for (i = 0; i < ADDRESS_SPACES; i++) {
		if (!exists[i])
			kvm.slots[i].slot = NULL;
	}

	i = ANY(u32);
	witness.bit = ANY(u32);
	ASSUME(i < nr && witness.bit < BITS_PER_LONG &&
	       runs[i].mask & BIT(witness.bit));
	as_id = runs[i].slot >> 16;
	witness.offset = runs[i].offset;
	witness.slot = as_id < kvm.nr_as &&
		       (runs[i].slot & 0xffff) < KVM_USER_MEM_SLOTS ?
		       kvm.slots[as_id].slot : NULL;
	in_slot = witness.slot && witness.offset < witness.slot->npages &&
		  witness.bit < witness.slot->npages - witness.offset;

	pool_vm_protect(&vm.pool, runs, nr);

	CHECK(witness.seen == in_slot);
	CHECK(ranges_seen <= nr);
	CHECK(!in_srcu);
}
