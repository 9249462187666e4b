/* SPDX-License-Identifier: GPL-2.0 */
/* Compile the arguments of events, but do not trace. */
#ifndef SHIM_TRACE_KVM_DIRTY_RING_POOL_H
#define SHIM_TRACE_KVM_DIRTY_RING_POOL_H

static inline void shim_trace(const void *pool, ...)
{
}

#define trace_kvm_dirty_pool_claim(...)		shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_return(...)	shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_park(...)		shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_drain(...)		shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_exhausted(...)	shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_overflow(...)	shim_trace(__VA_ARGS__)
#define trace_kvm_dirty_pool_policy(...)	shim_trace(__VA_ARGS__)

#endif
