# SPDX-License-Identifier: GPL-2.0
"""reset.json: the workload "reset" of dirty_pool_bench, with its targets."""
import os
import statistics

from data import files
from data.summary import target

FAULTS = {
    "protected": "write-protected",
    "unmapped": "unmapped",
}
PATTERNS = {
    "sequential": "page after page: with per-vCPU rings, runs of 64 pages",
    "strided": "every 16th page: with per-vCPU rings, runs of four pages",
    "random": "random order: hardly ever two neighbours",
    "scattered": "random order, a tenth of the pages of a region of 32,768 for each vCPU",
}
# Those in which faults are timed
FAULT_PATTERNS = ("sequential", "strided", "random")


def read(path):
    return [c for c in files.lines(path) if c.get("type") == "reset"]


def collect(lines, counted, out, *meta):
    env, _ = files.cells(lines)
    cells = read(lines)
    counted = read(counted) if os.path.exists(counted) else []
    files.write(out, {"meta": files.meta(meta), "env": env, "reset": cells, "counted": counted,
                      "targets": targets(cells, counted)})


def modes(cells):
    """(upstream's mode, the pool's)"""
    names = {c["tracker"]: c["mode"] for c in cells}
    return names.get("per-vcpu"), names.get("pool")


def pick(cells, pattern, mode):
    return [c for c in cells if c["pattern"] == pattern and c["mode"] == mode]


def rates(cells, pattern, mode, threads):
    """Pages per millisecond, one value per round."""
    return [c[f"pages_{threads}"] * 1e6 / c[f"ns_{threads}"]
            for c in pick(cells, pattern, mode)]


def faults(cells, pattern, mode, kind, idle=False):
    """All samples in µs, sorted; while no reset runs if idle."""
    name = ("idle_" if idle else "") + kind + "_ns"
    return sorted(ns / 1000 for c in pick(cells, pattern, mode) for ns in c[name])


def quantile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def instructions(counted, pattern, mode):
    """Per page, by one thread; None if they were not counted.  All rounds agree."""
    for c in pick(counted, pattern, mode):
        return c["ns_1"] / c["pages_1"]
    return None


def ratio(a, b):
    """Per round: what slows a round down affects both."""
    return statistics.median(x / y for x, y in zip(a, b))


def targets(cells, counted):
    theirs, ours = modes(cells)
    out = []
    if not theirs or not ours:
        return out
    for threads, least in ((1, 1.0), (2, 1.6)):
        for p in PATTERNS:
            value = ratio(rates(cells, p, ours, threads), rates(cells, p, theirs, threads))
            out.append(target(f"reset by {threads} thread{'s' if threads > 1 else ''}, {p}, "
                              "against as many with per-vCPU rings",
                              f"{value:.2f}×", f"≥ {least:.2f}×", value >= least))
    for p in PATTERNS:
        base, value = (instructions(counted, p, m) for m in (theirs, ours))
        if base and value:
            out.append(target(
                f"instructions of a reset by 1 thread, {p}, against per-vCPU rings",
                f"{value / base:.2f}×", "≤ 1.00×", value <= base))
    return out


def label(mode):
    return "per-vCPU rings" if mode == "per-vcpu" else "pool"


def held(cells, pattern, mode):
    """How long one thread holds mmu_lock for write, in ns per page."""
    found = pick(cells, pattern, mode)
    if mode == "per-vcpu":
        return max(0.0, statistics.median(
            c["ns_1"] / c["pages_1"] - c["bare_ns"] / c["bare_pages"] for c in found))
    return 0.0


def tests(cells):
    """[(test, passed)]: was everything measured?"""
    out = []
    for p in PATTERNS:
        for mode in modes(cells):
            found = pick(cells, p, mode) if mode else []
            out.append((f"reset, {p}, {mode}: by one thread and by two",
                        bool(found) and all(c["pages_1"] == c["pages_2"] > 0 for c in found)))
            if p not in FAULT_PATTERNS:
                continue
            out.append((f"reset, {p}, {mode}: faults during a reset",
                        bool(found) and all(c[k + "_ns"] and c[f"idle_{k}_ns"]
                                            for c in found for k in FAULTS)))
    return out
