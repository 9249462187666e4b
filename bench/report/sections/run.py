# SPDX-License-Identifier: GPL-2.0
"""make run: the comparison on real vCPUs in a VM."""
from data import files, modes
from data import run as rd
from data.summary import pick
from markup import chart, columns
from markup.page import esc, facts, failed, table, terms, tile, tiles
from markup.text import count, indented, median, plural, ranged, rounds

SOURCE = "run.json"
ORDER = 10
TITLE = "Bitmap, per-vCPU rings and pool on real vCPUs"

COLUMNS = (
    ("", "vCPUs", lambda e: str(e["vcpus"])),
    ("", "<mode", lambda e: modes.label(e["mode"])),
    ("pages/s", "<dirtied", lambda e: ranged(e, "pages_per_s", "{:.1f}", 1e-3, "k")),
    ("times", "rings", lambda e: median(e, "x_pages_per_s", "{:.2f}")),
    ("full", "exits", lambda e: count(e, "ring_full_exits")),
    ("stood", "still", lambda e: median(e, "still_ms", "{:.0f} ms")),
    ("", "", lambda e: median(e, "still_share", "{:.1f} %", 100)),
    ("harvest", "ns/page", lambda e: median(e, "harvest_ns", "{:.0f}")),
    ("reset", "ns/page", lambda e: median(e, "reset_ns", "{:.0f}")),
    ("", "claims", lambda e: count(e, "claims")),
    ("", "retries", lambda e: count(e, "claim_retries")),
    ("", "reserve", lambda e: count(e, "reserve_claims")),
    ("", "parks", lambda e: count(e, "parks")),
    ("", "moves", lambda e: count(e, "moves")),
)
DEVICE_COLUMNS = (
    ("mark", "ns/page", lambda e: median(e, "mark_ns", "{:.0f}")),
    ("", "EAGAIN", lambda e: count(e, "device_eagain")),
)
LOST = (("", "lost", lambda e: str(e["lost"])),)


def workload_columns(workload):
    return COLUMNS + (DEVICE_COLUMNS if workload == "vm-scoped" else ()) + LOST


def merged(cols):
    """Without columns that have no heading, which a terminal needs to align what is
    in them: they join the one before."""
    out = []
    for head, more, show in cols:
        if (head, more) == ("", ""):
            *rest, before = out.pop()
            out.append((*rest, lambda e, a=before, b=show: f"{a(e)}, {b(e)}"))
        else:
            out.append((head, more, show))
    return out


def summary_tiles(data):
    summary = data["summary"]
    lost = sum(e["lost"] for e in summary)
    writes = sum(e["writes"] for e in summary)
    out = [tile(f"{lost} lost", f"of {writes:,} pages that were written in "
                f"{sum(e['runs'] for e in summary)} measurements, each checked against "
                "its stamp", lost > 0)]
    nostop = [m for m in modes.names(summary) if "+nostop" in m]
    for workload, text in (("skewed", "ring-full exits"), ("burst", "pages")):
        entries = [e for e in summary if e["workload"] == workload]
        if not entries:
            continue
        n = max(e["vcpus"] for e in entries)
        pool = [e for e in entries if e["vcpus"] == n and e["tracker"] == "pool"]
        best = pick(entries, workload, nostop[0]) if nostop else (pool or [None])[0]
        rings = pick(entries, workload, "per-vcpu")
        if not best or not rings:
            continue
        if workload == "skewed":
            a, b = (x["ring_full_exits"]["median"] for x in (rings, best))
            least = min((e for e in pool if not e["nostop"]), default=None,
                        key=lambda e: e["ring_full_exits"]["median"])
            more = (f"; {modes.label(least['mode'])}, without NOSTOP: "
                    f"{least['ring_full_exits']['median']:.0f}"
                    if least and best["nostop"] else "")
            out.append(tile(f"{a:.0f} → {b:.0f} exits",
                            f"for a full ring, where one of {n} vCPUs dirties 90\u00a0%: "
                            f"per-vCPU rings → {modes.label(best['mode'])}{more}"))
        else:
            a, b = (x["pages"]["median"] for x in (rings, best))
            out.append(tile(f"{a:,.0f} → {b:,.0f} pages",
                            f"that one of {n} vCPUs dirties before it must stop, nobody "
                            f"harvesting: per-vCPU rings → {modes.label(best['mode'])}"))
    if files.exit_code(data):
        out.insert(0, failed(files.exit_code(data)))
    return tiles(out)


