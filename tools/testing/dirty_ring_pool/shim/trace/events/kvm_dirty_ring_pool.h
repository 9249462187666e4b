/* SPDX-License-Identifier: GPL-2.0 */
/* Events count as evaluated, so that their arguments are compiled. */
#ifndef SHIM_TRACE_KVM_DIRTY_RING_POOL_H
#define SHIM_TRACE_KVM_DIRTY_RING_POOL_H

static inline void drp_trace(const void *pool, ...)
{
}

#define trace_kvm_dirty_pool_claim(...)		drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_return(...)	drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_park(...)		drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_drain(...)		drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_exhausted(...)	drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_overflow(...)	drp_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_policy(...)	drp_trace(__VA_ARGS__)

#endif
