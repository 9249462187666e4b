// SPDX-License-Identifier: GPL-2.0
/* Unit tests: a single thread checks one rule of the pool at a time.  TAP. */
#include "unit.h"

struct vm vm;
struct kvm_dirty_pool_claim claims[VM_MAX_RINGS];
bool failed;
u64 expect_next;

u32 claim_flags(int user, struct kvm_dirty_pool_claim *claim,
		unsigned int flags)
{
	struct kvm_dirty_pool_user *u;
	bool ok;

	u = user < 0 ? &vm.pool.vm_user : &vm.user[user];
	preempt_disable();
	ok = kvm_dirty_pool_claim(&vm.pool, u, flags, claim);
	preempt_enable();
	return ok ? claim->ring->index : NONE;
}

u32 claim(int user)
{
	return claim_flags(user, &claims[user], 0);
}

void give(int user)
{
	preempt_disable();
	kvm_dirty_pool_return(&vm.pool, &vm.user[user], &claims[user]);
	preempt_enable();
}

u32 touch(int user)
{
	u32 ring = claim(user);

	if (ring != NONE) {
		kvm_dirty_pool_push(&claims[user], 0, 0);
		give(user);
	}
	return ring;
}

void fill_all(void)
{
	u32 n = 0;

	while (!kvm_dirty_pool_exhausted(&vm.pool) && n++ < 10000)
		vm_mark(&vm, 0, 0, 0, 1, 0);
}

void in_order(void *arg, u32 ring, u32 slot, u64 offset)
{
	EQUAL(slot, 5);
	EQUAL(offset, expect_next);
	expect_next++;
}

/* @any_policy: the test also runs with the policies that POLICIES names. */
static const struct {
	const char *name;
	void (*run)(void);
	bool any_policy;
} cases[] = {
	{ "each state change", test_states },
	{ "drained while claimed", test_reset_while_claimed },
	{ "reserve, and OVERFLOW when it is full", test_reserve_full },
	{ "reserve: the own share first", test_reserve_home },
	{ "reserve: the hint of where there is room", test_reserve_hint },
	{ "reserve: claimed by one at a time", test_reserve_claimed_by_other },
	{ "interrupt: never waits", test_nowait },
	{ "all rings claimed for ever, or none there", test_all_claimed },
	{ "batches split at 64 and at the soft limit", test_batches },
	{ "back-pressure stays out of the reserve", test_noreserve_partial },
	{ "indices wrap around", test_wrap },
	{ "soft limit counts from the last reset", test_soft_end_lags },
	{ "order of last-used", test_last_used },
	{ "order of round-robin", test_round_robin },
	{ "order of lru", test_lru },
	{ "order of mru", test_mru },
	{ "emptiest fills rings alike", test_emptiest },
	{ "emptiest offers other rings", test_emptiest_offers },
	{ "each policy goes round", test_policy_long, true },
	{ "next ring that is not parked", test_next },
	{ "more rings than bits in a word", test_many_rings, true },
	{ "gate: FREE ring and no reserve entry", test_gate },
	{ "gate: userspace that drains one ring only", test_gate_one_ring_drained },
	{ "growth", test_growth, true },
	{ "policy switch, each to each", test_switch, true },
	{ "policy switch without memory", test_switch_nomem },
	{ "registry", test_registry },
	{ "policy with both a last ring and a put()", test_sticky_put },
	{ "policy that offers nonsense", test_mad_policy },
	{ "reset protects each page, in runs", test_reset_runs },
	{ "reset merges pages that come by turns", test_reset_merge },
	{ "reset protects what entries say, whatever that is", test_reset_any },
	{ "reset stops at a signal", test_reset_signal },
	{ "flush for what another has reset", test_flush },
	{ "reset bounded whatever userspace writes", test_reset_hostile, true },
	{ "marks of the VM itself", test_vm_user },
	{ "reset of many rings: one wait, one flush", test_reset_range },
	{ "reset of many rings, and a signal", test_reset_range_signal },
	{ "detach: what was not harvested is elsewhere", test_detach, true },
	{ "detach: nobody waits for the ring", test_detach_unused },
	{ "detach of a parked ring, with and without room", test_detach_parked },
	{ "attach: empty, and from the first entry", test_attach, true },
	{ "detach and attach of a ring that has not joined", test_not_added },
	{ "detach: no policy offers the ring", test_detach_policy, true },
	{ "gate: marks of the VM park no ring", test_gate_spare, true },
	{ "moves: the first claim of a ring", test_first_claim },
	{ "no park at an old soft limit", test_no_park },
	{ "reserve: what was tried before it", test_reserve_retries },
	{ "reserve: the second one who uses it", test_reserve_second_user },
	{ "gate: a vCPU that does not come back", test_ungate },
	{ "gate: without any ring", test_gate_no_ring },
	{ "detach: what is not logged any more", test_detach_unwanted },
	{ "OVERFLOW is reported once", test_report_overflow },
	{ "OVERFLOW: no search until something is reset", test_full_at },
	{ "OVERFLOW is told once", test_overflow_told },
	{ "quantum: for how long a user stays", test_quantum },
	{ "quantum: alone in the pool", test_quantum_alone },
	{ "quantum: a ring that was drained is kept", test_quantum_drained },
	{ "quantum: a user that threads share", test_quantum_shared },
	{ "quantum: what is no quantum", test_quantum_names },
	{ "the list of built-in policies is the registry's", test_builtin },
	{ "policy without memory keeps no module", test_nomem_module },
	{ "policy frees what it has before its module may go", test_destroy_module },
	{ "moves: a ring that has come back", test_attach_moves },
};

int main(void)
{
	bool all = !getenv("POLICIES") || !*getenv("POLICIES");
	int tests = 0, bad = 0;
	size_t i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	shim_thread_begin();
	policies_init();
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (!all && !cases[i].any_policy)
			continue;
		failed = false;
		cases[i].run();
		tests++;
		bad += failed;
		printf("%sok %d unit: %s\n", failed ? "not " : "", tests,
		       cases[i].name);
	}
	printf("1..%d\n", tests);
	shim_thread_end();
	return !!bad;
}
