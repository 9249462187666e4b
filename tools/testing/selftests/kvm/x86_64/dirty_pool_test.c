// SPDX-License-Identifier: GPL-2.0-only
/*
 * dirty_pool_test, the part for x86: system management mode, steal time, and a
 * vCPU that runs before KVM_CREATE_VCPU has returned.
 */
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <asm/kvm_para.h>

#include "dirty_pool_test.h"

static void smm_gfn(void *arg, uint32_t slot, uint64_t offset)
{
	uint64_t *sum = arg;

	TEST_ASSERT(slot == (1 << 16 | IRQ_SLOT) && offset < IRQ_PAGES,
		    "Slot 0x%x, offset %lu of a page in the second address space",
		    slot, offset);
	*sum += 1 + offset;
}

/* Mark pages in the address space of system management mode. */
static void test_mark_smm(int unused)
{
	struct kvm_userspace_memory_region region = {
		.slot = 1 << 16 | IRQ_SLOT,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = SLOT_GPA(NR_SLOTS),
		.memory_size = IRQ_PAGES * PAGE_SIZE,
	};
	struct env e = {};
	uint64_t sum = 0;
	int i;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		skip("no system management mode");
	env_init(&e, 2, 0);
	region.userspace_addr = (uintptr_t)mmap(NULL, region.memory_size,
						PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm_ioctl(e.vm, KVM_SET_USER_MEMORY_REGION, &region);
	expect_error(__vm_mark_dirty(e.vm, IRQ_SLOT, 0, 1, NULL), ENOENT);
	TEST_ASSERT(__vm_mark_dirty(e.vm, region.slot, 0, IRQ_PAGES, NULL) == IRQ_PAGES,
		    "Can't mark in the second address space, errno %d", errno);
	for (i = 0; i < 2; i++)
		vcpu_harvest_dirty_ring(e.vcpus[i], UINT_MAX, smm_gfn, &sum);
	TEST_ASSERT(sum == IRQ_PAGES * (IRQ_PAGES + 1) / 2,
		    "Not every page was reported once");
	TEST_ASSERT(vm_reset_dirty_rings(e.vm) == IRQ_PAGES, "Not all were reset");
	env_drain(&e);
	env_free(&e);
}

/* A dirty_gfn_fn: the page has the same offset in the first address space. */
static void note_smm_gfn(void *arg, uint32_t slot, uint64_t offset)
{
	TEST_ASSERT(slot >> 16 == 1, "Slot 0x%x of a write in the second address space",
		    slot);
	env_list_gfn(arg, slot & 0xffff, offset);
}

/* What a guest writes in system management mode is trapped again, too. */
static void test_smm_writes(int unused)
{
	struct userspace_mem_region *region;
	struct kvm_vcpu_events events;
	struct env e = {};
	uint32_t i, flags;
	int bucket;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		skip("no system management mode");
	env_init(&e, 1, 0);
	/* The guest runs on, in the same memory. */
	hash_for_each(e.vm->regions.slot_hash, bucket, region, slot_node) {
		struct kvm_userspace_memory_region smm = {
			.slot = 1 << 16 | region->region.slot,
			.flags = region->region.flags & KVM_MEM_LOG_DIRTY_PAGES,
			.guest_phys_addr = region->region.guest_phys_addr,
			.memory_size = region->region.memory_size,
			.userspace_addr = region->region.userspace_addr,
		};

		vm_ioctl(e.vm, KVM_SET_USER_MEMORY_REGION, &smm);
	}
	vcpu_events_get(e.vcpus[0], &events);
	events.flags |= KVM_VCPUEVENT_VALID_SMM;
	events.smi.smm = 1;
	vcpu_events_set(e.vcpus[0], &events);

	env_set_guest(&e, 0, guest_sequential);
	env_set_writes(&e, NR_PAGES);
	for (i = 0; i < 3; i++) {
		step("round %u of writes", i);
		do {
			flags = env_run_once(&e, 0);
			e.pages.entries += vcpu_harvest_dirty_ring(e.vcpus[0], UINT_MAX,
								   note_smm_gfn,
								   &e.pages);
			env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
		} while (flags);
	}
	env_fini(&e);
}

const struct test smm_tests[] = {
	{ "mark_smm",		test_mark_smm },
	{ "smm_writes",		test_smm_writes },
	{}
};

/*
 * A thread guesses the fd of a new vCPU, has it mark pages, and tries to run it
 * before KVM_CREATE_VCPU has returned.
 */
static struct {
	bool stop;
	int first_fd;
	pid_t tid;
	atomic_t left;		/* writes of an MSR, for the next vCPU */
	uint64_t found;
} early;

/* Each write makes three marks, and one ring has room for those of a VM's vCPUs. */
#define EARLY_VCPUS	3
#define EARLY_WRITES	20

static void *early_worker(void *unused)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msr = {
		.header.nmsrs = 1,
		.entry = { .index = MSR_KVM_WALL_CLOCK_NEW, .data = page_gpa(5) },
	};
	int fd;

	WRITE_ONCE(early.tid, gettid());
	while (!READ_ONCE(early.stop)) {
		for (fd = early.first_fd; fd < early.first_fd + 12; fd++) {
			if (atomic_read(&early.left) <= 0 ||
			    ioctl(fd, KVM_SET_MSRS, &msr) != 1)
				continue;
			atomic_dec_and_test(&early.left);
			early.found++;
			/* A signal ends this if the vCPU waits to be started. */
			ioctl(fd, KVM_RUN, NULL);
		}
	}
	return NULL;
}

