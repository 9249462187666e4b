// SPDX-License-Identifier: GPL-2.0-only
/*
 * One measurement: a VM whose vCPUs write every page of a memslot once per
 * pass while userspace harvests the dirty pages.
 *
 * The work is fixed and the same in every mode.  All pages are mapped and then
 * write-protected before the first pass, and harvested and write-protected
 * again before each later one.  So each write dirties one page, whatever tracks
 * it.  The guest stamps a page with the number of the pass.  After each pass the
 * pages with that stamp are compared with those harvested: a page that was
 * written and not harvested is lost.
 *
 * Userspace harvests as QEMU does.  With rings, a vCPU's thread that exits for a
 * full (or parked) ring harvests and resets all rings under a lock, and a reaper
 * does the same every period.  With the bitmap only the reaper harvests, by
 * KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG.  In a pool with NOSTOP, vCPUs do
 * not exit for a parked ring: the pool's eventfd wakes the reaper instead.
 *
 * The burst workload counts the pages that one vCPU can dirty while nothing is
 * harvested.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/bitmap.h>
#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#include "dirty_pool_util.h"
#include "dirty_pool_bench.h"

#define BENCH_SLOT		1
#define BENCH_GPA		SZ_4G
#define BENCH_GVA		0xc0000000ul
/* Writes are scattered over memory in blocks of this many pages. */
#define BENCH_BLOCK		16
/* How far the device may run ahead of the vCPUs, in pages. */
#define BENCH_DEVICE_LEAD	64
#define BENCH_TURN_US		5000

const char * const bench_workload_names[] = {
	[BENCH_UNIFORM]		= "uniform",
	[BENCH_SKEWED]		= "skewed",
	[BENCH_VM_SCOPED]	= "vm-scoped",
	[BENCH_BURST]		= "burst",
	[BENCH_RESET]		= "reset",
};

/* A part of the memslot, and the order in which its pages are written. */
struct bench_part {
	u64 first;
	u64 count;
	u64 step;		/* in blocks, coprime to their number */
};

/* Shared by guest and host, in guest memory. */
struct guest_vcpu {
	struct bench_part part;
	u64 chunk;		/* pages to write in a turn; 0: all of them */
	u64 done;
} __aligned(64);

enum guest_sync {
	GUEST_PASS_DONE,
	GUEST_TURN_DONE,
};

static struct guest_vcpu guest_vcpus[BENCH_MAX_VCPUS];
static u64 guest_stamp;

struct bench;

struct bench_vcpu {
	struct bench *bench;
	struct kvm_vcpu *vcpu;
	struct guest_vcpu *guest;
	pthread_t thread;
	struct bench_vcpu_result *res;
	u64 parked_exits;
	u64 exhausted_exits;
	u64 start_ns;
	u64 end_ns;
	/* Its position when the time was up. */
	u64 rip;
	bool broken;	/* by the emulator */
	bool stopped;
};

struct bench {
	const struct bench_cell *cell;
	struct bench_result *res;
	struct kvm_vm *vm;
	u8 *mem;
	struct guest_vcpu *guest_vcpus;
	struct bench_vcpu vcpus[BENCH_MAX_VCPUS];
	unsigned int passes;

	pthread_barrier_t start;
	pthread_barrier_t end;

	struct bench_part device;
	pthread_t device_thread;
	u64 device_end_ns;
	/* The bitmap that a VMM keeps of its own writes. */
	unsigned long *device_log;

	pthread_t watch_thread;
	bool expired;

	pthread_t reaper_thread;
	int pool_fd;
	int quit_fd;

	pthread_mutex_t reap_lock;
	/* The rest is protected by reap_lock. */
	unsigned long *harvested;
	unsigned long *log;
	u64 ring_entries;
	u64 reset_entries;
};

enum bench_reaper {
	BY_REAPER,
	BY_VCPU,
	BY_DEVICE,
};

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* -- The work */

static u64 gcd(u64 a, u64 b)
{
	return b ? gcd(b, a % b) : a;
}

