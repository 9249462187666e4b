// SPDX-License-Identifier: GPL-2.0-only
/*
 * The enemy in userspace: calls in any order, from many threads, by a seed.
 *
 * Each round is a process of its own.  Its threads make VMs with rings of all kinds,
 * run them, and change, unmap, overwrite and close all of it, whatever others are
 * doing with it.  The process ends in one of several ways, at times by SIGKILL.  Then
 * the kernel must have nothing left of it, and a plain VM has to work: all pages that
 * it dirties are reported.
 *
 * The seed decides what is called, but not how the threads interleave.  There are no
 * nested guests, and the only pressure on memory is that of MADV_PAGEOUT.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../kselftest.h"
#include "dirty_pool_emulator.h"
#include "dirty_pool_raw.h"

#define get(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define put(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)
#define add(x, v)	__atomic_fetch_add(&(x), v, __ATOMIC_RELAXED)
#define pick(array)	((array)[rnd(sizeof(__typeof__(array)) / sizeof((array)[0]))])

#define NR_VMS		3
#define NR_VCPUS	6
#define NR_MAPS		6
#define NR_EFDS		3
#define MAX_THREADS	32
#define MAX_OPS		40
/* Only a hang takes longer */
#define HANG_SECONDS	90

/* All of it is read and written by all threads at any time. */
static struct vm {
	int fd, vcpu[NR_VCPUS], efd[NR_EFDS];
	uint32_t bytes;			/* of a ring */
	uint8_t *mem;
	struct kvm_run *run[NR_VCPUS];
	uintptr_t map[NR_MAPS];		/* address | number of pages; 0: none */
} vms[NR_VMS];

/* Shared with the process that watches */
static struct {
	uint64_t calls[MAX_OPS], good[MAX_OPS];
	uint32_t bad;
	char what[200];
} *seen;

/*
 * Only the last VM asks for a ring per vCPU, which may or may not give it a pool.
 * Without one, marks that no dirty-ring exit holds up overrun the ring, and KVM warns.
 */
#define PER_VCPU	(&vms[NR_VMS - 1])

static uint32_t nr_threads = 6, smallest;
static bool threads_run, quit, log_runs;
static pid_t tids[MAX_THREADS];
static __thread uint64_t rng_state;
static __thread sigjmp_buf trap;
static __thread bool trapping;

static uint32_t rnd(uint32_t limit)
{
	rng_state ^= rng_state >> 12;
	rng_state ^= rng_state << 25;
	rng_state ^= rng_state >> 27;
	return ((rng_state * 0x2545f4914f6cdd1dull) >> 32) % limit;
}

static void seed_rng(uint64_t seed)
{
	rng_state = seed * 0x9e3779b97f4a7c15ull + 1;
}

static uint64_t rnd64(void)
{
	uint64_t high = rnd(UINT_MAX);

	return high << 32 | rnd(UINT_MAX);
}

/* Numbers near the limits of what calls take */
static uint64_t odd(void)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 63, 64, 65, 223, 224, 225, 4095, 4096, 8191, 32767, 32768,
		65535, 65536, INT_MAX, 1ull << 31, UINT_MAX, 1ull << 32, 1ull << 52,
		LLONG_MAX, 1ull << 63, ~0ull - 63, ~0ull,
	};

	return rnd(8) ? pick(numbers) : rnd64();
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void __printf(1, 2) complain(const char *fmt, ...)
{
	va_list args;

	if (add(seen->bad, 1))
		return;
	va_start(args, fmt);
	vsnprintf(seen->what, sizeof(seen->what), fmt, args);
	va_end(args);
}

/*
 * Any call may find an fd closed, or replaced by one of another kind.  These and what
 * the documentation names are all the errors that there may be.
 */
static int checked(const char *name, int ret, const int *errors)
{
	int err = errno;

	if (ret >= 0 || err == EBADF || err == ENOTTY || err == EIO || err == EINVAL)
		return ret;
	while (*errors && *errors != err)
		errors++;
	if (!*errors)
		complain("%s: returned %d, errno %d (%s)", name, ret, err, strerror(err));
	return ret;
}

#define CHECKED(name, call, ...)	\
	checked(name, call, (const int[]) { __VA_ARGS__, 0 })

