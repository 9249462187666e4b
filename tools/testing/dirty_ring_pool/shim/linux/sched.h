/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_SCHED_H
#define SHIM_SCHED_H

#include <linux/compiler.h>

#define cond_resched()	do { } while (0)
#define current		NULL

#endif
