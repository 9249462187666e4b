// SPDX-License-Identifier: GPL-2.0
/* Up to 4096 vCPUs, each on a CPU of its own, in virtual time. */
#include <string.h>
#include <sys/mman.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/preempt.h>
#include <linux/slab.h>
#include "measure.h"
#include "virtual.h"
#include "virtual_time.h"

#define ENTRIES		512
#define RSVD		64	/* KVM's own */
#define DRAIN_AT	192	/* used entries */
#define TOGETHER	32	/* rings that a drain resets by one call */
#define AGAIN		8	/* searches */
/* Marks: of a vCPU, in quanta, of all, and the turns that end a run earlier. */
#define QUANTA		6
#define MARKS_LEAST	20000
#define TURNS		1200000
#define DRAIN_TURNS	10000000

static const char *const policies[] = {
	"last-used", "round-robin:16", "round-robin", "round-robin:256",
	"lru:16", "lru", "lru:256", "emptiest:16", "emptiest", "emptiest:256",
};

static const u32 sizes[] = { 1, 2, 4, 16, 64, 256, 1024, 4096 };

/* A pool, its users, and what they have done. */
static struct setup {
	struct kvm_dirty_pool pool;
	struct kvm_dirty_pool_ring *ring;
	struct vcpu {
		struct kvm_dirty_pool_user user ____cacheline_aligned_in_smp;
		bool request;
		bool started;
		u64 seed;
		u32 fetch;	/* of the ring */
	} *vcpu;
	u32 nr;
	u32 drainers;
	struct kvm_dirty_gfn *gfns;
	size_t bytes;
	double fault;
	u32 quantum;	/* of entries; that of last-used has no end */
	u64 target;
	u64 turns;
	u64 all_marks;
	u64 marks;	/* those since all vCPUs have started */
	u64 drained;
	u64 parks;
	u64 reserves;
	u64 exits;
	double stalled;
	double faulted;
	u32 left;	/* vCPUs that have not started */
	bool half;
	u64 last_turn;
	bool stop;
	/* When the count began and ended, and what it was then. */
	double begin;
	double end;
	struct totals {
		u64 marks;
		u64 drained;
		u64 parks;
		u64 exits;
		double stalled;
		double faulted;
	} before;
} *now;

static void notify(struct kvm_dirty_pool *pool, struct kvm_dirty_pool_user *user,
		   struct kvm_dirty_pool_ring *ring, enum kvm_dirty_pool_event event)
{
	if (event == KVM_DIRTY_POOL_EV_PARK) {
		now->parks++;
		return;
	}
	if (event == KVM_DIRTY_POOL_EV_RESERVE)
		now->reserves++;
	/* With NOSTOP, a park stops nobody. */
	WRITE_ONCE(now->vcpu[user->id].request, true);
}

static void protect(struct kvm_dirty_pool *pool,
		    const struct kvm_dirty_pool_run *runs, u32 nr)
{
}

static void flush(struct kvm_dirty_pool *pool)
{
}

static const struct kvm_dirty_pool_ops ops = {
	.notify		= notify,
	.protect	= protect,
	.flush		= flush,
};

static void create(struct setup *s, const char *policy, u32 nr)
{
	u32 i;

	memset(s, 0, sizeof(*s));
	s->nr = nr;
	s->left = nr;
	s->ring = bench_alloc(nr * sizeof(*s->ring));
	s->vcpu = bench_alloc(nr * sizeof(*s->vcpu));
	s->bytes = (size_t)nr * ENTRIES * sizeof(struct kvm_dirty_gfn);
	s->gfns = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->gfns == MAP_FAILED || kvm_dirty_pool_init(&s->pool, &ops, nr) ||
	    kvm_dirty_pool_set_policy(&s->pool, policy))
		bench_die("no pool under %s", policy);
	for (i = 0; i < nr; i++) {
		kvm_dirty_pool_user_init(&s->vcpu[i].user, i);
		kvm_dirty_pool_ring_init(&s->ring[i], s->gfns + (size_t)i * ENTRIES,
					 ENTRIES, RSVD);
		kvm_dirty_pool_add(&s->pool, &s->ring[i]);
		s->vcpu[i].user.last = &s->ring[i];
		s->vcpu[i].seed = i;
	}
	now = s;
	virtual_forget();
}

static void destroy(struct setup *s)
{
	kvm_dirty_pool_exit(&s->pool);
	munmap(s->gfns, s->bytes);
	kfree(s->ring);
	kfree(s->vcpu);
}

static double random_share(u32 who)
{
	return (bench_random(&now->vcpu[who].seed) >> 11) / (double)BIT(53);
}

