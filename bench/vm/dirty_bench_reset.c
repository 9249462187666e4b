// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a reset costs, and how it delays a guest's faults.
 *
 * Two vCPUs dirty a ring's worth of pages each, in the order of a pattern, and
 * stop.  The rings are harvested and then reset, by one thread that resets all of
 * them, or by two at once.  In a pool each of the two resets a ring of its own;
 * per-vCPU rings have only one call, for all rings.
 *
 * For the faults, both vCPUs dirty the first one's pages.  While those are reset
 * on one CPU, the second vCPU writes its own pages one by one on the other CPU,
 * and reads its TSC before and after each write.  Just before that, as many
 * writes are timed while the first CPU only keeps busy: no reset delays these.
 * The pages are write-protected, which KVM fixes without a lock, or unmapped,
 * which takes mmu_lock for read.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/sizes.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#include "dirty_pool_util.h"
#include "dirty_pool_bench.h"

#define RESET_SLOT		1
#define RESET_NO_SLOT		100
#define RESET_GPA		SZ_4G
#define RESET_GVA		0xc0000000ul
#define RESET_VCPUS		2
/* The soft limit is higher than RESET_PAGES, even with PML. */
#define RESET_RING_ENTRIES	4096
#define RESET_PAGES		3328	/* a vCPU */
#define RESET_STRIDE		16
/* Pages of a vCPU, of which it dirties RESET_PAGES. */
#define RESET_REGION		SZ_32K
#define RESET_WARM_FAULTS	8
/* Room that is left in a ring with half of RESET_PAGES harvested, not reset. */
#define RESET_FAULTS		1856
/* In a pass; each takes only some milliseconds. */
#define RESET_TURNS		4

const char * const bench_pattern_names[] = {
	[BENCH_SEQUENTIAL]	= "sequential",
	[BENCH_STRIDED]		= "strided",
	[BENCH_RANDOM]		= "random",
	[BENCH_SCATTERED]	= "scattered",
};

struct guest_job {
	u64 first;
	u64 end;	/* of guest_order[]: which pages to dirty */
	bool timed;	/* time each write, until guest_go is cleared */
};

static struct guest_job guest_jobs[RESET_VCPUS];
static u64 guest_go;
static u64 guest_samples;
/* RESET_PAGES of each vCPU */
static u32 guest_order[RESET_VCPUS * RESET_PAGES];
static u32 guest_cycles[RESET_PAGES];

static void guest_code(u32 id)
{
	const struct guest_job *job = &guest_jobs[id];
	u64 stamp = 0;
	u64 i, t, *addr;

	while (true) {
		GUEST_SYNC(0);

		stamp++;
		for (i = 0; i < job->end - job->first; i++) {
			addr = (u64 *)(RESET_GVA +
				       guest_order[job->first + i] * PAGE_SIZE);
			if (!job->timed) {
				WRITE_ONCE(*addr, stamp);
				continue;
			}
			if (!READ_ONCE(guest_go))
				break;
			t = rdtsc();
			WRITE_ONCE(*addr, stamp);
			/* Order the write before the clock. */
			__asm__ __volatile__("mfence; lfence" ::: "memory");
			guest_cycles[i] = rdtsc() - t;
			WRITE_ONCE(guest_samples, i + 1);
		}
	}
}

struct reset_bench {
	const struct bench_cell *cell;
	struct bench_reset_result *res;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[RESET_VCPUS];
	pthread_barrier_t start;
	/* In the guest's memory */
	struct guest_job *jobs;
	u64 *go;
	u64 *samples;
	u32 *order;
	u32 *cycles;
};

struct reset_thread {
	struct reset_bench *b;
	pthread_t thread;
	int cpu;
	bool all;		/* rings */
	u32 entries;
	u64 start_ns;
	u64 end_ns;
};

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static pthread_t main_thread;
static pthread_t vcpu_threads[RESET_VCPUS];

/* The time is up: find out where the vCPUs are, as dirty_bench_cell.c does. */
static void expire(int sig)
{
	int i;

	if (!pthread_equal(pthread_self(), main_thread))
		return;
	for (i = 0; i < RESET_VCPUS; i++) {
		if (vcpu_threads[i])
			pthread_kill(vcpu_threads[i], SIGALRM);
	}
	sleep(3);
	_exit(BENCH_FAILED);
}

