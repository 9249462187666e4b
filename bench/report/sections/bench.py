# SPDX-License-Identifier: GPL-2.0
"""bench.json: the benchmark in userspace."""
from data import bench as bd
from markup import chart
from markup.page import esc, facts, table, targets
from markup.text import number, plural, target

SOURCE = "bench.json"
ORDER = 20
TITLE = "What a mark costs, and which ring selection"

SKEWS = ("uniform", "zipf 0.9", "zipf 1.2", "one-hot")


def percent(part):
    return "< 0.01 %" if 0 < part < 1e-4 else f"{100 * part:.2g} %"


def lines(title, panels, names, unit, x_label, height=280):
    labels = {n: bd.label(n) for n in names}
    return chart.figure(title, panels, names, "lines", unit, x_label, labels, height=height)


def bars(title, panels, names, unit, x_label, height=280):
    labels = {n: bd.label(n) for n in names}
    return chart.figure(title, panels, names, "bars", unit, x_label, labels, height=height)


def point(value):
    return None if value is None else (value, value, value)


def present(data, q, names):
    return [n for n in names if bd.cell(data, q, rival=n)]


def conclusions(data):
    rows = []
    for row in bd.winners(data):
        workload, measure, unit, got, base, small = row
        win = bd.best(row)
        worst = max(got.values()) if small else min(got.values())
        value = got[win[0]]
        if set(win) == set(got):
            names = "any"
        else:
            names = ", ".join(win)
        rows.append([workload, measure, names, number(value, unit),
                     number(worst, unit) if names != "any" else "",
                     f"{value / base:.2f}×" if base else ""])
    order, of = bd.ranking(data)
    first, wins = order[0]
    said = [f"<p><b>{esc(first)}</b> is best, or within 2 % of the best, in {wins} of {of} "
            f"comparisons ({', '.join(f'{p} in {n}' for p, n in order[1:])})."]
    for p in bd.policies(data):
        if p == first:
            continue
        only = [r for r in bd.winners(data) if p in bd.best(r) and first not in bd.best(r)]
        if not only:
            said.append(f" {esc(p)} beats it nowhere.")
            continue
        parts = []
        for r in only:
            a, b = r[3][p], r[3][first]
            share = f" ({a / b:.2f}×)" if b else ""
            parts.append(f"{r[0]}: {r[1]} {number(a, r[2])} instead of {number(b, r[2])}{share}")
        said.append(f" {esc(p)} beats it at: {esc('; '.join(parts))}.")
    return (f"<h3>Which policy for which workload</h3>{''.join(said)}</p>" +
            table(["workload", "measure", "best policy", "its figure", "the worst policy's",
                   "best, times the per-vCPU ring"], rows, 3))


def mark(data, figure):
    batches = sorted({c["batch"] for c in bd.cells(data, "mark")})
    names = present(data, "mark", bd.rivals(data))
    series = {n: [bd.spread(bd.marks(data, n, b)) for b in batches] for n in names}
    rows = []
    for n in names:
        row = [bd.label(n)]
        for b in batches:
            v = bd.marks(data, n, b)
            m, low, high = bd.spread(v)
            times = bd.ratio(v, bd.marks(data, "per-vcpu", b))
            row.append(f"{m:.2f} ({low:.2f}..{high:.2f}) {times:.2f}×")
        for b in batches:
            count = data["instructions"].get(f"{n} {b}")
            row.append(f"{count:.1f}" if count else "-")
        rows.append(row)
    parts = []
    for p in bd.policies(data):
        c = bd.cell(data, "parts", rival=p)
        if not c:
            continue
        row = [bd.label(p)] + [f"{bd.med(c[k]):.1f}" for k in ("claim", "push", "return")]
        for k in ("claim", "push", "return"):
            count = data["instructions"].get(f"{p} {k}")
            row.append(f"{count:.0f}" if count else "-")
        parts.append(row)
    cas = [bd.med(bd.values(data, "ns", "cas", undo=u)) for u in (0, 1)]
    return (
        "<h3>1. The cost of a mark</h3>" +
        figure("bench-mark", bars("ns per page marked, one thread", [("", [f"batch {b}" for b in batches], series)],
                                  names, "ns per page", "pages per claim (pool), per reservation, per lock"),
               "One thread marks pages of a 1 GiB slot in random order, into rings of 4096 entries. "
               "Batch: pages at once, as PML logs them; the pool claims for 64 at most. Median and "
               "quartiles. The drains in between are not counted.") +
        table(["ns a page: median (quartiles), times the per-vCPU ring"] +
              [f"batch {b}" for b in batches] + [f"instructions, batch {b}" for b in batches], rows) +
        f"<p>One uncontended locked compare-and-swap took {cas[0]:.2f} ns in the same run, "
        f"{cas[1]:.2f} ns with the store that undoes it. In a claim it also waits for the stores "
        "before it, those of the last entry among them.</p>"
        "<h4>Claim, push and return apart</h4>" +
        table(["", "claim, ns", "push, ns", "return, ns", "claim, instructions", "push", "return"],
              parts) +
        "<p class='sub'>128 users claim a ring each, then all push, then all return: the parts "
        "do not overlap as they do in a mark, and sum up to something else.</p>")


