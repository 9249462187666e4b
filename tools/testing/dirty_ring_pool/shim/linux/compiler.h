/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compiler and access shims.
 *
 * Every access to shared memory that the pool makes goes through one of the
 * macros here, in atomic.h or in bitops.h.  Two flavours:
 *
 *   default	the gcc builtins, inline: as fast as in the kernel, and what the
 *		sanitizers understand
 *   DRP_SCHED	the same, and a scheduling point before each, see explore/sched.h
 */
#ifndef SHIM_COMPILER_H
#define SHIM_COMPILER_H

#include <stddef.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#undef noinline
#define noinline	__attribute__((noinline))
#undef __always_inline
#define __always_inline	inline __attribute__((always_inline))
#undef __rcu
#define __rcu
#define barrier()	__asm__ __volatile__("" : : : "memory")

enum drp_access { DRP_READ, DRP_WRITE, DRP_LOCK, DRP_UNLOCK, DRP_RCU, DRP_SYNC };

#ifdef DRP_SCHED
void drp_point(const void *addr, enum drp_access access);
void drp_relax(void);
#else
#define drp_point(addr, access)	do { } while (0)
#endif

/*
 * READ_ONCE() of a pointer orders what is read through it.  The thread sanitizer
 * knows no dependencies: there, and only there, it is told of an acquire.
 */
#ifdef __SANITIZE_THREAD__
#define DRP_READ_ORDER(x)	(__builtin_classify_type(x) ==		\
				 __builtin_classify_type((void *)0) ?	\
				 __ATOMIC_ACQUIRE : __ATOMIC_RELAXED)
#else
#define DRP_READ_ORDER(x)	__ATOMIC_RELAXED
#endif

#define READ_ONCE(x) ({						\
	drp_point(&(x), DRP_READ);				\
	__atomic_load_n(&(x), DRP_READ_ORDER(x));		\
})

#define data_race(x)	(x)

#define WRITE_ONCE(x, val) do {					\
	drp_point(&(x), DRP_WRITE);				\
	__atomic_store_n(&(x), (val), __ATOMIC_RELAXED);	\
} while (0)

#define smp_load_acquire(p) ({					\
	drp_point((p), DRP_READ);				\
	__atomic_load_n((p), __ATOMIC_ACQUIRE);			\
})

#define smp_store_release(p, val) do {				\
	drp_point((p), DRP_WRITE);				\
	__atomic_store_n((p), (val), __ATOMIC_RELEASE);		\
} while (0)

/*
 * The thread sanitizer does not know fences, and needs none: what it checks in
 * the pool is ordered by acquires and releases.
 */
#if defined(__x86_64__)
#define smp_mb()	__asm__ __volatile__("lock; addl $0,-4(%%rsp)" \
					     : : : "memory", "cc")
#define smp_mb__before_atomic()	barrier()
#define smp_mb__after_atomic()	barrier()
#else
#define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_mb__before_atomic()	smp_mb()
#define smp_mb__after_atomic()	smp_mb()
#endif
#if defined(__x86_64__)
#define smp_rmb()	barrier()
#define smp_wmb()	barrier()
#else
#define smp_rmb()	__atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_wmb()	__atomic_thread_fence(__ATOMIC_RELEASE)
#endif

#ifdef DRP_SCHED
#define cpu_relax()	drp_relax()
#elif defined(__x86_64__)
#define cpu_relax()	__builtin_ia32_pause()
#else
#define cpu_relax()	barrier()
#endif

#endif
