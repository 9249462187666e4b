// SPDX-License-Identifier: GPL-2.0
/* One thread: what a mark costs, and its parts. */
#include <stdio.h>
#include <linux/atomic.h>
#include <linux/slab.h>
#include "measure.h"
#include "rival_pool.h"

#ifdef HAVE_CALLGRIND
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS_AT(name)	((void)(name))
#endif

#define VCPUS		4
#define ENTRIES		4096	/* QEMU's usual choice */
#define CHUNKS		4
#define WARM		2	/* chunks: all entries of a ring */
#define PARTS		128

static const u32 batches[] = { 1, 8, 64, 512 };

static double mark_slice(const struct bench_rival *rival, void *tracker,
			 const u64 *page, u32 batch)
{
	double sum, t;
	int i, try;

	for (try = 0; try < TRIES; try++) {
		measure_disturbed();
		sum = 0;
		/* The first chunks bring the ring back into the cache. */
		for (i = 0; i < WARM + CHUNKS; i++) {
			t = bench_now();
			rival->run(tracker, 0, page, CHUNK, batch);
			sum += i < WARM ? 0 : bench_now() - t;
			bench_drain(rival, tracker);
		}
		bench_slices++;
		if (!measure_disturbed())
			break;
		bench_disturbed++;
	}
	return sum / (CHUNKS * CHUNK);
}

/* An uncontended locked compare-and-swap, with the store that undoes it. */
static noinline double cas_slice(atomic_t *word, bool undo)
{
	double t = bench_now();
	int i;

	if (undo) {
		for (i = 0; i < CHUNK; i++) {
			int old = 0;

			atomic_try_cmpxchg_acquire(word, &old, 1);
			atomic_set_release(word, 0);
		}
	} else {
		for (i = 0; i < CHUNK; i++) {
			int old = i;

			atomic_try_cmpxchg_acquire(word, &old, i + 1);
		}
		atomic_set(word, 0);
	}
	return (bench_now() - t) / CHUNK;
}

/* A fixed amount of work shows whether the CPU's speed changes. */
static noinline double pace_slice(void)
{
	double t = bench_now();
	unsigned long x = 1;
	int i;

	for (i = 0; i < 4 * CHUNK; i++) {
		x += x << 1;
		barrier();
	}
	__asm__ __volatile__("" : : "r" (x));
	return (bench_now() - t) / (4 * CHUNK);
}

void measure_mark(const struct bench_options *opt)
{
	static double ns[ARRAY_SIZE(batches)][BENCH_MAX_RIVALS][MAX_ROUNDS];
	static double cas[2][MAX_ROUNDS], pace[MAX_ROUNDS];
	static u64 page[CHUNK];
	atomic_t *word = bench_alloc(sizeof(*word));
	struct bench_rivals rivals = { };
	void *tracker[BENCH_MAX_RIVALS];
	int b, i, round;

	rivals_add_all(&rivals);
	measure_pin(0);
	/* PML logs 512 pages at once, and has a reserve for them. */
	bench_pml = 512;
	bench_pages(page, CHUNK, 1);
	for (i = 0; i < rivals.nr; i++)
		tracker[i] = rivals.of[i]->create(rivals.of[i], VCPUS, ENTRIES);

	for (round = -2; round < opt->rounds; round++) {
		int at = round < 0 ? 0 : round;

		cas[0][at] = cas_slice(word, false);
		cas[1][at] = cas_slice(word, true);
		pace[at] = pace_slice();
		for (b = 0; b < ARRAY_SIZE(batches); b++) {
			for (i = 0; i < rivals.nr; i++) {
				int k = (i + at) % rivals.nr;

				ns[b][k][at] = mark_slice(rivals.of[k], tracker[k],
							  page, batches[b]);
			}
		}
		bench_progress("1. cost of a mark", at + 1, opt->rounds);
	}

	for (b = 0; b < ARRAY_SIZE(batches); b++) {
		for (i = 0; i < rivals.nr; i++) {
			bench_begin(opt->out, "mark");
			bench_text(opt->out, "rival", rivals.of[i]->name);
			bench_number(opt->out, "batch", batches[b]);
			bench_values(opt->out, "ns", ns[b][i], opt->rounds);
			bench_end(opt->out);
		}
	}
	for (i = 0; i < 2; i++) {
		bench_begin(opt->out, "cas");
		bench_number(opt->out, "undo", i);
		bench_values(opt->out, "ns", cas[i], opt->rounds);
		bench_end(opt->out);
	}
	bench_begin(opt->out, "pace");
	bench_values(opt->out, "ns", pace, opt->rounds);
	bench_end(opt->out);

	for (i = 0; i < rivals.nr; i++)
		rivals.of[i]->destroy(tracker[i]);
	kfree(word);
	bench_pml = 0;
}

