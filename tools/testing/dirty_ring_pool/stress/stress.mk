# SPDX-License-Identifier: GPL-2.0
# Real threads, MS milliseconds a run
$(foreach f,native asan tsan gcov,$(eval $(call program,stress,$(f),stress/stress.c $(POLICY))))

MS	?= 200

check-stress: $(OUTPUT)/stress-native $(OUTPUT)/stress-asan $(OUTPUT)/stress-tsan
	$(RUN) $(OUTPUT)/stress-native $(SEED) $(MS)
	$(RUN) $(OUTPUT)/stress-asan $(SEED) $(MS)
	$(RUN) $(OUTPUT)/stress-tsan $(SEED) $(MS)
