// SPDX-License-Identifier: GPL-2.0
/* Resets: which pages they protect, when they flush, what userspace can do. */
#include <errno.h>
#include <linux/sched/signal.h>
#include "unit.h"

static unsigned long long prot_sum;

static void sum_protect(struct vm *v, u32 slot, u64 offset)
{
	prot_sum += (slot + 1) * 1000003ull ^ offset;
}

void test_reset_runs(void)
{
	static const u64 offsets[] = {
		0, 1, 2, 63, 64, 62, 61, 200, 199, 198, 137, 136, 500, 10, 500,
		~0ull, ~0ull - 1, 0, 1000, 1064, 1000, 937, 936, 1000, 5000,
	};
	unsigned long long want = 0;
	bool dup;
	u32 i, k;

	/* each page is protected, and no other, whether joined into a run or not */
	vm_init(&vm, 1, 1, 128, 4, NULL, 0);
	vm.on_protect = sum_protect;
	prot_sum = 0;
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		vm_mark(&vm, 0, 3, offsets[i], 1, 0);
		prot_sum = 0;
		want = 4 * 1000003ull ^ offsets[i];
		EQUAL(vm_drain(&vm, 0), 1);
		CHECK(prot_sum == want);
	}
	want = 0;
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		vm_mark(&vm, 0, 3 + i / 13, offsets[i], 1, 0);
		for (k = 0, dup = false; k < i; k++)
			dup |= offsets[k] == offsets[i] && k / 13 == i / 13;
		/* a page that comes twice is protected once */
		if (!dup)
			want += (4 + i / 13) * 1000003ull ^ offsets[i];
	}
	prot_sum = 0;
	EQUAL(vm_drain(&vm, 0), ARRAY_SIZE(offsets));
	CHECK(prot_sum == want);
	/* pages far apart: more runs than one call takes */
	vm.protected = 0;
	vm.protects = 0;
	for (i = 0; i < 99; i++)
		vm_mark(&vm, 0, i & 1, 1000 * i, 1, 0);
	EQUAL(vm_drain(&vm, 0), 99);
	EQUAL(vm.protected, 99);
	CHECK(vm.protects >= 2);
	/* neighbours are one run */
	vm.protects = 0;
	for (i = 0; i < 32; i++)
		vm_mark(&vm, 0, 0, i, 1, 0);
	EQUAL(vm_drain(&vm, 0), 32);
	EQUAL(vm.protects, 1);
	vm_exit(&vm);
}

static struct kvm_dirty_pool_run runs_seen[64];
static u32 nr_runs_seen;

static void keep_run(struct vm *v, const struct kvm_dirty_pool_run *run)
{
	CHECK(nr_runs_seen < ARRAY_SIZE(runs_seen));
	runs_seen[nr_runs_seen++] = *run;
}

void test_reset_merge(void)
{
	static const struct {
		u32 slot;
		u64 offset;
	} entries[] = {
		/* two interleaved scans, one downwards, with pages that come twice */
		{ 1, 70 }, { 1, 4099 }, { 1, 71 }, { 1, 4098 }, { 1, 127 },
		{ 1, 4096 }, { 1, 70 }, { 1, 4099 }, { 1, 71 }, { 1, 4098 },
		/* the first and the last page of a run, and their neighbours */
		{ 1, 64 }, { 1, 4160 }, { 1, 63 },
		/* the same offset in another slot and in another address space */
		{ 2, 70 }, { 1, 68 }, { 0x10001, 70 }, { 2, 71 },
		/* far away, but in the same place of the hash */
		{ 1, 70 + (1ull << 40) }, { 1, 69 },
		/* on both sides of the wrap at 2^64 */
		{ 1, ~0ull }, { 3, ~0ull - 63 }, { 3, 5 }, { 3, ~0ull },
	};
	static const struct kvm_dirty_pool_run want[] = {
		{ 1, 64, 1ull << 63 | 0xc1 },
		{ 1, 4096, 0xd },
		{ 1, 4160, 0x1 },
		{ 1, 0, 1ull << 63 },
		{ 2, 64, 0x40 },
		{ 1, 64, 0x10 },
		{ 0x10001, 64, 0x40 },
		{ 2, 64, 0x80 },
		{ 1, 64 + (1ull << 40), 0x40 },
		{ 1, 64, 0x20 },
		{ 1, ~0ull - 63, 1ull << 63 },
		{ 3, ~0ull - 63, 1ull << 63 | 0x1 },
		{ 3, 0, 0x20 },
	};
	u32 i;

	vm_init(&vm, 1, 1, 64, 4, NULL, 0);
	for (i = 0; i < ARRAY_SIZE(entries); i++)
		vm_mark(&vm, 0, entries[i].slot, entries[i].offset, 1, 0);
	vm.on_run = keep_run;
	nr_runs_seen = 0;
	EQUAL(vm_drain(&vm, 0), ARRAY_SIZE(entries));
	EQUAL(vm.protects, 1);
	EQUAL(nr_runs_seen, ARRAY_SIZE(want));
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		EQUAL(runs_seen[i].slot, want[i].slot);
		CHECK(runs_seen[i].offset == want[i].offset);
		CHECK(runs_seen[i].mask == want[i].mask);
	}
	vm_exit(&vm);
}

