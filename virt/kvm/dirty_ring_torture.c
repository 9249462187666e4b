// SPDX-License-Identifier: GPL-2.0-only
/*
 * Torture test of the dirty ring pool.
 *
 * Kernel threads, timers and irq_works stand in for vCPUs, device models, interrupts
 * and userspace, on a pool that has no VM.  Each mark is unique: its slot is the number
 * of its marker, and its offset counts that marker's marks.  A round lasts a second.
 * At its end all rings are drained, and each mark must have been harvested and
 * protected exactly once, or have been counted as lost.
 *
 * In a strict round all markers obey the rules that prevent losses, and none may
 * occur.  In a lossy round interrupts mark as well, and rings are detached.
 *
 * The test is part of KVM if KVM is built in.  So it runs the very code that VMs use,
 * and needs no exports.
 *
 *   echo 60 > /sys/module/dirty_ring_torture/parameters/seconds
 *   echo > /sys/kernel/debug/dirty_ring_torture
 *
 * The write returns at the end of the test, and fails with EIO if the test failed.
 */
#define pr_fmt(fmt) "dirty_ring_torture: " fmt

#include <linux/align.h>
#include <linux/bitmap.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/init.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/kvm_dirty_ring_pool.h>
#include <linux/log2.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/prandom.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/smp.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "dirty_ring_torture."

static unsigned int seconds = 60;
module_param(seconds, uint, 0644);
MODULE_PARM_DESC(seconds, "How long the test runs");

static unsigned int seed = 1;
module_param(seed, uint, 0644);
MODULE_PARM_DESC(seed, "Seed of all choices; the schedule differs each time");

static unsigned int users = 6;
module_param(users, uint, 0644);
MODULE_PARM_DESC(users, "Maximum number of vCPUs");

static unsigned int rings = 8;
module_param(rings, uint, 0644);
MODULE_PARM_DESC(rings, "Maximum number of rings; those without a vCPU are spare");

static unsigned int size = 256;
module_param(size, uint, 0644);
MODULE_PARM_DESC(size, "Maximum number of entries of a ring, a power of two");

/* The parameters of the test that runs.  Those of the module may change while it does. */
static struct {
	unsigned int users, rings, size;
} most;

/* The most marks of one marker in a round: the bits of its maps. */
#define TORTURE_MARKS		BIT(20)
#define TORTURE_MIN_SIZE	16
#define TORTURE_MAX_SIZE	BIT(16)
#define TORTURE_MAX_RINGS	1024
/* Device models: they mark for the VM, in process context. */
#define TORTURE_DEVICES		2
#define TORTURE_DRAINERS	3
#define TORTURE_HELPERS		(TORTURE_DEVICES + TORTURE_DRAINERS + 2)
/* A round goes on until it has shown something, or nothing moves any more. */
#define TORTURE_ENOUGH		1000
#define TORTURE_STUCK		(120 * HZ)

/**
 * struct torture_marker - a source of marks, with a slot of its own
 * @slot: its index in torture::marker
 * @next: offset of its next mark
 * @harvested: a bit for each offset that was harvested
 * @protected: a bit for each offset whose page was protected
 */
struct torture_marker {
	u32 slot;
	u64 next;
	unsigned long *harvested;
	unsigned long *protected;
};

/* What a kernel thread is given; it alone uses @rnd. */
struct torture_thread {
	struct task_struct *task;
	struct torture *t;
	struct rnd_state rnd;
	struct torture_marker *marker;
};

/* @out marks when the vCPU is scheduled out, once a stay in the guest. */
struct torture_vcpu {
	struct torture_thread thread;
	struct kvm_dirty_pool_user user;
	struct preempt_notifier notifier;
	struct torture_marker *out;
	bool preempted;
};

/* @fetch is the index of the entry that userspace harvests next. */
struct torture_ring {
	struct kvm_dirty_pool_ring ring;
	struct mutex lock; /* serialises harvests, and keeps them off while detached */
	u32 fetch;
};

struct torture_cpu {
	struct torture *t;
	struct hrtimer timer;
	struct irq_work work;
	struct rnd_state rnd;
	struct torture_marker *timer_marker;
	struct torture_marker *work_marker;
};

