# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Test cases that run in VMs.  The parts of the check that boot VMs source this after
# lib.sh.
#
# A case is a line with four fields, separated by tabs: its name; a limit in seconds;
# the policy with which every VM with dirty rings gets a pool, or "-" for upstream's
# rings; the command.

# The cases are repeated for each of these policies
read -ra policies <<< "${POLICIES:-${BUILTIN_POLICIES[*]}}"
policy_samples "${policies[@]}" > /dev/null

# case_job LIST: print the job that runs them
case_job() {
	printf "TROUBLE='%s'\nBOCHS_LOG='%s'\n" "$KERNEL_TROUBLE" "$BOCHS_LOG"
	printf "OTHER_RACES='%s'\n" "$OTHER_RACES"
	printf 'EMULATOR_FAULT=%s\nrepeats=%s\n' "$EMULATOR_FAULT" "$EMULATOR_REPEATS"
	cat << 'END'
param=/sys/module/kvm/parameters
default=$(cat $param/dirty_ring_policy 2> /dev/null)

# policy_module POLICY: load its module, run the whole test with it, unload it
policy_module() {
	local name=dirty_ring_policy_$(echo "$1" | tr - _)
	local module=/lib/modules/$name.ko

	[ -f $module ] || { echo "no policy module was built"; return 1; }
	# Loaded because it is one of policies[], or by a test that failed
	rmmod $name 2> /dev/null
	insmod $module || return 1
	dirty_pool_test -p "$1" -x race_ || return 1
	rmmod $name || return 1
	insmod $module && rmmod $name
}

# module_is MODULE NAME=VALUE...: check the parameters of a module
module_is() {
	local dir=/sys/module/$1/parameters wrong=0 p

	shift
	for p; do
		value=$(cat "$dir/${p%=*}")
		echo "$dir/${p%=*}: $value"
		[ "$value" = "${p#*=}" ] || wrong=1
	done
	return $wrong
}

# kvm_load [NAME=VALUE...]: unload KVM if it is loaded, and load it with these
# parameters
kvm_load() {
	for m in $(cd /sys/module && ls -d dirty_ring_policy_* 2> /dev/null) kvm_amd kvm_intel kvm; do
		[ ! -e /sys/module/$m/initstate ] || rmmod $m || return 1
	done
	insmod /lib/modules/kvm.ko "$@" || return 1
	# One of them is for this CPU
	insmod /lib/modules/kvm-amd.ko 2> /dev/null || insmod /lib/modules/kvm-intel.ko
}

# KVM unloads after it has had pools, and loads with the given parameters
kvm_modules() {
	dirty_pool_test -t reported_2 || return 1
	if kvm_load dirty_ring_policy=nosuch; then
		echo "KVM was loaded with a policy that there is none of"
		return 1
	fi
	kvm_load dirty_ring_pool=1 dirty_ring_policy=round-robin || return 1
	module_is kvm dirty_ring_pool=Y dirty_ring_policy=round-robin || return 1
	dirty_pool_test -t park || return 1
	dirty_pool_test -t policy_module || return 1
	kvm_load || return 1
	module_is kvm dirty_ring_pool=N dirty_ring_policy=emptiest || return 1
	dirty_pool_test -t reported_2
}

if [ "$1" = case ]; then
	shift
	"$@"
	exit
fi
END
	load_policies "${policies[@]}"
	cat << 'END'

pool() {
	if [ "$1" = - ]; then
		[ -n "$default" ] || return 0
		# The default policy holds a reference to its module
		echo 0 > $param/dirty_ring_pool && echo "$default" > $param/dirty_ring_policy
	else
		echo "$1" > $param/dirty_ring_policy && echo 1 > $param/dirty_ring_pool
	fi
}

centi() { read -r a b < /proc/uptime; echo "${a%.*}${a#*.}"; }

# Real hardware, TCG or Bochs?
look=cat
tcg=
if ! dmesg | grep -q 'Hypervisor detected: KVM'; then
	if grep -qw svm /proc/cpuinfo; then
		tcg=1
	else
		look=without_bochs
	fi
fi
without_bochs() { awk "$BOCHS_LOG"; }

# Did the emulator break the guest?  Our tests exit with a code of their own.  Upstream's
# fail, and print why the guest exited.
broken() {
	[ "$rc" = "$EMULATOR_FAULT" ] ||
		{ [ -n "$tcg" ] && [ "$rc" != 0 ] && grep -q 'exit_reason=SHUTDOWN' "$log"; }
}

# If logs do not reach the host, show more of them, and progress within a case: the
# host takes a silent VM for one that hangs
lines=15
shown=
if ! grep -q ' /out 9p ' /proc/mounts; then
	lines=100
	shown=/tmp/shown
	mkfifo $shown
fi

run() {
	: > "$log"
	if [ -n "$shown" ]; then
		sed -n -E 's/^ *((not )?ok )/#   &/p' < $shown &
		tail -f "$log" > $shown &
		tail=$!
	fi
	# shellcheck disable=SC2086
	timeout -s KILL "$limit" sh /job case $command > "$log" 2>&1 < /dev/null
	rc=$?
	[ -z "$shown" ] || kill $tail
}

dmesg -c > /dev/null
while IFS='	' read -r name limit policy command; do
	log=/out/$(echo "$name" | tr / -).log
	echo "case $name" > /dev/kmsg
	echo "# start $name"
	t=$(centi)
	tries=0
	if pool "$policy" > "$log" 2>&1; then
		run
		while broken && [ "$tries" -lt "$repeats" ]; do
			tries=$((tries + 1))
			run
		done
	else
		rc=1
	fi
	t=$(($(centi) - t))
	took="$((t / 100)).$((t / 10 % 10)) s"
	ok=$(grep -cE '^ *ok ' "$log")
	bad=$(grep -E '^ *not ok ' "$log" | grep -cvE '# *(TODO|XFAIL)')
	[ "$ok" = 0 ] || took="$ok tests, $took"
	[ "$tries" = 0 ] || took="$took, the emulator broke the guest $tries times"
	why=
	case $rc in
	0)	[ "$bad" = 0 ] || why="$bad tests failed" ;;
	4)	;;
	"$EMULATOR_FAULT") why="the emulator broke the guest each time" ;;
	137)	why="killed, it may take $limit s" ;;
	*)	why="exit code $rc" ;;
	esac
	trouble=$(dmesg -c | $look | awk "$OTHER_RACES" | grep -E -m 1 "$TROUBLE")
	[ -z "$trouble" ] || why="kernel log: $trouble"
	if [ -n "$why" ]; then
		echo "not ok $name # $took: $why"
		grep -E '^ *not ok ' "$log" | head -10 | sed 's/^/#   /'
		tail -n $lines "$log" | sed 's/^/#   /'
	elif [ $rc = 4 ]; then
		echo "ok $name # SKIP $(tail -n 1 "$log")"
	else
		echo "ok $name # $took"
	fi
