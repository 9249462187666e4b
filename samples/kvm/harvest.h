/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Harvest the pages that a KVM guest dirtied, from whatever reports them: the
 * dirty bitmap, a dirty ring for each vCPU, or a pool of dirty rings.
 *
 * harvest.c and this file need the kernel's headers and pthreads, nothing
 * else of bench/migrate/, and are meant to be taken from here into a VMM.  It
 * calls, in this order:
 *
 *	harvest_init()		before the first vCPU is created
 *	harvest_add_slot()	for each memslot
 *	harvest_add_vcpu()	for each vCPU, after KVM_CREATE_VCPU
 *	harvest_start()		a migration begins: logging on
 *	harvest_full()		by a vCPU's thread, at KVM_EXIT_DIRTY_RING_FULL
 *	harvest_mark()		after a device wrote guest memory
 *	harvest_all()		at the end of each round; with vCPUs and devices
 *				stopped, in the last one
 *	harvest_stop()		logging off
 *	harvest_unplug()	at any time: a vCPU is unplugged
 *	harvest_plug()		...and plugged again
 *	harvest_free()
 *
 * Who drains the rings of a pool is the VMM's choice:
 *
 * - the vCPUs (threads = 0, nostop = false): a vCPU that parks a ring exits and
 *   drains.  Who dirties much drains much, and is slowed down by it.
 *
 * - threads of the VMM's (threads > 0, nostop = true): no vCPU exits as long
 *   as a ring is free.  An eventfd wakes the threads.  With more than one, each
 *   has its share of the rings, and they reset them in parallel.
 *
 * The rule behind it all: a page may only be read after the reset that took
 * back its entry.  So a page is collected, reset, and only then reported by
 * harvest_config::dirty.
 */
#ifndef BENCH_MIGRATE_HARVEST_H
#define BENCH_MIGRATE_HARVEST_H

#include <pthread.h>
#include <stdbool.h>

#include <linux/kvm.h>

/* Raise them as you like */
#define HARVEST_MAX_RINGS	64
#define HARVEST_MAX_SLOTS	8
#define HARVEST_MAX_THREADS	8

enum harvest_tracker {
	HARVEST_BITMAP,
	HARVEST_RINGS,		/* a ring for each vCPU */
	HARVEST_POOL,
};

/**
 * struct harvest_config - what the VMM chooses
 * @vm_fd: the VM
 * @tracker: what reports dirty pages
 * @ring_bytes: size of a ring, a power of two; not with HARVEST_BITMAP
 * @nostop: with HARVEST_POOL: vCPUs do not exit for a ring that was parked;
 *	needs @threads
 * @policy: with HARVEST_POOL: which ring is taken; NULL: the kernel's default
 * @threads: that drain rings beside the vCPUs and harvest_all()
 * @period_ms: how often these look at rings that nobody asked to drain
 * @dirty: is told of each dirty page; called by several threads at once
 * @all_dirty: is told that all memory is to be taken for dirty
 * @arg: for @dirty and @all_dirty
 */
struct harvest_config {
	int vm_fd;
	enum harvest_tracker tracker;
	__u32 ring_bytes;
	bool nostop;
	const char *policy;
	unsigned int threads;
	unsigned int period_ms;
	void (*dirty)(void *arg, __u32 slot, __u64 page);
	void (*all_dirty)(void *arg);
	void *arg;
};

struct harvest_page {
	__u32 slot;
	__u64 page;
};

struct harvest_ring {
	pthread_mutex_t lock;		/* it has one harvester at a time */
	struct kvm_dirty_gfn *gfns;	/* NULL: the vCPU is unplugged */
	__u32 fetch;
	struct harvest_page *pages;	/* collected, not yet reported */
	__u32 nr_pages;
};

struct harvest_slot {
	struct kvm_userspace_memory_region region;
	unsigned long *log;		/* with HARVEST_BITMAP */
};

struct harvest_thread {
	struct harvest *harvest;
	unsigned int index;
	pthread_t thread;
	int epoll_fd;
};

struct harvest {
	struct harvest_config config;
	struct harvest_ring rings[HARVEST_MAX_RINGS];
	unsigned int nr_rings;
	unsigned int unplugs;		/* done so far */
	__u32 ring_entries;
	struct harvest_slot slots[HARVEST_MAX_SLOTS];
	unsigned int nr_slots;
	struct harvest_thread threads[HARVEST_MAX_THREADS];
	unsigned int nr_threads;	/* that run */

	/* For what can't be done ring by ring, and for memslots */
	pthread_mutex_t lock;
	bool logging;
	int pool_fd;			/* eventfd: drain, please */
	int quit_fd;			/* eventfd: threads shall end */