/* A round. */
struct torture {
	struct kvm_dirty_pool pool;
	bool strict;
	u32 nr_vcpus;
	u32 nr_rings;
	u32 nr_markers;
	u32 size;
	u32 rsvd;
	struct mutex add_lock; /* serialises rings that join */
	struct torture_vcpu *vcpu;
	struct torture_ring *ring;
	struct torture_marker *marker;
	struct torture_cpu *cpu;
	struct torture_thread helper[TORTURE_HELPERS];
	atomic_t harvested;
	atomic_t reserves;
	atomic_t wrong;
	u32 switches;
	u32 detaches;
};

static struct {
	u64 rounds, marks, harvested, lost, invented;
	u64 parks, reserves, overflows, switches, growth, detaches;
} total;

static DEFINE_MUTEX(torture_lock);

static u32 below(struct rnd_state *rnd, u32 n)
{
	return prandom_u32_state(rnd) % n;
}

static void complain(struct torture *t, const char *what, u64 a, u64 b)
{
	if (atomic_inc_return(&t->wrong) <= 10)
		pr_err("round %llu: %s: %llu %llu\n", total.rounds, what, a, b);
}

/* -- the VM's side of the pool */

/* A page was harvested, or protected. */
static void torture_seen(struct torture *t, bool harvested, u32 slot, u64 offset)
{
	struct torture_marker *m;

	if (slot >= t->nr_markers || offset >= TORTURE_MARKS) {
		complain(t, "a mark that nobody made", slot, offset);
		return;
	}

	m = &t->marker[slot];
	if (test_and_set_bit(offset, harvested ? m->harvested : m->protected))
		complain(t, harvested ? "harvested twice" : "protected twice", slot, offset);
}

static void torture_notify(struct kvm_dirty_pool *pool, struct kvm_dirty_pool_user *user,
			   struct kvm_dirty_pool_ring *ring, enum kvm_dirty_pool_event event)
{
	struct torture *t = container_of(pool, struct torture, pool);

	if (event == KVM_DIRTY_POOL_EV_RESERVE && ring)
		atomic_inc(&t->reserves);
	/* Interrupt this claim or return; but not for ever, if interrupts lose marks. */
	if (!t->strict && !in_hardirq())
		irq_work_queue(&t->cpu[smp_processor_id()].work);
}

static void torture_protect(struct kvm_dirty_pool *pool,
			    const struct kvm_dirty_pool_run *runs, u32 nr)
{
	struct torture *t = container_of(pool, struct torture, pool);
	unsigned long bit;
	u32 i;

	for (i = 0; i < nr; i++) {
		for_each_set_bit(bit, &runs[i].mask, BITS_PER_LONG)
			torture_seen(t, false, runs[i].slot, runs[i].offset + bit);
	}
}

static void torture_flush(struct kvm_dirty_pool *pool)
{
}

static const struct kvm_dirty_pool_ops torture_ops = {
	.notify		= torture_notify,
	.protect	= torture_protect,
	.flush		= torture_flush,
};

/* -- those that mark */

static u32 torture_left(const struct torture_marker *m)
{
	return TORTURE_MARKS - m->next;
}

/* Returns false if not all marks were made. */
static bool torture_mark(struct torture *t, struct torture_marker *m,
			 struct kvm_dirty_pool_user *user, u32 nr, unsigned int flags)
{
	u64 done;

	nr = min(nr, torture_left(m));
	if (!nr)
		return false;

	done = kvm_dirty_pool_mark(&t->pool, user, m->slot, m->next, nr, flags);
	m->next += done;
	if (done > nr || (done < nr && !(flags & KVM_DIRTY_POOL_NORESERVE)))
		complain(t, "wrong number of marks", nr, done);
	return done == nr;
}

static void torture_interrupt(struct torture_cpu *cpu, struct torture_marker *m)
{
	struct torture *t = cpu->t;

	torture_mark(t, m, &t->pool.vm_user, 1 + below(&cpu->rnd, 4), KVM_DIRTY_POOL_NOWAIT);
}