static struct bench_part bench_part(u64 *first, u64 blocks,
				    u32 seed)
{
	struct bench_part part = {
		.first = *first,
		.count = blocks * BENCH_BLOCK,
		.step = 1,
	};

	if (blocks > 2) {
		/* About the golden ratio: neighbours are written far apart. */
		part.step = blocks * (600 + seed % 37) / 1000;
		while (gcd(part.step, blocks) != 1)
			part.step++;
	}
	*first += part.count;
	return part;
}

/* The page to write as number @i.  Runs in the guest, too. */
static inline u64 bench_part_page(const struct bench_part *part, u64 i)
{
	u64 blocks = part->count / BENCH_BLOCK;
	u64 block = i / BENCH_BLOCK * part->step % blocks;

	return part->first + block * BENCH_BLOCK + i % BENCH_BLOCK;
}

static void guest_code(u32 idx)
{
	struct guest_vcpu *self = &guest_vcpus[idx];
	u64 i, page;

	while (true) {
		GUEST_SYNC(GUEST_PASS_DONE);

		for (i = 0; i < self->part.count; i++) {
			if (self->chunk && i && i % self->chunk == 0)
				GUEST_SYNC(GUEST_TURN_DONE);

			page = bench_part_page(&self->part, i);
			WRITE_ONCE(*(u64 *)(BENCH_GVA + page * PAGE_SIZE),
				   READ_ONCE(guest_stamp));
			WRITE_ONCE(self->done, i + 1);
		}
	}
}

/* Divide the pages; the total is the same for all numbers of vCPUs. */
static void bench_share(struct bench *b)
{
	const struct bench_cell *cell = b->cell;
	unsigned int n = cell->nr_vcpus;
	u64 blocks = cell->pages / BENCH_BLOCK;
	u64 share, first = 0;
	unsigned int i;

	if (cell->workload == BENCH_VM_SCOPED)
		blocks -= blocks / 2;

	for (i = 0; i < n; i++) {
		struct guest_vcpu *g = &b->guest_vcpus[i];

		if (cell->workload == BENCH_BURST)
			share = i ? 0 : blocks;
		else if (cell->workload != BENCH_SKEWED || n == 1)
			share = blocks / n + (i < blocks % n);
		else if (i == 0)
			share = blocks - blocks / 10;
		else
			share = blocks / 10 / (n - 1) +
				(i - 1 < blocks / 10 % (n - 1));

		TEST_ASSERT(share || cell->workload == BENCH_BURST,
			    "too few pages for %u vCPUs", n);
		g->part = bench_part(&first, share, cell->seed + i);
		/*
		 * The others spread their few writes over the time of the hot
		 * vCPU, as idle vCPUs do, instead of finishing at once or
		 * taking its processor.
		 */
		g->chunk = cell->workload == BENCH_SKEWED && i ? BENCH_BLOCK : 0;
	}

	if (cell->workload == BENCH_VM_SCOPED)
		b->device = bench_part(&first, cell->pages / BENCH_BLOCK / 2,
				       cell->seed + n);
}

/* -- Harvest */

static void harvested_page(struct bench *b, u64 page)
{
	TEST_ASSERT(page < b->cell->pages, "page %lu is out of the slot", page);
	__set_bit(page, b->harvested);
	b->res->marks++;
}

static void harvested_gfn(void *arg, u32 slot, u64 offset)
{
	TEST_ASSERT(slot == BENCH_SLOT, "entry for slot %u", slot);
	harvested_page(arg, offset);
}

static u32 harvest_word(struct bench *b, unsigned int word, unsigned long bits)
{
	u32 n;

	for (n = 0; bits; bits &= bits - 1, n++)
		harvested_page(b, word * BITS_PER_LONG + __builtin_ctzl(bits));
	return n;
}

static u32 harvest_log(struct bench *b)
{
	u32 n = 0;
	unsigned int i;

	kvm_vm_get_dirty_log(b->vm, BENCH_SLOT, b->log);
	for (i = 0; i < BITS_TO_LONGS(b->cell->pages); i++)
		n += harvest_word(b, i, b->log[i]);
	return n;
}

