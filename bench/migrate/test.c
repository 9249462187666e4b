// SPDX-License-Identifier: GPL-2.0-only
/*
 * migrate_test - does a migration keep every page, also when something breaks?
 *
 * Prints TAP.  Each test runs in a process of its own, which is the source and
 * forks the destination, or the other way round.  A page is lost if memory
 * differs while the guest is stopped, or if the guest itself finds a page
 * without the last stamp that it made.
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
/*
 * Guest-physical pages that neither the guest nor its device uses, so that no
 * later write makes up for a missing mark.
 */
#define CLOCK_PAGE_A	0x40000u
#define CLOCK_PAGE_B	0x41000u
#define STEP_PAGE	0x42000u
#define DEVICE_AREA	0x50000u
#define DEVICE_PAGES	128u
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

/* -- Common parts */

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

static void start_config(const struct vm_config *config)
{
	start_watch();
	check(!vm_create(&vm, config, true) && !vm_start(&vm), "no guest");
	vm_resume(&vm);
	vm_wait_filled(&vm, TIMEOUT_S / 2);
}

static void start_guest(const char *mode)
{
	struct vm_config config = config_of(mode);

	start_config(&config);
}

/* As in the program, a destination tracks nothing. */
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

/* A destination that the emulator broke has not failed. */
static void end_destination(pid_t child, int fd, bool expect_good)
{
	int status;

	close(fd);
	check(waitpid(child, &status, 0) == child, "waitpid() failed");
	if (WIFEXITED(status) && WEXITSTATUS(status) == EMULATOR_FAULT && !vm.lost)
		_exit(EMULATOR_FAULT);
	check(!expect_good || (WIFEXITED(status) && !WEXITSTATUS(status)),
	      "the destination ended with status 0x%x", status);
}

/* Migrate the guest, and check that all of it arrived. */
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
	check(m->pages_sent >= vm.nr_pages, "%llu of %lu pages sent", m->pages_sent,
	      vm.nr_pages);
}

/* -- Memory is equal, whatever tracks dirty pages and whatever harvests them */

