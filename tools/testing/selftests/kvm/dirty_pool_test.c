// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM dirty ring pool test
 *
 * Each test runs in a process of its own, with a time limit: a test that
 * hangs, or takes its process down, fails and the next one runs.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/atomic.h>
#include <linux/sizes.h>
#include <asm/barrier.h>
#include <asm/kvm_para.h>

#include "dirty_pool_race.h"
#include "svm_util.h"
#include "ucall_common.h"

#define TEST_SECONDS	90
#define MAX_REPEATS	5	/* of a test, by faults of the emulator */

static struct {
	const char *path;
	bool exists;
	char value[64];
} params[] = {
	{ PARAM_POOL }, { PARAM_POLICY }, { PARAM_FEP }, { PARAM_NX },
	{ PARAM_NX_RATIO }, { PARAM_NX_PERIOD },
};

/* What a test is at: its process tells the one that reports the result. */
static char *phase;
#define PHASE_MAX	160

const char *policy_module = "/lib/modules/dirty_ring_policy_random.ko";
bool policy_module_was_loaded;
const char *testmod_path = "/lib/modules/dirty_pool_testmod.ko";
static const char *without;

/* As many iterations as one emulated instruction makes in one go. */
#define STRING_BYTES	1024
#define STRING_PAGE	7
#define STRING_PORT	0x99

static uint64_t guest_svm;
static uint64_t guest_ncr3;
static uint64_t guest_nested;	/* run a nested guest */
static uint64_t guest_nested_runs;

static void nested_code(void)
{
	guest_nested_runs++;
	while (!READ_ONCE(guest_stop))
		guest_write_own(1);
	vmmcall();
}

static void guest_run_nested(void)
{
	struct svm_test_data *svm = (void *)guest_svm;
	static uint8_t stack[4096] __aligned(16);

	generic_svm_setup(svm, nested_code, stack + sizeof(stack) - 64);
	svm->vmcb->control.nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
	svm->vmcb->control.nested_cr3 = guest_ncr3;
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
}

/* The same, from a nested guest when asked to. */
static void guest_own_nested(uint64_t id)
{
	while (!READ_ONCE(guest_stop)) {
		if (READ_ONCE(guest_nested))
			guest_run_nested();
		else
			guest_write_own(id);
	}
}

/* Read STRING_BYTES from a port into a page. */
static void guest_ins(uint64_t id)
{
	uint64_t to = page_gpa(STRING_PAGE) + 2 * STRING_BYTES - 1;
	uint64_t n = STRING_BYTES;

	/* Upwards, KVM writes all of it at once. */
	__asm__ __volatile__("std; rep insb; cld" : "+D"(to), "+c"(n) :
			     "d"(STRING_PORT) : "memory");
}

/* Write as many by an emulated instruction. */
static void guest_stos(uint64_t id)
{
	uint64_t to = page_gpa(STRING_PAGE) + STRING_BYTES;
	uint64_t n = STRING_BYTES;

	__asm__ __volatile__(KVM_FEP "rep stosb" : "+D"(to), "+c"(n) :
			     "a"(0x5a) : "memory");
}

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

/*
 * Tests: nothing is lost
 */

/*
 * Tests: parking, the gate
 */

/*
 * Tests: marks that no vCPU makes
 */

/*
 * Tests: things that change under load
 */

/*
 * Tests: hostile userspace
 */

/*
 * Tests: errors
 */

/*
 * Tests: what the kernel tells
 */

/*
 * Tests: marks in awkward places
 */

/* With all rings parked: to KVM_RUN and back with what the guest asks for. */
static uint32_t run_string(struct env *e)
{
	struct kvm_vcpu *vcpu = e->vcpus[0];
	uint32_t flags;

	flags = env_run_once(e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED, "Flags 0x%x", flags);
	if (env_guest_vcpu(e, 0)->fn == guest_ins) {
		_vcpu_run(vcpu);
		TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_IO &&
			    vcpu->run->io.port == STRING_PORT &&
			    vcpu->run->io.count == STRING_BYTES,
			    "Exit %s", exit_reason_str(vcpu->run->exit_reason));
		memset((void *)vcpu->run + vcpu->run->io.data_offset, 0x5a,
		       STRING_BYTES);
	}
	return env_run_once(e, 0);
}

