// SPDX-License-Identifier: GPL-2.0
/* Question 2: marking only, a CPU for each of two threads. */
#include <sched.h>
#include <stdlib.h>
#include <linux/slab.h>
#include "crew.h"

#define PAIR_QUOTA	1920	/* one ring has room for both threads' marks */

/*
 * Thread 0 marks alone, both do, thread 1 alone, both again; then the same with
 * the other CPU draining.  So what is compared lies microseconds apart, and both
 * sides find the same cache lines on the other CPU.
 */
static bool pair_marks(int slice, int id)
{
	return (slice & 1) || slice < 0 || ((slice & 2) ? id == 1 : id == 0);
}

static void *pair_thread(void *data)
{
	struct member *m = data;
	struct crew *crew = m->crew;
	int i, meet = 0;
	u32 done, some;

	measure_pin(m->id);
	measure_disturbed();
	/* The first slice fills the caches and does not count. */
	for (i = -1; i < SLICES; i++) {
		double begin, end;

		crew_meet(crew, ++meet);
		begin = bench_now();
		/* Stop when the first one is done: both work all the time. */
		for (done = 0; pair_marks(i, m->id) && done < PAIR_QUOTA &&
		     READ_ONCE(crew->slice) == i; done += some) {
			some = crew->rival->run(crew->tracker, m->id,
						crew->page + m->id * 1024 +
						done % 1024, 64, crew->batch);
			if (some < 64)
				break;
		}
		end = bench_now();
		if (done)
			WRITE_ONCE(crew->slice, i + 1);
		if (i >= 0)
			m->rate[i] = done * 1e3 / (end - begin);
		crew_meet(crew, ++meet);
		if (m->id == !!((i + 1) & 4))
			bench_drain(crew->rival, crew->tracker);
	}
	m->disturbed = measure_disturbed();
	return NULL;
}

/* Pages per us of one thread, and of two. */
static void pair_slices(struct crew *crew, double *one, double *two)
{
	int i, k, try;

	for (try = 0; try < TRIES; try++) {
		crew->slice = -1;
		crew_run(crew, pair_thread);
		crew_join(crew);
		bench_slices++;
		if (!crew->member[0].disturbed && !crew->member[1].disturbed)
			break;
		bench_disturbed++;
	}
	*one = 0;
	*two = 0;
	for (i = 0; i < SLICES; i++) {
		for (k = 0; k < 2; k++)
			*(i & 1 ? two : one) += crew->member[k].rate[i] * 2 / SLICES;
	}
}

/* Two threads that share nothing at all: the limit of the machine. */
static u32 bare_run(void *tracker, u32 who, const u64 *page, u32 nr, u32 batch)
{
	u64 x = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		x = (x ^ page[i]) * 0x9e3779b97f4a7c15ULL;
		barrier();
	}
	__asm__ __volatile__("" : : "r" (x));
	return nr;
}

static void *bare_create(const struct bench_rival *rival, u32 nr, u32 entries)
{
	return bench_alloc(sizeof(struct bench_tracker));
}

static void bare_destroy(void *tracker)
{
	kfree(tracker);
}

static void bare_harvest(void *tracker, struct bench_harvest *harvest)
{
}

static void bare_reset(void *tracker)
{
}

static const struct bench_rival bare_loop = {
	.name		= "bare loop",
	.create		= bare_create,
	.destroy	= bare_destroy,
	.run		= bare_run,
	.harvest	= bare_harvest,
	.reset		= bare_reset,
};

double bench_line;

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

void measure_pair(const struct bench_options *opt)
{
	static const u32 batches[] = { 1, 64 };
	static double rate[2][2][BENCH_MAX_RIVALS][MAX_ROUNDS];
	static double line[MAX_ROUNDS];
	static u64 page[CHUNK];
	static struct crew crew;
	struct bench_rivals all = { };
	void *tracker[BENCH_MAX_RIVALS];
	int b, i, n, round, rounds = opt->rounds;
	double begin = bench_now();

	rivals_add(&all, &bare_loop);
	rivals_add_all(&all);
	bench_pages(page, CHUNK, 2);
	crew.page = page;
	crew.nr = 2;
	for (i = 0; i < all.nr; i++)
		tracker[i] = all.of[i]->create(all.of[i], 2, ENTRIES);
	for (round = 0; round < rounds; round++) {
		/* A hypervisor may move the two CPUs closer together, or apart. */
		line[round] = measure_line();
		for (b = 0; b < 2; b++) {
			for (i = 0; i < all.nr; i++) {
				int k = (i + round) % all.nr;

				crew.rival = all.of[k];
				crew.tracker = tracker[k];
				crew.batch = batches[b];
				pair_slices(&crew, &rate[0][b][k][round],
					    &rate[1][b][k][round]);
			}
		}
		if (bench_late(begin, BUDGET))
			rounds = round + 1;
		bench_progress("2. one and two threads, marking only",
			       round + 1, rounds);
	}
	for (n = 0; n < 2; n++) {
		for (b = 0; b < 2; b++) {
			for (i = 0; i < all.nr; i++) {
				bench_begin(opt->out, "pair");
				bench_text(opt->out, "rival", all.of[i]->name);
				bench_number(opt->out, "threads", n + 1);
				bench_number(opt->out, "batch", batches[b]);
				bench_values(opt->out, "mpages", rate[n][b][i],
					     rounds);
				bench_end(opt->out);
			}
		}
	}
	bench_begin(opt->out, "line");
	bench_values(opt->out, "ns", line, rounds);
	bench_end(opt->out);
	qsort(line, rounds, sizeof(*line), compare);
	bench_line = line[rounds / 2];
	for (i = 0; i < all.nr; i++)
		all.of[i]->destroy(tracker[i]);
}
