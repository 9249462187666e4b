// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module parameters, a policy in a module, and VMs without a pool.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "dirty_pool_test.h"

static void test_module_params(int unused)
{
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX], before[64], after[64];
	uint64_t size = ring_entries * sizeof(struct kvm_dirty_gfn);
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
		.args = { size, KVM_DIRTY_RING_POOL_NOSTOP },
	};
	struct kvm_dirty_ring_policy policy;
	struct env e = { .per_vcpu = true };
	struct kvm_vm *vm;
	int i, err;

	if (!read_param(PARAM_POLICY, before) || write_param(PARAM_POLICY, before) ||
	    write_param(PARAM_POOL, "1"))
		skip("the parameters are not writable");

	step("the default policy");
	err = write_param(PARAM_POLICY, "no-such-policy");
	read_param(PARAM_POLICY, after);
	TEST_ASSERT(err == ENOENT && !strcmp(before, after),
		    "Setting an unknown policy as default: errno %d, the default is '%s'",
		    err, after);
	/* Too long for a policy, and not cut to the name of one. */
	err = write_param(PARAM_POLICY, "lru                                x");
	TEST_ASSERT(err == ENOENT, "Setting a name that is too long: errno %d", err);
	for (i = 0; i < NR_DIRTY_POOL_POLICIES; i++) {
		const char *want = dirty_pool_policies[i];
		char line[32];

		/* With a newline, as echo writes it. */
		snprintf(line, sizeof(line), "%s\n", want);
		err = write_param(PARAM_POLICY, line);
		TEST_ASSERT(!err, "Can't make %s the default: %s", want,
			    strerror(err));
		read_param(PARAM_POLICY, after);
		TEST_ASSERT(!strcmp(after, want),
			    "The default is '%s', not %s", after, want);
		vm = vm_create_barebones();
		TEST_ASSERT(!__vm_enable_dirty_pool(vm, size, 0),
			    "Can't enable the pool, errno %d", errno);
		vm_get_dirty_policy(vm, name);
		TEST_ASSERT(!strcmp(name, want), "A VM has %s, not %s",
			    name, want);
		kvm_vm_free(vm);
	}

	step("a VMM with per-vCPU rings and KVM_DIRTY_LOG_INITIALLY_SET");
	vm = vm_create_barebones();
	vm_enable_cap(vm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 3);
	vm_enable_cap(vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, size);
	expect_error(__vm_ioctl(vm, KVM_GET_DIRTY_RING_POLICY, &policy), EINVAL);
	kvm_vm_free(vm);

	step("a VMM with per-vCPU rings and a value in args[1]");
	vm = vm_create_barebones();
	vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
	vm_dirty_pool_state(vm, 0, &e.st, NULL, 0);
	TEST_ASSERT(!e.st.cap_flags, "It has flags 0x%x", e.st.cap_flags);
	kvm_vm_free(vm);

	if (kvm_has_cap(KVM_CAP_DIRTY_LOG_RING)) {
		step("a VMM that knows only KVM_CAP_DIRTY_LOG_RING");
		vm = vm_create_barebones();
		vm_enable_cap(vm, KVM_CAP_DIRTY_LOG_RING, size);
		vm_get_dirty_policy(vm, name);
		kvm_vm_free(vm);
	}

	step("a VMM with per-vCPU rings gets a pool");
	if (env_opt.policy)
		write_param(PARAM_POLICY, env_opt.policy);
	env_init(&e, 3, 0);
	env_get_state(&e);
	TEST_ASSERT(e.st.nr_rings == 3 && !e.st.cap_flags,
		    "%u rings, flags 0x%x", e.st.nr_rings, e.st.cap_flags);
	if (env_opt.policy) {
		vm_get_dirty_policy(e.vm, name);
		TEST_ASSERT(!strcmp(name, env_opt.policy), "The VM has %s, not %s",
			    name, env_opt.policy);
	}
	env_run_round(&e, 500);
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed, "The pool was not used");
	env_fini(&e);
}

/* Does a record since the last one that was read contain this? */
static bool kernel_log_has(int fd, const char *text)
{
	char record[2048];
	ssize_t n;

	while ((n = read(fd, record, sizeof(record) - 1)) > 0) {
		record[n] = 0;
		if (strstr(record, text))
			return true;
	}
	return false;
}

