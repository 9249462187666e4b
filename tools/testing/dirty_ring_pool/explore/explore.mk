# SPDX-License-Identifier: GPL-2.0
# All interleavings of a few threads' accesses to memory.  check-stop: one thread
# stops forever, at each of its steps in turn
$(eval $(call program,explore,sched,explore/explore.c explore/sched.c $(POLICY)))

# Random schedules, of the case that is too large for all of them
PCT	?= 3000

check-explore: $(OUTPUT)/explore-sched
	PCT=$(PCT) $(RUN) $(OUTPUT)/explore-sched

check-stop: $(OUTPUT)/explore-sched
	$(RUN) $(OUTPUT)/explore-sched stop
