// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is x86's in a VM for tests of the dirty ring pool.
 */
#include <asm/kvm_para.h>

#include "dirty_pool_env.h"

/*
 * Most guests have interrupts enabled.  Only the host interrupts this one, but
 * Bochs lets the host's interrupts wait, too, while the guest's are disabled.
 */
void guest_arch_init(void)
{
	__asm__ __volatile__("sti");
}

uint64_t vcpu_pc(struct kvm_vcpu *vcpu)
{
	struct kvm_regs regs;

	vcpu_regs_get(vcpu, &regs);
	return regs.rip;
}

bool can_vcpu_mark(void)
{
	return kvm_cpu_has(X86_FEATURE_KVM_CLOCKSOURCE2);
}

/* Each write of this MSR makes KVM write the wall clock's page three times. */
uint32_t vcpu_mark(struct kvm_vcpu *vcpu)
{
	TEST_ASSERT(_vcpu_set_msr(vcpu, MSR_KVM_WALL_CLOCK_NEW, page_gpa(5)) == 1,
		    "Can't set MSR_KVM_WALL_CLOCK_NEW");
	return 3;
}
