/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM for tests of the dirty ring pool, and its harvester, which checks that
 * no page is lost.
 *
 * Guests write stamps that never repeat.  The harvester notes the stamp of each
 * page that was reported, after the reset that makes the next write to the page
 * be reported again.  A page was lost if it holds another stamp than the noted
 * one when the rings have been drained.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_ENV_H
#define SELFTEST_KVM_DIRTY_POOL_ENV_H

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <linux/atomic.h>

#include "dirty_pool_util.h"
#include "processor.h"

#define MAX_VCPUS	8

/* Not every architecture's processor.h says so. */
#ifndef PAGE_SIZE
#define PAGE_SIZE	4096ull
#endif

/*
 * The memory that guests write, guest virtual is guest physical.  The sizes are
 * no multiples of 64: the last mask of a reset is a partial one.
 */
#define NR_SLOTS	3
#define FIRST_SLOT	1
#define SLOT_GPA(i)	(0x40000000ul + (i) * 0x4000000ul)
#define NR_PAGES	(2051 + 515 + 131)

extern const uint32_t slot_pages[NR_SLOTS];

/* No guest writes here: interrupts mark these pages. */
#define IRQ_SLOT	(FIRST_SLOT + NR_SLOTS)
#define IRQ_PAGES	64

/* Only a hang takes longer, on an emulated CPU with a debug kernel. */
#define WAIT_SECONDS	60

extern struct env_options {
	const char *policy;	/* NULL: the kernel's default */
	uint32_t seed;
	uint32_t drop;		/* lose each Nth entry in the harvester */
	bool quick;		/* small sizes */
} env_opt;

/* Entries per ring: the fewest that the kernel takes, for the most parking. */
extern uint32_t ring_entries;

/*
 * The guest
 *
 * A vCPU calls a function, syncs, and starts again.  Tests set the function.
 * Each VM has its own copy of these variables.
 */

struct guest_vcpu {
	void (*fn)(uint64_t id);
	struct guest_random_state rng;
	uint64_t next;		/* page, for guest_sequential() */
	uint64_t stamp;		/* the last one written */
	uint64_t written;	/* pages */
};

extern struct guest_vcpu guest_vcpus[MAX_VCPUS];
extern uint64_t guest_stop;

uint64_t page_gpa(uint64_t page);

/* Write env_set_writes() random pages.  This is what vCPUs start with. */
void guest_random(uint64_t id);
/* The same, one page after the other. */
void guest_sequential(uint64_t id);
/* Dirty nothing until guest_stop. */
void guest_idle(uint64_t id);
/* Dirty nothing, sync at once. */
void guest_sync(uint64_t id);

/*
 * The host
 */

/* Pages that were harvested and not yet noted. */
struct pages {
	uint32_t nr;
	uint32_t entries;	/* including the dropped ones */
	uint32_t max;
	uint32_t *page;
};

struct env {
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpus[MAX_VCPUS];
	pthread_t threads[MAX_VCPUS];
	int nr_vcpus;
	bool per_vcpu;		/* upstream's rings, no pool */
	bool thp;		/* huge pages back the first slot, and may be dropped */
	bool mmio;		/* a slot may be missing for a while */
	bool hangs;
	bool quit;		/* threads: do not wait for the guest's sync */
	atomic_t running;
	uint32_t drop;		/* harvester: lose each Nth entry */
	struct guest_random_state rng;
	struct pages pages;
	uint64_t *mem[NR_SLOTS];
	uint64_t irq_marks;	/* harvested, of IRQ_SLOT */

	/* Exits with KVM_EXIT_DIRTY_RING_FULL, counted by the vCPU's thread */
	const char *where[MAX_VCPUS];
	uint64_t parked[MAX_VCPUS];
	uint64_t exhausted[MAX_VCPUS];
	uint64_t overflown[MAX_VCPUS];

	/* For several harvesters, see env_harvest_locked() */
	pthread_mutex_t ring_lock[MAX_VCPUS];

	/* Protects the rest.  vCPUs at the gate wait for a reset. */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t resets;
	uint64_t seen[NR_PAGES];
	bool reported[NR_PAGES];
	uint64_t harvested;
	uint64_t reset;
	uint64_t moved;		/* entries that left a ring unharvested */

	struct kvm_dirty_ring_pool_state st;
	struct kvm_dirty_ring_state rings[MAX_VCPUS];
};

/*
 * Make a VM; @e is zeroed, except for per_vcpu, thp and mmio.  @flags are the
 * capability's.
 */
void env_init(struct env *e, int nr_vcpus, uint64_t flags);
void env_init_entries(struct env *e, int nr_vcpus, uint64_t flags,
		      uint32_t entries);
void env_add_vcpu(struct env *e);
/* Without a check: the VM's memory may be in any state. */
void env_free(struct env *e);
/* env_check() and env_free() */
void env_fini(struct env *e);

