/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SHIM_MODULE_H
#define SHIM_MODULE_H

#include <linux/export.h>
#include <linux/types.h>

#define THIS_MODULE	NULL

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