#define ANY_PAGES	124

static struct kvm_dirty_gfn pages_seen[ANY_PAGES * BITS_PER_LONG];
static u32 nr_pages_seen;

static void keep_page(struct vm *v, u32 slot, u64 offset)
{
	CHECK(nr_pages_seen < ARRAY_SIZE(pages_seen));
	pages_seen[nr_pages_seen++] = (struct kvm_dirty_gfn) {
		.slot = slot, .offset = offset,
	};
}

static bool has_page(const struct kvm_dirty_gfn *pages, u32 nr,
		     const struct kvm_dirty_gfn *page)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		if (pages[i].slot == page->slot && pages[i].offset == page->offset)
			return true;
	}
	return false;
}

/* Any entries that userspace writes: a reset protects exactly those pages. */
void test_reset_any(void)
{
	struct kvm_dirty_gfn any[ANY_PAGES];
	u32 round, i;

	vm_init(&vm, 1, 1, 128, 4, NULL, 0);
	vm.on_protect = keep_page;
	srandom(1);
	for (round = 0; round < 500; round++) {
		/* From close neighbours to the whole range of offsets */
		u64 reach = ~0ull >> (random() % 62);
		u64 base = random() % 3 * (~0ull / 2 - 40);

		for (i = 0; i < ANY_PAGES; i++) {
			u64 r = (u64)random() << 40 ^ (u64)random() << 20 ^ random();

			any[i].slot = random() % 3 << 15;
			any[i].offset = base + r % reach - reach / 2;
			vm_mark(&vm, 0, any[i].slot, any[i].offset, 1, 0);
		}
		nr_pages_seen = 0;
		EQUAL(vm_drain(&vm, 0), ANY_PAGES);
		for (i = 0; i < ANY_PAGES; i++)
			CHECK(has_page(pages_seen, nr_pages_seen, &any[i]));
		for (i = 0; i < nr_pages_seen; i++)
			CHECK(has_page(any, ANY_PAGES, &pages_seen[i]));
	}
	vm_exit(&vm);
}

void test_reset_signal(void)
{
	u32 count = 0;
	unsigned long flushes;

	vm_init(&vm, 1, 1, 16, 4, NULL, 0);
	vm_mark(&vm, 0, 0, 0, 12, 0);
	vm_harvest(&vm, 0, 12, NULL, NULL);
	flushes = vm.flushes;
	shim_signal_after = 6;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 1, &count), -EINTR);
	EQUAL(count, 5);
	/* the entries that were taken are protected and flushed */
	EQUAL(vm.protected, 5);
	EQUAL(vm.flushes, flushes + 1);
	EQUAL(vm_word(&vm, 0), PARKED);
	shim_signal_after = 0;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 1, &count), 0);
	EQUAL(count, 12);
	EQUAL(vm.flushes, flushes + 2);
	EQUAL(vm_word(&vm, 0), FREE);
	vm_exit(&vm);
}

/* A reset flushes what another thread's reset took and did not flush yet. */
void test_flush(void)
{
	unsigned long flushes;

	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	/* a ring that joins counts as a reset */
	EQUAL(vm_reset(&vm, 0), 0);
	flushes = vm.flushes;
	EQUAL(vm_reset(&vm, 0), 0);
	vm_mark(&vm, 0, 0, 0, 5, 0);
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.flushes, flushes);
	EQUAL(vm_drain(&vm, 0), 5);
	EQUAL(vm.flushes, flushes + 1);
	/* another thread took the entries: only the flush is left */
	atomic_inc(&vm.pool.resets);
	EQUAL(vm_reset(&vm, 0), 0);
	EQUAL(vm.flushes, flushes + 2);
	EQUAL(vm_reset(&vm, 1), 0);
	EQUAL(vm.flushes, flushes + 2);
	/* the count of resets wraps */
	atomic_set(&vm.pool.resets, 0x7fffffff);
	atomic_set(&vm.pool.flushed, 0x7fffffff);
	vm_mark(&vm, 0, 0, 0, 5, 0);
	EQUAL(vm_drain(&vm, 0), 5);
	EQUAL(vm.flushes, flushes + 3);
	vm_exit(&vm);
}

