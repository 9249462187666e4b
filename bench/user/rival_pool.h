/* SPDX-License-Identifier: GPL-2.0 */
#ifndef BENCH_RIVAL_POOL_H
#define BENCH_RIVAL_POOL_H

#include <linux/kvm_dirty_ring_pool.h>
#include "rival.h"

/**
 * struct pool_vcpu - a vCPU, as far as the pool is concerned
 * @user: its claims
 * @request: it has to leave the guest
 */
struct pool_vcpu {
	struct kvm_dirty_pool_user user ____cacheline_aligned_in_smp;
	bool request;
};

struct pool_tracker {
	struct bench_tracker tracker;
	const struct bench_rival *rival;
	struct kvm_dirty_pool pool;
	struct pool_vcpu *vcpu;
	struct kvm_dirty_pool_ring *ring;
	u32 *fetch;
};

void *pool_create(const struct bench_rival *rival, u32 nr, u32 entries);
void pool_destroy(void *tracker);

#endif
