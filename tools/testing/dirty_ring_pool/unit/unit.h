/* SPDX-License-Identifier: GPL-2.0 */
/* Shared by the unit tests: one VM, and a claim for each of its users. */
#ifndef UNIT_H
#define UNIT_H

#include "harness.h"

#define FREE		KVM_DIRTY_POOL_FREE
#define CLAIMED		KVM_DIRTY_POOL_CLAIMED
#define PARKED		KVM_DIRTY_POOL_PARKED
#define RESERVE		KVM_DIRTY_POOL_RESERVE
#define DETACHED	KVM_DIRTY_POOL_DETACHED
#define NONE		KVM_DIRTY_POOL_NONE

extern struct vm vm;
extern struct kvm_dirty_pool_claim claims[VM_MAX_RINGS];
extern bool failed;

#define CHECK(c) do {							\
	if (!(c)) {							\
		printf("# %s:%d: %s\n", __func__, __LINE__, #c);	\
		failed = true;						\
	}								\
} while (0)

#define EQUAL(a, b) do {						\
	long long _a = (a), _b = (b);					\
	if (_a != _b) {							\
		printf("# %s:%d: %s is %lld, not %lld\n", __func__,	\
		       __LINE__, #a, _a, _b);				\
		failed = true;						\
	}								\
} while (0)

/* Claim a ring for @user, -1 is the VM.  Returns its index or NONE. */
u32 claim_flags(int user, struct kvm_dirty_pool_claim *claim,
		unsigned int flags);
u32 claim(int user);
/* Return it. */
void give(int user);
/* Claim, push one entry, return. */
u32 touch(int user);
/* Mark until each ring is parked. */
void fill_all(void);

/* For vm_harvest(): the pages are those of slot 5, from expect_next on. */
extern u64 expect_next;
void in_order(void *arg, u32 ring, u32 slot, u64 offset);

/* claim.c */
void test_states(void);
void test_reset_while_claimed(void);
void test_nowait(void);
void test_all_claimed(void);
void test_batches(void);
void test_noreserve_partial(void);
void test_wrap(void);
void test_soft_end_lags(void);
void test_vm_user(void);
void test_first_claim(void);
void test_attach_moves(void);
void test_no_park(void);

/* reserve.c */
void test_reserve_full(void);
void test_reserve_home(void);
void test_reserve_hint(void);
void test_reserve_claimed_by_other(void);
void test_reserve_retries(void);
void test_reserve_second_user(void);

/* gate.c */
void test_gate(void);
void test_gate_one_ring_drained(void);
void test_gate_spare(void);
void test_ungate(void);
void test_gate_no_ring(void);

/* overflow.c */
void test_report_overflow(void);
void test_full_at(void);
void test_overflow_told(void);

/* policies.c */
void test_last_used(void);
void test_round_robin(void);
void test_lru(void);
void test_mru(void);
void test_emptiest(void);
void test_emptiest_offers(void);
void test_quantum(void);
void test_quantum_alone(void);
void test_quantum_drained(void);
void test_quantum_shared(void);
void test_policy_long(void);
void test_next(void);
void test_many_rings(void);
void test_switch(void);

/* registry.c */
void test_switch_nomem(void);
void test_registry(void);
void test_quantum_names(void);
void test_nomem_module(void);
void test_destroy_module(void);
void test_sticky_put(void);
void test_mad_policy(void);
void test_builtin(void);

/* reset.c */
void test_reset_runs(void);
void test_reset_merge(void);
void test_reset_any(void);
void test_reset_signal(void);
void test_flush(void);
void test_reset_hostile(void);
void test_reset_range(void);
void test_reset_range_signal(void);

/* attach.c */
void test_growth(void);
void test_detach(void);
void test_detach_unused(void);
void test_detach_parked(void);
void test_detach_unwanted(void);
void test_attach(void);
void test_not_added(void);
void test_detach_policy(void);

#endif
