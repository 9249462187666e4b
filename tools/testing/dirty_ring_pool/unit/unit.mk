# SPDX-License-Identifier: GPL-2.0
# One thread, each rule of the pool by itself
$(foreach f,native asan tsan gcov,$(eval $(call program,unit,$(f),$(wildcard unit/*.c))))

check-unit: $(OUTPUT)/unit-native $(OUTPUT)/unit-asan
	$(OUTPUT)/unit-native
	$(OUTPUT)/unit-asan
