# SPDX-License-Identifier: GPL-2.0
"""make migrate-qemu: live migrations by an unmodified QEMU."""
import html

import chart
import qemudata
import rundata
import section_run

SOURCE = "migrate-qemu.json"
ORDER = 16
TITLE = "Live migration by an unmodified QEMU"


def most(data):
    """The entries of the skewed guest (or the last one) with the most vCPUs."""
    summary = data["summary"]
    entries = [e for e in summary if e["workload"] == "skewed"] or summary
    n = max(e["vcpus"] for e in entries)
    return [e for e in entries if e["vcpus"] == n]


def tiles(data):
    tile = section_run.tile
    wrong = qemudata.wrong(data)
    cells = data["cells"]
    out = [tile(f"{wrong} pages wrong",
                f"after {len(cells)} live migrations, {sum(c['pages'] for c in cells):,} pages "
                "sent: both sides' memory compared after the switch, then checked by the "
                "guest itself", wrong > 0)]
    entries = most(data)
    rings = [e for e in entries if e["mode"] == "per-vcpu"]
    pools = [e for e in entries if e["mode"] not in ("bitmap", "per-vcpu")]
    if rings and pools:
        best = min(pools, key=lambda e: e["full_exits"]["median"])
        out.append(tile(
            f"{rings[0]['full_exits']['median']:.0f} → {best['full_exits']['median']:.0f} exits",
            f"for a full ring in a migration, {best['workload']} guest of {best['vcpus']} vCPUs: "
            f"per-vCPU rings → {rundata.label(best['mode'])}"))
        low = min(e["x_total_ms"]["median"] for e in pools)
        high = max(e["x_total_ms"]["median"] for e in pools)
        out.append(tile(f"{low:.2f} to {high:.2f} ×",
                        "the total time of per-vCPU rings, in the same guest, for the policies"))
    if data["meta"].get("exit", "0") != "0":
        out.insert(0, tile("The run failed", f"with exit code {data['meta']['exit']}; what it "
                           "measured until then is below", True))
    return f"<div class='tiles'>{''.join(out)}</div>"


def figures(data, figure):
    summary = data["summary"]
    names = rundata.mode_names(summary)
    labels = {n: rundata.label(n) for n in names}
    rings = [n for n in names if n != "bitmap"]
    rounds = (f"Median, and least to most of {data['env']['runs']} rounds."
              if data["env"]["runs"] > 1 else "One round.")
    out = []
    for name, value, scale, shown, title, unit, caption in (
            ("qemu-total", "total_ms", 1e-3, names, "Total time of a migration", "s",
             "From the command to the end, as QEMU reports it."),
            ("qemu-downtime", "downtime_ms", 1, names, "Downtime", "ms",
             "For how long the guest ran on neither side, as QEMU reports it. "
             f"QEMU was allowed {data['env']['downtime_ms']} ms; it stops the guest when it "
             "believes that what is left fits."),
            ("qemu-exits", "full_exits", 1, rings, "Exits for a full ring, per migration",
             "exits", "Counted by KVM's own tracepoint. QEMU drains all rings at each."),
            ("qemu-progress", "progress", 100, names, "What the guest got done meanwhile",
             "% of before", "Stamps per second from the command until the guest was stopped, "
             "over those in the second before.")):
        parts = section_run.panels(summary, value, scale, list(qemudata.WORKLOADS))
        if parts:
            out.append(figure(name, chart.figure(title, parts, shown, "bars", unit, "vCPUs",
                                                 labels, height=240), f"{caption} {rounds}"))
    return "".join(out)


def method(data):
    env = data["env"]
    return f"""
<h3>What was done</h3>
<p>Inside the VM, with the host's root as its root, two processes of Debian's own
{html.escape(env['qemu'])}, not changed in any way, one of which migrates its guest to the
other over a unix socket. Three ways to track dirty pages: the bitmap
(<code>-accel kvm</code>), per-vCPU rings
(<code>-accel kvm,dirty-ring-size={env['ring']}</code>), and the same command line with
<code>kvm.dirty_ring_pool=1</code>, which has KVM make a pool of these rings, under each
policy. QEMU knows nothing of the pool.</p>
<p>The guest has {env['memory']} MiB and no operating system, no timer and no interrupt: its
vCPUs stamp pages, {env['hot']:,} pages ({env['hot'] * 4 // 1024} MiB) again and again.
The migration may use {env['bandwidth'] >> 20} MiB/s and {env['downtime_ms']} ms of downtime.
When it is over and the guest is stopped on both sides, all of its memory is compared. Then
it runs on, and checks each page against a table of its own.</p>
<dl>{''.join(f"<dt>{w}</dt><dd>{html.escape(t)}</dd>" for w, t in qemudata.WORKLOADS.items()
             if any(e['workload'] == w for e in data['summary']))}</dl>
"""


def honesty(data):
    if "TCG" not in data["meta"].get("accelerator", ""):
        return ""
    return f"""
<h3>What an emulator can and cannot show here</h3>
<ul>
<li>Good as they are: that memory is equal, that nothing hangs, and that QEMU's use of the
rings (it asserts that as many entries are reset as it harvested) holds with a pool.</li>
<li>Good for comparing modes: ring-full exits, pages sent, dirty syncs. They follow from how
fast the guest writes against how fast QEMU sends, and so spread from round to round.</li>
<li>An indication only: times. {env_cpus(data)} emulated processors are shared by the vCPUs,
QEMU's sending thread and the receiver. With more vCPUs than that, a vCPU that waits for its
turn looks like one that is slowed down, and copying pages is much slower than on hardware
while an exit costs about the same share. Differences within the spread mean nothing.</li>
</ul>
"""


def env_cpus(data):
    return {1: "One", 2: "Two", 4: "Four"}.get(data["env"]["cpus"], str(data["env"]["cpus"]))


def tables(data):
    out = ["<h3>All figures</h3><p>Medians over the rounds. “Times rings” is over that of "
           "per-vCPU rings in the same round. “Pages wrong” is the sum of all rounds.</p>"]
    for workload, what in qemudata.WORKLOADS.items():
        entries = [e for e in data["summary"] if e["workload"] == workload]
        if entries:
            rows, firsts = qemudata.rows(entries)
            out.append(f"<h4>{workload}: {html.escape(what)}</h4>")
            out.append(section_run.html_table(qemudata.COLUMNS, rows, firsts))
    return "".join(out)


def machine(data):
    env, meta = data["env"], data["meta"]
    facts = [("QEMU", env["qemu"]), ("kernel", f"Linux {env['kernel']}"),
             ("virtualization", meta.get("accelerator", "?")),
             ("processors of the VM", env["cpus"]), ("host", meta.get("host", "?")),
             ("repeated, spoilt by the emulator", qemudata.faults(data)),
             ("ended only with any downtime allowed",
              sum(e["forced"] for e in data["summary"])),
             ("commit", meta.get("commit", "?")), ("date", meta.get("date", "?")),
             ("command", meta.get("command", "?"))]
    rows = "".join(f"<tr><td class='l'>{html.escape(k)}</td>"
                   f"<td class='l'>{html.escape(str(v))}</td></tr>" for k, v in facts)
    return f"<h3>The machine</h3><div class='scroll'><table>{rows}</table></div>"


def section(data, figure):
    return (tiles(data) + figures(data, figure) + method(data) + honesty(data) +
            tables(data) + machine(data) +
            f"<p class='sub'>Every single migration is in <code>{SOURCE}</code>.</p>")
