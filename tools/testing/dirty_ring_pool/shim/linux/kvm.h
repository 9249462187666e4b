/* SPDX-License-Identifier: GPL-2.0 */
/* The system's header may be older than the pool. */
#ifndef SHIM_KVM_H
#define SHIM_KVM_H

#include_next <linux/kvm.h>

#ifndef KVM_DIRTY_RING_POLICY_NAME_MAX
#define KVM_DIRTY_RING_POLICY_NAME_MAX	32
#endif

#endif
