// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM for tests of the dirty ring pool, see include/dirty_pool_env.h.
 */
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#include "dirty_pool_env.h"
#include "ucall_common.h"

#define POOL_CAUSES	(KVM_DIRTY_RING_POOL_PARKED |		\
			 KVM_DIRTY_RING_POOL_EXHAUSTED |	\
			 KVM_DIRTY_RING_POOL_OVERFLOW)

const uint32_t slot_pages[NR_SLOTS] = { 2051, 515, 131 };
struct env_options env_opt;
uint32_t ring_entries;

/* What a hang is reported of */
static struct env *current_env;

/*
 * The guest
 */

struct guest_vcpu guest_vcpus[MAX_VCPUS] = {
	[0 ... MAX_VCPUS - 1] = { .fn = guest_random },
};

uint64_t guest_stop;
static uint64_t guest_writes;

uint64_t page_gpa(uint64_t page)
{
	int i = 0;

	while (page >= slot_pages[i])
		page -= slot_pages[i++];
	return SLOT_GPA(i) + page * PAGE_SIZE;
}

static bool guest_goes_on(uint64_t writes)
{
	return writes < READ_ONCE(guest_writes) && !READ_ONCE(guest_stop);
}

static void guest_write(struct guest_vcpu *v, uint64_t page)
{
	WRITE_ONCE(*(uint64_t *)page_gpa(page % NR_PAGES), ++v->stamp);
	WRITE_ONCE(v->written, v->written + 1);
}

void guest_random(uint64_t id)
{
	struct guest_vcpu *v = &guest_vcpus[id];
	uint64_t i;

	for (i = 0; guest_goes_on(i); i++)
		guest_write(v, guest_random_u32(&v->rng));
}

void guest_sequential(uint64_t id)
{
	struct guest_vcpu *v = &guest_vcpus[id];
	uint64_t i;

	for (i = 0; guest_goes_on(i); i++)
		guest_write(v, v->next++);
}

void guest_idle(uint64_t id)
{
	while (!READ_ONCE(guest_stop))
		cpu_relax();
}

void guest_sync(uint64_t id)
{
}

static void guest_code(uint64_t id, uint64_t seed)
{
	struct guest_vcpu *v = &guest_vcpus[id];
	void (*fn)(uint64_t id);

	v->rng = new_guest_random_state(seed + id);
	v->next = id * NR_PAGES / MAX_VCPUS;
	v->stamp = (id + 1) << 56;

	guest_arch_init();
	for (;;) {
		fn = READ_ONCE(v->fn);
		fn(id);
		GUEST_SYNC(0);
	}
}

/*
 * The VM
 */

uint32_t env_random(struct env *e, uint32_t limit)
{
	return guest_random_u32(&e->rng) % limit;
}

uint64_t *env_page_hva(struct env *e, uint32_t page)
{
	int i = 0;

	while (page >= slot_pages[i])
		page -= slot_pages[i++];
	return (void *)e->mem[i] + page * PAGE_SIZE;
}

/* Guests write the first word only, but KVM the next, too: the steal time. */
uint64_t env_page_stamp(struct env *e, uint32_t page)
{
	uint64_t *p = env_page_hva(e, page);

	return READ_ONCE(p[0]) + 3 * READ_ONCE(p[1]) + 5 * READ_ONCE(p[2]);
}

void env_pages_init(struct pages *pages)
{
	memset(pages, 0, sizeof(*pages));
	pages->max = 1 << 16;
	pages->page = calloc(pages->max, sizeof(*pages->page));
	TEST_ASSERT(pages->page, "Insufficient Memory");
}

void env_add_vcpu(struct env *e)
{
	int i = e->nr_vcpus;

	e->vcpus[i] = vm_vcpu_add(e->vm, i, guest_code);
	vcpu_args_set(e->vcpus[i], 2, (uint64_t)i, (uint64_t)env_opt.seed);
	vcpu_map_dirty_ring(e->vcpus[i]);
	e->nr_vcpus++;
}

