// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program of each vCPU: it stamps its pages forever, in random order, and
 * checks them when it is told to.  See params.h.
 *
 * Freestanding: all of its state is in guest memory and in registers, both of
 * which are migrated.
 */
#include "params.h"

#define READ_ONCE(x)		(*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, val)	(*(volatile typeof(x) *)&(x) = (val))

static unsigned int stamp_sum(unsigned int page, unsigned int cpu, unsigned int seq)
{
	unsigned int sum = page * 2654435761u ^ (cpu + 1) * 2246822519u ^ seq;

	sum ^= sum >> 15;
	return sum * 3266489917u;
}

/* The two stamps of a page */
static volatile struct guest_stamp *stamp_of(unsigned int page, unsigned int end)
{
	unsigned int at = page * GUEST_PAGE_SIZE;

	if (end)
		at += GUEST_PAGE_SIZE - sizeof(struct guest_stamp);
	return (volatile struct guest_stamp *)(unsigned long)at;
}

static volatile unsigned int *table_of(struct guest_vcpu *v)
{
	return (volatile unsigned int *)(unsigned long)v->table;
}

static void stamp(struct guest_vcpu *v, unsigned int cpu, unsigned int i)
{
	unsigned int page = v->first + i;
	unsigned int seq = READ_ONCE(v->seq) + 1;
	unsigned int end;

	for (end = 0; end < 2; end++) {
		volatile struct guest_stamp *s = stamp_of(page, end);

		s->page = page;
		s->cpu = cpu;
		s->seq = seq;
		s->sum = stamp_sum(page, cpu, seq);
	}
	table_of(v)[i] = seq;
	WRITE_ONCE(v->seq, seq);
}

static int stamp_good(struct guest_vcpu *v, unsigned int cpu, unsigned int i)
{
	unsigned int page = v->first + i;
	unsigned int seq = table_of(v)[i];
	unsigned int end;

	for (end = 0; end < 2; end++) {
		volatile struct guest_stamp *s = stamp_of(page, end);

		if (s->page != page || s->cpu != cpu || s->seq != seq ||
		    s->sum != stamp_sum(page, cpu, seq))
			return 0;
	}
	return 1;
}

static void check(struct guest_vcpu *v, unsigned int cpu)
{
	unsigned int i;

	WRITE_ONCE(v->state, GUEST_CHECKING);
	for (i = 0; i < v->pages; i++) {
		if (stamp_good(v, cpu, i))
			continue;
		if (!v->bad)
			WRITE_ONCE(v->bad_page, v->first + i);
		WRITE_ONCE(v->bad, v->bad + 1);
	}
	WRITE_ONCE(v->checks, v->checks + 1);
	WRITE_ONCE(v->state, GUEST_RUNNING);
}

static void spin(unsigned int turns)
{
	while (turns--)
		asm volatile("" : : : "memory");
}

static void rest(struct guest_params *p, struct guest_vcpu *v)
{
	if (p->flags & GUEST_REST_HLT)
		asm volatile("hlt" : : : "memory");
	else
		spin(v->rest);
}

static unsigned int next_random(struct guest_vcpu *v)
{
	unsigned int x = v->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	WRITE_ONCE(v->random, x);
	return x;
}

static void obey(struct guest_params *p, struct guest_vcpu *v, unsigned int cpu)
{
	unsigned int asked = READ_ONCE(p->check);

	if (asked != v->checked) {
		check(v, cpu);
		WRITE_ONCE(v->checked, asked);
	}
	while (READ_ONCE(p->stop)) {
		WRITE_ONCE(v->state, GUEST_STOPPED);
		rest(p, v);
		/* The rest may be empty. */
		spin(1000);
		if (!READ_ONCE(p->stop))
			WRITE_ONCE(v->state, GUEST_RUNNING);
	}
}

void worker(struct guest_params *p, unsigned int cpu)
{
	struct guest_vcpu *v = &p->vcpu[cpu];
	unsigned int i;

	WRITE_ONCE(v->random, v->seed ? v->seed : 1);
	WRITE_ONCE(v->state, GUEST_FILLING);
	for (i = 0; i < v->pages; i++)
		stamp(v, cpu, i);
	WRITE_ONCE(v->state, GUEST_RUNNING);

	for (;;) {
		obey(p, v, cpu);

		/* The upper half of the product: 0 to hot - 1, evenly */
		i = (unsigned long long)next_random(v) * v->hot >> 32;
		stamp(v, cpu, i);
		WRITE_ONCE(v->stamps, v->stamps + 1);
		if (p->check_every && v->stamps % p->check_every == 0)
			check(v, cpu);

		spin(v->spin);
		if (v->burst) {
			WRITE_ONCE(v->in_burst, v->in_burst + 1);
			if (v->in_burst >= v->burst) {
				WRITE_ONCE(v->in_burst, 0);
				rest(p, v);
			}
		}
	}
}
