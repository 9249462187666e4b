// SPDX-License-Identifier: GPL-2.0-only
/*
 * migrate_test - does a migration keep every page, also when something breaks?
 *
 * TAP.  Each test is a process of its own, which is the source and has the
 * destination as its child, or the other way round.  "Lost" means: memory
 * differs when the guest stands still, or the guest itself finds a page whose
 * stamp is not the last that it made.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "migrate.h"

#define TIMEOUT_S	40
/* Guest-physical pages that neither the guest nor its device uses */
#define CLOCK_PAGE_A	0x40000u
#define CLOCK_PAGE_B	0x41000u
#define MSR_WALL_CLOCK	0x4b564d00u	/* MSR_KVM_WALL_CLOCK_NEW */

static const struct vm_config small = {
	.nr_vcpus = 2,
	.memory = 8u << 20,
	.workload = GUEST_SKEWED,
	.hot = 256,
	.seed = 1,
	.device_pages = 256,
	.device_share = 25,
	.ring_entries = 256,
	.period_ms = 50,
};

static const struct migrate_config quick = {
	.bandwidth = 16u << 20,
	.downtime_ms = 30,
	.max_rounds = 4,
	.verify = true,
	.patience_s = 10,
	.after_ms = 100,
};

static struct vm vm;

#define check(condition, ...)						\
	do {								\
		if (!(condition)) {					\
			fail(NULL, __VA_ARGS__);			\
			_exit(VM_FAILED);				\
		}							\
	} while (0)

/* -- What the tests are made of */

static void *watch(void *arg)
{
	const struct timespec limit = { .tv_sec = TIMEOUT_S };

	(void)arg;
	nanosleep(&limit, NULL);
	fail(NULL, "not done after %d s", TIMEOUT_S);
	vm_expired(&vm);
}

static void start_watch(void)
{
	pthread_t thread;

	check(!pthread_create(&thread, NULL, watch, NULL), "no thread");
	pthread_detach(thread);
}

static struct vm_config config_of(const char *mode)
{
	struct vm_config config = small;

	check(!vm_parse_mode(&config, mode), "mode %s", mode);
	return config;
}

static void start_guest(const char *mode)
{
	struct vm_config config = config_of(mode);

	start_watch();
	check(!vm_create(&vm, &config, true) && !vm_start(&vm), "no guest");
	vm_resume(&vm);
	vm_wait_filled(&vm, TIMEOUT_S / 2);
}

/* Like those of the program, a destination tracks nothing. */
static void __attribute__((noreturn)) good_destination(int fd, int arg)
{
	struct vm_config config = config_of("bitmap");
	int ret;

	(void)arg;
	start_watch();
	ret = migrate_in(fd, &vm, &config, &quick);
	vm_free(&vm);
	_exit(ret ? VM_FAILED : VM_OK);
}

typedef void (*destination_fn)(int fd, int arg);

static pid_t start_destination(destination_fn destination, int arg, int *fd)
{
	int fds[2];
	pid_t child;

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "no socket");
	fflush(stdout);
	child = fork();
	check(child >= 0, "can't fork");
	if (!child) {
		close(fds[0]);
		destination(fds[1], arg);
		_exit(VM_FAILED);
	}
	close(fds[1]);
	*fd = fds[0];
	return child;
}

/* A destination that the emulator broke is none that failed. */
static void end_destination(pid_t child, int fd, bool expect_good)
{
	int status;

	close(fd);
	check(waitpid(child, &status, 0) == child, "waitpid() failed");
	if (WIFEXITED(status) && WEXITSTATUS(status) == VM_EMULATOR_FAULT)
		_exit(VM_EMULATOR_FAULT);
	check(!expect_good || (WIFEXITED(status) && !WEXITSTATUS(status)),
	      "the destination ended with status 0x%x", status);
}

