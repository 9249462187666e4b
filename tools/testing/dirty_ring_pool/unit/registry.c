// SPDX-License-Identifier: GPL-2.0
/*
 * The registry of policies, and policies that tests add to it.  Its list of
 * built-in policies is static: include the file instead of linking it.
 */
#include <virt/kvm/dirty_ring_policy.c>

#include <errno.h>
#include <linux/module.h>
#include "policies.h"
#include "unit.h"

void test_switch_nomem(void)
{
	unsigned long n;
	int ret;

	for (n = 1; n < 8; n++) {
		vm_init(&vm, 2, 2, 16, 4, NULL, 0);
		shim_alloc_fail = n;
		ret = kvm_dirty_pool_set_policy(&vm.pool, n & 4 ? "mru" : "lru");
		if (shim_alloc_fail)
			EQUAL(ret, 0);
		else
			EQUAL(ret, -ENOMEM);
		shim_alloc_fail = n;
		ret = kvm_dirty_pool_set_policy(&vm.pool, n & 4 ? "lru" : "mru");
		if (shim_alloc_fail)
			EQUAL(ret, 0);
		else
			EQUAL(ret, -ENOMEM);
		shim_alloc_fail = 0;
		CHECK(touch(0) < 2);
		vm_exit(&vm);
	}
	shim_alloc_fail = 1;
	EQUAL(kvm_dirty_pool_policy_set_default("round-robin"), 0);
	shim_alloc_fail = 0;
	for (n = 1; n < 5; n++) {
		struct kvm_dirty_pool pool = {};
		static const struct kvm_dirty_pool_ops ops;

		shim_alloc_fail = n;
		EQUAL(kvm_dirty_pool_init(&pool, &ops, 4), -ENOMEM);
	}
	shim_alloc_fail = 0;
	EQUAL(kvm_dirty_pool_policy_set_default("emptiest"), 0);
}

static u32 lazy_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	return NONE;
}

static u32 mad_pick(struct kvm_dirty_pool *pool, void *data, u32 prev)
{
	static u32 n;

	n++;
	return (n * 2654435761u) >> (n % 32);
}

void test_registry(void)
{
	struct module mod = {};
	struct kvm_dirty_pool_policy p = { .name = "lazy", .owner = &mod };
	struct kvm_dirty_pool_policy q = { .name = "lru", .pick = lazy_pick };
	const struct kvm_dirty_pool_policy *got;
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	u32 quantum;

	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	p.pick = lazy_pick;
	memset(p.name, 'x', sizeof(p.name));
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	memset(p.name, 0, sizeof(p.name));
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	EQUAL(kvm_dirty_pool_policy_register(&q), -EEXIST);
	memcpy(p.name, "lazy", 5);
	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	memcpy(q.name, "lazy", 5);
	EQUAL(kvm_dirty_pool_policy_register(&q), -EEXIST);
	EQUAL(PTR_ERR(kvm_dirty_pool_policy_get("laz", &quantum)), -ENOENT);
	EQUAL(PTR_ERR(kvm_dirty_pool_policy_get("lazyy", &quantum)), -ENOENT);
	got = kvm_dirty_pool_policy_get("lazy", &quantum);
	CHECK(got == &p);
	EQUAL(mod.refs, 1);
	kvm_dirty_pool_policy_put(got);
	EQUAL(mod.refs, 0);
	/* a pool holds a reference to the module */
	vm_init(&vm, 2, 2, 16, 4, "lazy", 0);
	EQUAL(mod.refs, 1);
	EQUAL(touch(0), 0);
	EQUAL(touch(1), 1);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "mru"), 0);
	EQUAL(mod.refs, 0);
	mod.going = true;
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lazy"), -ENOENT);
	mod.going = false;
	vm_exit(&vm);
	/* so does the default */
	EQUAL(kvm_dirty_pool_policy_set_default("no such"), -ENOENT);
	EQUAL(kvm_dirty_pool_policy_set_default("lazy"), 0);
	EQUAL(mod.refs, 1);
	kvm_dirty_pool_policy_get_default(name);
	CHECK(!strcmp(name, "lazy"));
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(mod.refs, 2);
	vm_exit(&vm);
	EQUAL(kvm_dirty_pool_policy_set_default("emptiest"), 0);
	EQUAL(mod.refs, 0);
	kvm_dirty_pool_policy_unregister(&p);
	EQUAL(PTR_ERR(kvm_dirty_pool_policy_get("lazy", &quantum)), -ENOENT);
}

