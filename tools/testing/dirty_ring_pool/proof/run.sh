#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# run.sh OUTPUT [NAME...]: cbmc on the proofs here, which include the pool's own
# code.  Each proof has to succeed, and to fail with a mutant, of this part or of
# another one, whose patch has a line "Refuted-by: PROOF RING_SIZE".
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../../../scripts/lib.sh"
# shellcheck source=tools/testing/dirty_ring_pool/sid.sh
. tools/testing/dirty_ring_pool/sid.sh
out=$(realpath -m "$1")/proof
shift
only=" $* "
here=tools/testing/dirty_ring_pool/proof
mkdir -p "$out"

need_sid proof cbmc "what hostile memory can do"

# Indices wrap on purpose.  So do signed counters, as in the kernel.
checks=(--bounds-check --pointer-check --pointer-overflow-check
	--no-signed-overflow-check --undefined-shift-check --div-by-zero-check --unwinding-assertions
	--drop-unused-functions --slice-formula --object-bits 12 --stop-on-fail)

# cbmc_on POOL NAME SIZE PROOF: run cbmc on the code in POOL
cbmc_on() {
	local pool=$1 name=$out/$2 size=$3 proof=$4 file=$here/proof.c

	if [[ $proof == protect ]]; then
		file=$here/protect.c
		sed -n -e '/^static struct kvm_memory_slot \*pool_vm_memslot(/,/^}/p' \
			-e '/^static void pool_vm_protect(/,/^}/p' \
			"$pool/virt/kvm/dirty_ring_pool_kvm.c" > "$pool/pool_vm_protect.c"
	fi
	gcc -E -std=gnu11 -DSHIM_SCHED -DSIZE="$size" -I"$here/../shim" \
		-I"$pool/include" -I"$pool" "$file" -o "$name.i" &&
		timeout 900 "$O/sid/cbmc" "$name.i" --function "proof_$proof" \
			--unwind $((size + 2)) \
			--unwindset pool_settle.0:3,pool_claim_slow.0:3,pool_next.0:3 "${checks[@]}"
}

# copy NAME: copy the pool's files, to preprocess or to break them
copy() {
	rm -rf "${out:?}/$1"
	mkdir -p "$out/$1/include/linux" "$out/$1/virt/kvm"
	cp include/linux/kvm_dirty_ring_pool.h "$out/$1/include/linux/"
	cp virt/kvm/dirty_ring_*.c "$out/$1/virt/kvm/"
	# The pool has one ring here: a second try of a hint would find it again
	sed -i 's/^\(#define POOL_TRIES_HINT\).*/\1 1/' "$out/$1/virt/kvm/dirty_ring_pool.c"
}

# start NAME SIZE PROOF [PATCH]: at most JOBS at a time
running=0
start() {
	copy "$1"
	[[ -z ${4:-} ]] || patch -s -p1 -d "$out/$1" < "$4" ||
		say "$4 does not apply" > "$out/$1.said"
	(( running < JOBS )) || { wait -n; running=$((running - 1)); } || true
	cbmc_on "$out/$1" "$1" "$2" "$3" > "$out/$1.said" 2>&1 &
	running=$((running + 1))
}

n=0
bad=0
# verdict NAME "what" RESULT
verdict() {
	n=$((n + 1))
	if grep -qx "VERIFICATION $3" "$out/$1.said"; then
		say "ok $n proof: $2"
	else
		bad=$((bad + 1))
		say "not ok $n proof: $2"
		grep -E 'FAILURE|rror' "$out/$1.said" | head -n 8 | sed 's/^/#   /'
		tail -n 3 "$out/$1.said" | sed 's/^/#   /'
	fi
}

wanted() { [[ $only == "  " || $only == *" $1 "* ]]; }

t=$(now)
# The longest proofs first
proofs=()
for p in claim-2 reset-4 push-4 reset-2 reset_all-2 push-2 attach-4 protect-2; do
	wanted "$p" || continue
	proofs+=("$p")
	start "$p" "${p#*-}" "${p%-*}"
done
mutants=()
mapfile -t patches < <(grep -l '^Refuted-by: ' "$here"/../*/mutants/*.patch)
for p in "${patches[@]}"; do
	name=$(basename "$p" .patch)
	wanted "$name" || continue
	mutants+=("$name")
	read -r _ proof size <<< "$(grep '^Refuted-by: ' "$p")"
	start "$name" "$size" "$proof" "$p"
done
wait
for p in "${proofs[@]}"; do
	verdict "$p" "${p%-*}, rings of ${p#*-} entries" SUCCESSFUL
done
for name in "${mutants[@]}"; do
	verdict "$name" "refutes mutant $name" FAILED
done
say "1..$n"
say "# proof: ${#proofs[@]} proofs, ${#mutants[@]} mutants refuted, $bad failed: $(since "$t")"
(( bad == 0 ))