def contention(data, figure):
    names = present(data, "pair", bd.rivals(data))
    panels = []
    for b in (1, 64):
        panels.append((f"batch {b}", ["1 thread", "2 threads"], {
            n: [bd.spread(bd.pair(data, n, t, b)) for t in (1, 2)] for n in names}))
    rows = []
    for n in present(data, "pair", bd.rivals(data) + ("bare loop",)):
        row = [bd.label(n)]
        for b in (1, 64):
            one, two = bd.pair(data, n, 1, b), bd.pair(data, n, 2, b)
            row += [f"{bd.med(one):.0f}", f"{bd.med(two):.0f}", f"{bd.ratio(two, one):.2f}×",
                    f"{bd.ratio(two, bd.pair(data, 'per-vcpu', 2, b)):.2f}×"]
        rows.append(row)
    out = ["<h3>2. Contention</h3>",
           figure("bench-pair", bars("Pages marked per second, a CPU for each thread", panels,
                                     names, "Mpages/s", ""),
                  "Marking only, in a VM of two vCPUs. In slices of some ten µs one thread marks, both, "
                  "the other one, both; all stop when one is done, and the rings are drained while "
                  "the clock stands, by either CPU in turn. No ring is full."),
           table(["Mpages/s"] + [f"{t}, batch {b}" for b in (1, 64)
                                 for t in ("1 thread", "2 threads", "2 to 1", "2, times per-vCPU")],
                 rows)]
    threads = sorted({c["threads"] for c in bd.cells(data, "threads")})
    names = present(data, "threads", bd.rivals(data) + (bd.nostop(data),))
    panels = [(f"batch {b}", [str(t) for t in threads], {
        n: [bd.spread(bd.values(data, "mpages", "threads", rival=n, threads=t, batch=b))
            for t in threads] for n in names if n != "bitmap"}) for b in (1, 64)]
    out.append(figure(
        "bench-threads", lines("Pages marked and drained per second", panels,
                               [n for n in names if n != "bitmap"], "Mpages/s", "threads"),
        f"As many threads as vCPUs, on {data['env']['cpus']} CPUs, for tens of milliseconds; the "
        "thread whose ring is full drains all rings under a lock, as QEMU's do. With more threads "
        "than CPUs a thread can lose its CPU anywhere: under the spinlock all others wait for it, "
        "with a claimed ring nobody does. In the kernel preemption is off there, but a virtual "
        "CPU of the host can be stopped all the same. The bitmap, which never drains here, is in "
        "the table."))
    rows = []
    for n in names:
        row = [bd.label(n)]
        for t in threads:
            v, base = (bd.values(data, "mpages", "threads", rival=r, threads=t, batch=1)
                       for r in (n, "per-vcpu"))
            m, low, high = bd.spread(v)
            row.append(f"{m:.0f} ({low:.0f}..{high:.0f}) {bd.ratio(v, base):.2f}×")
        rows.append(row)
    out.append(table(["Mpages/s, batch 1: median (quartiles), times the per-vCPU ring"] +
                     [plural(t, "thread") for t in threads], rows))
    rows = []
    for n in names:
        if n in bd.BASELINES:
            continue
        row = [bd.label(n)]
        for t in threads:
            c = bd.cell(data, "threads", rival=n, threads=t, batch=1)
            rate = bd.med(c["mpages"])
            row.append(", ".join([f"{rate:.0f}"] +
                                 [percent(bd.med(c[k])) for k in ("retries", "moves")]))
        rows.append(row)
    out.append(table(["million claims/s, retries and moves per 100 claims; batch 1"] +
                     [plural(t, "thread") for t in threads], rows))
    return "".join(out)