/* For all other calls: the kernel's own error codes are not for userspace. */
static int known(const char *name, int ret)
{
	if (ret < 0 && errno > EHWPOISON)
		complain("%s: returned %d, errno %d", name, ret, errno);
	return ret;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	if (trapping)
		siglongjmp(trap, 1);
	complain("signal %d for address %p", sig, info->si_addr);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_kick(int sig)
{
}

/*
 * What it does.  Each returns -1 if it did not succeed.
 */

static int op_create_vm(struct vm *v)
{
	int fd, kvm;

	/* The first VM stays: it is checked at the end of a round. */
	if (v == vms && threads_run)
		return -1;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return -1;
	fd = known("KVM_CREATE_VM", ioctl(kvm, KVM_CREATE_VM, v == vms || rnd(8) ? 0 : odd()));
	close(kvm);
	if (fd < 0)
		return -1;
	put(v->bytes, 0);
	fd = __atomic_exchange_n(&v->fd, fd, __ATOMIC_RELAXED);
	if (fd >= 0)
		close(fd);
	return 0;
}

static int op_enable_cap(struct vm *v)
{
	static const uint32_t caps[] = {
		KVM_CAP_DIRTY_LOG_RING_POOL, KVM_CAP_DIRTY_LOG_RING_POOL,
		KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
		KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
	};
	static const uint32_t pool_caps[] = {
		KVM_CAP_DIRTY_LOG_RING_POOL, KVM_CAP_DIRTY_LOG_RING_POOL,
		KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
	};
	static const uint64_t flags[] = { 0, 0, KVM_DIRTY_RING_POOL_NOSTOP, 2, 1ull << 32 };
	uint32_t cap = v == PER_VCPU ? pick(caps) : pick(pool_caps);
	uint64_t bytes = rnd(6) ? (uint64_t)smallest << rnd(3) : odd();
	uint64_t flag = cap == KVM_CAP_DIRTY_LOG_RING_POOL ? pick(flags) : 0;
	int ret;

	if (cap == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)
		bytes = rnd(4);
	ret = CHECKED("KVM_ENABLE_CAP", raw_enable_cap(get(v->fd), cap, bytes, flag),
		      E2BIG, ENOMEM);
	if (!ret && cap != KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)
		put(v->bytes, bytes);
	return ret;
}

static int op_create_vcpu(struct vm *v)
{
	uint32_t i = rnd(NR_VCPUS), id = rnd(8) ? i * 3 : (uint32_t)odd();
	struct kvm_run *run;
	int fd;

	if (get(v->vcpu[i]) >= 0)
		return -1;
	fd = known("KVM_CREATE_VCPU", ioctl(get(v->fd), KVM_CREATE_VCPU, (unsigned long)id));
	if (fd < 0)
		return -1;
	run = mmap(NULL, RAW_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run != MAP_FAILED)
		put(v->run[i], run);
	raw_start(fd, rnd(RAW_DATA_PAGES), 1 + rnd(100));
	put(v->vcpu[i], fd);
	return 0;
}

static int op_run(struct vm *v)
{
	/* Any fd may be that of a vCPU that is being created. */
	int fd = rnd(8) ? get(v->vcpu[rnd(NR_VCPUS)]) : (int)(3 + rnd(60));

	return known("KVM_RUN", ioctl(fd, KVM_RUN, 0));
}

static int op_start(struct vm *v)
{
	return raw_start(get(v->vcpu[rnd(NR_VCPUS)]), rnd(RAW_DATA_PAGES), 1 + rnd(300));
}

/* vCPU ioctls other than KVM_RUN that make KVM write guest memory */
static int op_set_msr(struct vm *v)
{
	/* The wall clock, the system clock, the steal time */
	static const uint32_t indices[] = { 0x4b564d00, 0x4b564d01, 0x4b564d03 };
	struct {
		struct kvm_msrs info;
		struct kvm_msr_entry entry;
	} msrs = {
		.info.nmsrs = 1,
		.entry.index = pick(indices),
		.entry.data = RAW_DATA_GPA + rnd(RAW_DATA_PAGES) * RAW_PAGE + rnd(2),
	};
	int fd = get(v->vcpu[rnd(NR_VCPUS)]);

	if (v == PER_VCPU)
		return -1;
	/* KVM declares the VM dead when it can't save the state for the SMI. */
	if (v != vms && !rnd(16))
		return known("KVM_SMI", ioctl(fd, KVM_SMI));
	return known("KVM_SET_MSRS", ioctl(fd, KVM_SET_MSRS, &msrs));
}

/* One thread at a time has a mapping: it must not unmap what is elsewhere by then. */
static void *take_map(uintptr_t *map, void *addr, size_t bytes, size_t *old_bytes)
{
	uintptr_t old = __atomic_exchange_n(map, (uintptr_t)addr | bytes / RAW_PAGE,
					    __ATOMIC_RELAXED);

	*old_bytes = old % RAW_PAGE * RAW_PAGE;
	return (void *)(old - old % RAW_PAGE);
}

/* To look at it, whoever unmaps it. */
static void *see_map(struct vm *v, size_t *bytes)
{
	uintptr_t map = get(pick(v->map));

	*bytes = map % RAW_PAGE * RAW_PAGE;
	return (void *)(map - map % RAW_PAGE);
}

static int op_map(struct vm *v)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_WRITE,
		PROT_NONE, PROT_READ | PROT_WRITE | PROT_EXEC,
	};
	static const uint32_t offsets[] = { 64, 64, 64, 64, 0, 1, 62, 63, 65, 68, 100 };
	uint32_t offset = pick(offsets);
	size_t bytes = get(v->bytes);
	void *addr;
	int fd = rnd(8) ? get(v->vcpu[rnd(NR_VCPUS)]) : (int)(3 + rnd(60));

	if (!bytes || !rnd(4))
		bytes = RAW_PAGE * (1 + rnd(80));
	addr = mmap(NULL, bytes, pick(prots), rnd(8) ? MAP_SHARED : MAP_PRIVATE, fd,
		    offset * RAW_PAGE);
	if (addr == MAP_FAILED)
		return -1;
	/* What was there stays mapped at times. */
	addr = take_map(&pick(v->map), addr, bytes, &bytes);
	if (addr && rnd(4))
		munmap(addr, bytes);
	return 0;
}

static int op_unmap(struct vm *v)
{
	size_t bytes;
	uint8_t *addr = take_map(&pick(v->map), NULL, 0, &bytes);

	if (!addr)
		return -1;
	/* A part of a ring can't be unmapped; of other mappings the rest is left. */
	if (!rnd(4) && !munmap(addr + rnd(bytes / RAW_PAGE) * RAW_PAGE, RAW_PAGE))
		return 0;
	return munmap(addr, bytes);
}

