# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034	# much of it is read by those that source it
# Shared by all scripts: paths, progress, and how to report a failure
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
O=$(realpath -m "${O:-build}")
LINUX=${LINUX:-}
TREE=$O/linux			# the kernel source with our part laid over it
LOG=$O/log
REPORT=$O/report
JOBS=${JOBS:-$(nproc)}
export O LINUX
export LC_ALL=C
mkdir -p "$LOG"

say() { printf '%s\n' "$*"; }

# die CAUSE [MEND]
die() {
	printf '\nfailed: %s\n' "$1" >&2
	[[ -z ${2:-} ]] || printf '  mend: %s\n' "$2" >&2
	exit 1
}

# processors: number and model, for a report.  Not by head, which closes the pipe early
# and so ends a script under pipefail.
processors() { printf '%s x %s' "$(nproc)" "$(sed -n '/^model name/{s/.*: //p;q}' /proc/cpuinfo)"; }

now() { date +%s%N; }

# since T: the time since $(now) was T, for people
since() {
	local ms=$(( ($(now) - $1) / 1000000 ))

	if (( ms < 60000 )); then
		printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
	else
		printf '%d min %02d s' $((ms / 60000)) $((ms % 60000 / 1000))
	fi
}

# show_log FILE: the first lines that name an error, which may be far from the end with
# make -j, and the end of the log
show_log() {
	local log=$1 lines

	lines=$(wc -l < "$log")
	if (( lines > 25 )); then
		grep -nEi '(^|[^a-z])(error|undefined reference|fatal|not ok|failed)([^a-z]|$)' "$log" |
			head -12 | sed 's/^/  | /' >&2 || true
		printf '  | ...\n' >&2
	fi
	tail -n 25 "$log" | sed 's/^/  | /' >&2
	printf '  whole log: %s\n' "$log" >&2
}

# step NAME "what" command...: run it with its output in a log, print the time it took
step() {
	local name=$1 what=$2 log=$LOG/$1.log t

	shift 2
	t=$(now)
	printf '%-10s %s ...\n' "$name" "$what"
	if ! "$@" > "$log" 2>&1 < /dev/null; then
		printf '%-10s %s: FAILED after %s\n' "$name" "$what" "$(since "$t")" >&2
		show_log "$log"
		exit 1
	fi
	printf '%-10s %s: %s\n' "$name" "$what" "$(since "$t")"
}

# Only one build at a time in a build folder.  Scripts that the holder calls share the
# lock.
lock_build() {
	[[ -z ${DRP_LOCKED:-} ]] || return 0
	exec {DRP_FD}> "$O/.lock"
	if ! flock -n "$DRP_FD"; then
		say "another build works in $O: waiting for it"
		flock "$DRP_FD"
	fi
	export DRP_LOCKED=1
}

need() {
	local tool

	for tool; do
		command -v "$tool" > /dev/null ||
			die "$tool is not installed" "run 'make setup'"
	done
}

