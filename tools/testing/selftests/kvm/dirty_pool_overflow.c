// SPDX-License-Identifier: GPL-2.0-only
/*
 * OVERFLOW: userspace learns of every mark that is lost.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "dirty_pool_test.h"

static void test_overflow(int unused)
{
	struct kvm_dirty_ring_pool_state st, *ro;
	uint32_t i, flags, used = 0;
	struct env e = {};
	int fd;

	need_vcpu_mark();
	env_init(&e, 2, 0);
	fd = vm_dirty_pool_eventfd(e.vm);
	env_set_guest(&e, 0, guest_sequential);
	env_set_guest(&e, 1, guest_sync);

	step("all rings, and their reserves");
	for (i = 0; ; i++) {
		vcpu_mark(e.vcpus[0]);
		env_get_state(&e);
		if (e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW)
			break;
		TEST_ASSERT(i < ring_entries, "%u entries used, no OVERFLOW",
			    e.rings[0].used + e.rings[1].used);
	}
	for (i = 0; i < 2; i++)
		used += e.rings[i].used;
	TEST_ASSERT(used == 2 * ring_entries && e.st.overflows,
		    "OVERFLOW with %u of %u entries used, %llu overflows", used,
		    2 * ring_entries, e.st.overflows);
	env_wait_eventfd(fd);

	step("the exit says so");
	flags = env_run_once(&e, 0);
	TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_OVERFLOW) &&
		    (flags & KVM_DIRTY_RING_POOL_EXHAUSTED),
		    "Flags 0x%x of a vCPU that overflowed the pool", flags);

	step("it is sticky");
	env_drain(&e);
	TEST_ASSERT(e.st.status == KVM_DIRTY_RING_POOL_OVERFLOW,
		    "Status 0x%x when all is drained", e.st.status);
	flags = env_run_to_full(&e, 0);
	TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_OVERFLOW) &&
		    (flags & KVM_DIRTY_RING_POOL_PARKED),
		    "Flags 0x%x of a later exit", flags);
	env_drain(&e);

	step("a call that fails does not clear it");
	expect_error(__vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW,
					   &st, (void *)-1ul, 1), EFAULT);
	ro = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ro->flags = KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW;
	mprotect(ro, PAGE_SIZE, PROT_READ);
	expect_error(__vm_ioctl(e.vm, KVM_GET_DIRTY_RING_POOL_STATE, ro), EFAULT);
	munmap(ro, PAGE_SIZE);
	env_get_state(&e);
	TEST_ASSERT(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW,
		    "A failed call cleared OVERFLOW");

	step("clear");
	vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &st, NULL, 0);
	TEST_ASSERT(st.status == KVM_DIRTY_RING_POOL_OVERFLOW &&
		    st.flags == KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW,
		    "Clearing it returns status 0x%x, flags 0x%x", st.status,
		    st.flags);
	env_get_state(&e);
	TEST_ASSERT(!e.st.status && e.st.overflows == st.overflows,
		    "Status 0x%x, %llu overflows after clearing it", e.st.status,
		    e.st.overflows);
	flags = env_run_to_full(&e, 0);
	TEST_ASSERT(!(flags & KVM_DIRTY_RING_POOL_OVERFLOW),
		    "Flags 0x%x after clearing it", flags);

	step("the VM goes on");
	env_drain(&e);
	env_run_round(&e, 300);
	TEST_ASSERT(!env_count_lost(&e), "Pages were lost after OVERFLOW was cleared");
	env_get_state(&e);
	TEST_ASSERT(!(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW),
		    "OVERFLOW is set again");
	close(fd);
	env_free(&e);
}

/* Mark until OVERFLOW is set; returns how many marks were lost. */
static uint64_t overflow(struct env *e)
{
	uint32_t i;

	env_get_state(e);
	for (i = 0; !(e->st.status & KVM_DIRTY_RING_POOL_OVERFLOW); i++) {
		TEST_ASSERT(i < e->nr_vcpus * ring_entries, "No OVERFLOW");
		vcpu_mark(e->vcpus[0]);
		env_get_state(e);
	}
	return e->st.overflows;
}

/*
 * A vCPU parks another vCPU's ring and goes on in the reserve of its own: the
 * exit names the ring that was parked.
 */