static int op_change_map(struct vm *v)
{
	uintptr_t *map = &pick(v->map);
	uint8_t *addr, *moved;
	size_t bytes, page;

	addr = take_map(map, NULL, 0, &bytes);
	if (!addr)
		return -1;
	page = rnd(bytes / RAW_PAGE) * RAW_PAGE;
	moved = addr;
	switch (rnd(8)) {
	case 0:
		mprotect(addr + page, bytes - page, rnd(8));
		break;
	case 1:
		mprotect(addr, bytes, PROT_READ | PROT_WRITE);
		break;
	case 2:
		madvise(addr, bytes, rnd(26));
		break;
	case 3:
		mlock(addr, bytes);
		break;
	case 4:
		msync(addr, bytes, MS_SYNC);
		break;
	case 5:	/* Old size 0 asks for a second mapping of the same. */
		moved = mremap(addr, 0, bytes, MREMAP_MAYMOVE);
		break;
	case 6:
		moved = mremap(addr, bytes, page ?: 2 * bytes, MREMAP_MAYMOVE);
		if (moved != MAP_FAILED)
			bytes = page ?: 2 * bytes;
		break;
	default:
		moved = mremap(addr, bytes, bytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
		break;
	}
	if (moved == MAP_FAILED)
		moved = addr;
	addr = take_map(map, moved, bytes, &bytes);
	if (addr)
		munmap(addr, bytes);
	return 0;
}

/* Whoever unmaps the ring makes this trap. */
static int op_write_ring(struct vm *v)
{
	static const uint32_t slots[] = { 0, 1, 2, 0x7fff, 0x8000, 0xffff, 0x10001, ~0u };
	size_t bytes;
	struct kvm_dirty_gfn *gfns = see_map(v, &bytes);
	uint32_t i, how = rnd(5), nr = bytes / sizeof(*gfns);

	if (!gfns)
		return -1;
	if (sigsetjmp(trap, 1)) {
		trapping = false;
		return -1;
	}
	trapping = true;
	for (i = 0; i < nr; i++) {
		struct kvm_dirty_gfn *gfn = &gfns[how < 3 ? i : rnd(nr)];

		if (how == 0) {
			put(gfn->flags, KVM_DIRTY_GFN_F_RESET);
		} else if (how == 1) {
			put(gfn->flags, 0);
		} else if (how == 2) {
			if (get(gfn->flags) == KVM_DIRTY_GFN_F_DIRTY)
				put(gfn->flags, KVM_DIRTY_GFN_F_RESET);
		} else {
			put(gfn->slot, pick(slots));
			put(gfn->offset, odd());
			put(gfn->flags, how == 3 ? rnd(4) : rnd(UINT_MAX));
			if (rnd(8) == 0)
				break;
		}
	}
	trapping = false;
	return 0;
}

static int op_slot(struct vm *v)
{
	static const uint32_t ids[] = {
		0, 1, 1, 1, 1, 1, 2, 2, 3, 0x10000, 0x10001, 0x20001, 32763, 32764,
	};
	static const uint32_t flags[] = {
		0, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY,
		KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY, 8,
	};
	uint32_t id = pick(ids), page = rnd(RAW_PAGES), nr = rnd(RAW_PAGES - page + 1);
	uint8_t *mem = get(v->mem);
	uint64_t gpa, bytes = nr * RAW_PAGE;

	if (id <= RAW_DATA_SLOT && rnd(4)) {
		/* A slot has to be deleted to get another size. */
		if (rnd(2))
			raw_set_slot(get(v->fd), id, 0, 0, 0, mem);
		if (id == RAW_CODE_SLOT)
			return raw_set_slot(get(v->fd), id, pick(flags), RAW_CODE_GPA,
					    RAW_CODE_PAGES * RAW_PAGE, mem);
		return raw_set_slot(get(v->fd), id, pick(flags), RAW_DATA_GPA,
				    RAW_DATA_PAGES * RAW_PAGE,
				    mem + RAW_CODE_PAGES * RAW_PAGE);
	}
	gpa = rnd(8) ? (uint64_t)(RAW_CODE_PAGES + rnd(512)) * RAW_PAGE : odd();
	/* None that KVM takes: the guest must not write to this process. */
	if (!rnd(16))
		bytes = rnd(2) ? bytes + 1 + rnd(RAW_PAGE - 1) : ~0ull << rnd(12);
	return known("KVM_SET_USER_MEMORY_REGION",
		     raw_set_slot(get(v->fd), id, pick(flags), gpa, bytes,
				  mem + page * RAW_PAGE));
}

static int op_memory(struct vm *v)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD,
		MADV_PAGEOUT, MADV_MERGEABLE, MADV_POPULATE_WRITE,
	};
	uint8_t *mem = get(v->mem) + RAW_CODE_PAGES * RAW_PAGE;
	uint32_t page = rnd(RAW_DATA_PAGES), nr = 1 + rnd(RAW_DATA_PAGES - page);

	if (rnd(2))
		return madvise(mem + page * RAW_PAGE, nr * RAW_PAGE, pick(advice));
	mprotect(mem, RAW_DATA_PAGES * RAW_PAGE, PROT_READ | PROT_WRITE);
	return rnd(2) ? 0 : mprotect(mem + page * RAW_PAGE, nr * RAW_PAGE, rnd(4));
}

static int op_mark(struct vm *v)
{
	struct kvm_mark_dirty mark = {
		.slot = rnd(6) ? rnd(3) : (uint32_t)odd(),
		.flags = rnd(16) ? 0 : (uint32_t)odd(),
		.first_page = rnd(3) ? rnd(RAW_DATA_PAGES) : odd(),
		.num_pages = rnd(3) ? 1 + rnd(RAW_DATA_PAGES) : odd(),
	};
	size_t bytes;
	void *ring = see_map(v, &bytes);
	void *arg = &mark;

	if (rnd(2)) {
		mark.slot = RAW_DATA_SLOT;
		mark.flags = 0;
		mark.first_page = rnd(RAW_DATA_PAGES);
		mark.num_pages = 1 + rnd(RAW_DATA_PAGES - mark.first_page);
	}
	/* In a ring it is overwritten, or unmapped, while the kernel reads it. */
	if (ring && !rnd(8))
		arg = ring;
	else if (!rnd(32))
		arg = (void *)(uintptr_t)odd();
	return CHECKED("KVM_MARK_DIRTY", ioctl(get(v->fd), KVM_MARK_DIRTY, arg),
		       ENOENT, EAGAIN, EINTR, EFAULT);
}

