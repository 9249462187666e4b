/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_SCHED_SIGNAL_H
#define SHIM_SCHED_SIGNAL_H

#include <linux/sched.h>

/* Calls to come until a signal is pending; 0: none is. */
extern __thread unsigned int drp_signal_after;

static inline int signal_pending(void *task)
{
	return drp_signal_after && !--drp_signal_after;
}

#endif