static void check_string(struct env *e)
{
	uint8_t *page = (void *)env_page_hva(e, STRING_PAGE);
	uint32_t i;

	for (i = 0; i < PAGE_SIZE; i++)
		TEST_ASSERT(page[i] == (i / STRING_BYTES == 1 ? 0x5a : 0),
			    "Byte %u is 0x%x", i, page[i]);
}

/*
 * What a device has given to an instruction has to be written: more marks than
 * the reserves hold.  That is noticed.
 */
static void test_overflow_string(int unused)
{
	struct env e = {};
	uint32_t flags;

	env_init(&e, 2, 0);
	if (env_has_page_log(&e))
		skip("the reserves hold all of it");
	env_set_guest(&e, 0, guest_ins);
	env_mark_all(&e);
	flags = run_string(&e);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == STRING_BYTES - 2 * (ring_entries -
							  e.rings[0].soft_limit),
		    "%llu marks lost of %u, with reserves of %u", e.st.overflows,
		    STRING_BYTES, ring_entries - e.rings[0].soft_limit);
	TEST_ASSERT(flags == (KVM_DIRTY_RING_POOL_EXHAUSTED |
			      KVM_DIRTY_RING_POOL_OVERFLOW),
		    "Flags 0x%x after an OVERFLOW", flags);
	check_string(&e);
	env_free(&e);
}

/* An instruction that can stop does so, and goes on when the rings are drained. */
static void test_string_stops(int unused)
{
	uint32_t flags, exits = 0;
	struct env e = {};

	if (write_param(PARAM_FEP, "1"))
		skip("%s is not writable", PARAM_FEP);
	env_init(&e, 2, 0);
	env_set_guest(&e, 0, guest_stos);
	env_mark_all(&e);
	for (flags = run_string(&e); flags; flags = env_run_once(&e, 0)) {
		if (!(flags & KVM_DIRTY_RING_POOL_EXHAUSTED))
			continue;
		exits++;
		env_drain(&e);
	}
	env_get_state(&e);
	TEST_ASSERT(exits && !e.st.overflows, "%u exits, %llu marks lost of %u",
		    exits, e.st.overflows, STRING_BYTES);
	check_string(&e);
	env_fini(&e);
}

/*
 * Tests: a vCPU is unplugged
 *
 * A VMM that unplugs a vCPU unmaps its ring, and harvests it no more.
 */

/*
 * Tests: marks that no vCPU makes, continued
 */

/*
 * Tests: resets
 */

void nop_signal(int sig)
{
}

/* Huge pages that were mapped at once, at most. */
static uint64_t race_huge;

static bool race_huge_happened(struct env *e)
{
	return race_huge;
}

static void race_huge_end(struct env *e)
{
	ksft_print_msg("%lu huge pages mapped\n", race_huge);
}

static void race_logging(struct env *e, void (*unlogged)(struct env *e))
{
	uint64_t size = slot_pages[0] * PAGE_SIZE;
	uint32_t page, i;

	for (i = 0; i < slot_pages[0] / 512; i++)
		race_collapse(e, i);

	WRITE_ONCE(race.unlogged, race.unlogged + 1);
	race_set_slot(e, 0, SLOT_GPA(0), size, 0);
	/* Meanwhile, huge pages are mapped, and split again by the next. */
	usleep(1000 + env_random(e, 4000));
	race_huge = max(race_huge, vm_get_stat(e->vm, "pages_2m"));
	if (unlogged)
		unlogged(e);
	race_set_slot(e, 0, SLOT_GPA(0), size, KVM_MEM_LOG_DIRTY_PAGES);

	/* What was written until here is not reported, nor has it to be. */
	pthread_mutex_lock(&e->lock);
	for (page = 0; page < slot_pages[0]; page++)
		e->seen[page] = env_page_stamp(e, page);
	pthread_mutex_unlock(&e->lock);
	WRITE_ONCE(race.unlogged, race.unlogged + 1);
	race_go_on(3);
}

static void race_logging_event(struct env *e, int round, int n)
{
	race_logging(e, NULL);
}

