# SPDX-License-Identifier: GPL-2.0
"""Charts, HTML and text for a terminal.  Of the figures, it knows the names of
modes only."""