static int op_reset(struct vm *v)
{
	unsigned long ring = rnd(8) ? rnd(NR_VCPUS) : odd();

	if (rnd(2))
		return CHECKED("KVM_RESET_DIRTY_RINGS",
			       ioctl(get(v->fd), KVM_RESET_DIRTY_RINGS, 0), EINVAL);
	return CHECKED("KVM_RESET_DIRTY_RING",
		       ioctl(get(v->fd), KVM_RESET_DIRTY_RING, ring), EINVAL);
}

static int op_policy(struct vm *v)
{
	static const char * const names[] = {
		"lru", "emptiest", "round-robin", "last-used", "random", "lru:1", "emptiest:16",
		"random:0", "last-used:2147483648", "lru:3", "lru:", ":", "", "none",
		"lru:99999999999999999", "0123456789012345678901234567890123456789",
	};
	struct kvm_dirty_ring_policy policy = {};
	const char *name = pick(names);
	void *arg = &policy;

	memcpy(policy.name, name, strnlen(name, sizeof(policy.name)));
	if (!rnd(32))
		arg = (void *)(uintptr_t)odd();
	if (rnd(2))
		return CHECKED("KVM_GET_DIRTY_RING_POLICY",
			       ioctl(get(v->fd), KVM_GET_DIRTY_RING_POLICY, arg), EFAULT);
	return CHECKED("KVM_SET_DIRTY_RING_POLICY",
		       ioctl(get(v->fd), KVM_SET_DIRTY_RING_POLICY, arg),
		       ENOENT, ENOMEM, EFAULT);
}

static int op_state(struct vm *v)
{
	struct kvm_dirty_ring_state rings[NR_VCPUS];
	struct kvm_dirty_ring_pool_state state = {
		.flags = rnd(16) ? rnd(2) : (uint32_t)odd(),
		.nr_rings = NR_VCPUS,
		.rings = (uintptr_t)rings,
	};
	size_t bytes;
	void *ring = see_map(v, &bytes);
	void *arg = &state;

	if (ring && !rnd(8)) {
		/* The kernel overwrites entries of the ring */
		state.nr_rings = odd();
		state.rings = (uintptr_t)ring;
	} else if (!rnd(16)) {
		state.nr_rings = odd();
		state.rings = odd();
	} else if (!rnd(32)) {
		arg = ring;
	}
	state.reserved[rnd(8)] = rnd(32) ? 0 : odd();
	return CHECKED("KVM_GET_DIRTY_RING_POOL_STATE",
		       ioctl(get(v->fd), KVM_GET_DIRTY_RING_POOL_STATE, arg), EFAULT);
}

static int op_eventfd(struct vm *v)
{
	struct kvm_dirty_ring_pool_eventfd args = {
		.fd = rnd(4) ? get(pick(v->efd)) : (int)odd(),
		.flags = rnd(16) ? 0 : (uint32_t)odd(),
	};
	int fd;

	if (!rnd(4)) {
		/* An almost full one: signals do not fit */
		fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		eventfd_write(fd, ULLONG_MAX - 1);
		fd = __atomic_exchange_n(&pick(v->efd), fd, __ATOMIC_RELAXED);
		if (fd >= 0)
			close(fd);
	}
	return CHECKED("KVM_DIRTY_RING_POOL_EVENTFD",
		       ioctl(get(v->fd), KVM_DIRTY_RING_POOL_EVENTFD, &args), EFAULT);
}

static int op_prefault(struct vm *v)
{
	struct kvm_pre_fault_memory range = {
		.gpa = rnd(4) ? rnd(RAW_PAGES) * RAW_PAGE : odd(),
		.size = rnd(4) ? (1 + rnd(RAW_PAGES)) * RAW_PAGE : odd(),
	};

	if (v == PER_VCPU)
		return -1;
	return known("KVM_PRE_FAULT_MEMORY",
		     ioctl(get(v->vcpu[rnd(NR_VCPUS)]), KVM_PRE_FAULT_MEMORY, &range));
}

static int op_stats(struct vm *v)
{
	char buffer[4096];
	int fd, ret;

	fd = known("KVM_GET_STATS_FD", ioctl(get(v->fd), KVM_GET_STATS_FD, 0));
	if (fd < 0)
		return -1;
	ret = pread(fd, buffer, rnd(sizeof(buffer)), rnd(8) ? rnd(4096) : rnd(INT_MAX));
	close(fd);
	return ret;
}

/* The bitmap's calls, which a VM with rings refuses */
static int op_log(struct vm *v)
{
	uint64_t bitmap[1024];
	struct kvm_dirty_log log = { .slot = rnd(4), .dirty_bitmap = bitmap };
	struct kvm_clear_dirty_log clear = {
		.slot = rnd(4), .num_pages = rnd(256), .first_page = rnd(4) * 64,
		.dirty_bitmap = bitmap,
	};

	if (rnd(2))
		return known("KVM_GET_DIRTY_LOG", ioctl(get(v->fd), KVM_GET_DIRTY_LOG, &log));
	memset(bitmap, 0xff, sizeof(bitmap));
	return known("KVM_CLEAR_DIRTY_LOG", ioctl(get(v->fd), KVM_CLEAR_DIRTY_LOG, &clear));
}

static int op_close(struct vm *v)
{
	int *fd = rnd(2) ? &pick(v->efd) : &pick(v->vcpu);
	int old;

	if (v == vms && fd < v->efd)
		return -1;
	if (v != vms && !rnd(8))
		fd = &v->fd;
	old = __atomic_exchange_n(fd, -1, __ATOMIC_RELAXED);
	return old < 0 ? -1 : close(old);
}