def capacity(data, figure):
    vcpus = sorted({c["vcpus"] for c in bd.cells(data, "capacity")})
    names = present(data, "capacity", ("per-vcpu", "vm-lockfree") + bd.policies(data))
    panels, rows = [], []
    for skew in SKEWS:
        series = {}
        for n in names:
            at = []
            for v in vcpus:
                c = bd.cell(data, "capacity", rival=n, skew=skew, vcpus=v)
                at.append(point(100 * c["stop"] / (v * c["entries"])))
            series[n] = at
        panels.append((skew, [str(v) if i % 2 == 0 else "" for i, v in enumerate(vcpus)], series))
        for n in names:
            row = [skew if n == names[0] else "", bd.label(n)]
            for v in vcpus:
                c = bd.cell(data, "capacity", rival=n, skew=skew, vcpus=v)
                base = bd.cell(data, "capacity", rival="per-vcpu", skew=skew, vcpus=v)
                row.append(f"{c['stop']:,}" if n == "per-vcpu" else f"{c['stop'] / base['stop']:.1f}×")
            rows.append(row)
    first = bd.cell(data, "capacity", rival=bd.main_policy(data), skew="one-hot",
                    vcpus=vcpus[-1])
    return ("<h3>3. Capacity under skew</h3>" +
            figure("bench-capacity", lines("Ring memory used when the first vCPU must stop", panels, names,
                                           "% of all entries", "vCPUs"),
                   f"Nobody drains. Rings of {first['entries']} entries, of which "
                   f"{first['rsvd']} are the reserve; the memory is the same in all. Simulated with "
                   "the real code, no clock: the numbers are the same on every machine. The policies "
                   "cover each other: each of them fills all rings.") +
            "<p>Pages until a vCPU must stop; for the others, times that. Without NOSTOP, a vCPU of "
            "the pool also exits once for each ring that it parks, for the first time after "
            f"{first['exit']:,} pages if one vCPU of {vcpus[-1]} does all the writing, and goes on.</p>" +
            table(["dirtied by", ""] + [str(v) for v in vcpus], rows, 2))


def drains(data, figure):
    every = bd.cells(data, "drains")
    periods = sorted({c["period_ms"] for c in every})
    names = present(data, "drains", ("per-vcpu", "vm-lockfree") + bd.policies(data) +
                    tuple(p + "+nostop" for p in bd.policies(data)))

    def panels(fn):
        return [(s, [f"{p:g}" for p in periods], {
            n: [point(fn(bd.cell(data, "drains", rival=n, skew=s, period_ms=p)))
                for p in periods] for n in names}) for s in SKEWS]

    rows = []
    for s in SKEWS:
        for n in names:
            row = [s if n == names[0] else "", bd.label(n)]
            for p in periods:
                c = bd.cell(data, "drains", rival=n, skew=s, period_ms=p)
                base = bd.cell(data, "drains", rival="per-vcpu", skew=s, period_ms=p)["exits"]
                times = f" ({c['exits'] / base:.2f}×)" if base and n != "per-vcpu" else ""
                row.append(f"{c['exits'] / c['seconds']:.0f} exits{times}, {c['still_ms'] / c['seconds']:.1f} ms, "
                           f"{c['herd']} ({c['herd_mean']:.1f}), "
                           f"{c['harvested'] / max(c['longest'], 1):.1f}")
            rows.append(row)
    c = every[0]
    return ("<h3>4. Drains</h3>" +
            figure("bench-still", bars("Time that vCPUs stood still", panels(
                lambda c: c["still_ms"] / c["seconds"]), names, "ms per second, all vCPUs",
                "a reaper harvests every ... ms"),
                   f"{c['vcpus']} vCPUs, rings of {c['entries']} entries, together one page each µs. A "
                   "harvest takes 20 µs and 0.05 µs an entry, under a lock; a vCPU that exits for a "
                   "full ring does one itself, and a reaper does so in the given period. Simulated, no "
                   "clock.") +
            figure("bench-herd", bars("Rings that park in the same millisecond, at most", panels(
                lambda c: c["herd"]), names, "rings", "a reaper harvests every ... ms"),
                   "Herds make vCPUs wait for each other's harvest.") +
            figure("bench-parallel", bars("All entries of a harvest, over those of the longest ring", panels(
                lambda c: c["harvested"] / max(c["longest"], 1)), names, "×",
                "a reaper harvests every ... ms"),
                   "How many threads could harvest and reset at once, with a ring for each.") +
            "<p>For each period of the reaper: exits per second (times the per-vCPU ring's), time that vCPUs stood still per second, rings "
            "parked in the same ms at most (mean of those ms in which any was), entries over the longest ring's.</p>" +
            table(["dirtied by", ""] + [f"every {p:g} ms" for p in periods], rows, 2))


