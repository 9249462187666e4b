// SPDX-License-Identifier: GPL-2.0
/*
 * What no slot and no offset can do that userspace left in a ring: the code of
 * virt/kvm/dirty_ring_pool_kvm.c that validates them, taken out of that file by
 * proof.sh, for cbmc.  A run of pages gets to the MMU only if all of it is in
 * a memslot that exists.
 */
#include <linux/kvm_dirty_ring_pool.h>

#undef KVM_DIRTY_POOL_RUNS
#define KVM_DIRTY_POOL_RUNS	2

#define ANY(type)	({ type any; any; })
#define ASSUME(x)	__CPROVER_assume(x)
#define CHECK(x)	__CPROVER_assert(x, #x)

static bool maybe(void)
{
	bool any;

	return any;
}

/* As on x86, where SMM is a second address space. */
#define KVM_USER_MEM_SLOTS	32764
#define ADDRESS_SPACES		2

/* Of one page to the largest. */
struct kvm_memory_slot {
	unsigned long npages;
};

struct kvm_memslots {
	struct kvm_memory_slot *slot;
};

struct kvm {
	struct kvm_memslots slots[ADDRESS_SPACES];
	int srcu;
};

struct kvm_dirty_pool_vm {
	struct kvm_dirty_ring_pool pool;
	struct kvm *kvm;
};

static bool in_srcu;

static struct kvm_dirty_pool_vm *to_pool_vm(struct kvm_dirty_ring_pool *pool)
{
	return (struct kvm_dirty_pool_vm *)pool;
}

static u32 kvm_arch_nr_memslot_as_ids(struct kvm *kvm)
{
	return maybe() ? 1 : ADDRESS_SPACES;
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
	return maybe() ? slots->slot : NULL;
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

static unsigned long __fls(unsigned long word)
{
	CHECK(word);
	return BITS_PER_LONG - 1 - __builtin_clzl(word);
}

static u32 ranges_seen;

void kvm_arch_dirty_pool_protect(struct kvm *kvm,
				 const struct kvm_dirty_pool_range *ranges,
				 u32 nr)
{
	u32 i = ANY(u32), bit = ANY(u32);

	CHECK(in_srcu);
	ranges_seen = nr;
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
	struct kvm_dirty_pool_vm vm = { .kvm = &kvm };
	u32 nr = ANY(u32), i;

	ASSUME(nr && nr <= KVM_DIRTY_POOL_RUNS);
	for (i = 0; i < KVM_DIRTY_POOL_RUNS; i++)
		ASSUME(runs[i].mask & 1);	/* shown by proof_reset() */
	ASSUME(slot0.npages && slot1.npages);

	pool_vm_protect(&vm.pool, runs, nr);

	CHECK(ranges_seen <= nr);
	CHECK(!in_srcu);
}
