// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bad input: each call fails with the documented errno and changes nothing.
 */
#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "dirty_pool_test.h"

struct snapshot {
	struct kvm_dirty_ring_pool_state st;
	struct kvm_dirty_ring_state rings[MAX_VCPUS];
	char policy[KVM_DIRTY_RING_POLICY_NAME_MAX];
};

static void take_snapshot(struct kvm_vm *vm, struct snapshot *s)
{
	memset(s, 0, sizeof(*s));
	vm_dirty_pool_state(vm, 0, &s->st, s->rings, MAX_VCPUS);
	s->st.rings = 0;
	vm_get_dirty_policy(vm, s->policy);
}

/* A call that fails does not change the pool, either. */
#define expect_pool_error(vm, call, error)				\
do {									\
	struct snapshot __before, __after;				\
	struct kvm_vm *__vm = (vm);					\
									\
	take_snapshot(__vm, &__before);					\
	expect_error(call, error);					\
	take_snapshot(__vm, &__after);					\
	TEST_ASSERT(!memcmp(&__before, &__after, sizeof(__before)),	\
		    "%s: failed, but changed the pool's state", #call);	\
} while (0)

static int enable_cap(struct kvm_vm *vm, uint32_t cap, uint32_t flags,
		      uint64_t arg0, uint64_t arg1, uint64_t arg2, uint64_t arg3)
{
	struct kvm_enable_cap ec = {
		.cap = cap,
		.flags = flags,
		.args = { arg0, arg1, arg2, arg3 },
	};

	return __vm_ioctl(vm, KVM_ENABLE_CAP, &ec);
}

static void test_errno_cap(int unused)
{
	const uint32_t pool = KVM_CAP_DIRTY_LOG_RING_POOL;
	const uint32_t ring = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
	const uint32_t init_set = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
	uint64_t size = ring_entries * sizeof(struct kvm_dirty_gfn);
	uint64_t max = dirty_pool_max_size();
	struct kvm_vm *vm = vm_create_barebones();
	struct kvm_vcpu *vcpu;

	TEST_ASSERT(!(max & (max - 1)) && max >= size, "Largest size is %lu", max);
	TEST_ASSERT(vm_check_cap(vm, pool) == max,
		    "The VM's KVM_CHECK_EXTENSION differs from the system's");

	expect_error(enable_cap(vm, pool, 1, size, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size, 2, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size, 1ull << 32, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size, 1ull << 63 | 1, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size, 0, 1, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size, 0, 0, 1), EINVAL);
	expect_error(enable_cap(vm, pool, 0, 0, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size + 16, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size * 3, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, size / 2, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, 16, 0, 0, 0), EINVAL);
	expect_error(enable_cap(vm, pool, 0, max * 2, 0, 0, 0), E2BIG);
	expect_error(enable_cap(vm, pool, 0, 1ull << 32, 0, 0, 0), E2BIG);
	expect_error(enable_cap(vm, pool, 0, 1ull << 63, 0, 0, 0), E2BIG);

	step("enabled, with the largest size");
	TEST_ASSERT(!enable_cap(vm, pool, 0, max, 1, 0, 0),
		    "Can't enable the pool after calls that failed, errno %d",
		    errno);
	expect_pool_error(vm, enable_cap(vm, pool, 0, max, 0, 0, 0), EINVAL);
	expect_pool_error(vm, enable_cap(vm, pool, 0, size, 0, 0, 0), EINVAL);
	expect_pool_error(vm, enable_cap(vm, ring, 0, size, 0, 0, 0), EINVAL);
	expect_pool_error(vm, enable_cap(vm, KVM_CAP_DIRTY_LOG_RING, 0, size, 0,
					 0, 0), EINVAL);
	kvm_vm_free(vm);

	step("after the per-vCPU rings");
	vm = vm_create_barebones();
	TEST_ASSERT(!enable_cap(vm, ring, 0, size, 0, 0, 0),
		    "Can't enable the per-vCPU rings, errno %d", errno);
	expect_error(enable_cap(vm, pool, 0, size, 0, 0, 0), EINVAL);
	kvm_vm_free(vm);

	step("with KVM_DIRTY_LOG_INITIALLY_SET");
	vm = vm_create_barebones();
	TEST_ASSERT(!enable_cap(vm, init_set, 0, 3, 0, 0, 0),
		    "Can't enable it without a pool, errno %d", errno);
	expect_error(enable_cap(vm, pool, 0, size, 0, 0, 0), EINVAL);
	TEST_ASSERT(!enable_cap(vm, init_set, 0, 1, 0, 0, 0) &&
		    !enable_cap(vm, pool, 0, size, 0, 0, 0),
		    "Can't enable a pool without it, errno %d", errno);
	expect_pool_error(vm, enable_cap(vm, init_set, 0, 3, 0, 0, 0), EINVAL);
	TEST_ASSERT(!enable_cap(vm, init_set, 0, 1, 0, 0, 0),
		    "Can't turn manual protection on, errno %d", errno);
	TEST_ASSERT(!enable_cap(vm, init_set, 0, 0, 0, 0, 0),
		    "Can't turn manual protection off, errno %d", errno);
	kvm_vm_free(vm);

	step("after a vCPU");
	vm = vm_create_with_one_vcpu(&vcpu, NULL);
	expect_error(enable_cap(vm, pool, 0, size, 0, 0, 0), EINVAL);
	kvm_vm_free(vm);
}

/* If two threads give a VM a pool at the same time, one fails. */
static struct {
	struct kvm_vm *vm;
	pthread_barrier_t barrier;
	atomic_t enabled;
	bool stop;
} twice;

static void *enabler(void *unused)
{
	uint64_t bytes = ring_entries * sizeof(struct kvm_dirty_gfn);

	for (;;) {
		pthread_barrier_wait(&twice.barrier);
		if (twice.stop)
			return NULL;
		if (!enable_cap(twice.vm, KVM_CAP_DIRTY_LOG_RING_POOL, 0, bytes,
				0, 0, 0))
			atomic_inc(&twice.enabled);
		pthread_barrier_wait(&twice.barrier);
	}
}

static void test_enable_twice(int unused)
{
	uint32_t i, n = scale(300, 100);
	pthread_t threads[2];

	pthread_barrier_init(&twice.barrier, NULL, 1 + ARRAY_SIZE(threads));
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, enabler, NULL);
	for (i = 0; i < n; i++) {
		step("VM %u of %u", i, n);
		atomic_set(&twice.enabled, 0);
		twice.vm = vm_create_barebones();
		pthread_barrier_wait(&twice.barrier);
		pthread_barrier_wait(&twice.barrier);
		TEST_ASSERT(atomic_read(&twice.enabled) == 1,
			    "%d of 2 threads enabled the pool",
			    atomic_read(&twice.enabled));
		kvm_vm_free(twice.vm);
	}
	twice.stop = true;
	pthread_barrier_wait(&twice.barrier);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}