static void start(struct reset_thread *t, struct reset_bench *b, int cpu,
		  void *(*fn)(void *))
{
	t->b = b;
	t->cpu = cpu;
	TEST_ASSERT(!pthread_create(&t->thread, NULL, fn, t), "pthread_create()");
}

static void *vcpu_thread(void *arg)
{
	struct reset_thread *t = arg;
	struct kvm_vcpu *vcpu = t->b->vcpus[t->cpu];
	struct kvm_regs regs;
	struct ucall uc;

	run_on(t->cpu);
	if (__vcpu_run(vcpu)) {
		TEST_ASSERT(errno == EINTR, "KVM_RUN: errno %d", errno);
		vcpu_regs_get(vcpu, &regs);
		printf("reset, %s: vCPU %d is not done, rip 0x%llx\n",
		       t->b->cell->mode.name, t->cpu, regs.rip);
		fflush(stdout);
		_exit(is_emulator_fault(vcpu) ? EMULATOR_FAULT : BENCH_FAILED);
	}
	if (get_ucall(vcpu, &uc) == UCALL_SYNC)
		return NULL;
	if (is_emulator_fault(vcpu))
		_exit(EMULATOR_FAULT);
	TEST_FAIL("vCPU %d: unexpected exit %s", t->cpu,
		  exit_reason_str(vcpu->run->exit_reason));
}

static void start_vcpu(struct reset_thread *t, struct reset_bench *b, int i)
{
	start(t, b, i, vcpu_thread);
	vcpu_threads[i] = t->thread;
}

static void join_vcpu(struct reset_thread *t)
{
	pthread_join(t->thread, NULL);
	vcpu_threads[t->cpu] = 0;
}

static void *reset_thread(void *arg)
{
	struct reset_thread *t = arg;
	struct reset_bench *b = t->b;

	run_on(t->cpu);
	pthread_barrier_wait(&b->start);
	t->start_ns = now_ns();
	if (t->all)
		t->entries = vm_reset_dirty_rings(b->vm);
	else
		t->entries = vm_reset_dirty_ring(b->vm, t->cpu);
	t->end_ns = now_ns();
	return NULL;
}

static u32 harvest(struct reset_bench *b)
{
	u32 i, n = 0;

	for (i = 0; i < RESET_VCPUS; i++)
		n += vcpu_harvest_dirty_ring(b->vcpus[i], UINT_MAX, NULL, NULL);
	return n;
}

/* The first @pages of the order, by both vCPUs. */
static void dirty(struct reset_bench *b, u32 pages)
{
	struct reset_thread threads[RESET_VCPUS];
	u32 n;
	int i;

	/* A hang can only be here, or in the reset that follows. */
	alarm(b->cell->timeout_s);

	for (i = 0; i < RESET_VCPUS; i++) {
		b->jobs[i] = (struct guest_job) {
			.first = i * pages / RESET_VCPUS,
			.end = (i + 1) * pages / RESET_VCPUS,
		};
		start_vcpu(&threads[i], b, i);
	}
	for (i = 0; i < RESET_VCPUS; i++)
		join_vcpu(&threads[i]);
	n = harvest(b);
	TEST_ASSERT(n == pages, "%u pages reported of %u", n, pages);
}

static void time_reset(struct reset_bench *b, int nr, struct bench_reset_time *time)
{
	bool pool = b->cell->mode.tracker == BENCH_POOL;
	struct reset_thread threads[RESET_VCPUS];
	u64 from = UINT64_MAX, to = 0;
	u32 entries = 0;
	int i;

	pthread_barrier_init(&b->start, NULL, nr);
	for (i = 0; i < nr; i++) {
		threads[i].all = nr == 1 || !pool;
		start(&threads[i], b, i, reset_thread);
	}
	for (i = 0; i < nr; i++) {
		pthread_join(threads[i].thread, NULL);
		entries += threads[i].entries;
		from = min(from, threads[i].start_ns);
		to = max(to, threads[i].end_ns);
	}
	pthread_barrier_destroy(&b->start);
	TEST_ASSERT(entries == RESET_VCPUS * RESET_PAGES, "%u entries reset of %u",
		    entries, RESET_VCPUS * RESET_PAGES);
	time->pages += entries;
	time->ns += to - from;
}

static void add_faults(struct reset_bench *b, u64 from, u64 to,
		       struct bench_faults *faults)
{
	u64 khz = __vcpu_ioctl(b->vcpus[1], KVM_GET_TSC_KHZ, NULL);
	u64 i;

