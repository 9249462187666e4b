# SPDX-License-Identifier: GPL-2.0
"""make run: the comparison on real vCPUs in a VM"""
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
                            f"that one of {n} vCPUs dirties before it must stop, without "
                            f"any harvest: per-vCPU rings → {modes.label(best['mode'])}"))
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
                  f"Time of userspace's harvest and of the reset ioctl, per page, "
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
            "whose writes cost no page fault). " + rounds(data["env"]["runs"]) + " The number of pages written does not "
            f"depend on the number of vCPUs; the VM has {data['env']['cpus']} processors."))
    parts = chart.panels(summary, "exits_per_kpage", shown)
    if parts:
        out.append(figure(
            "exits",
            chart.figure("Ring-full exits per 1000 pages dirtied", parts, rings, "bars",
                         "exits per 1000 pages", "vCPUs", labels),
            "Exits to userspace with <code>KVM_EXIT_DIRTY_RING_FULL</code>, per 1000 pages "
            "dirtied. The bitmap has none. Without NOSTOP the vCPU that parks a ring exits "
            "once, to drain it; with NOSTOP it continues with another ring, and the eventfd "
            "wakes the reaper. Userspace drains all rings at each exit. Under a policy that "
            "spreads marks over the rings (all but last-used) one exit serves several; under "
            "one that stays with a ring (last-used) rings fill one by one, as per-vCPU "
            "rings do."))
    parts = chart.panels(summary, "still_share", shown, 100)
    if parts:
        out.append(figure(
            "still",
            chart.figure("Time that vCPUs stood still, as a share of their time", parts, rings, "bars",
                         "% of the vCPUs' time", "vCPUs", labels),
            "Time from a ring-full exit until that vCPU enters the guest again, as a share "
            "of the time in which vCPUs had work. The vCPU's thread waits for the lock, harvests "
            "and resets in it. Waits inside the kernel (for <code>mmu_lock</code> while the "
            "bitmap is cleared, for example) are not included."))
    parts = chart.panels(summary, "pages", ["burst"])
    if parts:
        _, vcpus, series = parts[0]
        out.append(figure(
            "burst",
            chart.figure("Pages one vCPU dirties before it must stop, without any harvest", [("", vcpus, series)], rings, "bars", "pages", "vCPUs",
                         labels, height=240),
            "Burst: how many pages one vCPU dirties before it must stop, without any harvest. "
            "With per-vCPU rings it has its own ring, in a pool it has all of them, each up to "
            "the soft limit. This count does not depend on the machine."))
    out.append(cost_figure(summary, figure))
    return "".join(out)


def method(data):
    env = data["env"]
    return f"""
<h3>What was measured</h3>
<p>A VM writes {env['pages']:,} pages per pass in {env['passes']} passes, each page once per
pass, stamped with the number of the pass. All pages are mapped and write-protected before,
so in every mode each write dirties one page. All modes but the bitmap have one ring per vCPU
of {env['ring_bytes']:,} bytes ({env['ring_bytes'] // 16} entries): the memory for rings is the
same.</p>
<p>In all modes with rings, userspace harvests as QEMU does: the thread of a vCPU that exits
for a full ring harvests and resets all rings under a lock, and a reaper does so every
{env['period_ms']} ms. With the bitmap only the reaper harvests. With NOSTOP the pool's eventfd
wakes the reaper, too. The modes take turns within each of the {env['runs']}
round{'s' if env['runs'] > 1 else ''}.</p>
{terms(rd.WORKLOADS.items())}
<p>In vm-scoped, the device thread of a pool VM calls <code>KVM_MARK_DIRTY</code>. KVM has no
such call for the bitmap and for per-vCPU rings: there the device thread keeps its own bitmap,
as VMMs do today, and the harvest merges it.</p>
<p>After each pass, every page with the stamp of that pass must have been harvested. A page that
was not is lost, and fails the run.</p>
"""


def busy(data):
    share = files.busy(data)
    return (f"<li>Other work took {share}\u00a0% of the host's processors during the run: times "
            "spread widely.</li>\n" if share else "")