struct guest_vcpu *env_guest_vcpu(struct env *e, int i);
void env_set_guest(struct env *e, int i, void (*fn)(uint64_t id));
void env_set_writes(struct env *e, uint64_t n);
void env_set_stop(struct env *e, uint64_t stop);

uint64_t *env_page_hva(struct env *e, uint32_t page);
uint64_t env_page_stamp(struct env *e, uint32_t page);
uint32_t env_random(struct env *e, uint32_t limit);

/* Read the pool's state into @e->st and @e->rings. */
void env_get_state(struct env *e);
uint32_t env_soft_limit(struct env *e);
/* How many marks an empty pool takes before it is exhausted. */
uint32_t env_capacity(struct env *e);
uint32_t env_rings_in_state(struct env *e, uint32_t state);
/*
 * With a log of dirty pages in the CPU, entries arrive many at a time, when a
 * vCPU leaves the guest: a test cannot tell where exactly it stops.
 */
bool env_has_page_log(struct env *e);

void env_pages_init(struct pages *pages);
/* Harvest at most @max entries of @ring into @e->pages. */
uint32_t env_harvest(struct env *e, int ring, uint32_t max);
/* The same for one of several harvesters, by its own @fn and @pages. */
void env_harvest_locked(struct env *e, int ring, uint32_t max, dirty_gfn_fn fn,
			struct pages *pages);
/* A dirty_gfn_fn for that: adds the page to @arg, a struct pages. */
void env_list_gfn(void *arg, uint32_t slot, uint64_t offset);
/* Only after a reset that covers @pages. */
void env_note_pages(struct env *e, struct pages *pages, uint32_t reset);
/* Harvest all of one ring, and reset it. */
uint32_t env_drain_ring(struct env *e, int ring);
/* The same of all rings. */
uint32_t env_harvest_all(struct env *e);
/* A random part of a random ring, slowly at times. */
void env_harvest_some(struct env *e);
/* With all vCPUs out of KVM_RUN: empty the rings, and see that they are. */
void env_drain(struct env *e);

/* With all vCPUs out of KVM_RUN: how many pages were lost? */
uint32_t env_count_lost(struct env *e);
/* The same: none, and the counts add up. */
void env_check(struct env *e);
/* These pages of the first slot were marked, not written. */
void env_check_reported(struct env *e, uint32_t first, uint32_t nr);

/* Returns 0 if the guest synced, or the flags of a KVM_EXIT_DIRTY_RING_FULL. */
uint32_t env_run_once(struct env *e, int i);
/* Run until the guest leaves for a parked ring or the gate; not for ever. */
uint32_t env_run_to_full(struct env *e, int i);
/* The vCPU is kept at the gate, whenever it tries. */
void env_expect_gated(struct env *e, int i, const char *when);

/* vCPUs in threads of their own, until the guest syncs */
void env_start_vcpu(struct env *e, int i);
void env_start_vcpus(struct env *e);
void env_wake_vcpus(struct env *e);
void env_join_vcpus(struct env *e);
/* Stop vCPUs wherever they are; those at the gate are left there. */
void env_stop_vcpus(struct env *e);
void env_harvest_until_done(struct env *e);
/* All vCPUs write @writes pages each, while the caller harvests. */
void env_run_round(struct env *e, uint64_t writes);

/*
 * Mark from the first page of the first slot on, until the pool is exhausted;
 * returns how many pages.  With @gated, a vCPU may be waiting at the gate, for
 * which one entry of each ring is left.
 */
uint32_t env_mark_room(struct env *e, bool gated);
uint32_t env_mark_all(struct env *e);

/* As a VMM does when it unplugs a vCPU, and plugs it in again. */
void env_unmap_ring(struct env *e, int i);
void env_map_ring(struct env *e, int i);

uint64_t env_wait_eventfd(int fd);

struct thread_arg {
	struct env *e;
	int i;
};

static inline time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Tell what vCPUs and rings are doing, and end the test. */
void __noreturn env_report_hang(int sig);

#define wait_for(cond, what)						\
do {									\
	time_t __end = now() + WAIT_SECONDS;				\
									\
	while (!(cond)) {						\
		if (now() >= __end) {					\
			ksft_print_msg("Waited %d s for: %s\n",		\
				       WAIT_SECONDS, what);		\
			/* It may be the emulator's fault */		\
			env_report_hang(0);				\
		}							\
		sched_yield();						\
	}								\
} while (0)

/*
 * What each architecture has in a way of its own
 */

/* By the guest, before anything else. */
void guest_arch_init(void);
uint64_t vcpu_pc(struct kvm_vcpu *vcpu);

/*
 * Marks of a vCPU that no gate holds up: an ioctl of the vCPU that makes KVM
 * write guest memory.  vcpu_mark() returns how many marks it made.
 */
bool can_vcpu_mark(void);
uint32_t vcpu_mark(struct kvm_vcpu *vcpu);

#endif /* SELFTEST_KVM_DIRTY_POOL_ENV_H */