static void race_nx_need(void)
{
	if (write_param(PARAM_NX, "force") || write_param(PARAM_NX_RATIO, "1") ||
	    write_param(PARAM_NX_PERIOD, "1"))
		skip("%s is not writable", PARAM_NX);
}

static void race_nx_init(struct env *e)
{
	uint32_t page;

	for (page = 0; page < slot_pages[0]; page++) {
		if (is_code_page(page))
			*((uint8_t *)env_page_hva(e, page) + CODE_OFFSET) = 0xc3;
	}
	write_guest_global(e->vm, guest_exec, 1);
}

static void race_nx_unlogged(struct env *e)
{
	if (env_random(e, 4))
		return;
	write_param(PARAM_NX, "off");
	write_param(PARAM_NX, "force");
}

static void race_nx_event(struct env *e, int round, int n)
{
	race_logging(e, race_nx_unlogged);
}

static void race_nested_need(void)
{
	if (!kvm_cpu_has(X86_FEATURE_NPT))
		skip("no nested guests with nested paging (AMD)");
}

/* Nested page tables that map all as it is, in huge pages. */
static void race_nested_init(struct env *e)
{
	vm_vaddr_t svm, tables;
	uint64_t *entry;
	int i;

	vcpu_alloc_svm(e->vm, &svm);
	write_guest_global(e->vm, guest_svm, svm);

	tables = vm_vaddr_alloc_pages(e->vm, 2 + 4);
	entry = addr_gva2hva(e->vm, tables);
	entry[0] = addr_gva2gpa(e->vm, tables + PAGE_SIZE) | 0x67;
	for (i = 0; i < 4; i++)
		entry[512 + i] = addr_gva2gpa(e->vm, tables + (2 + i) * PAGE_SIZE) | 0x67;
	for (i = 0; i < 4 * 512; i++) {
		/* The pages of one allocation need not be neighbours. */
		entry = addr_gva2hva(e->vm, tables + (2 + i / 512) * PAGE_SIZE);
		entry[i % 512] = i * (uint64_t)SZ_2M | 0xe7;
	}
	write_guest_global(e->vm, guest_ncr3, addr_gva2gpa(e->vm, tables));
	env_set_guest(e, 1, guest_own_nested);
}

static void race_nested_event(struct env *e, int round, int n)
{
	if (round == 1 && n == 5)
		write_guest_global(e->vm, guest_nested, 1);
	race_go_on(5);
}

static bool race_nested_happened(struct env *e)
{
	return READ_ONCE(*(uint64_t *)addr_gva2hva(e->vm,
						   (vm_vaddr_t)&guest_nested_runs));
}

static void race_nested_end(struct env *e)
{
	uint64_t zapped;

	/* Zaps all shadow pages: the statistic after the pool's */
	race_set_slot(e, 1, SLOT_GPA(1), 0, 0);
	race_set_slot(e, 1, SLOT_GPA(1), slot_pages[1] * PAGE_SIZE, 0);
	zapped = vm_get_stat(e->vm, "mmu_shadow_zapped");
	TEST_ASSERT(zapped, "No shadow page was zapped");
	expect_stat(e, "mmu_shadow_zapped", zapped);
}

/* Logging is disabled and enabled, with huge mappings. */
static void test_race_logging(int unused)
{
	static const struct race logging = {
		.thp = true,
		.event = race_logging_event,
		.happened = race_huge_happened,
		.end = race_huge_end,
	};

	run_race(&logging);
}

/* The same, with code in huge pages that are not for code. */
static void test_race_nx(int unused)
{
	static const struct race nx = {
		.thp = true,
		.need = race_nx_need,
		.init = race_nx_init,
		.event = race_nx_event,
		.happened = race_huge_happened,
		.end = race_huge_end,
	};

	run_race(&nx);
}

/* Shadow pages appear: reset falls back to the write lock. */
static void test_race_nested(int unused)
{
	static const struct race nested = {
		.need = race_nested_need,
		.init = race_nested_init,
		.event = race_nested_event,
		.happened = race_nested_happened,
		.end = race_nested_end,
	};

	run_race(&nested);
}

/*
 * Tests: the page modification log of Intel's CPUs
 *
 * A page that is mapped, and whose Dirty bit a reset has cleared, is logged by
 * the CPU.  Its entry is KVM's to see, and to push, when the vCPU leaves the
 * guest: 512 of them at a time, if nothing else makes it leave.
 */

