# SPDX-License-Identifier: GPL-2.0
"""migrate.json: from the lines of bench/migrate, to medians, ratios, targets."""
import rundata
import table

WORKLOADS = {
    "idle": "each vCPU writes a page now and then",
    "uniform": "all vCPUs write alike, 4000 pages per second together",
    "skewed": "vCPU 0 writes 4000 pages per second, the others 200 each",
    "bursty": "all vCPUs write 250 pages at once, four times per second",
}
# As in the expectation that is to be shown or refuted
WORTH = "last-used+nostop"
# "No worse": as much may the emulator's noise make it
NOISE = 0.10


def label(mode):
    base, *more = mode.split("+")
    text = base if base == "bitmap" else (
        "per-vCPU rings" if base == "per-vcpu" else f"pool {base}")
    for part in more:
        text += ", NOSTOP" if part == "nostop" else (
            f", {part} thread{'s' if part != '1' else ''}")
    return text


def measures(c):
    seconds = c["run_ns"] / 1e9
    before = sum(v["before_stamps"] for v in c["per_vcpu"]) * 1e9 / c["before_ns"]
    during = sum(v["stamps"] for v in c["per_vcpu"]) / seconds
    others = sum(v["stamps"] for v in c["per_vcpu"][1:]) / seconds
    hot = c["per_vcpu"][0]
    return {
        "total_ms": c["total_ns"] / 1e6,
        "downtime_ms": c["downtime_ns"] / 1e6,
        "sent": c["bytes_sent"] / c["memory"],
        "rounds": c["rounds"],
        "before": before,
        "during": during,
        "kept": during / before if before else 0,
        "others": others,
        "stops": sum(v["full_exits"] for v in c["per_vcpu"]),
        "hot_stops": hot["full_exits"],
        "hot_stops_per_s": hot["full_exits"] / seconds,
        "still_ms": sum(v["still_ns"] for v in c["per_vcpu"]) / 1e6,
        "harvested": c["harvested"],
    }


# Compared with per-vCPU rings of the same round
RATIOS = ("total_ms", "downtime_ms", "sent", "during", "others", "hot_stops_per_s")


def summarize(cells):
    def counts(members):
        return {"tracker": members[0]["tracker"], "nostop": members[0]["nostop"],
                "lost": sum(c["unequal"] + c["bad"] for c in members)}

    return rundata.summarize(cells, measures, RATIOS, WORKLOADS, counts)


def targets(summary):
    """What was expected, met or not: [{target, value, limit, met}]"""
    out = []

    def add(what, entry, name, limit, least=False):
        if not entry or name not in entry:
            return
        value = entry[name]["median"]
        out.append({"target": what, "value": f"{value:.2f}",
                    "limit": f"{'at least' if least else 'at most'} {limit:.2f}",
                    "spread": f"{entry[name]['min']:.2f} to {entry[name]['max']:.2f}",
                    "met": value >= limit if least else value <= limit})

    for e in summary:
        if e["mode"] != WORTH:
            continue
        where = f"{e['workload']}, {e['vcpus']} vCPUs"
        if e["workload"] == "skewed" and e["vcpus"] > 1:
            add(f"{where}: how often the hot vCPU is stopped", e, "x_hot_stops_per_s", 0.25)
            add(f"{where}: writes of the other vCPUs during migration", e, "x_others",
                1 - NOISE, True)
        add(f"{where}: writes of all vCPUs during migration", e, "x_during", 1 - NOISE, True)
        add(f"{where}: total time", e, "x_total_ms", 1 + NOISE)
        add(f"{where}: downtime", e, "x_downtime_ms", 1 + NOISE)
    return out


def collect(lines, out, *meta):
    cells, faults = [], 0
    for item in rundata.json_lines(lines):
        if item["type"] == "fault":
            faults += 1
        else:
            cells.append(item)
    if not cells:
        raise SystemExit(f"{lines}: nothing was migrated")
    summary = summarize(cells)
    data = {"meta": dict(m.split("=", 1) for m in meta), "emulator_faults": faults,
            "targets": targets(summary), "summary": summary, "cells": cells}
    rundata.write_json(out, data, indent=1)


