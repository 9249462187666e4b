// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM that unplugs a vCPU unmaps its ring, and does not harvest it any more.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dirty_pool_test.h"

/* Harvest and reset all rings that are mapped. */
static uint32_t harvest_mapped(struct env *e)
{
	uint32_t i, n = 0;

	for (i = 0; i < e->nr_vcpus; i++)
		n += e->vcpus[i]->dirty_gfns ? env_harvest(e, i, UINT_MAX) : 0;
	env_note_pages(e, &e->pages, vm_reset_dirty_rings(e->vm));
	return n;
}

static void test_unplug(int unused)
{
	uint32_t i, n, used, soft, page = 0;
	struct env e = {};

	env_init(&e, 3, 0);
	soft = env_soft_limit(&e);

	step("a ring with harvested and other entries");
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 2 * soft, NULL) == 2 * soft,
		    "Can't mark %u pages", 2 * soft);
	env_get_state(&e);
	for (i = 0; i < 3 && e.rings[i].used < 2; i++)
		;
	used = e.rings[i].used;
	n = env_harvest(&e, i, used / 2);
	env_unmap_ring(&e, i);
	e.moved += used - n;
	e.reset += n;
	env_note_pages(&e, &e.pages, 0);
	env_get_state(&e);
	TEST_ASSERT(e.rings[i].state == KVM_DIRTY_RING_DETACHED &&
		    !e.rings[i].used && !e.st.overflows,
		    "Ring %u has state 0x%x, %u entries; %llu overflows", i,
		    e.rings[i].state, e.rings[i].used, e.st.overflows);
	while (harvest_mapped(&e))
		;
	env_check_reported(&e, 0, 2 * soft);

	step("the kernel does not use it");
	n = e.rings[i].claims;
	while (__vm_mark_dirty(e.vm, FIRST_SLOT, page++, 1, NULL) == 1)
		;
	env_get_state(&e);
	TEST_ASSERT(e.rings[i].claims == n && !e.rings[i].used &&
		    (e.st.status & KVM_DIRTY_RING_POOL_EXHAUSTED) &&
		    page - 1 == 2 * soft,
		    "%u pages were marked with one of 3 rings unmapped, %u claims of it",
		    page - 1, (uint32_t)e.rings[i].claims - n);
	TEST_ASSERT(!vm_reset_dirty_ring(e.vm, i), "A ring that is unmapped was reset");

	step("mapped again");
	env_map_ring(&e, i);
	env_get_state(&e);
	TEST_ASSERT(!e.rings[i].state && !e.rings[i].used,
		    "Ring %u has state 0x%x, %u entries", i, e.rings[i].state,
		    e.rings[i].used);
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, soft, NULL) == soft,
		    "Can't mark %u pages", soft);
	TEST_ASSERT(env_harvest(&e, i, UINT_MAX) == soft,
		    "Not all of %u entries are in ring %u from its first on", soft, i);
	env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
	env_drain(&e);

	step("vCPUs run");
	env_run_round(&e, 500);
	env_fini(&e);
}

