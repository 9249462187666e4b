#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# mutants.sh OUTPUT [PATCH...]: break a copy of the pool by one patch of a mutants/
# folder at a time.  The test that its first line names has to catch it.
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
out=$(realpath "$1")
shift
limit=20
test=0
caught=0

(( $# )) || set -- "$here"/{unit,explore,stress,spte}/mutants/*.patch
printf '# %-26s %-36s %s\n' mutant 'to be caught by' verdict
for patch; do
	name=$(basename "$patch" .patch)
	copy=$(mktemp -d "$out/mutant.XXXXXX")
	test=$((test + 1))
	mkdir -p "$copy"/{include/linux,virt/kvm,arch/x86/kvm/mmu,samples/kvm}
	cp "$root"/arch/x86/kvm/mmu/dirty_ring_reset.c "$copy/arch/x86/kvm/mmu/"
	cp "$root/include/linux/kvm_dirty_ring_pool.h" "$copy/include/linux/"
	cp "$root"/virt/kvm/dirty_ring_{pool,policy}.c "$copy/virt/kvm/"
	cp "$root"/samples/kvm/dirty_ring_policy_*.c "$copy/samples/kvm/"
	read -r _ program args < "$patch"
	verdict=
	if ! patch -s -p1 -d "$copy" < "$patch" > "$copy/log" 2>&1; then
		verdict='SURVIVED: the patch does not apply'
	elif ! make -s -C "$here" POOL="$copy" OUTPUT="$copy" \
			"$copy/$program" > "$copy/log" 2>&1; then
		verdict='SURVIVED: does not compile'
	else
		# shellcheck disable=SC2086	# words
		ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1 \
			timeout "$limit" "$copy/$program" $args \
			> "$copy/log" 2>&1
		rc=$?
		why=$(grep -m1 -E '^not ok|^# [^:]*: [^s]|SUMMARY' "$copy/log")
		if (( rc == 0 )); then
			verdict=SURVIVED
		elif (( rc == 124 )) && [[ $why != not\ ok* ]]; then
			verdict='SURVIVED: runs into the time limit'
		else
			verdict="caught: ${why:0:90}"
		fi
	fi
	printf '# %-26s %-36s %s\n' "$name" "$program${args:+ $args}" "$verdict"
	if [[ $verdict == SURVIVED* ]]; then
		printf 'not ok %d mutant: %s\n' "$test" "$name"
		tail -5 "$copy/log" | sed 's/^/# /'
	else
		caught=$((caught + 1))
		printf 'ok %d mutant: %s\n' "$test" "$name"
	fi
	rm -rf "$copy"
done

printf '1..%d\n# mutants: %d of %d caught\n' "$test" "$caught" "$test"
(( caught == test ))