static u32 harvest_rings(struct bench *b)
{
	u32 n = 0;
	unsigned int i;

	for (i = 0; i < b->cell->nr_vcpus; i++) {
		struct kvm_vcpu *vcpu = b->vcpus[i].vcpu;

		/* One round of the ring at most: KVM may keep pushing. */
		n += vcpu_harvest_dirty_ring(vcpu, vcpu->dirty_gfns_count,
					     harvested_gfn, b);
	}
	return n;
}

static u32 harvest_device_log(struct bench *b)
{
	u32 n = 0;
	unsigned int i;

	for (i = 0; i < BITS_TO_LONGS(b->cell->pages); i++) {
		unsigned long bits = 0;

		if (__atomic_load_n(&b->device_log[i], __ATOMIC_RELAXED))
			bits = __atomic_exchange_n(&b->device_log[i], 0,
						   __ATOMIC_ACQ_REL);
		n += harvest_word(b, i, bits);
	}
	return n;
}

static u32 reap_locked(struct bench *b, enum bench_reaper by)
{
	struct bench_result *res = b->res;
	bool bitmap = b->cell->mode.tracker == BENCH_BITMAP;
	u64 t0, t1, t2;
	u32 n, device = 0;

	t0 = now_ns();
	n = bitmap ? harvest_log(b) : harvest_rings(b);
	if (b->device_log)
		device = harvest_device_log(b);
	t1 = now_ns();

	if (n && bitmap) {
		kvm_vm_clear_dirty_log(b->vm, BENCH_SLOT, b->log, 0,
				       b->cell->pages);
	} else if (n) {
		b->ring_entries += n;
		b->reset_entries += vm_reset_dirty_rings(b->vm);
	}
	t2 = now_ns();

	res->harvest_ns += t1 - t0;
	res->reset_ns += t2 - t1;
	if (n || device) {
		res->harvests++;
		res->harvests_by_vcpu += by == BY_VCPU;
	}
	return n + device;
}

static u32 reap(struct bench *b, enum bench_reaper by)
{
	u32 n;

	pthread_mutex_lock(&b->reap_lock);
	n = reap_locked(b, by);
	pthread_mutex_unlock(&b->reap_lock);
	return n;
}

static void *reaper(void *arg)
{
	struct bench *b = arg;
	struct pollfd fds[] = {
		{ .fd = b->quit_fd, .events = POLLIN },
		{ .fd = b->pool_fd, .events = POLLIN },
	};

	while (true) {
		poll(fds, ARRAY_SIZE(fds), b->cell->period_ms);
		if (fds[0].revents)
			return NULL;
		if (b->cell->workload == BENCH_BURST)
			continue;
		if (fds[1].revents && dirty_pool_eventfd_read(b->pool_fd))
			b->res->wakeups++;
		reap(b, BY_REAPER);
	}
}

/* -- vCPUs */

/* Wait until the hot vCPU has done the same share of its work. */
static void vcpu_wait_turn(struct bench_vcpu *v)
{
	struct guest_vcpu *hot = &v->bench->guest_vcpus[0];
	u64 t = now_ns();

	while (READ_ONCE(hot->done) < hot->part.count &&
	       v->guest->done * hot->part.count >
	       READ_ONCE(hot->done) * v->guest->part.count)
		usleep(BENCH_TURN_US);

	v->res->active_ns -= now_ns() - t;
}

/* May the vCPU continue without a harvest? */
static bool vcpu_count_ring_full(struct bench_vcpu *v)
{
	u32 flags;

	v->res->ring_full_exits++;
	if (v->bench->cell->mode.tracker != BENCH_POOL)
		return false;

	flags = v->vcpu->run->dirty_ring_pool.flags;
	v->parked_exits += !!(flags & KVM_DIRTY_RING_POOL_PARKED);
	v->exhausted_exits += !!(flags & KVM_DIRTY_RING_POOL_EXHAUSTED);
	return !(flags & KVM_DIRTY_RING_POOL_EXHAUSTED);
}

static void vcpu_ring_full(struct bench_vcpu *v)
{
	u64 t = now_ns();

	vcpu_count_ring_full(v);
	reap(v->bench, BY_VCPU);

	/* The vCPU enters the guest again right after this. */
	v->res->still_ns += now_ns() - t;
}