static void torture_work(struct irq_work *work)
{
	struct torture_cpu *cpu = container_of(work, struct torture_cpu, work);

	torture_interrupt(cpu, cpu->work_marker);
}

static enum hrtimer_restart torture_timer(struct hrtimer *timer)
{
	struct torture_cpu *cpu = container_of(timer, struct torture_cpu, timer);

	torture_interrupt(cpu, cpu->timer_marker);
	hrtimer_forward_now(timer, ns_to_ktime(20000 + below(&cpu->rnd, 500000)));
	return HRTIMER_RESTART;
}

static void torture_timer_start(void *arg)
{
	struct torture *t = arg;

	hrtimer_start(&t->cpu[smp_processor_id()].timer, ns_to_ktime(NSEC_PER_USEC),
		      HRTIMER_MODE_REL_PINNED_HARD);
}

static struct torture_vcpu *to_vcpu(struct preempt_notifier *notifier)
{
	return container_of(notifier, struct torture_vcpu, notifier);
}

static void torture_sched_in(struct preempt_notifier *notifier, int cpu)
{
}

/* As the steal time of a vCPU is marked, under the run queue's lock. */
static void torture_sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	struct torture_vcpu *vcpu = to_vcpu(notifier);

	if (vcpu->preempted)
		return;
	vcpu->preempted = true;
	torture_mark(vcpu->thread.t, vcpu->out, &vcpu->user, 1, 0);
}

static struct preempt_ops torture_preempt_ops = {
	.sched_in	= torture_sched_in,
	.sched_out	= torture_sched_out,
};

/* A claim for several entries, which is held up before, between or after them. */
static void torture_batch(struct torture_vcpu *vcpu, u32 nr)
{
	struct torture_marker *m = vcpu->thread.marker;
	struct torture *t = vcpu->thread.t;
	struct rnd_state *rnd = &vcpu->thread.rnd;
	struct kvm_dirty_pool_claim claim;
	u32 stall = below(rnd, nr + 1);
	u32 i;

	preempt_disable();
	if (!kvm_dirty_pool_claim(&t->pool, &vcpu->user, 0, &claim)) {
		preempt_enable();
		/* Counts as lost, unless there is room by now. */
		torture_mark(t, m, &vcpu->user, 1, 0);
		return;
	}

	for (i = 0; i <= nr; i++) {
		if (i == stall) {
			if (!t->strict)
				irq_work_queue(&t->cpu[smp_processor_id()].work);
			udelay(below(rnd, 50));
		}
		if (i < nr && claim.room && torture_left(m))
			kvm_dirty_pool_push(&claim, m->slot, m->next++);
	}
	kvm_dirty_pool_return(&t->pool, &vcpu->user, &claim);
	preempt_enable();
}

/*
 * A stay in the guest.  It ends when the vCPU used a reserve.  What it marks at a time
 * and when it is scheduled out must fit in its share of the reserves.
 */
static void torture_stay(struct torture_vcpu *vcpu)
{
	struct torture_marker *m = vcpu->thread.marker;
	struct rnd_state *rnd = &vcpu->thread.rnd;
	struct torture *t = vcpu->thread.t;
	u32 marks = 1 + below(rnd, 200);

	vcpu->preempted = false;
	preempt_disable();
	preempt_notifier_register(&vcpu->notifier);
	preempt_enable();

	while (marks-- && torture_left(m) && !READ_ONCE(vcpu->user.reserve)) {
		switch (below(rnd, 16)) {
		case 0:
			torture_batch(vcpu, 1 + below(rnd, t->rsvd - 1));
			break;
		case 1:
			torture_mark(t, m, &vcpu->user, 1 + below(rnd, t->rsvd - 1), 0);
			break;
		default:
			torture_mark(t, m, &vcpu->user, 1, 0);
		}
	}

	preempt_disable();
	preempt_notifier_unregister(&vcpu->notifier);
	preempt_enable();
}

/* Let another ring join, if one is left.  Returns NULL if there is none. */
static struct torture_ring *torture_add_ring(struct torture *t)
{
	struct torture_ring *ring = NULL;

