#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh OUTPUT: check the tests here with herd7 and the memory model of the kernel
# source.  The condition of a test must never hold; with an ordering removed, which
# each MUTANT line does by sed, it must be possible.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../../../scripts/lib.sh"
# shellcheck source=tools/testing/dirty_ring_pool/sid.sh
. tools/testing/dirty_ring_pool/sid.sh
out=$(realpath -m "$1")/litmus
here=tools/testing/dirty_ring_pool/litmus
herd=$O/sid/herd7
mkdir -p "$out"

need_sid litmus herd7 "weak memory"

# -- the model, from the unpacked kernel source or from its archive
model=
src=${LINUX:-/usr/src/linux-source-6.12.tar.xz}
for d in "$src" "$TREE" "$out"; do
	[[ ! -f $d/tools/memory-model/linux-kernel.cfg ]] || { model=$d/tools/memory-model; break; }
done
if [[ -z $model ]]; then
	[[ -f $src ]] || die "there is no kernel source at $src" \
		"run 'make setup', or set LINUX= to a kernel tree or its .tar.xz"
	say "# litmus: take the memory model from $(basename "$src")"
	tar -C "$out" --strip-components=1 --wildcards -xf "$src" \
		'*/tools/memory-model/l*'
	model=$out/tools/memory-model
fi

n=0
bad=0
verdict() {
	n=$((n + 1))
	if (( $1 )); then
		say "ok $n $2"
	else
		bad=$((bad + 1))
		say "not ok $n $2"
		sed 's/^/#   /' "$out/said"
	fi
}

# observe FILE: Never, Sometimes or Always; or nothing, if herd7 refuses FILE
observe() {
	"$herd" -I "$model" -conf linux-kernel.cfg "$1" > "$out/said" 2>&1 || true
	sed -n 's/^Observation [^ ]* \([A-Z][a-z]*\) .*/\1/p' "$out/said"
}

never=0
sometimes=0
t=$(now)
for f in "$here"/*.litmus; do
	name=$(basename "$f" .litmus)
	if [[ $(observe "$f") == Never ]] && ! grep -q '^Flag' "$out/said"; then
		never=$((never + 1))
		verdict 1 "litmus: $name: never"
	else
		verdict 0 "litmus: $name: never"
	fi

	mutants=0
	while read -r edit; do
		mutants=$((mutants + 1))
		sed -e '/MUTANT:/d' -e "$edit" "$f" > "$out/$name.litmus"
		if [[ $(observe "$out/$name.litmus") == Sometimes ]]; then
			sometimes=$((sometimes + 1))
			verdict 1 "litmus: $name, mutant $mutants: sometimes"
		else
			verdict 0 "litmus: $name: sometimes with $edit"
		fi
	done < <(sed -n 's/^ \* MUTANT: //p' "$f")
	rm -f "$out/$name.litmus"
	: > "$out/said"
	(( mutants )) || verdict 0 "litmus: $name has a mutant"

	# A test of code that no longer exists tests nothing
	sed -n '/^(\*/,/^ \*)/p' "$f" | grep -oE '\<(pool|mru|kvm_(dirty|to|arch_dirty))_[a-z_]+\(\)' |
		sort -u | while read -r fn; do
			grep -rqF "${fn%)}" virt include arch samples || say "$name is about $fn"
		done > "$out/said"
	[[ ! -s $out/said ]] || verdict 0 "litmus: $name is about functions that there are"
done

# Each function that orders anything has a test, or README says why not.  Not those of
# dirty_ring_torture.c, which is a test itself.
for f in virt/kvm/dirty_ring_p*.c samples/kvm/dirty_ring_policy_*.c \
	 include/linux/kvm_dirty_ring_pool.h; do
	awk '
		/^[a-z].*[ *][a-z_0-9]+\(/ && !/;$/ {
			fn = $0
			sub(/\(.*/, "", fn)
			sub(/.*[ *]/, "", fn)
		}
		/^[ \t]*\/?\*/ || /rcu_dereference_protected/ { next }
		/smp_[lsrwm]|_(acquire|release)\(|xchg|test_and_|fetch_/ ||
		/synchronize_|rcu_(assign|replace|dereference)/ {
			print fn
		}' "$f"
done | sort -u | while read -r fn; do
	grep -qw -e "$fn" "$here"/*.litmus "$here/README" || say "$here/ does not name $fn()"
done > "$out/said"
verdict $(( ! $(wc -l < "$out/said") )) "litmus: all that has an ordering in it is named"

say "1..$n"
say "# litmus: $never tests Never, $sometimes mutants Sometimes, $bad failed: $(since "$t")"
(( bad == 0 ))
