/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of dirty_pool_test share: their lists of tests, and what tests
 * need apart from a VM, which dirty_pool_env.h has.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_TEST_H
#define SELFTEST_KVM_DIRTY_POOL_TEST_H

#include "dirty_pool_env.h"

struct test {
	const char *name;	/* NULL: the end of a list */
	void (*fn)(int arg);
	int arg;
};

extern const struct test report_tests[];
extern const struct test exit_tests[];
extern const struct test gate_tests[];
extern const struct test mark_tests[];
extern const struct test mark_event_tests[];
extern const struct test change_tests[];
extern const struct test mapping_tests[];
extern const struct test hostile_tests[];
extern const struct test errno_tests[];
extern const struct test stat_tests[];
extern const struct test overflow_tests[];
extern const struct test prefault_tests[];
extern const struct test reset_tests[];
extern const struct test race_tests[];
extern const struct test module_tests[];

/* NULL on an architecture that has no such tests */
extern const struct test smm_tests[] __weak;
extern const struct test early_tests[] __weak;
extern const struct test steal_time_tests[] __weak;
extern const struct test string_tests[] __weak;
extern const struct test huge_race_tests[] __weak;
extern const struct test pml_tests[] __weak;

/* Tell what the test is doing, for the result of a test that fails. */
void __printf(1, 2) step(const char *fmt, ...);
void __noreturn __printf(1, 2) skip(const char *fmt, ...);

/* @full, or @quick if the command line asks for small sizes. */
static inline uint32_t scale(uint32_t full, uint32_t quick)
{
	return env_opt.quick ? quick : full;
}

static inline void need_vcpu_mark(void)
{
	if (!can_vcpu_mark())
		skip("no ioctl makes KVM mark pages for a vCPU");
}

/* KVM's module parameters.  Those that a test changes are restored after it. */
#define PARAM(name)	"/sys/module/kvm/parameters/" name
#define PARAM_POOL	PARAM("dirty_ring_pool")
#define PARAM_POLICY	PARAM("dirty_ring_policy")
#define PARAM_FEP	PARAM("force_emulation_prefix")
#define PARAM_NX	PARAM("nx_huge_pages")
#define PARAM_NX_RATIO	PARAM("nx_huge_pages_recovery_ratio")
#define PARAM_NX_PERIOD	PARAM("nx_huge_pages_recovery_period_ms")

bool read_param(const char *path, char value[64]);
/* Returns 0 or an errno. */
int write_param(const char *path, const char *value);

/* A handler of signals that only have to interrupt a call. */
void nop_signal(int sig);

#define expect_error(call, error)					\
do {									\
	int __ret, __err;						\
									\
	errno = 0;							\
	__ret = (call);							\
	__err = errno;							\
	TEST_ASSERT(__ret == -1 && __err == (error),			\
		    "%s: returned %d, errno %d (%s), not %s", #call,	\
		    __ret, __err, strerror(__err), #error);		\
} while (0)

/* The VM's statistic has that value, also in debugfs. */
void expect_stat(struct env *e, const char *name, uint64_t want);

/*
 * The module with the policy "random", and whether it was loaded before the first
 * test: a test whose guest the emulator breaks leaves it loaded.
 */
extern const char *policy_module;
extern bool policy_module_was_loaded;

/* dirty_pool_testmod, which marks pages from hard interrupts */
extern const char *testmod_path;

struct testmod {
	int fd;
	int module;
	bool loaded;		/* by this test */
};

void testmod_open(struct testmod *mod);
/* Make @times marks, on all CPUs, of the @nr_pages pages from @gpa on. */
void testmod_mark(struct testmod *mod, struct kvm_vm *vm, uint64_t gpa,
		  uint32_t nr_pages, uint32_t times);
void testmod_close(struct testmod *mod);

#endif /* SELFTEST_KVM_DIRTY_POOL_TEST_H */
