// SPDX-License-Identifier: GPL-2.0-only
/*
 * Marks that no vCPU makes: those of KVM_MARK_DIRTY, and of interrupts.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>

#include "dirty_pool_test.h"

/* The pages that were harvested and not yet noted are these, each once. */
static void expect_once(struct env *e, uint32_t first, uint32_t nr)
{
	uint8_t *hits = calloc(NR_PAGES, 1);
	uint32_t i, page;

	for (i = 0; i < e->pages.nr; i++)
		hits[e->pages.page[i]]++;
	for (page = 0; page < NR_PAGES; page++)
		TEST_ASSERT(hits[page] == (page >= first && page < first + nr),
			    "Page %u was reported %u times", page, hits[page]);
	free(hits);
}

static void test_mark_stopped(int unused)
{
	uint32_t i, n, room, soft;
	struct env e = {};
	uint64_t marked;
	int ret;

	env_init(&e, 4, 0);
	soft = env_soft_limit(&e);

	step("more pages than fit a ring");
	n = soft + 65;
	ret = __vm_mark_dirty(e.vm, FIRST_SLOT, 3, n, &marked);
	TEST_ASSERT(ret == n && marked == n,
		    "%u pages marked: returned %d, marked %lu", n, ret, marked);
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed == n, "%llu entries for %u pages", e.st.pushed, n);
	for (i = 0, room = 0; i < 4; i++) {
		TEST_ASSERT(e.rings[i].used <= soft, "A mark used ring %u's reserve",
			    i);
		room += e.rings[i].used;
	}
	TEST_ASSERT(room == n, "The rings hold %u entries of %u", room, n);
	for (i = 0; i < 4; i++)
		env_harvest(&e, i, UINT_MAX);
	expect_once(&e, 3, n);
	env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
	env_drain(&e);

	step("more pages than fit the pool");
	env_mark_all(&e);
	env_get_state(&e);
	TEST_ASSERT((e.st.status & KVM_DIRTY_RING_POOL_EXHAUSTED) &&
		    !e.st.reserve_claims && !e.st.overflows,
		    "Status 0x%x, %llu reserve claims", e.st.status,
		    e.st.reserve_claims);

	step("an exhausted pool");
	for (i = 0; i < 3; i++) {
		ret = __vm_mark_dirty(e.vm, FIRST_SLOT + i, 0, 9, &marked);
		TEST_ASSERT(ret == -1 && errno == EAGAIN && !marked,
			    "Returned %d, errno %d, marked %lu", ret, errno, marked);
	}
	room = e.st.pushed;
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed == room, "A mark that was refused pushed entries");

	step("one ring drained");
	env_drain_ring(&e, 2);
	ret = __vm_mark_dirty(e.vm, FIRST_SLOT, 0, soft + 9, &marked);
	TEST_ASSERT(ret == -1 && errno == EAGAIN && marked == soft,
		    "Returned %d, errno %d, marked %lu in room for %u", ret,
		    errno, marked, soft);
	env_drain(&e);

	step("a slot that is not logged");
	ret = __vm_mark_dirty(e.vm, 0, 0, 9, &marked);
	TEST_ASSERT(!ret && !marked, "Returned %d, marked %lu", ret, marked);
	env_fini(&e);
}

/* A device that writes memory and reports it, as a vhost-user back end does. */
static void *device_worker(void *data)
{
	struct env *e = data;
	struct guest_random_state rng = new_guest_random_state(env_opt.seed + 99);
	uint64_t stamp = 0xddull << 56;

	while (atomic_read(&e->running)) {
		uint32_t i = guest_random_u32(&rng) % NR_SLOTS;
		uint64_t first = guest_random_u32(&rng) % slot_pages[i];
		uint64_t n = min(slot_pages[i] - first,
				 1ul + guest_random_u32(&rng) % 100);
		uint64_t page, marked;
		int ret;

		for (page = first; page < first + n; page++)
			WRITE_ONCE(*(uint64_t *)((void *)e->mem[i] + page * PAGE_SIZE),
				   ++stamp);
		do {
			ret = __vm_mark_dirty(e->vm, FIRST_SLOT + i, first, n,
					      &marked);
			TEST_ASSERT(ret == n || (ret == -1 && errno == EAGAIN &&
						 marked < n),
				    "Returned %d, errno %d, marked %lu of %lu",
				    ret, errno, marked, n);
			first += marked;
			n -= marked;
			sched_yield();
		} while (n);
	}
	return NULL;
}

