# SPDX-License-Identifier: GPL-2.0
"""reset.json: what dirty_pool_bench's workload "reset" found, targets, text."""
import os
import statistics

import rundata
import table

FAULTS = {
    "protected": "write-protected",
    "unmapped": "unmapped",
}
PATTERNS = {
    "sequential": "a page and then the next: with per-vCPU rings, 64 of them to a run",
    "strided": "each 16th page: with per-vCPU rings, four of them to a run",
    "random": "any order: hardly ever two neighbours",
    "scattered": "any order, a tenth of the pages of a region of 32,768 for each vCPU",
}
# Those in which faults are timed, too
FAULT_PATTERNS = ("sequential", "strided", "random")


def read_lines(path):
    return [c for c in rundata.json_lines(path) if c.get("type") == "reset"]


def collect(lines, counted, out, *meta):
    env, _ = rundata.read_lines(lines)
    cells = read_lines(lines)
    counted = read_lines(counted) if os.path.exists(counted) else []
    data = {"meta": dict(m.split("=", 1) for m in meta), "env": env, "reset": cells,
            "counted": counted,
            "targets": [dict(zip(("target", "value", "limit", "met"), t))
                        for t in targets(cells, counted)]}
    rundata.write_json(out, data)


def modes(cells):
    """(upstream's mode, the pool's)"""
    names = {c["tracker"]: c["mode"] for c in cells}
    return names.get("per-vcpu"), names.get("pool")


def pick(cells, pattern, mode):
    return [c for c in cells if c["pattern"] == pattern and c["mode"] == mode]


def rates(cells, pattern, mode, threads):
    """Pages per millisecond, a value per round."""
    return [c[f"pages_{threads}"] * 1e6 / c[f"ns_{threads}"]
            for c in pick(cells, pattern, mode)]


def faults(cells, pattern, mode, kind, idle=False):
    """All samples in µs, sorted; while no reset runs if idle."""
    name = ("idle_" if idle else "") + kind + "_ns"
    return sorted(ns / 1000 for c in pick(cells, pattern, mode) for ns in c[name])


def quantile(values, share):
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def instructions(counted, pattern, mode):
    """A page's, by one thread; None if they were not counted.  No round differs."""
    for c in pick(counted, pattern, mode):
        return c["ns_1"] / c["pages_1"]
    return None


def ratio(a, b):
    """Round by round: what slows down a round slows down both."""
    return statistics.median(x / y for x, y in zip(a, b))


def targets(cells, counted):
    """(what, value, limit, met)"""
    theirs, ours = modes(cells)
    out = []
    if not theirs or not ours:
        return out
    for threads, least in ((1, 1.0), (2, 1.6)):
        for p in PATTERNS:
            value = ratio(rates(cells, p, ours, threads), rates(cells, p, theirs, threads))
            out.append((f"reset by {threads} thread{'s' if threads > 1 else ''}, {p}, "
                        "against as many with per-vCPU rings",
                        f"{value:.2f}×", f"≥ {least:.2f}×", value >= least))
    for p in PATTERNS:
        base, value = (instructions(counted, p, m) for m in (theirs, ours))
        if base and value:
            out.append((f"instructions of a reset by 1 thread, {p}, against per-vCPU rings",
                        f"{value / base:.2f}×", "≤ 1.00×", value <= base))
    for kind, name in FAULTS.items():
        for p in FAULT_PATTERNS:
            least = quantile(faults(cells, p, theirs, kind), 0.99)
            value = quantile(faults(cells, p, ours, kind), 0.99) / least
            # What is left if the reset costs the fault nothing
            floor = quantile(faults(cells, p, ours, kind, idle=True), 0.99) / least
            out.append((f"99th percentile of a write to a page that is {name}, {p}, against "
                        "per-vCPU rings",
                        f"{value:.2f}× (no reset at all: {floor:.2f}×)", "≤ 0.50×", value <= 0.5))
    return out


def label(mode):
    return "per-vCPU rings" if mode == "per-vcpu" else "pool"


def held(cells, pattern, mode):
    """How long mmu_lock is held for write, in ns per page, by one thread."""
    found = pick(cells, pattern, mode)
    if mode == "per-vcpu":
        return max(0.0, statistics.median(
            c["ns_1"] / c["pages_1"] - c["bare_ns"] / c["bare_pages"] for c in found))
    return 0.0


def rows(cells, counted):
    """Heading, and a row for each pattern and mode."""
    out = [["order", "rings", "1 thread", "2 threads", "2 : 1", "write locks", "held for",
            "instructions"]]
    for p in PATTERNS:
        for mode in modes(cells):
            one, two = (rates(cells, p, mode, n) for n in (1, 2))
            found = pick(cells, p, mode)
            pages = found[0]["bare_pages"]
            time = held(cells, p, mode)
            work = instructions(counted, p, mode)
            out.append([p, label(mode), f"{statistics.median(one):.0f} pages/ms",
                        f"{statistics.median(two):.0f} pages/ms", f"{ratio(two, one):.2f}",
                        str(found[0]["write_locks"]),
                        f"{time * pages / 1e6:.1f} ms" if time else "nothing",
                        f"{work:.0f} a page" if work else "-"])
    return out


def fault_rows(cells):
    """The same of the faults; each figure while no reset runs, and while one does."""
    out = [["page is", "order", "rings", "faults", "no reset: median", "99 %", "longest",
            "reset: median", "99 %", "longest"]]
    for kind, name in FAULTS.items():
        for p in FAULT_PATTERNS:
            for mode in modes(cells):
                idle, slow = (faults(cells, p, mode, kind, i) for i in (True, False))
                out.append([name, p, label(mode), f"{len(idle)}, {len(slow)}"] +
                           [f"{quantile(v, share):.0f} µs" for v in (idle, slow)
                            for share in (0.5, 0.99, 1.0)])
    return out


def text(data):
    cells = data["reset"]
    if not all(modes(cells)):
        return "reset: measured for one kind of rings only, nothing to compare"
    lines = ["", "reset: 2 vCPUs, a ring each; write locks: mmu_lock, all pages by one thread"]
    lines += ["  " + r for r in table.aligned(rows(cells, data["counted"]), {0, 1})]
    lines += ["", "a guest's write fault on one CPU, while the other resets and while it does not"]
    lines += ["  " + r for r in table.aligned(fault_rows(cells), {0, 1, 2})]
    met = sum(t["met"] for t in data["targets"])
    lines += ["", f"targets of the reset: {met} of {len(data['targets'])} met"]
    lines += ["  " + r for r in table.aligned(
        [[t["target"], t["value"], t["limit"], "met" if t["met"] else "NOT MET"]
         for t in data["targets"]], {0})]
    return "\n".join(lines)


def check(cells):
    """Tests as (name, ok): was everything measured?"""
    out = []
    for p in PATTERNS:
        for mode in modes(cells):
            found = pick(cells, p, mode) if mode else []
            out.append((f"reset, {p}, {mode}: by one thread and by two",
                        bool(found) and all(c["pages_1"] == c["pages_2"] > 0 for c in found)))
            if p not in FAULT_PATTERNS:
                continue
            out.append((f"reset, {p}, {mode}: faults meanwhile",
                        bool(found) and all(c[k + "_ns"] and c[f"idle_{k}_ns"]
                                            for c in found for k in FAULTS)))
    return out
