# SPDX-License-Identifier: GPL-2.0
"""make migrate-qemu: live migration by an unmodified QEMU"""
from data import files, modes
from data import qemu as qd
from markup import chart, columns
from markup.page import esc, facts, failed, terms, tile, tiles
from markup.text import count, median, plural, ranged, rounds

SOURCE = "migrate-qemu.json"
ORDER = 16
TITLE = "Live migration by an unmodified QEMU"


def pool(name):
    """A count that only a pool has"""
    return lambda e: count(e, name) if modes.is_pool(e["mode"]) else "-"


COLUMNS = (
    ("", "vCPUs", lambda e: str(e["vcpus"])),
    ("", "<mode", lambda e: modes.label(e["mode"])),
    ("total", "<ms", lambda e: ranged(e, "total_ms", "{:.0f}")),
    ("times", "rings", lambda e: median(e, "x_total_ms", "{:.2f}")),
    ("down", "<ms", lambda e: ranged(e, "downtime_ms", "{:.0f}")),
    ("times", "rings", lambda e: median(e, "x_downtime_ms", "{:.2f}")),
    ("pages", "sent", lambda e: count(e, "pages")),
    ("dirty", "syncs", lambda e: count(e, "syncs")),
    ("full", "exits", lambda e: count(e, "full_exits")),
    ("guest", "stamps/s", lambda e: count(e, "stamps_per_s")),
    ("of", "before", lambda e: median(e, "progress", "{:.0f} %", 100)),
    ("times", "rings", lambda e: median(e, "x_progress", "{:.2f}")),
    ("", "parks", pool("parks")),
    ("", "moves", pool("moves")),
    ("", "reserve", pool("reserve_claims")),
    ("pages", "wrong", lambda e: str(e["wrong"])),
)


def most(data):
    """The entries of the skewed guest, if there is one, with the most vCPUs"""
    summary = data["summary"]
    entries = [e for e in summary if e["workload"] == "skewed"] or summary
    n = max(e["vcpus"] for e in entries)
    return [e for e in entries if e["vcpus"] == n]


def summary_tiles(data):
    wrong = qd.wrong(data)
    cells = data["cells"]
    out = [tile(f"{wrong} pages wrong",
                f"after {len(cells)} live migrations, {sum(c['pages'] for c in cells):,} pages "
                "sent: both sides' memory compared after the switch, then checked by the "
                "guest itself", wrong > 0)]
    entries = most(data)
    rings = [e for e in entries if e["mode"] == "per-vcpu"]
    pools = [e for e in entries if modes.is_pool(e["mode"])]
    if rings and pools:
        best = min(pools, key=lambda e: e["full_exits"]["median"])
        out.append(tile(
            f"{rings[0]['full_exits']['median']:.0f} → {best['full_exits']['median']:.0f} exits",
            f"for a full ring in a migration, {best['workload']} guest of {best['vcpus']} vCPUs: "
            f"per-vCPU rings → {modes.label(best['mode'])}"))
        low = min(e["x_total_ms"]["median"] for e in pools)
        high = max(e["x_total_ms"]["median"] for e in pools)
        out.append(tile(f"{low:.2f} to {high:.2f} ×",
                        "the total time with per-vCPU rings, for the policies in the same guest"))
    if files.exit_code(data):
        out.insert(0, failed(files.exit_code(data)))
    return tiles(out)


def figures(data, figure):
    summary = data["summary"]
    names = modes.names(summary)
    labels = {n: modes.label(n) for n in names}
    rings = [n for n in names if n != "bitmap"]
    out = []
    for name, value, scale, shown, title, unit, caption in (
            ("qemu-total", "total_ms", 1e-3, names, "Total time of a migration", "s",
             "From the command to the end, as reported by QEMU."),
            ("qemu-downtime", "downtime_ms", 1, names, "Downtime", "ms",
             "How long the guest ran on neither side, as reported by QEMU. QEMU "
             f"may take {data['env']['downtime_ms']} ms; it stops the guest when it expects "
             "the rest to fit."),
            ("qemu-exits", "full_exits", 1, rings, "Exits for a full ring, per migration",
             "exits", "Counted by KVM's own tracepoint. QEMU drains all rings at each."),
            ("qemu-progress", "progress", 100, names, "What the guest got done during the migration",
             "% of before", "Stamps per second from the command until the guest was stopped, in "
             "percent of those in the second before.")):
        parts = chart.panels(summary, value, qd.WORKLOADS, scale)
        if parts:
            out.append(figure(name, chart.figure(title, parts, shown, "bars", unit, "vCPUs",
                                                 labels, height=240), f"{caption} {rounds(data['env']['runs'])}"))
    return "".join(out)


