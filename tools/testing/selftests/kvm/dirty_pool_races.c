// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resets race with changes of page tables, see include/dirty_pool_race.h.
 */
#include <sys/mman.h>
#include <linux/sizes.h>
#include <asm/barrier.h>

#include "dirty_pool_race.h"

/* A C library may be older than Linux 6.1 */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* vCPU i owns each page with page % OWNERS == i. */
#define OWNERS		2
#define OWN_WINDOW	16	/* pages written in turn */
#define OWN_WRITES	16384
#define OWN_WRITES_SLOT	256	/* if each may exit, as the slot is missing */

uint64_t guest_exec;
static uint64_t guest_shift;	/* where the second slot was moved to */

/* The TLB holds all of these few pages: only a flush makes the guest fault again. */
void guest_write_own(uint64_t id)
{
	struct guest_vcpu *v = &guest_vcpus[id];
	uint64_t first = guest_random_u32(&v->rng);
	uint64_t i, page, addr;

	for (i = 0; i < OWN_WRITES && !READ_ONCE(guest_stop); i++) {
		page = (first + i % OWN_WINDOW) % (NR_PAGES / OWNERS);
		page = page * OWNERS + id;
		addr = page_gpa(page);
		if (is_code_page(page)) {
			if (READ_ONCE(guest_exec))
				((void (*)(void))(addr + CODE_OFFSET))();
			continue;
		}
		if (addr >= SLOT_GPA(1) && addr < SLOT_GPA(2)) {
			if (i >= OWN_WRITES_SLOT)
				break;
			addr += READ_ONCE(guest_shift);
		}
		WRITE_ONCE(*(uint64_t *)addr, ++v->stamp);
	}
}

/* Write own pages until guest_stop. */
static void guest_own(uint64_t id)
{
	while (!READ_ONCE(guest_stop))
		guest_write_own(id);
}

#define RACE_ROUNDS	3
#define RACE_RESETTERS	2
#define SLOT1_SHIFT	0x2000000ul

struct race_state race;

struct watched {
	uint32_t page;
	int harvested;
	uint32_t unlogged;
	uint64_t stamp;
};

static void race_gfn(void *arg, uint32_t slot, uint64_t offset)
{
	struct pages *pages = arg;

	env_list_gfn(arg, slot, offset);
	atomic_inc(&race.harvested[pages->page[pages->nr - 1]]);
}

static void race_harvest(struct env *e, int ring, uint32_t max,
			 struct pages *pages)
{
	env_harvest_locked(e, ring, max, race_gfn, pages);
}

/* List the pages that were just reset and are trapped, and what they hold. */
static uint32_t race_watch(struct env *e, struct pages *pages,
			   struct watched *watched)
{
	uint32_t i, n = 0;
	int done;

	for (i = 0; i < pages->nr; i++)
		atomic_inc(&race.done[pages->page[i]]);
	for (i = 0; i < pages->nr && race.at_once; i++) {
		uint32_t page = pages->page[i];

		/* An emulated write is seen before it is marked. */
		if (race.kind->mmio && page >= slot_pages[0] &&
		    page < slot_pages[0] + slot_pages[1])
			continue;

		watched[n].page = page;
		watched[n].unlogged = READ_ONCE(race.unlogged);
		smp_rmb(); /* race_check() reads this last */
		done = atomic_read(&race.done[page]);
		smp_rmb(); /* Read first, done equals harvested if none is under way */
		watched[n].harvested = atomic_read(&race.harvested[page]);
		smp_rmb(); /* Every write from here on must be reported */
		watched[n].stamp = env_page_stamp(e, page);
		if (done == watched[n].harvested && !(watched[n].unlogged & 1))
			n++;
	}
	return n;
}

/* Was every write since race_watch() reported? */
static void race_check(struct env *e, const struct watched *watched, uint32_t n,
		       struct pages *pages)
{
	const struct watched *w;
	int ring;

