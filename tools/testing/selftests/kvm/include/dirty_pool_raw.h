/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM by the bare ioctls, and what the kernel has left of it afterwards.
 *
 * For programs that expect calls to fail, or that are built for 32 bits: the
 * library of the selftests asserts success, and is for 64 bits.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_RAW_H
#define SELFTEST_KVM_DIRTY_POOL_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#define RAW_PAGE	4096u

/*
 * The guest runs in real mode.  Its code is in the first slot, which is not
 * logged; it writes to one page of the second after the other, and starts over
 * after the last.
 */
#define RAW_CODE_SLOT	0
#define RAW_CODE_GPA	0u
#define RAW_CODE_PAGES	16u
#define RAW_DATA_SLOT	1
#define RAW_DATA_GPA	0x10000u
#define RAW_DATA_PAGES	224u
#define RAW_PAGES	(RAW_CODE_PAGES + RAW_DATA_PAGES)

/* The guest leaves with KVM_EXIT_IO at this port after that many writes. */
#define RAW_PORT	0x10

/* These return what the system call returns, and leave errno. */
int raw_enable_cap(int vm, uint32_t cap, uint64_t bytes, uint64_t flags);
int raw_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa,
		 uint64_t bytes, void *hva);
int raw_set_policy(int vm, const char *name);
int raw_set_eventfd(int vm, int fd);
int raw_mark(int vm, uint32_t slot, uint64_t first, uint64_t nr);
int raw_get_state(int vm, uint32_t flags, struct kvm_dirty_ring_pool_state *state,
		  struct kvm_dirty_ring_state *rings, uint32_t nr);
/* MAP_FAILED on error. */
struct kvm_dirty_gfn *raw_map_ring(int vcpu, size_t bytes);

/* RAW_PAGES pages, with the guest's code; NULL on error. */
uint8_t *raw_memory(void);
/* Both slots, with memory of raw_memory(). */
int raw_set_slots(int vm, uint8_t *mem);
/* Let the vCPU write from a page of the data slot on, @nr pages an exit. */
int raw_start(int vcpu, uint32_t page, uint32_t nr);

/* The smallest ring in bytes; 0 where KVM has no pool. */
uint32_t raw_smallest_ring(int kvm);
/* Did the emulator break the guest?  The vCPU has left KVM_RUN. */
bool raw_emulator_fault(int vcpu, const struct kvm_run *run);

/* A VMM of the smallest kind */
struct raw_client {
	int vm, nr_vcpus, *vcpu;
	uint8_t *mem;
	uint32_t entries, *fetch;	/* of each ring */
	struct kvm_dirty_gfn **ring;
	uint32_t harvested;
	uint8_t found[RAW_DATA_PAGES];
};

/* A VM without rings, slots and vCPUs; 0 or -1. */
int raw_open(struct raw_client *c, int max_vcpus, uint32_t ring_bytes);
/* A vCPU and its ring; 0 or -1. */
int raw_add_vcpu(struct raw_client *c);
void raw_close(struct raw_client *c);
/* Harvest and reset all rings: false for an entry of another slot or a wrong count. */
bool raw_drain(struct raw_client *c);
/* Drain; exactly these pages were found since the last call. */
bool raw_found(struct raw_client *c, uint32_t first, uint32_t nr);
/*
 * Let a vCPU write @nr pages from @first on.  0 if it did; EMULATOR_FAULT; -1 with
 * errno if KVM_RUN failed; 1 for anything else.
 */
int raw_write(struct raw_client *c, int i, uint32_t first, uint32_t nr);

/* The policy "random"; false if it is loaded already, or there is no module. */
bool raw_load_policy(void);
void raw_unload_policy(void);

/* Up to @max bytes with a NUL at the end; false on error. */
bool read_file(const char *path, char *text, size_t max);
bool write_file(const char *path, const char *text);
/* A number of /proc/meminfo in KiB. */
long kernel_memory(const char *name);

#define PARAM(name)	"/sys/module/kvm/parameters/" name

/* What the kernel logs from here on; prints what looks like a defect. */
int log_open(void);
bool log_trouble(int log);

/*
 * What VMs that are gone have left in the kernel: directories in debugfs, virtual
 * areas, references to modules.  The kernel may need a moment to free them.
 */
struct remains {
	int debugfs, vmalloc, kvm_refs, policy_refs;
};

void remains_count(struct remains *r);
/* Wait until no more than @before is left; false if that does not happen. */
bool remains_gone(const struct remains *before);

/*
 * Objects of KVM that nothing points to, by kmemleak: prints them and returns how
 * many; -1 where the kernel has no kmemleak.
 */
void leaks_forget(void);
int leaks_count(void);

#endif /* SELFTEST_KVM_DIRTY_POOL_RAW_H */
