// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_GET_DIRTY_RING_POOL_STATE, and the same counters as statistics of the VM.
 */
#include <fcntl.h>

#include "dirty_pool_test.h"

/* The statistic in debugfs; false if there is none. */
static bool debugfs_stat(struct env *e, const char *name, uint64_t *value)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%d-%d/%s", getpid(),
		 e->vm->fd, name);
	if (!read_param(path, text))
		return false;
	*value = strtoull(text, NULL, 0);
	return true;
}

void expect_stat(struct env *e, const char *name, uint64_t want)
{
	uint64_t value = -1;

	__vm_get_stat(e->vm, name, &value, 1);
	TEST_ASSERT(value != -1, "The VM has no statistic %s", name);
	TEST_ASSERT(value == want, "%s is %lu, not %lu", name, value, want);
	if (debugfs_stat(e, name, &value))
		TEST_ASSERT(value == want, "%s is %lu in debugfs, not %lu", name,
			    value, want);
}

static void test_stats(int unused)
{
	struct kvm_dirty_ring_state one[2];
	struct kvm_dirty_ring_pool_state st;
	uint64_t claims, pushed;
	struct kvm_vm *vm;
	struct env e = {};
	uint32_t i, used;

	env_init(&e, 4, 0);
	/* Leave entries in the rings. */
	env_set_writes(&e, 1000);
	env_start_vcpus(&e);
	for (i = 0; i < 20; i++)
		env_harvest_some(&e);
	env_stop_vcpus(&e);
	while (__vm_mark_dirty(e.vm, FIRST_SLOT, 0, 10, NULL) == 10)
		;
	env_drain_ring(&e, 1);
	env_get_state(&e);

	expect_stat(&e, "dirty_pool_claims", e.st.claims);
	expect_stat(&e, "dirty_pool_claim_retries", e.st.claim_retries);
	expect_stat(&e, "dirty_pool_reserve_claims", e.st.reserve_claims);
	expect_stat(&e, "dirty_pool_parks", e.st.parks);
	expect_stat(&e, "dirty_pool_drains", e.st.drains);
	expect_stat(&e, "dirty_pool_exhaustions", e.st.exhaustions);
	expect_stat(&e, "dirty_pool_overflows", e.st.overflows);
	expect_stat(&e, "dirty_pool_pushed", e.st.pushed);
	expect_stat(&e, "dirty_pool_moves", e.st.moves);

	step("sums");
	TEST_ASSERT(e.st.nr_rings == 4 && e.st.cap_flags == 0,
		    "%u rings, flags 0x%x", e.st.nr_rings, e.st.cap_flags);
	TEST_ASSERT(ring_entries <= (env_has_page_log(&e) ? 1024 : 256),
		    "The smallest ring has %u entries", ring_entries);
	claims = 0;
	pushed = 0;
	used = 0;
	for (i = 0; i < 4; i++) {
		claims += e.rings[i].claims;
		pushed += e.rings[i].pushed;
		used += e.rings[i].used;
		TEST_ASSERT(e.rings[i].vcpu_id == i &&
			    e.rings[i].soft_limit < ring_entries,
			    "Ring %u: vCPU %u, soft limit %u", i,
			    e.rings[i].vcpu_id, e.rings[i].soft_limit);
	}
	TEST_ASSERT(claims == e.st.claims && claims,
		    "The rings have %lu claims, the pool %llu", claims, e.st.claims);
	TEST_ASSERT(pushed == e.st.pushed && pushed,
		    "The rings got %lu entries, the pool %llu", pushed,
		    e.st.pushed);
	TEST_ASSERT(pushed == e.reset + used,
		    "%lu entries pushed, %lu reset, but %u left", pushed, e.reset,
		    used);
	TEST_ASSERT(e.st.parks - e.st.drains ==
		    env_rings_in_state(&e, KVM_DIRTY_RING_PARKED),
		    "%llu parks, %llu drains, but %u rings parked", e.st.parks,
		    e.st.drains, env_rings_in_state(&e, KVM_DIRTY_RING_PARKED));

	step("vCPU ids that differ from indices");
	vm = vm_create_barebones();
	TEST_ASSERT(!__vm_enable_dirty_pool(vm, ring_entries *
					    sizeof(struct kvm_dirty_gfn), 0),
		    "Can't enable the pool, errno %d", errno);
	__vm_vcpu_add(vm, 5);
	__vm_vcpu_add(vm, 2);
	vm_dirty_pool_state(vm, 0, &st, one, 2);
	TEST_ASSERT(st.nr_rings == 2 && one[0].vcpu_id == 5 && one[1].vcpu_id == 2,
		    "Rings of vCPUs %u and %u, which have the ids 5 and 2", one[0].vcpu_id,
		    one[1].vcpu_id);
	kvm_vm_free(vm);

	step("room for fewer rings");
	memset(one, 0xee, sizeof(one));
	vm_dirty_pool_state(e.vm, 0, &e.st, one, 1);
	TEST_ASSERT(e.st.nr_rings == 4 && !memcmp(&one[0], &e.rings[0], sizeof(one[0])) &&
		    one[1].vcpu_id == 0xeeeeeeee, "%u rings, with room for one",
		    e.st.nr_rings);
	TEST_ASSERT(e.st.rings == (uintptr_t)one && !e.st.flags,
		    "The call changed what userspace had set");
	vm_dirty_pool_state(e.vm, 0, &e.st, NULL, 0);
	TEST_ASSERT(e.st.nr_rings == 4, "%u rings, with no room for any", e.st.nr_rings);
	env_fini(&e);
}