static int get_policy(struct kvm_vm *vm, void *arg)
{
	return ioctl(vm->fd, KVM_GET_DIRTY_RING_POLICY, arg);
}

static int set_policy(struct kvm_vm *vm, void *arg)
{
	return ioctl(vm->fd, KVM_SET_DIRTY_RING_POLICY, arg);
}

static int mark_flags(struct kvm_vm *vm, uint32_t flags)
{
	struct kvm_mark_dirty mark = {
		.slot = FIRST_SLOT, .num_pages = 1, .flags = flags,
	};

	return __vm_ioctl(vm, KVM_MARK_DIRTY, &mark);
}

static int state_reserved(struct kvm_vm *vm, int i)
{
	struct kvm_dirty_ring_pool_state st = {};

	st.reserved[i] = 1;
	return __vm_ioctl(vm, KVM_GET_DIRTY_RING_POOL_STATE, &st);
}

static int state_flags(struct kvm_vm *vm, uint32_t flags)
{
	struct kvm_dirty_ring_pool_state st = { .flags = flags };

	return __vm_ioctl(vm, KVM_GET_DIRTY_RING_POOL_STATE, &st);
}

static int state_rings(struct kvm_vm *vm, uint64_t rings)
{
	struct kvm_dirty_ring_pool_state st = { .nr_rings = 1, .rings = rings };

	return __vm_ioctl(vm, KVM_GET_DIRTY_RING_POOL_STATE, &st);
}