	for (w = watched; w < watched + n; w++) {
		uint64_t stamp = env_page_stamp(e, w->page);

		/* Zero: the page was dropped. */
		if (stamp == w->stamp || !stamp)
			continue;
		atomic_inc(&race.watched);
		smp_rmb(); /* The entry was in a ring before the write was seen */
		if (atomic_read(&race.harvested[w->page]) != w->harvested)
			continue;
		for (ring = 0; ring < e->nr_vcpus; ring++)
			race_harvest(e, ring, UINT_MAX, pages);
		if (atomic_read(&race.harvested[w->page]) != w->harvested)
			continue;
		smp_rmb(); /* race_watch() reads this first */
		if (w->page < slot_pages[0] &&
		    READ_ONCE(race.unlogged) != w->unlogged)
			continue;
		TEST_FAIL("GPA 0x%lx: 0x%lx when it was reset, 0x%lx now, and in no ring",
			  page_gpa(w->page), w->stamp, stamp);
	}
}

static void *race_worker(void *data)
{
	struct thread_arg *arg = data;
	struct guest_random_state rng = new_guest_random_state(env_opt.seed + arg->i);
	struct env *e = arg->e;
	struct watched *watched;
	struct pages pages;
	uint32_t n, reset;
	int ring;

	env_pages_init(&pages);
	watched = calloc(pages.max, sizeof(*watched));
	TEST_ASSERT(watched, "Insufficient Memory");

	while (!READ_ONCE(race.quit) || pages.entries) {
		/* race_check() may have left entries of any ring. */
		ring = pages.entries ? -1 : guest_random_u32(&rng) % e->nr_vcpus;
		if (ring >= 0)
			race_harvest(e, ring, 1 + guest_random_u32(&rng) % 50,
				     &pages);
		if (!pages.entries) {
			usleep(100);
			continue;
		}
		if (ring >= 0 && guest_random_u32(&rng) % 4)
			reset = vm_reset_dirty_ring(e->vm, ring);
		else
			reset = vm_reset_dirty_rings(e->vm);
		n = race_watch(e, &pages, watched);
		env_note_pages(e, &pages, reset);
		atomic_inc(&race.resets);
		/* Give the guest time to write, on another CPU or on this one. */
		if (guest_random_u32(&rng) % 2)
			usleep(20);
		else
			sched_yield();
		race_check(e, watched, n, &pages);
	}
	free(watched);
	free(pages.page);
	return NULL;
}

void race_go_on(uint32_t resets)
{
	uint32_t end = atomic_read(&race.resets) + resets;
	time_t deadline = now() + WAIT_SECONDS;

	/* wait_for() would take the CPU from the others. */
	while ((int)(atomic_read(&race.resets) - end) < 0) {
		TEST_ASSERT(now() < deadline, "No reset in %d s", WAIT_SECONDS);
		usleep(200);
	}
}

void race_set_slot(struct env *e, int i, uint64_t gpa, uint64_t size,
		   uint32_t flags)
{
	vm_set_user_memory_region(e->vm, FIRST_SLOT + i, flags, gpa, size,
				  e->mem[i]);
}

static void race_slots_init(struct env *e)
{
	virt_map(e->vm, SLOT_GPA(1) + SLOT1_SHIFT, SLOT_GPA(1) + SLOT1_SHIFT,
		 slot_pages[1]);
}

static void race_slots_event(struct env *e, int round, int n)
{
	uint64_t size = slot_pages[1] * PAGE_SIZE;
	uint64_t gpa = SLOT_GPA(1);

	if (env_random(e, 2)) {
		race_set_slot(e, 1, gpa, 0, 0);
		race_go_on(env_random(e, 2));
		race_set_slot(e, 1, gpa, size, KVM_MEM_LOG_DIRTY_PAGES);
		race_go_on(2);
		return;
	}

	race_set_slot(e, 1, gpa + SLOT1_SHIFT, size, KVM_MEM_LOG_DIRTY_PAGES);
	write_guest_global(e->vm, guest_shift, SLOT1_SHIFT);
	race_go_on(2);
	race_set_slot(e, 1, gpa, size, KVM_MEM_LOG_DIRTY_PAGES);
	write_guest_global(e->vm, guest_shift, 0);
	race_go_on(1);
}