	mutex_lock(&t->add_lock);
	if (t->pool.nr_rings < t->nr_rings) {
		ring = &t->ring[t->pool.nr_rings];
		kvm_dirty_pool_add(&t->pool, &ring->ring);
	}
	mutex_unlock(&t->add_lock);
	return ring;
}

static int torture_vcpu(void *arg)
{
	struct torture_vcpu *vcpu = arg;
	struct torture *t = vcpu->thread.t;
	struct torture_ring *ring;

	usleep_range(1, 1 + below(&vcpu->thread.rnd, 50000));
	ring = torture_add_ring(t);
	if (ring)
		vcpu->user.last = &ring->ring;

	while (!kthread_should_stop()) {
		if (kvm_dirty_pool_gate(&t->pool, &vcpu->user)) {
			kvm_dirty_pool_report_overflow(&t->pool, true);
			usleep_range(10, 100);
		} else if (torture_left(vcpu->thread.marker)) {
			torture_stay(vcpu);
			cond_resched();
		} else {
			usleep_range(1000, 2000);
		}
	}
	return 0;
}

static int torture_device(void *arg)
{
	struct torture_thread *thread = arg;
	struct torture *t = thread->t;
	s64 lost = 0;

	while (!kthread_should_stop()) {
		unsigned int flags = KVM_DIRTY_POOL_NORESERVE;
		bool done;

		if (!t->strict && !below(&thread->rnd, 4))
			flags = 0;
		done = torture_mark(t, thread->marker, &t->pool.vm_user,
				    1 + below(&thread->rnd, 100), flags);
		/* Let rings be drained, or marks are lost most of the time. */
		if (!done || lost != atomic64_read(&t->pool.overflows))
			usleep_range(50, 500);
		lost = atomic64_read(&t->pool.overflows);
		cond_resched();
	}
	return 0;
}

/* -- userspace */

