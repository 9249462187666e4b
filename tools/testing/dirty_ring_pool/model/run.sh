#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh OUTPUT: let spin explore all states of pool.pml for several bounds, then
# see that it finds each break (M_*) of the protocol.
set -u

here=$(cd "$(dirname "$0")" && pwd)
out=$1/model
test=0
bad=0
states=0
mutants=0
caught=0
small='-DNU=2 -DNR=2 -DSYM'

for tool in spin gcc; do
	command -v "$tool" > /dev/null || {
		printf 'not ok 1 model: %s is missing\n1..1\n' "$tool"
		printf '# mend: scripts/setup, or apt-get install %s\n' "$tool"
		exit 1
	}
done
mkdir -p "$out" && cd "$out" || exit 1

# explore safe|live OPTIMISE "bound": fills log.  Returns 0 if all states are without
# error, 1 for an error, 2 if it is incomplete
explore() {
	local flags=(-w "-O$2" -DCOLLAPSE) args=(-m4000000 -w22) bound

	if [[ $1 == safe ]]; then
		flags+=(-DSAFETY)
	else
		flags+=(-DNFAIR=3)
		args+=(-a -f)
	fi
	rm -f pan* ./*.trail
	read -ra bound <<< "$3"
	cp "$here/pool.pml" .
	spin "${bound[@]}" -a pool.pml > log 2>&1 &&
		gcc "${flags[@]}" -o pan pan.c >> log 2>&1 || return 2
	# A search that needs more than 3 GB is incomplete
	( ulimit -v 3000000; exec timeout 120 ./pan "${args[@]}" ) >> log 2>&1
	grep -qE '^pan:.*(assertion violated|acceptance cycle|invalid end state)' log &&
		return 1
	grep -qE 'errors: 0$' log && ! grep -qE 'too small|out of memory|limit reached' log
	return $(( $? ? 2 : 0 ))
}

# holds safe|live "bound" "what"
holds() {
	local n verdict=ok

	test=$((test + 1))
	explore "$1" "$([[ $2 == *NR=3* ]] && echo 2 || echo 0)" "$2" || { verdict='not ok'; bad=1; }
	n=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' log)
	n=$(printf '%.0f' "${n:-0}")
	states=$((states + n))
	printf '%s %d model: %s: %d states\n' "$verdict" "$test" "$3" "$n"
	[[ $verdict == ok ]] || {
		printf '# again: spin %s -a pool.pml\n' "$2"
		tail -25 log | sed 's/^/# /'
	}
}

# breaks safe|live M_NAME "bound"
breaks() {
	local verdict=caught rc=0 why

	test=$((test + 1))
	mutants=$((mutants + 1))
	explore "$1" 0 "-D$2 $3" || rc=$?
	why=$(sed -n 's/^pan:[0-9]*: \(.*\) (at depth.*/\1/p' log | head -1)
	if (( rc == 1 )); then
		caught=$((caught + 1))
		printf 'ok %d model mutant: %s\n' "$test" "$2"
	else
		verdict=SURVIVED
		bad=1
		printf 'not ok %d model mutant: %s\n' "$test" "$2"
		tail -25 log | sed 's/^/# /'
	fi
	printf '# model %-22s %-9s %s\n' "$2" "$verdict" "${why:0:80}"
}

# No ring has two owners, no claim goes over the soft limit, no empty ring stays
# parked, the gate opens at the right time only, and every vCPU finds room.  With
# harvests and resets in any order, also of one ring only.
holds safe '-DNU=3 -DNR=3 -DSYM' \
	'3 vCPUs, 3 rings, any reset, hostile entries'
holds safe '-DNU=2 -DNV=1 -DNR=3 -DSYM' \
	'2 vCPUs and KVM_MARK_DIRTY, 3 rings, any reset'
holds safe "$small -DSIZE=3 -DSOFT=2" \
	'2 vCPUs, 2 rings of 3 entries, soft limit 2'
holds safe "$small -DSIZE=3 -DSOFT=1" \
	'2 vCPUs, 2 rings of 3 entries, stays and batches of 2'
holds safe "$small -DENTRIES" \
	'2 vCPUs, 2 rings, what was harvested is reset'
holds safe '-DNU=1 -DNV=1 -DNR=2 -DNH=2 -DSYM' \
	'2 users, 2 rings, 2 threads that reset'
holds safe "$small -DEXACT" \
	'2 vCPUs, 2 rings, ring by ring as the code: room is always found'
holds safe "$small -DEXACT -DNOGATE -DMARKS=1 -DNEARLY_FULL" \
	'2 without gate, 1 mark each, 2 rings nearly full: OVERFLOW only if all were full at once'
# Some user always makes progress if all runnable ones get to run.
holds live '-DNU=2 -DNR=2 -DFAIR -DLIVE' \
	'2 vCPUs, 2 rings, drained when told: marks go on, the gate opens'
holds live '-DNU=0 -DNV=2 -DNR=2 -DFAIR -DLIVE' \
	'2 KVM_MARK_DIRTY, 2 rings, drained when told: marks go on'
holds live '-DNU=0 -DNV=2 -DNR=2 -DFAIR -DLIVE -DDEAD' \
	'2 KVM_MARK_DIRTY, 2 rings, one stops for ever at any step: marks go on'

breaks safe M_CLAIM_NOT_ATOMIC "$small"
breaks safe M_RESERVE_TWICE "$small"
breaks safe M_RESERVE_NOT_COUNTED "$small"
breaks safe M_GATE_FREE_ONLY "$small"
breaks safe M_GATE_RESERVE_ONLY "$small"
breaks safe M_PARK_FORGOTTEN "$small"
breaks safe M_PARK_MISSES_RESET "$small"
breaks safe M_RESET_MISSES_PARK "$small"
breaks safe M_RESET_TRUSTS "$small"
breaks safe M_SOFT_NOT_MOVED "$small"
breaks safe M_STAYS_AVAILABLE "$small"
breaks safe M_UNPARK_EARLY "$small"
breaks safe M_BATCH_OVER_LIMIT "$small -DSIZE=3 -DSOFT=1"
breaks safe M_PUBLISH_EARLY "$small -DENTRIES"
breaks safe M_SCAN_ONCE "$small -DEXACT -DNOGATE -DMARKS=1 -DNEARLY_FULL"
breaks live M_NEVER_UNCOUNTED '-DNU=2 -DNR=2 -DFAIR -DLIVE'
breaks live M_STAYS_UNAVAILABLE '-DNU=2 -DNR=2 -DFAIR -DLIVE'
breaks live M_PARK_SILENT '-DNU=0 -DNV=2 -DNR=2 -DFAIR -DLIVE'
breaks live M_RESET_WAITS '-DNU=0 -DNV=2 -DNR=2 -DFAIR -DLIVE -DDEAD'
breaks live M_WAITS_FOR_RING '-DNU=0 -DNV=2 -DNR=2 -DEXACT -DFAIR -DLIVE -DDEAD'

printf '1..%d\n# model: %d states, %d of %d mutants caught\n' "$test" "$states" \
	"$caught" "$mutants"
exit "$bad"