/* Calls in a process that did not create the VM, which may outlive the one that did */
static void other_process(void)
{
	struct kvm_dirty_ring_pool_state state;
	int fd, i;

	for (i = 0; i < NR_VMS; i++) {
		int vm = vms[i].fd;

		if (vm < 0)
			continue;
		if (!raw_get_state(vm, 0, &state, NULL, 0) || !raw_mark(vm, 1, 0, 1) ||
		    !raw_set_policy(vm, "lru") || !raw_set_eventfd(vm, -1) ||
		    ioctl(vm, KVM_RESET_DIRTY_RING, 0) >= 0)
			complain("a call succeeded in another process");
	}
	for (fd = 3; fd < 64; fd++) {
		void *addr = mmap(NULL, RAW_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd, KVM_DIRTY_LOG_PAGE_OFFSET * RAW_PAGE);

		ioctl(fd, KVM_RUN, 0);
		if (addr != MAP_FAILED && fd % 2)
			munmap(addr, RAW_PAGE);
	}
}

static int op_fork(struct vm *v)
{
	bool waits = rnd(2), sleeps = rnd(2);
	pid_t pid = fork();
	size_t bytes;
	void *addr;
	uint32_t i;

	if (pid < 0)
		return -1;
	if (!pid) {
		signal(SIGUSR1, SIG_IGN);
		for (i = 0; i < NR_MAPS; i += 2) {
			addr = take_map(&v->map[i], NULL, 0, &bytes);
			if (addr)
				munmap(addr, bytes);
		}
		if (sleeps)
			usleep(rnd(200000));
		other_process();
		_exit(0);
	}
	if (waits)
		waitpid(pid, NULL, 0);
	return 0;
}

static int op_sleep(struct vm *v)
{
	usleep(rnd(3000));
	return 0;
}

static const struct {
	const char *name;
	int (*fn)(struct vm *v);
	uint32_t weight;
} ops[] = {
	{ "create_vm", op_create_vm, 2 },
	{ "enable_cap", op_enable_cap, 8 },
	{ "create_vcpu", op_create_vcpu, 6 },
	{ "run", op_run, 40 },
	{ "start", op_start, 6 },
	{ "set_msr", op_set_msr, 6 },
	{ "map", op_map, 10 },
	{ "unmap", op_unmap, 6 },
	{ "change_map", op_change_map, 6 },
	{ "write_ring", op_write_ring, 14 },
	{ "slot", op_slot, 10 },
	{ "memory", op_memory, 6 },
	{ "mark", op_mark, 14 },
	{ "reset", op_reset, 14 },
	{ "policy", op_policy, 4 },
	{ "state", op_state, 6 },
	{ "eventfd", op_eventfd, 6 },
	{ "prefault", op_prefault, 4 },
	{ "stats", op_stats, 3 },
	{ "log", op_log, 2 },
	{ "close", op_close, 3 },
	{ "fork", op_fork, 1 },
	{ "sleep", op_sleep, 4 },
};

static uint32_t sum_of_weights(void)
{
	uint32_t i, sum = 0;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	return sum;
}

static void do_something(void)
{
	uint32_t at = rnd(sum_of_weights()), i;
	struct vm *v = rnd(3) ? vms : &pick(vms);

	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	add(seen->calls[i], 1);
	if (ops[i].fn(v) >= 0)
		add(seen->good[i], 1);
}

static void *thread_loop(void *arg)
{
	uintptr_t seed = (uintptr_t)arg;

	put(tids[seed % MAX_THREADS], gettid());
	seed_rng(seed);
	while (!get(quit))
		do_something();
	return NULL;
}

/* A guest that executes what it wrote may never leave by itself. */
static void *kick_loop(void *arg)
{
	uint32_t i;

	for (;;) {
		usleep(5000);
		for (i = 0; i < nr_threads; i++)
			if (get(tids[i]))
				tgkill(getpid(), tids[i], SIGUSR1);
		tgkill(getpid(), getpid(), SIGUSR1);
	}
	return NULL;
}

static struct kvm_dirty_gfn *last_rings[NR_VCPUS];

/* All rings that can be mapped become empty. */
static void drain_first_vm(void)
{
	struct kvm_dirty_ring_state rings[64] = {};
	struct kvm_dirty_ring_pool_state state;
	uint32_t i, e, nr = vms->bytes / sizeof(struct kvm_dirty_gfn);

	for (i = 0; i < NR_VCPUS; i++)
		for (e = 0; last_rings[i] != MAP_FAILED && e < nr; e++)
			put(last_rings[i][e].flags, KVM_DIRTY_GFN_F_RESET);
	if (ioctl(vms->fd, KVM_RESET_DIRTY_RINGS, 0) < 0 && errno != EINVAL)
		complain("the last reset: errno %d", errno);
	/* A ring whose vCPU was lost can't be mapped. */
	raw_get_state(vms->fd, 0, &state, rings, ARRAY_SIZE(rings));
	for (i = 0; i < state.nr_rings && i < ARRAY_SIZE(rings); i++)
		if (rings[i].used || rings[i].state & ~KVM_DIRTY_RING_DETACHED)
			complain("ring %u of vCPU %u: state %#x, %u entries after a drain",
				 i, rings[i].vcpu_id, rings[i].state, rings[i].used);
	/* Entries that the kernel has not written yet must not look harvested. */
	for (i = 0; i < NR_VCPUS; i++)
		if (last_rings[i] != MAP_FAILED)
			memset(last_rings[i], 0, vms->bytes);
}

/* The exit says that the gate is shut. */
static bool gated(uint32_t i)
{
	struct kvm_run *run = vms->run[i];

	return !ioctl(vms->vcpu[i], KVM_RUN, 0) &&
	       run->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
	       run->dirty_ring_pool.flags & KVM_DIRTY_RING_POOL_EXHAUSTED;
}

/*
 * The first VM after all that: a drain of all rings leaves each of them FREE and
 * empty, and lets in a vCPU that found the pool exhausted.
 */
