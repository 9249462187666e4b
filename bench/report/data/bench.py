# SPDX-License-Identifier: GPL-2.0
"""bench.json: from the lines that pool_bench wrote, to medians, targets and
conclusions."""
import glob
import os
import statistics

import rundata

POLICIES = ("last-used", "round-robin", "lru", "mru")
RIVALS = ("per-vcpu", "vm-spinlock", "vm-lockfree", "bitmap") + POLICIES
LABELS = {
    "per-vcpu": "ring per vCPU (upstream)",
    "vm-spinlock": "one ring, spinlock",
    "vm-lockfree": "one ring, lock-free",
    "bitmap": "bitmap",
    "bare loop": "a loop without memory",
}


def label(name):
    if name in LABELS:
        return LABELS[name]
    policy, _, flag = name.partition("+")
    return f"pool, {policy}" + (f", {flag.upper()}" if flag else "")


def instructions(folder):
    """What callgrind counted: {"rival batch": instructions a page}."""
    found = {}
    for path in glob.glob(os.path.join(folder, "callgrind.out.*")):
        name, total = None, None
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.startswith("desc: Trigger: Client Request: "):
                    name = line.split(": ", 3)[3].strip()
                elif line.startswith(("totals:", "summary:")):
                    total = int(line.split()[1])
        if name and total is not None:
            what, count = name.rsplit(" ", 1)
            found.setdefault(what, []).append(total / int(count))
    return {k: statistics.median(v) for k, v in sorted(found.items())}


def collect(lines, out, counts, *meta):
    env, cells = {}, []
    for item in rundata.json_lines(lines):
        if item["q"] == "env":
            env = item
        else:
            cells.append(item)
    if not env:
        raise SystemExit(f"{lines}: the benchmark did not get to its end")
    data = {"meta": dict(m.split("=", 1) for m in meta), "env": env,
            "instructions": instructions(counts), "cells": cells}
    data["targets"] = [dict(zip(("target", "value", "limit", "met"), t))
                       for t in targets(data)]
    rundata.write_json(out, data)


def cells(data, q, **match):
    return [c for c in data["cells"] if c["q"] == q and
            all(c.get(k) == v for k, v in match.items())]


def cell(data, q, **match):
    found = cells(data, q, **match)
    return found[0] if found else None


def values(data, key, q, **match):
    c = cell(data, q, **match)
    return c[key] if c else []


def quantile(values_, share):
    ordered = sorted(values_)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def med(values_):
    return statistics.median(values_) if values_ else 0.0


def spread(values_):
    """Median and quartiles: rounds that a neighbour disturbed stay out."""
    if not values_:
        return None
    return (med(values_), quantile(values_, 0.25), quantile(values_, 0.75))


def ratio(a, b):
    """Of what was measured in the same rounds."""
    return med([x / y for x, y in zip(a, b) if y])


def marks(data, rival, batch):
    return values(data, "ns", "mark", rival=rival, batch=batch)


def pair(data, rival, threads, batch=1):
    return values(data, "mpages", "pair", rival=rival, threads=threads, batch=batch)


def scale(data, rival, state, rings):
    return values(data, "ns", "scale", rival=rival, state=state, rings=rings)


def targets(data):
    """(what, value, limit, met), each a ratio of one run."""
    out = []

    def add(what, value, limit, least=False, unit="×"):
        met = value >= limit if least else value <= limit
        sign = "≥" if least else "≤"
        out.append((what, f"{value:.2f}{unit}", f"{sign} {limit:.2f}{unit}", met))

    base = marks(data, "per-vcpu", 1)
    cas = values(data, "ns", "cas", undo=0)
    if base and cas:
        ours = marks(data, "last-used", 1)
        allowed = med([b + 1.2 * c for b, c in zip(base, cas)])
        add(f"mark, batch 1, last-used: the per-vCPU ring's {med(base):.2f} ns + 1.2 × "
            f"one compare-and-swap ({med(cas):.2f} ns)", med(ours), allowed, unit=" ns")
        for batch in (64, 512):
            add(f"mark, batch {batch}, last-used, against the per-vCPU ring",
                ratio(marks(data, "last-used", batch), marks(data, "per-vcpu", batch)), 1.0)
    two = pair(data, "last-used", 2)
    if two:
        base, bare = (ratio(pair(data, r, 2), pair(data, r, 1)) for r in ("per-vcpu", "bare loop"))
        add("2 threads on 2 CPUs, last-used, batch 1, against one thread (the per-vCPU ring, which "
            f"shares nothing: {base:.2f}×; a loop without memory: {bare:.2f}×)",
            ratio(two, pair(data, "last-used", 1)), 1.9, True)
        add("… against one ring under a spinlock",
            ratio(two, pair(data, "vm-spinlock", 2)), 4, True)
        add("… against one lock-free ring",
            ratio(two, pair(data, "vm-lockfree", 2)), 2, True)
    worst = None
    for c in cells(data, "capacity", rival="per-vcpu", skew="one-hot"):
        pool = cell(data, "capacity", rival="last-used", skew="one-hot", vcpus=c["vcpus"])
        value = pool["stop"] / c["stop"] / c["vcpus"]
        worst = value if worst is None else min(worst, value)
    if worst is not None:
        add("capacity when one vCPU of N dirties, times N of the per-vCPU ring's, worst N",
            worst, 0.9, True)
    rings = sorted({c["rings"] for c in cells(data, "scale")})
    if len(rings) > 2:
        top = rings[-1]
        for policy in POLICIES:
            add(f"claim, {policy}, {top} rings against 2, all FREE",
                ratio(scale(data, policy, "free", top), scale(data, policy, "free", 2)), 1.2)
        worst = max(ratio(scale(data, p, "one free", top), scale(data, p, "one free", 2))
                    for p in POLICIES)
        add(f"claim, {top} rings against 2, all parked but one, worst policy "
            "(a scan of all rings: the ratio of rings)", worst, 4)
        worst = max(ratio(scale(data, p, "one reserve", top),
                          scale(data, p, "one reserve", 2)) for p in POLICIES)
        add(f"first claim of a reserve, {top} rings against 2, all reserves full but one", worst, 4)
    return out


