// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation that a call of the pool makes fails once.
 *
 * The Nth allocation of a call fails, for N from 1 on, until the call makes fewer.  A
 * call that fails for it returns ENOMEM and has changed nothing: the same call then
 * succeeds, and the VM works.  Nothing is leaked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>

#include "../kselftest.h"
#include "dirty_pool_emulator.h"
#include "dirty_pool_raw.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUG		"/sys/kernel/debug/"
/* More than any call makes */
#define MAX_NTH		500

static uint32_t smallest;
static int fail_nth, efd, faults;
static char default_policy[64];

static bool fault_at(int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", nth);

	return pwrite(fail_nth, text, n, 0) == n;
}

/* Did the call make enough allocations to fail one? */
static bool fault_happened(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		return false;
	fault_at(0);
	return atoi(text) == 0;
}

/* What a call finds */
enum state { NEW_VM, POOL, ONE_VCPU, TWO_VCPUS, MARKED };

static bool prepare(struct raw_client *c, enum state state)
{
	int i;

	if (raw_open(c, 4, smallest))
		return false;
	if (state >= POOL && raw_enable_cap(c->vm, KVM_CAP_DIRTY_LOG_RING_POOL, smallest, 0))
		return false;
	if (raw_set_slots(c->vm, c->mem))
		return false;
	for (i = ONE_VCPU; i <= (int)state && i <= TWO_VCPUS; i++)
		if (raw_add_vcpu(c))
			return false;
	if (state < MARKED)
		return true;
	/* The ring looks harvested, but is not reset. */
	if (raw_mark(c->vm, RAW_DATA_SLOT, 0, 20) != 20)
		return false;
	for (i = 0; i < (int)c->entries; i++)
		if (c->ring[0][i].flags)
			c->ring[0][i].flags = KVM_DIRTY_GFN_F_RESET;
	return true;
}

/* Enough of a VM, whatever it has already: nothing is lost and nothing invented. */
static int works(struct raw_client *c)
{
	int i, ret;

	while (c->nr_vcpus < 3)
		if (raw_add_vcpu(c))
			return 1;
	for (i = 0; i < c->nr_vcpus; i++) {
		munmap(c->ring[i], smallest);
		c->ring[i] = raw_map_ring(c->vcpu[i], smallest);
		if (c->ring[i] == MAP_FAILED)
			return 1;
		c->fetch[i] = 0;
	}
	/* Marks of before are in other rings now, or in none. */
	if (!raw_drain(c) || !raw_drain(c))
		return 1;
	memset(c->found, 0, sizeof(c->found));
	if (raw_mark(c->vm, RAW_DATA_SLOT, 7, 30) != 30 || !raw_found(c, 7, 30))
		return 1;
	for (i = 0; i < c->nr_vcpus; i++) {
		ret = raw_write(c, i, 50, 100);
		if (ret)
			return ret;
		if (!raw_found(c, 50, 100))
			return 1;
	}
	return 0;
}

static int call_enable(struct raw_client *c, const char *policy)
{
	return raw_enable_cap(c->vm, KVM_CAP_DIRTY_LOG_RING_POOL, smallest, 0);
}

static int call_forced(struct raw_client *c, const char *policy)
{
	return raw_enable_cap(c->vm, KVM_CAP_DIRTY_LOG_RING, smallest, 0);
}

/* Not raw_add_vcpu(): the mapping is a call of its own. */
static int call_create_vcpu(struct raw_client *c, const char *policy)
{
	int fd = ioctl(c->vm, KVM_CREATE_VCPU, (unsigned long)c->nr_vcpus);

	if (fd < 0)
		return -1;
	c->vcpu[c->nr_vcpus] = fd;
	c->ring[c->nr_vcpus++] = MAP_FAILED;
	return 0;
}

static int call_map(struct raw_client *c, const char *policy)
{
	void *ring = raw_map_ring(c->vcpu[0], smallest);

	return ring == MAP_FAILED ? -1 : munmap(ring, smallest);
}

static int call_unmap(struct raw_client *c, const char *policy)
{
	return munmap(c->ring[0], smallest);
}

static int call_policy(struct raw_client *c, const char *policy)
{
	return raw_set_policy(c->vm, policy);
}

static int call_param(struct raw_client *c, const char *policy)
{
	return write_file(PARAM("dirty_ring_policy"), policy) ? 0 : -1;
}

static int call_eventfd(struct raw_client *c, const char *policy)
{
	return raw_set_eventfd(c->vm, efd);
}

