/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ways of tracking dirty pages, behind one interface.  They know nothing of
 * what is measured.
 */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/types.h>
#include "util.h"

/* Pages of the VM: 1 GiB. */
#define BENCH_PAGES		BIT(18)
#define BENCH_SLOT		0
/* Instead of a vCPU: the VM, a device for example. */
#define BENCH_VM		(~0u)

#define BENCH_MAX_POLICIES	16
#define BENCH_MAX_RIVALS	(2 * BENCH_MAX_POLICIES + 8)

/**
 * struct bench_tracker - what all trackers begin with
 * @nr: number of vCPUs
 * @parks: requests to drain a ring
 * @wake: the eventfd was signalled
 */
struct bench_tracker {
	u32 nr;
	u64 parks;
	bool wake;
};

/**
 * struct bench_stats - what the pool counts
 * @claims: of rings
 * @retries: claims that failed before
 * @moves: claims by another user than the previous one
 */
struct bench_stats {
	u64 claims;
	u64 retries;
	u64 moves;
};

/**
 * struct bench_harvest - what a harvest found
 * @total: entries
 * @longest: entries of the longest ring
 */
struct bench_harvest {
	u64 total;
	u32 longest;
};

/**
 * struct bench_rival - one way of tracking
 * @name: in the results
 * @policy: of the pool
 * @nostop: parking a ring does not make the vCPU exit
 * @create: for @nr vCPUs with a ring of @entries each, or with one ring of the
 *	same size in total
 * @destroy: undo @create
 * @run: vCPU @who marks pages, in batches, and stops after a batch that makes
 *	it exit; returns how many it marked
 * @exit: does the vCPU exit?  Clears the request
 * @gate: must the vCPU stay out of the guest?
 * @harvest: flag all entries as harvested
 * @reset: take them back
 * @stats: optional
 */
struct bench_rival {
	const char *name;
	const char *policy;
	bool nostop;
	void *(*create)(const struct bench_rival *rival, u32 nr, u32 entries);
	void (*destroy)(void *tracker);
	u32 (*run)(void *tracker, u32 who, const u64 *page, u32 nr, u32 batch);
	bool (*exit)(void *tracker, u32 who);
	bool (*gate)(void *tracker, u32 who);
	void (*harvest)(void *tracker, struct bench_harvest *harvest);
	void (*reset)(void *tracker);
	void (*stats)(void *tracker, struct bench_stats *stats);
};

extern const struct bench_rival bench_per_vcpu;
extern const struct bench_rival bench_vm_spinlock;
extern const struct bench_rival bench_vm_lockfree;
extern const struct bench_rival bench_bitmap;

/*
 * The pool under each policy that was asked for.  bench_main_policy is the one
 * that stands for the pool where one is enough: the kernel's default if it is
 * among them, else the first.
 */
extern struct bench_rival bench_pool[BENCH_MAX_POLICIES];
extern struct bench_rival bench_pool_nostop[BENCH_MAX_POLICIES];
extern int bench_nr_policies;
extern int bench_main_policy;

/* Dies if the registry of policies has none of that name. */
void bench_add_policy(const char *name);

/* The rivals of one measurement, in the order of the results. */
struct bench_rivals {
	const struct bench_rival *of[BENCH_MAX_RIVALS];
	int nr;
};

void rivals_add(struct bench_rivals *list, const struct bench_rival *rival);
/* The pool under each policy. */
void rivals_add_pool(struct bench_rivals *list);
/* The pool under the main policy, with NOSTOP. */
void rivals_add_nostop(struct bench_rivals *list);
/* All rivals without NOSTOP. */
void rivals_add_all(struct bench_rivals *list);

/* Entries that upstream and the pool keep in reserve; PML adds bench_pml. */
extern u32 bench_pml;
u32 bench_rsvd(void);

/* What must never happen, but did. */
extern unsigned long bench_warnings;

/* Random pages of the VM. */
void bench_pages(u64 *page, int nr, u64 seed);

struct kvm_dirty_gfn;
/* Harvest one ring as userspace does; returns the number of entries. */
u32 bench_harvest_ring(struct kvm_dirty_gfn *gfns, u32 size, u32 *fetch,
		       struct bench_harvest *harvest);
void bench_drain(const struct bench_rival *rival, void *tracker);

#endif