static void test_exit_ring(int unused)
{
	uint32_t i, soft, ring, flags;
	struct env e = {};

	need_vcpu_mark();
	env_init(&e, 2, 0);
	soft = env_soft_limit(&e);
	for (i = 0; i < 2; i++)
		env_set_guest(&e, i, guest_sync);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 2 * soft - 1, NULL) ==
		    2 * soft - 1, "Can't mark %u pages", 2 * soft - 1);
	env_get_state(&e);
	ring = e.rings[0].state ? 1 : 0;
	TEST_ASSERT(!e.rings[ring].state && e.rings[ring].used == soft - 1,
		    "Ring %u has state 0x%x, %u entries", ring, e.rings[ring].state,
		    e.rings[ring].used);
	/* First, it exits for its own ring, which the VM's marks have parked. */
	i = 1 - ring;
	flags = env_run_once(&e, i);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED &&
		    e.vcpus[i]->run->dirty_ring_pool.ring == i,
		    "Flags 0x%x, ring %u", flags,
		    e.vcpus[i]->run->dirty_ring_pool.ring);

	vcpu_mark(e.vcpus[i]);
	flags = env_run_once(&e, i);
	TEST_ASSERT(flags == (KVM_DIRTY_RING_POOL_PARKED |
			      KVM_DIRTY_RING_POOL_EXHAUSTED) &&
		    e.vcpus[i]->run->dirty_ring_pool.ring == ring,
		    "Flags 0x%x, ring %u, after ring %u was parked", flags,
		    e.vcpus[i]->run->dirty_ring_pool.ring, ring);
	env_get_state(&e);
	TEST_ASSERT(e.rings[i].state & KVM_DIRTY_RING_RESERVE,
		    "The reserve of ring %u was not used", i);
	flags = env_run_once(&e, i);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_EXHAUSTED &&
		    e.vcpus[i]->run->dirty_ring_pool.ring == i,
		    "Flags 0x%x, ring %u at the gate", flags,
		    e.vcpus[i]->run->dirty_ring_pool.ring);

	/* With its own reserve full, it claims that of the other ring. */
	do {
		vcpu_mark(e.vcpus[i]);
		env_get_state(&e);
	} while (!(e.rings[ring].state & KVM_DIRTY_RING_RESERVE));
	flags = env_run_once(&e, i);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_EXHAUSTED &&
		    e.vcpus[i]->run->dirty_ring_pool.ring == ring,
		    "Flags 0x%x, ring %u at the gate, after a mark in ring %u", flags,
		    e.vcpus[i]->run->dirty_ring_pool.ring, ring);
	env_fini(&e);
}

/*
 * A newly set OVERFLOW makes one vCPU exit, whichever runs next, and signals the
 * eventfd once, however soon all rings are drained.
 */
static void test_overflow_noticed(int unused)
{
	struct kvm_dirty_ring_pool_state st;
	uint32_t i, flags, ring;
	struct env e = {};
	int fd, round;

	need_vcpu_mark();
	env_init(&e, 3, 0);
	for (i = 0; i < 3; i++)
		env_set_guest(&e, i, guest_sync);

	for (round = 0; round < 2; round++) {
		step("round %d: OVERFLOW", round);
		fd = vm_dirty_pool_eventfd(e.vm);
		env_mark_all(&e);
		/* The rings that were parked have been reported before a mark is lost. */
		env_wait_eventfd(fd);
		for (i = 0; i < 3; i++)
			env_run_once(&e, i);
		while (dirty_pool_eventfd_read(fd))
			usleep(10000);
		overflow(&e);
		TEST_ASSERT(env_wait_eventfd(fd) == 1, "The eventfd was signalled more than once");
		vcpu_mark(e.vcpus[0]);
		usleep(10000);
		TEST_ASSERT(!dirty_pool_eventfd_read(fd),
			    "The eventfd was signalled for a mark that was lost while OVERFLOW was set");
		close(fd);

		step("round %d: drained before a vCPU runs", round);
		env_drain(&e);
		/* Start with another vCPU: the one that lost the mark may never run again. */
		for (i = 1; i <= 6; i++) {
			flags = env_run_once(&e, i % 3);
			TEST_ASSERT(!flags || flags == KVM_DIRTY_RING_POOL_OVERFLOW,
				    "vCPU %d exits with flags 0x%x", i % 3, flags);
			TEST_ASSERT(!flags == (i > 1), "vCPU %d: flags 0x%x in run %d",
				    i % 3, flags, i);
			/* The exit names the ring that the vCPU used last: its own. */
			ring = e.vcpus[i % 3]->run->dirty_ring_pool.ring;
			TEST_ASSERT(!flags || ring == i % 3,
				    "The exit of vCPU %d names ring %u", i % 3, ring);
		}

		step("round %d: cleared before a vCPU runs", round);
		vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &st,
				    NULL, 0);
		env_mark_all(&e);
		overflow(&e);
		env_drain(&e);
		vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &st,
				    NULL, 0);
		for (i = 0; i < 3; i++) {
			flags = env_run_once(&e, i);
			TEST_ASSERT(!flags, "vCPU %d exits with flags 0x%x", i, flags);
		}
	}
	env_free(&e);
}