static int call_mark(struct raw_client *c, const char *policy)
{
	return raw_mark(c->vm, RAW_DATA_SLOT, 0, 100) == 100 ? 0 : -1;
}

static int call_reset(struct raw_client *c, const char *policy)
{
	return ioctl(c->vm, KVM_RESET_DIRTY_RINGS, 0) < 0 ? -1 : 0;
}

static int call_reset_one(struct raw_client *c, const char *policy)
{
	return ioctl(c->vm, KVM_RESET_DIRTY_RING, 0) < 0 ? -1 : 0;
}

static int call_state(struct raw_client *c, const char *policy)
{
	struct kvm_dirty_ring_state rings[4];
	struct kvm_dirty_ring_pool_state state;

	return raw_get_state(c->vm, 0, &state, rings, 4);
}

static int call_stats(struct raw_client *c, const char *policy)
{
	char text[8192];
	int fd = ioctl(c->vm, KVM_GET_STATS_FD, 0), ret;

	if (fd < 0)
		return -1;
	ret = read(fd, text, sizeof(text));
	close(fd);
	return ret > 0 ? 0 : -1;
}

static int call_run(struct raw_client *c, const char *policy)
{
	return raw_write(c, 0, 0, RAW_DATA_PAGES);
}

static int call_prefault(struct raw_client *c, const char *policy)
{
	struct kvm_pre_fault_memory range = {
		.gpa = RAW_DATA_GPA,
		.size = 64 * RAW_PAGE,
	};

	/* Where paging is not two-dimensional there is no such call. */
	return ioctl(c->vcpu[0], KVM_PRE_FAULT_MEMORY, &range) && errno != EOPNOTSUPP ? -1 : 0;
}

static int call_relog(struct raw_client *c, const char *policy)
{
	return raw_set_slot(c->vm, RAW_DATA_SLOT, 0, RAW_DATA_GPA, RAW_DATA_PAGES * RAW_PAGE,
			    c->mem + RAW_CODE_PAGES * RAW_PAGE) ?: raw_set_slots(c->vm, c->mem);
}

static const struct test {
	const char *name;
	int (*call)(struct raw_client *c, const char *policy);
	enum state state;
	const char *policy;
	bool touches;		/* KVM touches user memory, which fails with EFAULT */
} tests[] = {
	{ "enable/lru", call_enable, NEW_VM, "lru" },
	{ "enable/emptiest", call_enable, NEW_VM, "emptiest" },
	{ "enable/round-robin", call_enable, NEW_VM, "round-robin" },
	{ "enable/last-used", call_enable, NEW_VM, "last-used" },
	{ "enable/random", call_enable, NEW_VM, "random" },
	{ "forced", call_forced, NEW_VM },
	{ "create_vcpu/first", call_create_vcpu, POOL },
	{ "create_vcpu/next", call_create_vcpu, MARKED },
	{ "map", call_map, ONE_VCPU },
	{ "unmap", call_unmap, MARKED },
	{ "policy/lru", call_policy, MARKED, "lru:16" },
	{ "policy/emptiest", call_policy, MARKED, "emptiest" },
	{ "policy/round-robin", call_policy, MARKED, "round-robin" },
	{ "policy/last-used", call_policy, MARKED, "last-used" },
	{ "policy/random", call_policy, MARKED, "random" },
	{ "param", call_param, NEW_VM, "emptiest" },
	{ "eventfd", call_eventfd, TWO_VCPUS },
	{ "mark", call_mark, TWO_VCPUS },
	{ "reset", call_reset, MARKED },
	{ "reset_one", call_reset_one, MARKED },
	{ "state", call_state, MARKED },
	{ "stats", call_stats, MARKED },
	{ "run", call_run, TWO_VCPUS, NULL, true },
	{ "prefault", call_prefault, TWO_VCPUS, NULL, true },
	{ "relog", call_relog, MARKED },
};

