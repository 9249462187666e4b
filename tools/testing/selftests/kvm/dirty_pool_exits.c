// SPDX-License-Identifier: GPL-2.0-only
/*
 * A full ring is parked: the exit and the eventfd that report it, and when the
 * kernel uses the ring again.
 */
#include <sys/eventfd.h>

#include "dirty_pool_test.h"

static void test_park_exit(int unused)
{
	uint32_t flags, ring, ring2, used;
	struct env e = {};
	bool pml;
	int fd;

	env_init(&e, 4, 0);
	pml = env_has_page_log(&e);
	env_set_guest(&e, 0, guest_sequential);
	fd = vm_dirty_pool_eventfd(e.vm);

	step("the first ring that is parked");
	flags = env_run_to_full(&e, 0);
	env_wait_eventfd(fd);
	close(fd);
	ring = e.vcpus[0]->run->dirty_ring_pool.ring;
	TEST_ASSERT(flags & KVM_DIRTY_RING_POOL_PARKED,
		    "The first exit has flags 0x%x, not PARKED", flags);
	env_get_state(&e);
	used = e.rings[ring].used;
	TEST_ASSERT(e.rings[ring].state & KVM_DIRTY_RING_PARKED,
		    "Ring %u in the exit has state 0x%x", ring, e.rings[ring].state);
	TEST_ASSERT(used >= e.rings[ring].soft_limit,
		    "Ring %u is parked with %u entries", ring, used);
	TEST_ASSERT(e.st.status & KVM_DIRTY_RING_POOL_PARKED,
		    "Status 0x%x with a parked ring", e.st.status);

	/* Batches may have parked all rings at once. */
	if (pml) {
		env_drain(&e);
		env_set_guest(&e, 0, guest_sync);
		goto out;
	}
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_PARKED) == 1 &&
		    e.st.parks == 1 && used == e.rings[ring].soft_limit,
		    "One exit, but %llu rings were parked; ring %u has %u entries",
		    e.st.parks, ring, used);
	TEST_ASSERT(!((flags | e.st.status) & KVM_DIRTY_RING_POOL_EXHAUSTED),
		    "The pool is EXHAUSTED with three rings FREE");

	step("the vCPU runs on, with another ring");
	flags = env_run_to_full(&e, 0);
	ring2 = e.vcpus[0]->run->dirty_ring_pool.ring;
	TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) && ring2 != ring,
		    "The next exit has flags 0x%x and ring %u after ring %u",
		    flags, ring2, ring);
	env_get_state(&e);
	TEST_ASSERT(e.rings[ring].used == used,
		    "Ring %u went from %u to %u entries while parked", ring,
		    used, e.rings[ring].used);

	step("the last rings");
	flags = env_run_to_full(&e, 0);
	flags = env_run_to_full(&e, 0);
	TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) &&
		    e.st.reserve_claims == 0, "Flags 0x%x when the last ring is parked",
		    flags);
	env_get_state(&e);
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_PARKED) == 4 &&
		    e.st.parks == 4, "4 exits, %llu parks", e.st.parks);
	flags = env_run_to_full(&e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_EXHAUSTED,
		    "Flags 0x%x with no ring FREE", flags);
out:
	TEST_ASSERT(e.parked[1] + e.parked[2] + e.parked[3] == 0,
		    "A vCPU that did not run exited");
	env_fini(&e);
}

/* Mark one page at a time until a ring is parked; returns which one. */
static uint32_t mark_to_park(struct env *e, uint32_t *page)
{
	uint64_t parks;
	uint32_t i, was = 0;

	env_get_state(e);
	parks = e->st.parks;
	for (i = 0; i < e->st.nr_rings; i++)
		was |= (e->rings[i].state & KVM_DIRTY_RING_PARKED ? 1 : 0) << i;

	while (e->st.parks == parks) {
		TEST_ASSERT(*page < slot_pages[0], "No ring was ever parked");
		TEST_ASSERT(__vm_mark_dirty(e->vm, FIRST_SLOT, *page, 1, NULL) == 1,
			    "Can't mark page %u, errno %d", *page, errno);
		(*page)++;
		env_get_state(e);
	}

	for (i = 0; i < e->st.nr_rings; i++) {
		if (e->rings[i].state & KVM_DIRTY_RING_PARKED && !(was & 1 << i))
			return i;
	}
	TEST_FAIL("%llu parks, but no other ring is parked", e->st.parks);
}

