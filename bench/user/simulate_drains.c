// SPDX-License-Identifier: GPL-2.0
/* Question 4: exits, and how long vCPUs stand still. */
#include "simulate.h"

#define HARVEST_FIXED	20.0	/* us */
#define HARVEST_ENTRY	0.05
#define SWITCH		20	/* pages' time */

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
	static const double periods[] = { 1, 5, 20, 100 };	/* ms */
	struct sim_setup setup = {
		.nr = 16, .entries = 1024, .tick = 1.0,
		.length = opt->quick ? 1e5 : 1e6,
		.fixed = HARVEST_FIXED, .entry = HARVEST_ENTRY,
	};
	struct bench_rivals rivals = { };
	struct sim sim;
	int i, p, s;

	rivals_add(&rivals, &bench_per_vcpu);
	rivals_add(&rivals, &bench_vm_lockfree);
	rivals_add_pool(&rivals);
	for (i = 0; i < bench_nr_policies; i++)
		rivals_add(&rivals, &bench_pool_nostop[i]);

	for (s = 0; s < NR_SKEWS; s++) {
		for (p = 0; p < ARRAY_SIZE(periods); p++) {
			for (i = 0; i < rivals.nr; i++) {
				setup.skew = &skews[s];
				setup.period = periods[p] * 1e3;
				sim_run(&sim, rivals.of[i], &setup);
				bench_begin(opt->out, "drains");
				bench_text(opt->out, "rival", rivals.of[i]->name);
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
				       NR_SKEWS * ARRAY_SIZE(periods));
		}
	}
}

/*
 * The same with the rings, numbers of vCPUs and workloads of 'make run'.  A tick
 * is the time that one page takes there; the period of the reaper and the cost of
 * a harvest are given in ticks.
 */
static void twin_cells(const struct bench_options *opt,
		       const struct sim_setup *setup)
{
	struct bench_rivals rivals = { };
	struct sim sim;
	int i;

	rivals_add(&rivals, &bench_per_vcpu);
	rivals_add_pool(&rivals);
	rivals_add_nostop(&rivals);
	for (i = 0; i < rivals.nr; i++) {
		sim_run(&sim, rivals.of[i], setup);
		bench_begin(opt->out, "twin");
		bench_text(opt->out, "rival", rivals.of[i]->name);
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

	/* Each workload with a CPU per vCPU, with the VM's CPUs, with switches. */
	for (i = 0; i < 3 * ARRAY_SIZE(workload); i++) {
		setup.skew = &workload[i / 3];
		setup.cpus = i % 3 ? SIM_MAX_CPUS : 0;
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

/* Question 7: stops per second with rings of different sizes. */
void simulate_memory(const struct bench_options *opt)
{
	static const u32 vcpus[] = { 4, 16, 64 };
	struct sim_setup setup = {
		.tick = 5.0, .period = 1e5,
		.length = opt->quick ? 1e5 : 2e6,
		.fixed = HARVEST_FIXED, .entry = HARVEST_ENTRY,
	};
	u32 entries, most = opt->quick ? 4096 : 65536;
	struct bench_rivals rivals = { };
	struct sim sim;
	int i, n, s;

	rivals_add(&rivals, &bench_per_vcpu);
	rivals_add(&rivals, &bench_pool[bench_main_policy]);
	rivals_add_nostop(&rivals);
	for (n = 0; n < ARRAY_SIZE(vcpus); n++) {
		for (s = 0; s < NR_SKEWS; s++) {
			for (i = 0; i < rivals.nr; i++) {
				for (entries = 256; entries <= most; entries *= 2) {
					if ((u64)entries * vcpus[n] > 1 << 20)
						break;
					setup.nr = vcpus[n];
					setup.entries = entries;
					setup.skew = &skews[s];
					sim_run(&sim, rivals.of[i], &setup);
					bench_begin(opt->out, "memory");
					bench_text(opt->out, "rival", rivals.of[i]->name);
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
			bench_progress("7. memory", n * NR_SKEWS + s + 1,
				       ARRAY_SIZE(vcpus) * NR_SKEWS);
		}
	}
}
