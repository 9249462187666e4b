/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Compiler and memory access.
 *
 * The pool accesses shared memory by the macros here, in atomic.h and in bitops.h.
 * By default these are the inline builtins of gcc: as fast as in the kernel, and
 * known to the sanitizers.  With SHIM_SCHED a scheduling point comes before each,
 * see explore/sched.h.
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

enum sched_access { SCHED_READ, SCHED_WRITE, SCHED_LOCK, SCHED_UNLOCK, SCHED_RCU, SCHED_SYNC };

#ifdef SHIM_SCHED
void sched_point(const void *addr, enum sched_access access);
void sched_relax(void);
#else
#define sched_point(addr, access)	do { } while (0)
#endif

/*
 * READ_ONCE() of a pointer orders the reads through it.  The thread sanitizer does
 * not know dependencies: it gets an acquire instead.
 */
#ifdef __SANITIZE_THREAD__
#define SHIM_READ_ORDER(x)	(__builtin_classify_type(x) ==		\
				 __builtin_classify_type((void *)0) ?	\
				 __ATOMIC_ACQUIRE : __ATOMIC_RELAXED)
#else
#define SHIM_READ_ORDER(x)	__ATOMIC_RELAXED
#endif

#define READ_ONCE(x) ({						\
	sched_point(&(x), SCHED_READ);				\
	__atomic_load_n(&(x), SHIM_READ_ORDER(x));		\
})

#define data_race(x)	(x)

#define WRITE_ONCE(x, val) do {					\
	sched_point(&(x), SCHED_WRITE);				\
	__atomic_store_n(&(x), (val), __ATOMIC_RELAXED);	\
} while (0)

#define smp_load_acquire(p) ({					\
	sched_point((p), SCHED_READ);				\
	__atomic_load_n((p), __ATOMIC_ACQUIRE);			\
})

#define smp_store_release(p, val) do {				\
	sched_point((p), SCHED_WRITE);				\
	__atomic_store_n((p), (val), __ATOMIC_RELEASE);		\
} while (0)

/*
 * The thread sanitizer does not know fences, but acquires and releases order all
 * that it checks in the pool.
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

#ifdef SHIM_SCHED
#define cpu_relax()	sched_relax()
#elif defined(__x86_64__)
#define cpu_relax()	__builtin_ia32_pause()
#else
#define cpu_relax()	barrier()
#endif

#endif