/* Migrate the guest for good, and see that all of it arrived. */
static void migrate_well(struct migration *m, migrate_round_fn on_round)
{
	pid_t child;
	int fd, ret;

	child = start_destination(good_destination, 0, &fd);
	*m = (struct migration){
		.vm = &vm, .fd = fd, .config = quick, .on_round = on_round,
	};
	ret = migrate_out(m);
	end_destination(child, fd, !ret);
	check(!ret, "the migration failed");
	check(!m->unequal && !m->result.bad, "%llu pages differ, %llu are bad",
	      m->unequal, m->result.bad);
	check(m->result.stamps, "the guest does nothing at the destination");
	check(m->pages_sent >= vm.nr_pages, "%llu of %lu pages sent", m->pages_sent,
	      vm.nr_pages);
}

/* -- Memory is equal, whatever tracks and whoever harvests */

/* So that there is something to be found when the guest stands still */
static int wait_for_writes(struct migration *m, void *arg)
{
	unsigned int stamps = vm_stamps(&vm, 0);

	(void)m;
	(void)arg;
	while (vm_stamps(&vm, 0) == stamps)
		usleep(1000);		/* ...or the watch ends it */
	return 0;
}

static void test_equal(const char *mode)
{
	struct kvm_dirty_ring_pool_state state;
	struct migration m;
	__u64 full = 0, parked = 0;
	unsigned int i;

	start_guest(mode);
	migrate_well(&m, wait_for_writes);
	for (i = 0; i < vm.nr_vcpus; i++) {
		full += vm.vcpus[i].full_exits;
		parked += vm.vcpus[i].parked_exits;
	}
	check(vm.harvest.pages && vm.device_writes, "nothing was dirtied meanwhile");
	check(vm.config.tracker != HARVEST_BITMAP || !full, "%llu exits without rings", full);
	check(!vm.config.nostop || !parked, "%llu exits for parked rings", parked);
	if (vm.config.tracker == HARVEST_POOL) {
		check(!harvest_pool_state(&vm.harvest, &state), "no state");
		check(state.pushed == vm.harvest.pages, "%llu pushed, %llu harvested",
		      state.pushed, vm.harvest.pages);
		check(!state.overflows && !vm.all_dirty, "OVERFLOW");
	}
	vm_free(&vm);
}

/* -- The source is killed in the middle of sending */

/* As far as is needed to get half of memory */
static void read_half(int fd)
{
	struct wire_hello hello = { };
	struct wire_message message;
	static char waste[1u << 20];
	struct iovec iov;
	__u64 pages = 0;

	check(!wire_time_limit(fd, TIMEOUT_S) &&
	      !wire_expect(fd, WIRE_HELLO, NULL, &hello, sizeof(hello)) &&
	      !wire_send(fd, WIRE_HELLO, 0, &hello, sizeof(hello)), "no HELLO");
	while (pages < hello.memory / VM_PAGE_SIZE / 2) {
		check(!wire_next(fd, &message) && message.type == WIRE_PAGES &&
		      message.bytes <= sizeof(waste), "no pages");
		iov.iov_base = waste;
		iov.iov_len = message.bytes;
		check(!wire_readv(fd, &iov, 1), "no pages");
		pages += message.arg;
	}
}

static void test_killed(const char *mode)
{
	struct migration m;
	int fds[2], status;
	pid_t source;

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), "no socket");
	fflush(stdout);
	source = fork();
	check(source >= 0, "can't fork");
	if (!source) {
		close(fds[1]);
		start_guest(mode);
		m = (struct migration){ .vm = &vm, .fd = fds[0], .config = quick };
		migrate_out(&m);
		_exit(VM_FAILED);
	}
	close(fds[0]);
	read_half(fds[1]);
	kill(source, SIGKILL);
	check(waitpid(source, &status, 0) == source, "waitpid() failed");
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "the source ended with status 0x%x before it was killed", status);
	close(fds[1]);

	/* Whatever it left behind in KVM, the next one is not held up by it. */
	test_equal(mode);
}

/* -- The destination stops reading, goes away, or never becomes ready */

enum bad_destination {
	STOPS_READING,
	GOES_AWAY,
	NEVER_READY,
};

