# SPDX-License-Identifier: GPL-2.0
"""run.json: from the lines that dirty_pool_bench wrote, to medians per cell."""
import json
import statistics

WORKLOADS = {
    "uniform": "all vCPUs dirty alike",
    "skewed": "one vCPU dirties 90 % of the pages, the others spread 10 %",
    "vm-scoped": "a device thread writes as many pages as the vCPUs",
    "burst": "pages that one vCPU dirties before it must stop, nobody harvesting",
}
COUNTS = ("ring_full_exits", "parked_exits", "exhausted_exits", "claims",
          "claim_retries", "reserve_claims", "parks", "drains", "exhaustions",
          "overflows", "pushed", "moves", "wakeups", "harvests", "device_eagain")


def summarize(cells, measures, ratios, workloads, counts):
    """An entry for each workload, number of vCPUs and mode: the spread of what
    measures() says of each cell; x_NAME for those in ratios, over per-vCPU rings
    in the same run; and what counts() says of all of its cells."""
    groups, found = {}, {}
    for c in cells:
        key = (c["workload"], c["vcpus"], c["mode"])
        groups.setdefault(key, []).append(c)
        found[key + (c["run"],)] = measures(c)

    summary = []
    for (workload, vcpus, mode), members in groups.items():
        entry = {"workload": workload, "vcpus": vcpus, "mode": mode, "runs": len(members)}
        entry.update(counts(members))
        here = [(found[(workload, vcpus, mode, c["run"])],
                 found.get((workload, vcpus, "per-vcpu", c["run"]))) for c in members]
        for name in here[0][0]:
            entry[name] = spread([value[name] for value, _ in here])
        for name in ratios:
            over = [value[name] / base[name] for value, base in here if base and base[name]]
            if over:
                entry["x_" + name] = spread(over)
        summary.append(entry)
    order = {m: i for i, m in enumerate(mode_names(summary))}
    names = list(workloads)
    summary.sort(key=lambda e: (names.index(e["workload"]), e["vcpus"], order[e["mode"]]))
    return summary


def json_lines(path):
    """Each line's object.  A line cut short by a dying VM is an error."""
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            try:
                yield json.loads(line)
            except ValueError as e:
                raise SystemExit(f"{path}:{number}: no JSON: {e}")


def write_json(path, data, indent=None):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, indent=indent)
        f.write("\n")


def read_lines(path):
    """The env line and the cells."""
    env, cells = {}, []
    for item in json_lines(path):
        if item.get("type") == "env":
            env = item
        elif item.get("type") == "cell":
            cells.append(item)
    return env, cells


def per_page(ns, pages):
    return ns / pages if pages else 0.0


def measures(cell):
    """What is compared between cells, of one measurement."""
    out = {
        "pages_per_s": cell["writes"] * 1e9 / cell["write_ns"],
        "drained_per_s": cell["writes"] * 1e9 / cell["total_ns"],
        "still_ms": cell["still_ns"] / 1e6,
        "still_share": cell["still_ns"] / cell["active_ns"] if cell["active_ns"] else 0,
        "exits_per_kpage": cell["ring_full_exits"] * 1000 / cell["writes"],
        "harvest_ns": per_page(cell["harvest_ns"], cell["marks"]),
        "reset_ns": per_page(cell["reset_ns"], cell["marks"]),
        "mark_ns": per_page(cell["device_mark_ns"], cell["device_writes"]),
        "pages": cell["writes"],
    }
    hot = cell["per_vcpu"][0]
    out["hot_still_share"] = hot["still_ns"] / hot["active_ns"] if hot["active_ns"] else 0
    for name in COUNTS:
        if name in cell:
            out[name] = cell[name]
    return out


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize_run(cells):
    def counts(members):
        return {"tracker": members[0]["tracker"], "nostop": members[0]["nostop"],
                "soft_limit": members[0]["soft_limit"],
                "lost": sum(c["lost"] for c in members),
                "writes": sum(c["writes"] for c in members)}

    return summarize(cells, measures, ("pages_per_s",), WORKLOADS, counts)


def instructions(data):
    """Heading, and a row for each mode: what a page takes, by a clock that counts."""
    cells = [c for c in data.get("counted", []) if c["workload"] == "uniform"]
    base = [c["total_ns"] / c["writes"] for c in cells if c["mode"] == "per-vcpu"]
    out = [["", "instructions a page", "times rings", "of it harvest", "reset", "ring-full exits"]]
    for mode in mode_names(cells):
        for c in cells:
            if c["mode"] == mode:
                page = c["total_ns"] / c["writes"]
                out.append([label(mode), f"{page:,.0f}", f"{page / base[0]:.3f}" if base else "-",
                            f"{per_page(c['harvest_ns'], c['marks']):.0f}",
                            f"{per_page(c['reset_ns'], c['marks']):.0f}",
                            str(c["ring_full_exits"])])
    return out


def mode_names(summary):
    """Baselines first, then policies as they first came, NOSTOP last."""
    seen = []
    for e in summary:
        if e["mode"] not in seen:
            seen.append(e["mode"])
    known = ["bitmap", "per-vcpu", "round-robin", "lru", "last-used", "mru"]

    def rank(name):
        base = name.split("+")[0]
        return ("+" in name, known.index(base) if base in known else len(known), name)
    return sorted(seen, key=rank)


def label(mode):
    """How a mode is called where a reader sees it."""
    if mode == "bitmap":
        return "bitmap"
    if mode == "per-vcpu":
        return "per-vCPU rings"
    return "pool " + mode.replace("+nostop", ", NOSTOP")


def emulator_faults(data):
    """Measurements made again, because the emulator mixed up guest and host."""
    return sum(c.get("emulator_faults", 0) for c in data["cells"])


def busy(data):
    """The host's share in percent that other work took, if that was much."""
    others = int(data["meta"].get("others", 0))
    return others if others >= 10 else None


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)
