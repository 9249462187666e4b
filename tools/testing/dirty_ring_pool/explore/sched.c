// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <linux/bits.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include "sched.h"

#define STACK		65536
#define MAX_STEPS	200000	/* of one schedule: more are a livelock */
#define MAX_TRACE	65536
#define MAX_DEPTH	4096

enum { OP_START = SCHED_SYNC + 1, OP_RELAX };

struct thread {
	ucontext_t uc;
	jmp_buf jb;
	char *stack;
	bool started, done, stopped;
	u32 op;			/* what it will do next */
	const void *addr;
	u32 preempt;
	u32 waits_for;		/* of a grace period: its readers */
	u64 relaxed_at;		/* number of writes when it relaxed */
	u32 priority;
	bool watched;
	u32 watched_steps;
};

/* A place where the search has a choice. */
struct node {
	u8 cand[SCHED_MAX];
	u8 nr, at;
	u8 sleep;		/* already explored from another node */
	bool preempts;
};

static struct thread threads[SCHED_MAX];
static struct thread *cur;
static const struct sched_case *cas;
static u32 nr;
static jmp_buf main_jb;
static bool active, failed, cut;
static char message[256];
static u64 steps, writes;
static u32 last;
static u32 epoch;

static enum { MODE_EXPLORE, MODE_RANDOM, MODE_STOP, MODE_REPLAY } mode;
static struct node nodes[MAX_DEPTH];
static u32 depth, nr_nodes;
static int bound, preemptions;
static u32 sleep_set;
static u32 change[32], nr_change, rnd, stop_at, quantum;
static u8 trace[MAX_TRACE];
static u32 nr_trace, replay_at, nr_replay;
static u8 replay[MAX_TRACE];
static char text[4096];

static u32 random_of(u32 n)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 17;
	rnd ^= rnd << 5;
	return rnd % n;
}

static void leave(void)
{
	active = false;
	_longjmp(main_jb, 1);
}

void sched_fail(const char *fmt, ...)
{
	va_list ap;

	if (failed)
		return;
	failed = true;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (active)
		leave();
}

bool sched_failed(void)
{
	return failed;
}

void sched_watch(bool on)
{
	cur->watched = on;
}

/* The owner is the number of the run: a run that was cut short holds no lock. */
static bool held(const struct thread *t)
{
	return ((const struct mutex *)t->addr)->owner == (int)epoch;
}

static bool enabled(const struct thread *t)
{
	if (t->done || t->stopped)
		return false;
	if (t->op == SCHED_LOCK)
		return !held(t);
	if (t->op == SCHED_SYNC)
		return !t->waits_for;
	if (t->op == OP_RELAX)
		return t->relaxed_at != writes;
	return true;
}

/* Do the next steps of two threads commute? */
static bool independent(const struct thread *a, const struct thread *b)
{
	if (a->op == OP_START || b->op == OP_START)
		return true;
	if (a->op == OP_RELAX || b->op == OP_RELAX)
		return false;
	if (a->op == SCHED_RCU && b->op == SCHED_RCU)
		return true;
	if (a->op >= SCHED_RCU && b->op >= SCHED_RCU)
		return false;
	return a->addr != b->addr || (a->op == SCHED_READ && b->op == SCHED_READ);
}

static u32 explore_pick(const u8 *cand, u32 n)
{
	struct node *node;
	u32 i, pick, mask = 0;

	if (bound < 0) {
		u8 awake[SCHED_MAX];
		u32 k = 0;

		for (i = 0; i < n; i++)
			if (!(sleep_set & BIT(cand[i])))
				awake[k++] = cand[i];
		if (!k) {
			cut = true;
			leave();
		}
		if (depth >= MAX_DEPTH) {
			sched_fail("too deep");
			return cand[0];
		}
		if (depth == nr_nodes) {
			node = &nodes[nr_nodes++];
			memcpy(node->cand, awake, k);
			node->nr = k;
			node->at = 0;
			node->sleep = sleep_set;
		}
		node = &nodes[depth++];
		pick = node->cand[node->at];
		mask = node->sleep;
		for (i = 0; i < node->at; i++)
			mask |= BIT(node->cand[i]);
		sleep_set = 0;
		for (i = 0; i < nr; i++)
			if ((mask & BIT(i)) && i != pick &&
			    independent(&threads[i], &threads[pick]))
				sleep_set |= BIT(i);
		return pick;
	}

	/* A switch away from a thread that could go on counts as a preemption. */
	if (n == 1 || (&threads[cand[0]] == cur && preemptions >= bound))
		return cand[0];
	if (depth >= MAX_DEPTH) {
		sched_fail("too deep");
		return cand[0];
	}
	if (depth == nr_nodes) {
		node = &nodes[nr_nodes++];
		memcpy(node->cand, cand, n);
		node->nr = n;
		node->at = 0;
		node->preempts = &threads[cand[0]] == cur;
	}
	node = &nodes[depth++];
	if (node->preempts && node->at)
		preemptions++;
	return node->cand[node->at];
}

