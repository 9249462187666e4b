/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm_dirty_ring_pool

#if !defined(_TRACE_KVM_DIRTY_RING_POOL_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KVM_DIRTY_RING_POOL_H

#include <linux/kvm_dirty_ring_pool.h>
#include <linux/tracepoint.h>

TRACE_EVENT(kvm_dirty_pool_claim,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 ring, u32 user, u32 word,
		 u32 room),
	TP_ARGS(pool, ring, user, word, room),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, ring)
		__field(u32, user)
		__field(u32, word)
		__field(u32, room)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->ring = ring;
		__entry->user = user;
		__entry->word = word;
		__entry->room = room;
	),

	TP_printk("pool %p ring %u user %d%s room %u",
		  __entry->pool, __entry->ring, (int)__entry->user,
		  __entry->word & KVM_DIRTY_POOL_RESERVE ? " reserve" : "",
		  __entry->room)
);

TRACE_EVENT(kvm_dirty_pool_return,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 ring, u32 user,
		 u32 pushed),
	TP_ARGS(pool, ring, user, pushed),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, ring)
		__field(u32, user)
		__field(u32, pushed)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->ring = ring;
		__entry->user = user;
		__entry->pushed = pushed;
	),

	TP_printk("pool %p ring %u user %d pushed %u",
		  __entry->pool, __entry->ring, (int)__entry->user,
		  __entry->pushed)
);

TRACE_EVENT(kvm_dirty_pool_park,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 ring, u32 user),
	TP_ARGS(pool, ring, user),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, ring)
		__field(u32, user)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->ring = ring;
		__entry->user = user;
	),

	TP_printk("pool %p ring %u user %d", __entry->pool, __entry->ring,
		  (int)__entry->user)
);

TRACE_EVENT(kvm_dirty_pool_drain,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 ring),
	TP_ARGS(pool, ring),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, ring)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->ring = ring;
	),

	TP_printk("pool %p ring %u", __entry->pool, __entry->ring)
);

TRACE_EVENT(kvm_dirty_pool_exhausted,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 user),
	TP_ARGS(pool, user),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, user)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->user = user;
	),

	TP_printk("pool %p user %d", __entry->pool, (int)__entry->user)
);

TRACE_EVENT(kvm_dirty_pool_overflow,
	TP_PROTO(struct kvm_dirty_pool *pool, u32 user, u32 slot,
		 u64 offset, u64 nr),
	TP_ARGS(pool, user, slot, offset, nr),

	TP_STRUCT__entry(
		__field(void *, pool)
		__field(u32, user)
		__field(u32, slot)
		__field(u64, offset)
		__field(u64, nr)
	),

	TP_fast_assign(
		__entry->pool = pool;
		__entry->user = user;
		__entry->slot = slot;
		__entry->offset = offset;
		__entry->nr = nr;
	),

	TP_printk("pool %p user %d slot %u offset 0x%llx lost %llu",
		  __entry->pool, (int)__entry->user, __entry->slot,
		  __entry->offset, __entry->nr)
);

TRACE_EVENT(kvm_dirty_pool_policy,
	TP_PROTO(struct kvm_dirty_pool *pool, const char *name),
	TP_ARGS(pool, name),

	TP_STRUCT__entry(
		__field(void *, pool)
		__array(char, name, KVM_DIRTY_RING_POLICY_NAME_MAX)
	),

	TP_fast_assign(
		__entry->pool = pool;
		memcpy(__entry->name, name, KVM_DIRTY_RING_POLICY_NAME_MAX);
	),

	TP_printk("pool %p policy %s", __entry->pool, __entry->name)
);

#endif /* _TRACE_KVM_DIRTY_RING_POOL_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