def device(data, figure):
    shares = sorted({c["share"] for c in bd.cells(data, "device")})
    names = present(data, "device", bd.rivals(data))
    cats = [f"{100 * s:.0f} %" for s in shares]
    panels = [
        ("a vCPU's mark, one page at a time", cats, {
            n: [bd.spread(bd.values(data, "ns", "device", rival=n, share=s)) for s in shares]
            for n in names}),
        ("the device's mark, 16 pages at a time", cats, {
            n: [bd.spread(bd.values(data, "device_ns", "device", rival=n, share=s)) if s else None
                for s in shares] for n in names})]
    rows = []
    for n in names:
        row = [bd.label(n)]
        for s in shares:
            v = bd.values(data, "ns", "device", rival=n, share=s)
            base = bd.values(data, "ns", "device", rival="per-vcpu", share=s)
            d = bd.med(bd.values(data, "device_ns", "device", rival=n, share=s))
            row.append(f"{bd.med(v):.1f} ({bd.ratio(v, base):.1f}×)" + (f", {d:.1f}" if s else ""))
        rows.append(row)
    return ("<h3>5. Marks that belong to no vCPU</h3>" +
            figure("bench-device", lines("ns per mark, while a device makes a share of all marks",
                                         panels, names, "ns", "share of the device"),
                   "A vCPU marks on one CPU, a device on another. With per-vCPU rings the device has no "
                   "ring: its marks go to a bitmap of its own, as on arm64 and in VMMs, which has to "
                   "be scanned in addition.") +
            table(["ns of a vCPU's mark (times the per-vCPU ring), of the device's"] + cats, rows))


def scaling(data, figure):
    rings = sorted({c["rings"] for c in bd.cells(data, "scale")})
    names = present(data, "scale", bd.policies(data))
    states = ("free", "one free", "none free", "one reserve", "no reserve")
    titles = {"free": "all FREE", "one free": "all parked but one",
              "none free": "all parked: it fails", "one reserve": "all reserves full but one",
              "no reserve": "all full: OVERFLOW"}

    def panel(s):
        return (titles[s], [str(r) if i % 2 == 0 else "" for i, r in enumerate(rings)], {
            n: [bd.spread(bd.scale(data, n, s, r)) for r in rings] for n in names})

    rows = []
    for s in states:
        for n in names:
            rows.append([titles[s] if n == names[0] else "", bd.label(n)] +
                        [f"{bd.med(bd.scale(data, n, s, r)):.1f}" for r in rings] +
                        [f"{bd.ratio(bd.scale(data, n, s, rings[-1]), bd.scale(data, n, s, 2)):.2f}×"])
    return ("<h3>6. Scale</h3>" +
            figure("bench-scale", lines("ns for a claim and its return", [panel(s) for s in states[:3]],
                                        names, "ns", "rings"),
                   "One user, and rings that are in the CPU's cache as far as they fit. Where rings are "
                   "parked, the user's last one is among them, and the one that is left is as far away "
                   "as can be.") +
            figure("bench-reserve", lines("ns for a claim of a reserve and its return",
                                          [panel("one reserve")], names, "ns", "rings", 200),
                   "No ring is FREE, and of the reserves only the one furthest away has room; the first "
                   "claim of a stay in the guest. This state ends with the vCPU's exit. Where all reserves "
                   "are full (in the table), each ring has to be looked at, twice: OVERFLOW must not be "
                   "claimed as long as there is room.") +
            table(["ns", ""] + [str(r) for r in rings] + [f"{rings[-1]} to 2"], rows, 2))


def memory(data, figure):
    every = bd.cells(data, "memory")
    vcpus = sorted({c["vcpus"] for c in every})
    names = present(data, "memory", ("per-vcpu", bd.main_policy(data), bd.nostop(data)))
    limits = (1, 10, 100)

    def least(n, s, v, limit):
        fit = [c["bytes"] for c in every if c["rival"] == n and c["skew"] == s and
               c["vcpus"] == v and c["stops"] <= limit]
        return min(fit) if fit else None

    def size(b, base):
        if b is None:
            return "> 16 MiB"
        times = f" ({b / base:.2g}×)" if base else ""
        return (f"{b / 1048576:g} MiB" if b >= 1048576 else f"{b / 1024:g} KiB") + times

    panels = [(s, [str(v) for v in vcpus], {
        n: [point(None if least(n, s, v, 1) is None else least(n, s, v, 1) / 1048576)
            for v in vcpus] for n in names}) for s in SKEWS]
    rows = []
    for s in SKEWS:
        for v in vcpus:
            row = [s if v == vcpus[0] else "", str(v)]
            for limit in limits:
                base = least("per-vcpu", s, v, limit)
                row += [size(least(n, s, v, limit), base if n != "per-vcpu" else None)
                        for n in names]
            rows.append(row)
    return ("<h3>7. Memory</h3>" +
            figure("bench-memory", bars("Ring memory for at most one stop per second", panels, names,
                                        "MiB", "vCPUs"),
                   "The VM dirties 200 pages per ms and a reaper harvests every 100 ms. Rings come in "
                   "powers of two. Stops are exits for a full ring, of all vCPUs. Without NOSTOP each park is "
                   "one. Simulated, no clock. No bar: more than 16 MiB, or 65536 entries a ring.") +
            table(["dirtied by", "vCPUs"] + [f"{bd.label(n)}, ≤ {x}/s" for x in limits for n in names],
                  rows, 2))


