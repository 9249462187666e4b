// SPDX-License-Identifier: GPL-2.0
/* Measure and simulate ways of tracking dirty pages; see README.md. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/atomic.h>
#include "measure.h"

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
};

static void help(const char *name)
{
	fprintf(stderr, "usage: %s [--output FILE] [--quick] [--count] [PART...]\nparts:",
		name);
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		fprintf(stderr, " %s", part[i].name);
	fprintf(stderr, "\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "quick", no_argument, NULL, 'q' },
		{ "count", no_argument, NULL, 'c' },
		{ }
	};
	struct bench_options opt = { .out = stdout, .rounds = 300, .loops = 5 };
	double begin;
	int c;

	bench_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
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
			count_instructions();
			return 0;
		default:
			help(argv[0]);
		}
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
