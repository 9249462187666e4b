// SPDX-License-Identifier: GPL-2.0
/*
 * What a reset does to an SPTE while others change it: every sequence of their
 * steps, between any two accesses to the SPTE.  Compiles the kernel's own
 * arch/x86/kvm/mmu/dirty_ring_reset.c.  TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <kvm_mmu.h>

#define GFN	3
#define STEPS	5

enum step { NOTHING, CPU_READS, CPU_WRITES, FAST_FAULT, ZAP, ZAPPED, FAULT, NR_STEPS };

static const char * const step_names[] = {
	"nothing", "CPU reads", "CPU writes", "fast fault", "zap", "zapped", "fault",
};

static const u64 starts[] = {
	0,
	SPTE_FROZEN,
	SPTE_PRESENT,
	SPTE_PRESENT | PT_WRITABLE_MASK,
	SPTE_PRESENT | PT_WRITABLE_MASK | SPTE_ACCESSED,
	SPTE_PRESENT | PT_WRITABLE_MASK | SPTE_ACCESSED | shadow_dirty_mask,
};

struct kvm *the_kvm;
typeof(kvm_x86_ops) kvm_x86_ops;

static struct kvm_memory_slot slot = { .base_gfn = 1 };
static struct kvm_mmu_page root, other;
static struct kvm kvm;

static enum step plan[STEPS];
static int at, failed, tests, bad;
static unsigned long schedules;

/* Bits that others set and did not clear: a reset must not clear them. */
static u64 kept;
/* The bit that traps writes was set after the first access of the walk. */
static bool set_late;
static u64 trap_bit;

void shim_assert(bool ok, const char *what)
{
	if (!ok && !failed++)
		printf("# not held: %s\n", what);
}

/* Which calls of shim_asked() return true, and how often the walk gave way. */
static u64 answers;
static int asked, rests, rmaps_after, done_before;

bool shim_asked(int what)
{
	bool yes = answers >> asked & 1;

	if (asked < 63)
		asked++;
	return yes;
}

void shim_rest(void)
{
	shim_assert(!kvm.mmu_lock, "no rest with mmu_lock held");
	rests++;
	/* The first shadow page appears while the lock is free. */
	if (rmaps_after && rests == rmaps_after) {
		kvm.rmaps = true;
		done_before = kvm.pfns_dirty;
	}
}

static void do_step(u64 *p, enum step step)
{
	u64 was = *p;

	switch (step) {
	case CPU_READS:
		if (was & SPTE_PRESENT)
			*p |= SPTE_ACCESSED;
		break;
	case CPU_WRITES:
		if (was & SPTE_PRESENT && was & PT_WRITABLE_MASK)
			*p |= SPTE_ACCESSED | shadow_dirty_mask;
		break;
	case FAST_FAULT:
		if (was & SPTE_PRESENT)
			*p |= PT_WRITABLE_MASK;
		break;
	case ZAP:
		if (was & SPTE_PRESENT)
			*p = SPTE_FROZEN;
		break;
	case ZAPPED:
		if (was == SPTE_FROZEN)
			*p = 0;
		break;
	case FAULT:
		if (!was)
			*p = SPTE_PRESENT | PT_WRITABLE_MASK | SPTE_ACCESSED |
			     shadow_dirty_mask;
		break;
	default:
		return;
	}

	if (!(*p & SPTE_PRESENT) || !(was & SPTE_PRESENT))
		kept = 0;
	kept |= *p & ~was;
	if (at > 1)
		set_late |= *p & ~was & trap_bit;
}

void spte_point(u64 *p)
{
	if (p != spte_of(&root, GFN) || at == STEPS)
		return;
	at++;
	do_step(p, plan[at - 1]);
}

static void explain(u64 start, u64 spte, const char *why)
{
	int i;

	if (failed++)
		return;
	printf("# %s: 0x%llx became 0x%llx, with", why, (unsigned long long)start,
	       (unsigned long long)spte);
	for (i = 0; i < at; i++)
		printf(" %s%s", i ? "| " : "", step_names[plan[i]]);
	puts("");
}

