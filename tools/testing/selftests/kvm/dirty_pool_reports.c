// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every page that guests write is reported, also while vCPUs, policies or whole
 * VMs come and go.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dirty_pool_test.h"

static void test_reported(int nr_vcpus)
{
	uint64_t writes = scale(3000, 1200) / nr_vcpus;
	struct env e = {};
	int round;

	env_init(&e, nr_vcpus, 0);
	e.drop = env_opt.drop;
	for (round = 0; round < 3; round++) {
		step("round %d of writes", round);
		env_run_round(&e, writes);
		step("check after round %d", round);
		env_check(&e);
	}
	TEST_ASSERT(e.harvested, "Nothing was harvested");
	env_fini(&e);
}

static void test_reported_nostop(int nr_vcpus)
{
	struct env e = {};

	env_init(&e, nr_vcpus, KVM_DIRTY_RING_POOL_NOSTOP);
	e.drop = env_opt.drop;
	env_run_round(&e, scale(3000, 1200) / nr_vcpus);
	env_fini(&e);
}

/* The other tests prove nothing unless the check notices a loss. */
static void test_loss_is_detected(int unused)
{
	struct env e = {};
	uint32_t lost;

	env_init(&e, 2, 0);
	e.drop = 7;
	env_run_round(&e, 1000);
	lost = env_count_lost(&e);
	TEST_ASSERT(lost, "The harvester dropped each 7th entry, but no page was lost");
	env_free(&e);
}

const struct test report_tests[] = {
	{ "reported_1_vcpu",	test_reported,		1 },
	{ "reported_2_vcpus",	test_reported,		2 },
	{ "reported_4_vcpus",	test_reported,		4 },
	{ "reported_8_vcpus",	test_reported,		8 },
	{ "reported_nostop",	test_reported_nostop,	4 },
	{ "loss_is_detected",	test_loss_is_detected },
	{}
};

static void test_add_vcpus(int unused)
{
	uint32_t n = 0;
	struct env e = {};

	env_init(&e, 2, 0);
	env_set_writes(&e, scale(1200, 400));
	env_start_vcpus(&e);
	while (atomic_read(&e.running) || e.nr_vcpus < MAX_VCPUS) {
		env_harvest_some(&e);
		if (++n % 16 || e.nr_vcpus == MAX_VCPUS)
			continue;
		step("vCPU %d is added", e.nr_vcpus);
		env_add_vcpu(&e);
		env_get_state(&e);
		TEST_ASSERT(e.st.nr_rings == e.nr_vcpus, "%u rings for %d vCPUs",
			    e.st.nr_rings, e.nr_vcpus);
		env_start_vcpu(&e, e.nr_vcpus - 1);
	}
	env_join_vcpus(&e);
	env_check(&e);

	step("all of them run");
	env_run_round(&e, scale(500, 100));
	for (n = 0; n < MAX_VCPUS; n++)
		TEST_ASSERT(e.rings[n].vcpu_id == n, "Ring %u belongs to vCPU %u", n,
			    e.rings[n].vcpu_id);
	env_fini(&e);
}

static void *policy_worker(void *data)
{
	struct guest_random_state rng = new_guest_random_state(env_opt.seed);
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	struct env *e = data;

	while (atomic_read(&e->running)) {
		uint32_t i = guest_random_u32(&rng) % NR_DIRTY_POOL_POLICIES;
		char want[KVM_DIRTY_RING_POLICY_NAME_MAX];

		/* Every other time with a quantum that no policy has by itself. */
		snprintf(want, sizeof(want), "%s%s", dirty_pool_policies[i],
			 guest_random_u32(&rng) % 2 ? ":16" : "");
		vm_set_dirty_policy(e->vm, want);
		vm_get_dirty_policy(e->vm, name);
		TEST_ASSERT(!strcmp(name, want), "The policy is %s after it was set to %s",
			    name, want);
		usleep(2000);
	}
	return NULL;
}

static void test_policy_switch(int unused)
{
	struct env e = {};
	pthread_t thread;

	env_init(&e, 4, 0);
	env_set_writes(&e, scale(2000, 500));
	env_start_vcpus(&e);
	pthread_create(&thread, NULL, policy_worker, &e);
	env_harvest_until_done(&e);
	pthread_join(thread, NULL);
	env_fini(&e);
}

static void __noreturn run_to_be_killed(int *ready)
{
	struct env e = {};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	env_init(&e, 2, 0);
	env_set_writes(&e, UINT_MAX);
	env_start_vcpus(&e);
	WRITE_ONCE(*ready, 1);
	for (;;) {
		env_harvest_some(&e);
		__vm_mark_dirty(e.vm, FIRST_SLOT, env_random(&e, 100), 20, NULL);
	}
}

static void test_killed(int unused)
{
	struct guest_random_state rng = new_guest_random_state(env_opt.seed);
	int *ready = mmap(NULL, sizeof(*ready), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int i, status, n = scale(10, 4);
	struct env e = {};
	pid_t pid;

	for (i = 0; i < n; i++) {
		step("VM %d of %d", i, n);
		WRITE_ONCE(*ready, 0);
		pid = fork();
		TEST_ASSERT(pid >= 0, __KVM_SYSCALL_ERROR("fork()", pid));
		if (!pid)
			run_to_be_killed(ready);
		wait_for(READ_ONCE(*ready) ||
			 waitpid(pid, &status, WNOHANG), "the VM's start");
		usleep(guest_random_u32(&rng) % 30000);
		kill(pid, SIGKILL);
		wait_for(waitpid(pid, &status, WNOHANG), "the VM's death");
		TEST_ASSERT(READ_ONCE(*ready), "The VM did not start");
	}

	step("a VM afterwards");
	env_init(&e, 2, 0);
	env_run_round(&e, 500);
	env_fini(&e);
}

const struct test change_tests[] = {
	{ "add_vcpus",		test_add_vcpus },
	{ "policy_switch",	test_policy_switch },
	{ "killed",		test_killed },
	{}
};
