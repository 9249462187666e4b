# SPDX-License-Identifier: GPL-2.0
"""bench.json: from pool_bench's lines to medians, targets and conclusions."""
import glob
import os
import statistics

from data import files, modes
from data.summary import target

BASELINES = ("per-vcpu", "vm-spinlock", "vm-lockfree", "bitmap")
LABELS = {
    "per-vcpu": "ring per vCPU (upstream)",
    "vm-spinlock": "one ring, spinlock",
    "vm-lockfree": "one ring, lock-free",
    "bitmap": "bitmap",
    "bare loop": "a loop without memory",
}


def policies(data):
    """The policies that were measured, in order"""
    names = data["env"].get("policies")
    return tuple(names.split(",")) if names else modes.POLICIES


def main_policy(data):
    """The policy that stands for the pool where one is enough"""
    return data["env"].get("policy", modes.DEFAULT)


def nostop(data):
    return main_policy(data) + "+nostop"


def rivals(data):
    return BASELINES + policies(data)


def label(name):
    if name in LABELS:
        return LABELS[name]
    policy, _, flag = name.partition("+")
    return f"pool, {policy}" + (f", {flag.upper()}" if flag else "")


def instructions(folder):
    """Counted by callgrind: {"rival batch": instructions per page}"""
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
    env, found = {}, []
    for item in files.lines(lines):
        if item["q"] == "env":
            env = item
        else:
            found.append(item)
    if not env:
        raise SystemExit(f"{lines}: the benchmark did not finish")
    data = {"meta": files.meta(meta), "env": env, "instructions": instructions(counts),
            "cells": found}
    data["targets"] = targets(data)
    files.write(out, data)


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
    """Median and quartiles, which ignore the rounds that other work disturbed."""
    if not values_:
        return None
    return (med(values_), quantile(values_, 0.25), quantile(values_, 0.75))


def ratio(a, b):
    """Median of the ratios of single rounds"""
    return med([x / y for x, y in zip(a, b) if y])


def marks(data, rival, batch):
    return values(data, "ns", "mark", rival=rival, batch=batch)


def pair(data, rival, threads, batch=1):
    return values(data, "mpages", "pair", rival=rival, threads=threads, batch=batch)


def scale(data, rival, state, rings):
    return values(data, "ns", "scale", rival=rival, state=state, rings=rings)


def targets(data):
    """Ratios of one run.  What was not measured has none."""
    out = []
    pool = main_policy(data)

    def add(what, value, limit, least=False, unit="×"):
        out.append(target(what, f"{value:.2f}{unit}", f"{'≥' if least else '≤'} {limit:.2f}{unit}",
                          value >= limit if least else value <= limit))

    if marks(data, "per-vcpu", 1):
        for batch, limit in ((1, 1.1), (64, 1.0)):
            add(f"mark, batch {batch}, {pool}, against the per-vCPU ring",
                ratio(marks(data, pool, batch), marks(data, "per-vcpu", batch)), limit)
    if pair(data, pool, 2):
        add(f"the same, batch 1, by two threads on {data['env']['cpus']} CPUs",
            ratio(pair(data, "per-vcpu", 2), pair(data, pool, 2)), 1.1)
    eight = [values(data, "mpages", "threads", rival=r, threads=8, batch=1)
             for r in ("per-vcpu", pool)]
    if all(eight):
        add(f"the same, by 8 threads on {data['env']['cpus']} CPUs, drains included",
            ratio(*eight), 1.25)
    stops = [(cell(data, "drains", rival=pool, skew=c["skew"], period_ms=c["period_ms"]),
              cell(data, "drains", rival=nostop(data), skew=c["skew"], period_ms=c["period_ms"]),
              cell(data, "drains", rival="last-used+nostop", skew=c["skew"],
                   period_ms=c["period_ms"]), c)
             for c in cells(data, "drains", rival="per-vcpu", period_ms=20)]
    if stops and all(a and b for a, b, _, _ in stops):
        add(f"ring-full exits, {pool}, a drain every 20 ms, against per-vCPU rings, worst skew",
            max((a["exits"] / c["exits"] for a, _, _, c in stops if c["exits"]), default=0), 0.5)
        add(f"ring-full exits, {nostop(data)}, all skews", sum(b["exits"] for _, b, _, _ in stops),
            0, unit="")
        if all(last and last["parks"] for _, _, last, _ in stops):
            add(f"parks, {nostop(data)}, against last-used+nostop, worst skew",
                max(b["parks"] / last["parks"] for _, b, last, _ in stops), 0.25)
    worst = None
    for c in cells(data, "capacity", rival="per-vcpu", skew="one-hot"):
        here = cell(data, "capacity", rival=pool, skew="one-hot", vcpus=c["vcpus"])
        value = here["stop"] / c["stop"] / c["vcpus"]
        worst = value if worst is None else min(worst, value)
    if worst is not None:
        add("capacity when one vCPU of N dirties, times N of the per-vCPU ring's, worst N",
            worst, 0.9, True)
    rings = sorted({c["rings"] for c in cells(data, "scale")})
    if len(rings) > 2:
        top = rings[-1]
        for policy in policies(data):
            add(f"claim, {policy}, {top} rings against 2, all FREE",
                ratio(scale(data, policy, "free", top), scale(data, policy, "free", 2)), 1.2)
        worst = max(ratio(scale(data, p, "one free", top), scale(data, p, "one free", 2))
                    for p in policies(data))
        add(f"claim, {top} rings against 2, all parked but one, worst policy "
            "(a scan of all rings: the ratio of rings)", worst, 4)
        worst = max(ratio(scale(data, p, "one reserve", top),
                          scale(data, p, "one reserve", 2)) for p in policies(data))
        add(f"first claim of a reserve, {top} rings against 2, all reserves full but one", worst, 4)
    return out