/*
 * Claim, push and return on their own: PARTS users claim a ring each; when all
 * have one, each pushes once; then each returns its ring.
 */
static void parts_slice(struct pool_tracker *t, double *claim, double *push,
			double *give)
{
	static struct kvm_dirty_pool_claim claims[PARTS];
	double at[4], clock;
	int i;

	clock = bench_now();
	clock = bench_now() - clock;
	at[0] = bench_now();
	for (i = 0; i < PARTS; i++)
		kvm_dirty_pool_claim(&t->pool, &t->vcpu[i].user, 0, &claims[i]);
	at[1] = bench_now();
	for (i = 0; i < PARTS; i++)
		kvm_dirty_pool_push(&claims[i], BENCH_SLOT, i);
	at[2] = bench_now();
	for (i = 0; i < PARTS; i++)
		kvm_dirty_pool_return(&t->pool, &t->vcpu[i].user, &claims[i]);
	at[3] = bench_now();
	*claim = (at[1] - at[0] - clock) / PARTS;
	*push = (at[2] - at[1] - clock) / PARTS;
	*give = (at[3] - at[2] - clock) / PARTS;
}

void measure_parts(const struct bench_options *opt)
{
	static double ns[BENCH_MAX_POLICIES][3][MAX_ROUNDS];
	static const char *const part[] = { "claim", "push", "return" };
	void *tracker[BENCH_MAX_POLICIES];
	int i, k, round;

	measure_pin(0);
	for (i = 0; i < bench_nr_policies; i++)
		tracker[i] = bench_pool[i].create(&bench_pool[i], PARTS, 256);
	for (round = -2; round < opt->rounds; round++) {
		int at = round < 0 ? 0 : round;

		for (i = 0; i < bench_nr_policies; i++) {
			parts_slice(tracker[i], &ns[i][0][at], &ns[i][1][at],
				    &ns[i][2][at]);
			bench_drain(&bench_pool[i], tracker[i]);
		}
		bench_progress("1. claim, push and return apart", at + 1,
			       opt->rounds);
	}
	for (i = 0; i < bench_nr_policies; i++) {
		bench_begin(opt->out, "parts");
		bench_text(opt->out, "rival", bench_pool[i].name);
		for (k = 0; k < 3; k++)
			bench_values(opt->out, part[k], ns[i][k], opt->rounds);
		bench_end(opt->out);
		bench_pool[i].destroy(tracker[i]);
	}
}

/* Under callgrind: a dump for each rival and batch, then the pool's parts. */
void count_instructions(void)
{
	static u64 page[CHUNK];
	struct kvm_dirty_pool_claim claim;
	struct bench_rivals rivals = { };
	struct pool_tracker *t;
	char name[64];
	int b, i, k;

	rivals_add_all(&rivals);
	bench_pml = 512;
	bench_pages(page, CHUNK, 1);
	for (i = 0; i < rivals.nr; i++) {
		void *tracker = rivals.of[i]->create(rivals.of[i], VCPUS, ENTRIES);

		for (b = 0; b < ARRAY_SIZE(batches); b++) {
			rivals.of[i]->run(tracker, 0, page, CHUNK, batches[b]);
			bench_drain(rivals.of[i], tracker);
			snprintf(name, sizeof(name), "%s %u %u", rivals.of[i]->name,
				 batches[b], CHUNK);
			CALLGRIND_ZERO_STATS;
			rivals.of[i]->run(tracker, 0, page, CHUNK, batches[b]);
			CALLGRIND_DUMP_STATS_AT(name);
			bench_drain(rivals.of[i], tracker);
		}
		rivals.of[i]->destroy(tracker);
	}

	for (i = 0; i < bench_nr_policies; i++) {
		t = bench_pool[i].create(&bench_pool[i], VCPUS, ENTRIES);
		for (k = 0; k < 2 * VCPUS; k++) {
			snprintf(name, sizeof(name), "%s claim 1", bench_pool[i].name);
			CALLGRIND_ZERO_STATS;
			kvm_dirty_pool_claim(&t->pool, &t->vcpu[0].user, 0, &claim);
			CALLGRIND_DUMP_STATS_AT(name);
			snprintf(name, sizeof(name), "%s push 1", bench_pool[i].name);
			CALLGRIND_ZERO_STATS;
			kvm_dirty_pool_push(&claim, BENCH_SLOT, k);
			CALLGRIND_DUMP_STATS_AT(name);
			snprintf(name, sizeof(name), "%s return 1", bench_pool[i].name);
			CALLGRIND_ZERO_STATS;
			kvm_dirty_pool_return(&t->pool, &t->vcpu[0].user, &claim);
			CALLGRIND_DUMP_STATS_AT(name);
		}
		bench_pool[i].destroy(t);
	}
}