static void vcpu_enter(struct bench_vcpu *v)
{
	struct kvm_regs regs;

	while (__vcpu_run(v->vcpu)) {
		TEST_ASSERT(errno == EINTR, "KVM_RUN: errno %d", errno);
		if (!READ_ONCE(v->bench->expired))
			continue;
		vcpu_regs_get(v->vcpu, &regs);
		v->rip = regs.rip;
		v->broken = is_emulator_fault(v->vcpu);
		WRITE_ONCE(v->stopped, true);
		while (true)
			pause();
	}

	if (v->vcpu->run->exit_reason == KVM_EXIT_SHUTDOWN && is_emulator_fault(v->vcpu)) {
		printf("vCPU %u has shut down: the emulator's fault\n", v->vcpu->id);
		fflush(stdout);
		_exit(EMULATOR_FAULT);
	}
}

static void vcpu_pass(struct bench_vcpu *v)
{
	const struct bench_cell *cell = v->bench->cell;
	bool burst = cell->workload == BENCH_BURST;
	struct ucall uc;

	v->start_ns = now_ns();
	while (true) {
		vcpu_enter(v);

		if (vcpu_dirty_ring_exit(v->vcpu)) {
			if (!burst)
				vcpu_ring_full(v);
			else if (!vcpu_count_ring_full(v))
				break;
			continue;
		}

		switch (get_ucall(v->vcpu, &uc)) {
		case UCALL_SYNC:
			break;
		case UCALL_ABORT:
			REPORT_GUEST_ASSERT(uc);
			break;
		default:
			TEST_FAIL("%s, %u vCPUs, %s: unexpected exit of vCPU %u: %s",
				  bench_workload_names[cell->workload],
				  cell->nr_vcpus, cell->mode.name, v->vcpu->id,
				  exit_reason_str(v->vcpu->run->exit_reason));
		}
		if (uc.args[1] == GUEST_PASS_DONE)
			break;
		vcpu_wait_turn(v);
	}
	v->end_ns = now_ns();
	v->res->active_ns += v->end_ns - v->start_ns;
	v->res->writes += READ_ONCE(v->guest->done);
}

static void *vcpu_thread(void *arg)
{
	struct bench_vcpu *v = arg;
	unsigned int pass;

	/* Up to the first GUEST_PASS_DONE: maps the guest's own pages. */
	vcpu_pass(v);
	v->res->active_ns = 0;

	for (pass = 0; pass < v->bench->passes; pass++) {
		pthread_barrier_wait(&v->bench->start);
		vcpu_pass(v);
		pthread_barrier_wait(&v->bench->end);
	}
	return NULL;
}

/* -- The device: a thread of the VMM that writes guest memory */

static void device_mark(struct bench *b, u64 page, u64 count)
{
	struct bench_result *res = b->res;
	u64 marked, t;

	if (b->device_log) {
		/* A block does not cross a word of the bitmap. */
		__atomic_fetch_or(&b->device_log[page / BITS_PER_LONG],
				  ((1ul << count) - 1) << page % BITS_PER_LONG,
				  __ATOMIC_RELEASE);
		return;
	}

	while (true) {
		int ret = __vm_mark_dirty(b->vm, BENCH_SLOT, page, count, &marked);

		TEST_ASSERT(ret == marked || (ret == -1 && errno == EAGAIN),
			    "KVM_MARK_DIRTY: %d, errno %d", ret, errno);
		page += marked;
		count -= marked;
		if (!count)
			return;

		res->device_eagain++;
		t = now_ns();
		if (!reap(b, BY_DEVICE))
			usleep(100);
		t = now_ns() - t;
		res->device_wait_ns += t;
		res->device_mark_ns -= t;
	}
}

/* Write at the vCPUs' pace, as a device that serves the guest does. */
static void device_wait(struct bench *b, u64 done)
{
	u64 vcpu_done, vcpu_count;
	unsigned int i;

	while (true) {
		vcpu_done = 0;
		vcpu_count = 0;
		for (i = 0; i < b->cell->nr_vcpus; i++) {
			vcpu_done += READ_ONCE(b->guest_vcpus[i].done);
			vcpu_count += b->guest_vcpus[i].part.count;
		}
		if (done * vcpu_count <= vcpu_done * b->device.count +
					 BENCH_DEVICE_LEAD * vcpu_count)
			return;
		usleep(BENCH_TURN_US / 5);
	}
}