#define PML_ENTRIES	512

static void need_pml(void)
{
	if (!host_cpu_is_intel || !get_kvm_intel_param_bool("pml"))
		skip("no page modification log");
}

/* Map all pages, and have them logged from here on. */
static void write_all(struct env *e)
{
	step("write all pages");
	env_set_guest(e, 0, guest_sequential);
	env_set_writes(e, NR_PAGES);
	while (env_run_once(e, 0))
		env_drain(e);
	env_check(e);
}

/* Out of the guest at once, by a signal, as VMMs do it. */
static void kick_vcpus(struct env *e)
{
	int i;

	WRITE_ONCE(e->quit, true);
	env_wake_vcpus(e);
	/* One that comes before KVM_RUN is lost. */
	while (atomic_read(&e->running)) {
		for (i = 0; i < e->nr_vcpus; i++)
			pthread_kill(e->threads[i], SIGUSR2);
		usleep(200);
	}
	env_join_vcpus(e);
	WRITE_ONCE(e->quit, false);
}

/* What a stay of vCPU @i pushed, until it left for userspace. */
static uint32_t run_and_count(struct env *e, int i, uint32_t *flags,
			      uint64_t *claims)
{
	uint64_t pushed;

	env_get_state(e);
	pushed = e->st.pushed;
	*claims = e->st.claims;
	*flags = env_run_to_full(e, i);
	env_get_state(e);
	*claims = e->st.claims - *claims;
	return e->st.pushed - pushed;
}

/* The host's tick takes a vCPU out of the guest early: more than once, then. */
#define PML_TRIES_MIN	3
#define PML_TRIES	50

/* With all rings drained: past the gate, if the vCPU is kept there. */
static void pass_gate(struct env *e, int i)
{
	uint32_t flags;

	env_set_writes(e, 0);
	flags = env_run_once(e, i);
	TEST_ASSERT(!flags, "vCPU %d is stopped, flags 0x%x, and all is drained",
		    i, flags);
}

/* With all rings parked, a full log has to fit a ring's reserve. */
static void test_pml_full(int unused)
{
	uint32_t i, n, soft, flags, total, full = 0, tries = 0;
	struct env e = {};
	uint64_t claims;

	need_pml();
	env_init(&e, 2, 0);
	soft = env_soft_limit(&e);
	TEST_ASSERT(ring_entries - soft >= PML_ENTRIES,
		    "A reserve of %u entries", ring_entries - soft);
	write_all(&e);
	env_set_guest(&e, 1, guest_sequential);

	while (full < 2 || tries < PML_TRIES_MIN) {
		step("try %u: park all rings", tries);
		TEST_ASSERT(tries++ < PML_TRIES, "The log was never full");
		total = env_mark_all(&e);
		for (i = 0; i < 2; i++) {
			flags = env_run_once(&e, i);
			TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED,
				    "vCPU %u entered the guest, or may not, flags 0x%x",
				    i, flags);
		}

		full = 0;
		for (i = 0; i < 2; i++) {
			step("try %u: vCPU %u", tries, i);
			n = run_and_count(&e, i, &flags, &claims);
			TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_EXHAUSTED &&
				    e.st.reserve_claims,
				    "Flags 0x%x after %u pages with no ring FREE",
				    flags, n);
			TEST_ASSERT(n && n <= PML_ENTRIES,
				    "%u pages were pushed in one stay", n);
			/* The reserve of its own ring is enough. */
			TEST_ASSERT(claims <= n / 64 + 2,
				    "%lu claims for %u pages", claims, n);
			env_expect_gated(&e, i, "after it used the reserve");
			total += n;
			full += n == PML_ENTRIES;
		}
		for (i = 0, n = 0; i < 2; i++)
			n += e.rings[i].used;
		TEST_ASSERT(n == total, "The rings hold %u entries of %u", n,
			    total);
		env_drain(&e);
		for (i = 0; i < 2; i++)
			pass_gate(&e, i);
		env_check(&e);
	}
	env_fini(&e);
}

/*
 * Less room below the soft limits of several rings than the log has entries,
 * or just as much: more than one ring has, so that two are parked.
 */
