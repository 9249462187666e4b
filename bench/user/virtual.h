/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Up to 4096 vCPUs in virtual time.  virtual*.c and the pool's own files are compiled
 * with hooks and linked to one object, of which this is all that others see.
 */
#ifndef BENCH_VIRTUAL_H
#define BENCH_VIRTUAL_H

struct bench_options;

void simulate_virtual(const struct bench_options *opt);
/* "NAME=NS", separated by commas; dies if there is no such cost. */
void virtual_set_costs(char *list);

#endif
