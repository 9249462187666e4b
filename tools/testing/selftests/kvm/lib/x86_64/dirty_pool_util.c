// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is x86's in include/dirty_pool_util.h.
 */
#include "dirty_pool_util.h"
#include "processor.h"
#include "ucall_common.h"

bool cpu_is_emulated(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(0x40000000, 0, &eax, &ebx, &ecx, &edx);
	/* "TCGTCGTCGTCG" */
	return ebx == 0x54474354 && ecx == 0x43544743 && edx == 0x47435447;
}

/* RIP, or what it was when the guest took an exception that nothing handles */
static uint64_t guest_rip(struct kvm_vcpu *vcpu)
{
	struct ucall uc = {};
	struct kvm_regs regs;
	const char *rip;

	if (vcpu->run->exit_reason == KVM_EXIT_IO &&
	    get_ucall(vcpu, &uc) == UCALL_ABORT) {
		rip = strstr(uc.buffer, "RIP '0x");
		if (rip)
			return strtoull(rip + 5, NULL, 16);
	}
	vcpu_regs_get(vcpu, &regs);
	return regs.rip;
}

/*
 * QEMU 7.2's emulation of SVM lets a guest go on, once in a long while, with the
 * registers of the kernel that runs it: RIP is then behind that kernel's VMRUN.
 * The guest faults for ever, or shuts down.  Nothing in KVM can do that.
 */
bool is_emulator_fault(struct kvm_vcpu *vcpu)
{
	return cpu_is_emulated() &&
	       (vcpu->run->exit_reason == KVM_EXIT_SHUTDOWN || guest_rip(vcpu) >> 63);
}
