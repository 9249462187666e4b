#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# coverage.sh OUTPUT: which lines of the pool's files unit and stress tests reach.
# Each line that they do not reach has to be listed here.
set -u

out=$1
test=0
bad=0
# Only the order of threads leads there, which a unit test does not control: another
# thread claims, fills or resets a reserve between two looks at its ring, or holds
# a ring that is to be detached; a vCPU is preempted between its two looks at the
# gate (gate-preempted in explore/).  FUNCTION: LINE, as printed below.
known='^pool_scan_reserve: *(ret = -EBUSY|continue|pool_settle\(pool, ring, word\));$'
known+='|^pool_claim_reserve: *return (ret|-EAGAIN);$'
known+='|^kvm_dirty_pool_gate: *(WRITE_ONCE\(user->reserve, true\)|goto shut);$'
known+='|^pool_take_any: *(for \(;;\) \{|cpu_relax\(\);)$'

cd "$out" || exit 1
for file in dirty_ring_pool dirty_ring_policy; do
	test=$((test + 1))
	# A line counts if one of the two programs reached it
	gcov --stdout unit-gcov-*.gcda stress-gcov-*.gcda 2> /dev/null | awk -F: -v name="$file.c" '
		/^ *-: *0:Source:/ { on = index($0, name) }
		{ code = substr($0, length($1) + length($2) + 3) }
		on && code ~ /^[a-z_][^;]*\(/ {
			fn = code
			sub(/\(.*/, "", fn)
			sub(/.*[ *]/, "", fn)
		}
		on && $1 !~ /-/ && $2 + 0 > 0 {
			line = $2 + 0
			gsub(/\t/, " ", code)
			text[line] = fn ":" code
			if ($1 !~ /#####/)
				hit[line] = 1
		}
		END {
			for (l in text) {
				all++
				if (hit[l])
					n++
				else
					print "left:" l ":" text[l]
			}
			printf "sum:%d of %d lines, %.1f%%\n", n, all,
				all ? 100 * n / all : 0
		}' > coverage
	grep '^left:' coverage | sort -t: -k2n | sed "s/^left/# $file.c, not reached/"
	unknown=$(sed -n 's/^left:[0-9]*://p' coverage | grep -cvE "$known")
	verdict=ok
	if (( unknown )) || ! grep -qE '^sum:[1-9]' coverage; then
		verdict='not ok'
		bad=1
	fi
	printf '%s %d coverage: %s.c: %s\n' "$verdict" "$test" "$file" \
		"$(sed -n 's/^sum://p' coverage)"
done
rm -f coverage
exit "$bad"