static void test_mark_running(int nr_vcpus)
{
	struct env e = {};
	pthread_t device;

	env_init(&e, nr_vcpus, 0);
	env_set_writes(&e, scale(1500, 400));
	env_start_vcpus(&e);
	pthread_create(&device, NULL, device_worker, &e);
	env_harvest_until_done(&e);
	/* The device may still wait for room. */
	while (pthread_tryjoin_np(device, NULL))
		env_harvest_some(&e);
	env_fini(&e);
}

/*
 * A device that marks all the time has to leave room for a vCPU at the gate: one
 * drain lets the vCPU in, however much is marked before it tries.
 */
static void test_mark_gated(int unused)
{
	uint32_t i, n, flags, soft;
	struct env e = {};
	uint64_t marked;
	int fd;

	need_vcpu_mark();
	env_init(&e, 3, 0);
	fd = vm_dirty_pool_eventfd(e.vm);
	soft = env_soft_limit(&e);
	for (i = 0; i < 3; i++)
		env_set_guest(&e, i, guest_sync);
	for (n = 0; n < 5; n++) {
		step("round %u", n);
		env_mark_all(&e);
		for (i = 0; i < 3; i++)
			env_run_once(&e, i);
		vcpu_mark(e.vcpus[0]);
		env_expect_gated(&e, 0, "with no ring FREE");
		env_drain(&e);
		while (dirty_pool_eventfd_read(fd))
			usleep(10000);
		TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 3 * soft, &marked) == -1 &&
			    errno == EAGAIN && marked == 3 * (soft - 1),
			    "%lu pages marked in room for %u, with a vCPU at the gate",
			    marked, 3 * soft);
		env_get_state(&e);
		TEST_ASSERT(!(e.st.status & (KVM_DIRTY_RING_POOL_PARKED |
					     KVM_DIRTY_RING_POOL_EXHAUSTED)),
			    "Status 0x%x: a ring was parked", e.st.status);
		/* With no ring parked, this is what asks for a drain. */
		env_wait_eventfd(fd);
		/* A mark that is refused does not make room for the next one. */
		for (i = 0; i < 20; i++)
			TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, i, 1, NULL) == -1 &&
				    errno == EAGAIN, "One more page was marked, errno %d", errno);
		flags = env_run_once(&e, 0);
		TEST_ASSERT(!flags, "The vCPU is kept out after a drain, flags 0x%x", flags);
		TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 3, NULL) == 3,
			    "No room for a mark with no vCPU at the gate, errno %d",
			    errno);
		env_drain(&e);
	}

	step("unplug the vCPU that waits");
	env_mark_all(&e);
	for (i = 0; i < 3; i++)
		env_run_once(&e, i);
	vcpu_mark(e.vcpus[0]);
	env_expect_gated(&e, 0, "with no ring FREE");
	env_drain(&e);
	env_unmap_ring(&e, 0);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 2 * soft, NULL) == 2 * soft,
		    "Room is still left for a vCPU that is gone, errno %d", errno);
	env_map_ring(&e, 0);
	close(fd);
	env_fini(&e);
}

/* One call marks each page once, also if it marks more than KVM takes at once. */
static void test_mark_many(int unused)
{
	uint32_t i, n = slot_pages[0] - 2;
	struct env e = {};
	uint64_t marked;
	int ret;

	env_init_entries(&e, 2, 0, max(4096u, ring_entries));
	ret = __vm_mark_dirty(e.vm, FIRST_SLOT, 1, n, &marked);
	TEST_ASSERT(ret == n && marked == n, "%u pages marked: returned %d, marked %lu",
		    n, ret, marked);
	for (i = 0; i < 2; i++)
		env_harvest(&e, i, UINT_MAX);
	expect_once(&e, 1, n);
	env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
	env_fini(&e);
}

static void *signal_sender(void *data)
{
	struct thread_arg *arg = data;

	while (!READ_ONCE(arg->e->quit)) {
		pthread_kill(arg->e->threads[arg->i], SIGUSR2);
		usleep(50);
	}
	return NULL;
}