static void check_first_vm(void)
{
	static const uint32_t ids[] = { 0, 1, 2, 3, 0x10000, 0x10001, 32763 };
	struct kvm_dirty_ring_pool_state state;
	struct vm *v = vms;
	uint32_t i, n;

	if (!v->bytes || raw_get_state(v->fd, 0, &state, NULL, 0))
		return;
	for (i = 0; i < NR_VCPUS; i++) {
		last_rings[i] = MAP_FAILED;
		if (v->vcpu[i] >= 0)
			last_rings[i] = raw_map_ring(v->vcpu[i], v->bytes);
	}
	for (i = 0; i < ARRAY_SIZE(ids); i++)
		raw_set_slot(v->fd, ids[i], 0, 0, 0, v->mem);
	mprotect(v->mem, RAW_PAGES * RAW_PAGE, PROT_READ | PROT_WRITE);
	raw_set_slots(v->fd, v->mem);
	drain_first_vm();
	for (i = 0; i < NR_VCPUS; i++) {
		if (v->vcpu[i] < 0 || !v->run[i] || raw_start(v->vcpu[i], 0, 20))
			continue;
		while (raw_mark(v->fd, RAW_DATA_SLOT, 0, RAW_DATA_PAGES) > 0 || errno == EINTR)
			;
		for (n = 0; n < 10 && !gated(i); n++)
			;
		drain_first_vm();
		if (n < 10 && gated(i))
			complain("vCPU %u is kept out after a drain", i);
	}
	drain_first_vm();
}

static void close_all(void)
{
	int fds[NR_VMS * (1 + NR_VCPUS + NR_EFDS)];
	uint32_t i, j, n = 0;

	for (i = 0; i < NR_VMS; i++) {
		fds[n++] = vms[i].fd;
		for (j = 0; j < NR_VCPUS; j++)
			fds[n++] = vms[i].vcpu[j];
		for (j = 0; j < NR_EFDS; j++)
			fds[n++] = vms[i].efd[j];
	}
	while (n) {
		size_t bytes;
		void *addr = take_map(&pick(pick(vms).map), NULL, 0, &bytes);

		if (addr)
			munmap(addr, bytes);
		i = rnd(n);
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = fds[--n];
	}
}

enum end { END_CLOSE, END_EXIT, END_EXEC, END_KILL, NR_ENDS };

/* The process of a round */
static void __noreturn be_enemy(uint64_t seed, uint32_t ms, enum end end)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct sigaction fault = {
		.sa_sigaction = on_trap,
		.sa_flags = SA_NODEFER | SA_SIGINFO,
	};
	pthread_t threads[MAX_THREADS], kicker;
	double stop;
	uint32_t i, j;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR1, &kick, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	/* Not the numbers that chose how the round ends. */
	seed_rng(~seed);
	for (i = 0; i < NR_VMS; i++) {
		vms[i].fd = -1;
		for (j = 0; j < NR_VCPUS; j++)
			vms[i].vcpu[j] = -1;
		for (j = 0; j < NR_EFDS; j++)
			vms[i].efd[j] = -1;
		vms[i].mem = raw_memory();
	}
	/* Most VMs get a pool and vCPUs; others depend on the order of calls. */
	for (i = 0; i < NR_VMS; i++) {
		op_create_vm(&vms[i]);
		if (rnd(4) && !raw_enable_cap(vms[i].fd, KVM_CAP_DIRTY_LOG_RING_POOL, smallest,
					      rnd(2)))
			vms[i].bytes = smallest;
		raw_set_slots(vms[i].fd, vms[i].mem);
		for (j = rnd(4); j; j--)
			op_create_vcpu(&vms[i]);
	}
	threads_run = true;
	for (i = 0; i < nr_threads; i++)
		pthread_create(&threads[i], NULL, thread_loop,
			       (void *)(uintptr_t)(seed * MAX_THREADS + i));
	pthread_create(&kicker, NULL, kick_loop, NULL);
	stop = seconds() + ms / 1000.;
	while (seconds() < stop)
		usleep(5000);

	if (end == END_KILL)
		for (;;)
			pause();
	if (end == END_EXIT)
		_exit(0);
	if (end == END_EXEC) {
		/* Copies of the fds survive, the memory of the process does not. */
		for (i = 3; i < 64; i++)
			fcntl(i, F_DUPFD, 64);
		/* Signals that are on their way must not kill the next program. */
		signal(SIGUSR1, SIG_IGN);
		execl("/proc/self/exe", "dirty_pool_enemy", "-E", NULL);
		_exit(errno);
	}
	put(quit, true);
	for (i = 0; i < nr_threads; i++)
		pthread_join(threads[i], NULL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	check_first_vm();
	close_all();
	_exit(0);
}

/* What is left after execve(): copies of fds of VMs that are another process's now */
static int after_exec(void)
{
	struct kvm_dirty_ring_pool_state state;
	int fd, bad = 0;

	for (fd = 64; fd < 200; fd++) {
		bad |= !raw_get_state(fd, 0, &state, NULL, 0) || !raw_set_policy(fd, "lru") ||
		       ioctl(fd, KVM_RESET_DIRTY_RING, 0) >= 0;
		ioctl(fd, KVM_RUN, 0);
	}
	return bad;
}

/*
 * The process that watches
 */

static uint32_t kernel_cpus;
static struct remains before;

static void print_stacks(pid_t pid)
{
	char path[64], text[2048];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.12s/stack", pid, entry->d_name);
		read_file(path, text, sizeof(text));
		printf("# thread %s:\n%s", entry->d_name, text);
	}
	if (dir)
		closedir(dir);
}

/* Reap all children; false if one is still there after a long time. */
static bool reap(pid_t pid, int *status, int limit)
{
	double end = seconds() + limit;
	int any;
	pid_t ret;

	*status = 0;
	for (;;) {
		ret = waitpid(-1, &any, WNOHANG);
		if (ret < 0)
			return true;
		if (ret == pid)
			*status = any;
		if (ret > 0)
			continue;
		if (seconds() > end) {
			ksft_print_msg("process %d does not end:\n", pid);
			print_stacks(pid);
			kill(pid, SIGKILL);
			return false;
		}
		usleep(2000);
	}
}

