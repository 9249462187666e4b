/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dirty_pool_oracle shares with the code of its guest, which is each
 * architecture's own.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_ORACLE_H
#define SELFTEST_KVM_DIRTY_POOL_ORACLE_H

#include "dirty_pool_workers.h"
#include "kvm_util.h"

#define MAX_VCPUS	6
#define MAX_SLOTS	6

/* The guest reads as many bytes at once from one port, and exits by the other. */
#define INS_PORT	0x2000
#define INS_BYTES	1024
#define EXIT_PORT	0x2001

struct guest_slot {
	uint64_t gva, bytes;
};

extern struct guest {
	struct guest_slot slots[MAX_SLOTS];
	uint32_t nr_slots;
	uint32_t ins;		/* read from INS_PORT, rarely */
	uint64_t ops[MAX_VCPUS];	/* made by each vCPU */
} guest;

/* @r: what its random numbers start with */
void guest_code(uint64_t index, uint64_t r);

#endif /* SELFTEST_KVM_DIRTY_POOL_ORACLE_H */
