// SPDX-License-Identifier: GPL-2.0
/* Question 2: marking and draining for a while, with more threads than CPUs. */
#include <sched.h>
#include <linux/atomic.h>
#include "crew.h"

#define MAX_LOOPS	64

static void *busy_thread(void *data)
{
	struct member *m = data;
	struct crew *crew = m->crew;
	u32 at = m->id * 64 % CHUNK;

	crew_meet(crew, 1);
	while (!READ_ONCE(crew->stop)) {
		m->marked += crew->rival->run(crew->tracker, m->id,
					      crew->page + at, 64, crew->batch);
		at = (at + 64) % CHUNK;
		if (likely(!crew->rival->exit(crew->tracker, m->id)))
			continue;
		m->exits++;
		pthread_mutex_lock(&crew->drain);
		bench_drain(crew->rival, crew->tracker);
		pthread_mutex_unlock(&crew->drain);
		while (!READ_ONCE(crew->stop) &&
		       crew->rival->gate(crew->tracker, m->id)) {
			pthread_mutex_lock(&crew->drain);
			bench_drain(crew->rival, crew->tracker);
			pthread_mutex_unlock(&crew->drain);
			sched_yield();
		}
	}
	return NULL;
}

void measure_threads(const struct bench_options *opt)
{
	static const u32 batches[] = { 1, 64 };
	static const int threads[] = { 1, 2, 4, 8, 16, 32, 64 };
	/* Rate, exits per million pages, retries and moves per claim. */
	static double v[4][2][ARRAY_SIZE(threads)][BENCH_MAX_RIVALS][MAX_LOOPS];
	static const char *const what[] = {
		"mpages", "exits", "retries", "moves"
	};
	static u64 page[CHUNK];
	static struct crew crew;
	struct bench_rivals all = { };
	int nr_threads = opt->quick ? 3 : ARRAY_SIZE(threads);
	int b, i, j, n, round, loops = opt->loops;
	double begin = bench_now();

	rivals_add_all(&all);
	rivals_add_nostop(&all);
	bench_pages(page, CHUNK, 3);
	crew.page = page;
	pthread_mutex_init(&crew.drain, NULL);
	for (round = 0; round < loops; round++) {
		for (n = 0; n < nr_threads; n++) {
			for (j = 0; j < 2 * all.nr; j++) {
				struct bench_stats s = { 0 };
				struct timespec nap = { 0 };
				double t;
				u64 sum = 0, exits = 0;

				i = (j / 2 + round) % all.nr;
				b = j % 2;
				crew.rival = all.of[i];
				crew.nr = threads[n];
				crew.batch = batches[b];
				crew.stop = false;
				crew.tracker = all.of[i]->create(all.of[i], crew.nr,
							      ENTRIES);
				nap.tv_nsec = opt->quick ? 20000000 :
					      threads[n] > 8 ? 80000000 : 30000000;
				measure_pin(-1);
				t = bench_now();
				crew_run(&crew, busy_thread);
				nanosleep(&nap, NULL);
				WRITE_ONCE(crew.stop, true);
				t = bench_now() - t;
				crew_join(&crew);
				for (int k = 0; k < crew.nr; k++) {
					sum += crew.member[k].marked;
					exits += crew.member[k].exits;
				}
				if (all.of[i]->stats)
					all.of[i]->stats(crew.tracker, &s);
				if (!s.claims)
					s.claims = 1;
				v[0][b][n][i][round] = sum * 1e3 / t;
				v[1][b][n][i][round] = sum ? exits * 1e6 / sum : 0;
				v[2][b][n][i][round] = (double)s.retries / s.claims;
				v[3][b][n][i][round] = (double)s.moves / s.claims;
				all.of[i]->destroy(crew.tracker);
			}
			bench_progress("2. 1 to 64 threads, marking and draining",
				       round * nr_threads + n + 1,
				       loops * nr_threads);
		}
		if (bench_late(begin, 2 * BUDGET) && round + 1 < loops) {
			loops = round + 1;
			bench_progress("2. 1 to 64 threads, marking and draining",
				       1, 1);
		}
	}
	for (n = 0; n < nr_threads; n++) {
		for (b = 0; b < 2; b++) {
			for (i = 0; i < all.nr; i++) {
				bench_begin(opt->out, "threads");
				bench_text(opt->out, "rival", all.of[i]->name);
				bench_number(opt->out, "threads", threads[n]);
				bench_number(opt->out, "batch", batches[b]);
				for (j = 0; j < 4; j++)
					bench_values(opt->out, what[j],
						     v[j][b][n][i], loops);
				bench_end(opt->out);
			}
		}
	}
}