void env_init_entries(struct env *e, int nr_vcpus, uint64_t flags,
		      uint32_t entries)
{
	struct env asked = { .per_vcpu = e->per_vcpu, .thp = e->thp,
			     .mmio = e->mmio };
	int i;

	*e = asked;
	current_env = e;
	e->rng = new_guest_random_state(env_opt.seed);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->cond, NULL);
	for (i = 0; i < MAX_VCPUS; i++)
		pthread_mutex_init(&e->ring_lock[i], NULL);
	env_pages_init(&e->pages);

	e->vm = __vm_create(VM_SHAPE_DEFAULT, MAX_VCPUS, NR_PAGES);
	if (e->per_vcpu) {
		vm_enable_dirty_ring(e->vm, entries * sizeof(struct kvm_dirty_gfn));
	} else {
		vm_enable_dirty_pool(e->vm, entries, flags);
		if (env_opt.policy)
			vm_set_dirty_policy(e->vm, env_opt.policy);
	}

	for (i = 0; i < NR_SLOTS; i++) {
		vm_userspace_mem_region_add(e->vm, e->thp && !i ?
					    VM_MEM_SRC_ANONYMOUS_THP :
					    VM_MEM_SRC_ANONYMOUS,
					    SLOT_GPA(i), FIRST_SLOT + i,
					    slot_pages[i],
					    KVM_MEM_LOG_DIRTY_PAGES);
		virt_map(e->vm, SLOT_GPA(i), SLOT_GPA(i), slot_pages[i]);
		e->mem[i] = addr_gpa2hva(e->vm, SLOT_GPA(i));
	}

	for (i = 0; i < nr_vcpus; i++)
		env_add_vcpu(e);
}

void env_init(struct env *e, int nr_vcpus, uint64_t flags)
{
	env_init_entries(e, nr_vcpus, flags, ring_entries);
}

void env_free(struct env *e)
{
	current_env = NULL;
	kvm_vm_free(e->vm);
	free(e->pages.page);
}

struct guest_vcpu *env_guest_vcpu(struct env *e, int i)
{
	return addr_gva2hva(e->vm, (vm_vaddr_t)&guest_vcpus[i]);
}

void env_set_guest(struct env *e, int i, void (*fn)(uint64_t id))
{
	WRITE_ONCE(env_guest_vcpu(e, i)->fn, fn);
}

void env_set_writes(struct env *e, uint64_t n)
{
	write_guest_global(e->vm, guest_writes, n);
}

void env_set_stop(struct env *e, uint64_t stop)
{
	write_guest_global(e->vm, guest_stop, stop);
}

void env_get_state(struct env *e)
{
	vm_dirty_pool_state(e->vm, 0, &e->st, e->rings, MAX_VCPUS);
	TEST_ASSERT(e->st.nr_rings <= MAX_VCPUS, "%u rings for %d vCPUs",
		    e->st.nr_rings, e->nr_vcpus);
}

uint32_t env_soft_limit(struct env *e)
{
	env_get_state(e);
	return e->rings[0].soft_limit;
}

uint32_t env_capacity(struct env *e)
{
	uint32_t i, sum = 0;

	env_get_state(e);
	for (i = 0; i < e->st.nr_rings; i++)
		sum += e->rings[i].soft_limit;
	return sum;
}

uint32_t env_rings_in_state(struct env *e, uint32_t state)
{
	uint32_t i, n = 0;

	for (i = 0; i < e->st.nr_rings; i++)
		n += (e->rings[i].state & state) == state;
	return n;
}

bool env_has_page_log(struct env *e)
{
	return ring_entries - env_soft_limit(e) > 64;
}

/*
 * The harvester
 */

/* Fails for an entry that nobody pushed. */
static uint32_t gfn_page(uint32_t slot, uint64_t offset)
{
	uint32_t i = slot - FIRST_SLOT;
	uint32_t page = offset;

	TEST_ASSERT(i < NR_SLOTS && offset < slot_pages[i],
		    "An entry that nobody pushed: slot 0x%x offset 0x%lx",
		    slot, offset);
	while (i--)
		page += slot_pages[i];
	return page;
}

void env_list_gfn(void *arg, uint32_t slot, uint64_t offset)
{
	struct pages *pages = arg;

	pages->page[pages->nr++] = gfn_page(slot, offset);
}

static void note_gfn(void *arg, uint32_t slot, uint64_t offset)
{
	struct env *e = arg;

	if (slot == IRQ_SLOT && offset < IRQ_PAGES) {
		e->irq_marks++;
		return;
	}
	env_list_gfn(&e->pages, slot, offset);
	if (e->drop && env_random(e, e->drop) == 0)
		e->pages.nr--;
}

uint32_t env_harvest(struct env *e, int ring, uint32_t max)
{
	uint32_t n;

	max = min(max, e->pages.max - e->pages.nr);
	n = vcpu_harvest_dirty_ring(e->vcpus[ring], max, note_gfn, e);
	e->pages.entries += n;
	return n;
}

