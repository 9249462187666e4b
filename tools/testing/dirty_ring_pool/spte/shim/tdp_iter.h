/* SPDX-License-Identifier: GPL-2.0 */
#include <kvm_mmu.h>