/* Only a VMM that has not asked for the pool needs the kernel log to learn of it. */
static void test_overflow_logged(int unused)
{
	int i, fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *text = "dirty ring pool overflow";

	need_vcpu_mark();
	if (fd < 0 || write_param(PARAM_POOL, "1"))
		skip("no kernel log, or the parameters are not writable");
	for (i = 0; i < 2; i++) {
		struct env e = { .per_vcpu = i };

		step(i ? "a VMM with per-vCPU rings" : "a VMM with a pool");
		lseek(fd, 0, SEEK_END);
		env_init(&e, 1, 0);
		do {
			vcpu_mark(e.vcpus[0]);
			env_get_state(&e);
		} while (!(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW));
		if (i) {
			wait_for(kernel_log_has(fd, text), "a message in the kernel log");
		} else {
			usleep(100000);
			TEST_ASSERT(!kernel_log_has(fd, text),
				    "The kernel log tells what KVM has told");
		}
		env_free(&e);
	}
	close(fd);
}

static void run_policy(const char *name)
{
	struct env e = {};

	env_init(&e, 3, 0);
	vm_set_dirty_policy(e.vm, name);
	env_run_round(&e, 500);
	env_fini(&e);
}

static long unload(void)
{
	return syscall(SYS_delete_module, "dirty_ring_policy_random", O_NONBLOCK);
}

static long load(int fd)
{
	return syscall(SYS_finit_module, fd, "", 0);
}

static void test_policy_module(int unused)
{
	struct env e = {};
	int fd;

	if (access("/proc/modules", F_OK))
		skip("a kernel without modules");
	fd = open(policy_module, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		skip("no %s", policy_module);
	TEST_ASSERT(!load(fd) || errno == EEXIST,
		    "Can't load the module, errno %d", errno);
	env_init(&e, 2, 0);
	step("in use");
	vm_set_dirty_policy(e.vm, "random");
	TEST_ASSERT(unload() && (errno == EWOULDBLOCK || errno == EBUSY),
		    "The module of a policy in use was unloaded, errno %d", errno);
	env_run_round(&e, 500);
	env_check(&e);

	step("switched away");
	vm_set_dirty_policy(e.vm, "round-robin");
	wait_for(!unload(), "the module to unload after a switch");
	expect_error(__vm_set_dirty_policy(e.vm, "random"), ENOENT);
	env_run_round(&e, 500);
	env_fini(&e);

	step("VM gone");
	TEST_ASSERT(!load(fd), "Can't load the module again, errno %d", errno);
	run_policy("random");
	wait_for(!unload(), "the module to unload after the VM's end");
	TEST_ASSERT(!policy_module_was_loaded || !load(fd),
		    "Can't load the module, errno %d", errno);
	close(fd);
}

static void test_without_pool(int unused)
{
	struct kvm_dirty_ring_policy policy;
	struct kvm_dirty_ring_pool_state st;
	struct env e = { .per_vcpu = true };
	struct kvm_vm *vm;
	char value[64];
	int i;

	if (read_param(PARAM_POOL, value) && value[0] == 'Y' &&
	    write_param(PARAM_POOL, "0"))
		skip("kvm.dirty_ring_pool is set");

	for (i = 0; i < 2; i++) {
		step(i ? "per-vCPU rings" : "no rings");
		if (i) {
			env_init(&e, 4, 0);
			vm = e.vm;
		} else {
			vm = vm_create_barebones();
		}
		expect_error(__vm_set_dirty_policy(vm, "lru"), EINVAL);
		expect_error(__vm_ioctl(vm, KVM_GET_DIRTY_RING_POLICY, &policy),
			     EINVAL);
		expect_error(__vm_dirty_pool_eventfd(vm, -1, 0), EINVAL);
		expect_error(__vm_reset_dirty_ring(vm, 0), EINVAL);
		expect_error(__vm_mark_dirty(vm, FIRST_SLOT, 0, 1, NULL), EINVAL);
		expect_error(__vm_dirty_pool_state(vm, 0, &st, NULL, 0), EINVAL);
		if (!i) {
			expect_error(__vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL),
				     EINVAL);
			kvm_vm_free(vm);
		}
	}

	for (i = 0; i < 2; i++) {
		step("per-vCPU rings, round %d", i);
		env_run_round(&e, scale(2000, 400));
		env_check(&e);
	}
	env_fini(&e);
}

const struct test module_tests[] = {
	{ "module_params",	test_module_params },
	{ "policy_module",	test_policy_module },
	{ "without_pool",	test_without_pool },
	{ "overflow_logged",	test_overflow_logged },
	{}
};