static void pml_straddle(struct env *e, uint32_t room)
{
	uint32_t i, n, flags, soft, used, over, before, tries = 0;
	uint64_t claims, parks;

	soft = env_soft_limit(e);
	do {
		step("room for %u, try %u", room, tries);
		TEST_ASSERT(tries++ < PML_TRIES, "The log was never full");
		before = env_capacity(e) - room;
		TEST_ASSERT(__vm_mark_dirty(e->vm, FIRST_SLOT, 0, before,
					    NULL) == before,
			    "Can't mark %u pages, errno %d", before, errno);
		env_get_state(e);
		parks = e->st.parks;
		if (e->rings[0].state & KVM_DIRTY_RING_PARKED)
			env_run_once(e, 0);

		n = run_and_count(e, 0, &flags, &claims);
		parks = e->st.parks - parks;
		for (i = 0, used = 0, over = 0; i < e->st.nr_rings; i++) {
			used += e->rings[i].used;
			over += e->rings[i].used - min(soft, e->rings[i].used);
		}
		TEST_ASSERT(used == before + n, "The rings hold %u entries of %u",
			    used, before + n);
		TEST_ASSERT(over == n - min(n, room),
			    "%u entries in reserves, %u pushed in room for %u",
			    over, n, room);
		if (n == PML_ENTRIES) {
			TEST_ASSERT(env_rings_in_state(e, KVM_DIRTY_RING_PARKED) ==
				    e->st.nr_rings && parks >= (room > soft ? 2 : 1),
				    "%lu rings parked", parks);
			TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) &&
				    !(flags & KVM_DIRTY_RING_POOL_EXHAUSTED) == !over,
				    "Flags 0x%x, %u entries in reserves", flags,
				    over);
			TEST_ASSERT(claims <= n / 64 + e->st.nr_rings + 1,
				    "%lu claims for %u pages", claims, n);
		}
		env_check(e);
	} while (n != PML_ENTRIES || tries < PML_TRIES_MIN);
}

static void test_pml_straddle(int unused)
{
	struct env e = {};

	need_pml();
	env_init(&e, 4, 0);
	write_all(&e);
	pml_straddle(&e, PML_ENTRIES);
	pml_straddle(&e, PML_ENTRIES - 1);
	pml_straddle(&e, env_soft_limit(&e) + 1);
	pml_straddle(&e, 65);
	env_fini(&e);
}

/* A log may have pages of slots that are not logged: those take no room. */
static void test_pml_not_logged(int unused)
{
	struct env e = {};
	uint32_t flags;

	need_pml();
	env_init(&e, 2, 0);
	write_all(&e);
	vm_mem_region_set_flags(e.vm, FIRST_SLOT, 0);

	step("park all rings");
	while (__vm_mark_dirty(e.vm, FIRST_SLOT + 1, 0, 100, NULL) > 0)
		;
	flags = env_run_once(&e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED, "Flags 0x%x", flags);

	step("write pages that are not logged");
	env_set_writes(&e, slot_pages[0]);
	flags = env_run_once(&e, 0);
	env_get_state(&e);
	TEST_ASSERT(!flags && !e.st.reserve_claims,
		    "A vCPU that dirtied nothing was stopped, flags 0x%x, %llu reserve claims",
		    flags, e.st.reserve_claims);
	env_drain(&e);
	env_free(&e);
}

static uint64_t writes_done(struct env *e)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		sum += READ_ONCE(env_guest_vcpu(e, i)->written);
	return sum;
}

/* After these, pages are in the log, unless the host's tick came just then. */
static uint64_t some_more_writes(struct env *e)
{
	return writes_done(e) + 1 + env_random(e, 400);
}

static uint64_t parked_exits(struct env *e)
{
	return READ_ONCE(e->parked[0]) + READ_ONCE(e->parked[1]);
}

