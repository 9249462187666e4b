/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_BITOPS_H
#define SHIM_BITOPS_H

#include <linux/bits.h>
#include <linux/types.h>

static __always_inline unsigned long *shim_word(unsigned long nr,
						unsigned long *map)
{
	return &map[nr / BITS_PER_LONG];
}

static __always_inline unsigned long shim_bit(unsigned long nr)
{
	return 1UL << nr % BITS_PER_LONG;
}

static __always_inline void set_bit(unsigned long nr, unsigned long *map)
{
	sched_point(shim_word(nr, map), SCHED_WRITE);
	__atomic_fetch_or(shim_word(nr, map), shim_bit(nr), __ATOMIC_RELAXED);
}

static __always_inline void clear_bit(unsigned long nr, unsigned long *map)
{
	sched_point(shim_word(nr, map), SCHED_WRITE);
	__atomic_fetch_and(shim_word(nr, map), ~shim_bit(nr), __ATOMIC_RELAXED);
}

static __always_inline bool test_bit(unsigned long nr, unsigned long *map)
{
	return READ_ONCE(*shim_word(nr, map)) & shim_bit(nr);
}

static __always_inline bool test_and_set_bit(unsigned long nr,
					     unsigned long *map)
{
	sched_point(shim_word(nr, map), SCHED_WRITE);
	return __atomic_fetch_or(shim_word(nr, map), shim_bit(nr),
				 __ATOMIC_SEQ_CST) & shim_bit(nr);
}

static __always_inline unsigned long __ffs(unsigned long word)
{
	return __builtin_ctzl(word);
}

#endif