static void bad_destination(int fd, int how)
{
	struct wire_message message;
	static char waste[1u << 20];
	struct iovec iov;

	read_half(fd);
	if (how == GOES_AWAY)
		_exit(VM_OK);
	while (how == NEVER_READY && !wire_next(fd, &message)) {
		iov.iov_base = waste;
		iov.iov_len = message.bytes;
		if (message.type == WIRE_COMPLETE || wire_readv(fd, &iov, 1))
			break;
	}
	/* Until the source has given up and closes its end */
	sleep(TIMEOUT_S);
	_exit(VM_OK);
}

static void bad_then_good(const char *mode, enum bad_destination how)
{
	struct migration m = { .vm = &vm, .config = quick };
	unsigned int stamps;
	pid_t child;
	unsigned long bad;

	start_guest(mode);
	child = start_destination(bad_destination, how, &m.fd);
	m.config.patience_s = 1;
	check(migrate_out(&m), "it was migrated to a destination that is none");
	kill(child, SIGKILL);
	end_destination(child, m.fd, false);

	stamps = vm_stamps(&vm, 0);
	bad = vm_check(&vm, TIMEOUT_S / 2);
	check(!bad, "%lu pages are bad at the source", bad);
	while (vm_stamps(&vm, 0) == stamps)
		usleep(1000);		/* ...or the watch ends it */

	migrate_well(&m, NULL);
	vm_free(&vm);
}

static void test_stops_reading(const char *mode)
{
	bad_then_good(mode, STOPS_READING);
}

static void test_goes_away(const char *mode)
{
	bad_then_good(mode, GOES_AWAY);
}

static void test_never_ready(const char *mode)
{
	bad_then_good(mode, NEVER_READY);
}

/* -- OVERFLOW */

/*
 * Have KVM write guest memory on behalf of a vCPU that is not in KVM_RUN: no
 * gate holds up these marks.
 */
static bool write_wall_clock(unsigned int address)
{
	struct {
		struct kvm_msrs header;
		struct kvm_msr_entry entry;
	} msrs = {
		.header.nmsrs = 1,
		.entry = { .index = MSR_WALL_CLOCK, .data = address },
	};

	return ioctl(vm.vcpus[0].fd, KVM_SET_MSRS, &msrs) == 1;
}

static int force_overflow(struct migration *m, void *arg)
{
	struct kvm_dirty_ring_pool_state state = { };
	unsigned int i, writes = 0;
	__u64 lost;

	(void)arg;
	if (m->rounds != 1)
		return 0;
	vm_pause(&vm);
	/* Nobody drains. */
	for (i = 0; i < vm.harvest.nr_rings; i++)
		pthread_mutex_lock(&vm.harvest.rings[i].lock);
	while (!(state.status & KVM_DIRTY_RING_POOL_OVERFLOW)) {
		check(write_wall_clock(CLOCK_PAGE_A), "can't write the wall clock");
		check(!harvest_pool_state(&vm.harvest, &state), "no state");
		check(writes++ < 2 * vm.nr_vcpus * vm.config.ring_entries,
		      "no OVERFLOW after %u writes", writes);
	}
	/* This page's mark is lost: nothing but OVERFLOW tells of the write. */
	lost = state.overflows;
	check(write_wall_clock(CLOCK_PAGE_B), "can't write the wall clock");
	check(!harvest_pool_state(&vm.harvest, &state) && state.overflows > lost,
	      "the mark was not lost");
	for (i = 0; i < vm.harvest.nr_rings; i++)
		pthread_mutex_unlock(&vm.harvest.rings[i].lock);
	vm_resume(&vm);
	return 0;
}

static void test_overflow(const char *mode)
{
	struct migration m;

	start_guest(mode);
	migrate_well(&m, force_overflow);
	check(vm.all_dirty && vm.harvest.overflows, "OVERFLOW went unnoticed");
	check(m.pages_sent >= 2 * vm.nr_pages, "%llu pages sent, which is not all again",
	      m.pages_sent);
	vm_free(&vm);
}

/* -- A device writes when the rings are full */