def winners(data):
    """For the conclusions: (workload, measure, unit, {policy: value}, value of the
    per-vCPU ring, is smaller better)"""
    out = []

    def add(workload, measure, unit, get, small=True):
        got = {p: get(p) for p in policies(data)}
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

    add("one page at a time, one vCPU", "cost of a mark", "ns", one("ns", "mark", batch=1))
    add("PML, one vCPU", "cost of a mark, batch 64", "ns", one("ns", "mark", batch=64))
    add("two busy vCPUs", "throughput", "Mpages/s",
        one("mpages", "pair", threads=2, batch=1), False)
    for threads in (8, 64):
        add(f"{threads} vCPUs on few CPUs", "throughput, drains included", "Mpages/s",
            one("mpages", "threads", threads=threads, batch=1), False)
    add("a device makes 20 % of the marks", "cost of a vCPU's mark", "ns",
        one("ns", "device", share=0.2))
    for skew in ("one-hot", "zipf 1.2", "uniform"):
        add(f"{skew}, 16 vCPUs, no drains", "pages until a vCPU must stop", "",
            plain(lambda c: c["stop"], "capacity", skew=skew, vcpus=16), False)
        add(f"{skew}, reaper every 20 ms", "time that vCPUs stood still", "ms/s",
            plain(lambda c: c["still_ms"] / c["seconds"], "drains", skew=skew, period_ms=20))
    add("uniform, reaper every 20 ms", "rings parked in the same ms, at most", "",
        plain(lambda c: c["herd"], "drains", skew="uniform", period_ms=20))
    add("uniform, drained in parallel", "all entries / the longest ring's", "",
        plain(lambda c: c["harvested"] / max(c["longest"], 1), "drains", skew="uniform",
              period_ms=20), False)
    add("1024 rings, all parked but one", "cost of a claim", "ns",
        one("ns", "scale", state="one free", rings=1024))
    return out


def best(row):
    """The policies within 2 % of the best"""
    _, _, _, got, _, small = row
    top = min(got.values()) if small else max(got.values())
    return [p for p, v in got.items()
            if (v <= top * 1.02 if small else v >= top * 0.98)]


def ranking(data):
    """Policies by the number of workloads in which they are best"""
    wins = {p: 0 for p in policies(data)}
    rows = winners(data)
    for row in rows:
        for p in best(row):
            wins[p] += 1
    return sorted(wins.items(), key=lambda w: -w[1]), len(rows)


def tests(data):
    """[(test, passed)]: is everything there, and plausible?  Speed is not tested."""
    out = [("no upstream ring overflowed, each claim ended as intended",
            data["env"]["warnings"] == 0)]
    for q in ("mark", "parts", "line", "pair", "threads", "capacity", "drains", "twin", "device",
              "scale", "memory"):
        found = cells(data, q)
        out.append((f"{q}: measured", bool(found)))
        for c in found:
            for key, v in c.items():
                # A busy machine may leave some of many threads without a turn
                if isinstance(v, list) and key == "ns" and not min(v) > 0:
                    out.append((f"{q}, {c.get('rival', '')}: {key} above 0", False))
    for c in cells(data, "capacity"):
        if c["rival"] in policies(data):
            full = c["vcpus"] * (c["entries"] - c["rsvd"])
            out.append((f"capacity, {c['rival']}, {c['skew']}, {c['vcpus']} vCPUs: all "
                        "rings are filled before one must stop", c["stop"] > full - 1))
    for c in cells(data, "drains"):
        if c["rival"] in policies(data):
            out.append((f"drains, {c['rival']}, {c['skew']}, {c['period_ms']} ms: the pages "
                        "are marked and harvested", c["harvested"] > 0.3 * c["marked"]))
    return out
