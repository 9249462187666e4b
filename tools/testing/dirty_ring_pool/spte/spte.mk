# SPDX-License-Identifier: GPL-2.0
# x86's part of a reset, on a model of KVM's MMU
MMU	:= $(POOL)/arch/x86/kvm/mmu/dirty_ring_reset.c
$(OUTPUT)/spte-asan: spte/spte.c $(MMU) $(wildcard spte/shim/*.h spte/shim/*/*.h) $(DEPS)
	@mkdir -p $(@D)
	$(CC) -I$(CURDIR)/spte/shim $(CFLAGS) -iquote $(CURDIR)/spte/shim $(asan) -o $@ \
		spte/spte.c $(MMU)

check-spte: $(OUTPUT)/spte-asan
	$(OUTPUT)/spte-asan
