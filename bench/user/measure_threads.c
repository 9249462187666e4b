// SPDX-License-Identifier: GPL-2.0
/* Several threads: contention, over-commitment, devices. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include <linux/atomic.h>
#include <linux/slab.h>
#include "measure.h"
#include "rival_pool.h"

#define MAX_THREADS	64
#define QUOTA		3072	/* pages of a thread between two drains */
#define PAIR_QUOTA	1920	/* no ring is full if it gets those of two */
#define ENTRIES		4096
#define SLICES		8
#define BUDGET		15	/* seconds; a busy machine gets fewer rounds */

int bench_cpus;
unsigned long bench_disturbed, bench_slices;

static const struct bench_rival *const rivals[] = {
	&bench_per_vcpu, &bench_vm_spinlock, &bench_vm_lockfree, &bench_bitmap,
	&bench_pool[0], &bench_pool[1], &bench_pool[2], &bench_pool[3],
};

#define RIVALS	ARRAY_SIZE(rivals)

void measure_pin(int cpu)
{
	cpu_set_t set;
	int i;

	CPU_ZERO(&set);
	for (i = 0; i < bench_cpus; i++) {
		if (cpu < 0 || i == cpu % bench_cpus)
			CPU_SET(i, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}

/**
 * struct crew - threads that work on one tracker
 * @rival: of the tracker
 * @tracker: what they mark in
 * @nr: of threads
 * @batch: of marks
 * @page: what they mark, CHUNK pages
 * @arrived: threads at the start of a slice
 * @slice: that they work at, in measure_pair()
 * @stop: end of the run
 * @share: of all marks that the device makes
 * @progress: marks of the vCPU
 * @drain: one drains at a time, as under QEMU's lock
 * @member: the threads
 */
struct crew {
	const struct bench_rival *rival;
	void *tracker;
	int nr;
	u32 batch;
	const u64 *page;
	atomic_t arrived;
	int slice ____cacheline_aligned_in_smp;
	bool stop;
	double share;
	u64 progress;
	pthread_mutex_t drain;
	struct member {
		struct crew *crew;
		pthread_t thread;
		int id;
		bool disturbed;
		double rate[SLICES];
		double begin;
		double end;
		u64 marked ____cacheline_aligned_in_smp;
		u64 exits;
	} member[MAX_THREADS];
};

static void crew_run(struct crew *crew, void *(*fn)(void *member))
{
	int i;

	atomic_set(&crew->arrived, 0);
	for (i = 0; i < crew->nr; i++) {
		crew->member[i] = (struct member){ .crew = crew, .id = i };
		pthread_create(&crew->member[i].thread, NULL, fn,
			       &crew->member[i]);
	}
}

static void crew_join(struct crew *crew)
{
	int i;

	for (i = 0; i < crew->nr; i++)
		pthread_join(crew->member[i].thread, NULL);
}

/* Wait for the others, and look at the clock: they run at the same time. */
static void crew_meet(struct crew *crew, int count)
{
	int spins = 0;

	atomic_fetch_inc(&crew->arrived);
	while (atomic_read_acquire(&crew->arrived) < count * crew->nr) {
		if (bench_cpus < crew->nr || ++spins > 10000)
			sched_yield();
		cpu_relax();
	}
}

/*
 * 2a: marking only, a CPU for each thread.  Thread 0 alone, both, thread 1
 * alone, both, and that again with the other CPU draining: what is compared
 * lies microseconds apart, and is spared no cache line that the other is not.
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
	/* The first slice is not counted: it fills the caches. */
	for (i = -1; i < SLICES; i++) {
		double begin, end;

		crew_meet(crew, ++meet);
		begin = bench_now();
		/* Until the first is done: they work side by side all along. */
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

/* Two threads that share nothing at all: what the machine allows. */
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

void measure_pair(const struct bench_options *opt)
{
	static const struct bench_rival *const all[] = {
		&bare_loop,
		&bench_per_vcpu, &bench_vm_spinlock, &bench_vm_lockfree,
		&bench_bitmap, &bench_pool[0], &bench_pool[1], &bench_pool[2],
		&bench_pool[3],
	};
	static const u32 batches[] = { 1, 64 };
	static double rate[2][2][ARRAY_SIZE(all)][1024];
	static u64 page[CHUNK];
	static struct crew crew;
	void *tracker[ARRAY_SIZE(all)];
	int b, i, n, round, rounds = opt->rounds;
	double begin = bench_now();

	measure_pages(page, CHUNK, 2);
	crew.page = page;
	crew.nr = 2;
	for (i = 0; i < ARRAY_SIZE(all); i++)
		tracker[i] = all[i]->create(all[i], 2, ENTRIES);
	for (round = 0; round < rounds; round++) {
		for (b = 0; b < 2; b++) {
			for (i = 0; i < ARRAY_SIZE(all); i++) {
				int k = (i + round) % ARRAY_SIZE(all);

				crew.rival = all[k];
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
			for (i = 0; i < ARRAY_SIZE(all); i++) {
				bench_begin(opt->out, "pair");
				bench_text(opt->out, "rival", all[i]->name);
				bench_number(opt->out, "threads", n + 1);
				bench_number(opt->out, "batch", batches[b]);
				bench_values(opt->out, "mpages", rate[n][b][i],
					     rounds);
				bench_end(opt->out);
			}
		}
	}
	for (i = 0; i < ARRAY_SIZE(all); i++)
		all[i]->destroy(tracker[i]);
}

/* 2b: marking and draining for a while, more threads than CPUs. */
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
	static const struct bench_rival *const all[] = {
		&bench_per_vcpu, &bench_vm_spinlock, &bench_vm_lockfree,
		&bench_bitmap, &bench_pool[0], &bench_pool[1], &bench_pool[2],
		&bench_pool[3], &bench_pool_nostop[0],
	};
	static const u32 batches[] = { 1, 64 };
	static const int threads[] = { 1, 2, 4, 8, 16, 32, 64 };
	/* Rate, exits per million pages, retries and moves per claim. */
	static double v[4][2][ARRAY_SIZE(threads)][ARRAY_SIZE(all)][64];
	static const char *const what[] = {
		"mpages", "exits", "retries", "moves"
	};
	static u64 page[CHUNK];
	static struct crew crew;
	int nr_threads = opt->quick ? 3 : ARRAY_SIZE(threads);
	int b, i, j, n, round, loops = opt->loops;
	double begin = bench_now();

	measure_pages(page, CHUNK, 3);
	crew.page = page;
	pthread_mutex_init(&crew.drain, NULL);
	for (round = 0; round < loops; round++) {
		for (n = 0; n < nr_threads; n++) {
			for (j = 0; j < 2 * ARRAY_SIZE(all); j++) {
				struct bench_stats s = { 0 };
				struct timespec nap = { 0 };
				double t;
				u64 sum = 0, exits = 0;

				i = (j / 2 + round) % ARRAY_SIZE(all);
				b = j % 2;
				crew.rival = all[i];
				crew.nr = threads[n];
				crew.batch = batches[b];
				crew.stop = false;
				crew.tracker = all[i]->create(all[i], crew.nr,
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
				if (all[i]->stats)
					all[i]->stats(crew.tracker, &s);
				if (!s.claims)
					s.claims = 1;
				v[0][b][n][i][round] = sum * 1e3 / t;
				v[1][b][n][i][round] = sum ? exits * 1e6 / sum : 0;
				v[2][b][n][i][round] = (double)s.retries / s.claims;
				v[3][b][n][i][round] = (double)s.moves / s.claims;
				all[i]->destroy(crew.tracker);
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
			for (i = 0; i < ARRAY_SIZE(all); i++) {
				bench_begin(opt->out, "threads");
				bench_text(opt->out, "rival", all[i]->name);
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

/*
 * 5: a vCPU, and on another CPU a device that marks so many pages that they
 * are the share of all.
 */
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
	/* ns a mark of the vCPU and of the device */
	static double v[2][ARRAY_SIZE(shares)][ARRAY_SIZE(rivals)][1024];
	static double got[ARRAY_SIZE(shares)][ARRAY_SIZE(rivals)][1024];
	static u64 page[CHUNK];
	static struct crew crew;
	void *tracker[ARRAY_SIZE(rivals)];
	int i, n, round, rounds = (opt->rounds + 3) / 4, try;
	double begin = bench_now();

	measure_pages(page, CHUNK, 5);
	crew.page = page;
	crew.nr = 2;
	/* Two vCPUs, of which one runs: room for its marks and the device's. */
	for (i = 0; i < RIVALS; i++)
		tracker[i] = rivals[i]->create(rivals[i], 4, ENTRIES);
	for (round = 0; round < rounds; round++) {
		for (n = 0; n < ARRAY_SIZE(shares); n++) {
			for (i = 0; i < RIVALS; i++) {
				int k = (i + round) % RIVALS;
				struct member *m = crew.member;

				for (try = 0; try < TRIES; try++) {
					crew.rival = rivals[k];
					crew.tracker = tracker[k];
					crew.share = shares[n];
					crew.progress = 0;
					crew.stop = false;
					crew_run(&crew, device_thread);
					crew_join(&crew);
					bench_drain(rivals[k], tracker[k]);
					rivals[k]->exit(tracker[k], 0);
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
		for (i = 0; i < RIVALS; i++) {
			bench_begin(opt->out, "device");
			bench_text(opt->out, "rival", rivals[i]->name);
			bench_number(opt->out, "share", shares[n]);
			bench_values(opt->out, "ns", v[0][n][i], rounds);
			bench_values(opt->out, "device_ns", v[1][n][i], rounds);
			bench_values(opt->out, "got", got[n][i], rounds);
			bench_end(opt->out);
		}
	}
	for (i = 0; i < RIVALS; i++)
		rivals[i]->destroy(tracker[i]);
}