	for (i = from; i < to && faults->nr < BENCH_MAX_FAULTS; i++)
		faults->ns[faults->nr++] = b->cycles[i] * 1000000ull / khz;
}

/* Do not sleep: waking up could preempt the vCPU. */
static u64 wait_for_samples(struct reset_bench *b, u64 n)
{
	u64 now;

	while ((now = READ_ONCE(*b->samples)) < n)
		sched_yield();
	return now;
}

/* The MMU notifier makes KVM unmap the pages; their memory stays. */
static void unmap(struct reset_bench *b, int vcpu)
{
	size_t size = RESET_REGION * PAGE_SIZE;
	void *hva = addr_gpa2hva(b->vm, RESET_GPA + vcpu * size);

	TEST_ASSERT(!mprotect(hva, size, PROT_NONE) &&
		    !mprotect(hva, size, PROT_READ | PROT_WRITE), "mprotect()");
}

static void time_faults(struct reset_bench *b, enum bench_fault kind)
{
	struct bench_faults *idle = &b->res->idle_faults[kind];
	struct bench_faults *faults = &b->res->faults[kind];
	u32 nr = max(faults->nr, idle->nr) - idle->nr;
	struct reset_thread thread;
	u64 first, from, to;

	dirty(b, RESET_PAGES);
	if (kind == BENCH_UNMAPPED)
		unmap(b, 1);
	b->jobs[1] = (struct guest_job) {
		.first = RESET_PAGES,
		.end = RESET_PAGES + RESET_FAULTS,
		.timed = true,
	};
	WRITE_ONCE(*b->samples, 0);
	WRITE_ONCE(*b->go, 1);
	start_vcpu(&thread, b, 1);
	first = wait_for_samples(b, RESET_WARM_FAULTS);
	/* As many as were timed during resets so far */
	from = wait_for_samples(b, min(first + nr + 1, RESET_PAGES / 2ul));

	/* Including the faults at the begin and the end of the reset. */
	vm_reset_dirty_rings(b->vm);
	to = wait_for_samples(b, min(READ_ONCE(*b->samples) + 1,
				     (u64)RESET_FAULTS));
	WRITE_ONCE(*b->go, 0);
	join_vcpu(&thread);

	add_faults(b, first, from, idle);
	add_faults(b, from, to, faults);

	harvest(b);
	vm_reset_dirty_rings(b->vm);
}

/*
 * How long do resets hold mmu_lock for write?  Nothing counts that without
 * CONFIG_LOCK_STAT.  But the order of the pages says how often they take it:
 * upstream once for each run of neighbours, the pool once for each ring, to
 * release it at once.  A reset of entries that name no memslot does everything
 * but take the lock and work under it: the difference is upstream's hold time.
 */