static char default_policy[64];

/* What the watching process does to a round while it runs */
static void disturb(pid_t pid, uint32_t ms)
{
	static const char * const names[] = {
		"lru", "emptiest", "last-used", "round-robin", "random",
	};
	double end = seconds() + ms / 1000.;
	char path[64];

	while (seconds() < end) {
		switch (rnd(8)) {
		case 0:
			kill(pid, SIGSTOP);
			usleep(rnd(30000));
			kill(pid, SIGCONT);
			break;
		case 1:
			write_file(PARAM("dirty_ring_pool"), rnd(2) ? "1" : "0");
			break;
		case 2:
			write_file(PARAM("dirty_ring_policy"), pick(names));
			break;
		case 3:
			if (kernel_cpus < 2 || rnd(4))
				break;
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/online",
				 1 + rnd(kernel_cpus - 1));
			write_file(path, "0");
			usleep(rnd(50000));
			write_file(path, "1");
			break;
		default:
			usleep(rnd(20000));
		}
	}
	write_file(PARAM("dirty_ring_pool"), "0");
	write_file(PARAM("dirty_ring_policy"), default_policy);
}

/*
 * A VM that works
 */

static bool want(bool good, const char *what)
{
	if (!good)
		ksft_print_msg("plain VM: not %s, errno %d\n", what, errno);
	return good;
}

/* Pages of two lengths, each reported once; returns a KSFT_ code, or EMULATOR_FAULT. */
static int plain_vcpu(struct raw_client *c, int i)
{
	int ret = raw_write(c, i, 0, RAW_DATA_PAGES);

	if (ret == EMULATOR_FAULT)
		return ret;
	if (!want(!ret && raw_found(c, 0, RAW_DATA_PAGES), "all pages written"))
		return KSFT_FAIL;
	ret = raw_write(c, i, 100, 31);
	if (ret == EMULATOR_FAULT)
		return ret;
	return want(!ret && raw_found(c, 100, 31), "31 pages written") ? KSFT_PASS : KSFT_FAIL;
}

/* @runs of the @nr_vcpus run: the first, the last, and some between them. */
static int plain_vm(int nr_vcpus, uint64_t flags, const char *policy, int runs)
{
	struct kvm_dirty_ring_pool_state state;
	long available = kernel_memory("MemAvailable"), used;
	double start = seconds();
	struct raw_client c;
	int i, n, ret;

	if (!want(!raw_open(&c, nr_vcpus, smallest) &&
		  !raw_enable_cap(c.vm, KVM_CAP_DIRTY_LOG_RING_POOL, smallest, flags) &&
		  (!policy || !raw_set_policy(c.vm, policy)) &&
		  !raw_set_slots(c.vm, c.mem), "a VM"))
		return KSFT_FAIL;
	for (i = 0; i < nr_vcpus; i++)
		if (!want(!raw_add_vcpu(&c), "a vCPU"))
			return KSFT_FAIL;
	used = available - kernel_memory("MemAvailable");
	if (log_runs) {
		ksft_print_msg("%d vCPUs: %ld KiB, %ld KiB each, %.0f s\n", nr_vcpus, used,
			       used / nr_vcpus, seconds() - start);
		fflush(stdout);
	}
	if (!want(raw_mark(c.vm, RAW_DATA_SLOT, 5, 10) == 10 && raw_found(&c, 5, 10),
		  "10 pages marked"))
		return KSFT_FAIL;
	for (n = 0; n < runs; n++) {
		i = runs < 2 ? 0 : (uint64_t)n * (nr_vcpus - 1) / (runs - 1);
		ret = plain_vcpu(&c, i);
		if (ret)
			return ret;
	}
	if (!want(!raw_get_state(c.vm, 0, &state, NULL, 0) && !state.status &&
		  state.nr_rings == (uint32_t)nr_vcpus && state.pushed == c.harvested &&
		  !state.overflows, "its counters right"))
		return KSFT_FAIL;
	raw_close(&c);
	return KSFT_PASS;
}

/* In a process of its own */
static bool plain_works(int nr_vcpus, uint64_t flags, const char *policy, int runs)
{
	int tries, status = 0;
	bool ended;
	pid_t pid;

	for (tries = 0; tries <= EMULATOR_REPEATS; tries++) {
		fflush(stdout);
		pid = fork();
		if (!pid) {
			int ret = plain_vm(nr_vcpus, flags, policy, runs);

			fflush(stdout);
			_exit(ret);
		}
		/* Creating a vCPU takes longer the more there are. */
		ended = reap(pid, &status, HANG_SECONDS + nr_vcpus / 4);
		if (!ended)
			return false;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != EMULATOR_FAULT)
			break;
	}
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static bool plain_next(void)
{
	static const char * const names[] = { NULL, "lru", "emptiest", "last-used", "round-robin" };

	return plain_works(2, rnd(2), pick(names), 2);
}

/* A round, or only a VM that is killed at once */
static bool one_round(uint64_t seed, uint32_t ms, enum end end, bool disturbed)
{
	bool good = true;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return false;
	if (!pid)
		be_enemy(seed, ms, end);
	if (disturbed)
		disturb(pid, ms);
	if (end == END_KILL) {
		usleep(disturbed ? 0 : rnd(1000 * ms + 1));
		kill(pid, SIGKILL);
	}
	if (!reap(pid, &status, HANG_SECONDS))
		return false;
	if (end != END_KILL && status) {
		ksft_print_msg("the process ended with status %#x\n", status);
		good = false;
	}
	if (seen->bad) {
		ksft_print_msg("%u complaints, the first: %s\n", seen->bad, seen->what);
		seen->bad = 0;
		good = false;
	}
	return remains_gone(&before) && good;
}

