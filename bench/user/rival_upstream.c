// SPDX-License-Identifier: GPL-2.0
/*
 * A ring per vCPU: upstream's virt/kvm/dirty_ring.c.  Marks of the VM have no
 * ring there; they go to a bitmap of their own, as on arm64.
 */
#include <linux/bitmap.h>
#include <linux/kvm_host.h>
#include <linux/slab.h>
#include "rival.h"

struct upstream {
	struct bench_tracker tracker;
	struct kvm kvm;
	struct kvm_vcpu *vcpu;
	struct kvm_run run;
	u32 *fetch;
	unsigned long *backup;
};

int kvm_cpu_dirty_log_size(void)
{
	return bench_pml;
}

u32 bench_rsvd(void)
{
	return kvm_dirty_ring_get_rsvd_entries();
}

static void upstream_destroy(void *tracker)
{
	struct upstream *up = tracker;
	u32 i;

	for (i = 0; i < up->tracker.nr; i++)
		kvm_dirty_ring_free(&up->vcpu[i].dirty_ring);
	kfree(up->vcpu);
	kfree(up->fetch);
	bitmap_free(up->backup);
	kfree(up);
}

static void *upstream_create(const struct bench_rival *rival, u32 nr,
			     u32 entries)
{
	struct upstream *up = bench_alloc(sizeof(*up));
	u32 i;

	up->tracker.nr = nr;
	up->vcpu = bench_alloc(nr * sizeof(*up->vcpu));
	up->fetch = bench_alloc(nr * sizeof(*up->fetch));
	up->backup = bitmap_zalloc(BENCH_PAGES, 0);
	up->kvm.memslots.slot.npages = BENCH_PAGES;
	for (i = 0; i < nr; i++) {
		up->vcpu[i].kvm = &up->kvm;
		up->vcpu[i].run = &up->run;
		if (kvm_dirty_ring_alloc(&up->vcpu[i].dirty_ring, i,
					 entries * sizeof(struct kvm_dirty_gfn)))
			return NULL;
	}
	return up;
}

static u32 upstream_run(void *tracker, u32 who, const u64 *page, u32 nr,
			u32 batch)
{
	struct upstream *up = tracker;
	struct kvm_vcpu *vcpu = &up->vcpu[who];
	u32 done = 0;

	if (unlikely(who == BENCH_VM)) {
		for (; done < nr; done++)
			set_bit(page[done], up->backup);
		return done;
	}

	while (done < nr) {
		u32 end = nr - done < batch ? nr : done + batch;

		do {
			kvm_dirty_ring_push(vcpu, BENCH_SLOT, page[done]);
		} while (++done < end);
		if (unlikely(READ_ONCE(vcpu->requests)))
			break;
	}
	return done;
}

static bool upstream_exit(void *tracker, u32 who)
{
	struct upstream *up = tracker;

	return kvm_dirty_ring_check_request(&up->vcpu[who]);
}

static void upstream_harvest(void *tracker, struct bench_harvest *harvest)
{
	struct upstream *up = tracker;
	u32 i;

	for (i = 0; i < up->tracker.nr; i++)
		bench_harvest_ring(up->vcpu[i].dirty_ring.dirty_gfns,
				   up->vcpu[i].dirty_ring.size, &up->fetch[i],
				   harvest);
}

static void upstream_reset(void *tracker)
{
	struct upstream *up = tracker;
	u32 i;

	for (i = 0; i < up->tracker.nr; i++)
		kvm_dirty_ring_reset(&up->kvm, &up->vcpu[i].dirty_ring);
}

const struct bench_rival bench_per_vcpu = {
	.name		= "per-vcpu",
	.create		= upstream_create,
	.destroy	= upstream_destroy,
	.run		= upstream_run,
	.exit		= upstream_exit,
	.gate		= upstream_exit,
	.harvest	= upstream_harvest,
	.reset		= upstream_reset,
};
