/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Harvest the pages that a KVM guest dirtied, whatever tracks them: the dirty
 * bitmap, a dirty ring for each vCPU, or a pool of dirty rings.
 *
 * harvest.c and this file need nothing but the kernel's headers and pthreads:
 * copy them into a VMM.  The VMM calls, in this order:
 *
 *	harvest_init()		before the first vCPU is created
 *	harvest_add_slot()	for each memslot
 *	harvest_add_vcpu()	for each vCPU, after KVM_CREATE_VCPU
 *	harvest_start()		a migration begins: turns logging on
 *	harvest_full()		by a vCPU's thread, at KVM_EXIT_DIRTY_RING_FULL
 *	harvest_mark()		after a device wrote guest memory
 *	harvest_all()		at the end of each round; with vCPUs and devices
 *				stopped, in the last one
 *	harvest_stop()		turns logging off
 *	harvest_unplug()	at any time: a vCPU is unplugged
 *	harvest_plug()		... and plugged again
 *	harvest_free()
 *
 * Who drains the rings of a pool is the VMM's choice:
 *
 * - The vCPUs (threads = 0, nostop = false): a vCPU that parks a ring exits and
 *   drains.  A vCPU that dirties much drains much, which slows it down.
 *
 * - Threads of the VMM (threads > 0, nostop = true): no vCPU exits as long as a
 *   ring is free.  An eventfd wakes the threads.  Each thread has its share of
 *   the rings, and the threads reset them in parallel.
 *
 * A page must not be read before the reset that took back its entry.  So a page
 * is collected, reset, and only then reported by harvest_config::dirty.
 */
#ifndef SAMPLES_KVM_HARVEST_H
#define SAMPLES_KVM_HARVEST_H

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
 * @nostop: with HARVEST_POOL: vCPUs do not exit for a parked ring; needs
 *	@threads
 * @policy: with HARVEST_POOL: the policy's name; NULL: the kernel's default
 * @threads: number of threads that drain rings, in addition to the vCPUs and
 *	harvest_all()
 * @period_ms: how often the threads drain rings without a request
 * @dirty: called for each dirty page, by several threads at once
 * @all_dirty: called when all memory must be considered dirty
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
	pthread_mutex_t lock;		/* one harvester at a time */
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
	unsigned int nr_threads;	/* running */

	/* For memslots, and for what concerns all rings */
	pthread_mutex_t lock;
	bool logging;
	int pool_fd;			/* eventfd: a drain is requested */
	int quit_fd;			/* eventfd: the threads must end */

	/* Statistics, which only grow */
	__u64 pages;			/* reported, repeats counted */
	__u64 drains;			/* that found something */
	__u64 overflows;
	__u64 again;			/* harvest_mark() had to drain first */
	int error;			/* a thread's first one, -errno */
};

/**
 * harvest_init() - choose the tracker and enable it in KVM
 * @h: is initialised
 * @config: is copied
 *
 * Context: before the first KVM_CREATE_VCPU
 * Return: 0, or -errno: -ENOTSUP if the kernel has no such tracker, -ENOENT if
 *	it has no such policy, -E2BIG or -EINVAL if it does not accept the
 *	size of the rings
 */
int harvest_init(struct harvest *h, const struct harvest_config *config);

/**
 * harvest_add_slot() - create a memslot whose pages are to be harvested
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
 * Call it in the order in which the vCPUs are created: KVM numbers the rings
 * in that order.
 *
 * Return: 0 or -errno
 */
int harvest_add_vcpu(struct harvest *h, int vcpu_fd);

/**
 * harvest_unplug() - unmap the ring of a vCPU that is unplugged
 * @h: harvest
 * @vcpu: the vCPU, counted in the order of harvest_add_vcpu()
 *
 * No page is lost.  KVM takes the ring out of the pool and moves entries that
 * were not harvested to other rings.  If those have no room, that is an
 * OVERFLOW like any other; harvest_all() before this call makes it unlikely.
 *
 * Context: at any time, with logging on or off, while other vCPUs run.  This
 *	one does not run; keep its fd, since KVM never releases a vCPU.
 * Return: 0 or -errno
 */
int harvest_unplug(struct harvest *h, unsigned int vcpu);

/**
 * harvest_plug() - map the ring of a vCPU that was unplugged
 * @h: harvest
 * @vcpu: the vCPU, as for harvest_unplug()
 * @vcpu_fd: the fd that was kept
 *
 * Context: before the vCPU runs again
 * Return: 0 or -errno
 */
int harvest_plug(struct harvest *h, unsigned int vcpu, int vcpu_fd);

/**
 * harvest_start() - turn logging on, start the threads
 * @h: harvest
 *
 * All memory must be considered dirty when this has returned.
 *
 * Return: 0 or -errno
 */
int harvest_start(struct harvest *h);

/**
 * harvest_stop() - stop the threads, turn logging off
 * @h: harvest
 *
 * vCPUs may run.  Pages found until it returns are still reported.
 *
 * Return: 0 or -errno
 */
int harvest_stop(struct harvest *h);

/**
 * harvest_full() - serve KVM_EXIT_DIRTY_RING_FULL
 * @h: harvest
 * @run: of the vCPU that exited
 *
 * Call KVM_RUN again afterwards.
 *
 * Context: the vCPU's thread, also when no migration runs
 * Return: 0 or -errno
 */
int harvest_full(struct harvest *h, const struct kvm_run *run);

/**
 * harvest_mark() - mark pages dirty that the VMM or a device wrote
 * @h: harvest
 * @slot: memslot
 * @first: first page, counted from the memslot's first
 * @count: number of pages
 *
 * Call it after the write, and before the guest is notified of the write or
 * the devices are declared stopped.
 *
 * Return: 0 or -errno
 */
int harvest_mark(struct harvest *h, __u32 slot, __u64 first, __u64 count);

/**
 * harvest_all() - drain everything
 * @h: harvest
 *
 * When it returns, every page marked before the call has been reported, by this
 * thread or another one.
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
 * @h: harvest; no vCPU runs any more
 */
void harvest_free(struct harvest *h);

#endif /* SAMPLES_KVM_HARVEST_H */