static void totals(struct totals *t)
{
	t->marks = now->marks;
	t->drained = now->drained;
	t->parks = now->parks;
	t->exits = now->exits;
	t->stalled = now->stalled;
	t->faulted = now->faulted;
}

/* The first half does not count: vCPUs begin in a row, with rings of their own. */
static void count_mark(void)
{
	now->marks++;
	if (!now->half && (now->marks >= now->target / 2 || virtual_turns() >= now->turns / 2)) {
		now->half = true;
		now->last_turn = virtual_turns() + now->turns / 2;
		now->begin = virtual_now();
		totals(&now->before);
		virtual_lines(NULL);
	}
	if (now->half && !now->stop &&
	    (now->marks >= now->target || virtual_turns() >= now->last_turn)) {
		now->stop = true;
		now->end = virtual_now();
	}
}

static void push(u32 who)
{
	kvm_dirty_pool_mark(&now->pool, &now->vcpu[who].user, BENCH_SLOT, who, 1, 0);
	now->all_marks++;
}

static void mark(u32 who)
{
	struct vcpu *vcpu = &now->vcpu[who];

	/* Between half and one and a half, or all would march in step. */
	if (now->fault) {
		double ns = now->fault * (0.5 + random_share(who));

		now->faulted += ns;
		virtual_spend(ns);
	}
	push(who);
	virtual_spend(virtual_cost[COST_MARK].ns);
	if (!vcpu->started) {
		vcpu->started = true;
		now->left--;
	}
	if (!now->left)
		count_mark();
}

static u32 harvest(struct kvm_dirty_pool_ring *ring)
{
	struct bench_harvest sum = { };

	return bench_harvest_ring(ring->gfns, ENTRIES,
				  &now->vcpu[ring->index].fetch, &sum);
}

/* As measure_pair() does: drains take no time, and only marks are compared. */
static void mark_body(u32 who)
{
	struct kvm_dirty_pool_user *user = &now->vcpu[who].user;
	int i;

	/* vCPUs are not in step: each begins somewhere in its quantum. */
	virtual_pause(true);
	for (i = now->quantum * random_share(who); i > 0; i--)
		push(who);
	virtual_pause(false);

	while (!now->stop) {
		mark(who);
		if (user->last->dirty_index - user->last->reset_index >= DRAIN_AT) {
			u32 count = 0, i = user->last->index;

			virtual_pause(true);
			harvest(user->last);
			kvm_dirty_pool_reset(&now->pool, i, i + 1, &count);
			virtual_pause(false);
		}
	}
}

/* The line that was transferred for most of the time, and what it belongs to. */
static struct virtual_line worst;
static double waited;

static void find_worst(const struct virtual_line *line)
{
	waited += line->waited;
	if (line->busy > worst.busy)
		worst = *line;
}

static bool inside(const void *from, size_t bytes)
{
	return worst.at * SMP_CACHE_BYTES - (unsigned long)from < bytes;
}

static const char *line_name(const struct setup *s)
{
	static char name[32];
	const char *data = s->pool.selector->data;

	if (!worst.busy)
		return "none";
	if (inside(s->ring, s->nr * sizeof(*s->ring))) {
		snprintf(name, sizeof(name), "ring %zu",
			 (worst.at * SMP_CACHE_BYTES - (unsigned long)s->ring) /
			 sizeof(*s->ring));
		return name;
	}
	if (inside(s->pool.avail, BITS_TO_LONGS(s->nr) * sizeof(long)))
		return "pool->avail";
	if (inside(s->pool.room, BITS_TO_LONGS(s->nr) * sizeof(long)))
		return "pool->room";
	if (inside(&s->pool, sizeof(s->pool)))
		return "the pool's";
	if (inside(s->vcpu, s->nr * sizeof(*s->vcpu)))
		return "a user's";
	if (data && inside(data, 2 * SMP_CACHE_BYTES)) {
		snprintf(name, sizeof(name), "policy + %ld",
			 (long)(worst.at * SMP_CACHE_BYTES - (unsigned long)data));
		return name;
	}
	return "an array of the policy";
}

static void report_line(const struct setup *s, FILE *out)
{
	u64 marks = s->marks - s->before.marks;

	waited = 0;
	memset(&worst, 0, sizeof(worst));
	virtual_lines(find_worst);
	bench_text(out, "line", line_name(s));
	bench_number(out, "line_busy", worst.busy / (s->end - s->begin));
	bench_number(out, "line_moves", (double)worst.moves / marks);
	bench_number(out, "waited", waited / marks);
}

static u64 target(u32 nr, u32 each)
{
	u64 marks = (u64)nr * each;

	return marks < MARKS_LEAST ? MARKS_LEAST : marks;
}

