// SPDX-License-Identifier: GPL-2.0-only
/*
 * The userspace side of KVM's dirty rings, see include/dirty_pool_util.h.
 */
#include <sys/eventfd.h>
#include <sys/wait.h>

#include <asm/barrier.h>

#include "dirty_pool_raw.h"
#include "dirty_pool_util.h"

const char * const dirty_pool_policies[NR_DIRTY_POOL_POLICIES] = {
	"round-robin", "lru", "last-used", "emptiest",
};

bool __weak is_emulator_fault(struct kvm_vcpu *vcpu)
{
	return false;
}

bool exited_by_emulator_fault(int status)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == EMULATOR_FAULT;
}

int __vm_enable_dirty_pool(struct kvm_vm *vm, uint64_t bytes, uint64_t flags)
{
	int ret = raw_enable_cap(vm->fd, KVM_CAP_DIRTY_LOG_RING_POOL, bytes, flags);

	/* What vcpu_map_dirty_ring() maps. */
	if (!ret)
		vm->dirty_ring_size = bytes;
	return ret;
}

void vm_enable_dirty_pool(struct kvm_vm *vm, uint32_t entries, uint64_t flags)
{
	uint64_t bytes = (uint64_t)entries * sizeof(struct kvm_dirty_gfn);
	int ret = __vm_enable_dirty_pool(vm, bytes, flags);

	TEST_ASSERT_VM_VCPU_IOCTL(!ret, KVM_ENABLE_CAP, ret, vm);
}

int __vm_set_dirty_policy(struct kvm_vm *vm, const char *name)
{
	return raw_set_policy(vm->fd, name);
}

void vm_set_dirty_policy(struct kvm_vm *vm, const char *name)
{
	int ret = __vm_set_dirty_policy(vm, name);

	TEST_ASSERT(!ret, "Can't set policy '%s', errno: %i (%s)", name,
		    errno, strerror(errno));
}

void vm_get_dirty_policy(struct kvm_vm *vm,
			 char name[KVM_DIRTY_RING_POLICY_NAME_MAX])
{
	struct kvm_dirty_ring_policy policy;

	vm_ioctl(vm, KVM_GET_DIRTY_RING_POLICY, &policy);
	TEST_ASSERT(strnlen(policy.name, sizeof(policy.name)) <
		    sizeof(policy.name), "Policy name without NUL");
	memcpy(name, policy.name, sizeof(policy.name));
}

int __vm_dirty_pool_eventfd(struct kvm_vm *vm, int fd, uint32_t flags)
{
	struct kvm_dirty_ring_pool_eventfd efd = { .fd = fd, .flags = flags };

	return __vm_ioctl(vm, KVM_DIRTY_RING_POOL_EVENTFD, &efd);
}

int vm_dirty_pool_eventfd(struct kvm_vm *vm)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int ret;

	TEST_ASSERT(fd >= 0, __KVM_SYSCALL_ERROR("eventfd()", fd));
	ret = __vm_dirty_pool_eventfd(vm, fd, 0);
	TEST_ASSERT_VM_VCPU_IOCTL(!ret, KVM_DIRTY_RING_POOL_EVENTFD, ret, vm);
	return fd;
}

uint64_t dirty_pool_eventfd_read(int fd)
{
	uint64_t n;
	ssize_t ret = read(fd, &n, sizeof(n));

	if (ret == -1 && errno == EAGAIN)
		return 0;
	TEST_ASSERT(ret == sizeof(n), __KVM_SYSCALL_ERROR("read()", (int)ret));
	return n;
}

int __vm_mark_dirty(struct kvm_vm *vm, uint32_t slot, uint64_t first_page,
		    uint64_t num_pages, uint64_t *marked)
{
	struct kvm_mark_dirty mark = {
		.slot = slot,
		.first_page = first_page,
		.num_pages = num_pages,
		.marked = -1,		/* Does KVM write it? */
	};
	int ret = __vm_ioctl(vm, KVM_MARK_DIRTY, &mark);

	if (marked)
		*marked = mark.marked;
	return ret;
}

int __vm_reset_dirty_ring(struct kvm_vm *vm, unsigned long ring)
{
	return __vm_ioctl(vm, KVM_RESET_DIRTY_RING, (void *)ring);
}

uint32_t vm_reset_dirty_ring(struct kvm_vm *vm, unsigned long ring)
{
	int ret = __vm_reset_dirty_ring(vm, ring);

	TEST_ASSERT_VM_VCPU_IOCTL(ret >= 0, KVM_RESET_DIRTY_RING, ret, vm);
	return ret;
}

uint32_t vm_reset_dirty_rings(struct kvm_vm *vm)
{
	int ret = __vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL);

	TEST_ASSERT_VM_VCPU_IOCTL(ret >= 0, KVM_RESET_DIRTY_RINGS, ret, vm);
	return ret;
}

int __vm_dirty_pool_state(struct kvm_vm *vm, uint32_t flags,
			  struct kvm_dirty_ring_pool_state *state,
			  struct kvm_dirty_ring_state *rings, uint32_t nr)
{
	return raw_get_state(vm->fd, flags, state, rings, nr);
}

void vm_dirty_pool_state(struct kvm_vm *vm, uint32_t flags,
			 struct kvm_dirty_ring_pool_state *state,
			 struct kvm_dirty_ring_state *rings, uint32_t nr)
{
	int ret = __vm_dirty_pool_state(vm, flags, state, rings, nr);

	TEST_ASSERT_VM_VCPU_IOCTL(!ret, KVM_GET_DIRTY_RING_POOL_STATE, ret, vm);
}

uint32_t vcpu_harvest_dirty_ring(struct kvm_vcpu *vcpu, uint32_t max,
				 dirty_gfn_fn fn, void *arg)
{
	struct kvm_dirty_gfn *gfns = vcpu_map_dirty_ring(vcpu);
	uint32_t mask = vcpu->dirty_gfns_count - 1;
	uint32_t n;

	for (n = 0; n < max; n++) {
		struct kvm_dirty_gfn *gfn = &gfns[vcpu->fetch_index & mask];

		/* Pairs with the release that published slot and offset. */
		if (smp_load_acquire(&gfn->flags) != KVM_DIRTY_GFN_F_DIRTY)
			break;
		if (fn)
			fn(arg, gfn->slot, gfn->offset);
		/* The kernel may reuse the entry now: reads come before. */
		smp_store_release(&gfn->flags, KVM_DIRTY_GFN_F_RESET);
		vcpu->fetch_index++;
	}

	return n;
}