static void device_pass(struct bench *b)
{
	u64 i, j, page, t;

	for (i = 0; i < b->device.count; i += BENCH_BLOCK) {
		device_wait(b, i);

		page = bench_part_page(&b->device, i);
		for (j = 0; j < BENCH_BLOCK; j++)
			WRITE_ONCE(*(u64 *)(b->mem + (page + j) * PAGE_SIZE),
				   guest_stamp);
		t = now_ns();
		device_mark(b, page, BENCH_BLOCK);
		b->res->device_mark_ns += now_ns() - t;
		b->res->device_writes += BENCH_BLOCK;
	}
	b->device_end_ns = now_ns();
}

static void *device_thread(void *arg)
{
	struct bench *b = arg;
	unsigned int pass;

	for (pass = 0; pass < b->passes; pass++) {
		pthread_barrier_wait(&b->start);
		device_pass(b);
		pthread_barrier_wait(&b->end);
	}
	return NULL;
}

static void kick(int sig)
{
}

static void *watch(void *arg)
{
	struct bench *b = arg;
	struct pollfd fd = { .fd = b->quit_fd, .events = POLLIN };
	int code = BENCH_FAILED;
	unsigned int i;

	if (poll(&fd, 1, b->cell->timeout_s * 1000) == 1)
		return NULL;

	printf("%s, %u vCPUs, %s: not done after %u s\n",
	       bench_workload_names[b->cell->workload], b->cell->nr_vcpus,
	       b->cell->mode.name, b->cell->timeout_s);
	WRITE_ONCE(b->expired, true);
	for (i = 0; i < b->cell->nr_vcpus; i++) {
		b->vcpus[i].vcpu->run->immediate_exit = 1;
		pthread_kill(b->vcpus[i].thread, SIGUSR1);
	}
	sleep(3);
	for (i = 0; i < b->cell->nr_vcpus; i++) {
		struct bench_vcpu *v = &b->vcpus[i];

		printf("  vCPU %u: %lu of %lu pages, ", i, v->guest->done,
		       v->guest->part.count);
		if (!READ_ONCE(v->stopped)) {
			printf("its thread is not in KVM_RUN\n");
			continue;
		}
		printf("rip 0x%lx\n", v->rip);
		if (v->broken)
			code = EMULATOR_FAULT;
	}
	fflush(stdout);
	_exit(code);
}

/* -- One pass and its check */

static void bench_verify(struct bench *b)
{
	u64 page, stamp;

	if (b->cell->mode.tracker == BENCH_POOL) {
		struct kvm_dirty_ring_pool_state state;

		vm_dirty_pool_state(b->vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW,
				    &state, NULL, 0);
		/* OVERFLOW: all memory must be considered dirty. */
		if (state.status & KVM_DIRTY_RING_POOL_OVERFLOW)
			bitmap_fill(b->harvested, b->cell->pages);
	}

	for (page = 0; page < b->cell->pages; page++) {
		stamp = READ_ONCE(*(u64 *)(b->mem + page * PAGE_SIZE));
		if (b->cell->workload == BENCH_BURST && stamp != guest_stamp)
			continue;
		TEST_ASSERT(stamp == guest_stamp,
			    "page %lu has stamp %lu after pass %lu", page, stamp,
			    guest_stamp);
		b->res->writes++;
		b->res->lost += !test_bit(page, b->harvested);
	}

	TEST_ASSERT(b->reset_entries == b->ring_entries,
		    "harvested %lu ring entries, reset %lu", b->ring_entries,
		    b->reset_entries);
}