def cost_figure(summary, figure):
    entries = [e for e in summary if e["workload"] == "uniform"] or summary
    n = max(e["vcpus"] for e in entries)
    rows = [(modes.label(e["mode"]), [e["harvest_ns"]["median"], e["reset_ns"]["median"]])
            for e in entries if e["vcpus"] == n and e["workload"] != "burst"]
    if not rows:
        return ""
    return figure("cost", chart.stacked("Harvest and reset, per page", rows, ["harvest", "reset"],
                                        "ns per page"),
                  f"What userspace's harvest and the reset ioctl take, per page, "
                  f"{esc(entries[0]['workload'])}, {n} vCPUs. Harvest: reading the "
                  "entries, or fetching and scanning the bitmap. Reset: "
                  "<code>KVM_RESET_DIRTY_RINGS</code> or <code>KVM_CLEAR_DIRTY_LOG</code>. "
                  "Under emulation much of the reset is the TLB flush of the other vCPUs.")


def figures(data, figure):
    summary = data["summary"]
    names = modes.names(summary)
    labels = {n: modes.label(n) for n in names}
    rings = [n for n in names if n != "bitmap"]
    shown = [w for w in rd.WORKLOADS if w != "burst"]
    out = []

    parts = chart.panels(summary, "pages_per_s", shown, 1e-3)
    if parts:
        out.append(figure(
            "throughput",
            chart.figure("Pages dirtied per second", parts, names, "lines",
                         "pages/s, thousands", "vCPUs", labels),
            "Pages dirtied per second, all vCPUs together (and the device, in vm-scoped, "
            "whose writes cost no page fault). " + rounds(data["env"]["runs"]) + " The same number of pages is written whatever "
            f"the number of vCPUs; the VM has {data['env']['cpus']} processors."))
    parts = chart.panels(summary, "exits_per_kpage", shown)
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
    parts = chart.panels(summary, "still_share", shown, 100)
    if parts:
        out.append(figure(
            "still",
            chart.figure("Time that vCPUs stood still, as a share of their time", parts, rings, "bars",
                         "% of the vCPUs' time", "vCPUs", labels),
            "Time from a ring-full exit until that vCPU enters the guest again, as a share "
            "of the time that vCPUs had work. It is spent waiting for the lock, harvesting "
            "and resetting. What a vCPU waits inside the kernel (for <code>mmu_lock</code> "
            "while the bitmap is cleared, say) does not show here."))
    parts = chart.panels(summary, "pages", ["burst"])
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
{terms(rd.WORKLOADS.items())}
<p>In vm-scoped, the device thread of a pool VM calls <code>KVM_MARK_DIRTY</code>. KVM has no
such call for the bitmap and for per-vCPU rings: there the device thread keeps a bitmap of
its own, as VMMs do today, and the harvest merges it.</p>
<p>After each pass, every page that carries the pass's number must have been harvested. One
that was not counts as lost, and fails the run.</p>
"""


def busy(data):
    share = files.busy(data)
    return (f"<li>Other work took {share}\u00a0% of the host's processors meanwhile: times are "
            "spread wide.</li>\n" if share else "")


def honesty(data):
    if not files.emulated(data):
        return f"""
<h3>What these figures can and cannot show</h3>
<p>They were taken under {esc(data['meta'].get('accelerator', '?'))}: the vCPUs
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
    pairs = [("kernel", f"Linux {env['kernel']} {env['build']}"),
             ("virtualization", meta.get("accelerator", "?")),
             ("processors of the VM", env["cpus"]),
             ("KVM", f"{env['vendor']}, PML {'on' if env['pml'] else 'off'}, "
                     f"TDP MMU {'on' if env['tdp_mmu'] else 'off'}"),
             ("clock", env["clocksource"]),
             ("host", meta.get("host", "?")),
             ("taken by other work on the host", meta.get("others", "?") + " %"),
             ("repeated, spoilt by the emulator", rd.emulator_faults(data)),
             ("commit", meta.get("commit", "?")),
             ("date", meta.get("date", "?")),
             ("command", meta.get("command", "?"))]
    return "<h3>The machine</h3>" + facts(pairs)


