/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The VM: one memslot, some vCPUs with a thread each, and a device that writes
 * guest memory.  Just enough of a VMM to migrate something.
 */
#ifndef BENCH_MIGRATE_VM_H
#define BENCH_MIGRATE_VM_H

#include <pthread.h>
#include <stdbool.h>

#include <linux/kvm.h>

#include "guest/params.h"
#include "dirty_pool_emulator.h"
#include "harvest.h"

#define VM_PAGE_SIZE	4096ul
#define VM_NAME_MAX	32

/* Exit codes of the program */
enum vm_exit {
	VM_OK,
	VM_FAILED,
	/* EMULATOR_FAULT: try again */
};

struct vm_config {
	unsigned int nr_vcpus;
	unsigned long memory;		/* bytes */
	enum guest_workload workload;
	unsigned int hot;		/* pages that each vCPU keeps stamping */
	unsigned int spin;		/* iterations of a loop between two stamps */
	unsigned int seed;
	unsigned int device_pages;	/* at the end of memory, the device's own */
	unsigned int device_share;	/* pages it writes per 100 stamps */

	enum harvest_tracker tracker;
	char policy[VM_NAME_MAX];	/* "": the kernel's default */
	bool nostop;
	unsigned int ring_entries;
	unsigned int threads;
	unsigned int period_ms;
};

/* The state of a vCPU that this guest can see: it has no APIC and reads no MSR. */
struct vm_vcpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
};

struct vm_vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	bool paused;
	bool unplugged;			/* stopped until vm_plug() */
	__u64 first_run_ns;		/* since vm_resume() */

	__u64 full_exits;		/* KVM_EXIT_DIRTY_RING_FULL */
	__u64 parked_exits;
	__u64 exhausted_exits;
	__u64 still_ns;			/* from these exits until KVM_RUN */
};

struct vm {
	struct vm_config config;
	int kvm_fd;
	int fd;
	size_t run_size;
	unsigned char *memory;
	struct guest_params *params;	/* in guest memory */
	unsigned long nr_pages;
	struct vm_vcpu vcpus[GUEST_MAX_VCPUS];
	unsigned int nr_vcpus;
	pthread_t device;
	bool device_started;
	bool device_paused;

	pthread_mutex_t lock;
	pthread_cond_t changed;		/* the rest, paused or unplugged */
	bool pause;
	bool quit;
	bool expired;			/* see vm_expired() */
	/*
	 * Pages were found wrong.  Whatever the guest does after that, it is a
	 * failure and not the emulator's fault.
	 */
	bool lost;

	struct harvest harvest;
	/*
	 * Pages to be sent: a harvest sets bits, the migration clears them.
	 */
	unsigned long *dirty;
	__u64 all_dirty;		/* how often OVERFLOW set all of them */
	__u64 device_writes;
};

/* The guest's program, see image.S */
extern const unsigned char guest_image[], guest_image_end[];

__u64 now_ns(void);

/* Print what failed and how to fix it (may be NULL); returns -1. */
extern const char *fail_prefix;
int fail(const char *mend, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* tracker, policy, nostop and threads of a mode, as in 'migrate --help' */
int vm_parse_mode(struct vm_config *config, const char *mode);

/*
 * All return 0, or print the reason and return -1.  A vCPU that can't continue
 * ends the process.
 */
int vm_create(struct vm *vm, const struct vm_config *config, bool load);
int vm_start(struct vm *vm);		/* the threads, paused */
void vm_resume(struct vm *vm);
void vm_pause(struct vm *vm);		/* stops all vCPUs and the device */
/*
 * Unplug a vCPU as far as KVM is concerned: stop its thread, unmap its ring,
 * keep its fd.  The others may run.
 */
int vm_unplug(struct vm *vm, unsigned int vcpu);
int vm_plug(struct vm *vm, unsigned int vcpu);
int vm_save(struct vm *vm, unsigned int vcpu, struct vm_vcpu_state *state);
int vm_load(struct vm *vm, unsigned int vcpu, const struct vm_vcpu_state *state);
void vm_free(struct vm *vm);

/* Wait until each vCPU has stamped all its pages once; vm_expired() if it is late. */
void vm_wait_filled(struct vm *vm, unsigned int timeout_s);

/* Let the guest check its pages; returns how many are wrong, or vm_expired(). */
unsigned long vm_check(struct vm *vm, unsigned int timeout_s);

/* Stamps that one vCPU has made since the start */
unsigned int vm_stamps(const struct vm *vm, unsigned int vcpu);

/*
 * Ends the process for an exit that this guest never makes, since it touches
 * nothing but its memory.  On an emulated CPU it may run with its host's
 * registers, in any of the modes.  A lost page can't be mistaken for that: memory
 * is compared before the destination's vCPUs run.
 */
void vm_broken(struct vm_vcpu *v) __attribute__((noreturn));

/*
 * The time is up: print where each vCPU is and end the process with VM_FAILED, or
 * with EMULATOR_FAULT if the emulator broke the guest.
 */
void vm_expired(struct vm *vm) __attribute__((noreturn));

#endif /* BENCH_MIGRATE_VM_H */