void test_quantum_names(void)
{
	static const char *const bad[] = {
		"lru:", "lru:3", "lru:-1", "lru:+1", "lru: 1", "lru:1x",
		"lru:4294967296", "lru:1:1", "lru:0x10", "lru:1\n", "lru:\n1",
		"lru:010",	/* ten, not eight */
	};
	static const char padded[KVM_DIRTY_RING_POLICY_NAME_MAX] = "lru:2";
	struct kvm_dirty_pool_policy p = { .name = "odd", .pick = lazy_pick };
	char name[KVM_DIRTY_RING_POLICY_NAME_MAX];
	u32 quantum, i;

	vm_init(&vm, 1, 1, 16, 4, "round-robin:16", 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EQUAL(kvm_dirty_pool_set_policy(&vm.pool, bad[i]), -EINVAL);
		EQUAL(kvm_dirty_pool_policy_set_default(bad[i]), -EINVAL);
	}
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lr:1"), -ENOENT);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, ":1"), -ENOENT);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lru\n"), -ENOENT);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "round-robin:16"));
	/* a quantum that is the policy's own is not told */
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lru:64"), 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "lru"));
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lru:0"), 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "lru:0"));
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "last-used:0"), 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "last-used"));
	EQUAL(kvm_dirty_pool_policy_set_default("lru:2"), 0);
	/* all of the array goes to userspace */
	memset(name, 'x', sizeof(name));
	kvm_dirty_pool_policy_get_default(name);
	CHECK(!memcmp(name, padded, sizeof(name)));
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, NULL), 0);
	kvm_dirty_pool_get_policy(&vm.pool, name);
	CHECK(!strcmp(name, "lru:2"));
	EQUAL(kvm_dirty_pool_policy_set_default("emptiest"), 0);
	vm_exit(&vm);

	p.quantum = 3;
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	p.quantum = 32;
	memcpy(p.name, "o:d", 4);
	EQUAL(kvm_dirty_pool_policy_register(&p), -EINVAL);
	memcpy(p.name, "odd", 4);
	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	CHECK(kvm_dirty_pool_policy_get("odd", &quantum) == &p);
	EQUAL(quantum, 32);
	CHECK(kvm_dirty_pool_policy_get("odd:8", &quantum) == &p);
	EQUAL(quantum, 8);
	kvm_dirty_pool_policy_unregister(&p);
}

static void *nomem_create(u32 max_rings)
{
	return NULL;
}

/* A policy that cannot be created leaves its module free to go. */
void test_nomem_module(void)
{
	struct module mod = {};
	struct kvm_dirty_pool_policy p = {
		.name = "nomem", .owner = &mod, .create = nomem_create,
		.pick = lazy_pick,
	};

	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	vm_init(&vm, 2, 2, 16, 4, NULL, 0);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "nomem"), -ENOMEM);
	EQUAL(mod.refs, 0);
	vm_exit(&vm);
	kvm_dirty_pool_policy_unregister(&p);
}

static struct module owned;
static int refs_at_destroy;

static void *owned_create(u32 max_rings)
{
	return &owned;
}

static void owned_destroy(void *data)
{
	refs_at_destroy = owned.refs;
}

