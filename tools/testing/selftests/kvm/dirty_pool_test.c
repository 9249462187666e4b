// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM dirty ring pool test
 *
 * Each test runs in a process of its own and has a time limit: a test that
 * hangs or crashes fails, and the next one runs.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "dirty_pool_test.h"

#define TEST_SECONDS	90

static struct {
	const char *path;
	bool exists;
	char value[64];
} params[] = {
	{ PARAM_POOL }, { PARAM_POLICY }, { PARAM_FEP }, { PARAM_NX },
	{ PARAM_NX_RATIO }, { PARAM_NX_PERIOD },
};

/* What the test is doing; shared with the process that reports its result. */
static char *phase;
#define PHASE_MAX	160

const char *policy_module = "/lib/modules/dirty_ring_policy_random.ko";
bool policy_module_was_loaded;
const char *testmod_path = "/lib/modules/dirty_pool_testmod.ko";
static const char *without;

void __printf(1, 2) step(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(phase, PHASE_MAX, fmt, args);
	va_end(args);
}

void __noreturn __printf(1, 2) skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(phase, PHASE_MAX, fmt, args);
	va_end(args);
	exit(KSFT_SKIP);
}

int write_param(const char *path, const char *value)
{
	int err = 0, fd = open(path, O_WRONLY);

	if (fd < 0)
		return errno;
	if (write(fd, value, strlen(value)) < 0)
		err = errno;
	close(fd);
	return err;
}

bool read_param(const char *path, char value[64])
{
	int fd = open(path, O_RDONLY);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, value, 63);
		close(fd);
	}
	value[max(n, 0l)] = 0;
	value[strcspn(value, "\n")] = 0;
	return n > 0;
}

void nop_signal(int sig)
{
}

/* Tests run in this order. */
static const struct test * const lists[] = {
	report_tests,
	exit_tests,
	gate_tests,
	mark_tests,
	smm_tests,
	mark_event_tests,
	change_tests,
	early_tests,
	mapping_tests,
	hostile_tests,
	errno_tests,
	stat_tests,
	steal_time_tests,
	overflow_tests,
	string_tests,
	prefault_tests,
	reset_tests,
	race_tests,
	huge_race_tests,
	pml_tests,
	module_tests,
};

#define MAX_TESTS	128

static const struct test *tests[MAX_TESTS];
static int nr_tests;

static void list_tests(void)
{
	const struct test *test;
	int i;

	for (i = 0; i < ARRAY_SIZE(lists); i++) {
		for (test = lists[i]; test && test->name; test++) {
			TEST_ASSERT(nr_tests < MAX_TESTS, "Too many tests");
			tests[nr_tests++] = test;
		}
	}
}

/* Tests whose guests the emulator broke each time. */
static unsigned int emulator_faults;

static void run_test(const struct test *test, int repeats)
{
	time_t start = now();
	bool killed = false;
	int status;
	pid_t pid;

	phase[0] = 0;
	pid = fork();
	if (pid < 0)
		ksft_exit_fail_perror("fork()");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGUSR2, nop_signal);
		signal(SIGALRM, env_report_hang);
		alarm(TEST_SECONDS - 10);
		test->fn(test->arg);
		exit(KSFT_PASS);
	}

	while (!waitpid(pid, &status, WNOHANG)) {
		usleep(5000);
		if (now() - start > TEST_SECONDS && !killed) {
			killed = true;
			kill(pid, SIGKILL);
		}
		/* It is stuck in the kernel: go on without it. */
		if (now() - start > TEST_SECONDS + 20) {
			ksft_test_result_fail("%s # can't be killed, in: %s\n",
					      test->name, phase);
			return;
		}
	}

	if (!killed && exited_by_emulator_fault(status)) {
		if (repeats) {
			ksft_print_msg("%s: the emulator broke the guest, run it again\n",
				       test->name);
			run_test(test, repeats - 1);
			return;
		}
		emulator_faults++;
	}

	if (killed)
		ksft_test_result_fail("%s # no end after %d s, in: %s\n",
				      test->name, TEST_SECONDS, phase);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_PASS)
		ksft_test_result_pass("%s # %ld s\n", test->name,
				      (long)(now() - start));
	else if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		ksft_test_result_skip("%s: %s\n", test->name, phase);
	else
		ksft_test_result_fail("%s # %s %d, in: %s\n", test->name,
				      WIFSIGNALED(status) ? "signal" : "exit",
				      WIFSIGNALED(status) ? WTERMSIG(status) :
				      WEXITSTATUS(status),
				      phase[0] ? phase : "its start");
}

