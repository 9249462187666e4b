# SPDX-License-Identifier: GPL-2.0
# A single thread checks one rule of the pool at a time
$(foreach f,native asan tsan gcov,$(eval $(call program,unit,$(f),$(wildcard unit/*.c))))

check-unit: $(OUTPUT)/unit-native $(OUTPUT)/unit-asan
	$(RUN) $(OUTPUT)/unit-native
	$(RUN) $(OUTPUT)/unit-asan