def median(entry, name, form, scale=1):
    return form.format(entry[name]["median"] * scale) if name in entry else "-"


def ranged(entry, name, form):
    v = entry[name]
    text = form.format(v["median"])
    return text + (f" ({form.format(v['min'])}..{form.format(v['max'])})"
                   if entry["runs"] > 1 else "")


COLUMNS = (
    ("", "<mode", lambda e: label(e["mode"])),
    ("total", "<ms", lambda e: ranged(e, "total_ms", "{:.0f}")),
    ("x", "rings", lambda e: median(e, "x_total_ms", "{:.2f}")),
    ("down", "<ms", lambda e: ranged(e, "downtime_ms", "{:.0f}")),
    ("x", "rings", lambda e: median(e, "x_downtime_ms", "{:.2f}")),
    ("sent/", "memory", lambda e: median(e, "sent", "{:.2f}")),
    ("", "rounds", lambda e: table.count(e, "rounds")),
    ("writes", "/s", lambda e: median(e, "during", "{:.0f}")),
    ("of", "before", lambda e: median(e, "kept", "{:.0f} %", 100)),
    ("x", "rings", lambda e: median(e, "x_during", "{:.2f}")),
    ("", "stops", lambda e: table.count(e, "stops")),
    ("of", "vCPU 0", lambda e: table.count(e, "hot_stops")),
    ("stood", "still", lambda e: median(e, "still_ms", "{:.1f} ms")),
    ("", "lost", lambda e: str(e["lost"])),
)


def rows(entries):
    return [[c[2](e) for c in COLUMNS] for e in entries]


def groups(summary):
    """(heading, entries) of each workload and number of vCPUs"""
    for workload, what in WORKLOADS.items():
        for n in sorted({e["vcpus"] for e in summary}):
            entries = [e for e in summary
                       if (e["workload"], e["vcpus"]) == (workload, n)]
            if entries:
                yield f"{workload}, {n} vCPUs: {what}", entries


def text(data):
    out = []
    left = {i for i, c in enumerate(COLUMNS) if c[1].startswith("<")}
    for heading, entries in groups(data["summary"]):
        head = [[c[0] for c in COLUMNS], [c[1].lstrip("<") for c in COLUMNS]]
        out += ["", heading]
        out += ["  " + line for line in table.aligned(head + rows(entries), left)]
    cell = data["cells"][0]
    out += ["", f"{data['meta']['accelerator']}; {cell['memory'] >> 20} MiB of memory, "
            f"{cell['bandwidth'] >> 20} MiB/s, rings of {cell['ring_entries']} entries, "
            "one a vCPU in every mode but the bitmap; medians (least..most)",
            "x rings: over per-vCPU rings in the same round; stops: KVM_EXIT_DIRTY_RING_FULL",
            f"lost: pages that differ at the destination, or that the guest found wrong there: "
            f"{sum(e['lost'] for e in data['summary'])} in {len(data['cells'])} migrations"]
    if data["targets"]:
        out += ["", f"expected of the {label(WORTH)}, over per-vCPU rings "
                f"(no worse: within {NOISE:.0%}):"]
        out += [f"  {'met    ' if t['met'] else 'NOT MET'}  {t['value']:>5} ({t['spread']}), "
                f"{t['limit']}  {t['target']}" for t in data["targets"]]
    if rundata.busy(data):
        out.append(f"other work took {rundata.busy(data)} % of the host's processors: "
                   "times are spread wide")
    if data["emulator_faults"]:
        out.append(f"migrations spoilt by the emulator and made again: {data['emulator_faults']}")
    if data["meta"].get("exit", "0") != "0":
        out.append(f"IT FAILED with exit code {data['meta']['exit']}: what was measured "
                   "until then is above")
    return "\n".join(out)