def winners(data):
    """(workload, measure, unit, {policy: value}, the per-vCPU ring's, smaller
    is better) for the conclusions."""
    out = []

    def add(workload, measure, unit, get, small=True):
        got = {p: get(p) for p in POLICIES}
        if all(v is not None for v in got.values()):
            out.append((workload, measure, unit, got, get("per-vcpu"), small))

    def one(key, q, **match):
        def get(rival):
            v = values(data, key, q, rival=rival, **match)
            return med(v) if v else None
        return get

    def plain(fn, q, **match):
        def get(rival):
            c = cell(data, q, rival=rival, **match)
            return fn(c) if c else None
        return get

    add("a page at a time, one vCPU", "cost of a mark", "ns", one("ns", "mark", batch=1))
    add("PML, one vCPU", "cost of a mark, batch 64", "ns", one("ns", "mark", batch=64))
    add("two busy vCPUs", "throughput", "Mpages/s",
        one("mpages", "pair", threads=2, batch=1), False)
    for threads in (8, 64):
        add(f"{threads} vCPUs on few CPUs", "throughput, drains included", "Mpages/s",
            one("mpages", "threads", threads=threads, batch=1), False)
    add("a device makes 20 % of the marks", "cost of a vCPU's mark", "ns",
        one("ns", "device", share=0.2))
    for skew in ("one-hot", "zipf 1.2", "uniform"):
        add(f"{skew}, 16 vCPUs, nobody drains", "pages until a vCPU must stop", "",
            plain(lambda c: c["stop"], "capacity", skew=skew, vcpus=16), False)
        add(f"{skew}, reaper each 20 ms", "time stood still", "ms/s",
            plain(lambda c: c["still_ms"] / c["seconds"], "drains", skew=skew, period_ms=20))
    add("uniform, reaper each 20 ms", "rings parked in the same ms, at most", "",
        plain(lambda c: c["herd"], "drains", skew="uniform", period_ms=20))
    add("uniform, drained in parallel", "all entries / the longest ring's", "",
        plain(lambda c: c["harvested"] / max(c["longest"], 1), "drains", skew="uniform",
              period_ms=20), False)
    add("1024 rings, all parked but one", "cost of a claim", "ns",
        one("ns", "scale", state="one free", rings=1024))
    return out


def best(row):
    """The policies that are within 2 % of the best."""
    _, _, _, got, _, small = row
    top = min(got.values()) if small else max(got.values())
    return [p for p, v in got.items()
            if (v <= top * 1.02 if small else v >= top * 0.98)]


def ranking(data):
    """Policies by the number of workloads that they are best at."""
    wins = {p: 0 for p in POLICIES}
    rows = winners(data)
    for row in rows:
        for p in best(row):
            wins[p] += 1
    return sorted(wins.items(), key=lambda w: -w[1]), len(rows)


