# SPDX-License-Identifier: GPL-2.0
"""run.json: from dirty_pool_bench's lines to medians per cell."""
import os

from data import files, modes
from data.summary import summarize

WORKLOADS = {
    "uniform": "all vCPUs dirty alike",
    "skewed": "one vCPU dirties 90 % of the pages, the others spread 10 %",
    "vm-scoped": "a device thread writes as many pages as the vCPUs",
    "burst": "pages that one vCPU dirties before it must stop, without any harvest",
}
COUNTS = ("ring_full_exits", "parked_exits", "exhausted_exits", "claims",
          "claim_retries", "reserve_claims", "parks", "drains", "exhaustions",
          "overflows", "pushed", "moves", "wakeups", "harvests", "device_eagain")


def per_page(ns, pages):
    return ns / pages if pages else 0.0


def measures(cell):
    """The figures of one measurement that are compared."""
    out = {
        "pages_per_s": cell["writes"] * 1e9 / cell["write_ns"],
        "drained_per_s": cell["writes"] * 1e9 / cell["total_ns"],
        "still_ms": cell["still_ns"] / 1e6,
        "still_share": cell["still_ns"] / cell["active_ns"] if cell["active_ns"] else 0,
        "exits_per_kpage": cell["ring_full_exits"] * 1000 / cell["writes"],
        "harvest_ns": per_page(cell["harvest_ns"], cell["marks"]),
        "reset_ns": per_page(cell["reset_ns"], cell["marks"]),
        "mark_ns": per_page(cell["device_mark_ns"], cell["device_writes"]),
        "pages": cell["writes"],
    }
    hot = cell["per_vcpu"][0]
    out["hot_still_share"] = hot["still_ns"] / hot["active_ns"] if hot["active_ns"] else 0
    for name in COUNTS:
        if name in cell:
            out[name] = cell[name]
    return out


def summary(cells):
    def counts(members):
        return {"tracker": members[0]["tracker"], "nostop": members[0]["nostop"],
                "soft_limit": members[0]["soft_limit"],
                "lost": sum(c["lost"] for c in members),
                "writes": sum(c["writes"] for c in members)}

    return summarize(cells, measures, ("pages_per_s",), WORKLOADS, counts)


def collect(lines, counted, out, *meta):
    env, cells = files.cells(lines)
    if not cells:
        raise SystemExit(f"{lines}: nothing was measured")
    files.write(out, {
        "meta": files.meta(meta), "env": env, "summary": summary(cells), "cells": cells,
        "counted": files.cells(counted)[1] if os.path.exists(counted) else []}, indent=1)


def counted(data):
    """[(mode, instructions a page, of these its harvest, its reset, exits for a full
    ring)], by a clock that counts."""
    cells = {c["mode"]: c for c in data.get("counted", []) if c["workload"] == "uniform"}
    return [(mode, c["total_ns"] / c["writes"], per_page(c["harvest_ns"], c["marks"]),
             per_page(c["reset_ns"], c["marks"]), c["ring_full_exits"])
            for mode, c in ((m, cells[m]) for m in modes.names(cells.values()))]


def emulator_faults(data):
    """Measurements repeated because the emulator mixed up guest and host."""
    return sum(c.get("emulator_faults", 0) for c in data["cells"])


def tests(env, cells):
    """[(test, passed)]: one test a cell, and some for the whole"""
    out = [("the machine is described", bool(env)),
           ("every mode was measured", set(modes.BASELINES) < {c["mode"] for c in cells})]
    for c in cells:
        name = f"{c['workload']}, {c['vcpus']} vCPUs, {c['mode']}"
        full = c["writes"] == env["pages"] * env["passes"] or c["workload"] == "burst"
        out.append((f"{name}: all pages written, none lost",
                    full and c["lost"] == 0 and c["marks"] >= c["writes"]))
        if c["tracker"] == "pool":
            out.append((f"{name}: what was pushed was harvested",
                        c["pushed"] == c["marks"] and c["overflows"] == 0))
    return out


def median_test(cells):
    entries = summary(cells) if cells else []
    return ("medians", len(entries) > 0 and
            all(e["pages_per_s"]["median"] > 0 for e in entries))
