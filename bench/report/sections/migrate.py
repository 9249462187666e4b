# SPDX-License-Identifier: GPL-2.0
"""make migrate: live migration by the VMM in bench/migrate"""
from data import files, modes
from data import migrate as md
from data.summary import pick
from markup import chart, columns
from markup.page import esc, failed, terms, tile, tiles
from markup.text import count, median, ranged, rounds, target

SOURCE = "migrate.json"
ORDER = 15
TITLE = "Live migration"


COLUMNS = (
    ("", "<mode", lambda e: modes.label(e["mode"])),
    ("total", "<ms", lambda e: ranged(e, "total_ms", "{:.0f}")),
    ("x", "rings", lambda e: median(e, "x_total_ms", "{:.2f}")),
    ("down", "<ms", lambda e: ranged(e, "downtime_ms", "{:.0f}")),
    ("x", "rings", lambda e: median(e, "x_downtime_ms", "{:.2f}")),
    ("sent/", "memory", lambda e: median(e, "sent", "{:.2f}")),
    ("", "rounds", lambda e: count(e, "rounds")),
    ("writes", "/s", lambda e: median(e, "during", "{:.0f}")),
    ("of", "before", lambda e: median(e, "kept", "{:.0f} %", 100)),
    ("x", "rings", lambda e: median(e, "x_during", "{:.2f}")),
    ("", "stops", lambda e: count(e, "stops")),
    ("of", "vCPU 0", lambda e: count(e, "hot_stops")),
    ("stood", "still", lambda e: median(e, "still_ms", "{:.1f} ms")),
    ("", "lost", lambda e: str(e["lost"])),
)


def groups(entries):
    """(heading, entries) of each table"""
    for workload, what, n, found in md.groups(entries):
        yield f"{workload}, {n} vCPUs: {what}", found


def summary_tiles(data):
    summary = data["summary"]
    lost = sum(e["lost"] for e in summary)
    out = [tile(f"{lost} lost", f"pages in {len(data['cells'])} migrations: memory is compared "
                "while the guest is stopped, and the guest checks its own pages at the "
                "destination", lost > 0)]
    rings, pool = (pick(summary, "skewed", m) for m in ("per-vcpu", md.WORTH))
    if rings and pool:
        a, b = (e["hot_stops"]["median"] for e in (rings, pool))
        out.append(tile(f"{a:.0f} → {b:.0f} stops", f"in one migration, of the one of "
                        f"{rings['vcpus']} vCPUs that writes most: per-vCPU rings → "
                        f"{modes.label(md.WORTH)}"))
    met = sum(t["met"] for t in data["targets"])
    if data["targets"]:
        out.append(tile(f"{met} of {len(data['targets'])} met",
                        "of what is expected of the pool, see below"))
    if files.exit_code(data):
        out.insert(0, failed(files.exit_code(data), "It failed", "what was measured"))
    return tiles(out)


def target_table(data):
    if not data["targets"]:
        return ""
    cols = (("", "<expected"), ("", "measured"), ("", "spread"), ("", "required"), ("", "<"))
    body = [[t["target"], t["value"], t["spread"], t["limit"],
             "met" if t["met"] else "NOT MET"] for t in data["targets"]]
    return (f"<h3>What was expected of the {esc(modes.label(md.WORTH))}</h3>"
            "<p>Figures of the pool are relative to per-vCPU rings of the same size in the same "
            f"round. “No worse” allows for {md.NOISE:.0%} of noise.</p>" +
            columns.as_html(cols, body))


def panel(summary, value, scale=1):
    """One panel a number of vCPUs, the workloads along its axis"""
    out = []
    for n in sorted({e["vcpus"] for e in summary}):
        entries = [e for e in summary if e["vcpus"] == n]
        names = [w for w in md.WORKLOADS if any(e["workload"] == w for e in entries)]
        series = {}
        for e in entries:
            v = e[value]
            at = series.setdefault(e["mode"], [None] * len(names))
            at[names.index(e["workload"])] = tuple(v[k] * scale for k in ("median", "min", "max"))
        out.append((f"{n} vCPUs", names, series))
    return out


FIGURES = (
    ("migrate-total", "Total time of a migration", "total_ms", 1, "ms", True,
     "From the start of logging until the guest runs at the destination."),
    ("migrate-downtime", "Downtime", "downtime_ms", 1, "ms", True,
     "From the moment at which vCPUs are told to stop until the first one runs at the "
     "destination, without the time for comparing memory."),
    ("migrate-sent", "Sent, in multiples of the guest's memory", "sent", 1, "times memory", True,
     "All data sent over the socket. The minimum is 1."),
    ("migrate-kept", "What the guest gets done during its migration", "kept", 100,
     "% of before", True,
     "Pages that the guest stamps per second during the migration, in percent of those in the "
     "half second before it."),
    ("migrate-stops", "Stops of vCPU 0 for full rings", "hot_stops", 1, "stops", False,
     "Exits of vCPU 0 to userspace with <code>KVM_EXIT_DIRTY_RING_FULL</code> in one migration. "
     "In skewed, that is the vCPU that writes most."),
)