static void one(u64 start)
{
	struct kvm_dirty_ring_pool_range range = {
		.memslot = &slot, .offset = GFN - slot.base_gfn, .mask = 1,
	};
	u64 spte;

	at = 0;
	kept = 0;
	set_late = false;
	*spte_of(&root, GFN) = start;
	kvm_arch_dirty_ring_pool_protect(&kvm, &range, 1);
	spte = *spte_of(&root, GFN);
	schedules++;

	if (kept & ~trap_bit & ~spte)
		explain(start, spte, "a bit that others set is lost");
	if (spte & trap_bit && !set_late)
		explain(start, spte, "the page is not trapped");
	if (kept & SPTE_FROZEN && spte != SPTE_FROZEN)
		explain(start, spte, "a zapped SPTE is back");
	if (kvm.mmu_lock)
		explain(start, spte, "mmu_lock is not released");
}

static void all(int depth)
{
	unsigned int i;

	if (depth == STEPS) {
		for (i = 0; i < sizeof(starts) / sizeof(*starts); i++)
			one(starts[i]);
		return;
	}
	for (i = 0; i < NR_STEPS; i++) {
		plan[depth] = i;
		all(depth + 1);
	}
}

static void done(const char *name)
{
	tests++;
	bad += !!failed;
	printf("%sok %d %s\n", failed ? "not " : "", tests, name);
	failed = 0;
}

static void test_steps(int pml, const char *name)
{
	schedules = 0;
	kvm_x86_ops.cpu_dirty_log_size = pml;
	trap_bit = pml ? shadow_dirty_mask : PT_WRITABLE_MASK;
	all(0);
	printf("# spte: %lu sequences\n", schedules);
	done(name);
}

/* Which SPTEs a walk changes, in which roots, under which lock. */
static void test_range(void)
{
	struct kvm_dirty_ring_pool_range ranges[] = {
		{ .memslot = &slot, .offset = 0, .mask = 0x35 },
		{ .memslot = &slot, .offset = 6, .mask = 0x1 },
	};
	u64 w = SPTE_PRESENT | PT_WRITABLE_MASK;
	int i, way;

	for (i = 0; i < STEPS; i++)
		plan[i] = NOTHING;
	kvm_x86_ops.cpu_dirty_log_size = 0;

	/* 0: plain, 1: other address space, 2: invalid root, 3: huge, 4: rmaps */
	for (way = 0; way < 5; way++) {
		for (i = 0; i < SPTES; i++) {
			*spte_of(&root, i) = w;
			*spte_of(&other, i) = w;
		}
		root.as_id = way == 1;
		root.role.invalid = way == 2;
		root.level = way == 3 ? PG_LEVEL_2M : PG_LEVEL_4K;
		kvm.rmaps = way == 4;
		kvm.by_writer = 0;
		kvm_arch_dirty_ring_pool_protect(&kvm, ranges, 2);
		for (i = 0; i < SPTES; i++) {
			bool in = (i == 1 || i == 3 || i >= 5);

			shim_assert(*spte_of(&root, i) == (in && !way ? SPTE_PRESENT : w),
				    "the SPTEs of the range and no other");
			/* The first root does not matter. */
			shim_assert(*spte_of(&other, i) == (in && way != 4 ?
							    SPTE_PRESENT : w),
				    "the same in each root");
		}
		shim_assert(kvm.by_writer == (way == 4 ? 0xea : 0),
			    "shadow pages are left to the writer's walk");
	}
	for (i = 0; i < SPTES; i++)
		*spte_of(&other, i) = 0;
	root.as_id = 0;
	root.role.invalid = false;
	root.level = PG_LEVEL_4K;
	kvm.rmaps = false;
	done("spte: the pages of the ranges, in valid roots of the address space");
}

/* A table is missing between two ranges of one that exists. */
static void test_hole(void)
{
	/* The first table, the second one, and the first one: gfns 1, 5, 3 */
	struct kvm_dirty_ring_pool_range ranges[] = {
		{ .memslot = &slot, .offset = 0, .mask = 1 },
		{ .memslot = &slot, .offset = SPTE_ENT_PER_PAGE, .mask = 1 },
		{ .memslot = &slot, .offset = 2, .mask = 1 },
	};
	u64 w = SPTE_PRESENT | PT_WRITABLE_MASK;
	int i;

	for (i = 0; i < SPTES; i++)
		*spte_of(&root, i) = w;
	root.huge = BIT(1);
	/* With a second root the walk would forget the table it has found. */
	other.role.invalid = true;
	kvm_arch_dirty_ring_pool_protect(&kvm, ranges, ARRAY_SIZE(ranges));
	other.role.invalid = false;
	root.huge = 0;
	for (i = 0; i < SPTES; i++)
		shim_assert(*spte_of(&root, i) ==
			    (i == 1 || i == 3 ? SPTE_PRESENT : w),
			    "the SPTEs around a table that is not there");
	done("spte: a table that is not there");
}

