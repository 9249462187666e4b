# SPDX-License-Identifier: GPL-2.0
"""migrate-qemu.json: from the lines of bench/migrate/qemu to medians for each
workload, number of vCPUs and mode."""

from data import files
from data.summary import summarize

WORKLOADS = {
    "idle": "each vCPU writes a page now and then",
    "uniform": "all vCPUs write alike",
    "skewed": "one vCPU writes all the time, the others a little",
    "bursty": "all vCPUs write at once, then rest, and so on",
}
MEASURES = ("total_ms", "downtime_ms", "pages", "bytes", "syncs", "full_exits",
            "stamps_per_s", "progress", "hot_exits")
POOL = ("pushed", "parks", "moves", "reserve_claims", "exhaustions", "claim_retries",
        "overflows")
# Compared with per-vCPU rings of the same round
RATIOS = ("total_ms", "downtime_ms", "pages", "progress")


def measures(cell):
    out = {k: cell[k] for k in MEASURES if k in cell}
    before = cell["stamps_per_s_before"]
    out["progress"] = cell["stamps_per_s"] / before if before else 0.0
    out["hot_exits"] = cell["full_exits_vcpu"][0]
    for k in POOL:
        out[k] = cell["pool"].get(k, 0)
    return out


def summary(cells):
    def counts(members):
        return {"wrong": sum(c["unequal"] + c["bad"] for c in members),
                "forced": sum(c["forced"] for c in members)}

    return summarize(cells, measures, RATIOS, WORKLOADS, counts)


def collect(lines, out, *meta):
    env, cells = files.cells(lines)
    if not cells:
        raise SystemExit(f"{lines}: nothing was measured")
    files.write(out, {"meta": files.meta(meta), "env": env, "summary": summary(cells),
                      "cells": cells}, indent=1)


def faults(data):
    return sum(c["faults"] for c in data["cells"])


def wrong(data):
    return sum(e["wrong"] for e in data["summary"])