/* The fewest entries that a ring may have: a page of them, or twice the reserve. */
static uint32_t smallest_ring(void)
{
	uint64_t bytes, max = dirty_pool_max_size();

	for (bytes = getpagesize(); bytes <= max; bytes *= 2) {
		struct kvm_vm *vm = vm_create_barebones();
		int ret = __vm_enable_dirty_pool(vm, bytes, 0);

		kvm_vm_free(vm);
		if (!ret)
			return bytes / sizeof(struct kvm_dirty_gfn);
	}
	ksft_exit_fail_msg("The kernel accepts no ring size, errno %d\n", errno);
}

static bool is_asked_for(const struct test *test, const char *match)
{
	return strstr(test->name, match) &&
	       !(without && strstr(test->name, without));
}

static void __noreturn help(const char *name)
{
	printf("usage: %s [-p policy] [-t test] [-x test] [-s seed]\n"
	       "       [-m module] [-i module] [-lq]\n"
	       " -p: the policy to test (default: the kernel's)\n"
	       " -t: run only tests whose name contains this\n"
	       " -x: leave out tests whose name contains this\n"
	       " -s: the seed of all random numbers\n"
	       " -m: the module with the policy 'random' (default: %s)\n"
	       " -i: dirty_pool_testmod, which marks from interrupts (default: %s)\n"
	       " -q: quick: small sizes\n"
	       " -l: list the tests\n"
	       " -d N: lose each Nth entry in the harvester, to see tests fail\n",
	       name, policy_module, testmod_path);
	exit(KSFT_FAIL);
}

int main(int argc, char *argv[])
{
	const char *match = "";
	int i, j, c, n;

	list_tests();
	/* Fixed, to make failures reproducible. */
	env_opt.seed = 20191203;
	if (getenv("DIRTY_POOL_MODULE"))
		policy_module = getenv("DIRTY_POOL_MODULE");

	while ((c = getopt(argc, argv, "p:t:x:s:m:i:d:lqh")) != -1) {
		switch (c) {
		case 'p':
			env_opt.policy = optarg;
			break;
		case 't':
			match = optarg;
			break;
		case 'x':
			without = optarg;
			break;
		case 's':
			env_opt.seed = strtoul(optarg, NULL, 0);
			break;
		case 'm':
			policy_module = optarg;
			break;
		case 'i':
			testmod_path = optarg;
			break;
		case 'd':
			env_opt.drop = atoi_positive("Entries", optarg);
			break;
		case 'q':
			env_opt.quick = true;
			break;
		case 'l':
			for (i = 0; i < nr_tests; i++)
				puts(tests[i]->name);
			return 0;
		default:
			help(argv[0]);
		}
	}

	ksft_print_header();
	if (!kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_POOL))
		ksft_exit_skip("KVM_CAP_DIRTY_LOG_RING_POOL is not supported\n");

	phase = mmap(NULL, PHASE_MAX, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (phase == MAP_FAILED)
		ksft_exit_fail_perror("mmap()");
	ring_entries = smallest_ring();
	ksft_print_msg("seed %u, policy %s, %u entries per ring\n", env_opt.seed,
		       env_opt.policy ?: "as the kernel's default", ring_entries);

	for (i = 0, n = 0; i < nr_tests; i++)
		n += is_asked_for(tests[i], match);
	ksft_set_plan(n);

	for (i = 0; i < ARRAY_SIZE(params); i++)
		params[i].exists = read_param(params[i].path, params[i].value);
	policy_module_was_loaded = !access("/sys/module/dirty_ring_policy_random", F_OK);
	for (i = 0; i < nr_tests; i++) {
		if (!is_asked_for(tests[i], match))
			continue;
		run_test(tests[i], EMULATOR_REPEATS);
		/* A test that fails leaves them as they are. */
		for (j = 0; j < ARRAY_SIZE(params); j++) {
			if (params[j].exists)
				write_param(params[j].path, params[j].value);
		}
	}
	emulator_finished(emulator_faults);
}
