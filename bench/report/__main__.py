# SPDX-License-Identifier: GPL-2.0
"""python3 bench/report COMMAND

collect LINES COUNTED OUT KEY=VALUE... run.json from dirty_pool_bench's lines, and
                                 those of a VM the clock of which counts instructions
table RUN.JSON                   tables for a terminal
reset LINES COUNTED OUT KEY=VALUE...   reset.json from the same lines
reset-text RESET.JSON            its table and targets for a terminal
page DIR                         DIR/index.html and its figures, from DIR/*.json
check LINES                      TAP: are the lines whole and is no page lost?
bench LINES OUT DIR KEY=VALUE... bench.json from pool_bench's lines and callgrind's DIR
bench-text BENCH.JSON            targets and more for a terminal
bench-check BENCH.JSON           TAP: is everything there?
bench-compare A.JSON B.JSON      two machines, or two commits
policy-text BENCH.JSON [NAME]    costs and stops under each policy; a verdict on one
migrate LINES OUT KEY=VALUE...   migrate.json from bench/migrate's lines
migrate-text MIGRATE.JSON        tables and targets for a terminal
qemu LINES OUT KEY=VALUE...      migrate-qemu.json from bench/migrate/qemu's lines
qemu-text MIGRATE-QEMU.JSON      tables for a terminal
"""
import sys

import page
from data import bench, files, migrate, qemu, reset, run, virtual
from sections import bench as bench_section
from sections import bench_compare
from sections import migrate as migrate_section
from sections import policy as policy_section
from sections import qemu as qemu_section
from sections import reset as reset_section
from sections import run as run_section
from sections import virtual as virtual_section


def tap(tests):
    """Print [(test, passed)]; exit with 1 if one failed."""
    for i, (name, ok) in enumerate(tests, 1):
        print(f"{'ok' if ok else 'not ok'} {i} {name}")
    print(f"1..{len(tests)}")
    sys.exit(not all(ok for _, ok in tests))


def check(lines):
    env, cells = files.cells(lines)
    tap(run.tests(env, cells) + reset.tests(reset.read(lines)) + [run.median_test(cells)])


def text(section):
    return lambda path: print(section.text(files.load(path)))


def bench_text(path):
    text(bench_section)(path)
    text(virtual_section)(path)


def bench_check(path):
    data = files.load(path)
    tap(bench.tests(data) + virtual.tests(data))


COMMANDS = {
    "collect": run.collect,
    "table": text(run_section),
    "check": check,
    "reset": reset.collect,
    "reset-text": text(reset_section),
    "bench": bench.collect,
    "bench-text": bench_text,
    "bench-check": bench_check,
    "bench-compare": lambda a, b: print(bench_compare.compare(a, b)),
    "policy-text": lambda path, *name: print(policy_section.text(files.load(path), *name)),
    "migrate": migrate.collect,
    "migrate-text": text(migrate_section),
    "qemu": qemu.collect,
    "qemu-text": text(qemu_section),
    "page": page.write,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        raise SystemExit(__doc__)
    COMMANDS[sys.argv[1]](*sys.argv[2:])
