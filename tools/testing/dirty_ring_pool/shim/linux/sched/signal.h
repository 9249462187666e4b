/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_SCHED_SIGNAL_H
#define SHIM_SCHED_SIGNAL_H

#include <linux/sched.h>
#include <linux/types.h>

/*
 * A signal is pending at the call with this number, 0: at none.  It is fatal unless
 * it is harmless.
 */
extern __thread unsigned int shim_signal_after;
extern __thread bool shim_signal_harmless;

static inline int signal_pending(void *task)
{
	return shim_signal_after && !--shim_signal_after;
}

static inline int fatal_signal_pending(void *task)
{
	return signal_pending(task) && !shim_signal_harmless;
}

#endif
