// SPDX-License-Identifier: GPL-2.0
#include <math.h>
#include <string.h>
#include <linux/slab.h>
#include "simulate.h"

#define WINDOW		1000.0	/* us, in which parks count as a herd */
#define BLOCK		16	/* pages */
#define NOBODY		(~0u)

const struct skew skews[NR_SKEWS] = {
	{ "uniform", 0 }, { "zipf 0.9", 0.9 }, { "zipf 1.2", 1.2 },
	{ "one-hot", -1 },
};

double *skew_table(const struct skew *skew, u32 nr)
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

u32 skew_pick(const double *table, u32 nr, u64 *seed)
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

const u64 *sim_pages(void)
{
	static u64 page[SIM_PAGES];

	if (!page[0] && !page[1])
		bench_pages(page, SIM_PAGES, 7);
	return page;
}

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
 * The VM of 'make run' has two CPUs.  Two of its vCPUs run at a time, for 4 ms
 * each; only one does while the other CPU harvests.  A hot vCPU has a CPU to
 * itself, and the others write a block of 16 pages on the other one now and then.
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
		return NOBODY;

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
			return sim->setup->swap ? NOBODY : who;
		}
	}
	return sim->running[cpu];
}

void sim_run(struct sim *sim, const struct bench_rival *rival,
	     const struct sim_setup *setup)
{
	u32 nr = setup->nr;
	double *table = skew_table(setup->skew, nr);
	const u64 *page = sim_pages();
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
	for (i = 0; i < SIM_MAX_CPUS; i++)
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
		if (who == NOBODY || sim->since[who] >= 0) {
			sim->missed++;
			sim_herd(sim, 0);
			continue;
		}

		sim->marked += rival->run(sim->tracker, who, page + i % SIM_PAGES,
					  1, 1);
		if (rival->exit(sim->tracker, who)) {
			sim->exits++;
			sim->since[who] = sim->now;
			sim_queue(sim, who);
			/* A per-vCPU ring is parked by the exit. */
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
