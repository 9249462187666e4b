/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The built-in policies: the only list of them for programs that compile the
 * pool in userspace.  A unit test compares it to virt/kvm/dirty_ring_policy.c.
 */
#ifndef POLICIES_H
#define POLICIES_H

static const char *const builtin_policies[] = {
	"last-used", "round-robin", "lru", "mru",
};

#endif
