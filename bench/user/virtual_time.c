// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <linux/compiler.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include "util.h"
#include "virtual_time.h"

#define STACK		16384
#define LINES		BIT(17)
#define COPIES		128	/* lines that a CPU shares, by hash */
#define NOBODY		0xffff

struct virtual_cost_entry virtual_cost[COST_NR] = {
	[COST_MARK]   = { "mark",   0.4, "a mark in the pool, but for its accesses" },
	[COST_PUSH]   = { "push",   2.5, "a mark in a ring per vCPU" },
	[COST_READ]   = { "read",   0.5, "a read of a line that the CPU has" },
	[COST_LOCKED] = { "locked", 2.4, "a locked instruction on a line that the CPU has" },
	[COST_NEAR]   = { "near",   137, "a line from another CPU of the node" },
	[COST_FAR]    = { "far",    250, "a line from another node" },
	[COST_NODE]   = { "node",   128, "CPUs of a node (a number)" },
	[COST_HOLD]   = { "hold",   0.5, "of a transfer, the previous CPU has the line (a share)" },
	[COST_CLEAN]  = { "clean",  5,   "for how long a read of a clean line occupies it" },
	[COST_PAUSE]  = { "pause",  20,  "cpu_relax()" },
	[COST_FAULT]  = { "fault",  1500, "a write fault of the guest" },
	[COST_EXIT]   = { "exit",   4000, "an exit to userspace and back" },
	[COST_RETRY]  = { "retry",  20000, "before a vCPU that had to stay out tries again" },
	[COST_ENTRY]  = { "entry",  50,  "harvest and reset of an entry" },
	[COST_RESET]  = { "reset",  5000, "a reset's system call and TLB flush" },
};

static struct cpu {
	jmp_buf jb;
	char *stack;
	double clock;
	double stores;		/* when all its stores will be done */
	bool started;
	struct copy {
		u32 line;
		u32 version;
		double until;	/* when another CPU will take it away */
	} copy[COPIES];
} cpus[VIRTUAL_MAX_CPUS], *cur;

/* CPUs that do not run; the one whose clock is behind comes first. */
static struct {
	double clock;
	u32 cpu;
} heap[VIRTUAL_MAX_CPUS];
static u32 heap_nr;

static struct virtual_line lines[LINES];
static u32 nr_lines;
static bool active;
static jmp_buf main_jb;
static void (*run_body)(u32 who);
static unsigned long hidden_from, hidden_bytes;
static u64 turns;

void virtual_set_costs(char *list)
{
	char *item;

	while ((item = strsep(&list, ","))) {
		char *value = strchr(item, '=');
		int i;

		if (!value)
			bench_die("'%s' is not NAME=NS", item);
		*value++ = 0;
		for (i = 0; i < COST_NR && strcmp(item, virtual_cost[i].name); i++)
			;
		if (i == COST_NR)
			bench_die("there is no cost '%s'", item);
		virtual_cost[i].ns = atof(value);
	}
}

static double cost(enum virtual_cost what)
{
	return virtual_cost[what].ns;
}

static void heap_down(u32 i, double clock, u32 cpu)
{
	for (;;) {
		u32 child = 2 * i + 1;

		if (child >= heap_nr)
			break;
		if (child + 1 < heap_nr && heap[child + 1].clock < heap[child].clock)
			child++;
		if (heap[child].clock >= clock)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i].clock = clock;
	heap[i].cpu = cpu;
}

static void resume(struct cpu *cpu);

static void start(void)
{
	u32 next;

	run_body(cur - cpus);
	if (!heap_nr)
		_longjmp(main_jb, 1);

	next = heap[0].cpu;
	heap_nr--;
	heap_down(0, heap[heap_nr].clock, heap[heap_nr].cpu);
	resume(&cpus[next]);
}

static void resume(struct cpu *cpu)
{
	ucontext_t uc;

	cur = cpu;
	if (cpu->started)
		_longjmp(cpu->jb, 1);
	cpu->started = true;
	getcontext(&uc);
	uc.uc_stack.ss_sp = cpu->stack;
	uc.uc_stack.ss_size = STACK;
	makecontext(&uc, start, 0);
	setcontext(&uc);
}

/* Let the others catch up, but for @lead. */
static void wait_turn(double lead)
{
	struct cpu *cpu = cur;
	u32 next;

	if (!heap_nr || heap[0].clock + lead >= cpu->clock)
		return;
	next = heap[0].cpu;
	heap_down(0, cpu->clock, cpu - cpus);
	turns++;
	if (!_setjmp(cpu->jb))
		resume(&cpus[next]);
}

static struct virtual_line *find_line(unsigned long at)
{
	u32 i = (at * 0x9e3779b97f4a7c15UL) >> 47;

	while (lines[i].at != at) {
		if (!lines[i].at) {
			if (++nr_lines > LINES / 2)
				bench_die("too many cache lines");
			lines[i].at = at;
			lines[i].owner = NOBODY;
			break;
		}
		i = (i + 1) % LINES;
	}
	return &lines[i];
}

static struct copy *copy_of(struct cpu *cpu, const struct virtual_line *line)
{
	u32 at = line - lines;
	struct copy *copy = &cpu->copy[at % COPIES];