static void bench_pass(struct bench *b)
{
	u64 start = UINT64_MAX, end = 0;
	unsigned int i;

	for (i = 0; i < b->cell->nr_vcpus; i++)
		b->guest_vcpus[i].done = 0;
	guest_stamp++;
	sync_global_to_guest(b->vm, guest_stamp);

	pthread_barrier_wait(&b->start);
	pthread_barrier_wait(&b->end);

	pthread_mutex_lock(&b->reap_lock);
	while (reap_locked(b, BY_REAPER))
		;
	for (i = 0; i < b->cell->nr_vcpus; i++) {
		start = min(start, b->vcpus[i].start_ns);
		end = max(end, b->vcpus[i].end_ns);
	}
	b->res->write_ns += max(end, b->device_end_ns) - start;
	b->res->total_ns += now_ns() - start;

	bench_verify(b);
	bitmap_zero(b->harvested, b->cell->pages);
	pthread_mutex_unlock(&b->reap_lock);
}

/* -- The VM */

static void bench_enable_tracking(struct bench *b)
{
	const struct bench_mode *mode = &b->cell->mode;

	b->pool_fd = -1;
	switch (mode->tracker) {
	case BENCH_BITMAP:
		vm_enable_cap(b->vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
			      KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
		break;
	case BENCH_PER_VCPU:
		vm_enable_dirty_ring(b->vm, b->cell->ring_bytes);
		break;
	case BENCH_POOL:
		vm_enable_dirty_pool(b->vm, b->cell->ring_bytes /
					    sizeof(struct kvm_dirty_gfn),
				     mode->nostop ?
				     KVM_DIRTY_RING_POOL_NOSTOP : 0);
		vm_set_dirty_policy(b->vm, mode->policy);
		if (mode->nostop)
			b->pool_fd = vm_dirty_pool_eventfd(b->vm);
		break;
	}
}

/* Map the whole slot, as after a guest has run for a while. */
static void bench_populate(struct bench *b)
{
	struct kvm_pre_fault_memory range = {
		.gpa = BENCH_GPA,
		.size = b->cell->pages * PAGE_SIZE,
	};
	int ret;

	memset(b->mem, 0, range.size);

	/* Without two-dimensional paging the first pass maps it. */
	if (!kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY))
		return;
	do {
		ret = __vcpu_ioctl(b->vcpus[0].vcpu, KVM_PRE_FAULT_MEMORY, &range);
	} while (range.size && (!ret || errno == EINTR || errno == EAGAIN));
	TEST_ASSERT(!range.size, "KVM_PRE_FAULT_MEMORY: errno %d", errno);
}