/* Without room, entries of the ring are lost; the gate does not wait for them. */
static void test_unplug_full(int unused)
{
	uint32_t i, flags, rsvd, soft;
	struct env e = {};
	uint64_t lost;

	need_vcpu_mark();
	env_init(&e, 3, 0);
	for (i = 0; i < 3; i++)
		env_set_guest(&e, i, guest_sync);
	soft = env_soft_limit(&e);
	rsvd = ring_entries - soft;

	step("unmap a full ring while the others are full");
	env_mark_all(&e);
	env_unmap_ring(&e, 2);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == soft - min(soft, 2 * rsvd) &&
		    e.rings[0].used + e.rings[1].used == 2 * soft +
							 min(soft, 2 * rsvd),
		    "%llu entries lost of %u, room for %u", e.st.overflows, soft,
		    2 * rsvd);
	while (harvest_mapped(&e))
		;
	vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &e.st, NULL, 0);
	env_map_ring(&e, 2);

	step("unmap a ring with reserve entries");
	env_mark_all(&e);
	for (i = 0; i < 3; i++)
		env_run_once(&e, i);
	vcpu_mark(e.vcpus[0]);
	env_get_state(&e);
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE) == 1,
		    "%u rings have reserve entries",
		    env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE));
	for (i = 0; !(e.rings[i].state & KVM_DIRTY_RING_RESERVE); i++)
		;
	env_expect_gated(&e, 0, "with a reserve entry");
	for (flags = 0; flags < 3; flags++) {
		if (flags != i)
			env_drain_ring(&e, flags);
	}
	env_expect_gated(&e, 0, "with a reserve entry");
	env_unmap_ring(&e, i);
	flags = env_run_once(&e, 0);
	TEST_ASSERT(!flags, "The gate is shut for a ring that is unmapped, flags 0x%x",
		    flags);
	while (harvest_mapped(&e))
		;

	step("unmap all of them");
	for (i = 0; i < 3; i++) {
		if (e.vcpus[i]->dirty_gfns)
			env_unmap_ring(&e, i);
	}
	TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 1, NULL) == -1 &&
		    errno == EAGAIN, "A page was marked without rings, errno %d", errno);
	env_get_state(&e);
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_DETACHED) == 3 &&
		    (e.st.status & KVM_DIRTY_RING_POOL_EXHAUSTED),
		    "Status 0x%x without rings", e.st.status);
	vcpu_mark(e.vcpus[0]);
	env_get_state(&e);
	TEST_ASSERT(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW,
		    "A mark without rings was lost, and OVERFLOW is not set");
	flags = env_run_once(&e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_OVERFLOW, "Flags 0x%x without rings",
		    flags);
	for (i = 0; i < 3; i++) {
		flags = env_run_once(&e, i);
		TEST_ASSERT(!flags, "vCPU %u is kept out without rings, flags 0x%x",
			    i, flags);
	}
	for (i = 0; i < 3; i++)
		env_map_ring(&e, i);
	vm_dirty_pool_state(e.vm, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW, &e.st, NULL, 0);
	flags = env_run_once(&e, 0);
	TEST_ASSERT(!flags, "Flags 0x%x with all rings mapped again", flags);
	env_mark_all(&e);

	step("unmap rings with entries of slots that are not logged any more");
	for (i = 0; i < NR_SLOTS; i++)
		vm_mem_region_set_flags(e.vm, FIRST_SLOT + i, 0);
	env_get_state(&e);
	lost = e.st.overflows;
	for (i = 0; i < 3; i++)
		env_unmap_ring(&e, i);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == lost && !(e.st.status &
						KVM_DIRTY_RING_POOL_OVERFLOW),
		    "%llu entries of slots that are not logged count as lost",
		    e.st.overflows - lost);
	env_free(&e);
}

static void expect_attached(struct env *e, int i, bool attached, const char *when)
{
	env_get_state(e);
	TEST_ASSERT(!(e->rings[i].state & KVM_DIRTY_RING_DETACHED) == attached,
		    "Ring %d has state 0x%x %s", i, e->rings[i].state, when);
}