void env_harvest_locked(struct env *e, int ring, uint32_t max, dirty_gfn_fn fn,
			struct pages *pages)
{
	pthread_mutex_lock(&e->ring_lock[ring]);
	pages->entries += vcpu_harvest_dirty_ring(e->vcpus[ring], max, fn, pages);
	pthread_mutex_unlock(&e->ring_lock[ring]);
}

void env_wake_vcpus(struct env *e)
{
	pthread_mutex_lock(&e->lock);
	e->resets++;
	pthread_cond_broadcast(&e->cond);
	pthread_mutex_unlock(&e->lock);
}

void env_note_pages(struct env *e, struct pages *pages, uint32_t reset)
{
	uint32_t i;

	pthread_mutex_lock(&e->lock);
	for (i = 0; i < pages->nr; i++) {
		e->seen[pages->page[i]] = env_page_stamp(e, pages->page[i]);
		e->reported[pages->page[i]] = true;
	}
	e->harvested += pages->entries;
	e->reset += reset;
	pthread_mutex_unlock(&e->lock);
	pages->nr = 0;
	pages->entries = 0;
	env_wake_vcpus(e);
}

uint32_t env_drain_ring(struct env *e, int ring)
{
	uint32_t n = env_harvest(e, ring, UINT_MAX);

	env_note_pages(e, &e->pages, vm_reset_dirty_ring(e->vm, ring));
	return n;
}

/* No ring is ever parked unless the harvester is slow at times. */
void env_harvest_some(struct env *e)
{
	int ring = env_random(e, e->nr_vcpus);
	uint32_t n = env_harvest(e, ring, 1 + env_random(e, ring_entries));

	if (n < 16)
		usleep(env_random(e, 4) ? 500 : 5000);
	if (!n)
		return;
	if (e->per_vcpu || env_random(e, 4) == 0)
		env_note_pages(e, &e->pages, vm_reset_dirty_rings(e->vm));
	else
		env_note_pages(e, &e->pages, vm_reset_dirty_ring(e->vm, ring));
}

uint32_t env_harvest_all(struct env *e)
{
	uint32_t n = 0;
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		n += env_harvest(e, i, UINT_MAX);
	if (n)
		env_note_pages(e, &e->pages, vm_reset_dirty_rings(e->vm));
	return n;
}

void env_drain(struct env *e)
{
	uint32_t i;

	while (env_harvest_all(e))
		;
	if (e->per_vcpu)
		return;

	env_get_state(e);
	for (i = 0; i < e->st.nr_rings; i++)
		TEST_ASSERT(!e->rings[i].state && !e->rings[i].used,
			    "Ring %u has state 0x%x, %u entries, and all was reset",
			    i, e->rings[i].state, e->rings[i].used);
	TEST_ASSERT(!(e->st.status & ~KVM_DIRTY_RING_POOL_OVERFLOW),
		    "Status 0x%x with all rings drained", e->st.status);
}

void env_check_reported(struct env *e, uint32_t first, uint32_t nr)
{
	uint32_t page;

	for (page = first; page < first + nr; page++)
		TEST_ASSERT(e->reported[page], "Page %u was not reported", page);
}

uint32_t env_count_lost(struct env *e)
{
	uint32_t page, lost = 0;

	env_drain(e);
	for (page = 0; page < NR_PAGES; page++) {
		if (e->seen[page] == env_page_stamp(e, page))
			continue;
		if (e->thp && !env_page_stamp(e, page))
			continue;
		if (!lost++ && !e->drop)
			ksft_print_msg("GPA 0x%lx: 0x%lx, but 0x%lx when reported\n",
				       page_gpa(page), env_page_stamp(e, page),
				       e->seen[page]);
	}
	return lost;
}

void env_check(struct env *e)
{
	uint32_t lost = env_count_lost(e);

	TEST_ASSERT(!lost, "Lost: %u of %u pages were written and not reported",
		    lost, NR_PAGES);
	TEST_ASSERT(e->harvested == e->reset,
		    "%lu entries were harvested, but %lu reset",
		    e->harvested, e->reset);
	if (e->per_vcpu)
		return;
	TEST_ASSERT(e->st.pushed == e->harvested + e->moved,
		    "%llu entries were pushed, but %lu harvested, %lu moved",
		    e->st.pushed, e->harvested, e->moved);
	TEST_ASSERT(!(e->st.status & KVM_DIRTY_RING_POOL_OVERFLOW) &&
		    !e->st.overflows, "OVERFLOW with rings being drained");
}