static void bench_create_vm(struct bench *b)
{
	const struct bench_cell *cell = b->cell;
	unsigned int i;

	b->vm = __vm_create(VM_SHAPE_DEFAULT, cell->nr_vcpus, cell->pages);
	TEST_ASSERT(b->vm->page_size == PAGE_SIZE, "guest page size");
	bench_enable_tracking(b);

	vm_userspace_mem_region_add(b->vm, VM_MEM_SRC_ANONYMOUS, BENCH_GPA,
				    BENCH_SLOT, cell->pages, 0);
	virt_map(b->vm, BENCH_GVA, BENCH_GPA, cell->pages);
	b->mem = addr_gpa2hva(b->vm, BENCH_GPA);
	b->guest_vcpus = addr_gva2hva(b->vm, (vm_vaddr_t)guest_vcpus);

	for (i = 0; i < cell->nr_vcpus; i++) {
		struct bench_vcpu *v = &b->vcpus[i];

		v->bench = b;
		v->vcpu = vm_vcpu_add(b->vm, i, guest_code);
		vcpu_args_set(v->vcpu, 1, i);
		v->guest = &b->guest_vcpus[i];
		v->res = &b->res->vcpu[i];
		if (cell->mode.tracker != BENCH_BITMAP)
			vcpu_map_dirty_ring(v->vcpu);
	}

	bench_share(b);
	bench_populate(b);
	vm_mem_region_set_flags(b->vm, BENCH_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

static void bench_sum_up(struct bench *b)
{
	struct bench_result *res = b->res;
	unsigned int i;

	for (i = 0; i < b->cell->nr_vcpus; i++) {
		struct bench_vcpu *v = &b->vcpus[i];

		res->still_ns += v->res->still_ns;
		res->active_ns += v->res->active_ns;
		res->ring_full_exits += v->res->ring_full_exits;
		res->parked_exits += v->parked_exits;
		res->exhausted_exits += v->exhausted_exits;
	}

	if (b->cell->mode.tracker == BENCH_POOL) {
		struct kvm_dirty_ring_pool_state state;
		struct kvm_dirty_ring_state ring;

		vm_dirty_pool_state(b->vm, 0, &state, &ring, 1);
		res->soft_limit = ring.soft_limit;
		res->claims = state.claims;
		res->claim_retries = state.claim_retries;
		res->reserve_claims = state.reserve_claims;
		res->parks = state.parks;
		res->drains = state.drains;
		res->exhaustions = state.exhaustions;
		res->overflows = state.overflows;
		res->pushed = state.pushed;
		res->moves = state.moves;
	}
}

void bench_run(const struct bench_cell *cell, struct bench_result *res)
{
	bool device = cell->workload == BENCH_VM_SCOPED;
	struct bench b = {
		.cell = cell,
		.res = res,
		/* The vCPU stops within its burst, so there is only one. */
		.passes = cell->workload == BENCH_BURST ? 1 : cell->passes,
		.reap_lock = PTHREAD_MUTEX_INITIALIZER,
		.harvested = bitmap_zalloc(cell->pages),
		.log = bitmap_zalloc(cell->pages),
	};
	u64 one = 1;
	unsigned int i;

	TEST_ASSERT(cell->pages % BENCH_BLOCK == 0, "pages must come in blocks");
	memset(res, 0, sizeof(*res));
	guest_stamp = 0;

	if (device && cell->mode.tracker != BENCH_POOL)
		b.device_log = bitmap_zalloc(cell->pages);
	b.quit_fd = eventfd(0, EFD_CLOEXEC);
	TEST_ASSERT(b.quit_fd >= 0, "eventfd() failed");
	bench_create_vm(&b);

	pthread_barrier_init(&b.start, NULL, cell->nr_vcpus + device + 1);
	pthread_barrier_init(&b.end, NULL, cell->nr_vcpus + device + 1);
	for (i = 0; i < cell->nr_vcpus; i++)
		pthread_create(&b.vcpus[i].thread, NULL, vcpu_thread, &b.vcpus[i]);
	if (device)
		pthread_create(&b.device_thread, NULL, device_thread, &b);
	pthread_create(&b.reaper_thread, NULL, reaper, &b);
	signal(SIGUSR1, kick);
	pthread_create(&b.watch_thread, NULL, watch, &b);

	for (i = 0; i < b.passes; i++)
		bench_pass(&b);

	for (i = 0; i < cell->nr_vcpus; i++)
		pthread_join(b.vcpus[i].thread, NULL);
	if (device)
		pthread_join(b.device_thread, NULL);
	TEST_ASSERT(write(b.quit_fd, &one, sizeof(one)) == sizeof(one),
		    "write() to an eventfd failed");
	pthread_join(b.reaper_thread, NULL);
	pthread_join(b.watch_thread, NULL);

	bench_sum_up(&b);

	pthread_barrier_destroy(&b.start);
	pthread_barrier_destroy(&b.end);
	close(b.quit_fd);
	if (b.pool_fd >= 0)
		close(b.pool_fd);
	kvm_vm_free(b.vm);
	free(b.device_log);
	free(b.harvested);
	free(b.log);
}

bool bench_mode_supported(const struct bench_mode *mode)
{
	struct kvm_vm *vm;
	int ret;

	switch (mode->tracker) {
	case BENCH_BITMAP:
		return kvm_has_cap(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	case BENCH_PER_VCPU:
		return kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_ACQ_REL) ||
		       kvm_has_cap(KVM_CAP_DIRTY_LOG_RING);
	case BENCH_POOL:
		break;
	}

	if (!dirty_pool_max_size())
		return false;
	vm = vm_create_barebones();
	vm_enable_dirty_pool(vm, dirty_pool_max_size() /
				 sizeof(struct kvm_dirty_gfn), 0);
	ret = __vm_set_dirty_policy(vm, mode->policy);
	TEST_ASSERT(!ret || errno == ENOENT, "KVM_SET_DIRTY_RING_POLICY: errno %d",
		    errno);
	kvm_vm_free(vm);
	return !ret;
}