/* Each counter differs from the others, and counts what the test does. */
static void test_stats_counted(int unused)
{
	uint32_t i, soft, rsvd, marks = 0;
	struct env e = {};

	need_vcpu_mark();
	env_init(&e, 3, 0);
	soft = env_soft_limit(&e);
	rsvd = ring_entries - soft;

	step("pages of the VM, until one is refused");
	for (i = 0; i < 3 * soft; i++)
		TEST_ASSERT(__vm_mark_dirty(e.vm, FIRST_SLOT, i, 1, NULL) == 1,
			    "Page %u, errno %d", i, errno);
	expect_error(__vm_mark_dirty(e.vm, FIRST_SLOT, i, 1, NULL), EAGAIN);
	expect_error(__vm_mark_dirty(e.vm, FIRST_SLOT, i, 1, NULL), EAGAIN);
	expect_stat(&e, "dirty_pool_claims", 3 * soft);
	expect_stat(&e, "dirty_pool_pushed", 3 * soft);
	expect_stat(&e, "dirty_pool_parks", 3);
	expect_stat(&e, "dirty_pool_drains", 0);
	expect_stat(&e, "dirty_pool_moves", 3);
	expect_stat(&e, "dirty_pool_exhaustions", 2);
	expect_stat(&e, "dirty_pool_reserve_claims", 0);
	expect_stat(&e, "dirty_pool_overflows", 0);

	step("marks of a vCPU, until some are lost");
	while (marks <= 3 * rsvd)
		marks += vcpu_mark(e.vcpus[0]);
	expect_stat(&e, "dirty_pool_claims", 3 * soft + 3 * rsvd);
	expect_stat(&e, "dirty_pool_reserve_claims", 3 * rsvd);
	expect_stat(&e, "dirty_pool_pushed", 3 * ring_entries);
	expect_stat(&e, "dirty_pool_overflows", marks - 3 * rsvd);
	expect_stat(&e, "dirty_pool_exhaustions", 2 + marks);
	expect_stat(&e, "dirty_pool_moves", 6);
	expect_stat(&e, "dirty_pool_parks", 3);
	env_get_state(&e);
	TEST_ASSERT(env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE) == 3 &&
		    (e.st.status & KVM_DIRTY_RING_POOL_PARKED),
		    "Status 0x%x with reserve entries in %u of 3 rings", e.st.status,
		    env_rings_in_state(&e, KVM_DIRTY_RING_RESERVE));

	step("one ring drained");
	env_drain_ring(&e, 1);
	expect_stat(&e, "dirty_pool_drains", 1);
	expect_stat(&e, "dirty_pool_parks", 3);
	env_get_state(&e);
	TEST_ASSERT(e.st.claims == 3 * soft + 3 * rsvd &&
		    e.st.reserve_claims == 3 * rsvd && e.st.parks == 3 &&
		    e.st.drains == 1 && e.st.exhaustions == 2 + marks &&
		    e.st.overflows == marks - 3 * rsvd &&
		    e.st.pushed == 3 * ring_entries && e.st.moves == 6,
		    "The counters of the pool's state differ from the statistics");
	env_drain(&e);
	env_free(&e);
}

/*
 * A vCPU is the user of its ring whatever its id is: its first claim of the ring is
 * no move.
 */
static void test_stats_vcpu_ids(int unused)
{
	static const uint32_t ids[] = { 3, 1 };
	struct env e = {};
	int i;

	need_vcpu_mark();
	env_init(&e, 0, 0);
	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		e.vcpus[i] = vm_vcpu_add(e.vm, ids[i], NULL);
		vcpu_map_dirty_ring(e.vcpus[i]);
		e.nr_vcpus++;
	}
	vm_set_dirty_policy(e.vm, "last-used");
	for (i = 0; i < ARRAY_SIZE(ids); i++)
		vcpu_mark(e.vcpus[i]);
	env_get_state(&e);
	for (i = 0; i < ARRAY_SIZE(ids); i++)
		TEST_ASSERT(e.rings[i].vcpu_id == ids[i] && e.rings[i].claims,
			    "Ring %d, of vCPU %u, was claimed %llu times", i,
			    e.rings[i].vcpu_id, e.rings[i].claims);
	TEST_ASSERT(!e.st.moves, "%llu moves of %llu claims", e.st.moves,
		    e.st.claims);
	env_drain(&e);
	env_free(&e);
}