static u32 random_pick(const u8 *cand, u32 n)
{
	u32 i, best = cand[0];

	for (i = 0; i < nr_change; i++)
		if (change[i] == steps)
			cur->priority = i;
	for (i = 1; i < n; i++)
		if (threads[cand[i]].priority > threads[best].priority)
			best = cand[i];
	/* A thread that spins lets the others run, or they never would. */
	if (threads[best].op == OP_RELAX && n > 1)
		threads[best].priority = random_of(nr_change + 1);
	return best;
}

static u32 stop_pick(const u8 *cand, u32 n)
{
	if (!threads[0].done && !threads[0].stopped)
		return 0;
	if (quantum && &threads[cand[0]] == cur) {
		quantum--;
		return cand[0];
	}
	quantum = random_of(40);
	return cand[random_of(n)];
}

static void start(void)
{
	cas->body(cur - threads);
	if (cur->preempt)
		sched_fail("preemption stays disabled");
	cur->done = true;
	cur->op = OP_START;
	writes++;
	sched_point(NULL, OP_START);
	abort();
}

static void switch_to(struct thread *next)
{
	struct thread *prev = cur;

	if (next == prev)
		return;
	if (!_setjmp(prev->jb)) {
		cur = next;
		if (next->started)
			_longjmp(next->jb, 1);
		next->started = true;
		setcontext(&next->uc);
	}
}

/* Called before each access: switch to the thread that runs next. */
void sched_point(const void *addr, enum sched_access access)
{
	u8 cand[SCHED_MAX];
	u32 n = 0, i, pick;

	if (!active)
		return;

	cur->op = access;
	cur->addr = addr;
	steps++;
	if (steps > MAX_STEPS)
		sched_fail("livelock: no end after %u steps", MAX_STEPS);
	if (access == SCHED_SYNC) {
		cur->waits_for = 0;
		for (i = 0; i < nr; i++)
			if (threads[i].preempt)
				cur->waits_for |= BIT(i);
	}
	if (cur->watched && mode == MODE_STOP &&
	    cur == threads && cur->watched_steps++ == stop_at)
		cur->stopped = true;

	if (enabled(cur))
		cand[n++] = cur - threads;
	for (i = 0; i < nr; i++)
		if (&threads[i] != cur && enabled(&threads[i]))
			cand[n++] = i;
	/* Every thread waits for another: let those that spin run, in turn. */
	for (i = 1; i <= nr && !n; i++) {
		pick = (last + i) % nr;
		if (!threads[pick].done && !threads[pick].stopped &&
		    threads[pick].op == OP_RELAX)
			cand[n++] = pick;
	}
	if (!n) {
		for (i = 0; i < nr; i++)
			if (!threads[i].done && !threads[i].stopped)
				sched_fail("thread %u waits forever", i);
		leave();
	}

	switch (mode) {
	case MODE_EXPLORE:
		pick = explore_pick(cand, n);
		break;
	case MODE_RANDOM:
		pick = random_pick(cand, n);
		break;
	case MODE_STOP:
		pick = stop_pick(cand, n);
		break;
	default:
		pick = replay_at < nr_replay ? replay[replay_at++] : cand[0];
		for (i = 0; i < n && cand[i] != pick; i++)
			;
		if (i == n)
			sched_fail("the schedule does not fit");
	}
	last = pick;
	if (nr_trace < MAX_TRACE)
		trace[nr_trace++] = pick;
	switch_to(&threads[pick]);

	/* It is our turn: the access follows. */
	access = cur->op;
	if (access == SCHED_WRITE || access == SCHED_UNLOCK || access == SCHED_LOCK)
		writes++;
}

void sched_relax(void)
{
	cur->relaxed_at = writes;
	sched_point(NULL, OP_RELAX);
}

void preempt_disable(void)
{
	if (!active)
		return;
	if (cas->rcu && !cur->preempt)
		sched_point(NULL, SCHED_RCU);
	cur->preempt++;
}

void preempt_enable(void)
{
	u32 i;

	if (!active)
		return;
	if (cas->rcu && cur->preempt == 1)
		sched_point(NULL, SCHED_RCU);
	if (!--cur->preempt)
		for (i = 0; i < nr; i++)
			threads[i].waits_for &= ~BIT(cur - threads);
}

void synchronize_rcu(void)
{
	sched_point(NULL, SCHED_SYNC);
}

int sched_lock_owner(void)
{
	return epoch;
}

