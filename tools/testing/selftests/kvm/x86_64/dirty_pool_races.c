// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resets race with changes of page tables, on x86: huge pages, as a statistic of
 * x86 counts them, and shadow pages of nested guests.
 */
#include <linux/sizes.h>

#include "dirty_pool_race.h"
#include "svm_util.h"

/* The guest */
static uint64_t guest_svm;
static uint64_t guest_ncr3;
static uint64_t guest_nested;	/* run a nested guest */
static uint64_t guest_nested_runs;

static void nested_code(void)
{
	guest_nested_runs++;
	while (!READ_ONCE(guest_stop))
		guest_write_own(1);
	vmmcall();
}

static void guest_run_nested(void)
{
	struct svm_test_data *svm = (void *)guest_svm;
	static uint8_t stack[4096] __aligned(16);

	generic_svm_setup(svm, nested_code, stack + sizeof(stack) - 64);
	svm->vmcb->control.nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
	svm->vmcb->control.nested_cr3 = guest_ncr3;
	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
}

/* Write own pages until guest_stop, from a nested guest if asked to. */
static void guest_own_nested(uint64_t id)
{
	while (!READ_ONCE(guest_stop)) {
		if (READ_ONCE(guest_nested))
			guest_run_nested();
		else
			guest_write_own(id);
	}
}

static uint64_t race_huge;	/* the most huge pages that were mapped at once */

static bool race_huge_happened(struct env *e)
{
	return race_huge;
}

static void race_huge_end(struct env *e)
{
	ksft_print_msg("%lu huge pages mapped\n", race_huge);
}

static void race_logging(struct env *e, void (*unlogged)(struct env *e))
{
	uint64_t size = slot_pages[0] * PAGE_SIZE;
	uint32_t page, i;

	for (i = 0; i < slot_pages[0] / 512; i++)
		race_collapse(e, i);

	WRITE_ONCE(race.unlogged, race.unlogged + 1);
	race_set_slot(e, 0, SLOT_GPA(0), size, 0);
	/* KVM maps huge pages now.  Logging splits them again. */
	usleep(1000 + env_random(e, 4000));
	race_huge = max(race_huge, vm_get_stat(e->vm, "pages_2m"));
	if (unlogged)
		unlogged(e);
	race_set_slot(e, 0, SLOT_GPA(0), size, KVM_MEM_LOG_DIRTY_PAGES);

	/* Writes until here need not be reported. */
	pthread_mutex_lock(&e->lock);
	for (page = 0; page < slot_pages[0]; page++)
		e->seen[page] = env_page_stamp(e, page);
	pthread_mutex_unlock(&e->lock);
	WRITE_ONCE(race.unlogged, race.unlogged + 1);
	race_go_on(3);
}

static void race_logging_event(struct env *e, int round, int n)
{
	race_logging(e, NULL);
}

static void race_nx_need(void)
{
	if (write_param(PARAM_NX, "force") || write_param(PARAM_NX_RATIO, "1") ||
	    write_param(PARAM_NX_PERIOD, "1"))
		skip("%s is not writable", PARAM_NX);
}

static void race_nx_init(struct env *e)
{
	uint32_t page;

	for (page = 0; page < slot_pages[0]; page++) {
		if (is_code_page(page))
			*((uint8_t *)env_page_hva(e, page) + CODE_OFFSET) = 0xc3;
	}
	write_guest_global(e->vm, guest_exec, 1);
}

static void race_nx_unlogged(struct env *e)
{
	if (env_random(e, 4))
		return;
	write_param(PARAM_NX, "off");
	write_param(PARAM_NX, "force");
}

static void race_nx_event(struct env *e, int round, int n)
{
	race_logging(e, race_nx_unlogged);
}

static void race_nested_need(void)
{
	if (!kvm_cpu_has(X86_FEATURE_NPT))
		skip("no nested guests with nested paging (AMD)");
}

/* Nested page tables that map each page to itself, as huge pages. */
static void race_nested_init(struct env *e)
{
	vm_vaddr_t svm, tables;
	uint64_t *entry;
	int i;

	vcpu_alloc_svm(e->vm, &svm);
	write_guest_global(e->vm, guest_svm, svm);

	tables = vm_vaddr_alloc_pages(e->vm, 2 + 4);
	entry = addr_gva2hva(e->vm, tables);
	entry[0] = addr_gva2gpa(e->vm, tables + PAGE_SIZE) | 0x67;
	for (i = 0; i < 4; i++)
		entry[512 + i] = addr_gva2gpa(e->vm, tables + (2 + i) * PAGE_SIZE) | 0x67;
	for (i = 0; i < 4 * 512; i++) {
		/* The pages of one allocation may not be neighbours. */
		entry = addr_gva2hva(e->vm, tables + (2 + i / 512) * PAGE_SIZE);
		entry[i % 512] = i * (uint64_t)SZ_2M | 0xe7;
	}
	write_guest_global(e->vm, guest_ncr3, addr_gva2gpa(e->vm, tables));
	env_set_guest(e, 1, guest_own_nested);
}

static void race_nested_event(struct env *e, int round, int n)
{
	if (round == 1 && n == 5)
		write_guest_global(e->vm, guest_nested, 1);
	race_go_on(5);
}

static bool race_nested_happened(struct env *e)
{
	return READ_ONCE(*(uint64_t *)addr_gva2hva(e->vm,
						   (vm_vaddr_t)&guest_nested_runs));
}

static void race_nested_end(struct env *e)
{
	uint64_t zapped;

	/* This zaps all shadow pages.  Their statistic follows the pool's. */
	race_set_slot(e, 1, SLOT_GPA(1), 0, 0);
	race_set_slot(e, 1, SLOT_GPA(1), slot_pages[1] * PAGE_SIZE, 0);
	zapped = vm_get_stat(e->vm, "mmu_shadow_zapped");
	TEST_ASSERT(zapped, "No shadow page was zapped");
	expect_stat(e, "mmu_shadow_zapped", zapped);
}

/* Logging is disabled and enabled, which maps huge pages and splits them. */
static void test_race_logging(int unused)
{
	static const struct race logging = {
		.thp = true,
		.event = race_logging_event,
		.happened = race_huge_happened,
		.end = race_huge_end,
	};

	run_race(&logging);
}

/* The same, while the guest runs code in huge pages that must not be executable. */
static void test_race_nx(int unused)
{
	static const struct race nx = {
		.thp = true,
		.need = race_nx_need,
		.init = race_nx_init,
		.event = race_nx_event,
		.happened = race_huge_happened,
		.end = race_huge_end,
	};

	run_race(&nx);
}

/* Shadow pages appear: resets fall back to mmu_lock held for write. */
static void test_race_nested(int unused)
{
	static const struct race nested = {
		.need = race_nested_need,
		.init = race_nested_init,
		.event = race_nested_event,
		.happened = race_nested_happened,
		.end = race_nested_end,
	};

	run_race(&nested);
}

const struct test huge_race_tests[] = {
	{ "race_logging",	test_race_logging },
	{ "race_nx",		test_race_nx },
	{ "race_nested",	test_race_nested },
	{}
};
