/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The page at a fixed guest-physical address that the guest shares with the
 * program that runs it.  The host fills it by guest_setup() before the first vCPU
 * starts, and may read it at any time.
 *
 * The guest runs in 32-bit protected mode with flat segments, without paging,
 * interrupts or timers.  Each vCPU stamps the pages of its own part of memory,
 * and keeps the last stamp of each page in a table elsewhere in guest memory.  So
 * the guest itself finds a page that a migration lost: its stamp is older than
 * the table says.
 *
 *	0x20000		struct guest_params
 *	0x30000		stacks, a page for each vCPU
 *	0x100000	the program
 *	0x200000	tables, then the pages to stamp, to the end of memory
 */
#ifndef BENCH_MIGRATE_GUEST_PARAMS_H
#define BENCH_MIGRATE_GUEST_PARAMS_H

#define GUEST_MAGIC		0x31676d64u	/* "dmg1" */
#define GUEST_MAX_VCPUS		16u
#define GUEST_PAGE_SIZE		4096u

#define GUEST_PARAMS_GPA	0x20000u
#define GUEST_STACK_GPA		0x30000u
#define GUEST_CODE_GPA		0x100000u
#define GUEST_AREA_GPA		0x200000u

/* ESP of a vCPU at its start */
#define GUEST_STACK_TOP(cpu)	(GUEST_STACK_GPA + ((cpu) + 1) * GUEST_PAGE_SIZE - 64)

/* guest_params::flags */
#define GUEST_REST_HLT		1u	/* rest by HLT: the host wakes it */

enum guest_workload {
	GUEST_IDLE,		/* a page now and then */
	GUEST_UNIFORM,		/* all vCPUs alike */
	GUEST_SKEWED,		/* vCPU 0 all the time, the others a little */
	GUEST_BURSTY,		/* all at once, then nothing, then all at once */
	GUEST_NR_WORKLOADS,
};

enum guest_state {
	GUEST_NOT_STARTED,
	GUEST_FILLING,		/* stamps each of its pages once */
	GUEST_RUNNING,
	GUEST_CHECKING,
	GUEST_STOPPED,		/* guest_params::stop was set */
};

/* At the start and at the end of each page, to notice half a page */
struct guest_stamp {
	unsigned int page;	/* its own address / GUEST_PAGE_SIZE */
	unsigned int cpu;
	unsigned int seq;
	unsigned int sum;
};

/*
 * One for each vCPU, two cache lines: the host writes the first one before the
 * start, the guest writes the second one.
 */
struct guest_vcpu {
	unsigned int first;	/* its part: first page, number of pages */
	unsigned int pages;
	unsigned int hot;	/* number of these that it keeps stamping */
	unsigned int table;	/* address of a 32-bit number for each page */
	unsigned int seed;
	unsigned int spin;	/* iterations of a loop between two stamps */
	unsigned int burst;	/* stamps between two rests; 0: never rests */
	unsigned int rest;	/* microseconds with HLT, else iterations of a loop */
	unsigned int reserved[8];

	unsigned int state;	/* enum guest_state */
	unsigned int stamps;	/* made since the pages were filled */
	unsigned int seq;	/* of the last stamp */
	unsigned int random;
	unsigned int in_burst;
	unsigned int checked;	/* guest_params::check of the last check done */
	unsigned int checks;	/* done, those of check_every included */
	unsigned int bad;	/* pages found wrong in all checks */
	unsigned int bad_page;	/* the first one */
	unsigned int reserved2[7];
} __attribute__((aligned(64)));

/* 64 bytes and 128 for each vCPU: fits a page, the same in 32 and 64 bit */
struct guest_params {
	unsigned int magic;
	unsigned int nr_vcpus;
	unsigned int memory;	/* in bytes */
	unsigned int flags;
	unsigned int workload;	/* as given to guest_setup(), for readers */
	unsigned int check_every;	/* check after this many stamps; 0: never */
	/* Commands, which vCPUs read between stamps: */
	unsigned int check;	/* changed: all vCPUs check their pages */
	unsigned int stop;	/* not 0: all vCPUs stop until it is 0 again */
	unsigned int reserved[8];
	struct guest_vcpu vcpu[GUEST_MAX_VCPUS];
};