static void test_run_early(int unused)
{
	uint32_t i, n, times = scale(100, 20);
	struct itimerspec period = {
		.it_interval.tv_nsec = 2000000, .it_value.tv_nsec = 2000000,
	};
	struct sigevent sev = {
		.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR2,
	};
	time_t end = now() + 15;
	timer_t timer;
	struct env e = {};
	pthread_t thread;

	need_vcpu_mark();
	early.first_fd = dup(0);
	close(early.first_fd);
	pthread_create(&thread, NULL, early_worker, NULL);
	while (!READ_ONCE(early.tid))
		sched_yield();
	/* KVM_CREATE_VCPU waits for a KVM_RUN that came first. */
	sev._sigev_un._tid = early.tid;
	TEST_ASSERT(!timer_create(CLOCK_MONOTONIC, &sev, &timer) &&
		    !timer_settime(timer, 0, &period, NULL), "timer_create(): %s",
		    strerror(errno));
	for (i = 0; i < times && now() < end; i++) {
		step("VM %u", i);
		env_init(&e, 0, 0);
		for (n = 0; n < EARLY_VCPUS; n++) {
			int fd;

			atomic_set(&early.left, EARLY_WRITES);
			fd = __vm_ioctl(e.vm, KVM_CREATE_VCPU, (void *)(long)n);
			TEST_ASSERT(fd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_VCPU, fd));
			usleep(env_random(&e, 300));
			close(fd);
		}
		env_get_state(&e);
		TEST_ASSERT(!e.st.overflows,
			    "%llu marks found no ring, %llu did: a vCPU ran before its ring had joined",
			    e.st.overflows, e.st.pushed);
		env_free(&e);
	}
	WRITE_ONCE(early.stop, true);
	pthread_join(thread, NULL);
	timer_delete(timer);
	ksft_print_msg("%u VMs, %lu times a vCPU was found by its fd\n", i,
		       early.found);
	TEST_ASSERT(early.found, "No vCPU was ever found by its fd");
}

const struct test early_tests[] = {
	{ "run_early",		test_run_early },
	{}
};

static void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Preempt the vCPUs on this CPU, again and again. */
static void *preempter(void *data)
{
	struct sched_param param = { .sched_priority = 1 };
	struct env *e = data;

	/* If this is not permitted, the vCPUs still preempt each other at the tick. */
	pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	pin_to_cpu(sched_getcpu());
	while (!READ_ONCE(e->quit))
		usleep(300);
	return NULL;
}