void env_fini(struct env *e)
{
	env_check(e);
	env_free(e);
}

/*
 * vCPUs
 */

uint32_t env_run_once(struct env *e, int i)
{
	struct kvm_vcpu *vcpu = e->vcpus[i];
	struct kvm_run *run = vcpu->run;
	struct ucall uc;
	uint32_t flags;
	uint64_t cmd;
	int ret;

	e->where[i] = "is in the guest";
	ret = __vcpu_run(vcpu);
	e->where[i] = "left the guest";
	if (ret && errno == EINTR && e->hangs)
		pause();
	/* A signal has stopped it, as @quit says that one will. */
	if (ret && errno == EINTR && READ_ONCE(e->quit))
		return 0;
	TEST_ASSERT_VM_VCPU_IOCTL(!ret, KVM_RUN, ret, e->vm);

	if (vcpu_dirty_ring_exit(vcpu)) {
		if (e->per_vcpu)
			return KVM_DIRTY_RING_POOL_EXHAUSTED;

		flags = run->dirty_ring_pool.flags;
		TEST_ASSERT((flags & POOL_CAUSES) && !(flags & ~POOL_CAUSES),
			    "vCPU %d: KVM_EXIT_DIRTY_RING_FULL with flags 0x%x",
			    i, flags);
		if (flags & KVM_DIRTY_RING_POOL_PARKED) {
			e->parked[i]++;
			TEST_ASSERT(run->dirty_ring_pool.ring < MAX_VCPUS,
				    "vCPU %d: the exit names ring %u", i,
				    run->dirty_ring_pool.ring);
		}
		if (flags & KVM_DIRTY_RING_POOL_EXHAUSTED)
			e->exhausted[i]++;
		if (flags & KVM_DIRTY_RING_POOL_OVERFLOW)
			e->overflown[i]++;
		return flags;
	}

	/* The slot is missing, and the write went nowhere. */
	if (e->mmio && run->exit_reason == KVM_EXIT_MMIO)
		return KVM_DIRTY_RING_POOL_PARKED;

	cmd = get_ucall(vcpu, &uc);
	if (cmd == UCALL_SYNC)
		return 0;
	if (is_emulator_fault(vcpu))
		_exit(EMULATOR_FAULT);
	if (cmd == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_FAIL("vCPU %d: unexpected exit %s", i,
		  exit_reason_str(run->exit_reason));
}

uint32_t env_run_to_full(struct env *e, int i)
{
	int n;

	env_set_writes(e, UINT_MAX);
	for (n = 0; n < 1000; n++) {
		uint32_t flags = env_run_once(e, i);

		if (flags)
			return flags;
	}
	TEST_FAIL("vCPU %d writes on and on, and no ring is full", i);
}

void env_expect_gated(struct env *e, int i, const char *when)
{
	uint64_t pushed;
	uint32_t flags;
	int n;

	env_get_state(e);
	pushed = e->st.pushed;
	for (n = 0; n < 50; n++) {
		flags = env_run_once(e, i);
		TEST_ASSERT(flags & KVM_DIRTY_RING_POOL_EXHAUSTED,
			    "vCPU %d ran %s, flags 0x%x", i, when, flags);
	}
	env_get_state(e);
	TEST_ASSERT(e->st.pushed == pushed,
		    "vCPU %d pushed %llu entries %s", i, e->st.pushed - pushed,
		    when);
}

static void *vcpu_worker(void *data)
{
	struct thread_arg *arg = data;
	struct env *e = arg->e;
	uint32_t flags, resets;
	int i = arg->i;

	free(arg);
	for (;;) {
		resets = READ_ONCE(e->resets);
		flags = env_run_once(e, i);
		if (!flags || READ_ONCE(e->quit))
			break;
		if (!(flags & KVM_DIRTY_RING_POOL_EXHAUSTED))
			continue;
		e->where[i] = "waits for a reset";
		pthread_mutex_lock(&e->lock);
		while (e->resets == resets && !e->quit)
			pthread_cond_wait(&e->cond, &e->lock);
		pthread_mutex_unlock(&e->lock);
	}
	atomic_dec_and_test(&e->running);
	return NULL;
}

void env_start_vcpu(struct env *e, int i)
{
	struct thread_arg *arg = malloc(sizeof(*arg));
	int ret;

	arg->e = e;
	arg->i = i;
	atomic_inc(&e->running);
	ret = pthread_create(&e->threads[i], NULL, vcpu_worker, arg);
	TEST_ASSERT(!ret, "pthread_create(): %s", strerror(ret));
}

void env_start_vcpus(struct env *e)
{
	int i;

	for (i = 0; i < e->nr_vcpus; i++)
		env_start_vcpu(e, i);
}

void env_join_vcpus(struct env *e)
{
	int i;

	for (i = 0; i < e->nr_vcpus; i++) {
		pthread_join(e->threads[i], NULL);
		e->threads[i] = 0;
	}
}

void env_stop_vcpus(struct env *e)
{
	WRITE_ONCE(e->quit, true);
	env_set_stop(e, 1);
	env_wake_vcpus(e);
	env_join_vcpus(e);
	env_set_stop(e, 0);
	WRITE_ONCE(e->quit, false);
}

void env_harvest_until_done(struct env *e)
{
	while (atomic_read(&e->running))
		env_harvest_some(e);
	env_join_vcpus(e);
}

void env_run_round(struct env *e, uint64_t writes)
{
	env_set_writes(e, writes);
	env_start_vcpus(e);
	env_harvest_until_done(e);
}

uint32_t env_mark_room(struct env *e, bool gated)
{
	uint32_t want = env_capacity(e);
	uint64_t marked;
	int ret;

	TEST_ASSERT(want + 1 <= slot_pages[0], "Rings too large for the test");
	ret = __vm_mark_dirty(e->vm, FIRST_SLOT, 0, want + 1, &marked);
	TEST_ASSERT(ret == -1 && errno == EAGAIN,
		    "KVM_MARK_DIRTY of %u pages returned %d, errno %d, with room for %u",
		    want + 1, ret, errno, want);
	TEST_ASSERT(marked == want || (gated && marked == want - e->st.nr_rings),
		    "%lu pages were marked in room for %u", marked, want);
	return marked;
}

uint32_t env_mark_all(struct env *e)
{
	return env_mark_room(e, false);
}

void env_unmap_ring(struct env *e, int i)
{
	TEST_ASSERT(!munmap(e->vcpus[i]->dirty_gfns, e->vm->dirty_ring_size),
		    "munmap(): %s", strerror(errno));
	e->vcpus[i]->dirty_gfns = NULL;
	e->vcpus[i]->dirty_gfns_count = 0;
}

void env_map_ring(struct env *e, int i)
{
	e->vcpus[i]->fetch_index = 0;
	vcpu_map_dirty_ring(e->vcpus[i]);
}

uint64_t env_wait_eventfd(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int ret = poll(&pfd, 1, WAIT_SECONDS * 1000);

	TEST_ASSERT(ret == 1, "The eventfd was not signalled in %d s",
		    WAIT_SECONDS);
	return dirty_pool_eventfd_read(fd);
}

void __noreturn env_report_hang(int sig)
{
	struct env *e = current_env;
	int i, code = KSFT_FAIL;

	if (!e)
		_exit(KSFT_FAIL);

	e->hangs = true;
	for (i = 0; i < e->nr_vcpus; i++) {
		ksft_print_msg("vCPU %d %s: %lu exits for parked rings, %lu at the gate\n",
			       i, e->where[i] ?: "never ran", e->parked[i],
			       e->exhausted[i]);
		/* KVM tells a vCPU's registers when it is out of the guest. */
		if (e->threads[i])
			pthread_kill(e->threads[i], SIGUSR2);
		ksft_print_msg("        pc 0x%lx, exit reason %s\n",
			       vcpu_pc(e->vcpus[i]),
			       exit_reason_str(e->vcpus[i]->run->exit_reason));
		if (is_emulator_fault(e->vcpus[i]))
			code = EMULATOR_FAULT;
	}
	if (e->per_vcpu)
		_exit(code);

	env_get_state(e);
	ksft_print_msg("pool: status 0x%x, %llu pushed, %llu parks, %llu drains\n",
		       e->st.status, e->st.pushed, e->st.parks, e->st.drains);
	for (i = 0; i < e->st.nr_rings; i++)
		ksft_print_msg("ring %d: state 0x%x, %u entries used of %u\n", i,
			       e->rings[i].state, e->rings[i].used, ring_entries);
	_exit(code);
}