def honesty(data):
    if not files.emulated(data):
        return f"""
<h3>What these figures can and cannot show</h3>
<p>They were measured under {esc(data['meta'].get('accelerator', '?'))}: the vCPUs are those
of a guest's guest. Exits and TLB flushes cost more than on bare metal, so times are upper
bounds; counts are exact.</p>
"""
    one = [e["pages_per_s"]["median"] for e in data["summary"]
           if e["workload"] == "uniform" and e["vcpus"] == 1 and e["mode"] == "per-vcpu"]
    cost = (f"Dirtying a page takes {1e6 / one[0]:.0f} µs here, about one on hardware. "
            if one else "")
    return f"""
<h3>What an emulator can and cannot show</h3>
<p>The machine has no hardware virtualization: the processor below KVM was emulated (QEMU's
TCG).</p>
<ul>
<li>Valid for any machine: the room for a burst, and pages lost. Neither depends on time.</li>
<li>Valid for comparing modes: the other counts (exits, parks, claims, moves). They follow from
the number of pages between two drains. Rings fill slowly here, so the reaper harvests a larger
part than in a real VMM, and vCPUs exit less often.</li>
<li>An indication only: times. {cost}This fault dominates in each mode, so the modes differ less
than on hardware, and differences within the spread mean nothing. A harvest is short compared
with the time in which a ring fills, so vCPUs stand still for a smaller share of it.</li>
{busy(data)}<li>Not shown: the cost of an atomic instruction, or of a cache line that moves between
processors.</li>
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
             ("CPU time of other work on the host", meta.get("others", "?") + " %"),
             ("repeated because of the emulator", rd.emulator_faults(data)),
             ("commit", meta.get("commit", "?")),
             ("date", meta.get("date", "?")),
             ("command", meta.get("command", "?"))]
    return "<h3>The machine</h3>" + facts(pairs)


def tables(summary):
    out = ["<h3>All figures</h3>",
           "<p>Medians of the rounds. “Times rings” is pages per second relative to per-vCPU "
           "rings in the same round. Counts are of one measurement.</p>"]
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
    return [["", "instructions per page", "times rings", "of these harvest", "reset",
             "ring-full exits"]] + [
        [modes.label(mode), f"{page:,.0f}", f"{page / base:.3f}" if base else "-",
         f"{harvest:.0f}", f"{reset:.0f}", str(exits)]
        for mode, page, harvest, reset, exits in found]


def counted(data):
    head, *rows = counted_rows(data)
    if not rows:
        return ""
    return ("<h3>Instructions</h3><p>One vCPU dirties all pages alike, on a processor that takes a "
            "nanosecond for each instruction (QEMU's <code>-icount</code>). So the clock counts all "
            "instructions, of guest, faults, marks, exits, harvest and reset, until the last page is "
            "drained. These counts do not drift from run to run. But each instruction counts as one: "
            "a locked one, one that misses the cache, and a world switch.</p>" + table(head, rows))


def section(data, figure):
    summary = data["summary"]
    return (summary_tiles(data) + figures(data, figure) + counted(data) + method(data) + honesty(data) +
            tables(summary) + machine(data) +
            "<p class='sub'>Every single measurement is in <code>run.json</code>, each "
            "figure in an <code>.svg</code> next to this page.</p>")


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
        out += ["", "instructions, one vCPU, all pages alike, until the last page is drained"]
        out += indented(found, {0})
    lost = sum(e["lost"] for e in summary)
    writes = sum(e["writes"] for e in summary)
    out += ["", f"{data['meta']['accelerator']}, {env['cpus']} CPUs, Linux {env['kernel']}; "
            f"medians of {plural(env['runs'], 'round')}"
            f"{' (least..most)' if env['runs'] > 1 else ''}, rings of {env['ring_bytes']} bytes, "
            f"one per vCPU in every mode but the bitmap",
            "times rings: pages/s relative to per-vCPU rings in the same round; "
            "stood still: between a ring-full exit and the next entry",
            f"pages written: {writes}, pages lost: {lost}"]
    if files.busy(data):
        out.append(f"other work took {files.busy(data)} % of the host's processors: "
                   "times spread widely")
    faults = rd.emulator_faults(data)
    if faults:
        out.append(f"measurements repeated because of the emulator: {faults}")
    if files.exit_code(data):
        out.append(f"THE RUN FAILED with exit code {files.exit_code(data)}: "
                   "what it measured until then is above")
    return "\n".join(out)
