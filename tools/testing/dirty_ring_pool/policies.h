/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The built-in policies: the only lists of them for programs that compile the
 * pool in userspace.  A unit test compares them to virt/kvm/dirty_ring_policy.c.
 */
#ifndef POLICIES_H
#define POLICIES_H

static const char *const builtin_policies[] = {
	"last-used", "round-robin", "lru", "emptiest",
};

/*
 * The same as tests use them, with rings that are smaller than a quantum of 64: ask
 * the policy for each claim, and in between.  And a stack, of samples/kvm/.
 */
static const char *const tested_policies[] = {
	"last-used", "round-robin:1", "lru:1", "emptiest:1", "lru:4", "mru:1",
};

#endif
