// SPDX-License-Identifier: GPL-2.0
/* Question 3: pages dirtied until a vCPU exits, and until one must stop. */
#include <linux/slab.h>
#include "simulate.h"

static void capacity_cell(const struct bench_options *opt,
			  const struct bench_rival *rival, u32 nr, u32 entries,
			  const struct skew *skew)
{
	void *tracker = rival->create(rival, nr, entries);
	double *table = skew_table(skew, nr);
	const u64 *page = sim_pages();
	u64 seed = 11, marked = 0, exit = 0, limit = 2ull * nr * entries;

	while (marked < limit) {
		u32 who = skew_pick(table, nr, &seed);

		marked += rival->run(tracker, who, page + marked % SIM_PAGES, 1, 1);
		if (!rival->exit(tracker, who))
			continue;
		if (!exit)
			exit = marked;
		/* A vCPU of the pool reports the parked ring and may continue. */
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
	struct bench_rivals rivals = { };
	u32 entries = 1024, nr, i, s;
	u32 most = opt->quick ? 16 : 1024;

	rivals_add(&rivals, &bench_per_vcpu);
	rivals_add(&rivals, &bench_vm_lockfree);
	rivals_add_pool(&rivals);
	rivals_add_nostop(&rivals);

	for (nr = 2; nr <= most; nr *= 2) {
		for (s = 0; s < NR_SKEWS; s++) {
			for (i = 0; i < rivals.nr; i++)
				capacity_cell(opt, rivals.of[i], nr, entries,
					      &skews[s]);
		}
		bench_progress("3. capacity under skew", nr, most);
	}
}