# our_files: those with the same path here and in the kernel tree
our_files() {
	local d dirs=()

	for d in virt include arch samples Documentation tools/testing/selftests; do
		[[ ! -d $d ]] || dirs+=("$d")
	done
	(( ${#dirs[@]} )) || return 0
	find "${dirs[@]}" -type f ! -name '*.o' ! -name '*.ko' ! -name '*.mod*' \
		! -name '.*' ! -name '*~' ! -name '*.swp' | sort
}

# tree_version TREE: as in 6.12
tree_version() {
	awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v "." $3; exit }' \
		"$1/Makefile"
}

# hooks_for VERSION: the folder of patches/ for such a tree, which is the newest base
# that is not newer than the tree
hooks_for() {
	local version=$1 base best=

	for base in patches/*/; do
		[[ -d $base ]] || continue
		base=$(basename "$base")
		if [[ $(printf '%s\n' "$base" "$version" | sort -V | tail -1) == "$version" ]]; then
			best=$(printf '%s\n' "$best" "$base" | sort -V | tail -1)
		fi
	done
	printf '%s' "${best:+patches/$best}"
}

# config_differs ASKED GOT: the symbols that differ from what was asked for.  A missing
# symbol is n, such as ours in a tree without the hook for Kconfig.
config_differs() {
	awk -F= 'NR == FNR { if (/^CONFIG_/) want[$1] = $2
			     else if (/^# CONFIG_.* is not set$/) { split($0, a, " "); want[a[2]] = "n" }
			     next }
		 /^CONFIG_/ { got[$1] = substr($0, length($1) + 2) }
		 END { for (s in want) {
			 g = (s in got) ? got[s] : "n"
			 if (g != want[s]) print s "=" want[s] " was asked for, it is " g } }' \
		"$1" "$2" | sort
}

# Call gcc through ccache if it is installed.  The base directory lets all clones of
# this repository on the machine share results.
GCC=(gcc)
if command -v ccache > /dev/null; then
	GCC=(ccache gcc)
	export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
fi
CC=${GCC[*]}

# cpu_others: set OTHERS to the processor time in ms, including stolen time, that was
# used by neither this script nor the children it waited for.  Not in a subshell, which
# would measure its own children.
cpu_others() {
	times > "$LOG/cpu.times"
	OTHERS=$(awk -v hz="$(getconf CLK_TCK)" '
		FNR == NR { if (/^cpu /) all = ($2 + $3 + $4 + $7 + $8 + $9) * 1000 / hz; next }
		FNR == 2 { for (i = 1; i <= 2; i++) {
				split($i, part, /[ms]/)
				own += (part[1] * 60 + part[2]) * 1000 } }
		END { printf "%d", all - own }' /proc/stat "$LOG/cpu.times")
}

# list WORD...: join words, which spaces or commas separate, by commas
list() { tr -s ' ,' '\n' <<< "$*" | sed '/^$/d' | paste -sd,; }

# The policies that are built in: policy_builtin[] of virt/kvm/dirty_ring_policy.c
BUILTIN_POLICIES=(round-robin lru last-used emptiest)

# policy_samples MODE...: the sources, in samples/kvm/ or POLICY_DIR, of policies that are
# not built in.  A MODE is a policy, maybe with a quantum or a flag, as in
# "lru:16+nostop".
policy_samples() {
	local mode policy file

	for mode; do
		policy=${mode%%[:+]*}
		[[ " bitmap per-vcpu ${BUILTIN_POLICIES[*]} " != *" $policy "* ]] || continue
		file=dirty_ring_policy_${policy//-/_}.c
		[[ -f samples/kvm/$file || -f ${POLICY_DIR:-}/$file ]] ||
			die "there is no policy $policy" \
			    "add samples/kvm/$file, or use one that scripts/lib.sh lists: ${BUILTIN_POLICIES[*]}"
		printf '%s\n' "$file"
	done | sort -u
}

# load_policies MODE...: commands for a job in the VM that load the modules of
# these policies
load_policies() {
	local files file

	files=$(policy_samples "$@") || return
	for file in $files; do
		printf 'insmod /lib/modules/%s.ko || exit 1\n' "${file%.c}"
	done
}

# Exit code of a program in the VM whose guest the emulator broke, as defined in the
# selftests' dirty_pool_util.h, and how often it is run again at most
EMULATOR_FAULT=77
EMULATOR_REPEATS=5

# Lines that must not appear in the kernel log of a test run
KERNEL_TROUBLE='WARNING:|BUG:|Oops|Kernel panic|Call Trace|general protection fault'
KERNEL_TROUBLE+='|unable to handle|possible circular locking|possible recursive locking'
KERNEL_TROUBLE+='|possible irq lock inversion|inconsistent lock state|lockdep is turned off'
KERNEL_TROUBLE+='|suspicious RCU usage|Illegal context switch in RCU|rcu: INFO'
KERNEL_TROUBLE+='|INFO: task .* blocked|soft lockup|hard LOCKUP|workqueue lockup'
KERNEL_TROUBLE+='|sleeping function called|scheduling while atomic|list_(add|del) corruption'
KERNEL_TROUBLE+='|KASAN|KCSAN|UBSAN|refcount_t:|unregister_netdevice|Kernel memory leaked'
KERNEL_TROUBLE+='|kmemleak: .* suspected memory leak'

# An awk program that removes from a kernel log the data races of other code: those that
# no function of ours takes part in, and those of scripts/known-races.  Most of the
# kernel's own races are benign, and which of them are seen differs from boot to boot.
# The variable "other" makes it print their functions instead.
KNOWN_RACES=$(sed '/^#/d; s/\t.*//' scripts/known-races | paste -sd'|')
KNOWN_RACES=${KNOWN_RACES:-none}
# shellcheck disable=SC2016
OTHER_RACES='
/BUG: KCSAN:/ && !open {
	open = 1
	ours = 0
	title = $0
	sub(/.*BUG: KCSAN: /, "", title)
	known = title ~ "^data-race in ('"$KNOWN_RACES"')"
}
open && !/KCSAN/ && /WARNING:|BUG:|INFO:|Oops|panic/ {
	# Of another CPU, in the middle of a report
	if (!other)
		print
	next
}
open	{ held = held $0 "\n" }
open && /[ \/](kvm_)?(arch_)?(dirty_)?(ring_)?(pool|policy|torture)_[a-z0-9_.]*(\+0x| \/|\r?$)/ { ours = 1 }
open && /====================/ { done() }
!open && !other { print }
function done() {
	if (ours && !known && !other)
		printf "%s", held
	else if ((!ours || known) && other)
		print title
	held = ""
	open = 0
}
END	{ if (open) done() }'

# An awk program that removes warnings from a kernel log that Bochs causes: its CPU
# topology and its XSAVE area are inconsistent, and its page log has the addresses of
# guest page table entries instead of those of their pages.  If two CPUs warn at the
# same time, all warnings of the joint report have to be known.
# shellcheck disable=SC2016
BOCHS_LOG='
/-+\[ cut here/	{ open++ }
open		{ held = held $0 "\n" }
open && /'"${KERNEL_TROUBLE/|Call Trace/}"'/ &&
	!/WARNING:.*(topology_common.c|fpu\/xstate.c|vmx.c:[0-9]+ vmx_(handle_exit|flush_pml_buffer))/ {
	ours = 1
}
!open		{ print }
open && /-+\[ end trace/ && !--open {
	if (ours)
		printf "%s", held
	held = ""
	ours = 0
}
END		{ printf "%s", held }'

# count PART PASSED FAILED SKIPPED STARTED: print a part's counts, and save them for
# scripts/check
count() {
	mkdir -p "$REPORT"
	printf '%s %s %s\n' "$2" "$3" "$4" > "$REPORT/$1.count"
	printf '%-10s %s passed, %s failed%s: %s\n' "$1" "$2" "$3" \
		"$( (($4 == 0)) || printf ', %s skipped' "$4")" "$(since "$5")"
}