done << 'CASES'
END
	cat "$1"
	echo CASES
}

# run_cases NAME LIST BOOTS VM-OPTION...: run the cases in a VM, write their results to
# build/NAME.result.  A case that takes the VM down fails, and the cases after it run
# in a new VM, up to BOOTS of them.
run_cases() {
	local name=$1 list=$2 boots=$3 result=$O/$1.result left=$O/$1.left job=$O/$1.job
	local boot log rc running case

	shift 3
	: > "$result"
	cp "$list" "$left"
	for (( boot = 1; boot <= boots; boot++ )); do
		(( boot == 1 )) ||
			say "$name: boot again for the $(wc -l < "$left") cases that are left"
		rc=0
		log=$LOG/vm-$name-$boot
		case_job "$left" > "$job"
		scripts/vm --name "$name-$boot" --job "$job" "$@" || rc=$?
		tr -d '\r' < "$log.output" | grep -E '^(ok|not ok) ' >> "$result" || true
		(( rc == 124 )) || break
		running=$(sed -n 's/^# start //p' "$log.output" | tr -d '\r' | tail -1)
		[[ -n $running ]] || break
		grep -qE "^(not )?ok $running " "$result" ||
			printf 'not ok %s # it took the VM down\n' "$running" >> "$result"
		awk -F'\t' 'NR == FNR { sub(/^not /, ""); split($0, w, " "); done[w[2]] = 1; next }
			    !($1 in done)' FS='\t' "$result" "$list" > "$left"
		[[ -s $left ]] || break
	done
	while IFS=$'\t' read -r case _; do
		grep -qE "^(not )?ok $case " "$result" ||
			printf 'not ok %s # did not run\n' "$case" >> "$result"
	done < "$list"
	if (( rc == 125 )) && ! grep -q 'kernel log:' "$result"; then
		printf 'not ok kernel-log/%s # warnings outside of any case: %s\n' \
			"$name" "$log.console" >> "$result"
	fi
}

# report_cases PART STARTED RESULT...: write results as TAP and count them; fails if a
# case failed
report_cases() {
	local part=$1 started=$2 tap=$REPORT/$1.tap

	shift 2
	mkdir -p "$REPORT"
	{
		printf 'TAP version 13\n1..%d\n' "$(cat "$@" | wc -l)"
		cat "$@" | awk '{ n = $1 == "not" ? 2 : 1; $n = $n " " NR; print }'
	} > "$tap"
	cat "$@" | grep '^not ok' >&2 || true
	count "$part" "$(grep -c '^ok .*# [^S]' "$tap" || true)" \
		"$(grep -c '^not ok' "$tap" || true)" "$(grep -c '^ok .*# SKIP' "$tap" || true)" \
		"$started"
	say "           $tap"
	! grep -q '^not ok' "$tap"
}
