// SPDX-License-Identifier: GPL-2.0
/* What all rivals share, and who they are. */
#include <linux/atomic.h>
#include <linux/kvm.h>
#include "rival.h"

struct bench_rival bench_pool[BENCH_MAX_POLICIES];
struct bench_rival bench_pool_nostop[BENCH_MAX_POLICIES];
int bench_nr_policies;
int bench_main_policy;

/* Entries that the CPU's dirty log needs in addition to KVM's own reserve. */
u32 bench_pml;
unsigned long bench_warnings;

void rivals_add(struct bench_rivals *list, const struct bench_rival *rival)
{
	if (list->nr == BENCH_MAX_RIVALS)
		bench_die("too many rivals");
	list->of[list->nr++] = rival;
}

void rivals_add_pool(struct bench_rivals *list)
{
	int i;

	for (i = 0; i < bench_nr_policies; i++)
		rivals_add(list, &bench_pool[i]);
}

void rivals_add_nostop(struct bench_rivals *list)
{
	rivals_add(list, &bench_pool_nostop[bench_main_policy]);
}

void rivals_add_all(struct bench_rivals *list)
{
	rivals_add(list, &bench_per_vcpu);
	rivals_add(list, &bench_vm_spinlock);
	rivals_add(list, &bench_vm_lockfree);
	rivals_add(list, &bench_bitmap);
	rivals_add_pool(list);
}

void bench_pages(u64 *page, int nr, u64 seed)
{
	int i;

	for (i = 0; i < nr; i++)
		page[i] = bench_random(&seed) % BENCH_PAGES;
}

u32 bench_harvest_ring(struct kvm_dirty_gfn *gfns, u32 size, u32 *fetch,
		       struct bench_harvest *harvest)
{
	u32 found = 0;

	for (;;) {
		struct kvm_dirty_gfn *gfn = &gfns[*fetch & (size - 1)];

		/* Pairs with the release that publishes the entry. */
		if (smp_load_acquire(&gfn->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		/* Pairs with the acquire of the reset. */
		smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
		(*fetch)++;
		found++;
	}
	harvest->total += found;
	if (found > harvest->longest)
		harvest->longest = found;
	return found;
}

void bench_drain(const struct bench_rival *rival, void *tracker)
{
	struct bench_harvest harvest = { 0 };

	rival->harvest(tracker, &harvest);
	rival->reset(tracker);
}