/* The loss of a mark that no vCPU made forces a vCPU out of the guest. */
static void test_overflow_no_vcpu(int unused)
{
	struct env e = {};
	uint32_t used;
	int i;

	env_init(&e, 2, KVM_DIRTY_RING_POOL_NOSTOP);
	if (env_has_page_log(&e))
		skip("a reserve holds all entries of a ring");
	for (i = 0; i < 2; i++)
		env_set_guest(&e, i, guest_idle);
	env_mark_all(&e);
	env_start_vcpus(&e);

	step("unmap a ring with all others full");
	used = e.rings[1].soft_limit;
	env_unmap_ring(&e, 1);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == used - (ring_entries - used) &&
		    (e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW),
		    "%llu entries of %u lost in a reserve of %u, status 0x%x",
		    e.st.overflows, used, ring_entries - used, e.st.status);
	wait_for(READ_ONCE(e.overflown[0]) + READ_ONCE(e.overflown[1]),
		 "a vCPU to exit with OVERFLOW");
	env_set_stop(&e, 1);
	env_wake_vcpus(&e);
	env_join_vcpus(&e);
	TEST_ASSERT(e.overflown[0] + e.overflown[1] == 1,
		    "%lu exits for one OVERFLOW", e.overflown[0] + e.overflown[1]);
	env_free(&e);
}

/* The first vCPU reports marks that were lost before it was created. */
static void test_overflow_early(int unused)
{
	struct testmod mod;
	struct env e = {};
	uint32_t flags;

	testmod_open(&mod);
	env_init(&e, 0, 0);
	testmod_mark(&mod, e.vm, SLOT_GPA(0), 1, 1);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == 1 && e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW,
		    "%llu marks of a VM without rings were lost, status 0x%x",
		    e.st.overflows, e.st.status);
	env_add_vcpu(&e);
	env_set_guest(&e, 0, guest_sync);
	flags = env_run_once(&e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_OVERFLOW, "Flags 0x%x", flags);
	flags = env_run_once(&e, 0);
	TEST_ASSERT(!flags, "Flags 0x%x of the second exit", flags);
	env_free(&e);
	testmod_close(&mod);
}

struct clearer {
	struct env *e;
	struct kvm_dirty_ring_pool_state st;
	struct kvm_dirty_ring_state *rings;
};

static void *clearer(void *data)
{
	struct clearer *c = data;

	vm_dirty_pool_state(c->e->vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &c->st,
			    c->rings, 1);
	return NULL;
}

/*
 * A mark is lost after KVM has read the status that it will return, while it waits
 * for the page of @rings: the call must not clear an OVERFLOW that it does not tell.
 */
static void test_overflow_not_told(int unused)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_zeropage zero = {};
	struct env e = {};
	struct clearer c = { .e = &e };
	struct uffd_msg msg;
	pthread_t thread;
	int uffd;

	need_vcpu_mark();
	uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		skip("no userfaultfd");
	env_init(&e, 1, 0);
	c.rings = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)c.rings;
	reg.range.len = PAGE_SIZE;
	zero.range = reg.range;
	TEST_ASSERT(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER: %s",
		    strerror(errno));
	env_mark_all(&e);
	pthread_create(&thread, NULL, clearer, &c);
	TEST_ASSERT(read(uffd, &msg, sizeof(msg)) == sizeof(msg), "read(): %s",
		    strerror(errno));
	overflow(&e);
	TEST_ASSERT(!ioctl(uffd, UFFDIO_ZEROPAGE, &zero), "UFFDIO_ZEROPAGE: %s",
		    strerror(errno));
	pthread_join(thread, NULL);
	close(uffd);
	TEST_ASSERT(!(c.st.status & KVM_DIRTY_RING_POOL_OVERFLOW), "Status 0x%x",
		    c.st.status);
	env_get_state(&e);
	TEST_ASSERT(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW,
		    "An OVERFLOW that was not told was cleared");
	env_free(&e);
}

const struct test overflow_tests[] = {
	{ "overflow",		test_overflow },
	{ "exit_ring",		test_exit_ring },
	{ "overflow_noticed",	test_overflow_noticed },
	{ "overflow_no_vcpu",	test_overflow_no_vcpu },
	{ "overflow_early",	test_overflow_early },
	{ "overflow_not_told",	test_overflow_not_told },
	{}
};