/* A VMM that harvests kicks the vCPUs, for the log to arrive in the rings. */
static void test_pml_kick(int unused)
{
	uint32_t i, round, rounds = scale(40, 12);
	uint64_t writes, parked;
	struct env e = {};

	need_pml();
	/* Rings that vCPUs do not fill: nothing but kicks makes them leave. */
	env_init_entries(&e, 2, 0, 4 * ring_entries);
	write_all(&e);
	TEST_ASSERT(env_soft_limit(&e) > NR_PAGES, "Rings of %u entries",
		    env_soft_limit(&e));

	for (round = 0; round < rounds; round++) {
		step("round %u", round);
		env_set_writes(&e, UINT_MAX);
		env_start_vcpus(&e);
		for (i = 0; i < env_random(&e, 4); i++)
			env_harvest_some(&e);
		writes = some_more_writes(&e);
		wait_for(writes_done(&e) >= writes, "writes");
		if (round % 2) {
			/*
			 * Each parked ring kicks a vCPU, which stays away then.
			 * Both may be kicks of the same one.
			 */
			parked = parked_exits(&e);
			WRITE_ONCE(e.quit, true);
			while (atomic_read(&e.running) &&
			       __vm_mark_dirty(e.vm, FIRST_SLOT, 0, 500, NULL) > 0)
				;
			wait_for(parked_exits(&e) > parked, "a vCPU that was kicked");
		}
		kick_vcpus(&e);
		env_check(&e);
	}
	env_fini(&e);
}

static bool used_reserve(struct env *e, uint64_t claims)
{
	env_get_state(e);
	return e->st.reserve_claims > claims;
}

/* The last log of a vCPU may find all rings parked. */
static void test_pml_stop(int unused)
{
	uint32_t i, round, rounds = scale(60, 20);
	uint64_t writes, claims;
	struct env e = {};

	need_pml();
	env_init(&e, 3, 0);
	write_all(&e);
	for (round = 0; round < rounds; round++) {
		step("round %u", round);
		if (round % 2) {
			/* Room is left for a vCPU that was stopped at the gate. */
			for (i = 0; i < 3; i++)
				pass_gate(&e, i);
			env_drain(&e);
			env_mark_all(&e);
		}
		env_get_state(&e);
		claims = e.st.reserve_claims;
		env_set_writes(&e, UINT_MAX);
		env_start_vcpus(&e);
		writes = some_more_writes(&e);
		wait_for(writes_done(&e) >= writes || used_reserve(&e, claims),
			 "writes, or a log with all rings parked");
		kick_vcpus(&e);
		env_check(&e);
	}
	env_fini(&e);
}

/*
 * Tests: module parameters, policy modules, VMs without pool
 */

/*
 * Running them
 */

const struct test string_tests[] = {
	{ "overflow_string",	test_overflow_string },
	{ "string_stops",	test_string_stops },
	{}
};

const struct test huge_race_tests[] = {
	{ "race_logging",	test_race_logging },
	{ "race_nx",		test_race_nx },
	{ "race_nested",	test_race_nested },
	{}
};

const struct test pml_tests[] = {
	{ "pml_full",		test_pml_full },
	{ "pml_straddle",	test_pml_straddle },
	{ "pml_not_logged",	test_pml_not_logged },
	{ "pml_kick",		test_pml_kick },
	{ "pml_stop",		test_pml_stop },
	{}
};

/* In the order in which they run */
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
		/* In the kernel for good: go on without it. */
		if (now() - start > TEST_SECONDS + 20) {
			ksft_test_result_fail("%s # can't be killed, in: %s\n",
					      test->name, phase);
			return;
		}
	}

	if (repeats && !killed && WIFEXITED(status) &&
	    WEXITSTATUS(status) == EMULATOR_FAULT) {
		ksft_print_msg("%s: the emulator broke the guest, run it again\n",
			       test->name);
		run_test(test, repeats - 1);
		return;
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

/* The fewest entries a ring may have: a page of them, or twice the reserve. */
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
	ksft_exit_fail_msg("No ring size is accepted, errno %d\n", errno);
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
	       " -s: seed of all that is random\n"
	       " -m: a module with the policy 'random' (default: %s)\n"
	       " -i: dirty_pool_testmod, which marks from interrupts (default: %s)\n"
	       " -q: quick, small sizes\n"
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
	/* Fixed, so that a failure can be had again. */
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
		run_test(tests[i], MAX_REPEATS);
		/* A test that fails leaves them as they are. */
		for (j = 0; j < ARRAY_SIZE(params); j++) {
			if (params[j].exists)
				write_param(params[j].path, params[j].value);
		}
	}
	ksft_finished();
}
