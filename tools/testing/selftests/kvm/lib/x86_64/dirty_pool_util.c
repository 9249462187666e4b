// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is x86's in include/dirty_pool_util.h.
 */
#include "dirty_pool_util.h"
#include "processor.h"
#include "ucall_common.h"

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

bool is_emulator_fault(struct kvm_vcpu *vcpu)
{
	return cpu_is_emulated() &&
	       emulator_broke(vcpu->run->exit_reason, guest_rip(vcpu));
}
