#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# coverage.sh OUTPUT: what unit and stress tests reached of the pool's files.
# Each line left has to be known here, by its function, and why it is not reached.
set -u

out=$1
test=0
bad=0
# What only the order of threads decides, so that no unit test gets there: a
# reserve that another claims, fills or resets between two looks at its ring, and
# a ring that another holds when it is detached.  And a vCPU that is preempted
# between its two looks at the gate: gate-preempted in explore/.
# FUNCTION: LINE, as printed below.
known='^pool_scan_reserve: *(ret = -EBUSY|continue|pool_settle\(pool, ring, word\));$'
known+='|^pool_claim_reserve: *return (ret|-EAGAIN);$'
known+='|^kvm_dirty_pool_gate: *(WRITE_ONCE\(user->reserve, true\)|goto shut);$'
known+='|^pool_take_any: *(for \(;;\) \{|cpu_relax\(\);)$'

cd "$out" || exit 1
for file in dirty_ring_pool dirty_ring_policy; do
	test=$((test + 1))
	# Two programs: a line is reached if it was in one of them
	gcov --stdout unit-gcov-*.gcno stress-gcov-*.gcno 2> /dev/null | awk -F: -v name="$file.c" '
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
