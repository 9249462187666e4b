// SPDX-License-Identifier: GPL-2.0-only
/*
 * A client of the dirty ring pool that judges by memory alone.
 *
 * It keeps a copy of the guest's memory, as the destination of a migration does:
 * it copies each page that it harvests, after the reset that covers the page.
 * When all writers have stopped and the rings are drained, memory and copy must be
 * equal, byte for byte.  A seed decides what is written, by whom, and how the rings
 * are served.  The client relies on nothing but the documentation of the interface:
 * Documentation/virt/kvm/dirty-ring-pool.rst.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <asm/barrier.h>

#include "dirty_pool_oracle.h"
#include "dirty_pool_util.h"
#include "processor.h"

#define NR_PAGE_LOCKS	64
#define ALL_RINGS	-1
#define add(counter, n)	__atomic_fetch_add(&(counter), n, __ATOMIC_SEQ_CST)

struct entry {
	uint32_t slot, page;
};

static struct {
	uint32_t entries, vcpus, late, harvesters, devices;
	bool nostop, log_slot0, hold, swap, kick, unplug, ins, lazy;
} cfg;

static struct {
	uint64_t harvested, reset, orphans, parked, exhausted, overflow_exits;
	uint64_t recoveries, eagain, eintr, timeouts, unplugged, drains, marked;
} count;

static struct {
	uint8_t *mem, *copy;
	uint32_t pages;
	bool logged;
} slots[MAX_SLOTS];

static struct {
	pthread_mutex_t lock;	/* a ring has one harvester at a time */
	struct kvm_vcpu *vcpu;
	struct worker *worker;	/* NULL: the vCPU is stopped */
	uint64_t *ops;
	uint32_t fetch;
} rings[MAX_VCPUS];

static struct kvm_vm *vm;
static uint32_t nr_rings, nr_slots, drop, dropped;
static bool broken;
static int efd[2], efd_now, kickfd;
static uint64_t parks_seen, rearm_seq, drain_asked, drain_done;
static pthread_mutex_t recover_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t drain_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t drain_cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t page_locks[NR_PAGE_LOCKS];

/* What this thread has harvested */
static struct entry *batch(void)
{
	return me->data;
}

static uint32_t rings_now(void)
{
	/* Pairs with add_vcpu(): the rings before this index can be used */
	return smp_load_acquire(&nr_rings);
}

static uint32_t pool_state(struct kvm_dirty_ring_pool_state *s,
			   struct kvm_dirty_ring_state *r, uint32_t flags)
{
	AT("KVM_GET_DIRTY_RING_POOL_STATE");
	vm_dirty_pool_state(vm, flags, s, r, r ? MAX_VCPUS : 0);
	return s->status;
}

/*
 * Two rings can have the same page, and so can two threads.  The thread that reads
 * it last must write it last to the copy: reading and writing are one step.
 */
static void copy_page(uint32_t slot, uint32_t page)
{
	pthread_mutex_t *lock = &page_locks[(slot * 7 + page) % NR_PAGE_LOCKS];
	uint64_t *from = (void *)(slots[slot].mem + page * 4096ul);
	uint64_t *to = (void *)(slots[slot].copy + page * 4096ul);
	int i;

	pthread_mutex_lock(lock);
	for (i = 0; i < 512; i++)
		to[i] = READ_ONCE(from[i]);
	pthread_mutex_unlock(lock);
}

static void copy_all(void)
{
	uint32_t s, p;

	for (s = 0; s < nr_slots; s++)
		for (p = 0; slots[s].logged && p < slots[s].pages; p++)
			copy_page(s, p);
}