/* A call that a signal interrupts tells how many pages it has marked. */
static void test_mark_interrupted(int unused)
{
	uint32_t i, first, interrupts = 0, n = slot_pages[0] - 1;
	struct env e = {};
	struct thread_arg arg = { .e = &e };
	pthread_t thread;
	uint64_t marked;
	int ret;

	env_init_entries(&e, 1, 0, 4096);
	e.threads[0] = pthread_self();
	pthread_create(&thread, NULL, signal_sender, &arg);
	for (i = 0; interrupts < 20; i++) {
		step("call %u, %u signals", i, interrupts);
		TEST_ASSERT(i < 5000, "No signal has interrupted a call");
		for (first = 0; first < n; first += marked) {
			ret = __vm_mark_dirty(e.vm, FIRST_SLOT, first, n - first, &marked);
			TEST_ASSERT(ret == -1 ? errno == EINTR && marked < n - first :
				    marked == n - first,
				    "Returned %d, errno %d, %lu pages marked of %u", ret,
				    errno, marked, n - first);
			interrupts += ret == -1;
		}
		env_harvest(&e, 0, UINT_MAX);
		expect_once(&e, 0, n);
		env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
	}
	WRITE_ONCE(e.quit, true);
	pthread_join(thread, NULL);
	e.threads[0] = 0;
	env_fini(&e);
}

const struct test mark_tests[] = {
	{ "mark_stopped",	test_mark_stopped },
	{ "mark_running",	test_mark_running,	3 },
	{ "mark_gated",		test_mark_gated },
	{ "mark_many",		test_mark_many },
	{ "mark_interrupted",	test_mark_interrupted },
	{}
};

/* A mark of the VM that parks ring i makes vCPU i exit, once. */
static void test_mark_kick(int unused)
{
	struct env e = {};
	int fd, i;

	env_init(&e, 3, 0);
	fd = vm_dirty_pool_eventfd(e.vm);
	for (i = 0; i < 3; i++)
		env_set_guest(&e, i, guest_idle);

	step("vCPUs in the guest");
	env_start_vcpus(&e);
	env_mark_all(&e);
	for (i = 0; i < 3; i++) {
		step("vCPU %d to exit", i);
		wait_for(READ_ONCE(e.parked[i]), "its exit");
		TEST_ASSERT(e.vcpus[i]->run->dirty_ring_pool.ring == i,
			    "vCPU %d exited for ring %u", i,
			    e.vcpus[i]->run->dirty_ring_pool.ring);
	}
	env_wait_eventfd(fd);
	env_set_stop(&e, 1);
	env_join_vcpus(&e);
	for (i = 0; i < 3; i++)
		TEST_ASSERT(e.parked[i] == 1 && e.exhausted[i] <= 1,
			    "vCPU %d exited %lu times for one park", i,
			    e.parked[i]);
	env_drain(&e);

	step("vCPUs out of the guest");
	for (i = 0; i < 3; i++)
		env_set_guest(&e, i, guest_sync);
	env_mark_all(&e);
	for (i = 0; i < 3; i++) {
		TEST_ASSERT(env_run_once(&e, i) & KVM_DIRTY_RING_POOL_PARKED &&
			    e.vcpus[i]->run->dirty_ring_pool.ring == i,
			    "vCPU %d did not exit for its ring", i);
		TEST_ASSERT(!env_run_once(&e, i), "vCPU %d exited twice for one park", i);
	}
	env_drain(&e);

	step("rings that were drained before the vCPU looks");
	env_mark_all(&e);
	env_drain(&e);
	for (i = 0; i < 3; i++)
		TEST_ASSERT(!env_run_once(&e, i), "vCPU %d exited for a drained ring", i);
	close(fd);
	env_fini(&e);
}

static void test_mark_nostop(int unused)
{
	struct env e = {};
	int fd, i;

	env_init(&e, 2, KVM_DIRTY_RING_POOL_NOSTOP);
	fd = vm_dirty_pool_eventfd(e.vm);
	for (i = 0; i < 2; i++)
		env_set_guest(&e, i, guest_idle);
	env_start_vcpus(&e);
	env_mark_all(&e);
	env_wait_eventfd(fd);
	env_set_stop(&e, 1);
	env_join_vcpus(&e);
	for (i = 0; i < 2; i++)
		TEST_ASSERT(!e.parked[i] && !e.exhausted[i],
			    "vCPU %d exited for a mark, which NOSTOP forbids", i);
	close(fd);
	env_fini(&e);
}

#define TESTMOD		"/sys/kernel/debug/kvm_dirty_pool_testmod"

void testmod_open(struct testmod *mod)
{
	mod->loaded = false;
	mod->module = open(testmod_path, O_RDONLY | O_CLOEXEC);
	if (mod->module >= 0)
		mod->loaded = !syscall(SYS_finit_module, mod->module, "", 0);
	mod->fd = open(TESTMOD, O_WRONLY | O_CLOEXEC);
	if (mod->fd < 0)
		skip("no %s", testmod_path);
}

