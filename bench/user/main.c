// SPDX-License-Identifier: GPL-2.0
/* Measure and simulate ways of tracking dirty pages. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>
#include "measure.h"
#include "policies.h"
#include "virtual.h"

static const struct {
	const char *name;
	void (*run)(const struct bench_options *opt);
} part[] = {
	{ "mark", measure_mark },
	{ "parts", measure_parts },
	{ "pair", measure_pair },
	{ "threads", measure_threads },
	{ "capacity", simulate_capacity },
	{ "drains", simulate_drains },
	{ "twin", simulate_twin },
	{ "device", measure_device },
	{ "scale", measure_scale },
	{ "memory", simulate_memory },
	{ "virtual", simulate_virtual },
};

static void help(const char *name)
{
	fprintf(stderr,
		"usage: %s [--policies LIST] [--output FILE] [--quick] [--count]\n"
		"       [--cost NAME=NS,...] [PART...]\n"
		"parts:", name);
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		fprintf(stderr, " %s", part[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

/* Separated by commas. */
static void add_policies(char *list)
{
	char *name;

	while ((name = strsep(&list, ","))) {
		if (*name)
			bench_add_policy(name);
	}
}

static void report_policies(FILE *out)
{
	char names[BENCH_MAX_POLICIES * KVM_DIRTY_RING_POLICY_NAME_MAX] = "";

	for (int i = 0; i < bench_nr_policies; i++) {
		if (i)
			strcat(names, ",");
		strcat(names, bench_pool[i].name);
	}
	bench_text(out, "policies", names);
	bench_text(out, "policy", bench_pool[bench_main_policy].name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "policies", required_argument, NULL, 'p' },
		{ "output", required_argument, NULL, 'o' },
		{ "quick", no_argument, NULL, 'q' },
		{ "count", no_argument, NULL, 'c' },
		{ "cost", required_argument, NULL, 'v' },
		{ }
	};
	struct bench_options opt = { .out = stdout, .rounds = 300, .loops = 5 };
	bool count = false;
	double begin;
	int c;

	bench_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			add_policies(optarg);
			break;
		case 'o':
			opt.out = fopen(optarg, "w");
			if (!opt.out) {
				perror(optarg);
				return 1;
			}
			break;
		case 'q':
			opt.quick = true;
			opt.rounds = 8;
			opt.loops = 1;
			break;
		case 'c':
			count = true;
			break;
		case 'v':
			virtual_set_costs(optarg);
			break;
		default:
			help(argv[0]);
		}
	}

	if (!bench_nr_policies) {
		for (size_t i = 0; i < ARRAY_SIZE(builtin_policies); i++)
			bench_add_policy(builtin_policies[i]);
	}
	if (count) {
		count_instructions();
		return 0;
	}

	begin = bench_now();
	for (size_t i = 0; i < ARRAY_SIZE(part); i++) {
		bool wanted = optind == argc;

		for (int k = optind; k < argc; k++)
			wanted |= !strcmp(argv[k], part[i].name);
		if (wanted)
			part[i].run(&opt);
	}
	bench_begin(opt.out, "env");
	report_policies(opt.out);
	bench_number(opt.out, "cpus", bench_cpus);
	bench_number(opt.out, "rounds", opt.rounds);
	bench_number(opt.out, "loops", opt.loops);
	bench_number(opt.out, "slices", bench_slices);
	bench_number(opt.out, "disturbed", bench_disturbed);
	bench_number(opt.out, "warnings", bench_warnings);
	bench_number(opt.out, "seconds", (bench_now() - begin) / 1e9);
	bench_end(opt.out);
	if (fclose(opt.out)) {
		perror("output");
		return 1;
	}
	return 0;
}
