# SPDX-License-Identifier: GPL-2.0
"""make run: the comparison on real vCPUs in a VM."""
import html

import chart
import rundata
import table
from section_bench import table as figures_table

SOURCE = "run.json"
ORDER = 10
TITLE = "Bitmap, per-vCPU rings and pool on real vCPUs"


def panels(summary, value, scale=1.0, workloads=None):
    """A panel per workload: [(title, [vCPUs], {mode: [(median, min, max)]})]"""
    out = []
    for w in workloads or rundata.WORKLOADS:
        entries = [e for e in summary if e["workload"] == w]
        if not entries or (w == "burst" and not workloads):
            continue
        vcpus = sorted({e["vcpus"] for e in entries})
        series = {}
        for e in entries:
            v = e[value]
            at = series.setdefault(e["mode"], [None] * len(vcpus))
            at[vcpus.index(e["vcpus"])] = (v["median"] * scale, v["min"] * scale,
                                           v["max"] * scale)
        out.append((w, vcpus, series))
    return out


def pick(summary, workload, vcpus, mode):
    for e in summary:
        if (e["workload"], e["vcpus"], e["mode"]) == (workload, vcpus, mode):
            return e
    return None


def tile(big, small, bad=False):
    return (f"<div class='tile{' bad' if bad else ''}'><b>{html.escape(big)}</b>"
            f"<span>{html.escape(small)}</span></div>")


def tiles(data):
    summary = data["summary"]
    lost = sum(e["lost"] for e in summary)
    writes = sum(e["writes"] for e in summary)
    out = [tile(f"{lost} lost", f"of {writes:,} pages that were written in "
                f"{sum(e['runs'] for e in summary)} measurements, each checked against "
                "its stamp", lost > 0)]
    nostop = [m for m in rundata.mode_names(summary) if "+nostop" in m]
    for workload, text in (("skewed", "ring-full exits"), ("burst", "pages")):
        entries = [e for e in summary if e["workload"] == workload]
        if not entries:
            continue
        n = max(e["vcpus"] for e in entries)
        pool = [e for e in entries if e["vcpus"] == n and e["tracker"] == "pool"]
        best = pick(summary, workload, n, nostop[0]) if nostop else (pool or [None])[0]
        rings = pick(summary, workload, n, "per-vcpu")
        if not best or not rings:
            continue
        if workload == "skewed":
            a, b = (x["ring_full_exits"]["median"] for x in (rings, best))
            least = min((e for e in pool if not e["nostop"]), default=None,
                        key=lambda e: e["ring_full_exits"]["median"])
            more = (f"; {rundata.label(least['mode'])}, without NOSTOP: "
                    f"{least['ring_full_exits']['median']:.0f}"
                    if least and best["nostop"] else "")
            out.append(tile(f"{a:.0f} → {b:.0f} exits",
                            f"for a full ring, where one of {n} vCPUs dirties 90\u00a0%: "
                            f"per-vCPU rings → {rundata.label(best['mode'])}{more}"))
        else:
            a, b = (x["pages"]["median"] for x in (rings, best))
            out.append(tile(f"{a:,.0f} → {b:,.0f} pages",
                            f"that one of {n} vCPUs dirties before it must stop, nobody "
                            f"harvesting: per-vCPU rings → {rundata.label(best['mode'])}"))
    if data["meta"].get("exit", "0") != "0":
        out.insert(0, tile("The run failed", f"with exit code {data['meta']['exit']}; what it "
                           "measured until then is below", True))
    return f"<div class='tiles'>{''.join(out)}</div>"