/* Under the ring's lock: add to the n entries of the batch, which has room */
static uint32_t harvest(uint32_t ring, uint32_t max, uint32_t n)
{
	struct kvm_dirty_gfn *gfns = rings[ring].vcpu->dirty_gfns, *e;

	for (max += n; gfns && n < max; n++) {
		e = &gfns[rings[ring].fetch % cfg.entries];
		/* Pairs with KVM's store-release of slot and offset */
		if (smp_load_acquire(&e->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		TEST_ASSERT(e->slot < nr_slots && slots[e->slot].logged &&
			    e->offset < slots[e->slot].pages,
			    "ring %u, index %u: slot %#x, page %#llx", ring,
			    rings[ring].fetch, e->slot, e->offset);
		batch()[n] = (struct entry) { e->slot, e->offset };
		/* Pairs with the reset's load-acquire: slot and offset were read */
		smp_store_release(&e->flags, KVM_DIRTY_GFN_F_RESET);
		rings[ring].fetch++;
		add(count.harvested, 1);
	}
	return n;
}

static void reset_ring(int ring)
{
	int ret;

	AT("a reset");
	ret = ring == ALL_RINGS ? __vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL) :
				  __vm_reset_dirty_ring(vm, ring);
	/* Signals come all the time.  None may make a reset fail. */
	TEST_ASSERT(ret >= 0, "ring %d was not reset, errno %d", ring, errno);
	add(count.reset, ret);
}

static void copy_batch(uint32_t n)
{
	uint32_t i;

	AT("copying");
	for (i = 0; i < n; i++)
		if (!drop || (add(dropped, 1) + 1) % drop)
			copy_page(batch()[i].slot, batch()[i].page);
}

static void harvest_some(uint32_t ring, uint32_t max)
{
	uint32_t n;

	AT("the ring's lock");
	pthread_mutex_lock(&rings[ring].lock);
	n = harvest(ring, max, 0);
	/* Without the lock, others may reset later entries before these. */
	if (!cfg.hold)
		pthread_mutex_unlock(&rings[ring].lock);
	reset_ring(rnd(2) ? ALL_RINGS : (int)ring);
	copy_batch(n);
	if (cfg.hold)
		pthread_mutex_unlock(&rings[ring].lock);
}

static void drain_all(void)
{
	uint32_t i, n = 0, nr = rings_now();

	for (i = 0; i < nr; i++) {
		AT("the ring's lock");
		pthread_mutex_lock(&rings[i].lock);
		n = harvest(i, cfg.entries, n);
		pthread_mutex_unlock(&rings[i].lock);
	}
	if (rnd(2))
		reset_ring(ALL_RINGS);
	else
		for (i = 0; i < nr; i++)
			reset_ring(i);
	copy_batch(n);
	add(count.drains, 1);
}

static void recover(void)
{
	struct kvm_dirty_ring_pool_state s;
	uint32_t i;

	AT("another's recovery");
	pthread_mutex_lock(&recover_lock);
	if (pool_state(&s, NULL, KVM_DIRTY_RING_POOL_CLEAR_OVERFLOW) &
	    KVM_DIRTY_RING_POOL_OVERFLOW) {
		AT("recovery");
		count.recoveries++;
		add(rearm_seq, 1);
		for (i = 0; i < nr_slots; i++) {
			if (!slots[i].logged)
				continue;
			vm_mem_region_set_flags(vm, i, 0);
			vm_mem_region_set_flags(vm, i, KVM_MEM_LOG_DIRTY_PAGES);
		}
		add(rearm_seq, 1);
		copy_all();
	}
	pthread_mutex_unlock(&recover_lock);
}

/* Have all rings drained, by a drain that starts after this call. */
static void get_drained(bool kick)
{
	uint64_t ticket;

	if (!cfg.harvesters || rnd(2)) {
		drain_all();
		return;
	}
	pthread_mutex_lock(&drain_lock);
	ticket = ++drain_asked;
	if (kick)
		eventfd_write(kickfd, 1);
	AT("a harvester's drain");
	while (drain_done < ticket)
		pthread_cond_wait(&drain_cond, &drain_lock);
	pthread_mutex_unlock(&drain_lock);
}

static void mark(uint32_t slot, uint64_t first, uint64_t num)
{
	uint64_t seq, marked;
	int ret;

	for (add(count.marked, num); num; first += marked, num -= marked) {
		seq = __atomic_load_n(&rearm_seq, __ATOMIC_SEQ_CST);
		AT("KVM_MARK_DIRTY");
		ret = __vm_mark_dirty(vm, slot, first, num, &marked);
		TEST_ASSERT(marked <= num && (ret < 0 || ret == marked),
			    "%lu of %lu pages marked, ret %d, errno %d", marked, num, ret, errno);
		if (ret >= 0) {
			/* recover() has logging off for a while, and then copies all. */
			TEST_ASSERT(ret == num || seq % 2 ||
				    __atomic_load_n(&rearm_seq, __ATOMIC_SEQ_CST) != seq,
				    "%d of %lu pages marked", ret, num);
			return;
		}
		TEST_ASSERT(errno == EAGAIN || errno == EINTR, "KVM_MARK_DIRTY: errno %d", errno);
		if (errno == EINTR) {
			add(count.eintr, 1);
		} else {
			add(count.eagain, 1);
			get_drained(cfg.kick);
		}
	}
}

static void device_loop(struct worker *w)
{
	uint32_t slot, first, num, i;

	until_stopped() {
		slot = 1 + rnd(nr_slots - 1);
		first = rnd(slots[slot].pages);
		num = 1 + rnd(min(slots[slot].pages - first, rnd(8) ? 8u : 300u));
		for (i = 0; i < num; i++)
			WRITE_ONCE(slots[slot].mem[(first + i) * 4096ul + rnd(4096)], rnd(256));
		mark(slot, first, num);
		nap(rnd(4000));
	}
}

static void policy_loop(struct worker *w)
{
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	const char *policy;
	int old;

	until_stopped() {
		nap(1000 + rnd(40000));
		policy = dirty_pool_policies[rnd(NR_DIRTY_POOL_POLICIES)];
		AT("KVM_SET_DIRTY_RING_POLICY");
		vm_set_dirty_policy(vm, policy);
		vm_get_dirty_policy(vm, name);
		TEST_ASSERT(!strcmp(policy, name), "%s is %s", policy, name);
		if (!cfg.swap)
			continue;
		old = efd[efd_now];
		efd_now = !efd_now;
		AT("KVM_DIRTY_RING_POOL_EVENTFD");
		TEST_ASSERT(!__vm_dirty_pool_eventfd(vm, efd[efd_now], 0), "errno %d", errno);
		if (dirty_pool_eventfd_read(old))
			eventfd_write(kickfd, 1);	/* the harvester missed it */
		nap(500);
		TEST_ASSERT(!dirty_pool_eventfd_read(old), "the replaced eventfd was signalled");
	}
}

/* One harvester waits for the eventfd. */
static void serve_eventfd(void)
{
	struct pollfd fds[3] = { { efd[0], POLLIN }, { efd[1], POLLIN }, { kickfd, POLLIN } };
	struct kvm_dirty_ring_state r[MAX_VCPUS];
	struct kvm_dirty_ring_pool_state s;
	uint32_t i, nr = rings_now();
	uint64_t asked;
	int n;

	AT("the eventfd");
	n = poll(fds, 3, 1 + rnd(cfg.lazy ? 500 : 50));
	for (i = 0; n > 0 && i < 3; i++)
		dirty_pool_eventfd_read(fds[i].fd);
	pool_state(&s, r, 0);
	parks_seen = s.parks;
	pthread_mutex_lock(&drain_lock);
	asked = drain_asked;
	count.timeouts += !n && asked != drain_done;
	pthread_mutex_unlock(&drain_lock);
	if (asked == drain_done && rnd(2)) {
		for (i = 0; i < nr && i < s.nr_rings; i++)
			if (r[i].state & KVM_DIRTY_RING_PARKED)
				harvest_some(i, cfg.entries);
	} else {
		drain_all();
		pthread_mutex_lock(&drain_lock);
		drain_done = asked;
		pthread_cond_broadcast(&drain_cond);
		pthread_mutex_unlock(&drain_lock);
	}
	if (pool_state(&s, NULL, 0) & KVM_DIRTY_RING_POOL_OVERFLOW)
		recover();
}

static void harvester_loop(struct worker *w)
{
	until_stopped() {
		if (!w->id) {
			serve_eventfd();
			continue;
		}
		nap(rnd(cfg.lazy ? 50000 : 5000));
		harvest_some(rnd(rings_now()), 1 + rnd(cfg.entries));
	}
}

static void ring_full(struct kvm_vcpu *vcpu)
{
	uint32_t flags = vcpu->run->dirty_ring_pool.flags;
	uint32_t ring = vcpu->run->dirty_ring_pool.ring;

	TEST_ASSERT(flags && flags < 8 && ring < cfg.vcpus,
		    "vCPU %u: flags %#x, ring %u", vcpu->id, flags, ring);
	if (flags & KVM_DIRTY_RING_POOL_OVERFLOW) {
		add(count.overflow_exits, 1);
		recover();
	}
	if (flags & KVM_DIRTY_RING_POOL_PARKED) {
		TEST_ASSERT(!cfg.nostop, "PARKED with NOSTOP");
		add(count.parked, 1);
		/* The vCPU may run on whether the ring is drained or not. */
		if (ring < rings_now() && (!cfg.harvesters || rnd(2)))
			harvest_some(ring, rnd(4) ? cfg.entries : 1 + rnd(cfg.entries));
	}
	if (flags & KVM_DIRTY_RING_POOL_EXHAUSTED) {
		add(count.exhausted, 1);
		get_drained(cfg.kick);
	}
}

static void vcpu_loop(struct worker *w)
{
	struct kvm_vcpu *vcpu = rings[w->id].vcpu;
	struct kvm_run *run = vcpu->run;
	unsigned int i;
	int ret;

	while (!READ_ONCE(w->stop) && !READ_ONCE(broken)) {
		AT("KVM_RUN");
		ret = __vcpu_run(vcpu);
		if (ret) {
			TEST_ASSERT(errno == EINTR, "KVM_RUN: ret %d, errno %d", ret, errno);
			continue;
		}
		if (vcpu_dirty_ring_exit(vcpu)) {
			ring_full(vcpu);
		} else if (run->exit_reason == KVM_EXIT_IO && run->io.port == INS_PORT) {
			for (i = 0; i < run->io.count; i++)
				((uint8_t *)run)[run->io.data_offset + i] = rnd(256);
		} else if (run->exit_reason != KVM_EXIT_IO || run->io.port != EXIT_PORT) {
			TEST_ASSERT(is_emulator_fault(vcpu), "vCPU %u: unexpected exit %s",
				    vcpu->id, exit_reason_str(run->exit_reason));
			WRITE_ONCE(broken, true);
		}
	}
}

static void kick_vcpu(struct worker *w)
{
	WRITE_ONCE(rings[w->id].vcpu->run->immediate_exit, 1);
	pthread_kill(w->thread, SIGUSR1);
}

static void report_hang(void)
{
	struct kvm_dirty_ring_state r[MAX_VCPUS];
	struct kvm_dirty_ring_pool_state s;
	uint32_t i;

	pool_state(&s, r, 0);
	for (i = 0; i < s.nr_rings; i++)
		ksft_print_msg("ring %u: state %#x, used %u, fetch index %u\n", i, r[i].state,
			       r[i].used, rings[i].fetch);
	ksft_print_msg("status %#x, drains asked for %lu, done %lu\n", s.status, drain_asked,
		       drain_done);
}

static void start_vcpu(uint32_t i)
{
	if (!rings[i].vcpu->dirty_gfns) {
		AT("mapping a ring");
		pthread_mutex_lock(&rings[i].lock);
		vcpu_map_dirty_ring(rings[i].vcpu);
		rings[i].fetch = 0;
		pthread_mutex_unlock(&rings[i].lock);
	}
	rings[i].vcpu->run->immediate_exit = 0;
	rings[i].worker = worker_spawn("vCPU", i, vcpu_loop, rings[i].ops);
	rings[i].worker->kick = kick_vcpu;
}

static void add_vcpu(uint32_t i)
{
	/* Rings have the order in which vCPUs are created, whatever their ids. */
	AT("creating a vCPU");
	rings[i].vcpu = vm_vcpu_add(vm, (3 + 5 * i) % 16, guest_code);
	vcpu_args_set(rings[i].vcpu, 2, (uint64_t)i, rnd(1ull << 40) + 1);
	rings[i].ops = addr_gva2hva(vm, (vm_vaddr_t)&guest.ops[i]);
	vcpu_map_dirty_ring(rings[i].vcpu);
	rings[i].fetch = 0;
	/* Pairs with rings_now() */
	smp_store_release(&nr_rings, i + 1);
	if (slots[0].logged)
		mark(0, 0, slots[0].pages);	/* its stack, and page tables for it */
}

static void unplug(uint32_t i)
{
	struct kvm_dirty_ring_state r[MAX_VCPUS];
	struct kvm_dirty_ring_pool_state s;
	struct kvm_vcpu *vcpu = rings[i].vcpu;
	uint32_t n, bytes = cfg.entries * sizeof(struct kvm_dirty_gfn);

	worker_join(rings[i].worker);
	rings[i].worker = NULL;
	if (rnd(2))
		drain_all();
	pthread_mutex_lock(&rings[i].lock);
	n = harvest(i, rnd(cfg.entries), 0);
	AT("unmapping a ring");
	TEST_ASSERT(bytes == 4096 || munmap(vcpu->dirty_gfns, bytes / 2),
		    "a part of a ring was unmapped");
	TEST_ASSERT(!munmap(vcpu->dirty_gfns, bytes), "munmap: errno %d", errno);
	vcpu->dirty_gfns = NULL;
	/* The unmapping has reset what this thread, or another one, has harvested. */
	count.orphans += cfg.entries;
	copy_batch(n);
	pthread_mutex_unlock(&rings[i].lock);
	pool_state(&s, r, 0);
	TEST_ASSERT(r[i].state & KVM_DIRTY_RING_DETACHED, "ring %u: %#x", i, r[i].state);
	count.unplugged++;
}

static void create_vm(void)
{
	static const uint32_t sizes[] = { 1, 2, 7, 64, 517, 1024, 2048, 2048 };
	uint32_t i, p, total = 0;
	uint64_t gpa;

	nr_slots = 3 + rnd(MAX_SLOTS - 2);
	for (i = 1; i < nr_slots; i++)
		slots[i].pages = sizes[rnd(ARRAY_SIZE(sizes))];
	slots[1].pages = 2048;	/* a cold one: what is lost there stays lost */
	for (i = 1; i < nr_slots; i++)
		total += slots[i].pages;
	vm = __vm_create(VM_SHAPE_DEFAULT, MAX_VCPUS, total + MAX_SLOTS * 512);
	/* The smallest size depends on the reserve. */
	while (__vm_enable_dirty_pool(vm, cfg.entries * sizeof(struct kvm_dirty_gfn),
				      cfg.nostop ? KVM_DIRTY_RING_POOL_NOSTOP : 0)) {
		TEST_ASSERT(errno == EINVAL && cfg.entries < 1024, "errno %d", errno);
		cfg.entries *= 2;
	}

	slots[0].pages = vm_get_mem_region(vm, MEM_REGION_CODE)->region.memory_size / 4096;
	slots[0].mem = addr_gpa2hva(vm, 0);
	slots[0].logged = false;	/* until the vCPUs have their stacks */
	for (i = 1; i < nr_slots; i++) {
		gpa = 0x40000000 + i * 0x1000000ul;
		vm_userspace_mem_region_add(vm, rnd(2) ? VM_MEM_SRC_ANONYMOUS :
					    VM_MEM_SRC_ANONYMOUS_THP, gpa, i,
					    slots[i].pages, 0);
		virt_map(vm, gpa, gpa, slots[i].pages);
		slots[i].mem = addr_gpa2hva(vm, gpa);
		slots[i].logged = true;
		guest.slots[i - 1].gva = gpa;
		guest.slots[i - 1].bytes = slots[i].pages * 4096ul;
	}
	guest.nr_slots = nr_slots - 1;
	guest.ins = cfg.ins;
	sync_global_to_guest(vm, guest);

	efd[0] = vm_dirty_pool_eventfd(vm);
	efd[1] = eventfd(0, EFD_NONBLOCK);
	kickfd = eventfd(0, EFD_NONBLOCK);
	efd_now = 0;
	for (i = 0; i < cfg.vcpus - cfg.late; i++)
		add_vcpu(i);
	slots[0].logged = cfg.log_slot0;
	for (i = 0; i < nr_slots; i++) {
		/* Otherwise, each first write would fault in the host, too. */
		for (p = 0; i && p < slots[i].pages; p++)
			*(uint64_t *)(slots[i].mem + p * 4096ul) = rnd(-1ull);
		slots[i].copy = malloc(slots[i].pages * 4096ul);
		if (slots[i].logged)
			vm_mem_region_set_flags(vm, i, KVM_MEM_LOG_DIRTY_PAGES);
	}
	copy_all();
}

static void configure(void)
{
	memset(&cfg, 0, sizeof(cfg));
	memset(&count, 0, sizeof(count));
	parks_seen = 0;
	drain_asked = 0;
	drain_done = 0;
	nr_rings = 0;
	broken = false;
	cfg.entries = 256u << (rnd(2) ? 0 : rnd(5));	/* often the smallest */
	cfg.vcpus = 1 + rnd(MAX_VCPUS);
	cfg.late = cfg.vcpus > 1 && rnd(2);
	cfg.nostop = rnd(2);
	cfg.harvesters = cfg.nostop ? 1 + rnd(3) : rnd(4);
	cfg.devices = rnd(3);
	cfg.log_slot0 = rnd(2);
	cfg.hold = rnd(2);
	cfg.swap = !rnd(3);
	cfg.kick = rnd(4);
	cfg.unplug = rnd(2);
	cfg.ins = !rnd(4);
	cfg.lazy = rnd(2);
}

static bool same_memory(void)
{
	uint32_t s, p, i, differ = 0;

	for (s = 0; s < nr_slots; s++) {
		for (p = 0; slots[s].logged && p < slots[s].pages; p++) {
			uint64_t *a = (void *)(slots[s].mem + p * 4096ul);
			uint64_t *b = (void *)(slots[s].copy + p * 4096ul);

			for (i = 0; i < 512 && a[i] == b[i]; i++)
				;
			if (i < 512 && differ++ < 10)
				ksft_print_msg("slot %u, page %u, byte %u: %016lx, copy %016lx\n",
					       s, p, i * 8, a[i], b[i]);
		}
	}
	if (differ)
		ksft_print_msg("%u pages differ\n", differ);
	return !differ;
}

#define CHECK(cond, fmt, ...) do {						\
	if (!(cond)) {								\
		ksft_print_msg("wrong: %s: " fmt "\n", #cond, ##__VA_ARGS__);	\
		good = false;							\
	}									\
} while (0)

/* When nothing writes any more, and nobody harvests */
static bool judge(void)
{
	struct kvm_dirty_ring_state r[MAX_VCPUS];
	struct kvm_dirty_ring_pool_state s;
	struct pollfd fd = { efd[0], POLLIN };
	bool good = true, lost;
	uint32_t i;

	pool_state(&s, r, 0);
	if (!cfg.swap && s.parks > parks_seen) {
		AT("the eventfd");
		CHECK(poll(&fd, 1, 10000) == 1, "parks %llu, seen %lu", s.parks, parks_seen);
	}
	drain_all();
	lost = pool_state(&s, r, 0) & KVM_DIRTY_RING_POOL_OVERFLOW;
	if (lost)
		recover();
	CHECK(!(s.status & ~KVM_DIRTY_RING_POOL_OVERFLOW), "%#x", s.status);
	CHECK(s.nr_rings == nr_rings, "%u, %u", s.nr_rings, nr_rings);
	for (i = 0; i < nr_rings; i++) {
		CHECK(r[i].vcpu_id == rings[i].vcpu->id, "ring %u: %u", i, r[i].vcpu_id);
		CHECK(r[i].state == (rings[i].vcpu->dirty_gfns ? 0 : KVM_DIRTY_RING_DETACHED),
		      "ring %u: %#x", i, r[i].state);
		CHECK(!r[i].used, "ring %u: %u", i, r[i].used);
	}
	CHECK(count.reset <= count.harvested && count.reset + count.orphans >= count.harvested,
	      "%lu reset, %lu harvested", count.reset, count.harvested);
	CHECK(count.orphans ? s.pushed >= count.harvested : s.pushed == count.harvested,
	      "%llu pushed, %lu harvested", s.pushed, count.harvested);
	CHECK(s.parks == s.drains, "%llu parks, %llu drains", s.parks, s.drains);
	CHECK(!s.overflows == !(count.recoveries), "%llu pages lost, %lu recoveries",
	      s.overflows, count.recoveries);
	return same_memory() && good;
}

static bool enough(uint64_t *start)
{
	struct worker *w;

	for (w = workers; w < workers + MAX_WORKERS; w++)
		if (w->live && READ_ONCE(*w->progress) - start[w - workers] <
			       (w->loop == vcpu_loop ? 100 : 1))
			return false;
	return true;
}

static bool round_of(uint32_t ms)
{
	uint64_t start[MAX_WORKERS];
	struct timespec t0;
	uint32_t i, victim = rnd(nr_rings);
	bool unplugs = cfg.unplug && nr_rings > 1 && rnd(2), again = rnd(2);

	for (i = 0; i < MAX_WORKERS; i++)
		workers[i].loops = 0;
	for (i = 0; i < nr_rings; i++)
		start_vcpu(i);
	for (i = 0; i < cfg.harvesters; i++)
		worker_spawn("harvester", i, harvester_loop, NULL);
	for (i = 0; i < cfg.devices; i++)
		worker_spawn("device", i, device_loop, NULL);
	worker_spawn("policy", 0, policy_loop, NULL);
	worker_spawn("signals", 0, worker_signal_loop, NULL);
	for (i = 0; i < MAX_WORKERS; i++)
		start[i] = workers[i].live ? workers[i].seen : 0;

	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (!READ_ONCE(broken)) {
		uint64_t now = timespec_to_ns(timespec_elapsed(t0)) / 1000000;

		nap(3000 + rnd(10000));
		/* Drain all at times: a ring that is never full is never parked. */
		if (!cfg.harvesters && !rnd(10))
			drain_all();
		if (cfg.late && now > ms / 3 && rnd(2)) {
			cfg.late = 0;
			add_vcpu(nr_rings);
			start_vcpu(nr_rings - 1);
			start[rings[nr_rings - 1].worker - workers] = 0;
		}
		if (unplugs && now > ms / 4) {
			unplug(victim);
			unplugs = false;
		}
		if (again && now > ms / 2 && !rings[victim].worker) {
			start_vcpu(victim);
			start[rings[victim].worker - workers] = rings[victim].worker->seen;
		}
		if (now > ms && enough(start))
			break;
	}
	/* Harvesters go last: vCPUs and devices may wait for a drain. */
	workers_join(worker_signal_loop);
	workers_join(policy_loop);
	workers_join(vcpu_loop);
	for (i = 0; i < nr_rings; i++)
		rings[i].worker = NULL;
	workers_join(device_loop);
	workers_join(harvester_loop);
	return READ_ONCE(broken) || judge();
}

static bool run(uint32_t seed, uint32_t nr_rounds, uint32_t ms)
{
	struct kvm_dirty_ring_pool_state s;
	bool good = true;
	uint64_t ops = 0;
	time_t t0 = time(NULL);
	uint32_t i, round;

	me->rng = seed * 0x9e3779b97f4a7c15ull + 1;
	configure();
	create_vm();
	ksft_print_msg("seed %u: %u entries, %u+%u vCPUs, %u harvesters, %u devices, slots", seed,
		       cfg.entries, cfg.vcpus - cfg.late, cfg.late, cfg.harvesters, cfg.devices);
	for (i = !slots[0].logged; i < nr_slots; i++)
		printf(" %u", slots[i].pages);
	printf("%s%s%s%s%s%s%s\n", cfg.nostop ? ", NOSTOP" : "", cfg.hold ? ", hold" : "",
	       cfg.swap ? ", swap" : "", cfg.kick ? ", kick" : "",
	       cfg.unplug ? ", unplug" : "",
	       cfg.ins ? ", INS" : "", cfg.lazy ? ", lazy" : "");
	for (round = 0; good && !broken && round < nr_rounds; round++) {
		good = round_of(ms);
		if (!good)
			ksft_print_msg("seed %u: round %u failed\n", seed, round);
	}
	for (i = 0; i < nr_rings; i++)
		ops += *rings[i].ops;
	pool_state(&s, NULL, 0);
	ksft_print_msg("seed %u: %lu s, %lu guest writes, %lu harvested, %lu drains, %lu marked\n",
		       seed, time(NULL) - t0, ops, count.harvested, count.drains, count.marked);
	ksft_print_msg("seed %u: %lu parked, %lu exhausted, %lu overflow, %lu EAGAIN, %lu EINTR\n",
		       seed, count.parked, count.exhausted, count.overflow_exits, count.eagain,
		       count.eintr);
	ksft_print_msg("seed %u: %lu long waits, %lu unplugged, %llu pages lost, %lu recoveries\n",
		       seed, count.timeouts, count.unplugged, s.overflows, count.recoveries);
	if (s.overflows && !cfg.ins && !count.unplugged)
		ksft_print_msg("seed %u: OVERFLOW, without a long stay or an unplugged vCPU\n",
			       seed);
	for (i = 0; i < nr_slots; i++)
		free(slots[i].copy);
	kvm_vm_free(vm);
	close(efd[0]);
	close(efd[1]);
	close(kickfd);
	return good;
}

static void help(const char *name)
{
	printf("usage: %s [-s SEED] [-n SEEDS] [-r ROUNDS] [-t MS] [-d N]\n"
	       "-d N: lose each Nth entry that is harvested; passes if that is noticed\n", name);
	exit(1);
}

int main(int argc, char *argv[])
{
	uint32_t seed = time(NULL), nr = 1, nr_rounds = 4, ms = 500, i, tries, faults = 0;
	bool good;
	int opt;

	while ((opt = getopt(argc, argv, "s:n:r:t:d:")) != -1) {
		if (opt == 's')
			seed = atoi(optarg);
		else if (opt == 'n')
			nr = atoi(optarg);
		else if (opt == 'r')
			nr_rounds = atoi(optarg);
		else if (opt == 't')
			ms = atoi(optarg);
		else if (opt == 'd')
			drop = atoi(optarg);
		else
			help(argv[0]);
	}
	setbuf(stdout, NULL);
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_DIRTY_LOG_RING_POOL));
	ksft_print_header();
	ksft_set_plan(nr);

	for (i = 0; i <= MAX_WORKERS; i++)
		workers[i].data = malloc(MAX_VCPUS * 4096 * sizeof(struct entry));
	workers_init(report_hang);
	for (i = 0; i < MAX_VCPUS; i++)
		pthread_mutex_init(&rings[i].lock, NULL);
	for (i = 0; i < NR_PAGE_LOCKS; i++)
		pthread_mutex_init(&page_locks[i], NULL);

	for (i = 0; i < nr; i++, seed++) {
		for (tries = 0; ; tries++) {
			good = run(seed, nr_rounds, ms);
			if (!broken || tries == EMULATOR_REPEATS)
				break;
			ksft_print_msg("seed %u: the emulator broke the guest, again\n", seed);
		}
		faults += broken;
		ksft_test_result(!broken && good == !drop, "seed %u%s\n", seed,
				 drop ? ", entries dropped" : "");
	}
	emulator_finished(faults);
}
