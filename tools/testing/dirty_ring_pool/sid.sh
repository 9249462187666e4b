# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the parts that need a tool of Debian's unstable release

# need_sid PART TOOL "what": get TOOL.  Without it, end PART with one line of TAP
# that says that "what" was not checked: skipped if DRP_NO_SID is set, else failed
need_sid() {
	local rc=0

	scripts/sid-tools || rc=$?
	case $rc in
	0)	return ;;
	77)	say "ok 1 $1 # SKIP no $2: $3 was NOT checked"; exit 0 ;;
	*)	say "not ok 1 $1: no $2: $3 was NOT checked"; exit 1 ;;
	esac
}