static void report_begin(const struct bench_options *opt, const char *what,
			 const char *policy, u32 nr)
{
	bench_begin(opt->out, what);
	bench_text(opt->out, "rival", policy);
	bench_number(opt->out, "vcpus", nr);
}

static void virtual_marks(const struct bench_options *opt, const char *what,
			  const char *policy, u32 nr, double fault)
{
	u64 claims = 0, moves = 0, retries = 0;
	static struct setup s;
	u64 marks;
	u32 i;

	create(&s, policy, nr);
	s.fault = fault;
	s.quantum = s.pool.selector->stay == ~0u ? 256 : s.pool.selector->stay + 1;
	s.target = target(nr, QUANTA * s.quantum);
	s.turns = TURNS;
	virtual_run(nr, mark_body, s.gfns, s.bytes);
	marks = s.marks - s.before.marks;
	for (i = 0; i < nr; i++) {
		claims += s.ring[i].claims;
		moves += s.ring[i].moves;
		retries += s.ring[i].retries;
	}
	report_begin(opt, what, policy, nr);
	bench_number(opt->out, "fault", fault);
	bench_number(opt->out, "all_marks", s.all_marks);
	bench_number(opt->out, "claims", claims);
	bench_number(opt->out, "ns",
		     (nr * (s.end - s.begin) - s.faulted + s.before.faulted) / marks);
	bench_number(opt->out, "mpages", marks * 1e3 / (s.end - s.begin));
	bench_number(opt->out, "moves", (double)moves / s.all_marks);
	bench_number(opt->out, "retries", (double)retries / s.all_marks);
	report_line(&s, opt->out);
	bench_end(opt->out);
	destroy(&s);
}

/* Park all rings but one, which is empty; returns one that is parked. */
static struct kvm_dirty_pool_ring *park_most(struct setup *s)
{
	struct kvm_dirty_pool_ring *parked = NULL;
	u32 i, count = 0;

	for (i = 0; s->parks < s->nr - 1; i = (i + 1) % s->nr)
		kvm_dirty_pool_mark(&s->pool, &s->vcpu[i].user, BENCH_SLOT, i, 1, 0);
	for (i = 0; i < s->nr; i++) {
		if (atomic_read(&s->ring[i].word) & KVM_DIRTY_POOL_PARKED) {
			parked = &s->ring[i];
		} else {
			harvest(&s->ring[i]);
			kvm_dirty_pool_reset(&s->pool, i, i + 1, &count);
		}
	}
	return parked;
}

/* Who parked a ring has its lines. */

static void parked_body(u32 who)
{
	sched_point(&now->ring[who].word, SCHED_WRITE);
	sched_point(&now->pool.avail[who / BITS_PER_LONG], SCHED_WRITE);
}

/* What a mark takes if the ring that the user had last is parked. */
static double search(u32 who)
{
	struct kvm_dirty_pool_user *user = &now->vcpu[who].user;
	double begin = virtual_now();

	user->ask = false;
	kvm_dirty_pool_mark(&now->pool, user, BENCH_SLOT, who, 1, 0);
	return virtual_now() - begin;
}

static struct kvm_dirty_pool_ring *parked;
static double first, again, all, longest;

static void alone_body(u32 who)
{
	int i;

	now->vcpu[who].user.last = parked;
	first = search(who);
	again = 0;
	for (i = 0; i < AGAIN; i++) {
		now->vcpu[who].user.last = parked;
		again += search(who) / AGAIN;
	}
}

static void crowd_body(u32 who)
{
	double ns;

	virtual_spend(virtual_cost[COST_FAULT].ns * random_share(who));
	ns = search(who);
	all += ns / now->nr;
	if (ns > longest)
		longest = ns;
}

static void virtual_search(const struct bench_options *opt, const char *policy,
			   u32 nr)
{
	static struct setup s;

	create(&s, policy, nr);
	parked = park_most(&s);
	virtual_run(nr, parked_body, s.gfns, s.bytes);
	virtual_run(1, alone_body, s.gfns, s.bytes);
	virtual_run(nr, parked_body, s.gfns, s.bytes);
	all = 0;
	longest = 0;
	virtual_run(nr, crowd_body, s.gfns, s.bytes);
	report_begin(opt, "virtual-search", policy, nr);
	bench_number(opt->out, "first", first);
	bench_number(opt->out, "again", again);
	bench_number(opt->out, "all", all);
	bench_number(opt->out, "longest", longest);
	bench_number(opt->out, "reserves", s.reserves);
	bench_end(opt->out);
	destroy(&s);
}