static void test_park_handout(int unused)
{
	uint32_t ring, ring2, used, n, page = 0;
	struct env e = {};
	uint64_t claims;

	env_init(&e, 3, 0);
	step("the first ring");
	ring = mark_to_park(&e, &page);
	claims = e.rings[ring].claims;
	used = e.rings[ring].used;
	TEST_ASSERT(used == e.rings[ring].soft_limit,
		    "Ring %u is parked with %u entries", ring, used);

	step("the second ring");
	ring2 = mark_to_park(&e, &page);
	TEST_ASSERT(e.rings[ring].claims == claims && e.rings[ring].used == used,
		    "Ring %u was handed out while it was parked", ring);

	step("a partial drain");
	n = env_harvest(&e, ring, used - 1);
	TEST_ASSERT(n == used - 1, "%u entries of %u harvested", n, used - 1);
	env_note_pages(&e, &e.pages, vm_reset_dirty_ring(e.vm, ring));
	env_get_state(&e);
	TEST_ASSERT(e.rings[ring].state == KVM_DIRTY_RING_PARKED &&
		    e.rings[ring].used == 1,
		    "Ring %u has state 0x%x with one entry left", ring,
		    e.rings[ring].state);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, page++, 1, NULL) == 1,
		    "Can't mark with one ring FREE, errno %d", errno);
	env_get_state(&e);
	TEST_ASSERT(e.rings[ring].claims == claims,
		    "Ring %u was handed out with one entry left", ring);

	step("the rest of it");
	env_drain_ring(&e, ring);
	env_get_state(&e);
	TEST_ASSERT(!e.rings[ring].state && !e.rings[ring].used && e.st.drains == 1,
		    "Ring %u has state 0x%x, %u entries after its drain", ring,
		    e.rings[ring].state, e.rings[ring].used);

	step("the ring is handed out again");
	n = 0;
	while (mark_to_park(&e, &page) != ring)
		TEST_ASSERT(++n < 3, "Ring %u is FREE and never handed out", ring);
	TEST_ASSERT(!(e.rings[ring2].state & ~KVM_DIRTY_RING_PARKED),
		    "Ring %u has state 0x%x", ring2, e.rings[ring2].state);
	env_fini(&e);
}

static void test_nostop(int unused)
{
	struct env e = {};
	uint64_t signals;
	uint32_t flags;
	int fd, n;

	env_init(&e, 4, KVM_DIRTY_RING_POOL_NOSTOP);
	env_get_state(&e);
	TEST_ASSERT(e.st.cap_flags == KVM_DIRTY_RING_POOL_NOSTOP,
		    "The state has flags 0x%x", e.st.cap_flags);
	fd = vm_dirty_pool_eventfd(e.vm);
	env_set_guest(&e, 0, guest_sequential);

	for (n = 0; n < 3; n++) {
		step("round %d", n);
		flags = env_run_to_full(&e, 0);
		TEST_ASSERT(flags & KVM_DIRTY_RING_POOL_EXHAUSTED,
			    "Flags 0x%x: NOSTOP did not prevent the exit", flags);
		env_get_state(&e);
		TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_PARKED) == 4,
			    "The vCPU exited with %u of 4 rings parked",
			    env_rings_in_state(&e, KVM_DIRTY_RING_PARKED));
		signals = env_wait_eventfd(fd);
		TEST_ASSERT(signals <= e.st.parks, "%lu signals for %llu parks",
			    signals, e.st.parks);
		env_drain(&e);
	}
	close(fd);
	env_fini(&e);
}

/* Only the eventfd that was set last is signalled, until it is removed. */
static void test_eventfd(int unused)
{
	struct env e = {};
	int old, fd;

	env_init(&e, 2, 0);
	old = vm_dirty_pool_eventfd(e.vm);
	env_mark_all(&e);
	env_wait_eventfd(old);
	env_drain(&e);

	step("another eventfd");
	fd = vm_dirty_pool_eventfd(e.vm);
	/* Until here, a signal may still arrive at the old one. */
	dirty_pool_eventfd_read(old);
	env_mark_all(&e);
	env_wait_eventfd(fd);
	TEST_ASSERT(!dirty_pool_eventfd_read(old),
		    "The replaced eventfd was signalled");
	env_drain(&e);

	step("no eventfd");
	TEST_ASSERT(!__vm_dirty_pool_eventfd(e.vm, -1, 0),
		    "Can't remove the eventfd, errno %d", errno);
	dirty_pool_eventfd_read(fd);
	env_mark_all(&e);
	TEST_ASSERT(!dirty_pool_eventfd_read(fd),
		    "The removed eventfd was signalled");
	TEST_ASSERT(!__vm_dirty_pool_eventfd(e.vm, -1, 0),
		    "Can't remove the eventfd where there is none, errno %d", errno);
	close(old);
	close(fd);
	env_fini(&e);
}

/* If several rings were parked since the last exit, the exit names the last one. */
static void test_exit_last_ring(int unused)
{
	uint32_t soft, first, last, flags;
	struct env e = {};

	need_vcpu_mark();
	env_init(&e, 2, 0);
	soft = env_soft_limit(&e);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 2 * soft - 1, NULL) ==
		    2 * soft - 1, "Can't mark %u pages, errno %d", 2 * soft - 1,
		    errno);
	env_get_state(&e);
	first = e.rings[0].state ? 0 : 1;
	last = 1 - first;
	TEST_ASSERT(e.rings[first].state == KVM_DIRTY_RING_PARKED &&
		    !e.rings[last].state, "Rings have states 0x%x and 0x%x",
		    e.rings[0].state, e.rings[1].state);

	/* The VM's marks have parked this vCPU's ring, its own mark parks the other. */
	env_set_guest(&e, first, guest_sync);
	vcpu_mark(e.vcpus[first]);
	flags = env_run_once(&e, first);
	TEST_ASSERT((flags & KVM_DIRTY_RING_POOL_PARKED) &&
		    e.vcpus[first]->run->dirty_ring_pool.ring == last,
		    "Flags 0x%x, ring %u, after ring %u and then ring %u was parked",
		    flags, e.vcpus[first]->run->dirty_ring_pool.ring, first, last);
	env_fini(&e);
}