static void testmod_write(struct testmod *mod, const char *line)
{
	TEST_ASSERT(write(mod->fd, line, strlen(line)) == strlen(line),
		    "write(\"%s\"): %s", line, strerror(errno));
}

void testmod_mark(struct testmod *mod, struct kvm_vm *vm, uint64_t gpa,
		  uint32_t nr_pages, uint32_t times)
{
	char line[80];

	snprintf(line, sizeof(line), "%d 0x%llx %u %u", vm->fd, gpa / PAGE_SIZE,
		 nr_pages, times);
	testmod_write(mod, line);
}

void testmod_close(struct testmod *mod)
{
	close(mod->fd);
	if (mod->loaded)
		syscall(SYS_delete_module, "dirty_pool_testmod", O_NONBLOCK);
	close(mod->module);
}

struct irq_marker {
	struct env *e;
	struct testmod mod;
	bool done;
	uint64_t made;
};

/*
 * Every mark was harvested or counted as lost.  The vCPU's marks are lost, too,
 * if the host preempts the owner of the only ring.
 */
static bool irq_marks_accounted(struct irq_marker *m)
{
	struct kvm_dirty_ring_pool_state st;
	uint64_t n = READ_ONCE(m->e->irq_marks);

	vm_dirty_pool_state(m->e->vm, 0, &st, NULL, 0);
	return n + st.overflows >= m->made;
}

static void *irq_marker(void *data)
{
	struct guest_random_state rng = new_guest_random_state(env_opt.seed + 77);
	struct irq_marker *m = data;
	uint32_t round, n;

	for (round = 0; round < scale(80, 20); round++) {
		n = 1 + guest_random_u32(&rng) % IRQ_PAGES;
		testmod_mark(&m->mod, m->e->vm, SLOT_GPA(NR_SLOTS), IRQ_PAGES, n);
		m->made += n;
		/* A reserve holds all marks that are under way. */
		wait_for(irq_marks_accounted(m), "marks from interrupts");
	}
	WRITE_ONCE(m->done, true);
	return NULL;
}

/*
 * Timers on all CPUs mark pages from hard interrupts, while a vCPU and a device
 * mark others: many interrupts hit a claim.  If it is the claim of the only ring,
 * the mark ends in OVERFLOW; with more rings nothing may be lost.
 */
