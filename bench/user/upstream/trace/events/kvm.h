/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UPSTREAM_TRACE_KVM_H
#define UPSTREAM_TRACE_KVM_H

static inline void trace_kvm_dirty_ring_push(const void *ring, u32 slot, u64 offset)
{
}

static inline void trace_kvm_dirty_ring_reset(const void *ring)
{
}

static inline void trace_kvm_dirty_ring_exit(const void *vcpu)
{
}

#endif