def tables(summary):
    out = ["<h3>All figures</h3>",
           "<p>Medians over the rounds. “Times rings” is pages per second over that of "
           "per-vCPU rings in the same round. Counts are of one measurement.</p>"]
    for workload, what in rd.WORKLOADS.items():
        entries = [e for e in summary if e["workload"] == workload]
        if not entries or workload == "burst":
            continue
        out.append(f"<h4>{workload}: {esc(what)}</h4>")
        cols = merged(workload_columns(workload))
        out.append(columns.as_html(cols, *columns.grouped(cols, entries)))
    return "".join(out)


def counted_rows(data):
    """Heading, and a row for each mode"""
    found = rd.counted(data)
    base = {mode: page for mode, page, *_ in found}.get("per-vcpu")
    return [["", "instructions a page", "times rings", "of it harvest", "reset",
             "ring-full exits"]] + [
        [modes.label(mode), f"{page:,.0f}", f"{page / base:.3f}" if base else "-",
         f"{harvest:.0f}", f"{reset:.0f}", str(exits)]
        for mode, page, harvest, reset, exits in found]


def counted(data):
    head, *rows = counted_rows(data)
    if not rows:
        return ""
    return ("<h3>Counted</h3><p>One vCPU dirties all pages alike, on a processor that takes a "
            "nanosecond for each instruction (QEMU's <code>-icount</code>): the clock counts the "
            "instructions of it all, of guest, faults, marks, exits, harvest and reset, to the last "
            "page drained. They do not drift from one run to the next, but all count alike: a "
            "locked one, one that misses the cache, and the world switches, which TCG does in one."
            "</p>" + table(head, rows))


def section(data, figure):
    summary = data["summary"]
    return (summary_tiles(data) + figures(data, figure) + counted(data) + method(data) + honesty(data) +
            tables(summary) + machine(data) +
            "<p class='sub'>Every single measurement is in <code>run.json</code>, each "
            "figure in an <code>.svg</code> beside this page.</p>")


def burst_table(entries):
    vcpus = sorted({e["vcpus"] for e in entries})
    names = modes.names(entries)
    by = {(e["mode"], e["vcpus"]): e for e in entries}
    rows = [["mode"] + [plural(n, "vCPU") for n in vcpus]]
    for m in names:
        row = [modes.label(m)]
        for n in vcpus:
            e = by.get((m, n))
            row.append(f"{e['pages']['median']:.0f}" if e else "-")
        rows.append(row)
    return indented(rows, {0})


def text(data):
    """For a terminal"""
    summary = data["summary"]
    env = data["env"]
    out = []
    for workload, what in rd.WORKLOADS.items():
        entries = [e for e in summary if e["workload"] == workload]
        if not entries:
            continue
        out += ["", f"{workload}: {what}"]
        if workload == "burst":
            out += burst_table(entries)
        else:
            cols = workload_columns(workload)
            out += columns.as_text(cols, *columns.grouped(cols, entries))
    found = counted_rows(data)
    if len(found) > 1:
        out += ["", "instructions of it all, one vCPU, all pages alike, until the last is drained"]
        out += indented(found, {0})
    lost = sum(e["lost"] for e in summary)
    writes = sum(e["writes"] for e in summary)
    out += ["", f"{data['meta']['accelerator']}, {env['cpus']} CPUs, Linux {env['kernel']}; "
            f"medians of {plural(env['runs'], 'round')}"
            f"{' (least..most)' if env['runs'] > 1 else ''}, rings of {env['ring_bytes']} bytes, "
            f"one a vCPU in every mode but the bitmap",
            "times rings: pages/s over that of per-vCPU rings in the same round; "
            "stood still: between a ring-full exit and the next entry",
            f"pages written: {writes}, pages lost: {lost}"]
    if files.busy(data):
        out.append(f"other work took {files.busy(data)} % of the host's processors: "
                   "times are spread wide")
    faults = rd.emulator_faults(data)
    if faults:
        out.append(f"measurements spoilt by the emulator and made again: {faults}")
    if files.exit_code(data):
        out.append(f"THE RUN FAILED with exit code {files.exit_code(data)}: "
                   "what it measured until then is above")
    return "\n".join(out)
