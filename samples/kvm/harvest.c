// SPDX-License-Identifier: GPL-2.0-only
/* Harvest dirty pages, see harvest.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harvest.h"

#define BITS_PER_LONG	(8 * sizeof(long))

static void count(__u64 *counter, __u64 n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int do_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static int set_logging(struct harvest *h, bool on)
{
	unsigned int i;
	int err;

	for (i = 0; i < h->nr_slots; i++) {
		struct kvm_userspace_memory_region region = h->slots[i].region;

		if (on)
			region.flags |= KVM_MEM_LOG_DIRTY_PAGES;
		err = do_ioctl(h->config.vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
		if (err)
			return err;
	}
	return 0;
}

/* -- Rings */

/* Collect a ring's entries, one round at most: KVM may keep pushing. */
static __u32 ring_collect(struct harvest *h, struct harvest_ring *ring)
{
	for (ring->nr_pages = 0; ring->nr_pages < h->ring_entries; ring->nr_pages++) {
		struct kvm_dirty_gfn *gfn = &ring->gfns[ring->fetch % h->ring_entries];

		/* Pairs with KVM's release: slot and offset belong to this entry. */
		if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY)
			break;
		ring->pages[ring->nr_pages].slot = gfn->slot;
		ring->pages[ring->nr_pages].page = gfn->offset;
		/* From here on KVM may reuse the entry. */
		__atomic_store_n(&gfn->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		ring->fetch++;
	}
	return ring->nr_pages;
}

/* The pages may be read only now, after the reset. */
static void ring_report(struct harvest *h, struct harvest_ring *ring)
{
	__u32 i;

	for (i = 0; i < ring->nr_pages; i++)
		h->config.dirty(h->config.arg, ring->pages[i].slot, ring->pages[i].page);
	count(&h->pages, ring->nr_pages);
	count(&h->drains, 1);
}

/* Does the ring hold at least @entries? */
static bool ring_has(struct harvest *h, struct harvest_ring *ring, __u32 entries)
{
	struct kvm_dirty_gfn *gfn = &ring->gfns[(ring->fetch + entries - 1) % h->ring_entries];

	return __atomic_load_n(&gfn->flags, __ATOMIC_RELAXED) == KVM_DIRTY_GFN_F_DIRTY;
}

/*
 * Drain one ring of a pool if it holds at least @least entries.  Several
 * threads may do so at once, each with a ring of its own.
 */
static int pool_drain_locked(struct harvest *h, unsigned int index, __u32 least)
{
	struct harvest_ring *ring = &h->rings[index];
	int ret;

	if (!ring->gfns || !ring_has(h, ring, least))
		return 0;
	ring_collect(h, ring);
	ret = do_ioctl(h->config.vm_fd, KVM_RESET_DIRTY_RING,
		       (void *)(unsigned long)index);
	if (ret < 0)
		return ret;
	if (ret != (int)ring->nr_pages)
		return -EIO;	/* Someone else resets this ring. */
	ring_report(h, ring);
	return 0;
}

static int pool_drain(struct harvest *h, unsigned int index, __u32 least)
{
	int ret;

	pthread_mutex_lock(&h->rings[index].lock);
	ret = pool_drain_locked(h, index, least);
	pthread_mutex_unlock(&h->rings[index].lock);
	return ret;
}

/*
 * A reset flushes the TLBs, however few entries it takes back.  A drain that
 * only has to make room skips rings with few entries.
 */
static __u32 worth_it(const struct harvest *h)
{
	return h->ring_entries / 4;
}

/* Drain a ring, then those that fill up and that no one else is draining. */
static int pool_drain_around(struct harvest *h, unsigned int index)
{
	unsigned int i, n = h->nr_rings;
	int ret;

	if (index >= n)
		return -EINVAL;
	ret = pool_drain(h, index, 1);
	for (i = 1; !ret && i < n; i++) {
		struct harvest_ring *ring = &h->rings[(index + i) % n];

		if (pthread_mutex_trylock(&ring->lock))
			continue;
		ret = pool_drain_locked(h, (index + i) % n, worth_it(h));
		pthread_mutex_unlock(&ring->lock);
	}
	return ret;
}