def text(data):
    """For a terminal."""
    lines = ["", "targets (ratios of one run)"]
    for t in data["targets"]:
        lines.append(f"  {'met    ' if t['met'] else 'NOT MET'}  {t['value']:>9}  "
                     f"{t['limit']:>9}  {t['target']}")
    lines += ["", "ns a page, one thread (times the per-vCPU ring)"]
    batches = sorted({c["batch"] for c in cells(data, "mark")})
    head = "".join(f"{'batch ' + str(b):>16}" for b in batches)
    lines.append(f"  {'':26}{head}")
    for r in RIVALS:
        if not marks(data, r, 1):
            continue
        row = "".join(f"{med(marks(data, r, b)):>8.2f} "
                      f"({ratio(marks(data, r, b), marks(data, 'per-vcpu', b)):4.2f}×)"
                      for b in batches)
        lines.append(f"  {label(r):26}{row}")
    order, of = ranking(data)
    lines += ["", "best policy, by workload"]
    for row in winners(data):
        workload, measure, unit, got, base, _ = row
        win = best(row)
        against = f", {got[win[0]] / base:.2f} of the per-vCPU ring's" if base else ""
        lines.append(f"  {workload}: {', '.join(win)} "
                     f"({measure} {got[win[0]]:.5g}{' ' + unit if unit else ''}{against})")
    lines.append("  best of all: " + ", ".join(f"{p} {n} of {of}" for p, n in order))
    e = data["env"]
    lines += ["", f"{e['slices']} slices, of which {e['disturbed']} were disturbed and "
              f"repeated; {e['seconds']:.0f} s"]
    return "\n".join(lines)


def compare(path_a, path_b):
    """Two machines, or two commits."""
    a, b = rundata.load(path_a), rundata.load(path_b)
    name_a, name_b = (x["meta"].get("name") or os.path.basename(p)
                      for x, p in ((a, path_a), (b, path_b)))
    lines = []
    for name, d in ((name_a, a), (name_b, b)):
        m = d["meta"]
        lines.append(f"{name}: {m.get('host', '?')}, commit {m.get('commit', '?')}, {m.get('date', '?')}")

    def row(what, x, y, note=""):
        change = f"{y / x:8.2f}" if x else "       -"
        lines.append(f"  {what:44} {x:10.2f} {y:10.2f} {change}{note}")

    lines.append(f"\n  {'':44} {name_a[:10]:>10} {name_b[:10]:>10}    B / A")
    row("compare-and-swap, ns", med(values(a, "ns", "cas", undo=0)),
        med(values(b, "ns", "cas", undo=0)))
    for r in RIVALS:
        for batch in (1, 64):
            row(f"mark, {label(r)}, batch {batch}, ns", med(marks(a, r, batch)),
                med(marks(b, r, batch)))
    for r in RIVALS:
        for threads in (1, 2):
            row(f"{threads} thread{'s' * (threads > 1)}, {label(r)}, Mpages/s",
                med(pair(a, r, threads)), med(pair(b, r, threads)))
    for p in POLICIES:
        for state in ("free", "one free", "one reserve"):
            row(f"claim, 1024 rings, {state}, {p}, ns", med(scale(a, p, state, 1024)),
                med(scale(b, p, state, 1024)))
    for key in sorted(set(a["instructions"]) & set(b["instructions"])):
        x, y = a["instructions"][key], b["instructions"][key]
        if abs(x - y) > 0.05:
            row(f"instructions, {key}", x, y)
    lines.append("\n  targets")
    for x, y in zip(a["targets"], b["targets"]):
        lines.append(f"  {x['value']:>10} {y['value']:>10}  {y['limit']:>9}  "
                     f"{'met' if x['met'] else 'not met'} → "
                     f"{'met' if y['met'] else 'not met'}  {y['target']}")
    print("\n".join(lines))


def check(path):
    """TAP: is everything there, and sane?  No speed is asked for."""
    data = rundata.load(path)
    tests = [("no ring of upstream's overflowed, each claim ended as meant",
              data["env"]["warnings"] == 0)]
    for q in ("mark", "parts", "pair", "threads", "capacity", "drains", "twin", "device",
              "scale", "memory"):
        found = cells(data, q)
        tests.append((f"{q}: measured", bool(found)))
        for c in found:
            for key, v in c.items():
                # A busy machine may leave some of many threads without a turn
                if isinstance(v, list) and key == "ns" and not min(v) > 0:
                    tests.append((f"{q}, {c['rival']}: {key} above 0", False))
    for c in cells(data, "capacity"):
        if c["rival"] in POLICIES:
            full = c["vcpus"] * (c["entries"] - c["rsvd"])
            tests.append((f"capacity, {c['rival']}, {c['skew']}, {c['vcpus']} vCPUs: all "
                          "rings are filled before one must stop", c["stop"] > full - 1))
    for c in cells(data, "drains"):
        if c["rival"] in POLICIES:
            tests.append((f"drains, {c['rival']}, {c['skew']}, {c['period_ms']} ms: the pages "
                          "are marked and harvested", c["harvested"] > 0.3 * c["marked"]))
    for i, (name, ok) in enumerate(tests, 1):
        print(f"{'ok' if ok else 'not ok'} {i} {name}")
    print(f"1..{len(tests)}")
    raise SystemExit(0 if all(ok for _, ok in tests) else 1)
