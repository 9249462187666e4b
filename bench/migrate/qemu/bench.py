# SPDX-License-Identifier: GPL-2.0
"""The measurements: a migration for each run, workload, number of vCPUs and mode."""
import itertools
import os
import subprocess
import time

import migrate
from machine import Failure, Guest, Machine, Qmp, QEMU

# Pages that all vCPUs together keep stamping, and how fast: enough to fill rings,
# little enough for a migration to end
HOT = 3072
RATE = 6
# Seconds for which the guest is measured before it is migrated
BEFORE = 1.0


def measure(mode, workload, vcpus):
    """One guest from power-on to the other side."""
    migrate.set_mode(mode)
    machines = []
    try:
        source = Machine(Guest(vcpus, workload, HOT, RATE), migrate.ring_of(mode))
        machines.append(source)
        source.start()
        target = migrate.receiver(source)
        machines.append(target)
        before = source.rate(BEFORE)
        cell = migrate.migrate(source, target)
        cell["stamps_per_s_before"] = before
        cell["bad"] = migrate.resume(target)
        cell["unequal"] = len(cell["unequal"])
        return cell
    finally:
        for m in machines:
            m.end()


def environment(options):
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    return {"kernel": os.uname().release, "cpus": os.cpu_count(), "ring": migrate.RING,
            "bandwidth": migrate.BANDWIDTH, "downtime_ms": migrate.DOWNTIME_MS,
            "memory": Guest(1, "idle", 0, 0).memory, "hot": HOT, "rate": RATE,
            "runs": options.runs, "qemu": version.stdout.split("\n")[0]}


def is_wrong(item):
    return item["type"] == "failed" or item["type"] == "cell" and bool(
        item["unequal"] or item["bad"] or item["pool"]["overflows"])


def run(lines, options):
    if not lines.find(type="env"):
        lines.add(type="env", **environment(options))
    todo = [c for c in itertools.product(range(options.runs), options.workloads,
                                         [int(v) for v in options.vcpus], options.modes)
            # A single vCPU is not skewed
            if (c[1], c[2]) != ("skewed", 1) and
            not lines.find(run=c[0], workload=c[1], vcpus=c[2], mode=c[3])]
    start = time.monotonic()
    for done, (nr, workload, vcpus, mode) in enumerate(todo, 1):
        name = f"{workload}, {vcpus} vCPU{'s' * (vcpus > 1)}, {mode}"
        try:
            cell, faults = options.attempt(name, options.repeats, measure, mode, workload, vcpus)
        except (Failure, Qmp) as e:
            print(f"FAILED: {name}: {e}", flush=True)
            lines.add(type="failed", run=nr, workload=workload, vcpus=vcpus, mode=mode)
            continue
        lines.add(type="cell", run=nr, workload=workload, vcpus=vcpus, mode=mode,
                  faults=faults, **cell)
        left = (time.monotonic() - start) / done * (len(todo) - done)
        print(f"{done:3}/{len(todo)} {name}: {cell['total_ms']} ms, down {cell['downtime_ms']} "
              f"ms, {cell['pages']} pages, {cell['syncs']} syncs, {cell['full_exits']} "
              f"ring-full exits, memory {'DIFFERS' if is_wrong(lines.items[-1]) else 'equal'}; "
              f"{left:.0f} s left", flush=True)
    # Including those of a VM that hung later
    return not any(is_wrong(item) for item in lines.items)
