# SPDX-License-Identifier: GPL-2.0
"""migrate-qemu.json: from the lines that bench/migrate/qemu wrote, to medians
for each workload, number of vCPUs and mode."""
import rundata
import table

WORKLOADS = {
    "idle": "each vCPU writes a page now and then",
    "uniform": "all vCPUs write alike",
    "skewed": "one vCPU writes all the time, the others a little",
    "bursty": "all vCPUs write at once, then none, and so on",
}
MEASURES = ("total_ms", "downtime_ms", "pages", "bytes", "syncs", "full_exits",
            "stamps_per_s", "progress", "hot_exits")
POOL = ("pushed", "parks", "moves", "reserve_claims", "exhaustions", "claim_retries",
        "overflows")
# What is set against per-vCPU rings of the same round
RATIOS = ("total_ms", "downtime_ms", "pages", "progress")


def measures(cell):
    out = {k: cell[k] for k in MEASURES if k in cell}
    before = cell["stamps_per_s_before"]
    out["progress"] = cell["stamps_per_s"] / before if before else 0.0
    out["hot_exits"] = cell["full_exits_vcpu"][0]
    for k in POOL:
        out[k] = cell["pool"].get(k, 0)
    return out


def summarize(cells):
    def counts(members):
        return {"wrong": sum(c["unequal"] + c["bad"] for c in members),
                "forced": sum(c["forced"] for c in members)}

    return rundata.summarize(cells, measures, RATIOS, WORKLOADS, counts)


def collect(lines, out, *meta):
    env, cells = rundata.read_lines(lines)
    if not cells:
        raise SystemExit(f"{lines}: nothing was measured")
    data = {"meta": dict(m.split("=", 1) for m in meta), "env": env,
            "summary": summarize(cells), "cells": cells}
    rundata.write_json(out, data, indent=1)


def faults(data):
    return sum(c["faults"] for c in data["cells"])


def wrong(data):
    return sum(e["wrong"] for e in data["summary"])


def ratio(entry, name):
    return f"{entry['x_' + name]['median']:.2f}" if "x_" + name in entry else "-"


def spread(entry, name, scale=1.0):
    v = entry[name]
    text = f"{v['median'] * scale:.0f}"
    if entry["runs"] > 1:
        text += f" ({v['min'] * scale:.0f}..{v['max'] * scale:.0f})"
    return text


def pool(name):
    def get(entry):
        return "-" if entry["mode"] in ("bitmap", "per-vcpu") else table.count(entry, name)
    return get


COLUMNS = (
    ("", "vCPUs", lambda e: str(e["vcpus"])),
    ("", "<mode", lambda e: rundata.label(e["mode"])),
    ("total", "<ms", lambda e: spread(e, "total_ms")),
    ("times", "rings", lambda e: ratio(e, "total_ms")),
    ("down", "<ms", lambda e: spread(e, "downtime_ms")),
    ("times", "rings", lambda e: ratio(e, "downtime_ms")),
    ("pages", "sent", lambda e: table.count(e, "pages")),
    ("dirty", "syncs", lambda e: table.count(e, "syncs")),
    ("full", "exits", lambda e: table.count(e, "full_exits")),
    ("guest", "stamps/s", lambda e: table.count(e, "stamps_per_s")),
    ("of", "before", lambda e: f"{100 * e['progress']['median']:.0f} %"),
    ("times", "rings", lambda e: ratio(e, "progress")),
    ("", "parks", pool("parks")),
    ("", "moves", pool("moves")),
    ("", "reserve", pool("reserve_claims")),
    ("pages", "wrong", lambda e: str(e["wrong"])),
)


def rows(entries):
    """The cells of a table, and where a new number of vCPUs begins."""
    out, firsts, vcpus = [], [], None
    for e in entries:
        row = [c[2](e) for c in COLUMNS]
        if e["vcpus"] == vcpus:
            row[0] = ""
        else:
            firsts.append(len(out))
        vcpus = e["vcpus"]
        out.append(row)
    return out, firsts


def text(data):
    """For a terminal."""
    env, out = data["env"], []
    left = {i for i, c in enumerate(COLUMNS) if c[1].startswith("<")}
    for workload, what in WORKLOADS.items():
        entries = [e for e in data["summary"] if e["workload"] == workload]
        if not entries:
            continue
        out += ["", f"{workload}: {what}"]
        body, firsts = rows(entries)
        head = [[c[0] for c in COLUMNS], [c[1].lstrip("<") for c in COLUMNS]]
        for i, line in enumerate(table.aligned(head + body, left)):
            if i - 2 in firsts[1:]:
                out.append("")
            out.append("  " + line)
    out += ["", f"{env['qemu'].split(' (')[0]}, {data['meta']['accelerator']}, {env['cpus']} "
            f"CPUs, Linux {env['kernel']}; medians of {env['runs']} "
            f"round{'s' * (env['runs'] > 1)}; guests of {env['memory']} MiB, of which "
            f"{env['hot'] * 4 // 1024} MiB are written again and again; rings of {env['ring']} "
            f"entries, at most {env['bandwidth'] >> 20} MiB/s",
            "times rings: over that of per-vCPU rings in the same round; wrong: pages that "
            "differ after the switch, or that the guest found stale",
            f"{len(data['cells'])} migrations, pages wrong: {wrong(data)}"]
    if faults(data):
        out.append(f"migrations spoilt by the emulator and made again: {faults(data)}")
    if data["meta"].get("exit", "0") != "0":
        out.append(f"THE RUN FAILED with exit code {data['meta']['exit']}: "
                   "what it measured until then is above")
    return "\n".join(out)
