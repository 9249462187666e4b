# SPDX-License-Identifier: GPL-2.0
# Each order of a few threads' accesses to memory.  check-stop: one of them stops
# for ever, at each of its steps in turn
$(eval $(call program,explore,sched,explore/explore.c explore/sched.c $(POLICY)))

# Random schedules of the case that is too large to go through
PCT	?= 3000

check-explore: $(OUTPUT)/explore-sched
	PCT=$(PCT) $(OUTPUT)/explore-sched

check-stop: $(OUTPUT)/explore-sched
	$(OUTPUT)/explore-sched stop
