// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdlib.h>
#include <linux/slab.h>
#include "util.h"

void bench_die(const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "pool_bench: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

void *bench_alloc(size_t size)
{
	void *p = kzalloc(size, GFP_KERNEL);

	if (!p)
		bench_die("out of memory");
	return p;
}

/* splitmix64 */
u64 bench_random(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

void bench_begin(FILE *out, const char *what)
{
	fprintf(out, "{\"q\":\"%s\"", what);
}

void bench_text(FILE *out, const char *name, const char *text)
{
	fprintf(out, ",\"%s\":\"%s\"", name, text);
}

void bench_number(FILE *out, const char *name, double v)
{
	fprintf(out, ",\"%s\":%.12g", name, v);
}

void bench_values(FILE *out, const char *name, const double *v, int nr)
{
	int i;

	fprintf(out, ",\"%s\":[", name);
	for (i = 0; i < nr; i++)
		fprintf(out, "%s%.4g", i ? "," : "", v[i]);
	fprintf(out, "]");
}

void bench_end(FILE *out)
{
	fprintf(out, "}\n");
}

void bench_progress(const char *what, int at, int of)
{
	static double last;
	static double begin;
	static const char *whose;

	if (whose != what) {
		whose = what;
		begin = bench_now();
		last = begin;
	}
	if (at == of)
		fprintf(stderr, "  %-44s %.1f s\n", what, (bench_now() - begin) / 1e9);
	else if (bench_now() - last > 5e9)
		fprintf(stderr, "    %d of %d\n", at, of);
	else
		return;
	last = bench_now();
}
