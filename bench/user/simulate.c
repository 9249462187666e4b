// SPDX-License-Identifier: GPL-2.0
/*
 * Questions about capacity and drains.  No clock, no threads: N simulated
 * vCPUs mark pages in the real trackers, the same ones in every run.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <linux/slab.h>
#include "measure.h"
#include "rival_pool.h"

#define PAGES		4096

static const struct skew {
	const char *name;
	double s;	/* of Zipf's law; 0: all alike; < 0: the first's share */
} skews[] = {
	{ "uniform", 0 }, { "zipf 0.9", 0.9 }, { "zipf 1.2", 1.2 },
	{ "one-hot", -1 },
};

/* How likely vCPU i and those before it are the one that marks. */
static double *skew_table(const struct skew *skew, u32 nr)
{
	double *table = bench_alloc(nr * sizeof(*table));
	double sum = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		if (skew->s < 0)
			sum += i ? (1 + skew->s) / (nr - 1) : -skew->s;
		else
			sum += pow(i + 1, -skew->s);
		table[i] = sum;
	}
	for (i = 0; i < nr; i++)
		table[i] /= sum;
	return table;
}

static u32 skew_pick(const double *table, u32 nr, u64 *seed)
{
	double x = (bench_random(seed) >> 11) / (double)BIT(53);
	u32 low = 0, high = nr - 1;

	while (low < high) {
		u32 mid = (low + high) / 2;

		if (x < table[mid])
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static const u64 *some_pages(void)
{
	static u64 page[PAGES];

	if (!page[0] && !page[1])
		measure_pages(page, PAGES, 7);
	return page;
}

/* 3: pages dirtied until a vCPU exits, and until one must stop. */
static void capacity_cell(const struct bench_options *opt,
			  const struct bench_rival *rival, u32 nr, u32 entries,
			  const struct skew *skew)
{
	void *tracker = rival->create(rival, nr, entries);
	double *table = skew_table(skew, nr);
	const u64 *page = some_pages();
	u64 seed = 11, marked = 0, exit = 0, limit = 2ull * nr * entries;

	while (marked < limit) {
		u32 who = skew_pick(table, nr, &seed);

		marked += rival->run(tracker, who, page + marked % PAGES, 1, 1);
		if (!rival->exit(tracker, who))
			continue;
		if (!exit)
			exit = marked;
		/* The pool's vCPU reports the parked ring, and may go on. */
		if (rival->gate(tracker, who))
			break;
	}
	bench_begin(opt->out, "capacity");
	bench_text(opt->out, "rival", rival->name);
	bench_text(opt->out, "skew", skew->name);
	bench_number(opt->out, "vcpus", nr);
	bench_number(opt->out, "entries", entries);
	bench_number(opt->out, "rsvd", bench_rsvd());
	bench_number(opt->out, "exit", exit);
	bench_number(opt->out, "stop", marked < limit ? marked : 0);
	bench_end(opt->out);
	kfree(table);
	rival->destroy(tracker);
}

void simulate_capacity(const struct bench_options *opt)
{
	static const struct bench_rival *const rivals[] = {
		&bench_per_vcpu, &bench_vm_lockfree,
		&bench_pool[0], &bench_pool[1], &bench_pool[2], &bench_pool[3],
		&bench_pool_nostop[0],
	};
	u32 entries = 1024, nr, i, s;
	u32 most = opt->quick ? 16 : 1024;

	for (nr = 2; nr <= most; nr *= 2) {
		for (s = 0; s < ARRAY_SIZE(skews); s++) {
			for (i = 0; i < ARRAY_SIZE(rivals); i++)
				capacity_cell(opt, rivals[i], nr, entries,
					      &skews[s]);
		}
		bench_progress("3. capacity under skew", nr, most);
	}
}

/*
 * 4 and 7: time passes in ticks, of which each has one page dirtied, by a vCPU
 * drawn by the skew; if that one stands still, it is not.
 *
 * Userspace is QEMU's: a vCPU that exits harvests all rings under a lock, and
 * a reaper does so every period.  A harvest takes a fixed time and some for
 * each entry, and ends with the reset.
 */
#define HARVEST_FIXED	20.0	/* us */
#define HARVEST_ENTRY	0.05
#define WINDOW		1000.0	/* us, in which parks count as a herd */
#define MAX_CPUS	2
#define BLOCK		16	/* pages */
#define SWITCH		20	/* pages' time */
#define SIM_NOBODY	(~0u)

/**
 * struct sim_setup - what is simulated; times in us
 * @nr: number of vCPUs
 * @entries: of a ring
 * @skew: who dirties the pages
 * @tick: between two pages
 * @period: of the reaper
 * @length: of it all
 * @fixed: of a harvest
 * @entry: of a harvest, for each entry
 * @swap: between two vCPUs on one CPU
 * @cpus: that the vCPUs share, in turns; 0: each has its own
 */
struct sim_setup {
	u32 nr;
	u32 entries;
	const struct skew *skew;
	double tick;
	double period;
	double length;
	double fixed;
	double entry;
	double swap;
	u32 cpus;
};

struct sim {
	const struct bench_rival *rival;
	const struct sim_setup *setup;
	void *tracker;
	struct bench_tracker *common;
	u32 nr;
	double now;		/* us */
	u32 running[MAX_CPUS];
	double turn_begin[MAX_CPUS];
	double turn_end[MAX_CPUS];
	u32 burst;
	/* The queue for the lock; nr is the reaper. */
	u32 *queue;
	u64 head;
	u64 tail;
	bool *queued;
	bool active;
	u32 active_who;
	double active_end;
	double *since;		/* when a vCPU's exit began, or < 0 */
	/* what is found */
	u64 marked;
	u64 missed;
	u64 exits;
	double still;
	u64 harvests;
	u64 harvested;
	u64 longest;
	u64 parks_before;
	u64 windows;
	u64 parks_in_windows;
	u32 herd;
	u32 herd_now;
	double window_end;
};

static void sim_queue(struct sim *sim, u32 who)
{
	if (sim->queued[who])
		return;
	sim->queued[who] = true;
	sim->queue[sim->tail++ % (sim->nr + 1)] = who;
}

static void sim_drain(struct sim *sim)
{
	struct bench_harvest h = { 0 };
	u32 who;

	if (sim->active && sim->now >= sim->active_end) {
		sim->active = false;
		sim->rival->reset(sim->tracker);
		who = sim->active_who;
		if (who < sim->nr) {
			if (sim->rival->gate(sim->tracker, who)) {
				sim_queue(sim, who);
			} else {
				sim->still += sim->now - sim->since[who];
				sim->since[who] = -1;
			}
		}
	}
	if (sim->active || sim->head == sim->tail)
		return;

	who = sim->queue[sim->head++ % (sim->nr + 1)];
	sim->queued[who] = false;
	sim->rival->harvest(sim->tracker, &h);
	sim->harvests++;
	sim->harvested += h.total;
	sim->longest += h.longest;
	sim->active = true;
	sim->active_who = who;
	sim->active_end = sim->now + sim->setup->fixed +
			  sim->setup->entry * h.total;
}

static void sim_herd(struct sim *sim, u64 parks)
{
	sim->herd_now += parks;
	if (sim->now < sim->window_end)
		return;
	if (sim->herd_now) {
		sim->windows++;
		sim->parks_in_windows += sim->herd_now;
	}
	if (sim->herd_now > sim->herd)
		sim->herd = sim->herd_now;
	sim->herd_now = 0;
	sim->window_end += WINDOW;
}

/*
 * The VM of 'make run' has two CPUs.  Of its vCPUs two have a turn of 4 ms at a
 * time, and one while the other CPU harvests.  If one of them is hot, it has a
 * CPU for itself, and the others come to write a block of 16 pages now and then.
 */
static u32 sim_turn(struct sim *sim, u64 *seed)
{
	u32 cpu = bench_random(seed) % sim->setup->cpus, i, k;

	if (sim->setup->skew->s) {
		double hot = -sim->setup->skew->s;
		double start = (1 - hot) / hot / BLOCK;

		if (!sim->burst && bench_random(seed) % 1000000 < 1e6 * start) {
			sim->burst = BLOCK;
			sim->running[1] = 1 + bench_random(seed) % (sim->nr - 1);
		}
		if (!sim->burst || !cpu)
			return 0;
		if (sim->since[sim->running[1]] < 0)
			sim->burst--;
		return sim->running[1];
	}

	if ((sim->active && cpu) || sim->now < sim->turn_begin[cpu])
		return SIM_NOBODY;

	if (sim->since[sim->running[cpu]] < 0 && sim->now < sim->turn_end[cpu])
		return sim->running[cpu];

	for (i = 1; i <= sim->nr; i++) {
		u32 who = (sim->running[cpu] + i) % sim->nr;
		bool free = sim->since[who] < 0;

		for (k = 0; k < sim->setup->cpus; k++)
			free &= k == cpu || sim->running[k] != who;
		if (free) {
			sim->running[cpu] = who;
			sim->turn_begin[cpu] = sim->now + sim->setup->swap;
			sim->turn_end[cpu] = sim->now + sim->setup->period / 25;
			return sim->setup->swap ? SIM_NOBODY : who;
		}
	}
	return sim->running[cpu];
}

static void sim_run(struct sim *sim, const struct bench_rival *rival,
		    const struct sim_setup *setup)
{
	u32 nr = setup->nr;
	double *table = skew_table(setup->skew, nr);
	const u64 *page = some_pages();
	double reap = setup->period, length = setup->length;
	u64 seed = 13, i;

	memset(sim, 0, sizeof(*sim));
	sim->rival = rival;
	sim->setup = setup;
	sim->nr = nr;
	sim->tracker = rival->create(rival, nr, setup->entries);
	sim->common = sim->tracker;
	sim->queue = bench_alloc((nr + 1) * sizeof(*sim->queue));
	sim->queued = bench_alloc(nr + 1);
	sim->since = bench_alloc(nr * sizeof(*sim->since));
	sim->window_end = WINDOW;
	for (i = 0; i < MAX_CPUS; i++)
		sim->running[i] = i;
	for (i = 0; i < nr; i++)
		sim->since[i] = -1;

	for (i = 0; sim->now < length; sim->now = ++i * setup->tick) {
		u32 who = setup->cpus ? sim_turn(sim, &seed) :
					skew_pick(table, nr, &seed);
		u64 parks;

		if (sim->now >= reap) {
			reap += setup->period;
			sim_queue(sim, nr);
		}
		sim_drain(sim);
		if (who == SIM_NOBODY || sim->since[who] >= 0) {
			sim->missed++;
			sim_herd(sim, 0);
			continue;
		}

		sim->marked += rival->run(sim->tracker, who, page + i % PAGES,
					  1, 1);
		if (rival->exit(sim->tracker, who)) {
			sim->exits++;
			sim->since[who] = sim->now;
			sim_queue(sim, who);
			/* A ring per vCPU: its exit is the park. */
			if (!rival->policy)
				sim->common->parks++;
		}
		if (rival->nostop && sim->common->wake)
			sim_queue(sim, nr);
		sim->common->wake = false;
		parks = sim->common->parks;
		sim_herd(sim, parks - sim->parks_before);
		sim->parks_before = parks;
	}
	for (i = 0; i < nr; i++) {
		if (sim->since[i] >= 0)
			sim->still += sim->now - sim->since[i];
	}

	rival->destroy(sim->tracker);
	kfree(table);
	kfree(sim->queue);
	kfree(sim->queued);
	kfree(sim->since);
}

static void sim_report(const struct sim *sim, FILE *out)
{
	bench_number(out, "marked", sim->marked);
	bench_number(out, "missed", sim->missed);
	bench_number(out, "exits", sim->exits);
	bench_number(out, "still_ms", sim->still / 1e3);
	bench_number(out, "parks", sim->parks_before);
	bench_number(out, "herd", sim->herd);
	bench_number(out, "herd_mean", sim->windows ?
		     (double)sim->parks_in_windows / sim->windows : 0);
	bench_number(out, "harvests", sim->harvests);
	bench_number(out, "harvested", sim->harvested);
	bench_number(out, "longest", sim->longest);
}

void simulate_drains(const struct bench_options *opt)
{
	static const struct bench_rival *const rivals[] = {
		&bench_per_vcpu, &bench_vm_lockfree,
		&bench_pool[0], &bench_pool[1], &bench_pool[2], &bench_pool[3],
		&bench_pool_nostop[0], &bench_pool_nostop[1],
		&bench_pool_nostop[2], &bench_pool_nostop[3],
	};
	static const double periods[] = { 1, 5, 20, 100 };	/* ms */
	struct sim_setup setup = {
		.nr = 16, .entries = 1024, .tick = 1.0,
		.length = opt->quick ? 1e5 : 1e6,
		.fixed = HARVEST_FIXED, .entry = HARVEST_ENTRY,
	};
	struct sim sim;
	int i, p, s;

	for (s = 0; s < ARRAY_SIZE(skews); s++) {
		for (p = 0; p < ARRAY_SIZE(periods); p++) {
			for (i = 0; i < ARRAY_SIZE(rivals); i++) {
				setup.skew = &skews[s];
				setup.period = periods[p] * 1e3;
				sim_run(&sim, rivals[i], &setup);
				bench_begin(opt->out, "drains");
				bench_text(opt->out, "rival", rivals[i]->name);
				bench_text(opt->out, "skew", skews[s].name);
				bench_number(opt->out, "period_ms", periods[p]);
				bench_number(opt->out, "vcpus", setup.nr);
				bench_number(opt->out, "entries", setup.entries);
				bench_number(opt->out, "seconds",
					     setup.length / 1e6);
				sim_report(&sim, opt->out);
				bench_end(opt->out);
			}
			bench_progress("4. drains",
				       s * ARRAY_SIZE(periods) + p + 1,
				       ARRAY_SIZE(skews) * ARRAY_SIZE(periods));
		}
	}
}

/*
 * 4 again, with what 'make run' has in the VM: its rings, numbers of vCPUs and
 * workloads.  The tick is one page there, whatever it takes, and what counts
 * is how many fit into a period of the reaper, and into a harvest.
 */
static void twin_cells(const struct bench_options *opt,
		       const struct sim_setup *setup)
{
	static const struct bench_rival *const rivals[] = {
		&bench_per_vcpu, &bench_pool[0], &bench_pool[1], &bench_pool[2],
		&bench_pool[3], &bench_pool_nostop[0],
	};
	struct sim sim;
	int i;

	for (i = 0; i < ARRAY_SIZE(rivals); i++) {
		sim_run(&sim, rivals[i], setup);
		bench_begin(opt->out, "twin");
		bench_text(opt->out, "rival", rivals[i]->name);
		bench_text(opt->out, "workload", setup->skew->name);
		bench_number(opt->out, "vcpus", setup->nr);
		bench_number(opt->out, "cpus", setup->cpus);
		bench_number(opt->out, "swap", setup->swap);
		bench_number(opt->out, "cost", setup->entry);
		bench_number(opt->out, "pages_a_period", setup->period);
		bench_number(opt->out, "exits", sim.exits);
		bench_number(opt->out, "marked", sim.marked);
		bench_end(opt->out);
	}
}

void simulate_twin(const struct bench_options *opt)
{
	static const struct skew workload[] = {
		{ "uniform", 0 }, { "skewed", -0.9 },
	};
	static const double costs[] = { 0.02, 0.05, 0.1 };
	int i, c, nr_costs = opt->quick ? 1 : ARRAY_SIZE(costs);
	struct sim_setup setup = {
		.entries = 256, .tick = 1.0, .length = 1 << 14, .fixed = 1.0,
	};

	/* Each workload as in question 4, with the VM's CPUs, with changes. */
	for (i = 0; i < 3 * ARRAY_SIZE(workload); i++) {
		setup.skew = &workload[i / 3];
		setup.cpus = i % 3 ? MAX_CPUS : 0;
		setup.swap = i % 3 == 2 ? SWITCH : 0;
		for (c = 0; c < nr_costs; c++) {
			setup.entry = costs[c];
			for (setup.nr = 2; setup.nr <= 8; setup.nr *= 2) {
				for (setup.period = 1024; setup.period <= 16384;
				     setup.period *= 2)
					twin_cells(opt, &setup);
			}
		}
	}
	bench_progress("4. drains, with the rings of 'make run'", 1, 1);
}

/* 7: stops a second with rings of different sizes. */
void simulate_memory(const struct bench_options *opt)
{
	static const struct bench_rival *const rivals[] = {
		&bench_per_vcpu, &bench_pool[0], &bench_pool_nostop[0],
	};
	static const u32 vcpus[] = { 4, 16, 64 };
	struct sim_setup setup = {
		.tick = 5.0, .period = 1e5,
		.length = opt->quick ? 1e5 : 2e6,
		.fixed = HARVEST_FIXED, .entry = HARVEST_ENTRY,
	};
	u32 entries, most = opt->quick ? 4096 : 65536;
	struct sim sim;
	int i, n, s;

	for (n = 0; n < ARRAY_SIZE(vcpus); n++) {
		for (s = 0; s < ARRAY_SIZE(skews); s++) {
			for (i = 0; i < ARRAY_SIZE(rivals); i++) {
				for (entries = 256; entries <= most; entries *= 2) {
					if ((u64)entries * vcpus[n] > 1 << 20)
						break;
					setup.nr = vcpus[n];
					setup.entries = entries;
					setup.skew = &skews[s];
					sim_run(&sim, rivals[i], &setup);
					bench_begin(opt->out, "memory");
					bench_text(opt->out, "rival", rivals[i]->name);
					bench_text(opt->out, "skew", skews[s].name);
					bench_number(opt->out, "vcpus", vcpus[n]);
					bench_number(opt->out, "entries", entries);
					bench_number(opt->out, "bytes",
						     16.0 * entries * vcpus[n]);
					bench_number(opt->out, "stops",
						     sim.exits * 1e6 /
						     setup.length);
					bench_end(opt->out);
					if (!sim.exits)
						break;
				}
			}
			bench_progress("7. memory", n * ARRAY_SIZE(skews) + s + 1,
				       ARRAY_SIZE(vcpus) * ARRAY_SIZE(skews));
		}
	}
}