/*
 * Make KVM write guest memory for a vCPU that is not in KVM_RUN: no gate stops
 * these marks.
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

/* Leave something for the last harvest, when the guest is stopped. */
static int wait_for_writes(struct migration *m, void *arg)
{
	unsigned int stamps = vm_stamps(&vm, 0);

	(void)m;
	(void)arg;
	while (vm_stamps(&vm, 0) == stamps)
		usleep(1000);		/* ... until the time limit */
	/*
	 * Those pages may be sent anyway, this one is not.  A ring might have no
	 * room for it.
	 */
	check(vm.config.tracker != HARVEST_BITMAP || write_wall_clock(CLOCK_PAGE_A),
	      "can't write the wall clock");
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
	check(vm.harvest.pages && vm.device_writes, "nothing was dirtied during the migration");
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

/* Receive half of memory.  Returns -1 if it did not arrive. */
static int read_half(int fd)
{
	struct wire_hello hello = { };
	struct wire_message message;
	static char waste[1u << 20];
	struct iovec iov;
	__u64 pages = 0;

	if (wire_time_limit(fd, TIMEOUT_S) ||
	    wire_expect(fd, WIRE_HELLO, NULL, &hello, sizeof(hello)) ||
	    wire_send(fd, WIRE_HELLO, 0, &hello, sizeof(hello)))
		return -1;
	while (pages < hello.memory / VM_PAGE_SIZE / 2) {
		if (wire_next(fd, &message) || message.type != WIRE_PAGES ||
		    message.bytes > sizeof(waste))
			return -1;
		iov.iov_base = waste;
		iov.iov_len = message.bytes;
		if (wire_readv(fd, &iov, 1))
			return -1;
		pages += message.arg;
	}
	return 0;
}

static void test_killed(const char *mode)
{
	struct migration m;
	int fds[2], status, ret;
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
	ret = read_half(fds[1]);
	kill(source, SIGKILL);
	check(waitpid(source, &status, 0) == source, "waitpid() failed");
	if (WIFEXITED(status) && WEXITSTATUS(status) == EMULATOR_FAULT)
		_exit(EMULATOR_FAULT);
	check(!ret, "no pages");
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "the source ended with status 0x%x before it was killed", status);
	close(fds[1]);

	/* What it left behind in KVM must not affect the next one. */
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

	if (read_half(fd))
		_exit(VM_FAILED);
	if (how == GOES_AWAY)
		_exit(VM_OK);
	while (how == NEVER_READY && !wire_next(fd, &message)) {
		iov.iov_base = waste;
		iov.iov_len = message.bytes;
		if (message.type == WIRE_COMPLETE || wire_readv(fd, &iov, 1))
			break;
	}
	/* Until the source gives up and closes its end */
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
	check(migrate_out(&m), "the migration to a broken destination succeeded");
	kill(child, SIGKILL);
	end_destination(child, m.fd, false);

	stamps = vm_stamps(&vm, 0);
	bad = vm_check(&vm, TIMEOUT_S / 2);
	check(!bad, "%lu pages are bad at the source", bad);
	while (vm_stamps(&vm, 0) == stamps)
		usleep(1000);		/* ... until the time limit */

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

/* Fill the rings while nothing drains them, until marks are lost. */
static void overflow(void)
{
	struct kvm_dirty_ring_pool_state state;
	unsigned int i, writes = 0;
	__u64 lost;

	for (i = 0; i < vm.harvest.nr_rings; i++)
		pthread_mutex_lock(&vm.harvest.rings[i].lock);
	/* After a drain, a thread checks for OVERFLOW under this lock. */
	pthread_mutex_lock(&vm.harvest.lock);
	check(!harvest_pool_state(&vm.harvest, &state), "no state");
	check(!(state.status & KVM_DIRTY_RING_POOL_OVERFLOW), "OVERFLOW is set already");
	while (!(state.status & KVM_DIRTY_RING_POOL_OVERFLOW)) {
		check(write_wall_clock(CLOCK_PAGE_A), "can't write the wall clock");
		check(!harvest_pool_state(&vm.harvest, &state), "no state");
		check(writes++ < 2 * vm.nr_vcpus * vm.config.ring_entries,
		      "no OVERFLOW after %u writes", writes);
	}
	/* This page's mark is lost: only OVERFLOW reports the write. */
	lost = state.overflows;
	check(write_wall_clock(CLOCK_PAGE_B), "can't write the wall clock");
	check(!harvest_pool_state(&vm.harvest, &state) && state.overflows > lost,
	      "the mark was not lost");
	pthread_mutex_unlock(&vm.harvest.lock);
	for (i = 0; i < vm.harvest.nr_rings; i++)
		pthread_mutex_unlock(&vm.harvest.rings[i].lock);
}

static int force_overflow(struct migration *m, void *arg)
{
	(void)arg;
	if (m->rounds > 2)
		return 0;
	vm_pause(&vm);
	overflow();
	vm_resume(&vm);
	/* From here on all memory is sent again, in a round of its own. */
	check(!harvest_all(&vm.harvest), "can't harvest");
	/* Force a second round, whatever is left. */
	m->expected_ns = ~0ull;
	return 0;
}

static void test_overflow(const char *mode)
{
	struct migration m;

	start_guest(mode);
	migrate_well(&m, force_overflow);
	check(vm.all_dirty == 2 && vm.harvest.overflows == 2, "%llu of 2 OVERFLOWs noticed",
	      vm.harvest.overflows);
	check(m.pages_sent >= 3 * vm.nr_pages, "%llu pages sent, which is not all again, twice",
	      m.pages_sent);
	vm_free(&vm);
}

/*
 * As above, but no vCPU that could report the OVERFLOW runs any more: the state
 * must be read after the last drain.
 */
static int overflow_at_end(struct migration *m, void *arg)
{
	(void)arg;
	if (m->rounds < m->config.max_rounds) {
		m->expected_ns = ~0ull;
		return 0;
	}
	vm_pause(&vm);
	overflow();
	return 0;
}

static void test_overflow_last(const char *mode)
{
	struct migration m;

	start_guest(mode);
	migrate_well(&m, overflow_at_end);
	check(vm.all_dirty == 1 && m.last_pages == vm.nr_pages,
	      "%llu pages were sent in the end, after OVERFLOW", m.last_pages);
	vm_free(&vm);
}

/* -- A vCPU is unplugged with entries in its ring that were not harvested */

#define UNPLUGGED	1u

/* Number of entries; in @own, those of pages that only the vCPU itself writes */
static unsigned int unharvested(unsigned int vcpu, unsigned int *own)
{
	const struct guest_vcpu *g = &vm.params->vcpu[vcpu];
	const struct harvest_ring *ring = &vm.harvest.rings[vcpu];
	unsigned int e, n = 0;

	for (e = 0; e < vm.config.ring_entries; e++) {
		const struct kvm_dirty_gfn *gfn = &ring->gfns[e];

		if (__atomic_load_n(&gfn->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			continue;
		n++;
		*own += gfn->offset - g->first < g->pages;
	}
	return n;
}

static void wait_for_stamps(unsigned int vcpu, unsigned int n)
{
	unsigned int stamps = vm_stamps(&vm, vcpu);

	while (vm_stamps(&vm, vcpu) - stamps < n)
		usleep(1000);		/* ... until the time limit */
}

/* Stop the VM with entries in that ring that nothing is about to harvest. */
static void pause_with_entries(unsigned int vcpu)
{
	while (vm.config.tracker != HARVEST_BITMAP) {
		unsigned int n, own = 0;

		wait_for_stamps(vcpu, 4);
		vm_pause(&vm);
		pthread_mutex_lock(&vm.harvest.rings[vcpu].lock);
		n = unharvested(vcpu, &own);
		pthread_mutex_unlock(&vm.harvest.rings[vcpu].lock);
		/* A thread that was woken drains rings from this level on. */
		if (own && n < vm.config.ring_entries / 4)
			return;
		vm_resume(&vm);
	}
	vm_pause(&vm);
}

static int unplug_one(struct migration *m, void *arg)
{
	(void)arg;
	if (m->rounds == 1) {
		pause_with_entries(UNPLUGGED);
		check(!vm_unplug(&vm, UNPLUGGED), "can't unplug");
		vm_resume(&vm);
	}
	/* Force some rounds without it. */
	m->expected_ns = ~0ull;
	return 0;
}

/* Twice, while the other vCPUs run */
static int unplug_and_plug(struct migration *m, void *arg)
{
	(void)arg;
	if (m->rounds % 2) {
		wait_for_stamps(UNPLUGGED, 4);
		check(!vm_unplug(&vm, UNPLUGGED), "can't unplug");
		wait_for_stamps(0, 100);
	} else {
		check(!vm_plug(&vm, UNPLUGGED), "can't plug");
		wait_for_stamps(UNPLUGGED, 40);
	}
	m->expected_ns = ~0ull;
	return 0;
}

/* No other ring has room for its entries: only OVERFLOW reports them. */
static int unplug_when_full(struct migration *m, void *arg)
{
	struct kvm_mark_dirty mark = {
		/* More than the rings have room for, and none of the other vCPU's */
		.first_page = vm.params->vcpu[0].first,
		.num_pages = vm.params->vcpu[0].pages,
	};
	int err;

	(void)arg;
	if (m->rounds == 1) {
		pause_with_entries(UNPLUGGED);
		err = ioctl(vm.fd, KVM_MARK_DIRTY, &mark);
		check(err && errno == EAGAIN, "%llu pages found room in the rings", mark.marked);
		check(!vm_unplug(&vm, UNPLUGGED), "can't unplug");
		vm_resume(&vm);
	}
	m->expected_ns = ~0ull;
	return 0;
}

/* Check the state of the ring; returns how many entries moved to other rings. */
static __u64 marked_again(bool detached)
{
	struct kvm_dirty_ring_state rings[GUEST_MAX_VCPUS] = { };
	struct kvm_dirty_ring_pool_state state = {
		.nr_rings = GUEST_MAX_VCPUS,
		.rings = (unsigned long)rings,
	};

	check(!ioctl(vm.fd, KVM_GET_DIRTY_RING_POOL_STATE, &state), "no state");
	check(!!(rings[UNPLUGGED].state & KVM_DIRTY_RING_DETACHED) == detached,
	      "the ring has the state 0x%x", rings[UNPLUGGED].state);
	check(!rings[UNPLUGGED].used, "the ring has %u entries", rings[UNPLUGGED].used);
	/* All entries were harvested, but those that moved were pushed twice. */
	check(state.pushed >= vm.harvest.pages, "%llu pushed, %llu harvested", state.pushed,
	      vm.harvest.pages);
	return state.pushed - vm.harvest.pages;
}

static void start_unpluggable(const char *mode)
{
	struct vm_config config = config_of(mode);

	/* Only the pool's eventfd wakes the threads. */
	if (config.tracker == HARVEST_POOL)
		config.period_ms = 1000 * TIMEOUT_S;
	start_config(&config);
}

static void test_unplug(const char *mode)
{
	struct migration m;

	start_unpluggable(mode);
	migrate_well(&m, unplug_one);
	if (vm.config.tracker == HARVEST_POOL) {
		check(marked_again(true), "no entry moved");
		check(!vm.all_dirty, "OVERFLOW");
	}
	vm_free(&vm);
}

static void test_replug(const char *mode)
{
	struct migration m;

	start_unpluggable(mode);
	migrate_well(&m, unplug_and_plug);
	if (vm.config.tracker == HARVEST_POOL) {
		marked_again(false);
		check(!vm.all_dirty, "OVERFLOW");
	}
	vm_free(&vm);
}

static void test_unplug_full(const char *mode)
{
	struct migration m;

	start_unpluggable(mode);
	migrate_well(&m, unplug_when_full);
	marked_again(true);
	check(vm.all_dirty == 1, "%llu of 1 OVERFLOW noticed", vm.all_dirty);
	vm_free(&vm);
}

/* -- A device writes when the rings are full */

static int fill_and_write(struct migration *m, void *arg)
{
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
	memset(vm.memory + DEVICE_AREA, 0x55, DEVICE_PAGES * VM_PAGE_SIZE);
	err = harvest_mark(&vm.harvest, 0, DEVICE_AREA / VM_PAGE_SIZE, DEVICE_PAGES);
	check(!err, "can't mark: %s", strerror(-err));
	vm_resume(&vm);
	return 0;
}

static void test_device(const char *mode)
{
	struct migration m;

	start_guest(mode);
	migrate_well(&m, fill_and_write);
	check(vm.config.threads || vm.harvest.again, "the device had to drain nothing");
	vm_free(&vm);
}

/* -- One write at a time: no thread runs a vCPU but to make one write */

#define STEP_PAGES	300u	/* more than a ring has room for */

static pthread_mutex_t step_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t step_main;
static bool step_threads;		/* another thread reported a page */
static unsigned int step_told[STEP_PAGES];

/* These pages belong to the test: the guest's program never runs. */
static unsigned long step_page(unsigned int i)
{
	return vm.params->vcpu[0].first + i;
}

/*
 * @drain: drain if there is no room, as a vCPU's thread does.  A callback that
 * is told of a page can't; it uses a vCPU, and so a ring, that fills more slowly.
 */
static void step_write(unsigned int i, bool drain)
{
	struct vm_vcpu *v = &vm.vcpus[!drain];
	struct kvm_regs regs = {
		.rip = STEP_PAGE, .rdi = step_page(i) * VM_PAGE_SIZE, .rflags = 2,
	};
	struct kvm_run run;
	unsigned int tries = 0;

	do {
		check(drain || tries++ < 3, "no room for a write");
		pthread_mutex_lock(&step_lock);
		check(!ioctl(v->fd, KVM_SET_REGS, &regs), "KVM_SET_REGS: %s", strerror(errno));
		while (ioctl(v->fd, KVM_RUN, NULL))
			check(errno == EINTR || errno == EAGAIN, "KVM_RUN: %s", strerror(errno));
		run = *v->run;
		if (run.exit_reason != KVM_EXIT_HLT &&
		    run.exit_reason != KVM_EXIT_DIRTY_RING_FULL)
			vm_broken(v);
		pthread_mutex_unlock(&step_lock);
		if (run.exit_reason == KVM_EXIT_DIRTY_RING_FULL && drain)
			check(!harvest_full(&vm.harvest, &run), "can't drain");
	} while (run.exit_reason == KVM_EXIT_DIRTY_RING_FULL);
}

static void step_start(struct vm_config *config,
		       void (*dirty)(void *arg, __u32 slot, __u64 page))
{
	/* incl (%edi); hlt */
	static const unsigned char program[] = { 0xff, 0x07, 0xf4 };

	start_watch();
	step_main = pthread_self();
	config->nr_vcpus = 4;		/* the number of rings */
	check(!vm_create(&vm, config, true), "no guest");
	memcpy(vm.memory + STEP_PAGE, program, sizeof(program));
	vm.harvest.config.dirty = dirty;
	check(!harvest_start(&vm.harvest), "can't log dirty pages");
}

static bool is_written_again(unsigned int i)
{
	return i % 4 == 0;
}

/*
 * What the VMM reads when a page is reported may be outdated at once, so a write
 * made right then must be reported, too.
 */
static void told_and_write(void *arg, __u32 slot, __u64 page)
{
	__u64 i = page - step_page(0);

	(void)arg;
	(void)slot;
	if (!pthread_equal(pthread_self(), step_main))
		__atomic_store_n(&step_threads, true, __ATOMIC_RELAXED);
	if (i < STEP_PAGES && !__atomic_fetch_add(&step_told[i], 1, __ATOMIC_RELAXED) &&
	    is_written_again(i))
		step_write(i, false);
}

static void test_told_in_time(const char *mode)
{
	struct vm_config config = config_of(mode);
	unsigned int i;

	/* Only the pool's eventfd wakes the threads. */
	if (config.tracker == HARVEST_POOL)
		config.period_ms = 1000 * TIMEOUT_S;
	step_start(&config, told_and_write);
	for (i = 0; i < STEP_PAGES; i++)
		step_write(i, true);
	while (config.threads && !__atomic_load_n(&step_threads, __ATOMIC_RELAXED))
		usleep(1000);		/* ... until the time limit */

	/* The first for the writes above, the second for those made by the first */
	check(!harvest_all(&vm.harvest) && !harvest_all(&vm.harvest), "can't harvest");
	for (i = 0; i < STEP_PAGES; i++)
		check(step_told[i] >= 1u + is_written_again(i),
		      "page %lu was reported %u times, and written after the last",
		      step_page(i), step_told[i]);
	vm_free(&vm);
}

/* -- Pages whose marks were lost are tracked again after OVERFLOW */

static void only_told(void *arg, __u32 slot, __u64 page)
{
	(void)arg;
	(void)slot;
	if (page - step_page(0) < STEP_PAGES)
		step_told[page - step_page(0)]++;
}

/*
 * Lose the mark of a vCPU's own write, as with a page modification log: the page
 * stays writable and is in no ring.  Turn its entry into another page's.
 */
static void lose_mark(unsigned int i)
{
	unsigned int r, e, found = 0;

	step_write(i, true);
	for (r = 0; r < vm.harvest.nr_rings; r++) {
		for (e = 0; e < vm.config.ring_entries; e++) {
			struct kvm_dirty_gfn *gfn = &vm.harvest.rings[r].gfns[e];

			if (gfn->flags == KVM_DIRTY_GFN_F_DIRTY && gfn->offset == step_page(i)) {
				gfn->offset = STEP_PAGE / VM_PAGE_SIZE;
				found++;
			}
		}
	}
	check(found == 1, "the write is in %u entries", found);
}

static void test_rearmed(const char *mode)
{
	struct vm_config config = config_of(mode);
	unsigned int i;

	step_start(&config, only_told);
	for (i = 0; i < 2; i++) {
		lose_mark(i);
		overflow();
		check(!harvest_all(&vm.harvest), "can't harvest");
		check(vm.all_dirty == i + 1, "%llu of %u OVERFLOWs noticed", vm.all_dirty, i + 1);
		check(!step_told[i], "the mark was not lost");

		step_write(i, true);
		check(!harvest_all(&vm.harvest), "can't harvest");
		check(step_told[i] == 1, "a page is no longer tracked after its mark was lost");
	}
	vm_free(&vm);
}

/* -- Each OVERFLOW makes a vCPU exit, if necessary for no other reason */

static void test_overflow_exit(const char *mode)
{
	struct vm_config config = config_of(mode);
	struct kvm_regs regs = { .rip = STEP_PAGE, .rflags = 2 };
	/* It has used no reserve and parked no ring, so has no other reason to exit. */
	struct vm_vcpu *v = &vm.vcpus[2];

	step_start(&config, only_told);
	overflow();
	regs.rdi = step_page(0) * VM_PAGE_SIZE;
	check(!ioctl(v->fd, KVM_SET_REGS, &regs), "KVM_SET_REGS: %s", strerror(errno));
	while (ioctl(v->fd, KVM_RUN, NULL))
		check(errno == EINTR || errno == EAGAIN, "KVM_RUN: %s", strerror(errno));
	check(v->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
	      v->run->dirty_ring_pool.flags == KVM_DIRTY_RING_POOL_OVERFLOW,
	      "KVM_RUN returned with reason %u, flags 0x%x", v->run->exit_reason,
	      v->run->dirty_ring_pool.flags);
	check(!harvest_full(&vm.harvest, v->run), "can't drain");
	check(vm.all_dirty == 1, "%llu of 1 OVERFLOW noticed", vm.all_dirty);
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
	{ "equal", test_equal, "emptiest" },
	{ "equal", test_equal, "last-used+1" },
	{ "equal", test_equal, "round-robin+nostop" },
	{ "equal", test_equal, "lru+nostop" },
	{ "equal", test_equal, "last-used+nostop" },
	{ "equal", test_equal, "emptiest+nostop" },
	{ "equal", test_equal, "last-used+nostop+2" },
	{ "source_killed", test_killed, "per-vcpu" },
	{ "source_killed", test_killed, "last-used" },
	{ "source_killed", test_killed, "last-used+nostop+2" },
	{ "stops_reading", test_stops_reading, "per-vcpu" },
	{ "stops_reading", test_stops_reading, "last-used+nostop+2" },
	{ "goes_away", test_goes_away, "last-used+nostop" },
	{ "never_ready", test_never_ready, "last-used+nostop" },
	{ "overflow", test_overflow, "last-used" },
	{ "overflow", test_overflow, "emptiest+nostop+2" },
	{ "overflow_last", test_overflow_last, "last-used" },
	{ "overflow_last", test_overflow_last, "emptiest+nostop+2" },
	{ "overflow_exit", test_overflow_exit, "last-used" },
	{ "rearmed", test_rearmed, "last-used" },
	{ "told_in_time", test_told_in_time, "bitmap" },
	{ "told_in_time", test_told_in_time, "per-vcpu" },
	{ "told_in_time", test_told_in_time, "per-vcpu+1" },
	{ "told_in_time", test_told_in_time, "last-used" },
	{ "told_in_time", test_told_in_time, "last-used+nostop" },
	{ "told_in_time", test_told_in_time, "last-used+nostop+2" },
	{ "unplug", test_unplug, "bitmap" },
	{ "unplug", test_unplug, "per-vcpu" },
	{ "unplug", test_unplug, "last-used" },
	{ "unplug", test_unplug, "round-robin" },
	{ "unplug", test_unplug, "last-used+nostop" },
	{ "unplug", test_unplug, "emptiest+nostop+2" },
	{ "unplug_full", test_unplug_full, "last-used" },
	{ "replug", test_replug, "per-vcpu" },
	{ "replug", test_replug, "round-robin" },
	{ "replug", test_replug, "emptiest+nostop" },
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
		/* Its children are killed with it. */
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

	/* Failures are printed in place, expected ones included. */
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
		} while (code == EMULATOR_FAULT && ++tries <= EMULATOR_REPEATS);
		failed += !!code;
		printf("%sok %u %s # %.1f s\n", code ? "not " : "", ++n, name,
		       (now_ns() - start) / 1e9);
		fflush(stdout);
	}
	printf("1..%u\n", n);
	return failed || !n ? VM_FAILED : VM_OK;
}