/* A parked ring is reported also if its reserve has been used by then. */
static void test_exit_reserve_used(int unused)
{
	uint32_t soft, flags;
	struct env e = {};

	need_vcpu_mark();
	env_init(&e, 1, 0);
	soft = env_soft_limit(&e);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, soft, NULL) == soft,
		    "Can't mark %u pages, errno %d", soft, errno);
	env_set_guest(&e, 0, guest_sync);
	vcpu_mark(e.vcpus[0]);
	env_get_state(&e);
	TEST_ASSERT(e.rings[0].state == (KVM_DIRTY_RING_PARKED |
					 KVM_DIRTY_RING_RESERVE),
		    "The ring has state 0x%x", e.rings[0].state);
	flags = env_run_once(&e, 0);
	TEST_ASSERT(flags == (KVM_DIRTY_RING_POOL_PARKED |
			      KVM_DIRTY_RING_POOL_EXHAUSTED) &&
		    e.vcpus[0]->run->dirty_ring_pool.ring == 0,
		    "Flags 0x%x, ring %u", flags,
		    e.vcpus[0]->run->dirty_ring_pool.ring);
	env_fini(&e);
}

/* The id of a new eventfd: the first one that is free. */
static int eventfd_id(void)
{
	int fd = eventfd(0, EFD_CLOEXEC), id = -1;
	char path[64], line[80];
	FILE *file;

	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("eventfd()", fd));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "eventfd-id: %d", &id);
	if (file)
		fclose(file);
	close(fd);
	return id;
}

/* KVM drops the eventfd that is replaced or removed, and the last one with the VM. */
static void test_eventfd_freed(int unused)
{
	int i, id = eventfd_id();
	struct kvm_vm *vm;

	if (id < 0)
		skip("no ids of eventfds");
	vm = vm_create_barebones();
	vm_enable_dirty_pool(vm, ring_entries, 0);
	for (i = 0; i < 100; i++) {
		close(vm_dirty_pool_eventfd(vm));
		if (i % 2)
			__vm_dirty_pool_eventfd(vm, -1, 0);
	}
	TEST_ASSERT(eventfd_id() < id + 30, "Eventfds that were replaced or removed still exist");
	kvm_vm_free(vm);

	for (i = 0; i < 30; i++) {
		vm = vm_create_barebones();
		vm_enable_dirty_pool(vm, ring_entries, 0);
		close(vm_dirty_pool_eventfd(vm));
		kvm_vm_free(vm);
	}
	TEST_ASSERT(eventfd_id() < id + 20, "The eventfds of VMs that are gone still exist");
}

static void *refused_marker(void *data)
{
	struct env *e = data;

	while (!READ_ONCE(e->quit))
		__vm_mark_dirty(e->vm, FIRST_SLOT, 0, 1, NULL);
	return NULL;
}

/* No signal to the old eventfd is under way when the call has returned. */
static void test_eventfd_replaced(int unused)
{
	uint32_t i, n = scale(30, 15);
	struct env e = {};
	pthread_t thread;
	int fds[2];

	env_init(&e, 1, 0);
	for (i = 0; i < 2; i++)
		fds[i] = vm_dirty_pool_eventfd(e.vm);
	env_mark_all(&e);
	/* Each mark that is refused signals. */
	pthread_create(&thread, NULL, refused_marker, &e);
	for (i = 0; i < n; i++) {
		int new = fds[i % 2], old = fds[1 - i % 2];

		step("replaced %u times", i);
		TEST_ASSERT(!__vm_dirty_pool_eventfd(e.vm, new, 0),
			    "Can't replace the eventfd, errno %d", errno);
		dirty_pool_eventfd_read(old);
		env_wait_eventfd(new);
		usleep(1000);
		TEST_ASSERT(!dirty_pool_eventfd_read(old),
			    "The old eventfd was signalled after it was replaced");
	}
	WRITE_ONCE(e.quit, true);
	pthread_join(thread, NULL);
	for (i = 0; i < 2; i++)
		close(fds[i]);
	env_fini(&e);
}

const struct test exit_tests[] = {
	{ "park_exit",		test_park_exit },
	{ "park_handout",	test_park_handout },
	{ "nostop",		test_nostop },
	{ "eventfd",		test_eventfd },
	{ "exit_last_ring",	test_exit_last_ring },
	{ "exit_reserve_used",	test_exit_reserve_used },
	{ "eventfd_freed",	test_eventfd_freed },
	{ "eventfd_replaced",	test_eventfd_replaced },
	{}
};