def figures(data, figure):
    summary = data["summary"]
    names = modes.names(summary)
    labels = {n: modes.label(n) for n in names}
    out = []
    for name, title, value, scale, unit, bitmap, caption in FIGURES:
        shown = [n for n in names if bitmap or n != "bitmap"]
        runs = max(e["runs"] for e in summary)
        out.append(figure(name, chart.figure(title, panel(summary, value, scale), shown, "bars",
                                             unit, "workload", labels, height=240),
                          f"{caption} {rounds(runs)}"))
    return "".join(out)


def method(data):
    c = data["cells"][0]
    return f"""
<h3>What was measured</h3>
<p>A small VMM (<code>bench/migrate/</code>) migrates a guest with
{c['memory'] >> 20} MiB between two processes over a Unix socket, at no more than
{c['bandwidth'] >> 20} MiB per second. Pre-copy continues until the rest can be sent in
{c['downtime_limit_ms']} ms, or for {c['max_rounds']} rounds. All modes but the bitmap have one
ring per vCPU with {c['ring_entries']} entries: the memory for rings is the same.</p>
<ul>
<li>bitmap, per-vCPU rings: harvested at the end of each round; a vCPU whose ring is full
drains all rings, as in QEMU. With “1 thread”, a thread does so every 100 ms, too.</li>
<li>pool: a vCPU that parked a ring drains it, and others that are a quarter full.</li>
<li>pool, NOSTOP: vCPUs do not exit for a parked ring; the pool's eventfd wakes a thread that
drains. Each of 2 threads has half of the rings, and they reset them in parallel.</li>
</ul>
{terms(md.WORKLOADS.items())}
"""


def honesty(data):
    busy = files.busy(data)
    lines = []
    if files.emulated(data):
        lines += ["Under the emulator the guest, both VMMs and the kernel share two emulated "
                  "processors, so all work takes time from something else. Stops, rounds and "
                  "bytes are valid for comparing modes; times are an indication, and differences "
                  "within the spread mean nothing.",
                  "The guest writes more slowly than on hardware, and the socket is slower by "
                  "the same factor."]
    if busy:
        lines.append(f"Other work took {busy}\u00a0% of the host's processors during the run.")
    if data["emulator_faults"]:
        lines.append(f"{data['emulator_faults']} migrations were repeated because of the "
                     "emulator.")
    return ("<h3>What these figures can and cannot show</h3><ul>" +
            "".join(f"<li>{esc(t)}</li>" for t in lines) + "</ul>") if lines else ""


def tables(data):
    out = ["<h3>All figures</h3>",
           "<p>Medians of the rounds (least to most). “x rings” is relative to per-vCPU rings in "
           "the same round.</p>"]
    for heading, entries in groups(data["summary"]):
        out.append(f"<h4>{esc(heading)}</h4>")
        out.append(columns.as_html(COLUMNS, columns.rows(COLUMNS, entries)))
    return "".join(out)


def machine(data):
    meta = data["meta"]
    return "<p class='sub'>" + esc(
        f"{meta.get('accelerator', '?')}, {meta.get('cpus', '?')} processors, Linux "
        f"{meta.get('kernel', '?')}; host {meta.get('host', '?')}; commit "
        f"{meta.get('commit', '?')}, {meta.get('date', '?')}; {meta.get('command', '?')}"
        ) + "</p>"


def section(data, figure):
    return (summary_tiles(data) + target_table(data) + figures(data, figure) + method(data) +
            honesty(data) + tables(data) + machine(data) +
            "<p class='sub'>Every single migration is in <code>migrate.json</code>.</p>")


def text(data):
    """For a terminal"""
    out = []
    for heading, entries in groups(data["summary"]):
        out += ["", heading]
        out += columns.as_text(COLUMNS, columns.rows(COLUMNS, entries))
    cell = data["cells"][0]
    out += ["", f"{data['meta']['accelerator']}; {cell['memory'] >> 20} MiB of memory, "
            f"{cell['bandwidth'] >> 20} MiB/s, rings of {cell['ring_entries']} entries, "
            "one per vCPU in every mode but the bitmap; medians (least..most)",
            "x rings: relative to per-vCPU rings in the same round; stops: KVM_EXIT_DIRTY_RING_FULL",
            f"lost: pages that differ at the destination, or that the guest found wrong there: "
            f"{sum(e['lost'] for e in data['summary'])} in {len(data['cells'])} migrations"]
    if data["targets"]:
        out += ["", f"expected of the {modes.label(md.WORTH)}, relative to per-vCPU rings "
                f"(no worse: within {md.NOISE:.0%}):"]
        out += [f"  {target(t, 5)} ({t['spread']}), {t['limit']}  {t['target']}"
                for t in data["targets"]]
    if files.busy(data):
        out.append(f"other work took {files.busy(data)} % of the host's processors: "
                   "times spread widely")
    if data["emulator_faults"]:
        out.append(f"migrations repeated because of the emulator: {data['emulator_faults']}")
    if files.exit_code(data):
        out.append(f"IT FAILED with exit code {files.exit_code(data)}: what was measured "
                   "until then is above")
    return "\n".join(out)
