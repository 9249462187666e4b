# SPDX-License-Identifier: GPL-2.0
"""run.json as tables for a terminal."""
import rundata


def kilo(value):
    return f"{value / 1000:.1f}k"


def count(entry, name):
    """A median that was counted: whole where the rounds agree."""
    if name not in entry:
        return "-"
    value = entry[name]["median"]
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def rate(entry):
    v = entry["pages_per_s"]
    text = kilo(v["median"])
    if entry["runs"] > 1:
        text += f" ({v['min'] / 1000:.1f}..{v['max'] / 1000:.1f})"
    return text


def ratio(entry):
    return f"{entry['x_pages_per_s']['median']:.2f}" if "x_pages_per_s" in entry else "-"


COLUMNS = (
    ("", "vCPUs", lambda e: str(e["vcpus"])),
    ("", "<mode", lambda e: rundata.label(e["mode"])),
    ("pages/s", "<dirtied", rate),
    ("times", "rings", ratio),
    ("full", "exits", lambda e: count(e, "ring_full_exits")),
    ("stood", "still", lambda e: f"{e['still_ms']['median']:.0f} ms"),
    ("", "", lambda e: f"{100 * e['still_share']['median']:.1f} %"),
    ("harvest", "ns/page", lambda e: f"{e['harvest_ns']['median']:.0f}"),
    ("reset", "ns/page", lambda e: f"{e['reset_ns']['median']:.0f}"),
    ("", "claims", lambda e: count(e, "claims")),
    ("", "retries", lambda e: count(e, "claim_retries")),
    ("", "reserve", lambda e: count(e, "reserve_claims")),
    ("", "parks", lambda e: count(e, "parks")),
    ("", "moves", lambda e: count(e, "moves")),
)
DEVICE_COLUMNS = (
    ("mark", "ns/page", lambda e: f"{e['mark_ns']['median']:.0f}"),
    ("", "EAGAIN", lambda e: count(e, "device_eagain")),
)
LOST = (("", "lost", lambda e: str(e["lost"])),)


def columns(workload):
    return COLUMNS + (DEVICE_COLUMNS if workload == "vm-scoped" else ()) + LOST


def aligned(rows, left):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        yield "  ".join(cell.ljust(w) if i in left else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(r, widths))).rstrip()


def workload_table(entries, workload):
    cols = columns(workload)
    left = {i for i, c in enumerate(cols) if c[1].startswith("<")}
    rows = [[c[0] for c in cols], [c[1].lstrip("<") for c in cols]]
    vcpus = None
    breaks = []
    for e in entries:
        row = [c[2](e) for c in cols]
        if e["vcpus"] == vcpus:
            row[0] = ""
        elif vcpus is not None:
            breaks.append(len(rows))
        vcpus = e["vcpus"]
        rows.append(row)
    for i, line in enumerate(aligned(rows, left)):
        if i in breaks:
            yield ""
        yield "  " + line


def burst_table(entries):
    vcpus = sorted({e["vcpus"] for e in entries})
    modes = rundata.mode_names(entries)
    by = {(e["mode"], e["vcpus"]): e for e in entries}
    rows = [["mode"] + [f"{n} vCPU{'s' if n > 1 else ''}" for n in vcpus]]
    for m in modes:
        row = [rundata.label(m)]
        for n in vcpus:
            e = by.get((m, n))
            row.append(f"{e['pages']['median']:.0f}" if e else "-")
        rows.append(row)
    for line in aligned(rows, {0}):
        yield "  " + line


def text(data):
    summary = data["summary"]
    env = data["env"]
    out = []
    for workload, what in rundata.WORKLOADS.items():
        entries = [e for e in summary if e["workload"] == workload]
        if not entries:
            continue
        out += ["", f"{workload}: {what}"]
        out += burst_table(entries) if workload == "burst" else workload_table(entries, workload)
    counted = rundata.instructions(data)
    if len(counted) > 1:
        out += ["", "instructions of it all, one vCPU, all pages alike, until the last is drained"]
        out += ["  " + row for row in aligned(counted, {0})]
    lost = sum(e["lost"] for e in summary)
    writes = sum(e["writes"] for e in summary)
    out += ["", f"{data['meta']['accelerator']}, {env['cpus']} CPUs, Linux {env['kernel']}; "
            f"medians of {env['runs']} round{'s' if env['runs'] > 1 else ''}"
            f"{' (least..most)' if env['runs'] > 1 else ''}, rings of {env['ring_bytes']} bytes, "
            f"one a vCPU in every mode but the bitmap",
            "times rings: pages/s over that of per-vCPU rings in the same round; "
            "stood still: between a ring-full exit and the next entry",
            f"pages written: {writes}, pages lost: {lost}"]
    if rundata.busy(data):
        out.append(f"other work took {rundata.busy(data)} % of the host's processors: "
                   "times are spread wide")
    faults = rundata.emulator_faults(data)
    if faults:
        out.append(f"measurements spoilt by the emulator and made again: {faults}")
    if data["meta"].get("exit", "0") != "0":
        out.append(f"THE RUN FAILED with exit code {data['meta']['exit']}: "
                   "what it measured until then is above")
    return "\n".join(out)