/* An enemy whose calls fail, all of one kind, is none: false if there was time for more. */
static bool print_ops(void)
{
	uint64_t calls = 0;
	bool good = true;
	uint32_t i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		ksft_print_msg("%-12s %8llu calls, %8llu succeeded\n", ops[i].name,
			       (unsigned long long)seen->calls[i],
			       (unsigned long long)seen->good[i]);
		calls += seen->calls[i];
		good = seen->good[i] && good;
	}
	return good || calls < 20000;
}

static bool rounds(uint64_t seed, uint32_t nr, double limit, int kmsg)
{
	double start = seconds(), told = start;
	uint32_t round;
	bool good = true;

	for (round = 0; good && (limit ? seconds() - start < limit : round < nr); round++) {
		uint64_t calls = 0;
		enum end end;
		uint32_t ms, i;

		seed_rng(seed + round);
		end = rnd(NR_ENDS);
		ms = 200 + rnd(2000);
		good = one_round(seed + round, ms, end, rnd(2));
		good = plain_next() && good;
		good = !log_trouble(kmsg) && good;
		if (!good)
			ksft_print_msg("seed %llu failed, end %d, after %u ms\n",
				       (unsigned long long)(seed + round), end, ms);
		if (seconds() - told < 5 && good)
			continue;
		told = seconds();
		for (i = 0; i < ARRAY_SIZE(ops); i++)
			calls += seen->calls[i];
		ksft_print_msg("%u done, %.0f s, %llu calls\n", round + 1, told - start,
			       (unsigned long long)calls);
		fflush(stdout);
	}
	return print_ops() && good;
}

static bool kills(uint64_t seed, uint32_t nr, int kmsg)
{
	double start = seconds(), told = start;
	uint32_t i;
	bool good = true;

	seed_rng(seed);
	for (i = 0; good && i < nr; i++) {
		good = one_round(seed + i, rnd(40), END_KILL, false);
		if (seconds() - told > 5) {
			told = seconds();
			ksft_print_msg("%u of %u VMs killed, %.0f s\n", i + 1, nr, told - start);
			fflush(stdout);
		}
	}
	good = plain_next() && good;
	return !log_trouble(kmsg) && good;
}

/* As many vCPUs as KVM takes; three of them run. */
static bool largest(int nr)
{
	struct rlimit files = { nr + 100, nr + 100 };
	bool good;

	if (setrlimit(RLIMIT_NOFILE, &files)) {
		ksft_print_msg("no %d files may be open\n", nr + 100);
		return false;
	}
	log_runs = true;
	good = plain_works(nr, KVM_DIRTY_RING_POOL_NOSTOP, NULL, 3);
	log_runs = false;
	return good && remains_gone(&before);
}

static void __noreturn help(const char *name)
{
	printf("usage: %s [-s seed] [-r rounds] [-t seconds] [-j threads] [-k kills] [-v vcpus]\n"
	       " -s: the seed of the first round; the others follow\n"
	       " -r: rounds (default: 10)\n"
	       " -t: instead of that, for how long\n"
	       " -j: threads of a round (default: %u)\n"
	       " -k: kill so many VMs, at any moment (default: 20)\n"
	       " -v: vCPUs of the largest VM (default: as many as KVM takes)\n",
	       name, nr_threads);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	uint32_t nr_rounds = 10, nr_kills = 20;
	int c, kvm, kmsg, max = -1, leaked;
	uint64_t seed = time(NULL);
	double limit = 0;
	bool loaded;

	while ((c = getopt(argc, argv, "s:r:t:j:k:v:Eh")) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			nr_rounds = atoi(optarg);
		else if (c == 't')
			limit = atof(optarg);
		else if (c == 'j')
			nr_threads = atoi(optarg);
		else if (c == 'k')
			nr_kills = atoi(optarg);
		else if (c == 'v')
			max = atoi(optarg);
		else if (c != 'E')
			help(argv[0]);
		else
			return after_exec();
	}
	if (nr_threads < 1 || nr_threads > MAX_THREADS)
		help(argv[0]);

	ksft_print_header();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_POOL) <= 0)
		ksft_exit_skip("KVM_CAP_DIRTY_LOG_RING_POOL is not supported\n");
	if (max < 0)
		max = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	smallest = raw_smallest_ring(kvm);
	close(kvm);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	if (seen == MAP_FAILED)
		ksft_exit_fail_perror("mmap()");
	/* Processes that a round has left behind are reaped here. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	kernel_cpus = sysconf(_SC_NPROCESSORS_CONF);
	kmsg = log_open();
	read_file(PARAM("dirty_ring_policy"), default_policy, sizeof(default_policy));
	default_policy[strcspn(default_policy, "\n")] = 0;
	loaded = raw_load_policy();

	ksft_set_plan(4);
	ksft_print_msg("seed %llu, %u threads, %zu bits, rings of %u bytes\n",
		       (unsigned long long)seed, nr_threads, 8 * sizeof(long), smallest);
	leaks_forget();
	/* Whatever the first VM leaves, as caches, is no leak. */
	plain_next();
	remains_count(&before);
	if (nr_rounds || limit)
		ksft_test_result(rounds(seed, nr_rounds, limit, kmsg), "rounds\n");
	else
		ksft_test_result_skip("rounds\n");
	if (nr_kills)
		ksft_test_result(kills(seed, nr_kills, kmsg), "kills\n");
	else
		ksft_test_result_skip("kills\n");
	if (max)
		ksft_test_result(largest(max), "largest\n");
	else
		ksft_test_result_skip("largest\n");
	leaked = leaks_count();
	if (leaked < 0)
		ksft_test_result_skip("leaks: the kernel has no kmemleak\n");
	else
		ksft_test_result(!leaked, "leaks\n");
	if (loaded)
		raw_unload_policy();
	ksft_finished();
}