/* Which mappings of a ring keep it in the pool? */
static void test_unplug_mappings(int unused)
{
	uint32_t bytes = ring_entries * sizeof(struct kvm_dirty_gfn);
	void *map, *second, *whole;
	int fd, status, size;
	struct env e = {};
	pid_t pid;

	/* At least two pages, for a part to be unmapped. */
	env_init_entries(&e, 2, 0, max(2 * ring_entries,
				       2 * (uint32_t)getpagesize() / 16));
	bytes = e.vm->dirty_ring_size;
	fd = e.vcpus[1]->fd;
	map = e.vcpus[1]->dirty_gfns;
	size = getpagesize();

	step("parts");
	TEST_ASSERT(munmap(map, size) && errno == EINVAL,
		    "A part of a ring was unmapped, errno %d", errno);
	TEST_ASSERT(mprotect(map, size, PROT_READ) && errno == EINVAL,
		    "A part of a ring was protected, errno %d", errno);
	TEST_ASSERT(mremap(map, bytes, bytes - size, 0) == MAP_FAILED,
		    "A ring's mapping shrank");
	TEST_ASSERT(mremap(map, bytes, bytes + size, MREMAP_MAYMOVE) == MAP_FAILED,
		    "A ring's mapping grew");
	expect_attached(&e, 1, true, "after calls that failed");

	step("moved");
	map = mremap(map, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
		     mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	TEST_ASSERT(map != MAP_FAILED, "mremap(): %s", strerror(errno));
	e.vcpus[1]->dirty_gfns = map;
	expect_attached(&e, 1, true, "when its mapping has moved");

	step("two");
	second = mmap(NULL, size, PROT_READ, MAP_SHARED, fd,
		      size * KVM_DIRTY_LOG_PAGE_OFFSET);
	TEST_ASSERT(second != MAP_FAILED, "mmap(): %s", strerror(errno));
	munmap(second, size);
	expect_attached(&e, 1, true, "when one of two mappings is gone");

	step("with the rest of the vCPU");
	whole = mmap(NULL, size * KVM_DIRTY_LOG_PAGE_OFFSET + bytes,
		     PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TEST_ASSERT(whole != MAP_FAILED, "mmap(): %s", strerror(errno));
	munmap(map, bytes);
	expect_attached(&e, 1, true, "when another one has all of it");
	TEST_ASSERT(munmap(whole + size * KVM_DIRTY_LOG_PAGE_OFFSET, bytes) &&
		    errno == EINVAL, "The ring's part was unmapped");
	munmap(whole, size * KVM_DIRTY_LOG_PAGE_OFFSET + bytes);
	expect_attached(&e, 1, false, "when all mappings are gone");

	step("other mappings of the vCPU");
	second = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect_attached(&e, 1, false, "when kvm_run is mapped");
	munmap(second, size);
	second = mmap(NULL, size, PROT_READ, MAP_SHARED, fd,
		      size * KVM_DIRTY_LOG_PAGE_OFFSET + bytes);
	TEST_ASSERT(second != MAP_FAILED, "mmap(): %s", strerror(errno));
	expect_attached(&e, 1, false, "when the page behind it is mapped");
	munmap(second, size);
	e.vcpus[1]->dirty_gfns = NULL;
	env_map_ring(&e, 1);
	expect_attached(&e, 1, true, "when it is mapped");

	step("a child's");
	pid = fork();
	TEST_ASSERT(pid >= 0, __KVM_SYSCALL_ERROR("fork()", pid));
	if (!pid) {
		munmap(e.vcpus[1]->dirty_gfns, bytes);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	expect_attached(&e, 1, true, "when a child has unmapped it");
	pid = fork();
	if (!pid)
		_exit(pause());
	munmap(e.vcpus[1]->dirty_gfns, bytes);
	e.vcpus[1]->dirty_gfns = NULL;
	expect_attached(&e, 1, false, "when only a child has it mapped");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	env_map_ring(&e, 1);

	step("not mapped yet");
	e.vcpus[2] = __vm_vcpu_add(e.vm, 2);
	while (__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 100, NULL) == 100)
		;
	expect_attached(&e, 2, true, "before it is mapped");
	TEST_ASSERT(e.rings[2].used == e.rings[2].soft_limit,
		    "A ring that is not mapped yet has %u entries", e.rings[2].used);
	env_map_ring(&e, 2);
	e.nr_vcpus++;
	env_fini(&e);
}

/* A ring is unmapped and mapped again and again while vCPUs write. */
static void test_unplug_running(int nr_vcpus)
{
	uint32_t i, ring, lost, soft, last = nr_vcpus - 1;
	struct env e = {};

	env_init(&e, nr_vcpus, 0);
	soft = env_soft_limit(&e);
	/* The vCPU of the last ring is unplugged. */
	env_set_guest(&e, last, guest_sync);
	env_set_writes(&e, scale(3000, 800));
	env_start_vcpus(&e);
	e.nr_vcpus--;
	for (i = 0; atomic_read(&e.running); i++) {
		env_harvest_some(&e);
		if (i % 8 == 4) {
			/*
			 * Have entries in every ring, but few in this one: the
			 * others have room for them, if vCPUs leave it.
			 */
			__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 2 * soft, NULL);
			for (ring = 0; ring < last; ring++)
				env_harvest(&e, ring, UINT_MAX);
			env_get_state(&e);
			if (e.rings[last].used > 8)
				env_harvest(&e, last, e.rings[last].used - 8);
			env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
			env_unmap_ring(&e, last);
		} else if (i % 8 == 0 && i) {
			env_map_ring(&e, last);
		}
		if (i % 8 < 4 && env_harvest(&e, last, env_random(&e, 100)))
			env_note_pages(&e, &e.pages, vm_reset_dirty_rings(e.vm));
	}
	e.nr_vcpus++;
	if (!e.vcpus[last]->dirty_gfns)
		env_map_ring(&e, last);
	env_join_vcpus(&e);
	/* The test cannot count the entries that the unmapping moved or reset. */
	lost = env_count_lost(&e);
	TEST_ASSERT(lost <= e.st.overflows, "%u pages lost, %llu marks", lost,
		    e.st.overflows);
	ksft_print_msg("%u times, %llu entries moved, %llu lost\n", i / 8,
		       e.st.pushed - e.harvested, e.st.overflows);
	env_free(&e);
}

static void set_region_pages(struct env *e, uint32_t slot, uint64_t pages)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = SLOT_GPA(slot - FIRST_SLOT),
		.memory_size = pages * PAGE_SIZE,
		.userspace_addr = (uintptr_t)e->mem[slot - FIRST_SLOT],
	};

	vm_ioctl(e->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/*
 * Rings are unmapped that have entries of memslots which are gone or smaller by now,
 * and two that userspace has overwritten: only the others move.
 */
static void test_unplug_slots(int unused)
{
	uint32_t i, n, spoilt = 0, marks = 20, left = 5;
	struct kvm_dirty_gfn *gfn;
	struct env e = {};

	env_init(&e, 2, 0);
	for (i = 0; i < NR_SLOTS; i++)
		TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT + i, 0, marks, NULL) ==
			    marks, "Can't mark %u pages, errno %d", marks, errno);
	env_get_state(&e);
	for (i = 0; i < 2 * ring_entries && spoilt < 2; i++) {
		gfn = &e.vcpus[i % 2]->dirty_gfns[i / 2];
		if (!(gfn->flags & KVM_DIRTY_GFN_F_DIRTY) || gfn->slot != FIRST_SLOT)
			continue;
		if (spoilt++)
			WRITE_ONCE(gfn->offset, 1ull << 40);
		else
			WRITE_ONCE(gfn->slot, 0xffff0000 | FIRST_SLOT);
	}
	TEST_ASSERT(spoilt == 2, "%u entries were overwritten", spoilt);

	vm_mem_region_delete(e.vm, FIRST_SLOT + 1);
	set_region_pages(&e, FIRST_SLOT + 2, 0);
	set_region_pages(&e, FIRST_SLOT + 2, left);
	env_add_vcpu(&e);
	for (i = 0; i < 2; i++)
		env_unmap_ring(&e, i);
	n = env_harvest(&e, 2, UINT_MAX);
	TEST_ASSERT(n == marks - spoilt + left, "%u entries moved, not %u", n,
		    marks - spoilt + left);
	env_get_state(&e);
	TEST_ASSERT(!e.st.overflows, "%llu entries were lost", e.st.overflows);
	env_free(&e);
}

const struct test mapping_tests[] = {
	{ "unplug",		test_unplug },
	{ "unplug_full",	test_unplug_full },
	{ "unplug_mappings",	test_unplug_mappings },
	{ "unplug_running",	test_unplug_running,	3 },
	{ "unplug_slots",	test_unplug_slots },
	{}
};
