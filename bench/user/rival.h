/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ways of tracking dirty pages, behind one interface, and what is measured of
 * them.
 */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include <stdio.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/types.h>

/* Pages of the VM: 1 GiB. */
#define BENCH_PAGES		BIT(18)
#define BENCH_SLOT		0
/* Instead of a vCPU: the VM, a device for example. */
#define BENCH_VM		(~0u)

#define BENCH_SPEC		4	/* policies that are built in */

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
 * @moves: claims by another user than the one before
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
 * @create: for a number of vCPUs with a ring of so many entries each, or with
 *	one ring of the same size in all
 * @destroy: the opposite
 * @run: vCPU @who marks pages, in batches, and stops after a batch that makes
 *	it exit; returns how many it marked
 * @exit: does the vCPU exit; taken note of
 * @gate: must the vCPU stay out of the guest
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
extern const struct bench_rival bench_pool[BENCH_SPEC];
extern const struct bench_rival bench_pool_nostop[BENCH_SPEC];

/**
 * struct bench_options - how much is done
 * @out: where the results go, a line of JSON each
 * @rounds: repetitions of short slices
 * @loops: repetitions of those that take tens of milliseconds
 * @quick: less of everything, to see that it works
 */
struct bench_options {
	FILE *out;
	int rounds;
	int loops;
	bool quick;
};

/* Entries that upstream and the pool keep in reserve; with PML 512 more. */
extern u32 bench_pml;
extern unsigned long bench_warnings;
extern unsigned long bench_disturbed;
extern unsigned long bench_slices;
extern int bench_cpus;

u32 bench_rsvd(void);
void *bench_alloc(size_t size);
u64 bench_random(u64 *state);
void bench_begin(FILE *out, const char *what);
void bench_text(FILE *out, const char *name, const char *text);
void bench_number(FILE *out, const char *name, double v);
void bench_values(FILE *out, const char *name, const double *v, int nr);
void bench_end(FILE *out);
void bench_progress(const char *what, int at, int of);
void bench_drain(const struct bench_rival *rival, void *tracker);

struct kvm_dirty_gfn;
u32 bench_harvest_ring(struct kvm_dirty_gfn *gfns, u32 size, u32 *fetch,
		       struct bench_harvest *harvest);

void measure_mark(const struct bench_options *opt);
void measure_parts(const struct bench_options *opt);
void measure_pair(const struct bench_options *opt);
void measure_threads(const struct bench_options *opt);
void measure_device(const struct bench_options *opt);
void measure_scale(const struct bench_options *opt);
void simulate_capacity(const struct bench_options *opt);
void simulate_drains(const struct bench_options *opt);
void simulate_twin(const struct bench_options *opt);
void simulate_memory(const struct bench_options *opt);
void count_instructions(void);

#endif