	/* For whoever is interested; each is only ever added to */
	__u64 pages;			/* reported, repeats counted */
	__u64 drains;			/* that found something */
	__u64 overflows;
	__u64 again;			/* harvest_mark() had to drain first */
	int error;			/* the first of a thread, -errno */
};

/**
 * harvest_init() - choose the tracker, enable what KVM needs for it
 * @h: to be initialised
 * @config: is copied
 *
 * Context: before the first KVM_CREATE_VCPU
 * Return: 0, or -errno: -ENOTSUP if the kernel has no such tracker, -ENOENT if
 *	it has no such policy, -E2BIG or -EINVAL for a size of rings that it
 *	does not take
 */
int harvest_init(struct harvest *h, const struct harvest_config *config);

/**
 * harvest_add_slot() - create a memslot, whose pages are to be harvested
 * @h: harvest
 * @region: as for KVM_SET_USER_MEMORY_REGION, without KVM_MEM_LOG_DIRTY_PAGES
 *
 * Return: 0 or -errno
 */
int harvest_add_slot(struct harvest *h,
		     const struct kvm_userspace_memory_region *region);

/**
 * harvest_add_vcpu() - map the ring that came with a vCPU
 * @h: harvest
 * @vcpu_fd: the vCPU
 *
 * Call it in the order in which the vCPUs are created: that is how KVM counts
 * rings.
 *
 * Return: 0 or -errno
 */
int harvest_add_vcpu(struct harvest *h, int vcpu_fd);

/**
 * harvest_unplug() - unmap the ring of a vCPU that is unplugged
 * @h: harvest
 * @vcpu: the vCPU, counted in the order of harvest_add_vcpu()
 *
 * No page gets lost.  KVM takes the ring out of the pool, and marks again in
 * other rings what was not harvested; if they have no room for it, that is an
 * OVERFLOW like others, which harvest_all() before this makes unlikely.
 *
 * Context: at any time, with logging on or off, while other vCPUs run.  This
 *	one does not; its fd is kept, since KVM never lets go of a vCPU.
 * Return: 0 or -errno
 */
int harvest_unplug(struct harvest *h, unsigned int vcpu);

/**
 * harvest_plug() - map the ring of a vCPU that was unplugged
 * @h: harvest
 * @vcpu: the vCPU, as for harvest_unplug()
 * @vcpu_fd: that was kept
 *
 * Context: before the vCPU runs again
 * Return: 0 or -errno
 */
int harvest_plug(struct harvest *h, unsigned int vcpu, int vcpu_fd);

/**
 * harvest_start() - turn logging on, start the threads
 * @h: harvest
 *
 * All memory has to be taken for dirty once this has returned.
 *
 * Return: 0 or -errno
 */
int harvest_start(struct harvest *h);

/**
 * harvest_stop() - stop the threads, turn logging off
 * @h: harvest
 *
 * vCPUs may run.  Pages found meanwhile are still reported.
 *
 * Return: 0 or -errno
 */
int harvest_stop(struct harvest *h);

/**
 * harvest_full() - serve KVM_EXIT_DIRTY_RING_FULL
 * @h: harvest
 * @run: of the vCPU that exited
 *
 * Call KVM_RUN again when it has returned.
 *
 * Context: the vCPU's thread, also when no migration runs
 * Return: 0 or -errno
 */
int harvest_full(struct harvest *h, const struct kvm_run *run);

/**
 * harvest_mark() - tell of pages that the VMM or a device wrote
 * @h: harvest
 * @slot: memslot
 * @first: first page, counted from the memslot's first
 * @count: number of pages
 *
 * Call it after the write, and before the write is shown to the guest or the
 * devices are declared stopped.
 *
 * Return: 0 or -errno
 */
int harvest_mark(struct harvest *h, __u32 slot, __u64 first, __u64 count);

/**
 * harvest_all() - drain everything
 * @h: harvest
 *
 * When it returns, every page that was marked before the call was reported,
 * by this thread or another one.
 *
 * Return: 0, -errno of its own, or of one of the threads
 */
int harvest_all(struct harvest *h);

/**
 * harvest_pool_state() - the pool's counters
 * @h: harvest
 * @state: is filled in
 *
 * Return: 0 or -errno: -EINVAL without a pool
 */
int harvest_pool_state(struct harvest *h, struct kvm_dirty_ring_pool_state *state);

/**
 * harvest_free() - free what harvest_init() and the others allocated
 * @h: harvest; its vCPUs must not run any more
 */
void harvest_free(struct harvest *h);

#endif /* BENCH_MIGRATE_HARVEST_H */
