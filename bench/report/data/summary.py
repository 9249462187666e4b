# SPDX-License-Identifier: GPL-2.0
"""Summaries of several rounds."""
import statistics

from data import modes


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(cells, measures, ratios, workloads, counts):
    """An entry for each workload, number of vCPUs and mode, with the spread of what
    measures() returns for each cell; x_NAME for each name in ratios, relative to
    per-vCPU rings in the same run; and what counts() returns for all its cells."""
    groups, found = {}, {}
    for c in cells:
        key = (c["workload"], c["vcpus"], c["mode"])
        groups.setdefault(key, []).append(c)
        found[key + (c["run"],)] = measures(c)

    out = []
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
        out.append(entry)
    order = {m: i for i, m in enumerate(modes.names(out))}
    names = list(workloads)
    out.sort(key=lambda e: (names.index(e["workload"]), e["vcpus"], order[e["mode"]]))
    return out


def pick(entries, workload, mode):
    """The entry with most vCPUs."""
    found = [e for e in entries if (e["workload"], e["mode"]) == (workload, mode)]
    return max(found, key=lambda e: e["vcpus"], default=None)


def target(what, value, limit, met):
    return {"target": what, "value": value, "limit": limit, "met": met}
