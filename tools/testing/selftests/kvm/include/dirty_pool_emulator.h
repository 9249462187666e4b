/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU 7.2's emulation of SVM (TCG) lets a guest go on, once in a long while, with the
 * registers of the kernel that runs it: RIP is then behind that kernel's VMRUN.  The
 * guest faults for ever, or shuts down.  Nothing in KVM can do that.
 *
 * A process that finds its guest broken exits with EMULATOR_FAULT.  The process that
 * started it runs it again, up to EMULATOR_REPEATS times.
 *
 * For the selftests and for programs without their library.
 */
#ifndef SELFTEST_KVM_DIRTY_POOL_EMULATOR_H
#define SELFTEST_KVM_DIRTY_POOL_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#define EMULATOR_FAULT		77
#define EMULATOR_REPEATS	5

static inline bool cpu_is_emulated(void)
{
#ifdef __x86_64__
	uint32_t eax = 0x40000000, ebx, ecx = 0, edx;

	asm volatile("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
	/* "TCGTCGTCGTCG" */
	return ebx == 0x54474354 && ecx == 0x43544743 && edx == 0x47435447;
#else
	return false;
#endif
}

/* Does a vCPU with @rip, or that made this exit, look as if the emulator broke it? */
static inline bool emulator_broke(uint32_t exit_reason, uint64_t rip)
{
	return cpu_is_emulated() && (exit_reason == KVM_EXIT_SHUTDOWN || rip >> 63);
}

#endif /* SELFTEST_KVM_DIRTY_POOL_EMULATOR_H */