static void run(const struct sched_case *c, void (*setup)(void),
		void (*check)(void))
{
	static struct thread nobody;
	u32 i;

	cas = c;
	nr = c->threads;
	epoch++;
	failed = false;
	cut = false;
	depth = 0;
	preemptions = 0;
	sleep_set = 0;
	nr_trace = 0;
	replay_at = 0;
	steps = 0;
	writes = 0;
	quantum = 0;
	last = 0;
	setup();

	for (i = 0; i < nr; i++) {
		struct thread *t = &threads[i];
		char *stack = t->stack ? t->stack : malloc(STACK);

		if (!t->stack)
			getcontext(&t->uc);
		t->stack = stack;
		t->started = false;
		t->done = false;
		t->stopped = false;
		t->watched = false;
		t->watched_steps = 0;
		t->preempt = 0;
		t->waits_for = 0;
		t->op = OP_START;
		t->addr = NULL;
		t->uc.uc_stack.ss_sp = stack;
		t->uc.uc_stack.ss_size = STACK;
		makecontext(&t->uc, (void (*)(void))start, 0);
	}

	nobody.done = true;
	cur = &nobody;
	if (!_setjmp(main_jb)) {
		active = true;
		sched_point(NULL, OP_START);
	}
	active = false;
	if (!cut && !failed)
		check();
}

static void count(struct sched_stats *stats)
{
	stats->steps += steps;
	if (steps > stats->deepest)
		stats->deepest = steps;
	if (cut)
		stats->cut++;
	else
		stats->schedules++;
}

/* Formatted as "0*12 1*5 0*3": thread 0 twelve times, and so on. */
const char *sched_schedule(void)
{
	u32 i, k, n = 0;

	text[0] = 0;
	for (i = 0; i < nr_trace && n < sizeof(text) - 32; i = k) {
		for (k = i; k < nr_trace && trace[k] == trace[i]; k++)
			;
		n += snprintf(text + n, sizeof(text) - n, "%u*%u ", trace[i],
			      k - i);
	}
	if (i < nr_trace || nr_trace == MAX_TRACE)
		snprintf(text + n, sizeof(text) - n, "...");
	return text;
}

static bool verdict(void)
{
	if (failed)
		printf("# %s: %s\n# schedule: %s\n", cas->name, message,
		       sched_schedule());
	return !failed;
}

bool sched_explore(const struct sched_case *c, int limit, u64 max,
		   void (*setup)(void), void (*check)(void),
		   struct sched_stats *stats)
{
	u64 n;

	mode = MODE_EXPLORE;
	bound = limit;
	nr_nodes = 0;
	for (n = 0; n < max; n++) {
		run(c, setup, check);
		count(stats);
		if (failed)
			break;
		while (nr_nodes && nodes[nr_nodes - 1].at + 1 ==
		       nodes[nr_nodes - 1].nr)
			nr_nodes--;
		if (!nr_nodes)
			return true;
		nodes[nr_nodes - 1].at++;
	}
	if (!failed) {
		printf("# %s: incomplete after %llu schedules\n", c->name,
		       (unsigned long long)n);
		return false;
	}
	return verdict();
}

bool sched_random(const struct sched_case *c, u32 seed, u64 schedules,
		  u32 changes, void (*setup)(void), void (*check)(void),
		  struct sched_stats *stats)
{
	u32 i, k, length = 200;
	u64 n;

	mode = MODE_RANDOM;
	rnd = seed;
	for (n = 0; n < schedules; n++) {
		nr_change = changes;
		for (i = 0; i < changes; i++)
			change[i] = 1 + random_of(length);
		for (i = 0; i < c->threads; i++) {
			threads[i].priority = changes + 1 + i;
			k = random_of(i + 1);
			threads[i].priority = threads[k].priority;
			threads[k].priority = changes + 1 + i;
		}
		run(c, setup, check);
		count(stats);
		if (failed)
			break;
		if (steps > length && length < 4000)
			length = steps;
	}
	return verdict();
}

bool sched_stop(const struct sched_case *c, u32 stop, u32 seed,
		void (*setup)(void), void (*check)(void))
{
	mode = MODE_STOP;
	stop_at = stop;
	rnd = seed * 2654435761u + 1;
	run(c, setup, check);
	verdict();
	return threads[0].stopped;
}

bool sched_replay(const struct sched_case *c, const char *schedule,
		  void (*setup)(void), void (*check)(void))
{
	u32 who, times;
	int used;

	mode = MODE_REPLAY;
	nr_replay = 0;
	while (sscanf(schedule, "%u*%u %n", &who, &times, &used) == 2) {
		while (times-- && nr_replay < MAX_TRACE)
			replay[nr_replay++] = who;
		schedule += used;
	}
	run(c, setup, check);
	return verdict();
}
