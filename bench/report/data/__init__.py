# SPDX-License-Identifier: GPL-2.0
"""The figures: from the lines that the benchmarks write to medians, ratios and
targets.  Nothing in here knows how they are shown."""
