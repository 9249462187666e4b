/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_MODULE_H
#define SHIM_MODULE_H

#include <stdlib.h>
#include <linux/export.h>
#include <linux/types.h>

#define THIS_MODULE	NULL

/* A module that is linked into a program comes and goes with it. */
#define __init
#define __exit
#define module_init(fn)						\
static void __attribute__((constructor)) shim_module_init(void)	\
{								\
	if (fn())						\
		abort();					\
}								\
struct module
#define module_exit(fn)						\
static void __attribute__((destructor)) shim_module_exit(void)	\
{								\
	fn();							\
}								\
struct module
#define MODULE_AUTHOR(author)		struct module
#define MODULE_DESCRIPTION(text)	struct module
#define MODULE_LICENSE(licence)		struct module

struct module {
	int refs;
	bool going;
};

static inline bool try_module_get(struct module *module)
{
	if (module && __atomic_load_n(&module->going, __ATOMIC_ACQUIRE))
		return false;
	if (module)
		__atomic_fetch_add(&module->refs, 1, __ATOMIC_ACQ_REL);
	return true;
}

static inline void module_put(struct module *module)
{
	if (module)
		__atomic_fetch_sub(&module->refs, 1, __ATOMIC_ACQ_REL);
}

#endif