static void test_errno_ioctl(int unused)
{
	void *bad = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	struct kvm_mark_dirty *ro = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_vm *vm;
	struct env e = {};
	int i, fd, closed, slots;
	uint64_t marked;

	env_init(&e, 2, 0);
	vm = e.vm;
	/* A state that a failing call could change. */
	__vm_mark_dirty(vm, FIRST_SLOT, 0, 10, NULL);

	step("policy");
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "no-such-policy"), ENOENT);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, ""), ENOENT);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru "), ENOENT);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lr"), ENOENT);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "0123456789abcdef0123456789abcdef"),
			  EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru:"), EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru:3"), EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru:16 "), EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru:+16"), EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lru:16\n"), EINVAL);
	expect_pool_error(vm, __vm_set_dirty_policy(vm, "lr:16"), ENOENT);
	expect_pool_error(vm, set_policy(vm, bad), EFAULT);
	expect_pool_error(vm, get_policy(vm, bad), EFAULT);

	step("reset");
	expect_pool_error(vm, __vm_reset_dirty_ring(vm, 2), EINVAL);
	expect_pool_error(vm, __vm_reset_dirty_ring(vm, INT_MAX), EINVAL);
	expect_pool_error(vm, __vm_reset_dirty_ring(vm, 1ul << 32), EINVAL);
	expect_pool_error(vm, __vm_reset_dirty_ring(vm, -1ul), EINVAL);

	step("eventfd");
	fd = vm_dirty_pool_eventfd(vm);
	closed = dup(fd);
	close(closed);
	expect_pool_error(vm, __vm_dirty_pool_eventfd(vm, fd, 1), EINVAL);
	expect_pool_error(vm, __vm_dirty_pool_eventfd(vm, closed, 0), EBADF);
	expect_pool_error(vm, __vm_dirty_pool_eventfd(vm, -2, 0), EBADF);
	expect_pool_error(vm, __vm_dirty_pool_eventfd(vm, vm->fd, 0), EINVAL);
	expect_pool_error(vm, ioctl(vm->fd, KVM_DIRTY_RING_POOL_EVENTFD, bad),
			  EFAULT);

	step("mark");
	expect_pool_error(vm, mark_flags(vm, 1), EINVAL);
	expect_pool_error(vm, mark_flags(vm, 1u << 31), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, 0, 0, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, 0xffff, 0, 1, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, 0xffff0001, 0, 1, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, 0x20001, 0, 1, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, slot_pages[0], 1, NULL),
			  EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, 0, slot_pages[0] + 1,
					      &marked), EINVAL);
	TEST_ASSERT(!marked, "EINVAL, and %lu pages marked", marked);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, 1, -1ul, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, -1ul, 2, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, FIRST_SLOT, 1ull << 63,
					      1ull << 63, NULL), EINVAL);
	/* Slot 0 is not logged. */
	expect_pool_error(vm, __vm_mark_dirty(vm, 0, 1ull << 40, 1, NULL), EINVAL);
	expect_pool_error(vm, __vm_mark_dirty(vm, 100, 0, 1, &marked), ENOENT);
	TEST_ASSERT(!marked, "ENOENT, and %lu pages marked", marked);
	slots = kvm_check_cap(KVM_CAP_NR_MEMSLOTS);
	expect_pool_error(vm, __vm_mark_dirty(vm, slots - 1, 0, 1, NULL), ENOENT);
	expect_pool_error(vm, __vm_mark_dirty(vm, slots, 0, 1, NULL), EINVAL);
	expect_pool_error(vm, ioctl(vm->fd, KVM_MARK_DIRTY, bad), EFAULT);
	/* The pages are marked, though KVM cannot tell. */
	*ro = (struct kvm_mark_dirty) { .slot = FIRST_SLOT, .num_pages = 1 };
	mprotect(ro, PAGE_SIZE, PROT_READ);
	expect_error(ioctl(vm->fd, KVM_MARK_DIRTY, ro), EFAULT);

	step("state");
	expect_pool_error(vm, state_flags(vm, 2), EINVAL);
	expect_pool_error(vm, state_flags(vm, 1u << 31), EINVAL);
	for (i = 0; i < 8; i++)
		expect_pool_error(vm, state_reserved(vm, i), EINVAL);
	expect_pool_error(vm, state_rings(vm, (uintptr_t)bad), EFAULT);
	expect_pool_error(vm, ioctl(vm->fd, KVM_GET_DIRTY_RING_POOL_STATE, bad),
			  EFAULT);

	step("the eventfd is still set");
	env_drain(&e);
	dirty_pool_eventfd_read(fd);
	env_mark_all(&e);
	env_wait_eventfd(fd);
	close(fd);
	munmap(bad, PAGE_SIZE);
	munmap(ro, PAGE_SIZE);
	env_fini(&e);
}

