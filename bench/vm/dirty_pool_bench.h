/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dirty_pool_bench measures, and its results.  A cell is one workload with
 * one number of vCPUs and one way of tracking dirty pages.
 */
#ifndef DIRTY_POOL_BENCH_H
#define DIRTY_POOL_BENCH_H

#include <stdbool.h>

#include <linux/types.h>

#define BENCH_MAX_VCPUS		64
#define BENCH_NAME_MAX		32

enum bench_tracker {
	BENCH_BITMAP,
	BENCH_PER_VCPU,
	BENCH_POOL,
};

struct bench_mode {
	char name[BENCH_NAME_MAX];
	enum bench_tracker tracker;
	char policy[BENCH_NAME_MAX];
	bool nostop;
};

enum bench_workload {
	BENCH_UNIFORM,
	BENCH_SKEWED,
	BENCH_VM_SCOPED,
	BENCH_BURST,
	BENCH_RESET,
	BENCH_NR_WORKLOADS,
};

/* The order in which BENCH_RESET dirties pages. */
enum bench_pattern {
	BENCH_SEQUENTIAL,
	BENCH_STRIDED,
	BENCH_RANDOM,
	BENCH_SCATTERED,
	BENCH_NR_PATTERNS,
};

struct bench_cell {
	enum bench_workload workload;
	struct bench_mode mode;
	unsigned int nr_vcpus;
	/* Pages written in one pass, by all vCPUs and the device together. */
	unsigned int pages;
	unsigned int passes;
	/* For BENCH_RESET: of each kind, to be timed while resets run. */
	unsigned int faults;
	unsigned int ring_bytes;
	unsigned int period_ms;
	unsigned int timeout_s;
	u32 seed;
};

/* Exit codes of the process that measures a cell; EMULATOR_FAULT is another. */
enum bench_exit {
	BENCH_OK,
	BENCH_FAILED,
};

struct bench_vcpu_result {
	u64 writes;
	u64 active_ns;	/* in a pass, without waiting for its turn */
	u64 still_ns;	/* between a ring-full exit and the next entry */
	u64 ring_full_exits;
};

/* The kinds of faults that BENCH_RESET times. */
enum bench_fault {
	BENCH_PROTECTED,
	BENCH_UNMAPPED,
	BENCH_NR_FAULTS,
};

struct bench_reset_time {
	u64 pages;
	u64 ns;
};

#define BENCH_MAX_FAULTS	16384

struct bench_faults {
	u32 nr;
	u32 ns[BENCH_MAX_FAULTS];
};

/* Of BENCH_RESET, one for each pattern. */
struct bench_reset_result {
	struct bench_reset_time time[2];	/* by one thread, by two */
	struct bench_faults faults[BENCH_NR_FAULTS];	/* while a reset runs */
	struct bench_faults idle_faults[BENCH_NR_FAULTS]; /* while none does */
	struct bench_reset_time bare;		/* of entries without a memslot */
	u64 write_locks;			/* of mmu_lock, in one reset */
};

struct bench_result {
	struct bench_reset_result reset[BENCH_NR_PATTERNS];

	struct bench_vcpu_result vcpu[BENCH_MAX_VCPUS];
	unsigned int soft_limit;	/* of a ring, in entries */

	u64 writes;		/* pages written, once in each pass */
	u64 marks;			/* pages harvested, repeats included */
	u64 lost;			/* pages written and never harvested */
	u64 write_ns;		/* until the last write of each pass */
	u64 total_ns;		/* until the last harvest of each pass */

	u64 ring_full_exits;
	u64 parked_exits;
	u64 exhausted_exits;
	u64 still_ns;
	u64 active_ns;

	/* Harvests that found something, and their times. */
	u64 harvests;
	u64 harvests_by_vcpu;
	u64 harvest_ns;
	u64 reset_ns;

	u64 device_writes;
	u64 device_mark_ns;
	u64 device_eagain;
	u64 device_wait_ns;	/* draining after EAGAIN */

	u64 wakeups;		/* of the reaper, by the eventfd */
	u64 claims;
	u64 claim_retries;
	u64 reserve_claims;
	u64 parks;
	u64 drains;
	u64 exhaustions;
	u64 overflows;
	u64 pushed;
	u64 moves;
};

extern const char * const bench_workload_names[BENCH_NR_WORKLOADS];
extern const char * const bench_pattern_names[BENCH_NR_PATTERNS];

/* Does this kernel support the mode? */
bool bench_mode_supported(const struct bench_mode *mode);

/* Does not return if something fails; see enum bench_exit. */
void bench_run(const struct bench_cell *cell, struct bench_result *res);
void bench_run_reset(const struct bench_cell *cell,
		     struct bench_reset_result res[BENCH_NR_PATTERNS]);

#endif /* DIRTY_POOL_BENCH_H */
