/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_SCHED_SIGNAL_H
#define SHIM_SCHED_SIGNAL_H

#include <linux/sched.h>
#include <linux/types.h>

/* Calls to come until a signal is pending; 0: none is.  And does it kill? */
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