static uint64_t vcpu_stat(struct kvm_vcpu *vcpu, const char *name)
{
	struct kvm_stats_header header;
	struct kvm_stats_desc *desc, *descs;
	int i, fd = vcpu_get_stats_fd(vcpu);
	uint64_t value = 0;

	read_stats_header(fd, &header);
	descs = read_stats_descriptors(fd, &header);
	for (i = 0; i < header.num_desc; i++) {
		desc = get_stats_descriptor(descs, i, &header);
		if (!strcmp(desc->name, name))
			read_stat_data(fd, &header, desc, &value, 1);
	}
	free(descs);
	close(fd);
	return value;
}

static uint64_t preemptions(struct env *e)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		sum += vcpu_stat(e->vcpus[i], "preemption_reported");
	return sum;
}

static bool has_parked(struct env *e, uint64_t parks)
{
	env_get_state(e);
	return e->st.parks > parks ||
	       (e->st.status & KVM_DIRTY_RING_POOL_EXHAUSTED);
}

/*
 * The scheduler marks the steal time page of a vCPU that is preempted, with the
 * run queue's lock held: a mark that parks a ring there must not wake anyone.
 */
static void steal_time(uint64_t flags)
{
	int i, fd, round, rounds = scale(12, 5);
	uint64_t parks;
	cpu_set_t before;
	pthread_t thread;
	struct env e = {};

	env_init(&e, 2, flags);
	fd = vm_dirty_pool_eventfd(e.vm);

	/* Threads that are created from here on stay on this CPU. */
	sched_getaffinity(0, sizeof(before), &before);
	pin_to_cpu(sched_getcpu());
	for (i = 0; i < 2; i++) {
		env_set_guest(&e, i, guest_idle);
		TEST_ASSERT(_vcpu_set_msr(e.vcpus[i], MSR_KVM_STEAL_TIME,
					  page_gpa(10 + i) | KVM_MSR_ENABLED) == 1,
			    "Can't set MSR_KVM_STEAL_TIME");
	}
	env_start_vcpus(&e);
	pthread_create(&thread, NULL, preempter, &e);
	sched_setaffinity(0, sizeof(before), &before);

	/* A vCPU should have been preempted in the guest long before the last round. */
	for (round = 0; round < rounds || !preemptions(&e); round++) {
		uint32_t left = 1 + env_random(&e, 6);
		uint32_t room = 0;

		step("round %d: fill the rings up to %u entries", round, left);
		env_get_state(&e);
		for (i = 0; i < 2; i++)
			room += e.rings[i].soft_limit - min(e.rings[i].soft_limit,
							    e.rings[i].used);
		if (room > left)
			__vm_mark_dirty(e.vm, FIRST_SLOT, 100, room - left, NULL);
		env_get_state(&e);
		parks = e.st.parks;

		/*
		 * Steal time may also use a reserve, while this thread's marks
		 * have claimed the only ring that is not parked: both vCPUs
		 * wait at the gate then, and no ring is parked any more.
		 */
		step("round %d: wait for steal time to park a ring", round);
		wait_for(has_parked(&e, parks) ||
			 env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE),
			 "a ring that is parked, or its reserve used");
		if (has_parked(&e, parks))
			env_wait_eventfd(fd);
		/*
		 * A vCPU on its way out may push to a ring that has just been
		 * harvested: repeat it until no ring keeps vCPUs at the gate.
		 */
		do {
			env_harvest_all(&e);
			env_get_state(&e);
		} while (e.st.status & KVM_DIRTY_RING_POOL_PARKED);
	}

	step("stop");
	env_stop_vcpus(&e);
	WRITE_ONCE(e.quit, true);
	pthread_join(thread, NULL);
	close(fd);
	env_fini(&e);
}

static void test_steal_time(int unused)
{
	if (!kvm_cpu_has(X86_FEATURE_KVM_STEAL_TIME))
		skip("no steal time");
	steal_time(0);
	steal_time(KVM_DIRTY_RING_POOL_NOSTOP);
}

const struct test steal_time_tests[] = {
	{ "steal_time",		test_steal_time },
	{}
};
