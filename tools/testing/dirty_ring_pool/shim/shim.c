// SPDX-License-Identifier: GPL-2.0
/* The variables of the shims. */
#include <linux/sched/signal.h>
#include <linux/slab.h>

unsigned long shim_alloc_fail;
__thread unsigned int shim_signal_after;
__thread bool shim_signal_harmless;
#ifdef __SANITIZE_THREAD__
char shim_grace_period;
#endif