def method(data):
    env = data["env"]
    return f"""
<h3>What was measured</h3>
<p>Inside the VM, in the host's root, two processes of Debian's {esc(env['qemu'])}, unmodified,
migrate a guest from one to the other over a unix socket. Three ways to track dirty pages: the
bitmap
(<code>-accel kvm</code>), per-vCPU rings
(<code>-accel kvm,dirty-ring-size={env['ring']}</code>), and the same command line with
<code>kvm.dirty_ring_pool=1</code>, which makes a pool of these rings, under each policy. QEMU
does not know of the pool.</p>
<p>The guest has {env['memory']} MiB and no operating system, no timer and no interrupt: its
vCPUs keep stamping {env['hot']:,} pages ({env['hot'] * 4 // 1024} MiB). The migration may use
{env['bandwidth'] >> 20} MiB/s and {env['downtime_ms']} ms of downtime. Afterwards, with the guest
stopped on both sides, all of its memory is compared. Then the guest continues, and checks each
page against a table of its own.</p>
{terms((w, t) for w, t in qd.WORKLOADS.items()
       if any(e['workload'] == w for e in data['summary']))}
"""


def honesty(data):
    if not files.emulated(data):
        return ""
    return f"""
<h3>What an emulator can and cannot show here</h3>
<ul>
<li>Valid for any machine: memory is equal, nothing hangs, and QEMU's use of the rings (it
asserts that as many entries are reset as it harvested) works with a pool.</li>
<li>Valid for comparing modes: ring-full exits, pages sent, dirty syncs. They depend on how fast
the guest writes and how fast QEMU sends, and so vary from round to round.</li>
<li>An indication only: times. The vCPUs, QEMU's sending thread and the receiver share
{env_cpus(data)} emulated processors. With more vCPUs than that, a vCPU that waits for its turn
looks like one that is slowed down. Copying pages is much slower than on hardware, while an exit
costs about the same share. Differences within the spread mean nothing.</li>
</ul>
"""


def env_cpus(data):
    return {1: "one", 2: "two", 4: "four"}.get(data["env"]["cpus"], str(data["env"]["cpus"]))


def tables(data):
    out = ["<h3>All figures</h3><p>Medians of the rounds. “Times rings” is relative to per-vCPU "
           "rings in the same round. “Pages wrong” is the sum of all rounds.</p>"]
    for workload, what in qd.WORKLOADS.items():
        entries = [e for e in data["summary"] if e["workload"] == workload]
        if entries:
            out.append(f"<h4>{workload}: {esc(what)}</h4>")
            out.append(columns.as_html(COLUMNS, *columns.grouped(COLUMNS, entries)))
    return "".join(out)


def machine(data):
    env, meta = data["env"], data["meta"]
    pairs = [("QEMU", env["qemu"]), ("kernel", f"Linux {env['kernel']}"),
             ("virtualization", meta.get("accelerator", "?")),
             ("processors of the VM", env["cpus"]), ("host", meta.get("host", "?")),
             ("repeated because of the emulator", qd.faults(data)),
             ("complete only with unlimited downtime",
              sum(e["forced"] for e in data["summary"])),
             ("commit", meta.get("commit", "?")), ("date", meta.get("date", "?")),
             ("command", meta.get("command", "?"))]
    return "<h3>The machine</h3>" + facts(pairs)


def section(data, figure):
    return (summary_tiles(data) + figures(data, figure) + method(data) + honesty(data) +
            tables(data) + machine(data) +
            f"<p class='sub'>Every single migration is in <code>{SOURCE}</code>.</p>")


def text(data):
    """For a terminal"""
    env, out = data["env"], []
    for workload, what in qd.WORKLOADS.items():
        entries = [e for e in data["summary"] if e["workload"] == workload]
        if not entries:
            continue
        out += ["", f"{workload}: {what}"]
        out += columns.as_text(COLUMNS, *columns.grouped(COLUMNS, entries))
    out += ["", f"{env['qemu'].split(' (')[0]}, {data['meta']['accelerator']}, {env['cpus']} "
            f"CPUs, Linux {env['kernel']}; medians of "
            f"{plural(env['runs'], 'round')}; guests of {env['memory']} MiB, of which "
            f"{env['hot'] * 4 // 1024} MiB are written all the time; rings of {env['ring']} "
            f"entries, at most {env['bandwidth'] >> 20} MiB/s",
            "times rings: relative to per-vCPU rings in the same round; wrong: pages that differ "
            "after the switch, or that the guest found stale",
            f"{len(data['cells'])} migrations, pages wrong: {qd.wrong(data)}"]
    if qd.faults(data):
        out.append(f"migrations repeated because of the emulator: {qd.faults(data)}")
    if files.exit_code(data):
        out.append(f"THE RUN FAILED with exit code {files.exit_code(data)}: "
                   "what it measured until then is above")
    return "\n".join(out)
