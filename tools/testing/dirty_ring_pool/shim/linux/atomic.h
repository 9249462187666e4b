/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_ATOMIC_H
#define SHIM_ATOMIC_H

#include <linux/types.h>

#define ATOMIC_INIT(i)	{ (i) }

/* The kernel's atomic operations, from the builtins of gcc. */
#define SHIM_ATOMICS(pre, type, val_t)					\
static __always_inline val_t pre##_read(const type *v)			\
{									\
	sched_point(v, SCHED_READ);					\
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);		\
}									\
static __always_inline val_t pre##_read_acquire(const type *v)		\
{									\
	sched_point(v, SCHED_READ);					\
	return __atomic_load_n(&v->counter, __ATOMIC_ACQUIRE);		\
}									\
static __always_inline void pre##_set(type *v, val_t i)			\
{									\
	sched_point(v, SCHED_WRITE);					\
	__atomic_store_n(&v->counter, i, __ATOMIC_RELAXED);		\
}									\
static __always_inline void pre##_set_release(type *v, val_t i)		\
{									\
	sched_point(v, SCHED_WRITE);					\
	__atomic_store_n(&v->counter, i, __ATOMIC_RELEASE);		\
}									\
static __always_inline void pre##_add(val_t i, type *v)			\
{									\
	sched_point(v, SCHED_WRITE);					\
	__atomic_fetch_add(&v->counter, i, __ATOMIC_RELAXED);		\
}									\
static __always_inline void pre##_inc(type *v)				\
{									\
	pre##_add(1, v);						\
}									\
static __always_inline void pre##_dec(type *v)				\
{									\
	pre##_add(-1, v);						\
}									\
static __always_inline val_t pre##_fetch_inc(type *v)			\
{									\
	sched_point(v, SCHED_WRITE);					\
	return __atomic_fetch_add(&v->counter, 1, __ATOMIC_SEQ_CST);	\
}									\
static __always_inline val_t pre##_dec_return_release(type *v)		\
{									\
	sched_point(v, SCHED_WRITE);					\
	return __atomic_sub_fetch(&v->counter, 1, __ATOMIC_RELEASE);	\
}									\
static __always_inline val_t pre##_inc_return_release(type *v)		\
{									\
	sched_point(v, SCHED_WRITE);					\
	return __atomic_add_fetch(&v->counter, 1, __ATOMIC_RELEASE);	\
}									\
static __always_inline val_t pre##_xchg(type *v, val_t i)		\
{									\
	sched_point(v, SCHED_WRITE);					\
	return __atomic_exchange_n(&v->counter, i, __ATOMIC_SEQ_CST);	\
}									\
static __always_inline bool pre##_cas(type *v, val_t *old, val_t i,	\
				      int success)			\
{									\
	sched_point(v, SCHED_WRITE);					\
	return __atomic_compare_exchange_n(&v->counter, old, i, false,	\
					   success, __ATOMIC_RELAXED);	\
}									\
static __always_inline bool pre##_try_cmpxchg(type *v, val_t *old,	\
					      val_t i)			\
{									\
	return pre##_cas(v, old, i, __ATOMIC_SEQ_CST);			\
}									\
static __always_inline bool pre##_try_cmpxchg_acquire(type *v,		\
						      val_t *old,	\
						      val_t i)		\
{									\
	return pre##_cas(v, old, i, __ATOMIC_ACQUIRE);			\
}									\
static __always_inline bool pre##_try_cmpxchg_release(type *v,		\
						      val_t *old,	\
						      val_t i)		\
{									\
	return pre##_cas(v, old, i, __ATOMIC_RELEASE);			\
}									\
static __always_inline bool pre##_try_cmpxchg_relaxed(type *v,		\
						      val_t *old,	\
						      val_t i)		\
{									\
	return pre##_cas(v, old, i, __ATOMIC_RELAXED);			\
}

SHIM_ATOMICS(atomic, atomic_t, int)
SHIM_ATOMICS(atomic64, atomic64_t, s64)

#endif