void test_reset_hostile(void)
{
	static const u32 flags[] = { 0, 1, 2, 3, 4, 0xfffffffe, 0xffffffff };
	u32 seed = 1, round, i, f;

	/* every entry looks harvested, but none was pushed */
	vm_init(&vm, 2, 2, 16, 4, NULL, -5);
	for (f = 0; f < ARRAY_SIZE(flags); f++) {
		for (i = 0; i < 16; i++)
			vm.ring[0].gfns[i] = (struct kvm_dirty_gfn) {
				.flags = flags[f], .slot = -1, .offset = -1,
			};
		EQUAL(vm_reset(&vm, 0), 0);
		EQUAL(vm.ring[0].reset_index, -5u);
	}
	EQUAL(vm.protected, 0);
	/* more entries look harvested than were pushed */
	memset(vm.ring[0].gfns, 0, 16 * sizeof(struct kvm_dirty_gfn));
	vm_mark(&vm, 0, 0, 0, 3, 0);
	for (i = 0; i < 16; i++)
		vm.ring[0].gfns[i].flags = KVM_DIRTY_GFN_F_RESET;
	EQUAL(vm_reset(&vm, 0), 3);
	EQUAL(kvm_dirty_pool_used(&vm.ring[0]), 0);
	vm_exit(&vm);

	/* random writes at any time: indices stay sane, rings become FREE */
	for (round = 0; round < 2000; round++) {
		vm_init(&vm, 2, 2, 8, 2, policies[round % nr_policies], -3);
		for (i = 0; i < 30; i++) {
			u32 r = (seed = seed * 1103515245 + 12345) >> 16;
			u32 ring = r & 1;
			struct kvm_dirty_gfn *e = &vm.ring[ring].gfns[r >> 1 & 7];

			switch (r >> 4 & 3) {
			case 0:
				vm_mark(&vm, r >> 6 & 1, r, r, 1 + (r >> 7 & 3), 0);
				break;
			case 1:
				vm_reset(&vm, ring);
				break;
			default:
				e->flags = r >> 6 & 7;
				e->slot = seed;
				e->offset = seed * 7;
			}
			CHECK(kvm_dirty_pool_used(&vm.ring[0]) <= 8);
			CHECK(kvm_dirty_pool_used(&vm.ring[1]) <= 8);
		}
		for (i = 0; i < 2; i++) {
			for (f = 0; f < 8; f++)
				vm.ring[i].gfns[f].flags = KVM_DIRTY_GFN_F_RESET;
			vm_reset(&vm, i);
			EQUAL(kvm_dirty_pool_used(&vm.ring[i]), 0);
			EQUAL(vm_word(&vm, i), FREE);
		}
		EQUAL(vm.pool.nr_reserve.counter, 0);
		vm_exit(&vm);
	}
}

static void see_quiesces(struct vm *v, u32 slot, u64 offset)
{
	CHECK(vm.quiesces);
}

void test_reset_range(void)
{
	u32 count = 7, i;

	vm_init(&vm, 40, 40, 16, 4, NULL, 0);
	vm.on_protect = see_quiesces;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 40, &count), 0);
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 3, 3, &count), 0);
	EQUAL(count, 7);
	/* nothing was harvested: no wait for faults */
	EQUAL(vm.quiesces, 0);
	for (i = 0; i < 40; i++) {
		vm.user[0].last = &vm.ring[i];
		EQUAL(vm_mark(&vm, 0, i, 0, 3, 0), 3);
		EQUAL(vm_harvest(&vm, i, 3, NULL, NULL), 3);
	}
	/* the rings of the range, with one wait before the first walk */
	vm.flushes = 0;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 2, 5, &count), 0);
	EQUAL(count, 7 + 9);
	EQUAL(vm.quiesces, 1);
	EQUAL(vm.flushes, 1);
	for (i = 0; i < 40; i++)
		EQUAL(kvm_dirty_pool_used(&vm.ring[i]), i >= 2 && i < 5 ? 0 : 3);
	/* the empty rings cause no wait, the next one does */
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 3, 6, &count), 0);
	EQUAL(count, 7 + 12);
	EQUAL(vm.quiesces, 2);
	/* one wait serves a limited number of rings */
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 40, &count), 0);
	EQUAL(count, 7 + 120);
	EQUAL(vm.quiesces, 4);
	EQUAL(vm.flushes, 3);
	EQUAL(vm.protected, 120);
	vm_exit(&vm);
}

void test_reset_range_signal(void)
{
	u32 count = 0, i;

	vm_init(&vm, 3, 3, 16, 4, NULL, 0);
	for (i = 0; i < 3; i++) {
		vm.user[0].last = &vm.ring[i];
		vm_mark(&vm, 0, i, 0, 3, 0);
		vm_harvest(&vm, i, 3, NULL, NULL);
	}
	vm.flushes = 0;
	/* a signal in the second ring: the third is left alone */
	shim_signal_after = 5;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 3, &count), -EINTR);
	shim_signal_after = 0;
	EQUAL(count, 4);
	EQUAL(vm.protected, 4);
	EQUAL(vm.flushes, 1);
	EQUAL(kvm_dirty_pool_used(&vm.ring[1]), 2);
	EQUAL(kvm_dirty_pool_used(&vm.ring[2]), 3);
	/* a signal that is not fatal ends nothing */
	shim_signal_harmless = true;
	shim_signal_after = 2;
	EQUAL(kvm_dirty_pool_reset(&vm.pool, 0, 3, &count), 0);
	shim_signal_harmless = false;
	shim_signal_after = 0;
	EQUAL(count, 9);
	EQUAL(vm.protected, 9);
	vm_exit(&vm);
}