/* Fails if the kernel is too old, or somebody holds one of the pages. */
void race_collapse(struct env *e, int huge)
{
	void *mem = (void *)e->mem[0] + huge * SZ_2M;

	race.collapsed += !madvise(mem, SZ_2M, MADV_COLLAPSE);
}

static void race_thp_event(struct env *e, int round, int n)
{
	int huge = env_random(e, slot_pages[0] / 512);
	void *mem = (void *)e->mem[0] + huge * SZ_2M;
	uint32_t page = env_random(e, 512 - 16);

	race_collapse(e, huge);
	race_go_on(1);
	/* This splits the huge page. */
	madvise(mem + page * PAGE_SIZE, PAGE_SIZE, MADV_COLD);
	race_go_on(1);
	race_collapse(e, huge);
	TEST_ASSERT(!madvise(mem + page * PAGE_SIZE, 8 * PAGE_SIZE, MADV_DONTNEED),
		    "MADV_DONTNEED: %s", strerror(errno));
	race_go_on(1);
}

static void race_init(struct env *e, const struct race *kind)
{
	int i;

	race.kind = kind;
	e->thp = kind->thp;
	e->mmio = kind->mmio;
	if (kind->need)
		kind->need();
	if (e->thp && !thp_configured())
		skip("no transparent huge pages");
	env_init(e, OWNERS, 0);
	race.at_once = !env_has_page_log(e);
	for (i = 0; i < OWNERS; i++)
		env_set_guest(e, i, guest_own);
	if (kind->init)
		kind->init(e);
}

static bool race_happened(struct env *e)
{
	if (race.at_once && !atomic_read(&race.watched))
		return false;
	return !race.kind->happened || race.kind->happened(e);
}

void run_race(const struct race *kind)
{
	struct thread_arg args[RACE_RESETTERS];
	pthread_t threads[RACE_RESETTERS];
	int i, n, times, round;
	struct env e = {};

	race_init(&e, kind);
	/* A missing flush shows rarely, but a try does not take long. */
	times = cpu_is_emulated() && kind->event ? 15 : scale(100, 15);
	for (round = 0; round < RACE_ROUNDS; round++) {
		env_start_vcpus(&e);
		WRITE_ONCE(race.quit, false);
		for (i = 0; i < RACE_RESETTERS; i++) {
			args[i].e = &e;
			args[i].i = i + round * RACE_RESETTERS;
			pthread_create(&threads[i], NULL, race_worker, &args[i]);
		}

		for (n = 0; n < times || (round == RACE_ROUNDS - 1 &&
					  !race_happened(&e)); n++) {
			step("round %d, %d times%s", round, n, n < times ? "" :
			     ": what the test is for did not happen");
			if (kind->event)
				kind->event(&e, round, n);
			else
				race_go_on(5);
		}

		step("round %d, the end", round);
		env_stop_vcpus(&e);
		WRITE_ONCE(race.quit, true);
		for (i = 0; i < RACE_RESETTERS; i++)
			pthread_join(threads[i], NULL);
		step("round %d, check", round);
		env_check(&e);
	}
	ksft_print_msg("%u resets, %u writes seen after one, %u huge pages\n",
		       atomic_read(&race.resets), atomic_read(&race.watched),
		       race.collapsed);
	if (kind->end)
		kind->end(&e);
	env_free(&e);
}

/* Resets race with nothing but each other. */
static void test_race_reset(int unused)
{
	static const struct race reset;

	run_race(&reset);
}

/* A slot is deleted and created again, or moved. */
static void test_race_slots(int unused)
{
	static const struct race slots = {
		.mmio = true,
		.init = race_slots_init,
		.event = race_slots_event,
	};

	run_race(&slots);
}

/* Huge pages are split and collapsed, and pages are dropped. */
static void test_race_thp(int unused)
{
	static const struct race thp = {
		.thp = true,
		.event = race_thp_event,
	};

	run_race(&thp);
}

const struct test race_tests[] = {
	{ "race_reset",		test_race_reset },
	{ "race_slots",		test_race_slots },
	{ "race_thp",		test_race_thp },
	{}
};
