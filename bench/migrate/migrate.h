/* SPDX-License-Identifier: GPL-2.0-only */
/* Both sides of a live migration by pre-copy. */
#ifndef BENCH_MIGRATE_MIGRATE_H
#define BENCH_MIGRATE_MIGRATE_H

#include "vm.h"
#include "wire.h"

struct migrate_config {
	unsigned long bandwidth;	/* bytes per second; 0: no limit */
	unsigned int downtime_ms;	/* stop when the rest takes no longer */
	unsigned int max_rounds;	/* ...or after so many */
	bool verify;			/* compare memory before GO */
	unsigned int patience_s;	/* with a silent other side */
	unsigned int after_ms;		/* run at the destination, then check */
};

struct migration;

/* At the end of a round, with the guest running.  Non-zero aborts the migration. */
typedef int (*migrate_round_fn)(struct migration *m, void *arg);

/**
 * struct migration - the source's view of a migration
 * @vm: the running VM to migrate
 * @fd: to the destination
 * @config: as requested
 * @on_round: called after each round with the guest running; may be NULL
 * @arg: for @on_round
 * @rounds: completed with the guest running
 * @pages_sent: repeats included
 * @bytes_sent: everything that was sent, not only pages
 * @round_ns: time that the last round took
 * @round_bytes: sent in the last round
 * @left: pages found dirty at its end
 * @expected_ns: estimated time to send these
 * @last_pages: sent while the guest was stopped
 * @start_ns: when logging was turned on
 * @total_ns: from then until the guest ran at the destination
 * @downtime_ns: from the last vCPU's stop here to the first one's start there,
 *	without comparing memory
 * @stop_ns: until all vCPUs had stopped
 * @run_ns: from @start_ns until vCPUs were told to stop
 * @stamps: made by each vCPU during @run_ns
 * @unequal: pages that differ between source and destination
 * @result: what the destination found
 */
struct migration {
	struct vm *vm;
	int fd;
	struct migrate_config config;
	migrate_round_fn on_round;
	void *arg;

	unsigned int rounds;
	__u64 pages_sent;
	__u64 bytes_sent;
	__u64 round_ns;
	__u64 round_bytes;
	__u64 left;
	__u64 expected_ns;
	__u64 last_pages;
	__u64 start_ns;
	__u64 total_ns;
	__u64 downtime_ns;
	__u64 stop_ns;
	__u64 run_ns;
	__u64 stamps[GUEST_MAX_VCPUS];
	__u64 unequal;
	struct wire_result result;
};

/**
 * migrate_out() - the source's side
 * @m: vm, fd, config, and on_round with its arg are set, the rest is 0
 *
 * Return: 0: the guest runs at the destination and is paused here.  -1: the
 *	migration failed and the reason was printed; the guest runs here, or is
 *	paused if the destination has it already.
 */
int migrate_out(struct migration *m);

/**
 * migrate_in() - the destination's side
 * @fd: to the source
 * @vm: created from @vm_config; the caller frees it
 * @vm_config: as the source's, except for the tracking of dirty pages
 * @config: only patience_s and after_ms matter
 *
 * Return: 0: the guest runs here, and the result of its check was sent to the
 *	source.  -1: the migration failed and the reason was printed.
 */
int migrate_in(int fd, struct vm *vm, const struct vm_config *vm_config,
	       const struct migrate_config *config);

/* A checksum of a page */
__u64 migrate_sum(const void *page);

#endif /* BENCH_MIGRATE_MIGRATE_H */