/* The module has to stay while its policy frees what it has. */
void test_destroy_module(void)
{
	struct kvm_dirty_pool_policy p = {
		.name = "owned", .owner = &owned, .create = owned_create,
		.destroy = owned_destroy, .pick = lazy_pick,
	};

	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	vm_init(&vm, 1, 1, 16, 4, "owned", 0);
	refs_at_destroy = -1;
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "lru"), 0);
	EQUAL(refs_at_destroy, 1);
	EQUAL(owned.refs, 0);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "owned"), 0);
	refs_at_destroy = -1;
	vm_exit(&vm);
	EQUAL(refs_at_destroy, 1);
	EQUAL(owned.refs, 0);
	kvm_dirty_pool_policy_unregister(&p);
}

static u32 nr_put;

static void count_put(void *data, u32 ring)
{
	nr_put++;
}

/* A ring is put when its user leaves it, and when it was parked and is FREE. */
void test_sticky_put(void)
{
	struct kvm_dirty_pool_policy p = {
		.name = "both", .pick = lazy_pick, .put = count_put,
	};

	EQUAL(kvm_dirty_pool_policy_register(&p), 0);
	vm_init(&vm, 1, 1, 16, 4, "both", 0);
	nr_put = 0;
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(vm_mark(&vm, 0, 0, 1, 1, 0), 1);
	EQUAL(nr_put, 0);
	EQUAL(vm_mark(&vm, 0, 0, 2, 10, 0), 10);
	EQUAL(nr_put, 0);
	EQUAL(vm.quiesces, 0);
	EQUAL(vm_drain(&vm, 0), 12);
	EQUAL(vm.quiesces, 1);
	EQUAL(nr_put, 1);
	EQUAL(kvm_dirty_pool_set_policy(&vm.pool, "both:2"), 0);
	nr_put = 0;
	EQUAL(vm_mark(&vm, 0, 0, 0, 1, 0), 1);
	EQUAL(nr_put, 0);
	EQUAL(vm_mark(&vm, 0, 0, 1, 1, 0), 1);
	EQUAL(nr_put, 1);
	vm_exit(&vm);
	kvm_dirty_pool_policy_unregister(&p);
}

/* A policy that offers nonsense is slow, but safe. */
void test_mad_policy(void)
{
	struct kvm_dirty_pool_policy mad = { .name = "mad", .pick = mad_pick };
	u32 i;

	EQUAL(kvm_dirty_pool_policy_register(&mad), 0);
	vm_init(&vm, 3, 3, 16, 4, "mad", 0);
	for (i = 0; i < 3; i++) {
		CHECK(claim(i) < 3);
		CHECK(claims[i].word == CLAIMED);
	}
	for (i = 0; i < 3; i++)
		give(i);
	EQUAL(vm_mark(&vm, 0, 0, 0, 48, 0), 48);
	EQUAL(vm.overflows, 0);
	vm_exit(&vm);
	kvm_dirty_pool_policy_unregister(&mad);
}

static bool is_listed(const char *name, const char *const *list, u32 nr)
{
	size_t len = strlen(name);
	u32 i;

	for (i = 0; i < nr; i++)
		if (!strncmp(list[i], name, len) && (!list[i][len] || list[i][len] == ':'))
			return true;
	printf("# %s is built in, and not in both lists of policies.h\n", name);
	return false;
}

/* A built-in policy that is not in the lists would not be tested. */
void test_builtin(void)
{
	u32 quantum, i;

	for (i = 0; i < ARRAY_SIZE(policy_builtin); i++) {
		const char *name = policy_builtin[i]->name;

		CHECK(is_listed(name, builtin_policies, ARRAY_SIZE(builtin_policies)));
		CHECK(is_listed(name, tested_policies, ARRAY_SIZE(tested_policies)));
	}
	EQUAL(ARRAY_SIZE(builtin_policies), ARRAY_SIZE(policy_builtin));
	for (i = 0; i < ARRAY_SIZE(tested_policies); i++)
		CHECK(!IS_ERR(kvm_dirty_pool_policy_get(tested_policies[i], &quantum)));
}
