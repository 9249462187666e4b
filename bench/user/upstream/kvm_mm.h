/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UPSTREAM_KVM_MM_H
#define UPSTREAM_KVM_MM_H

#define KVM_MMU_LOCK(kvm)	((void)(kvm))
#define KVM_MMU_UNLOCK(kvm)	((void)(kvm))

#endif