static void time_bare(struct reset_bench *b)
{
	u32 i, v;

	dirty(b, RESET_VCPUS * RESET_PAGES);
	for (v = 0; v < RESET_VCPUS; v++) {
		for (i = 0; i < RESET_RING_ENTRIES; i++)
			b->vcpus[v]->dirty_gfns[i].slot = RESET_NO_SLOT;
	}
	time_reset(b, 1, &b->res->bare);
	/* Write-protect all pages again. */
	vm_mem_region_set_flags(b->vm, RESET_SLOT, 0);
	vm_mem_region_set_flags(b->vm, RESET_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

static u64 count_write_locks(struct reset_bench *b)
{
	u64 n = 0, first = 0, last = 0;
	u32 i;
	u64 page;

	if (b->cell->mode.tracker == BENCH_POOL)
		return RESET_VCPUS;
	for (i = 0; i < RESET_VCPUS * RESET_PAGES; i++) {
		page = b->order[i];
		if (i % RESET_PAGES == 0 ||
		    max(last, page) - min(first, page) >= BITS_PER_LONG) {
			n++;
			first = page;
			last = page;
		}
		first = min(first, page);
		last = max(last, page);
	}
	return n;
}

static void init_order(struct reset_bench *b, enum bench_pattern pattern)
{
	struct guest_random_state rng = new_guest_random_state(b->cell->seed);
	u32 nr = pattern == BENCH_SCATTERED ? RESET_REGION : RESET_PAGES;
	static u32 pages[RESET_REGION];
	u32 v, i, j;

	for (v = 0; v < RESET_VCPUS; v++) {
		for (i = 0; i < nr; i++)
			pages[i] = v * RESET_REGION + i;
		for (i = 0; i < RESET_PAGES; i++) {
			j = i;
			if (pattern == BENCH_STRIDED)
				j = i * RESET_STRIDE % RESET_PAGES +
				    i * RESET_STRIDE / RESET_PAGES;
			else if (pattern != BENCH_SEQUENTIAL)
				j += guest_random_u32(&rng) % (nr - i);
			b->order[v * RESET_PAGES + i] = pages[j];
			pages[j] = pages[i];
		}
	}
}

static void create_vm(struct reset_bench *b)
{
	const struct bench_mode *mode = &b->cell->mode;
	u32 i, pages = RESET_VCPUS * RESET_REGION;
	struct reset_thread threads[RESET_VCPUS];

	b->vm = __vm_create(VM_SHAPE_DEFAULT, RESET_VCPUS, pages);
	if (mode->tracker == BENCH_POOL) {
		vm_enable_dirty_pool(b->vm, RESET_RING_ENTRIES, 0);
		/* A reset does not depend on it, but each vCPU has to fill its ring. */
		vm_set_dirty_policy(b->vm, "last-used");
	} else {
		vm_enable_dirty_ring(b->vm, RESET_RING_ENTRIES *
					    sizeof(struct kvm_dirty_gfn));
	}
	vm_userspace_mem_region_add(b->vm, VM_MEM_SRC_ANONYMOUS, RESET_GPA,
				    RESET_SLOT, pages, 0);
	virt_map(b->vm, RESET_GVA, RESET_GPA, pages);
	memset(addr_gpa2hva(b->vm, RESET_GPA), 0, (size_t)pages * PAGE_SIZE);

	b->jobs = addr_gva2hva(b->vm, (vm_vaddr_t)guest_jobs);
	b->go = addr_gva2hva(b->vm, (vm_vaddr_t)&guest_go);
	b->samples = addr_gva2hva(b->vm, (vm_vaddr_t)&guest_samples);
	b->order = addr_gva2hva(b->vm, (vm_vaddr_t)guest_order);
	b->cycles = addr_gva2hva(b->vm, (vm_vaddr_t)guest_cycles);

	for (i = 0; i < RESET_VCPUS; i++) {
		b->vcpus[i] = vm_vcpu_add(b->vm, i, guest_code);
		vcpu_args_set(b->vcpus[i], 1, i);
		vcpu_map_dirty_ring(b->vcpus[i]);
	}
	/* Up to the first GUEST_SYNC() */
	for (i = 0; i < RESET_VCPUS; i++) {
		start_vcpu(&threads[i], b, i);
		join_vcpu(&threads[i]);
	}
	vm_mem_region_set_flags(b->vm, RESET_SLOT, KVM_MEM_LOG_DIRTY_PAGES);
}

void bench_run_reset(const struct bench_cell *cell,
		     struct bench_reset_result res[BENCH_NR_PATTERNS])
{
	struct reset_bench b = { .cell = cell };
	struct bench_reset_time warm = { };
	unsigned int pattern, pass, nr, kind, nr_kinds;

	memset(res, 0, sizeof(*res) * BENCH_NR_PATTERNS);
	main_thread = pthread_self();
	signal(SIGALRM, expire);
	alarm(cell->timeout_s);
	run_on(0);
	create_vm(&b);

	for (pattern = 0; pattern < BENCH_NR_PATTERNS; pattern++) {
		b.res = &res[pattern];
		init_order(&b, pattern);
		/* Map the pages. */
		dirty(&b, RESET_VCPUS * RESET_PAGES);
		time_reset(&b, 1, &warm);
		for (pass = 0; pass < cell->passes * RESET_TURNS; pass++) {
			for (nr = 1; nr <= RESET_VCPUS; nr++) {
				dirty(&b, RESET_VCPUS * RESET_PAGES);
				time_reset(&b, nr, &b.res->time[nr - 1]);
			}
		}
		/*
		 * Faults are the same in scattered as in the other orders, and
		 * one processor can't fault and reset at the same time.
		 */
		nr_kinds = pattern == BENCH_SCATTERED ||
			   sysconf(_SC_NPROCESSORS_ONLN) < 2 ? 0 : BENCH_NR_FAULTS;
		for (kind = 0; kind < nr_kinds; kind++) {
			while (b.res->faults[kind].nr < cell->faults ||
			       !b.res->idle_faults[kind].nr)
				time_faults(&b, kind);
		}
		time_bare(&b);
		b.res->write_locks = count_write_locks(&b);
	}
	kvm_vm_free(b.vm);
}
