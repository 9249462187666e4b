# SPDX-License-Identifier: GPL-2.0
"""make bench: the benchmark in userspace"""
from data import bench as bd
from markup import chart
from markup.page import esc, facts, table, targets
from markup.text import number, plural, target

SOURCE = "bench.json"
ORDER = 20
TITLE = "The cost of a mark, and the choice of a policy"

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
    others = ", ".join(f"{p} in {n}" for p, n in order[1:])
    said = [f"<p><b>{esc(first)}</b> is best, or within 2 % of the best, in {wins} of {of} "
            f"comparisons{f' ({others})' if others else ''}."]
    for p in bd.policies(data):
        if p == first:
            continue
        only = [r for r in bd.winners(data) if p in bd.best(r) and first not in bd.best(r)]
        if not only:
            said.append(f" {esc(p)} is nowhere better.")
            continue
        parts = []
        for r in only:
            a, b = r[3][p], r[3][first]
            share = f" ({a / b:.2f}×)" if b else ""
            parts.append(f"{r[0]}: {r[1]} {number(a, r[2])} instead of {number(b, r[2])}{share}")
        said.append(f" {esc(p)} is better at: {esc('; '.join(parts))}.")
    return (f"<h3>Which policy for which workload</h3>{''.join(said)}</p>" +
            table(["workload", "measure", "best policy", "its figure", "the worst policy's",
                   "best, relative to the per-vCPU ring"], rows, 3))


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
               "A batch is the number of pages at once, as PML logs them; the pool claims a ring for "
               "64 at most. Median and quartiles. Drains are not included.") +
        table(["ns per page: median (quartiles), relative to the per-vCPU ring"] +
              [f"batch {b}" for b in batches] + [f"instructions, batch {b}" for b in batches], rows) +
        f"<p>One uncontended locked compare-and-swap took {cas[0]:.2f} ns in the same run, "
        f"{cas[1]:.2f} ns with the store that undoes it. In a claim it also waits for earlier "
        "stores, such as those of the previous entry.</p>"
        "<h4>Claim, push and return on their own</h4>" +
        table(["", "claim, ns", "push, ns", "return, ns", "claim, instructions", "push", "return"],
              parts) +
        "<p class='sub'>128 users claim a ring each, then all push, then all return. In a mark the "
        "parts overlap, so these do not add up to it.</p>")


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
                  "Marking only, in a VM of two vCPUs. In slices of some ten µs one thread marks, then "
                  "both, then the other one, then both; both stop when one is done. Between slices "
                  "the CPUs take turns at draining the rings, which is not timed. No ring gets full."),
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
        "thread whose ring is full drains all rings under a lock, as in QEMU. With more threads "
        "than CPUs a thread can be preempted anywhere: under the spinlock all others wait for it, "
        "with a claimed ring none does. The kernel disables preemption there, but the host can "
        "still preempt a virtual CPU. The bitmap, which never drains here, is in the table."))
    rows = []
    for n in names:
        row = [bd.label(n)]
        for t in threads:
            v, base = (bd.values(data, "mpages", "threads", rival=r, threads=t, batch=1)
                       for r in (n, "per-vcpu"))
            m, low, high = bd.spread(v)
            row.append(f"{m:.0f} ({low:.0f}..{high:.0f}) {bd.ratio(v, base):.2f}×")
        rows.append(row)
    out.append(table(["Mpages/s, batch 1: median (quartiles), relative to the per-vCPU ring"] +
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
                   f"Nothing drains the rings. They have {first['entries']} entries, {first['rsvd']} of "
                   "them the reserve; the memory is the same in all modes. Simulated with the real code "
                   "and without a clock: the numbers are the same on every machine. The lines of the "
                   "policies coincide: each policy fills all rings.") +
            "<p>Pages until a vCPU must stop; for the other modes, as a multiple. Without NOSTOP, a "
            "vCPU of the pool also exits once for each ring that it parks, and continues; the first "
            f"time is after {first['exit']:,} pages if one vCPU of {vcpus[-1]} does all the writing.</p>" +
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
                   f"{c['vcpus']} vCPUs dirty one page per µs together, in rings of {c['entries']} entries. "
                   "A harvest takes 20 µs and 0.05 µs per entry, under a lock. A vCPU that exits for a "
                   "full ring harvests, and a reaper does so with the given period. Simulated, without a "
                   "clock.") +
            figure("bench-herd", bars("Rings that park in the same millisecond, at most", panels(
                lambda c: c["herd"]), names, "rings", "a reaper harvests every ... ms"),
                   "Rings that park at once make vCPUs wait for each other's harvest.") +
            figure("bench-parallel", bars("All entries of a harvest, over those of the longest ring", panels(
                lambda c: c["harvested"] / max(c["longest"], 1)), names, "×",
                "a reaper harvests every ... ms"),
                   "The number of threads that could harvest and reset in parallel, a ring each.") +
            "<p>For each period of the reaper: exits per second (relative to the per-vCPU ring), time that vCPUs stood still per second, rings "
            "parked in the same ms at most (mean of the ms with a parked ring), entries relative to the longest ring's.</p>" +
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
                   "ring: its marks go to its own bitmap, as on arm64 and in VMMs, and harvests have to "
                   "scan that, too.") +
            table(["ns per mark of a vCPU (relative to the per-vCPU ring), of the device"] + cats, rows))


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
                   "parked, the user's last one is among them, and the remaining one is the last that a "
                   "search finds.") +
            figure("bench-reserve", lines("ns for a claim of a reserve and its return",
                                          [panel("one reserve")], names, "ns", "rings", 200),
                   "No ring is FREE, and only the reserve that a search finds last has room; the first "
                   "claim of a stay in the guest. This state ends with the vCPU's exit. Where all reserves "
                   "are full (in the table), each ring is checked twice: a mark must not overflow as long as "
                   "there is room.") +
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
                   "The VM dirties 200 pages per ms and a reaper harvests every 100 ms. Ring sizes are "
                   "powers of two. Stops are exits of all vCPUs for a full ring. Without NOSTOP each park "
                   "is one. Simulated, without a clock. No bar: more than 16 MiB, or than 65536 entries per "
                   "ring.") +
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
             ("slices measured", f"{e['slices']:,}, of which {e['disturbed']:,} were repeated because "
              "the thread was preempted")]
    return f"""
<h3>How this was measured</h3>
<p>One program contains all rivals: <code>virt/kvm/dirty_ring_pool.c</code>,
<code>dirty_ring_policy.c</code> and upstream's <code>dirty_ring.c</code>, all unmodified, compiled
as for the kernel (without SSE registers) against small shims. They take turns in slices of some
ten µs. Figures are medians and quartiles, measured on the machine itself without an
emulator.</p>
<ul>
<li>Not included: the page fault or PML exit that leads to a mark (hundreds to thousands of ns),
the lookup of the memslot, and the cost of mitigations in the kernel.</li>
<li>The spinlock is a simple one, not the kernel's queued lock. With few CPUs that favours it.</li>
<li>“One ring, lock-free” reserves an entry by one atomic addition. A harvest waits for entries that
are reserved but not written yet.</li>
<li>With figures of <code>make run</code>, a section below compares questions 3 to 5 with real
vCPUs, and explains the differences.</li>
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
    out += ["", "ns per page, one thread (relative to the per-vCPU ring)"]
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
    out += ["", f"{e['slices']} slices, {e['disturbed']} of them disturbed and repeated; "
              f"{e['seconds']:.0f} s"]
    return "\n".join(out)