/*
 * Others want the CPU or the lock after any range: the walk goes on where it
 * stopped, and handles each range once.  If shadow pages appear in between, the
 * rest is left to the walk that holds mmu_lock for write.
 */
static void test_breaks(void)
{
	struct kvm_dirty_ring_pool_range ranges[SPTES - 1];
	u64 w = SPTE_PRESENT | PT_WRITABLE_MASK;
	int nr = SPTES - 1, after, i, n = 0;
	unsigned long by_writer;
	u64 way;

	for (i = 0; i < STEPS; i++)
		plan[i] = NOTHING;
	kvm_x86_ops.cpu_dirty_log_size = 0;
	for (i = 0; i < nr; i++)
		ranges[i] = (struct kvm_dirty_ring_pool_range) {
			.memslot = &slot, .offset = i, .mask = 1,
		};
	/* A walk asks once or twice after each range. */
	for (after = 0; after <= nr; after++) {
		for (way = 0; way < 1 << 2 * (nr - 1); way++) {
			for (i = 0; i < SPTES; i++)
				*spte_of(&root, i) = w;
			answers = way;
			asked = 0;
			rests = 0;
			rmaps_after = after;
			kvm.rmaps = false;
			kvm.by_writer = 0;
			kvm.pfns_dirty = 0;
			kvm_arch_dirty_ring_pool_protect(&kvm, ranges, nr);
			by_writer = kvm.by_writer;
			for (i = 1; i < SPTES; i++)
				shim_assert((*spte_of(&root, i) == SPTE_PRESENT) ^
					    !!(by_writer & BIT(i)),
					    "each range is done once");
			shim_assert(*spte_of(&root, 0) == w, "no other page");
			shim_assert(kvm.pfns_dirty + __builtin_popcountl(by_writer) == nr,
				    "every range is done");
			/* Everything from one page on: the pages are 1 to SPTES - 1. */
			shim_assert(!by_writer ||
				    by_writer + (by_writer & -by_writer) == BIT(SPTES),
				    "the writer has all that is left");
			shim_assert(kvm.rmaps || !by_writer, "no writer without rmaps");
			shim_assert(!kvm.rmaps || kvm.pfns_dirty == done_before,
				    "no walk but the writer's with rmaps");
			shim_assert(!kvm.mmu_lock, "mmu_lock is released");
			n++;
		}
	}
	answers = 0;
	rmaps_after = 0;
	kvm.rmaps = false;
	printf("# spte: %d ways to be interrupted\n", n);
	done("spte: goes on where others wanted the CPU or the lock");
}

int main(void)
{
	int i;

	the_kvm = &kvm;
	CDS_INIT_LIST_HEAD(&kvm.arch.tdp_mmu_roots);
	/* One allocation each: the address sanitizer sees an overrun. */
	for (i = 0; i < SPTES / SPTE_ENT_PER_PAGE; i++) {
		root.table[i] = calloc(SPTE_ENT_PER_PAGE, sizeof(u64));
		other.table[i] = calloc(SPTE_ENT_PER_PAGE, sizeof(u64));
	}
	root.level = PG_LEVEL_4K;
	other.level = PG_LEVEL_4K;
	list_add_tail(&root.link, &kvm.arch.tdp_mmu_roots);
	list_add_tail(&other.link, &kvm.arch.tdp_mmu_roots);

	test_steps(0, "spte: Writable, against CPU, fast faults, zaps, faults");
	test_steps(512, "spte: Dirty, against CPU, fast faults, zaps, faults");
	test_range();
	test_hole();
	test_breaks();
	printf("1..%d\n", tests);
	return bad != 0;
}