def method(data):
    e, m = data["env"], data["meta"]
    pace = bd.values(data, "ns", "pace")
    pairs = [("host", m.get("host", "?")), ("compiler", m.get("compiler", "?")),
             ("commit", m.get("commit", "?")), ("date", m.get("date", "?")),
             ("command", m.get("command", "?")),
             ("a cycle of the CPU", f"{bd.med(pace):.3f} ns, {bd.quantile(pace, 0.05):.3f} to "
              f"{bd.quantile(pace, 0.95):.3f} in 9 of 10 rounds" if pace else "?"),
             ("slices measured", f"{e['slices']:,}; {e['disturbed']:,} more were repeated, because "
              "the thread lost its CPU")]
    return f"""
<h3>How this was measured</h3>
<p>One program holds all rivals: <code>virt/kvm/dirty_ring_pool.c</code> and
<code>dirty_ring_policy.c</code> as they are, and the unmodified <code>dirty_ring.c</code> of the
kernel source, compiled as for the kernel (no SSE registers) against small shims. They take turns
in slices of some ten µs. Shown are medians and quartiles. Nothing in here is an emulator's
time.</p>
<ul>
<li>Not in it: the page fault or PML exit that leads to a mark (hundreds to thousands of ns), the
lookup of the memslot, and what mitigations add to calls and returns in the kernel.</li>
<li>The spinlock is a plain one, not the kernel's queue. With few CPUs that favours it.</li>
<li>“One ring, lock-free” takes an entry by one atomic addition and waits at a harvest for
entries that are reserved and not yet written.</li>
<li>What questions 3 to 5 find on real vCPUs, and why where that differs, has a section of its own
below, once there are both.</li>
</ul>
{facts(pairs)}
<p class='sub'>All single values are in <code>bench.json</code>.</p>
"""


def section(data, figure):
    return (targets(data) + conclusions(data) + mark(data, figure) + contention(data, figure) +
            capacity(data, figure) + drains(data, figure) + device(data, figure) +
            scaling(data, figure) + memory(data, figure) + method(data))


def text(data):
    """For a terminal"""
    out = ["", "targets (ratios of one run)"]
    for t in data["targets"]:
        out.append(f"  {target(t, 9)}  {t['limit']:>9}  {t['target']}")
    out += ["", "ns a page, one thread (times the per-vCPU ring)"]
    batches = sorted({c["batch"] for c in bd.cells(data, "mark")})
    head = "".join(f"{'batch ' + str(b):>16}" for b in batches)
    out.append(f"  {'':26}{head}")
    for r in bd.rivals(data):
        if not bd.marks(data, r, 1):
            continue
        row = "".join(f"{bd.med(bd.marks(data, r, b)):>8.2f} "
                      f"({bd.ratio(bd.marks(data, r, b), bd.marks(data, 'per-vcpu', b)):4.2f}×)"
                      for b in batches)
        out.append(f"  {bd.label(r):26}{row}")
    order, of = bd.ranking(data)
    out += ["", "best policy, by workload"]
    for row in bd.winners(data):
        workload, measure, unit, got, base, _ = row
        win = bd.best(row)
        against = f", {got[win[0]] / base:.2f} of the per-vCPU ring's" if base else ""
        out.append(f"  {workload}: {', '.join(win)} "
                     f"({measure} {got[win[0]]:.5g}{' ' + unit if unit else ''}{against})")
    out.append("  best of all: " + ", ".join(f"{p} {n} of {of}" for p, n in order))
    e = data["env"]
    out += ["", f"{e['slices']} slices, of which {e['disturbed']} were disturbed and "
              f"repeated; {e['seconds']:.0f} s"]
    return "\n".join(out)
