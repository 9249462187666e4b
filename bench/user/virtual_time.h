/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtual time: runs code that is compiled with the harness' hooks on any number of
 * simulated CPUs.  Each CPU is a coroutine with a clock of its own, and the one whose
 * clock is behind runs.  Accesses to memory and whatever else virtual_spend() is
 * told of advance the clock.
 *
 * A line belongs to the CPU that wrote it last, until another CPU reads it, which
 * shares it, or writes it.  A CPU that has the line goes on at once.  Another one
 * waits until the line is free, and occupies it during the transfer.  A plain store
 * does not wait for its line; the next locked instruction waits for all stores.
 */
#ifndef BENCH_VIRTUAL_TIME_H
#define BENCH_VIRTUAL_TIME_H

#include <linux/types.h>

#define VIRTUAL_MAX_CPUS	4352

enum virtual_cost {
	COST_MARK, COST_PUSH, COST_READ, COST_LOCKED, COST_NEAR, COST_FAR, COST_NODE,
	COST_HOLD, COST_CLEAN, COST_PAUSE, COST_FAULT, COST_EXIT, COST_RETRY, COST_ENTRY,
	COST_RESET, COST_NR
};

/* All in ns, except for node and hold. */
extern struct virtual_cost_entry {
	const char *name;
	double ns;
	const char *what;
} virtual_cost[COST_NR];

/**
 * struct virtual_line - a cache line, and how it was used
 * @at: its address
 * @free: when it will have been transferred
 * @busy: for how long it was being transferred
 * @waited: for how long CPUs waited for others that had asked before
 * @moves: transfers
 * @version: number of writes that took it from another CPU
 * @owner: who wrote it last; shared with others since, if @shared
 */
struct virtual_line {
	unsigned long at;
	double free;
	double busy;
	double waited;
	u64 moves;
	u32 version;
	u16 owner;
	bool shared;
};

/* Memory was allocated anew: nobody has any line. */
void virtual_forget(void);

/*
 * Run @body on @nr CPUs until it has returned on each.  Accesses to the @hidden_size
 * bytes at @hidden cost nothing.
 */
void virtual_run(u32 nr, void (*body)(u32 who), const void *hidden,
		 size_t hidden_size);

/* In a body: the clock, and what advances it in addition to accesses. */
double virtual_now(void);
void virtual_spend(double ns);
/* Accesses while @on cost nothing, and no other CPU runs. */
void virtual_pause(bool on);

/* How often one CPU went on after another since virtual_run() began: host time. */
u64 virtual_turns(void);
/* Call @fn, if any, for each line; forget how it was used. */
void virtual_lines(void (*fn)(const struct virtual_line *line));

#endif
