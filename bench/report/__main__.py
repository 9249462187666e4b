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
migrate LINES OUT KEY=VALUE...   migrate.json from bench/migrate's lines
migrate-text MIGRATE.JSON        tables and targets for a terminal
qemu LINES OUT KEY=VALUE...      migrate-qemu.json from bench/migrate/qemu's lines
qemu-text MIGRATE-QEMU.JSON      tables for a terminal
"""
import os
import sys

import benchdata
import migratedata
import page
import qemudata
import resetdata
import rundata
import table


def collect(lines, counted, out, *meta):
    env, cells = rundata.read_lines(lines)
    if not cells:
        raise SystemExit(f"{lines}: nothing was measured")
    data = {"meta": dict(m.split("=", 1) for m in meta), "env": env,
            "summary": rundata.summarize_run(cells), "cells": cells,
            "counted": rundata.read_lines(counted)[1] if os.path.exists(counted) else []}
    rundata.write_json(out, data, indent=1)


def check(lines):
    """One test a cell, and one for the whole; exits with 1 if one fails."""
    env, cells = rundata.read_lines(lines)
    summary = rundata.summarize_run(cells) if cells else []
    tests = [("the machine is described", bool(env)),
             ("every mode was measured",
              {"bitmap", "per-vcpu"} < {c["mode"] for c in cells})]
    for c in cells:
        name = f"{c['workload']}, {c['vcpus']} vCPUs, {c['mode']}"
        full = c["writes"] == env["pages"] * env["passes"] or c["workload"] == "burst"
        tests.append((f"{name}: all pages written, none lost",
                      full and c["lost"] == 0 and c["marks"] >= c["writes"]))
        if c["tracker"] == "pool":
            tests.append((f"{name}: what was pushed was harvested",
                          c["pushed"] == c["marks"] and c["overflows"] == 0))
    tests += resetdata.check(resetdata.read_lines(lines))
    tests.append(("medians", len(summary) > 0 and
                  all(e["pages_per_s"]["median"] > 0 for e in summary)))
    for i, (name, ok) in enumerate(tests, 1):
        print(f"{'ok' if ok else 'not ok'} {i} {name}")
    print(f"1..{len(tests)}")
    sys.exit(not all(ok for _, ok in tests))


def main():
    commands = {"collect": collect, "check": check, "page": page.write,
                "bench": benchdata.collect, "bench-check": benchdata.check,
                "bench-compare": benchdata.compare,
                "bench-text": lambda path: print(benchdata.text(rundata.load(path))),
                "reset": resetdata.collect,
                "reset-text": lambda path: print(resetdata.text(rundata.load(path))),
                "migrate": migratedata.collect,
                "migrate-text": lambda path: print(migratedata.text(rundata.load(path))),
                "qemu": qemudata.collect,
                "qemu-text": lambda path: print(qemudata.text(rundata.load(path))),
                "table": lambda path: print(table.text(rundata.load(path)))}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