	if (copy->line != at) {
		copy->line = at;
		copy->version = line->version - 1;
		copy->until = 0;
	}
	return copy;
}

static bool owns(const struct virtual_line *line)
{
	return line->owner == NOBODY || line->owner == cur - cpus;
}

static bool has_line(const struct virtual_line *line, bool write)
{
	const struct copy *copy;

	if (owns(line))
		return !write || !line->shared;

	copy = copy_of(cur, line);
	return cur->clock < copy->until ||
	       (!write && line->shared && copy->version == line->version);
}

/* Transfer a line to this CPU, from @from on at the earliest; returns the end. */
static double take_line(struct virtual_line *line, double from, bool write)
{
	u32 node = cost(COST_NODE), me = cur - cpus;
	double ns = line->owner / node == me / node ? cost(COST_NEAR) : cost(COST_FAR);
	double busy = ns;

	if (line->free > from) {
		line->waited += line->free - from;
		from = line->free;
	}
	if (write) {
		/* The request takes part of the time to arrive. */
		if (line->owner != me && !line->shared)
			copy_of(&cpus[line->owner], line)->until = from + ns * cost(COST_HOLD);
		copy_of(cur, line)->until = 0;
		line->owner = me;
		line->version++;
	} else {
		if (line->shared)
			busy = cost(COST_CLEAN);
		copy_of(cur, line)->version = line->version;
	}
	line->shared = !write;
	line->free = from + busy;
	line->busy += busy;
	line->moves++;
	return from + ns;
}

void sched_point(const void *addr, enum sched_access access)
{
	unsigned long at = (unsigned long)addr;
	bool locked = access == SCHED_WRITE, write = locked || access == SCHED_STORE;
	struct virtual_line *line;
	double end;
	bool hit;

	if (!active || at - hidden_from < hidden_bytes)
		return;

	line = find_line(at / SMP_CACHE_BYTES);
	/* Nobody sees what a CPU does to its own lines until they are transferred. */
	wait_turn(owns(line) && has_line(line, write) ? cost(COST_NEAR) : 0);

	hit = has_line(line, write);
	end = cur->clock;
	if (locked && cur->stores > end)
		end = cur->stores;
	if (!hit)
		end = take_line(line, end, write);
	else if (line->owner == NOBODY)
		line->owner = cur - cpus;
	if (hit && !write)
		end += cost(COST_READ);

	if (access == SCHED_STORE) {
		if (end > cur->stores)
			cur->stores = end;
		return;
	}
	cur->clock = end;
	if (locked) {
		cur->clock += cost(COST_LOCKED);
		/* Nobody takes the line away in the middle of the instruction. */
		if (owns(line) && line->free < cur->clock)
			line->free = cur->clock;
	}
	/* The access happens at its end. */
	if (!hit)
		wait_turn(0);
}

void virtual_fence(void)
{
	if (!active)
		return;
	if (cur->stores > cur->clock)
		cur->clock = cur->stores;
	cur->clock += cost(COST_LOCKED);
}

void sched_relax(void)
{
	virtual_spend(cost(COST_PAUSE));
}

int sched_lock_owner(void)
{
	return active ? cur - cpus + 1 : 1;
}

void virtual_spend(double ns)
{
	if (!active)
		return;
	cur->clock += ns;
	wait_turn(cost(COST_NEAR));
}

double virtual_now(void)
{
	return cur->clock;
}

void virtual_pause(bool on)
{
	active = !on;
}

u64 virtual_turns(void)
{
	return turns;
}

void virtual_lines(void (*fn)(const struct virtual_line *line))
{
	u32 i;

	for (i = 0; i < LINES; i++) {
		if (!lines[i].at)
			continue;
		if (fn)
			fn(&lines[i]);
		lines[i].busy = 0;
		lines[i].waited = 0;
		lines[i].moves = 0;
	}
}

void virtual_forget(void)
{
	memset(lines, 0, sizeof(lines));
	nr_lines = 0;
}

void virtual_run(u32 nr, void (*body)(u32 who), const void *hidden,
		 size_t hidden_size)
{
	char *stacks;
	u32 i;

	if (nr > VIRTUAL_MAX_CPUS)
		bench_die("more than %d CPUs", VIRTUAL_MAX_CPUS);
	stacks = mmap(NULL, (size_t)nr * STACK, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (stacks == MAP_FAILED)
		bench_die("out of memory");
	memset(cpus, 0, nr * sizeof(*cpus));
	for (i = 0; i < LINES; i++)
		lines[i].free = 0;
	turns = 0;
	hidden_from = (unsigned long)hidden;
	hidden_bytes = hidden_size;
	run_body = body;
	memset(heap, 0, sizeof(heap));
	heap_nr = nr - 1;
	for (i = 0; i < nr; i++)
		cpus[i].stack = stacks + (size_t)i * STACK;
	for (i = 1; i < nr; i++)
		heap[i - 1].cpu = i;

	if (!_setjmp(main_jb)) {
		active = true;
		resume(&cpus[0]);
	}
	active = false;
	munmap(stacks, (size_t)nr * STACK);
}