/* Never returns.  Called as a C function with the stack at GUEST_STACK_TOP(cpu). */
void worker(struct guest_params *p, unsigned int cpu);

/**
 * guest_setup() - fill in the parameters
 * @p: is filled in completely
 * @nr_vcpus: 1 to GUEST_MAX_VCPUS
 * @memory: of the guest, in bytes, from address 0 without a hole
 * @device: pages at the end of memory that the guest leaves alone
 * @hot: pages that each vCPU keeps stamping; in GUEST_SKEWED, vCPU 0 has as many
 *	as all vCPUs together, as far as its part goes
 * @workload: what the vCPUs do
 * @flags: GUEST_REST_HLT
 * @spin: iterations of a loop between two stamps, for all vCPUs
 * @seed: of the choice of pages
 *
 * An emulated CPU dirties some 20000 pages per second at most.  The rates below
 * are a fifth of that: they leave a processor for the migration, and pre-copy
 * converges if a page can be sent in the time of two writes.  Without
 * GUEST_REST_HLT, a rest is a loop of about 2 ns per iteration.
 */
static inline void guest_setup(struct guest_params *p, unsigned int nr_vcpus,
			       unsigned int memory, unsigned int device, unsigned int hot,
			       enum guest_workload workload, unsigned int flags,
			       unsigned int spin, unsigned int seed)
{
	unsigned int usec = flags & GUEST_REST_HLT ? 1 : 500;
	unsigned int all = memory / GUEST_PAGE_SIZE;
	unsigned int first = GUEST_AREA_GPA / GUEST_PAGE_SIZE;
	unsigned int tables = (all * sizeof(unsigned int) + GUEST_PAGE_SIZE - 1) /
			  GUEST_PAGE_SIZE;
	unsigned int left = all - device - first - tables;
	unsigned int table = GUEST_AREA_GPA;
	unsigned char *byte = (unsigned char *)p;
	unsigned int i;

	for (i = 0; i < sizeof(*p); i++)
		byte[i] = 0;
	p->magic = GUEST_MAGIC;
	p->nr_vcpus = nr_vcpus;
	p->memory = memory;
	p->flags = flags;
	p->workload = workload;

	for (i = 0; i < nr_vcpus; i++) {
		struct guest_vcpu *v = &p->vcpu[i];

		/* Half of memory for the vCPU that writes most */
		if (workload == GUEST_SKEWED && nr_vcpus > 1 && !i)
			v->pages = left / 2;
		else
			v->pages = left / (nr_vcpus - i);
		v->first = all - device - left;
		v->table = table;
		left -= v->pages;
		table += v->pages * sizeof(unsigned int);
		v->hot = hot;
		v->spin = spin;
		v->seed = seed * 747796405u + i * 2891336453u + 1;
		switch (workload) {
		case GUEST_IDLE:
			v->burst = 1;
			v->rest = 50000 * usec;
			break;
		case GUEST_SKEWED:
			/* 4000 per second, and 200 */
			v->burst = i ? 8 : 40;
			v->rest = (i ? 40000 : 10000) * usec;
			if (!i)
				v->hot = hot * nr_vcpus;
			break;
		case GUEST_BURSTY:
			/* 1000 pages or more at once, 4 times per second */
			v->burst = 250;
			v->rest = 250000 * usec;
			break;
		default:
			/* 4000 per second, by all vCPUs together */
			v->burst = 10;
			v->rest = 2500 * nr_vcpus * usec;
			break;
		}
		if (v->hot > v->pages)
			v->hot = v->pages;
	}
}

#endif /* BENCH_MIGRATE_GUEST_PARAMS_H */