static void test_mark_irq(int nr_vcpus)
{
	struct irq_marker m = {};
	pthread_t thread, device;
	struct env e = {};

	testmod_open(&m.mod);
	env_init(&e, nr_vcpus, 0);
	vm_userspace_mem_region_add(e.vm, VM_MEM_SRC_ANONYMOUS,
				    SLOT_GPA(NR_SLOTS), IRQ_SLOT, IRQ_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	m.e = &e;
	env_set_writes(&e, UINT64_MAX);
	env_start_vcpu(&e, 0);
	pthread_create(&device, NULL, device_worker, &e);
	pthread_create(&thread, NULL, irq_marker, &m);
	while (!READ_ONCE(m.done))
		env_harvest_some(&e);
	pthread_join(thread, NULL);
	env_set_stop(&e, 1);
	while (atomic_read(&e.running) || pthread_tryjoin_np(device, NULL))
		env_harvest_some(&e);
	pthread_join(e.threads[0], NULL);

	env_drain(&e);
	ksft_print_msg("%lu marks from interrupts, %lu harvested, %llu overflows\n",
		       m.made, e.irq_marks, e.st.overflows);
	TEST_ASSERT(m.made >= e.irq_marks && irq_marks_accounted(&m),
		    "%lu marks from interrupts, but %lu were harvested",
		    m.made, e.irq_marks);
	TEST_ASSERT(!e.st.overflows == !(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW),
		    "Status 0x%x with %llu marks lost", e.st.status,
		    e.st.overflows);
	if (nr_vcpus > 1)
		env_check(&e);
	env_free(&e);
	testmod_close(&m.mod);
}

/*
 * A mark in an interrupt belongs to no vCPU, also if it interrupts one: the VM takes
 * the ring over once, and keeps it.
 */
static void test_mark_irq_user(int unused)
{
	struct testmod mod;
	struct env e = {};
	uint32_t i, n = 100;

	testmod_open(&mod);
	env_init(&e, 1, 0);
	vm_userspace_mem_region_add(e.vm, VM_MEM_SRC_ANONYMOUS,
				    SLOT_GPA(NR_SLOTS), IRQ_SLOT, IRQ_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	env_set_guest(&e, 0, guest_idle);
	env_start_vcpus(&e);
	/* Each is made on the CPU whose timer fires first. */
	for (i = 0; i < n; i++)
		testmod_mark(&mod, e.vm, SLOT_GPA(NR_SLOTS), IRQ_PAGES, 1);
	env_stop_vcpus(&e);
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed == n && e.st.claims == n && e.st.moves == 1,
		    "%u marks of the VM: %llu pushed, %llu claims, %llu moves", n,
		    e.st.pushed, e.st.claims, e.st.moves);
	env_fini(&e);
	testmod_close(&mod);
}

/* A mark that is made while a vCPU of another VM is the running one. */
static void test_mark_other_vm(int unused)
{
	struct kvm_dirty_ring_pool_state st;
	struct kvm_vm *other;
	struct testmod mod;
	struct env e = {};
	uint32_t n = 100;
	char line[80];

	testmod_open(&mod);
	env_init(&e, 1, 0);
	vm_userspace_mem_region_add(e.vm, VM_MEM_SRC_ANONYMOUS,
				    SLOT_GPA(NR_SLOTS), IRQ_SLOT, IRQ_PAGES,
				    KVM_MEM_LOG_DIRTY_PAGES);
	other = vm_create_barebones();
	vm_enable_dirty_pool(other, ring_entries, 0);
	__vm_vcpu_add(other, 0);
	snprintf(line, sizeof(line), "%d 0x%llx %u %u %d", e.vm->fd,
		 SLOT_GPA(NR_SLOTS) / PAGE_SIZE, IRQ_PAGES, n, other->fd);
	testmod_write(&mod, line);
	vm_dirty_pool_state(other, 0, &st, NULL, 0);
	env_get_state(&e);
	TEST_ASSERT(e.st.pushed == n && e.st.moves == 1 && !st.claims,
		    "%u marks: %llu pushed, %llu moves, %llu claims of the other VM's rings",
		    n, e.st.pushed, e.st.moves, st.claims);
	env_drain(&e);
	TEST_ASSERT(e.irq_marks == n, "%u marks, but %lu were harvested", n,
		    e.irq_marks);
	kvm_vm_free(other);
	env_fini(&e);
	testmod_close(&mod);
}

/* Pages that are in no memslot, or in one that is not logged, take no room. */
static void test_mark_irq_unlogged(int unused)
{
	struct testmod mod;
	struct env e = {};

	testmod_open(&mod);
	env_init(&e, 1, 0);
	testmod_mark(&mod, e.vm, SLOT_GPA(NR_SLOTS), 1, 5);
	testmod_mark(&mod, e.vm, 0, 1, 5);
	env_get_state(&e);
	TEST_ASSERT(!e.st.pushed && !e.st.claims && !e.st.overflows,
		    "%llu entries, %llu claims, %llu marks lost", e.st.pushed,
		    e.st.claims, e.st.overflows);
	env_fini(&e);
	testmod_close(&mod);
}

static void *entering_vcpu(void *data)
{
	struct env *e = data;

	while (!READ_ONCE(e->quit))
		env_run_once(e, 0);
	return NULL;
}

/* A vCPU that enters the guest all the time exits once for each park of its ring. */
static void test_mark_entering(int unused)
{
	uint32_t i, soft, n = scale(200, 100);
	struct env e = {};
	pthread_t thread;

	env_init(&e, 1, 0);
	soft = env_soft_limit(&e);
	env_set_guest(&e, 0, guest_sync);
	pthread_create(&thread, NULL, entering_vcpu, &e);
	for (i = 0; i < n; i++) {
		step("ring parked %u times", i);
		TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, soft, NULL) == soft,
			    "Can't mark %u pages, errno %d", soft, errno);
		wait_for(READ_ONCE(e.parked[0]) == i + 1, "the exit for a parked ring");
		env_drain(&e);
	}
	WRITE_ONCE(e.quit, true);
	pthread_join(thread, NULL);
	env_fini(&e);
}

const struct test mark_event_tests[] = {
	{ "mark_kick",		test_mark_kick },
	{ "mark_nostop",	test_mark_nostop },
	/* Two CPUs, and interrupts on both: four may hold a ring. */
	{ "mark_irq",		test_mark_irq,		5 },
	{ "mark_irq_one_ring",	test_mark_irq,		1 },
	{ "mark_irq_user",	test_mark_irq_user },
	{ "mark_other_vm",	test_mark_other_vm },
	{ "mark_irq_unlogged",	test_mark_irq_unlogged },
	{ "mark_entering",	test_mark_entering },
	{}
};
