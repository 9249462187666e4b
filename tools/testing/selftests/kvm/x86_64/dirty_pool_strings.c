// SPDX-License-Identifier: GPL-2.0-only
/*
 * String instructions make many marks before the vCPU can leave.
 */
#include "dirty_pool_test.h"

/* KVM emulates so many iterations of one instruction at once. */
#define STRING_BYTES	1024
#define STRING_PAGE	7
#define STRING_PORT	0x99

/* Read STRING_BYTES from a port into a page. */
static void guest_ins(uint64_t id)
{
	uint64_t to = page_gpa(STRING_PAGE) + 2 * STRING_BYTES - 1;
	uint64_t n = STRING_BYTES;

	/* Downwards: upwards, KVM writes all bytes at once. */
	__asm__ __volatile__("std; rep insb; cld" : "+D"(to), "+c"(n) :
			     "d"(STRING_PORT) : "memory");
}

/* Write as many bytes by an emulated instruction. */
static void guest_stos(uint64_t id)
{
	uint64_t to = page_gpa(STRING_PAGE) + STRING_BYTES;
	uint64_t n = STRING_BYTES;

	__asm__ __volatile__(KVM_FEP "rep stosb" : "+D"(to), "+c"(n) :
			     "a"(0x5a) : "memory");
}

/* With all rings parked: run the instruction, and give it what it reads. */
static uint32_t run_string(struct env *e)
{
	struct kvm_vcpu *vcpu = e->vcpus[0];
	uint32_t flags;

	flags = env_run_once(e, 0);
	TEST_ASSERT(flags == KVM_DIRTY_RING_POOL_PARKED, "Flags 0x%x", flags);
	if (env_guest_vcpu(e, 0)->fn == guest_ins) {
		_vcpu_run(vcpu);
		TEST_ASSERT(vcpu->run->exit_reason == KVM_EXIT_IO &&
			    vcpu->run->io.port == STRING_PORT &&
			    vcpu->run->io.count == STRING_BYTES,
			    "Exit %s", exit_reason_str(vcpu->run->exit_reason));
		memset((void *)vcpu->run + vcpu->run->io.data_offset, 0x5a,
		       STRING_BYTES);
	}
	return env_run_once(e, 0);
}

static void check_string(struct env *e)
{
	uint8_t *page = (void *)env_page_hva(e, STRING_PAGE);
	uint32_t i;

	for (i = 0; i < PAGE_SIZE; i++)
		TEST_ASSERT(page[i] == (i / STRING_BYTES == 1 ? 0x5a : 0),
			    "Byte %u is 0x%x", i, page[i]);
}

/*
 * KVM has to write what a device has given to an instruction, which makes more
 * marks than the reserves hold: OVERFLOW is set.
 */
static void test_overflow_string(int unused)
{
	struct env e = {};
	uint32_t flags;

	env_init(&e, 2, 0);
	if (env_has_page_log(&e))
		skip("the reserves hold all of it");
	env_set_guest(&e, 0, guest_ins);
	env_mark_all(&e);
	flags = run_string(&e);
	env_get_state(&e);
	TEST_ASSERT(e.st.overflows == STRING_BYTES - 2 * (ring_entries -
							  e.rings[0].soft_limit),
		    "%llu marks lost of %u, with reserves of %u", e.st.overflows,
		    STRING_BYTES, ring_entries - e.rings[0].soft_limit);
	TEST_ASSERT(flags == (KVM_DIRTY_RING_POOL_EXHAUSTED |
			      KVM_DIRTY_RING_POOL_OVERFLOW),
		    "Flags 0x%x after an OVERFLOW", flags);
	check_string(&e);
	env_free(&e);
}

/* An instruction that can stop stops, and goes on when the rings are drained. */
static void test_string_stops(int unused)
{
	uint32_t flags, exits = 0;
	struct env e = {};

	if (write_param(PARAM_FEP, "1"))
		skip("%s is not writable", PARAM_FEP);
	env_init(&e, 2, 0);
	env_set_guest(&e, 0, guest_stos);
	env_mark_all(&e);
	for (flags = run_string(&e); flags; flags = env_run_once(&e, 0)) {
		if (!(flags & KVM_DIRTY_RING_POOL_EXHAUSTED))
			continue;
		exits++;
		env_drain(&e);
	}
	env_get_state(&e);
	TEST_ASSERT(exits && !e.st.overflows, "%u exits, %llu marks lost of %u",
		    exits, e.st.overflows, STRING_BYTES);
	check_string(&e);
	env_fini(&e);
}

const struct test string_tests[] = {
	{ "overflow_string",	test_overflow_string },
	{ "string_stops",	test_string_stops },
	{}
};