/* The Nth allocation fails: 0 if the call makes fewer, 1 if all is well, -1 if not. */
static int one(const struct test *test, int nth)
{
	struct raw_client c;
	int ret, err, tries;
	bool fault;

	for (tries = 0; tries < EMULATOR_REPEATS; tries++) {
		if (!prepare(&c, test->state)) {
			ksft_print_msg("%s: no VM, errno %d\n", test->name, errno);
			return -1;
		}
		fault_at(nth);
		errno = 0;
		ret = test->call(&c, test->policy);
		err = errno;
		fault = fault_happened();
		if (ret && ret != EMULATOR_FAULT && !fault) {
			ksft_print_msg("%s: returned %d, errno %d, without a fault\n",
				       test->name, ret, err);
			return -1;
		}
		if (ret == -1 && err != ENOMEM && !(test->touches && err == EFAULT)) {
			ksft_print_msg("%s: allocation %d failed, errno %d (%s)\n",
				       test->name, nth, err, strerror(err));
			return -1;
		}
		if (ret == -1 && test->call(&c, test->policy)) {
			ksft_print_msg("%s: allocation %d failed, then the call again, errno %d\n",
				       test->name, nth, errno);
			return -1;
		}
		/* A VM with a pool, or one that can still have one */
		if (test->call == call_param)
			ret = raw_enable_cap(c.vm, KVM_CAP_DIRTY_LOG_RING_POOL, smallest, 0);
		if (ret != EMULATOR_FAULT)
			ret = works(&c);
		raw_close(&c);
		if (ret == EMULATOR_FAULT)
			continue;
		if (ret) {
			ksft_print_msg("%s: allocation %d failed, and the VM does not work\n",
				       test->name, nth);
			return -1;
		}
		faults += fault;
		return fault;
	}
	ksft_print_msg("%s: the emulator broke the guest each time\n", test->name);
	return -1;
}

static bool run(const struct test *test, int log)
{
	const char *param = test->call == call_enable ? test->policy : "lru";
	struct remains before;
	int nth, step, ret = 1;
	bool good;

	if (!write_file(PARAM("dirty_ring_policy"), param)) {
		ksft_print_msg("%s: no such policy\n", test->name);
		return false;
	}
	write_file(PARAM("dirty_ring_pool"), test->call == call_forced ? "1" : "0");
	remains_count(&before);
	/* Most of what these allocate is not the pool's. */
	step = test->touches ? 7 : 1;
	for (nth = 1; ret > 0 && nth < MAX_NTH; nth += step)
		ret = one(test, nth);
	write_file(PARAM("dirty_ring_policy"), default_policy);
	write_file(PARAM("dirty_ring_pool"), "0");
	good = !ret && remains_gone(&before);
	if (good)
		ksft_print_msg("%s: %d allocations failed\n", test->name, (nth - 1) / step - 1);
	return !log_trouble(log) && good;
}

static bool enable_faults(void)
{
	return write_file(DEBUG "failslab/ignore-gfp-wait", "N") &&
	       write_file(DEBUG "failslab/verbose", "0") &&
	       write_file(DEBUG "fail_page_alloc/ignore-gfp-wait", "N") &&
	       write_file(DEBUG "fail_page_alloc/min-order", "0") &&
	       write_file(DEBUG "fail_page_alloc/verbose", "0");
}

/* An argument picks the tests that have it in their name. */
int main(int argc, char *argv[])
{
	const char *match = argc > 1 ? argv[1] : "";
	int kvm, log, leaked, nr = 0;
	bool loaded;
	uint32_t i;

	ksft_print_header();
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING_POOL) <= 0)
		ksft_exit_skip("KVM_CAP_DIRTY_LOG_RING_POOL is not supported\n");
	smallest = raw_smallest_ring(kvm);
	close(kvm);
	fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (fail_nth < 0 || !enable_faults())
		ksft_exit_skip("the kernel has no FAILSLAB, FAIL_PAGE_ALLOC and their debugfs\n");
	efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	log = log_open();
	/*
	 * vmalloc() dumps the stack when it fails.  Keep that off the console: what the
	 * kernel logs is looked at here.
	 */
	klogctl(8, NULL, 1);

	read_file(PARAM("dirty_ring_policy"), default_policy, sizeof(default_policy));
	default_policy[strcspn(default_policy, "\n")] = 0;
	loaded = raw_load_policy();
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		nr += !!strstr(tests[i].name, match);
	ksft_set_plan(nr + 2);
	leaks_forget();
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		if (strstr(tests[i].name, match))
			ksft_test_result(run(&tests[i], log), "%s\n", tests[i].name);
	ksft_test_result(faults, "faults: %d\n", faults);
	/* All of it was looked at.  What follows is for the console. */
	klogctl(5, NULL, 0);
	klogctl(7, NULL, 0);
	leaked = leaks_count();
	if (leaked < 0)
		ksft_test_result_skip("leaks: the kernel has no kmemleak\n");
	else
		ksft_test_result(!leaked, "leaks\n");
	if (loaded)
		raw_unload_policy();
	ksft_finished();
}
