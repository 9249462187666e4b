/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Resets race with all that changes page tables: the tests race_* of
 * dirty_pool_test.
 *
 * Two threads harvest and reset, the same ring or different ones, while guests
 * write and the main thread does what the test is about.  Besides the check at
 * the end of each round there is one at once: a page is trapped when all of its
 * harvested entries were reset, and the next write to it must be in a ring
 * before it can be seen in memory.  For that, only one vCPU writes each page:
 * another one could write where the first has just made the page writable, and
 * not yet marked it.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_RACE_H
#define SELFTEST_KVM_DIRTY_POOL_RACE_H

#include "dirty_pool_test.h"

struct race {
	bool thp;		/* huge pages back the first slot */
	bool mmio;		/* the second slot may be missing: writes are emulated */
	void (*need)(void);
	void (*init)(struct env *e);
	/* What resets race with, by the main thread: the nth time in a round */
	void (*event)(struct env *e, int round, int n);
	/* Chance decides whether it does: the test goes on until it did. */
	bool (*happened)(struct env *e);
	void (*end)(struct env *e);
};

extern struct race_state {
	const struct race *kind;
	bool quit;
	bool at_once;		/* a write is in a ring at once */
	atomic_t resets;
	atomic_t watched;	/* writes that the check at once has seen */
	uint32_t collapsed;	/* huge pages made */
	uint32_t unlogged;	/* odd while the first slot is not logged */
	atomic_t harvested[NR_PAGES];
	atomic_t done[NR_PAGES];	/* of those, entries that were reset */
} race;

void run_race(const struct race *kind);

/* For an event: let vCPUs and resets go on for a while. */
void race_go_on(uint32_t resets);
void race_set_slot(struct env *e, int i, uint64_t gpa, uint64_t size,
		   uint32_t flags);
/* Have a huge page behind the first slot. */
void race_collapse(struct env *e, int huge);

/*
 * The guest
 */

/* Write some of the vCPU's own pages, again and again. */
void guest_write_own(uint64_t id);

/* Nobody writes these pages, the last one of each huge page, but may run them. */
#define CODE_OFFSET	256

static inline bool is_code_page(uint64_t page)
{
	return page < slot_pages[0] && page % 512 == 511;
}

extern uint64_t guest_exec;	/* run them */

#endif /* SELFTEST_KVM_DIRTY_POOL_RACE_H */