/* Returns the number of entries. */
static u32 torture_harvest(struct torture *t, struct torture_ring *ring, u32 max)
{
	u32 fetch = ring->fetch;
	u32 nr;

	lockdep_assert_held(&ring->lock);
	for (nr = 0; nr < max; nr++, fetch++) {
		struct kvm_dirty_gfn *entry = &ring->ring.gfns[fetch & ring->ring.mask];

		/* Pairs with the release in kvm_dirty_pool_push(). */
		if (smp_load_acquire(&entry->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		torture_seen(t, true, READ_ONCE(entry->slot), READ_ONCE(entry->offset));
		/* Pairs with the acquire by which a reset reads the flags. */
		smp_store_release(&entry->flags, KVM_DIRTY_GFN_F_RESET);
	}
	/* Pairs with torture_reset(): the entries below it are harvested. */
	smp_store_release(&ring->fetch, fetch);
	atomic_add(nr, &t->harvested);
	return nr;
}

/* Reset rings, and check that @ring keeps no entry that was harvested before. */
static void torture_reset(struct torture *t, struct torture_ring *ring, u32 first, u32 end)
{
	/* Pairs with the release in torture_harvest(). */
	u32 fetch = smp_load_acquire(&ring->fetch);
	u32 count = 0, reset;

	if (kvm_dirty_pool_reset(&t->pool, first, end, &count))
		complain(t, "a reset failed", first, end);
	reset = READ_ONCE(ring->ring.reset_index);
	if ((s32)(fetch - reset) > 0)
		complain(t, "a reset left entries", fetch, reset);
}

static int torture_drainer(void *arg)
{
	struct torture_thread *thread = arg;
	struct torture *t = thread->t;

	while (!kthread_should_stop()) {
		u32 nr = kvm_dirty_pool_nr_rings(&t->pool);
		u32 r, done = 0;

		if (nr && below(&thread->rnd, 8)) {
			u32 max = below(&thread->rnd, 4) ? t->size : below(&thread->rnd, 16);

			r = below(&thread->rnd, nr);
			mutex_lock(&t->ring[r].lock);
			done = torture_harvest(t, &t->ring[r], max);
			mutex_unlock(&t->ring[r].lock);
			if (below(&thread->rnd, 8))
				torture_reset(t, &t->ring[r], r, r + 1);
		}
		if (nr && !below(&thread->rnd, 8))
			torture_reset(t, &t->ring[below(&thread->rnd, nr)], 0, nr);
		/* As KVM_GET_DIRTY_RING_POOL_STATE clears it. */
		if (!t->strict && !below(&thread->rnd, 100))
			atomic_xchg(&t->pool.overflow, 0);
		if (!done)
			usleep_range(5, 50);
		cond_resched();
	}
	return 0;
}

/* Switch the policy.  Let spare rings join. */
static int torture_switcher(void *arg)
{
	static const char * const names[] = {
		"last-used", "round-robin", "lru", "emptiest",
		"round-robin:1", "lru:1", "emptiest:1", "lru:16", "emptiest:0",
	};
	struct torture_thread *thread = arg;
	struct torture *t = thread->t;

	while (!kthread_should_stop()) {
		const char *name = names[below(&thread->rnd, ARRAY_SIZE(names))];
		char now[KVM_DIRTY_RING_POLICY_NAME_MAX];
		int ret;

		ret = kvm_dirty_pool_set_policy(&t->pool, name);
		kvm_dirty_pool_get_policy(&t->pool, now);
		if (ret && ret != -ENOMEM)
			complain(t, name, -ret, 0);
		else if (!ret && strcmp(name, now))
			complain(t, name, 0, 0);
		t->switches++;
		if (kvm_dirty_pool_nr_rings(&t->pool) >= t->nr_vcpus &&
		    !below(&thread->rnd, 4))
			torture_add_ring(t);
		usleep_range(1, 1 + below(&thread->rnd, 5000));
	}
	return 0;
}

/* Unmap rings, and map them again. */
static int torture_detacher(void *arg)
{
	struct torture_thread *thread = arg;
	struct torture *t = thread->t;

	while (!kthread_should_stop()) {
		u32 nr = kvm_dirty_pool_nr_rings(&t->pool);

		if (nr && !t->strict) {
			struct torture_ring *ring = &t->ring[below(&thread->rnd, nr)];
			u32 fetch;

			mutex_lock(&ring->lock);
			torture_harvest(t, ring, t->size);
			kvm_dirty_pool_detach(&t->pool, &ring->ring);
			usleep_range(1, 1 + below(&thread->rnd, 3000));
			/* The next mark goes to the first entry. */
			fetch = ALIGN(ring->ring.dirty_index + 1, t->size);
			kvm_dirty_pool_attach(&t->pool, &ring->ring);
			/* Not earlier: see torture_reset(). */
			smp_store_release(&ring->fetch, fetch);
			mutex_unlock(&ring->lock);
			t->detaches++;
		}
		usleep_range(100, 100 + below(&thread->rnd, 10000));
	}
	return 0;
}

/* -- a round */

static void torture_free(struct torture *t)
{
	u32 i;

	for (i = 0; t->marker && i < t->nr_markers; i++) {
		kvfree(t->marker[i].harvested);
		kvfree(t->marker[i].protected);
	}
	for (i = 0; t->ring && i < t->nr_rings; i++)
		kvfree(t->ring[i].ring.gfns);
	kfree(t->cpu);
	kfree(t->marker);
	kvfree(t->ring);
	kfree(t->vcpu);
	kfree(t);
}

static int torture_alloc_maps(struct torture_marker *m)
{
	m->harvested = kvcalloc(BITS_TO_LONGS(TORTURE_MARKS), sizeof(long), GFP_KERNEL);
	m->protected = kvcalloc(BITS_TO_LONGS(TORTURE_MARKS), sizeof(long), GFP_KERNEL);
	return m->harvested && m->protected ? 0 : -ENOMEM;
}

/* Entries are allocated anew each round, so that KASAN sees what is beyond them. */
static int torture_alloc_ring(struct torture *t, struct torture_ring *ring, u32 start)
{
	struct kvm_dirty_gfn *gfns = kvcalloc(t->size, sizeof(*gfns), GFP_KERNEL);

	if (!gfns)
		return -ENOMEM;
	mutex_init(&ring->lock);
	kvm_dirty_pool_ring_init(&ring->ring, gfns, t->size, t->rsvd);
	/* Indices wrap around soon. */
	ring->ring.dirty_index = start;
	ring->ring.reset_index = start;
	ring->fetch = start;
	return 0;
}

static struct torture *torture_alloc(struct rnd_state *rnd)
{
	struct torture *t = kzalloc(sizeof(*t), GFP_KERNEL);
	u32 start, max_rings, i;

	if (!t)
		return NULL;

	t->strict = below(rnd, 2);
	t->nr_vcpus = 1 + below(rnd, most.users);
	max_rings = t->nr_vcpus + below(rnd, most.rings - most.users + 1);
	t->size = TORTURE_MIN_SIZE << below(rnd, ilog2(most.size / TORTURE_MIN_SIZE) + 1);
	t->rsvd = 2 + below(rnd, t->size / 2);
	t->nr_markers = 2 * t->nr_vcpus + TORTURE_DEVICES + 2 * nr_cpu_ids;
	start = -below(rnd, 4 * t->size);
	mutex_init(&t->add_lock);

	t->vcpu = kcalloc(t->nr_vcpus, sizeof(*t->vcpu), GFP_KERNEL);
	t->ring = kvcalloc(max_rings, sizeof(*t->ring), GFP_KERNEL);
	t->marker = kcalloc(t->nr_markers, sizeof(*t->marker), GFP_KERNEL);
	t->cpu = kcalloc(nr_cpu_ids, sizeof(*t->cpu), GFP_KERNEL);
	if (!t->vcpu || !t->ring || !t->marker || !t->cpu)
		goto free;

	for (; t->nr_rings < max_rings; t->nr_rings++) {
		if (torture_alloc_ring(t, &t->ring[t->nr_rings], start))
			goto free;
	}

	for (i = 0; i < t->nr_markers; i++) {
		t->marker[i].slot = i;
		if (torture_alloc_maps(&t->marker[i]))
			goto free;
	}

	for (i = 0; i < nr_cpu_ids; i++) {
		struct torture_cpu *cpu = &t->cpu[i];

		cpu->t = t;
		prandom_seed_state(&cpu->rnd, prandom_u32_state(rnd));
		init_irq_work(&cpu->work, torture_work);
		hrtimer_init(&cpu->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
		cpu->timer.function = torture_timer;
		cpu->timer_marker = &t->marker[2 * t->nr_vcpus + TORTURE_DEVICES + 2 * i];
		cpu->work_marker = cpu->timer_marker + 1;
	}

	if (kvm_dirty_pool_init(&t->pool, &torture_ops, max_rings))
		goto free;
	return t;

free:
	torture_free(t);
	return NULL;
}

static int torture_start(struct torture *t, struct torture_thread *thread,
			 struct rnd_state *rnd, struct torture_marker *m,
			 int (*fn)(void *arg), void *arg, const char *name)
{
	struct task_struct *task;

	thread->t = t;
	thread->marker = m;
	prandom_seed_state(&thread->rnd, prandom_u32_state(rnd));
	task = kthread_run(fn, arg, "torture_%s", name);
	if (IS_ERR(task))
		return PTR_ERR(task);
	thread->task = task;
	return 0;
}

static int torture_start_all(struct torture *t, struct rnd_state *rnd)
{
	struct torture_thread *helper = t->helper;
	int ret = 0;
	u32 i;

	for (i = 0; i < TORTURE_DRAINERS && !ret; i++, helper++)
		ret = torture_start(t, helper, rnd, NULL, torture_drainer, helper, "drainer");
	for (i = 0; i < TORTURE_DEVICES && !ret; i++, helper++)
		ret = torture_start(t, helper, rnd, &t->marker[2 * t->nr_vcpus + i],
				    torture_device, helper, "device");
	for (i = 0; i < t->nr_vcpus && !ret; i++) {
		struct torture_vcpu *vcpu = &t->vcpu[i];

		vcpu->out = &t->marker[2 * i + 1];
		kvm_dirty_pool_user_init(&vcpu->user, i);
		preempt_notifier_init(&vcpu->notifier, &torture_preempt_ops);
		ret = torture_start(t, &vcpu->thread, rnd, &t->marker[2 * i],
				    torture_vcpu, vcpu, "vcpu");
	}
	ret = ret ?: torture_start(t, helper, rnd, NULL, torture_switcher, helper, "switcher");
	helper++;
	ret = ret ?: torture_start(t, helper, rnd, NULL, torture_detacher, helper, "detacher");
	if (!t->strict)
		on_each_cpu(torture_timer_start, t, true);
	return ret;
}

/* Those that drain stop last. */
static void torture_stop_all(struct torture *t)
{
	int i;

	for (i = 0; i < nr_cpu_ids; i++)
		hrtimer_cancel(&t->cpu[i].timer);
	for (i = 0; i < t->nr_vcpus; i++) {
		if (t->vcpu[i].thread.task)
			kthread_stop(t->vcpu[i].thread.task);
	}
	for (i = TORTURE_HELPERS - 1; i >= 0; i--) {
		if (t->helper[i].task)
			kthread_stop(t->helper[i].task);
	}
	for (i = 0; i < nr_cpu_ids; i++)
		irq_work_sync(&t->cpu[i].work);
}

/* Drain all rings, and check that they and the gate are as in the beginning. */
static void torture_drain_all(struct torture *t)
{
	u32 nr = kvm_dirty_pool_nr_rings(&t->pool);
	u32 i;

	for (i = 0; i < nr; i++) {
		struct torture_ring *ring = &t->ring[i];
		int word;

		mutex_lock(&ring->lock);
		torture_harvest(t, ring, t->size);
		mutex_unlock(&ring->lock);
		torture_reset(t, ring, i, i + 1);

		word = atomic_read(&ring->ring.word);
		if (word != KVM_DIRTY_POOL_FREE)
			complain(t, "a drained ring is not FREE", i, word);
		if (kvm_dirty_pool_used(&ring->ring))
			complain(t, "a drained ring has entries", i,
				 kvm_dirty_pool_used(&ring->ring));
		if (!test_bit(i, t->pool.avail) || !test_bit(i, t->pool.room))
			complain(t, "a drained ring is not available", i, 0);
		if (ring->ring.parks != ring->ring.drains)
			complain(t, "parks and drains differ", ring->ring.parks, ring->ring.drains);
		total.parks += ring->ring.parks;
	}

	if (atomic_read(&t->pool.nr_reserve))
		complain(t, "reserves are left", atomic_read(&t->pool.nr_reserve), 0);
	if (nr && atomic_read(&t->pool.resets) != atomic_read(&t->pool.flushed))
		complain(t, "resets were not flushed", atomic_read(&t->pool.resets),
			 atomic_read(&t->pool.flushed));
	for (i = 0; i < t->nr_vcpus; i++) {
		if (kvm_dirty_pool_gate(&t->pool, &t->vcpu[i].user))
			complain(t, "the gate stays shut", i, 0);
	}
	if (atomic_read(&t->pool.nr_gated))
		complain(t, "vCPUs stay gated", atomic_read(&t->pool.nr_gated), 0);
}

static void torture_count(struct torture *t)
{
	u64 overflows = atomic64_read(&t->pool.overflows);
	u64 marks = 0, harvested = 0, missing, lost;
	u32 i;

	for (i = 0; i < t->nr_markers; i++) {
		struct torture_marker *m = &t->marker[i];
		u32 seen = bitmap_weight(m->harvested, m->next);
		u32 all = bitmap_weight(m->harvested, TORTURE_MARKS);

		if (all != seen) {
			complain(t, "marks that were never made", i, all - seen);
			total.invented += all - seen;
		}
		if (!bitmap_equal(m->harvested, m->protected, TORTURE_MARKS))
			complain(t, "harvested and protected pages differ", i, 0);
		marks += m->next;
		harvested += seen;
	}

	missing = marks - harvested;
	lost = missing > overflows ? missing - overflows : 0;
	if (missing != overflows)
		complain(t, "marks are missing, and OVERFLOW counted", missing, overflows);
	if (t->strict && overflows)
		complain(t, "OVERFLOW in a strict round", overflows, 0);

	total.marks += marks;
	total.harvested += harvested;
	total.lost += lost;
	total.overflows += overflows;
	total.reserves += atomic_read(&t->reserves);
	total.switches += t->switches;
	total.detaches += t->detaches;
	total.growth += t->pool.nr_rings;
	total.rounds++;
}

static int torture_round(struct rnd_state *rnd)
{
	struct torture *t = torture_alloc(rnd);
	unsigned long start = jiffies, moved = start;
	int harvested = 0;
	int ret;

	if (!t)
		return -ENOMEM;

	ret = torture_start_all(t, rnd);
	while (!ret) {
		int now;

		schedule_timeout_interruptible(HZ / 10);
		if (signal_pending(current))
			break;
		now = atomic_read(&t->harvested);
		if (now != harvested)
			moved = jiffies;
		harvested = now;
		if (now >= TORTURE_ENOUGH && time_after(jiffies, start + HZ))
			break;
		if (time_after(jiffies, moved + TORTURE_STUCK)) {
			complain(t, "nothing is harvested any more", now, 0);
			break;
		}
	}
	torture_stop_all(t);
	torture_drain_all(t);
	torture_count(t);
	if (!ret && atomic_read(&t->wrong)) {
		pr_err("round %llu: %s, %u vCPUs, %u rings of %u, reserve %u: %d errors\n",
		       total.rounds, t->strict ? "strict" : "lossy", t->nr_vcpus,
		       t->nr_rings, t->size, t->rsvd, atomic_read(&t->wrong));
		ret = -EIO;
	}
	kvm_dirty_pool_exit(&t->pool);
	torture_free(t);
	return ret;
}

static void torture_stats(unsigned long start)
{
	pr_info("%u s: rounds %llu marks %llu harvested %llu lost %llu invented %llu parks %llu reserves %llu overflows %llu switches %llu growth %llu detaches %llu\n",
		jiffies_to_msecs(jiffies - start) / 1000, total.rounds, total.marks,
		total.harvested, total.lost, total.invented, total.parks, total.reserves,
		total.overflows, total.switches, total.growth, total.detaches);
}

static int torture_run(void)
{
	unsigned long start = jiffies, shown = start;
	struct rnd_state rnd;
	int ret;

	most.users = READ_ONCE(users);
	most.rings = READ_ONCE(rings);
	most.size = READ_ONCE(size);
	if (!most.users || most.users > most.rings || most.rings > TORTURE_MAX_RINGS ||
	    !is_power_of_2(most.size) || most.size < TORTURE_MIN_SIZE ||
	    most.size > TORTURE_MAX_SIZE)
		return -EINVAL;

	memset(&total, 0, sizeof(total));
	prandom_seed_state(&rnd, seed);
	pr_info("Start of test: seconds=%u seed=%u users=%u rings=%u size=%u\n",
		seconds, seed, most.users, most.rings, most.size);

	preempt_notifier_inc();
	do {
		ret = torture_round(&rnd);
		if (time_after(jiffies, shown + 5 * HZ)) {
			torture_stats(start);
			shown = jiffies;
		}
	} while (!ret && !signal_pending(current) &&
		 time_before(jiffies, start + seconds * HZ));
	preempt_notifier_dec();

	torture_stats(start);
	if (!ret && signal_pending(current))
		ret = -EINTR;
	pr_info("End of test: %s\n", ret ? "FAILURE" : "SUCCESS");
	return ret;
}

static ssize_t torture_write(struct file *file, const char __user *buf, size_t count,
			     loff_t *pos)
{
	int ret = mutex_lock_interruptible(&torture_lock);

	if (ret)
		return ret;
	ret = torture_run();
	mutex_unlock(&torture_lock);
	return ret ?: count;
}

static const struct file_operations torture_fops = {
	.write	= torture_write,
};

static int __init torture_init(void)
{
	debugfs_create_file("dirty_ring_torture", 0200, NULL, NULL, &torture_fops);
	return 0;
}
late_initcall(torture_init);