#define TRACING		"/sys/kernel/tracing/"
#define TRACE_EVENTS	TRACING "events/kvm_dirty_ring_pool/enable"
#define TRACE_EXIT	TRACING "events/kvm/kvm_dirty_ring_exit/enable"

struct traced {
	uint64_t claims, reserve_claims, vm_claims, returns, pushed;
	uint64_t parks, drains, exhaustions, lost, policies, exits;
};

static uint64_t trace_number(const char *line, const char *field)
{
	const char *at = strstr(line, field);

	return at ? strtoull(at + strlen(field), NULL, 10) : 0;
}

static void count_trace(struct traced *t)
{
	FILE *file = fopen(TRACING "trace", "r");
	char line[512];

	TEST_ASSERT(file, "fopen(): %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		t->claims += !!strstr(line, "kvm_dirty_pool_claim:");
		t->reserve_claims += !!strstr(line, " reserve room ");
		t->vm_claims += strstr(line, "kvm_dirty_pool_claim:") &&
				strstr(line, " user -1 ");
		t->returns += !!strstr(line, "kvm_dirty_pool_return:");
		t->pushed += trace_number(line, " pushed ");
		t->parks += !!strstr(line, "kvm_dirty_pool_park:");
		t->drains += !!strstr(line, "kvm_dirty_pool_drain:");
		t->exhaustions += !!strstr(line, "kvm_dirty_pool_exhausted:");
		t->lost += trace_number(line, " lost ");
		t->policies += !!strstr(line, " policy lru");
		t->exits += !!strstr(line, "kvm_dirty_ring_exit: vcpu 1");
	}
	fclose(file);
}

/* The tracepoints tell what the counters count. */
static void test_tracepoints(int unused)
{
	struct traced t = {};
	struct env e = {};
	uint64_t vm_claims;
	uint32_t flags;
	int fd;

	need_vcpu_mark();
	env_init(&e, 2, 0);
	fd = open(TRACING "trace", O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write_param(TRACE_EVENTS, "1") || write_param(TRACE_EXIT, "1"))
		skip("no %s or %s", TRACE_EVENTS, TRACE_EXIT);
	close(fd);
	vm_set_dirty_policy(e.vm, "lru");
	env_mark_all(&e);
	env_get_state(&e);
	vm_claims = e.st.claims;
	do {
		vcpu_mark(e.vcpus[0]);
		env_get_state(&e);
	} while (!(e.st.status & KVM_DIRTY_RING_POOL_OVERFLOW));
	/* It exits before it enters the guest, and so marks nothing. */
	flags = env_run_once(&e, 1);
	env_drain_ring(&e, 1);
	env_get_state(&e);
	write_param(TRACE_EVENTS, "0");
	write_param(TRACE_EXIT, "0");

	count_trace(&t);
	TEST_ASSERT(t.claims == e.st.claims && t.reserve_claims == e.st.reserve_claims &&
		    t.returns == e.st.claims && t.vm_claims == vm_claims,
		    "%lu claims of %llu, %lu for reserves of %llu, %lu of the VM of %lu, %lu returns",
		    t.claims, e.st.claims, t.reserve_claims, e.st.reserve_claims,
		    t.vm_claims, vm_claims, t.returns);
	TEST_ASSERT(t.pushed == e.st.pushed && t.parks == 2 && t.drains == 1,
		    "%lu entries of %llu, %lu parks, %lu drains", t.pushed,
		    e.st.pushed, t.parks, t.drains);
	TEST_ASSERT(t.exhaustions == e.st.exhaustions && t.lost == e.st.overflows,
		    "%lu exhaustions of %llu, %lu pages lost of %llu", t.exhaustions,
		    e.st.exhaustions, t.lost, e.st.overflows);
	TEST_ASSERT(t.policies == 1, "The policy was traced %lu times", t.policies);
	TEST_ASSERT(flags && t.exits == 1, "The exit with flags 0x%x was traced %lu times",
		    flags, t.exits);
	env_drain(&e);
	env_free(&e);
}

const struct test stat_tests[] = {
	{ "stats",		test_stats },
	{ "stats_counted",	test_stats_counted },
	{ "stats_vcpu_ids",	test_stats_vcpu_ids },
	{ "tracepoints",	test_tracepoints },
	{}
};
