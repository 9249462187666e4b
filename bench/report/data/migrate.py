# SPDX-License-Identifier: GPL-2.0
"""migrate.json: from the lines of bench/migrate to medians, ratios and targets."""

from data import files, modes
from data.summary import summarize, target

WORKLOADS = {
    "idle": "each vCPU writes a page now and then",
    "uniform": "all vCPUs write alike, 4000 pages per second together",
    "skewed": "vCPU 0 writes 4000 pages per second, the others 200 each",
    "bursty": "all vCPUs write 250 pages at once, four times per second",
}
# The mode that the expectations are about
WORTH = modes.NOSTOP
# "No worse" allows for this much noise of the emulator
NOISE = 0.10


def measures(c):
    seconds = c["run_ns"] / 1e9
    before = sum(v["before_stamps"] for v in c["per_vcpu"]) * 1e9 / c["before_ns"]
    during = sum(v["stamps"] for v in c["per_vcpu"]) / seconds
    others = sum(v["stamps"] for v in c["per_vcpu"][1:]) / seconds
    hot = c["per_vcpu"][0]
    return {
        "total_ms": c["total_ns"] / 1e6,
        "downtime_ms": c["downtime_ns"] / 1e6,
        "sent": c["bytes_sent"] / c["memory"],
        "rounds": c["rounds"],
        "before": before,
        "during": during,
        "kept": during / before if before else 0,
        "others": others,
        "stops": sum(v["full_exits"] for v in c["per_vcpu"]),
        "hot_stops": hot["full_exits"],
        "hot_stops_per_s": hot["full_exits"] / seconds,
        "still_ms": sum(v["still_ns"] for v in c["per_vcpu"]) / 1e6,
        "harvested": c["harvested"],
    }


# Compared with per-vCPU rings of the same round
RATIOS = ("total_ms", "downtime_ms", "sent", "during", "others", "hot_stops_per_s")


def summary(cells):
    def counts(members):
        return {"tracker": members[0]["tracker"], "nostop": members[0]["nostop"],
                "lost": sum(c["unequal"] + c["bad"] for c in members)}

    return summarize(cells, measures, RATIOS, WORKLOADS, counts)


def targets(entries):
    """Expectations, met or not"""
    out = []

    def add(what, entry, name, limit, least=False):
        if not entry or name not in entry:
            return
        value = entry[name]["median"]
        met = target(what, f"{value:.2f}", f"{'at least' if least else 'at most'} {limit:.2f}",
                     value >= limit if least else value <= limit)
        met["spread"] = f"{entry[name]['min']:.2f} to {entry[name]['max']:.2f}"
        out.append(met)

    for e in entries:
        if e["mode"] != WORTH:
            continue
        where = f"{e['workload']}, {e['vcpus']} vCPUs"
        if e["workload"] == "skewed" and e["vcpus"] > 1:
            add(f"{where}: how often the hot vCPU is stopped", e, "x_hot_stops_per_s", 0.25)
            add(f"{where}: writes of the other vCPUs during migration", e, "x_others",
                1 - NOISE, True)
        add(f"{where}: writes of all vCPUs during migration", e, "x_during", 1 - NOISE, True)
        add(f"{where}: total time", e, "x_total_ms", 1 + NOISE)
        add(f"{where}: downtime", e, "x_downtime_ms", 1 + NOISE)
    return out


def collect(lines, out, *meta):
    cells, faults = [], 0
    for item in files.lines(lines):
        if item["type"] == "fault":
            faults += 1
        else:
            cells.append(item)
    if not cells:
        raise SystemExit(f"{lines}: nothing was migrated")
    entries = summary(cells)
    files.write(out, {"meta": files.meta(meta), "emulator_faults": faults,
                      "targets": targets(entries), "summary": entries, "cells": cells},
                indent=1)


def groups(entries):
    """(workload, what it is, number of vCPUs, entries) of each table"""
    for workload, what in WORKLOADS.items():
        for n in sorted({e["vcpus"] for e in entries}):
            found = [e for e in entries if (e["workload"], e["vcpus"]) == (workload, n)]
            if found:
                yield workload, what, n, found