def html_table(cols, rows, firsts=()):
    head = "".join(f"<th{' class=l' if c[1].startswith('<') else ''}>"
                   f"{html.escape((c[0] + ' ' + c[1].lstrip('<')).strip())}</th>" for c in cols)
    body = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td{' class=l' if c[1].startswith('<') else ''}>"
                        f"{html.escape(v)}</td>" for c, v in zip(cols, row))
        body.append(f"<tr{' class=first' if i in firsts else ''}>{cells}</tr>")
    return (f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table></div>")


def workload_table(entries, workload):
    cols = list(table.columns(workload))
    # "0 ms" and "0.0 %" stand in two columns, for a terminal to align them
    merged = [i for i, c in enumerate(cols) if c[:2] == ("", "")]
    for i in reversed(merged):
        first, second = cols[i - 1], cols.pop(i)
        cols[i - 1] = (first[0], first[1],
                       lambda e, a=first[2], b=second[2]: f"{a(e)}, {b(e)}")
    rows, firsts, vcpus = [], [], None
    for e in entries:
        row = [c[2](e) for c in cols]
        if e["vcpus"] == vcpus:
            row[0] = ""
        else:
            firsts.append(len(rows))
        vcpus = e["vcpus"]
        rows.append(row)
    return html_table(cols, rows, firsts)


def cost_figure(summary, figure):
    entries = [e for e in summary if e["workload"] == "uniform"] or summary
    n = max(e["vcpus"] for e in entries)
    rows = [(rundata.label(e["mode"]), [e["harvest_ns"]["median"], e["reset_ns"]["median"]])
            for e in entries if e["vcpus"] == n and e["workload"] != "burst"]
    if not rows:
        return ""
    return figure("cost", chart.stacked("Harvest and reset, per page", rows, ["harvest", "reset"],
                                        "ns per page"),
                  f"What userspace's harvest and the reset ioctl take, per page, "
                  f"{html.escape(entries[0]['workload'])}, {n} vCPUs. Harvest: reading the "
                  "entries, or fetching and scanning the bitmap. Reset: "
                  "<code>KVM_RESET_DIRTY_RINGS</code> or <code>KVM_CLEAR_DIRTY_LOG</code>. "
                  "Under emulation much of the reset is the TLB flush of the other vCPUs.")


def rounds(data):
    n = data["env"]["runs"]
    return f"Median, and least to most of {n} rounds." if n > 1 else "One round."


def figures(data, figure):
    summary = data["summary"]
    names = rundata.mode_names(summary)
    labels = {n: rundata.label(n) for n in names}
    rings = [n for n in names if n != "bitmap"]
    out = []

    parts = panels(summary, "pages_per_s", 1e-3)
    if parts:
        out.append(figure(
            "throughput",
            chart.figure("Pages dirtied per second", parts, names, "lines",
                         "pages/s, thousands", "vCPUs", labels),
            "Pages dirtied per second, all vCPUs together (and the device, in vm-scoped, "
            "whose writes cost no page fault). " + rounds(data) + " The same number of pages is written whatever "
            f"the number of vCPUs; the VM has {data['env']['cpus']} processors."))
    parts = panels(summary, "exits_per_kpage")
    if parts:
        out.append(figure(
            "exits",
            chart.figure("Ring-full exits per 1000 pages dirtied", parts, rings, "bars",
                         "exits per 1000 pages", "vCPUs", labels),
            "Exits to userspace with <code>KVM_EXIT_DIRTY_RING_FULL</code>, per 1000 pages "
            "dirtied. The bitmap has none. Without NOSTOP the vCPU that parks a ring exits "
            "once, to drain it; with NOSTOP it goes on with another ring, and the eventfd "
            "wakes the reaper. Userspace drains all rings at each exit: a policy that spreads "
            "the marks over all rings (round-robin, lru) has one exit do for all of them, one "
            "that stays with a ring (last-used, mru) fills it as a vCPU fills its own."))
    parts = panels(summary, "still_share", 100)
    if parts:
        out.append(figure(
            "still",
            chart.figure("Time that vCPUs stood still, as a share of their time", parts, rings, "bars",
                         "% of the vCPUs' time", "vCPUs", labels),
            "Time from a ring-full exit until that vCPU enters the guest again, as a share "
            "of the time that vCPUs had work. It is spent waiting for the lock, harvesting "
            "and resetting. What a vCPU waits inside the kernel (for <code>mmu_lock</code> "
            "while the bitmap is cleared, say) does not show here."))
    parts = panels(summary, "pages", 1, ["burst"])
    if parts:
        _, vcpus, series = parts[0]
        out.append(figure(
            "burst",
            chart.figure("Pages one vCPU dirties before it must stop, nobody harvesting", [("", vcpus, series)], rings, "bars", "pages", "vCPUs",
                         labels, height=240),
            "Burst: how many pages one vCPU dirties before it must stop, when nobody "
            "harvests. Per-vCPU rings give it its own ring, a pool gives it all of them, each to "
            "the soft limit. This is a count: it does not depend on the machine."))
    out.append(cost_figure(summary, figure))
    return "".join(out)


def method(data):
    env = data["env"]
    return f"""
<h3>What was measured</h3>
<p>A VM writes {env['pages']:,} pages a pass, {env['passes']} passes, each page once in a
pass and with the pass's number. All pages are mapped and write-protected beforehand, so in
every mode each write is one page dirtied. The rings have {env['ring_bytes']:,} bytes
({env['ring_bytes'] // 16} entries) and there is one per vCPU in all modes but the bitmap,
which has no rings: the same ring memory, whoever it belongs to.</p>
<p>Userspace harvests alike in all modes with rings, as QEMU does: the thread of a vCPU that
exits for a full ring harvests all rings and resets them under a lock, and a reaper does so
every {env['period_ms']} ms. With the bitmap only the reaper does. With NOSTOP the pool's
eventfd wakes it, too. The modes take turns within each of the {env['runs']}
round{'s' if env['runs'] > 1 else ''}.</p>
<dl>{''.join(f"<dt>{w}</dt><dd>{html.escape(t)}</dd>" for w, t in rundata.WORKLOADS.items())}</dl>
<p>In vm-scoped, the device thread of a pool VM calls <code>KVM_MARK_DIRTY</code>. KVM has no
such call for the bitmap and for per-vCPU rings: there the device thread keeps a bitmap of
its own, as VMMs do today, and the harvest merges it.</p>
<p>After each pass, every page that carries the pass's number must have been harvested. One
that was not counts as lost, and fails the run.</p>
"""


def busy(data):
    share = rundata.busy(data)
    return (f"<li>Other work took {share}\u00a0% of the host's processors meanwhile: times are "
            "spread wide.</li>\n" if share else "")


def honesty(data):
    if "TCG" not in data["meta"].get("accelerator", ""):
        return f"""
<h3>What these figures can and cannot show</h3>
<p>They were taken under {html.escape(data['meta'].get('accelerator', '?'))}: the vCPUs
measured here are guests of a guest. Exits and TLB flushes cost more than on bare metal, so
times are upper bounds there; counts are exact.</p>
"""
    one = [e["pages_per_s"]["median"] for e in data["summary"]
           if e["workload"] == "uniform" and e["vcpus"] == 1 and e["mode"] == "per-vcpu"]
    cost = (f"One page dirtied takes {1e6 / one[0]:.0f} µs here, where hardware takes about one. "
            if one else "")
    return f"""
<h3>What an emulator can and cannot show</h3>
<p>The machine had no hardware virtualization to offer: the processor below KVM was
emulated (QEMU's TCG).</p>
<ul>
<li>Good as they are: what a burst finds room for, and pages lost. Neither depends on time.</li>
<li>Good for comparing modes: other counts (exits, parks, claims, moves). They follow from
how many pages fit between two drains. Rings fill slowly here, so the reaper gets a larger
part of the harvest than in a real VMM, and vCPUs exit less often.</li>
<li>An indication only: time. {cost}That fault is most of what each mode takes, so they
differ less than on hardware, and differences within the spread mean nothing. A harvest
is short against the time in which a ring fills, so vCPUs stand still for a smaller share
of it.</li>
{busy(data)}<li>Not shown at all: what an atomic instruction, or a cache line that moves between
processors, costs.</li>
</ul>
"""


def machine(data):
    env, meta = data["env"], data["meta"]
    facts = [("kernel", f"Linux {env['kernel']} {env['build']}"),
             ("virtualization", meta.get("accelerator", "?")),
             ("processors of the VM", env["cpus"]),
             ("KVM", f"{env['vendor']}, PML {'on' if env['pml'] else 'off'}, "
                     f"TDP MMU {'on' if env['tdp_mmu'] else 'off'}"),
             ("clock", env["clocksource"]),
             ("host", meta.get("host", "?")),
             ("taken by other work on the host", meta.get("others", "?") + " %"),
             ("repeated, spoilt by the emulator", rundata.emulator_faults(data)),
             ("commit", meta.get("commit", "?")),
             ("date", meta.get("date", "?")),
             ("command", meta.get("command", "?"))]
    rows = "".join(f"<tr><td class='l'>{html.escape(k)}</td>"
                   f"<td class='l'>{html.escape(str(v))}</td></tr>" for k, v in facts)
    return f"<h3>The machine</h3><div class='scroll'><table>{rows}</table></div>"


def tables(summary):
    out = ["<h3>All figures</h3>",
           "<p>Medians over the rounds. “Times rings” is pages per second over that of "
           "per-vCPU rings in the same round. Counts are of one measurement.</p>"]
    for workload, what in rundata.WORKLOADS.items():
        entries = [e for e in summary if e["workload"] == workload]
        if not entries or workload == "burst":
            continue
        out.append(f"<h4>{workload}: {html.escape(what)}</h4>")
        out.append(workload_table(entries, workload))
    return "".join(out)


def counted(data):
    head, *rows = rundata.instructions(data)
    if not rows:
        return ""
    return ("<h3>Counted</h3><p>One vCPU dirties all pages alike, on a processor that takes a "
            "nanosecond for each instruction (QEMU's <code>-icount</code>): the clock counts the "
            "instructions of it all, of guest, faults, marks, exits, harvest and reset, to the last "
            "page drained. They do not drift from one run to the next, but all count alike: a "
            "locked one, one that misses the cache, and the world switches, which TCG does in one."
            "</p>" + figures_table(head, rows))


def section(data, figure):
    summary = data["summary"]
    return (tiles(data) + figures(data, figure) + counted(data) + method(data) + honesty(data) +
            tables(summary) + machine(data) +
            "<p class='sub'>Every single measurement is in <code>run.json</code>, each "
            "figure in an <code>.svg</code> beside this page.</p>")
