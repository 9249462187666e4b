// SPDX-License-Identifier: GPL-2.0
/*
 * Question 5: a vCPU marks on one CPU, and on another one a device marks a given
 * share of all pages.
 */
#include <linux/atomic.h>
#include "crew.h"

#define QUOTA		3072	/* pages of the vCPU between two drains */

static void *device_thread(void *data)
{
	struct member *m = data;
	struct crew *crew = m->crew;
	u64 page = 0;

	measure_pin(m->id);
	measure_disturbed();
	crew_meet(crew, 1);
	if (!m->id) {
		m->begin = bench_now();
		while (m->marked < QUOTA) {
			m->marked += crew->rival->run(crew->tracker, 0,
					crew->page + m->marked % 1024, 64, 1);
			WRITE_ONCE(crew->progress, m->marked);
		}
		m->end = bench_now();
		WRITE_ONCE(crew->stop, true);
	} else {
		double per = crew->share / (1 - crew->share);

		m->begin = 0;
		while (!READ_ONCE(crew->stop)) {
			u64 due = READ_ONCE(crew->progress) * per;
			double t;

			if (m->marked + 16 > due) {
				for (int i = 0; i < 16; i++)
					cpu_relax();
				continue;
			}
			t = bench_now();
			m->marked += crew->rival->run(crew->tracker, BENCH_VM,
					crew->page + 1024 + page, 16, 16);
			m->begin += bench_now() - t;
			page = (page + 16) % 1024;
		}
	}
	m->disturbed = measure_disturbed();
	return NULL;
}

void measure_device(const struct bench_options *opt)
{
	static const double shares[] = { 0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5 };
	/* ns per mark, of the vCPU and of the device */
	static double v[2][ARRAY_SIZE(shares)][BENCH_MAX_RIVALS][MAX_ROUNDS];
	static double got[ARRAY_SIZE(shares)][BENCH_MAX_RIVALS][MAX_ROUNDS];
	static u64 page[CHUNK];
	static struct crew crew;
	struct bench_rivals rivals = { };
	void *tracker[BENCH_MAX_RIVALS];
	int i, n, round, rounds = (opt->rounds + 3) / 4, try;
	double begin = bench_now();

	rivals_add_all(&rivals);
	bench_pages(page, CHUNK, 5);
	crew.page = page;
	crew.nr = 2;
	/* One of four vCPUs runs: room for its marks and the device's. */
	for (i = 0; i < rivals.nr; i++)
		tracker[i] = rivals.of[i]->create(rivals.of[i], 4, ENTRIES);
	for (round = 0; round < rounds; round++) {
		for (n = 0; n < ARRAY_SIZE(shares); n++) {
			for (i = 0; i < rivals.nr; i++) {
				int k = (i + round) % rivals.nr;
				struct member *m = crew.member;

				for (try = 0; try < TRIES; try++) {
					crew.rival = rivals.of[k];
					crew.tracker = tracker[k];
					crew.share = shares[n];
					crew.progress = 0;
					crew.stop = false;
					crew_run(&crew, device_thread);
					crew_join(&crew);
					bench_drain(rivals.of[k], tracker[k]);
					rivals.of[k]->exit(tracker[k], 0);
					bench_slices++;
					if (!m[0].disturbed && !m[1].disturbed)
						break;
					bench_disturbed++;
				}
				v[0][n][k][round] = (m[0].end - m[0].begin) /
						    m[0].marked;
				v[1][n][k][round] = m[1].marked ?
					m[1].begin / m[1].marked : 0;
				got[n][k][round] = (double)m[1].marked /
					(m[0].marked + m[1].marked);
			}
		}
		if (bench_late(begin, BUDGET))
			rounds = round + 1;
		bench_progress("5. marks that belong to no vCPU", round + 1,
			       rounds);
	}
	for (n = 0; n < ARRAY_SIZE(shares); n++) {
		for (i = 0; i < rivals.nr; i++) {
			bench_begin(opt->out, "device");
			bench_text(opt->out, "rival", rivals.of[i]->name);
			bench_number(opt->out, "share", shares[n]);
			bench_values(opt->out, "ns", v[0][n][i], rounds);
			bench_values(opt->out, "device_ns", v[1][n][i], rounds);
			bench_values(opt->out, "got", got[n][i], rounds);
			bench_end(opt->out);
		}
	}
	for (i = 0; i < rivals.nr; i++)
		rivals.of[i]->destroy(tracker[i]);
}