static int fill_and_write(struct migration *m, void *arg)
{
	unsigned long first = vm.nr_pages - vm.config.device_pages;
	struct kvm_mark_dirty mark = {
		/* Pages of vCPU 1, which have not changed */
		.first_page = vm.params->vcpu[1].first,
		.num_pages = vm.params->vcpu[1].pages,
	};
	int err;

	(void)arg;
	if (m->rounds != 1)
		return 0;
	vm_pause(&vm);
	err = ioctl(vm.fd, KVM_MARK_DIRTY, &mark);
	check(vm.config.threads || (err && errno == EAGAIN),
	      "%llu pages found room in the rings", mark.marked);
	memset(vm.memory + first * VM_PAGE_SIZE, 0x55, vm.config.device_pages * VM_PAGE_SIZE);
	err = harvest_mark(&vm.harvest, 0, first, vm.config.device_pages);
	check(!err, "can't mark: %s", strerror(-err));
	vm_resume(&vm);
	return 0;
}

static void test_device(const char *mode)
{
	struct migration m;

	start_guest(mode);
	migrate_well(&m, fill_and_write);
	check(vm.config.threads || vm.harvest.again, "nothing had to be drained for it");
	vm_free(&vm);
}

/* -- TAP */

struct test {
	const char *name;
	void (*run)(const char *mode);
	const char *mode;
};

static const struct test tests[] = {
	{ "equal", test_equal, "bitmap" },
	{ "equal", test_equal, "per-vcpu" },
	{ "equal", test_equal, "per-vcpu+1" },
	{ "equal", test_equal, "round-robin" },
	{ "equal", test_equal, "lru" },
	{ "equal", test_equal, "last-used" },
	{ "equal", test_equal, "mru" },
	{ "equal", test_equal, "last-used+1" },
	{ "equal", test_equal, "round-robin+nostop" },
	{ "equal", test_equal, "lru+nostop" },
	{ "equal", test_equal, "last-used+nostop" },
	{ "equal", test_equal, "mru+nostop" },
	{ "equal", test_equal, "last-used+nostop+2" },
	{ "source_killed", test_killed, "per-vcpu" },
	{ "source_killed", test_killed, "last-used" },
	{ "source_killed", test_killed, "last-used+nostop+2" },
	{ "stops_reading", test_stops_reading, "per-vcpu" },
	{ "stops_reading", test_stops_reading, "last-used+nostop+2" },
	{ "goes_away", test_goes_away, "last-used+nostop" },
	{ "never_ready", test_never_ready, "last-used+nostop" },
	{ "overflow", test_overflow, "last-used" },
	{ "overflow", test_overflow, "lru+nostop+2" },
	{ "device", test_device, "last-used" },
	{ "device", test_device, "round-robin+nostop" },
	{ }
};

static int run_test(const struct test *t)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		/* What it forks goes with it. */
		setpgid(0, 0);
		t->run(t->mode);
		_exit(VM_OK);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return VM_FAILED;
	kill(-child, SIGKILL);
	return WIFEXITED(status) ? WEXITSTATUS(status) : VM_FAILED;
}

int main(int argc, char **argv)
{
	unsigned int i, n = 0, failed = 0;
	char name[64];

	/* What fails, also where it should, is told where it stands. */
	fail_prefix = "# ";
	dup2(STDOUT_FILENO, STDERR_FILENO);
	printf("TAP version 13\n");
	for (i = 0; tests[i].name; i++) {
		int code, tries = 0;
		__u64 start = now_ns();

		snprintf(name, sizeof(name), "%s/%s", tests[i].name, tests[i].mode);
		if (argc > 1 && !strstr(name, argv[1]))
			continue;
		do {
			if (tries)
				printf("# the emulator broke the guest: once more\n");
			code = run_test(&tests[i]);
		} while (code == VM_EMULATOR_FAULT && ++tries <= 2);
		failed += !!code;
		printf("%sok %u %s # %.1f s\n", code ? "not " : "", ++n, name,
		       (now_ns() - start) / 1e9);
		fflush(stdout);
	}
	printf("1..%u\n", n);
	return failed || !n ? VM_FAILED : VM_OK;
}
