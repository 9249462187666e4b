/* SPDX-License-Identifier: GPL-2.0 */
/* The lowest layer: memory, clock, random numbers and output. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stdio.h>
#include <time.h>
#include <linux/types.h>

static inline double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Have this many seconds passed since @begin? */
static inline bool bench_late(double begin, double seconds)
{
	return bench_now() - begin > seconds * 1e9;
}

void __attribute__((noreturn, format(printf, 1, 2))) bench_die(const char *fmt, ...);
void *bench_alloc(size_t size);
u64 bench_random(u64 *state);

/* One result is one line of JSON. */
void bench_begin(FILE *out, const char *what);
void bench_text(FILE *out, const char *name, const char *text);
void bench_number(FILE *out, const char *name, double v);
void bench_values(FILE *out, const char *name, const double *v, int nr);
void bench_end(FILE *out);

void bench_progress(const char *what, int at, int of);

#endif