/* Each call fails with EIO in a process that did not create the VM. */
static void test_errno_child(int unused)
{
	struct kvm_dirty_ring_policy policy = { .name = "lru" };
	struct kvm_dirty_ring_pool_state st;
	struct env e = {};
	int status;
	pid_t pid;

	env_init(&e, 1, 0);
	pid = fork();
	TEST_ASSERT(pid >= 0, __KVM_SYSCALL_ERROR("fork()", pid));
	if (!pid) {
		expect_error(set_policy(e.vm, &policy), EIO);
		expect_error(get_policy(e.vm, &policy), EIO);
		expect_error(__vm_reset_dirty_ring(e.vm, 0), EIO);
		expect_error(__vm_dirty_pool_eventfd(e.vm, -1, 0), EIO);
		expect_error(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 1, NULL), EIO);
		expect_error(__vm_dirty_pool_state(e.vm, 0, &st, NULL, 0), EIO);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TEST_ASSERT(!status, "The child ended with status 0x%x", status);
	env_fini(&e);
}

/* Rings join with their vCPUs: without any, there is no room, and none to reset. */
static void test_errno_no_vcpu(int unused)
{
	struct rlimit limit, low;
	struct env e = {};
	int fd;

	env_init(&e, 0, 0);
	expect_error(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 1, NULL), EAGAIN);
	expect_pool_error(e.vm, __vm_reset_dirty_ring(e.vm, 0), EINVAL);
	TEST_ASSERT(!vm_reset_dirty_rings(e.vm), "Entries were reset without a ring");

	step("a vCPU that cannot be created");
	env_add_vcpu(&e);
	fd = dup(0);
	close(fd);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = fd;
	TEST_ASSERT(!setrlimit(RLIMIT_NOFILE, &low), "setrlimit(): %s", strerror(errno));
	expect_pool_error(e.vm, __vm_ioctl(e.vm, KVM_CREATE_VCPU, (void *)1ul), EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	env_get_state(&e);
	TEST_ASSERT(e.st.nr_rings == 1, "%u rings for one vCPU", e.st.nr_rings);
	env_add_vcpu(&e);
	env_run_round(&e, 500);
	env_fini(&e);
}

const struct test errno_tests[] = {
	{ "errno_cap",		test_errno_cap },
	{ "errno_ioctl",	test_errno_ioctl },
	{ "enable_twice",	test_enable_twice },
	{ "errno_child",	test_errno_child },
	{ "errno_no_vcpu",	test_errno_no_vcpu },
	{}
};