/* Marks, and exits if it has to. */
static void drained_body(u32 who)
{
	struct vcpu *vcpu = &now->vcpu[who];
	double begin;

	while (!now->stop) {
		mark(who);
		if (likely(!READ_ONCE(vcpu->request)))
			continue;
		WRITE_ONCE(vcpu->request, false);
		now->exits++;
		virtual_spend(virtual_cost[COST_EXIT].ns);
		begin = virtual_now();
		/* If nothing is ever drained, the run has to end, too. */
		while (!now->stop && virtual_turns() < now->turns &&
		       kvm_dirty_pool_gate(&now->pool, &vcpu->user))
			virtual_spend(virtual_cost[COST_RETRY].ns);
		if (begin < now->begin)
			begin = now->begin;
		if (now->half)
			now->stalled += virtual_now() - begin;
	}
}

static void drainer_body(u32 who)
{
	u32 first = (u64)who * now->nr / now->drainers;
	u32 end = (u64)(who + 1) * now->nr / now->drainers, i, k;

	for (i = first; !now->stop; i = k < end ? k : first) {
		u32 found = 0, count = 0;

		for (k = i; k < end && k < i + TOGETHER; k++)
			found += harvest(&now->ring[k]);
		virtual_spend(virtual_cost[COST_RESET].ns +
			      virtual_cost[COST_ENTRY].ns * found);
		kvm_dirty_pool_reset(&now->pool, i, k, &count);
		now->drained += count;
	}
}

static void vcpu_or_drainer(u32 who)
{
	if (who < now->nr)
		drained_body(who);
	else
		drainer_body(who - now->nr);
}

static void virtual_drain(const struct bench_options *opt, const char *policy,
			  u32 nr, u32 drainers)
{
	static struct setup s;
	double ns;

	create(&s, policy, nr);
	s.fault = virtual_cost[COST_FAULT].ns;
	s.drainers = drainers;
	s.target = target(nr, 8 * ENTRIES);
	s.turns = DRAIN_TURNS;
	virtual_run(nr + drainers, vcpu_or_drainer, s.gfns, s.bytes);
	ns = s.end - s.begin;
	report_begin(opt, "virtual-drain", policy, nr);
	bench_number(opt->out, "drainers", drainers);
	bench_number(opt->out, "pushed", (s.marks - s.before.marks) * 1e3 / ns);
	bench_number(opt->out, "drained", (s.drained - s.before.drained) * 1e3 / ns);
	bench_number(opt->out, "parks", (s.parks - s.before.parks) * 1e9 / ns);
	bench_number(opt->out, "exits", (s.exits - s.before.exits) * 1e9 / ns);
	bench_number(opt->out, "stalled", (s.stalled - s.before.stalled) / ns / nr);
	bench_number(opt->out, "lost", atomic64_read(&s.pool.overflows));
	report_line(&s, opt->out);
	bench_end(opt->out);
	destroy(&s);
}

/* For comparison with measure_mark() and measure_pair(): the line as measured. */
static void virtual_check(const struct bench_options *opt)
{
	double near = virtual_cost[COST_NEAR].ns;
	int p;

	if (bench_line)
		virtual_cost[COST_NEAR].ns = bench_line;
	for (p = 0; p < ARRAY_SIZE(policies); p++) {
		virtual_marks(opt, "virtual-check", policies[p], 1, 0);
		virtual_marks(opt, "virtual-check", policies[p], 2, 0);
	}
	virtual_cost[COST_NEAR].ns = near;
}

void simulate_virtual(const struct bench_options *opt)
{
	static const char *const plain[] = {
		"last-used", "round-robin", "lru", "emptiest"
	};
	int nr = opt->quick ? 4 : ARRAY_SIZE(sizes);
	int p, n, f;
	u32 d;

	bench_begin(opt->out, "virtual-model");
	for (n = 0; n < COST_NR; n++)
		bench_number(opt->out, virtual_cost[n].name, virtual_cost[n].ns);
	bench_end(opt->out);
	virtual_check(opt);
	for (f = 0; f < 2; f++) {
		for (p = 0; p < ARRAY_SIZE(policies); p++) {
			for (n = 0; n < nr; n++) {
				virtual_marks(opt, "virtual-mark", policies[p],
					      sizes[n], f ? virtual_cost[COST_FAULT].ns : 0);
			}
			bench_progress("8. marks of 1 to 4096 vCPUs in virtual time",
				       f * ARRAY_SIZE(policies) + p + 1,
				       2 * ARRAY_SIZE(policies));
		}
	}
	for (p = 0; p < ARRAY_SIZE(plain); p++) {
		for (n = 1; n < nr; n++)
			virtual_search(opt, plain[p], sizes[n]);
		for (n = 3; n < nr && sizes[n] <= 256; n++) {
			for (d = 1; d <= 8; d *= 2)
				virtual_drain(opt, plain[p], sizes[n], d);
		}
		bench_progress("8. searches and drains in virtual time", p + 1,
			       ARRAY_SIZE(plain));
	}
}