/*
 * Marks were lost.  Their pages are writable and in no ring, so writes to them
 * would never trap again.  Turning logging off and on write-protects all pages.
 * Clear the state before that: a mark that is lost later sets it again.
 */
static int pool_overflow(struct harvest *h)
{
	struct kvm_dirty_ring_pool_state state = {
		.flags = KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW,
	};
	int ret;

	pthread_mutex_lock(&h->lock);
	ret = do_ioctl(h->config.vm_fd, KVM_GET_DIRTY_RING_POOL_STATE, &state);
	if (!ret && (state.status & KVM_DIRTY_RING_POOL_OVERFLOW) && h->logging) {
		ret = set_logging(h, false);
		if (!ret)
			ret = set_logging(h, true);
		h->config.all_dirty(h->config.arg);
		count(&h->overflows, 1);
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

/*
 * Per-vCPU rings can only be reset together.  One lock covers the whole drain,
 * because such a reset may return before the pages of another thread's reset
 * are write-protected.
 */
static int rings_drain(struct harvest *h)
{
	unsigned int i, left = 0;
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < h->nr_rings; i++) {
		if (h->rings[i].gfns)
			left += ring_collect(h, &h->rings[i]);
	}
	if (left) {
		ret = do_ioctl(h->config.vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
		if (ret >= 0)
			ret = ret == (int)left ? 0 : -EIO;
	}
	for (i = 0; !ret && i < h->nr_rings; i++) {
		if (h->rings[i].gfns && h->rings[i].nr_pages)
			ring_report(h, &h->rings[i]);
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

/* -- The bitmap */

static __u64 log_report(struct harvest *h, const struct harvest_slot *slot)
{
	__u64 i, n = 0, words = slot->region.memory_size / getpagesize() / BITS_PER_LONG;

	for (i = 0; i <= words; i++) {
		unsigned long bits = slot->log[i];

		for (; bits; bits &= bits - 1, n++)
			h->config.dirty(h->config.arg, slot->region.slot,
					i * BITS_PER_LONG + __builtin_ctzl(bits));
	}
	return n;
}

static int bitmap_drain(struct harvest *h)
{
	unsigned int i;
	int ret = 0;
	__u64 n;

	pthread_mutex_lock(&h->lock);
	for (i = 0; h->logging && !ret && i < h->nr_slots; i++) {
		struct harvest_slot *slot = &h->slots[i];
		struct kvm_dirty_log get = {
			.slot = slot->region.slot,
			.dirty_bitmap = slot->log,
		};
		struct kvm_clear_dirty_log clear = {
			.slot = slot->region.slot,
			.num_pages = slot->region.memory_size / getpagesize(),
			.dirty_bitmap = slot->log,
		};

		ret = do_ioctl(h->config.vm_fd, KVM_GET_DIRTY_LOG, &get);
		if (!ret)
			ret = do_ioctl(h->config.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);
		if (!ret) {
			n = log_report(h, slot);
			count(&h->pages, n);
			count(&h->drains, !!n);
		}
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

/* -- Threads */

/*
 * A thread's share: every n-th ring.  The first thread also does what only one
 * can do.  @asked: a ring was parked; otherwise the period is over.
 */
static int drain_share(struct harvest *h, unsigned int index, bool asked)
{
	__u32 least = asked ? worth_it(h) : 1;
	unsigned int i;
	int ret = 0;

	switch (h->config.tracker) {
	case HARVEST_BITMAP:
		return index ? 0 : bitmap_drain(h);
	case HARVEST_RINGS:
		return index ? 0 : rings_drain(h);
	case HARVEST_POOL:
		break;
	}
	for (i = index; !ret && i < h->nr_rings; i += h->config.threads)
		ret = pool_drain(h, i, least);
	if (!ret && !index)
		ret = pool_overflow(h);
	return ret;
}

static void *harvester(void *arg)
{
	struct harvest_thread *t = arg;
	struct harvest *h = t->harvest;
	struct epoll_event event;
	int n, ret, zero = 0;

	while (true) {
		n = epoll_wait(t->epoll_fd, &event, 1, h->config.period_ms);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0 && event.data.fd == h->quit_fd)
			return NULL;
		ret = n < 0 ? -errno : drain_share(h, t->index, n > 0);
		if (ret) {
			__atomic_compare_exchange_n(&h->error, &zero, ret, false,
						    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
			return NULL;
		}
	}
}

static int start_thread(struct harvest *h, struct harvest_thread *t)
{
	struct epoll_event quit = { .events = EPOLLIN, .data.fd = h->quit_fd };
	/*
	 * Edge-triggered: each signal wakes every thread.  No thread reads the
	 * eventfd, which would hide the signal from the others.
	 */
	struct epoll_event pool = { .events = EPOLLIN | EPOLLET, .data.fd = h->pool_fd };
	int err;

	t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll_fd < 0)
		return -errno;
	if (epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, h->quit_fd, &quit) ||
	    (h->pool_fd >= 0 &&
	     epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, h->pool_fd, &pool))) {
		err = -errno;
		close(t->epoll_fd);
		return err;
	}
	err = pthread_create(&t->thread, NULL, harvester, t);
	if (err)
		close(t->epoll_fd);
	return -err;
}

static void stop_threads(struct harvest *h)
{
	__u64 value = 1;
	unsigned int i;

	if (!h->nr_threads)
		return;
	if (write(h->quit_fd, &value, sizeof(value)) != sizeof(value))
		abort();	/* It can't fail, and the threads would never end. */
	for (i = 0; i < h->nr_threads; i++) {
		pthread_join(h->threads[i].thread, NULL);
		close(h->threads[i].epoll_fd);
	}
	h->nr_threads = 0;
	/* For the next start */
	if (read(h->quit_fd, &value, sizeof(value)) != sizeof(value))
		abort();
}

/* -- What the VMM calls */

int harvest_start(struct harvest *h)
{
	unsigned int i;
	int ret;

	h->error = 0;
	pthread_mutex_lock(&h->lock);
	ret = set_logging(h, true);
	h->logging = !ret;
	pthread_mutex_unlock(&h->lock);

	for (i = 0; !ret && i < h->config.threads; i++) {
		h->threads[i].harvest = h;
		h->threads[i].index = i;
		ret = start_thread(h, &h->threads[i]);
		h->nr_threads += !ret;
	}
	if (ret)
		harvest_stop(h);
	return ret;
}

int harvest_stop(struct harvest *h)
{
	int ret;

	stop_threads(h);
	pthread_mutex_lock(&h->lock);
	ret = set_logging(h, false);
	h->logging = false;
	pthread_mutex_unlock(&h->lock);
	/* vCPUs may be waiting for room in the rings. */
	return ret ? ret : harvest_all(h);
}

int harvest_full(struct harvest *h, const struct kvm_run *run)
{
	__u32 flags = run->dirty_ring_pool.flags;
	int ret = 0;

	if (h->config.tracker != HARVEST_POOL)
		return rings_drain(h);

	if (flags & KVM_DIRTY_RING_POOL_EXHAUSTED)
		/* KVM_RUN would exit again at once: drain all rings. */
		ret = harvest_all(h);
	else if ((flags & KVM_DIRTY_RING_POOL_PARKED) && !h->nr_threads)
		ret = pool_drain_around(h, run->dirty_ring_pool.ring);
	/* Reported once, for all vCPUs, and possibly on its own. */
	if (!ret && (flags & KVM_DIRTY_RING_POOL_OVERFLOW))
		ret = pool_overflow(h);
	return ret;
}

int harvest_mark(struct harvest *h, __u32 slot, __u64 first, __u64 n)
{
	struct kvm_mark_dirty mark = { .slot = slot };
	int ret;

	if (h->config.tracker != HARVEST_POOL) {
		/* KVM has no such call: the VMM keeps a bitmap of its own. */
		for (; n; n--, first++)
			h->config.dirty(h->config.arg, slot, first);
		return 0;
	}

	while (n) {
		mark.first_page = first;
		mark.num_pages = n;
		ret = ioctl(h->config.vm_fd, KVM_MARK_DIRTY, &mark);
		if (ret >= 0)
			return 0;	/* All are marked, or the slot is not logged. */
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		first += mark.marked;
		n -= mark.marked;
		if (errno == EAGAIN) {
			count(&h->again, 1);
			ret = harvest_all(h);
			if (ret)
				return ret;
		}
	}
	return 0;
}

int harvest_all(struct harvest *h)
{
	unsigned int i, unplugs;
	int ret = 0;

	switch (h->config.tracker) {
	case HARVEST_BITMAP:
		ret = bitmap_drain(h);
		break;
	case HARVEST_RINGS:
		ret = rings_drain(h);
		break;
	case HARVEST_POOL:
		/* An unplug may move entries to rings that are drained already. */
		do {
			unplugs = __atomic_load_n(&h->unplugs, __ATOMIC_ACQUIRE);
			for (i = 0; !ret && i < h->nr_rings; i++)
				ret = pool_drain(h, i, 1);
		} while (!ret && unplugs != __atomic_load_n(&h->unplugs, __ATOMIC_ACQUIRE));
		/* Always, and last: stopped vCPUs can't report an OVERFLOW. */
		if (!ret)
			ret = pool_overflow(h);
		break;
	}
	return ret ? ret : __atomic_load_n(&h->error, __ATOMIC_RELAXED);
}

int harvest_pool_state(struct harvest *h, struct kvm_dirty_ring_pool_state *state)
{
	memset(state, 0, sizeof(*state));
	return do_ioctl(h->config.vm_fd, KVM_GET_DIRTY_RING_POOL_STATE, state);
}

/* -- Setting up */

static int enable(struct harvest *h)
{
	const struct harvest_config *c = &h->config;
	struct kvm_enable_cap cap = { .args = { c->ring_bytes } };
	struct kvm_dirty_ring_policy policy = { };
	int ret;

	switch (c->tracker) {
	case HARVEST_BITMAP:
		cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
		cap.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
		break;
	case HARVEST_RINGS:
		cap.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
		break;
	case HARVEST_POOL:
		cap.cap = KVM_CAP_DIRTY_LOG_RING_POOL;
		cap.args[1] = c->nostop ? KVM_DIRTY_RING_POOL_NOSTOP : 0;
		break;
	}
	ret = do_ioctl(c->vm_fd, KVM_CHECK_EXTENSION, (void *)(unsigned long)cap.cap);
	if (ret <= 0)
		return -ENOTSUP;
	ret = do_ioctl(c->vm_fd, KVM_ENABLE_CAP, &cap);
	if (ret || c->tracker != HARVEST_POOL)
		return ret;

	if (c->policy) {
		snprintf(policy.name, sizeof(policy.name), "%s", c->policy);
		ret = do_ioctl(c->vm_fd, KVM_SET_DIRTY_RING_POLICY, &policy);
	}
	if (!ret && c->threads) {
		struct kvm_dirty_ring_pool_eventfd wake = { };

		h->pool_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (h->pool_fd < 0)
			return -errno;
		wake.fd = h->pool_fd;
		ret = do_ioctl(c->vm_fd, KVM_DIRTY_RING_POOL_EVENTFD, &wake);
	}
	return ret;
}

int harvest_init(struct harvest *h, const struct harvest_config *config)
{
	int ret;

	if (config->threads > HARVEST_MAX_THREADS ||
	    (config->nostop && !config->threads))
		return -EINVAL;
	memset(h, 0, sizeof(*h));
	h->config = *config;
	pthread_mutex_init(&h->lock, NULL);
	h->pool_fd = -1;
	h->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = h->quit_fd < 0 ? -errno : enable(h);
	if (ret) {
		harvest_free(h);
		return ret;
	}
	if (config->tracker != HARVEST_BITMAP)
		h->ring_entries = config->ring_bytes / sizeof(struct kvm_dirty_gfn);
	return 0;
}

int harvest_add_slot(struct harvest *h,
		     const struct kvm_userspace_memory_region *region)
{
	struct harvest_slot *slot = &h->slots[h->nr_slots];
	__u64 pages = region->memory_size / getpagesize();
	int ret;

	if (h->nr_slots == HARVEST_MAX_SLOTS)
		return -ENOSPC;
	ret = do_ioctl(h->config.vm_fd, KVM_SET_USER_MEMORY_REGION, (void *)region);
	if (ret)
		return ret;
	if (h->config.tracker == HARVEST_BITMAP) {
		slot->log = calloc(pages / BITS_PER_LONG + 1, sizeof(long));
		if (!slot->log)
			return -ENOMEM;
	}
	slot->region = *region;
	h->nr_slots++;
	return 0;
}

static int map_ring(struct harvest *h, struct harvest_ring *ring, int vcpu_fd)
{
	void *gfns = mmap(NULL, h->config.ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			  vcpu_fd, KVM_DIRTY_LOG_PAGE_OFFSET * getpagesize());

	if (gfns == MAP_FAILED)
		return -errno;
	ring->gfns = gfns;
	return 0;
}

int harvest_add_vcpu(struct harvest *h, int vcpu_fd)
{
	struct harvest_ring *ring = &h->rings[h->nr_rings];
	int ret;

	if (h->config.tracker == HARVEST_BITMAP)
		return 0;
	if (h->nr_rings == HARVEST_MAX_RINGS)
		return -ENOSPC;
	ring->pages = calloc(h->ring_entries, sizeof(*ring->pages));
	if (!ring->pages)
		return -ENOMEM;
	ret = map_ring(h, ring, vcpu_fd);
	if (ret) {
		free(ring->pages);
		return ret;
	}
	pthread_mutex_init(&ring->lock, NULL);
	h->nr_rings++;
	return 0;
}

int harvest_unplug(struct harvest *h, unsigned int vcpu)
{
	struct harvest_ring *ring = &h->rings[vcpu];
	int ret = 0;

	if (h->config.tracker == HARVEST_BITMAP)
		return 0;
	if (vcpu >= h->nr_rings)
		return -EINVAL;
	/* No one else drains a per-vCPU ring, and nothing pushes to it. */
	if (h->config.tracker == HARVEST_RINGS)
		ret = rings_drain(h);
	if (ret)
		return ret;

	/* Everyone who looks into the ring holds one of these. */
	pthread_mutex_lock(&ring->lock);
	pthread_mutex_lock(&h->lock);
	if (ring->gfns && munmap(ring->gfns, h->config.ring_bytes))
		ret = -errno;
	else
		ring->gfns = NULL;
	__atomic_fetch_add(&h->unplugs, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_unlock(&ring->lock);
	return ret;
}

int harvest_plug(struct harvest *h, unsigned int vcpu, int vcpu_fd)
{
	struct harvest_ring *ring = &h->rings[vcpu];
	int ret;

	if (h->config.tracker == HARVEST_BITMAP)
		return 0;
	if (vcpu >= h->nr_rings || ring->gfns)
		return -EINVAL;
	pthread_mutex_lock(&ring->lock);
	pthread_mutex_lock(&h->lock);
	/* A ring that returns to a pool starts at entry 0; others go on. */
	if (h->config.tracker == HARVEST_POOL)
		ring->fetch = 0;
	ret = map_ring(h, ring, vcpu_fd);
	pthread_mutex_unlock(&h->lock);
	pthread_mutex_unlock(&ring->lock);
	return ret;
}

void harvest_free(struct harvest *h)
{
	unsigned int i;

	if (!h->config.dirty)
		return;		/* never initialised, or freed */
	stop_threads(h);
	for (i = 0; i < h->nr_rings; i++) {
		if (h->rings[i].gfns)
			munmap(h->rings[i].gfns, h->config.ring_bytes);
		free(h->rings[i].pages);
	}
	for (i = 0; i < h->nr_slots; i++)
		free(h->slots[i].log);
	if (h->pool_fd >= 0)
		close(h->pool_fd);
	if (h->quit_fd >= 0)
		close(h->quit_fd);
	memset(h, 0, sizeof(*h));
}
