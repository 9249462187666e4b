# SPDX-License-Identifier: GPL-2.0
"""make bench: up to 4096 vCPUs in virtual time"""
from data import bench as bd
from data import virtual as vd
from markup import chart
from markup.page import table
from markup.text import indented, number

SOURCE = "bench.json"
ORDER = 22
TITLE = "Up to 4096 vCPUs, in virtual time"


def show(ns, exact=True):
    scale, unit = next((s, u) for s, u in ((1e6, "ms"), (1e3, "µs"), (1, "ns"))
                       if ns >= s or s == 1)
    return f"{'' if exact else '> '}{ns / scale:.3g} {unit}"


def names(data):
    return [p for p in vd.SHARED if vd.mark(data, p, 1, False)]


def cost_rows(data, paced):
    """A row for each policy: ns per mark by number of vCPUs"""
    push = vd.model(data)["push"]
    out = [["per-vcpu"] + [show(push)] * len(vd.sizes(data))]
    for p in names(data):
        found = [vd.mark(data, p, n, paced) for n in vd.sizes(data)]
        out.append([p] + [show(c["ns"], vd.steady(c)) for c in found])
    return out


def limit_rows(data):
    out = []
    for p in names(data):
        row = [p]
        for paced in (False, True):
            found = vd.limit(data, p, paced)
            row += [str(found[0]["vcpus"]), number(found[0]["mpages"]),
                    found[1]["line"]] if found else ["never", "", ""]
        out.append(row)
    return out


def search_rows(data):
    out = []
    for c in bd.cells(data, "virtual-search"):
        out.append([c["rival"], str(c["vcpus"])] +
                   [show(c[k]) for k in ("first", "again", "all", "longest")] +
                   [str(c["reserves"])])
    return out


def drain_rows(data):
    return [[c["rival"], str(c["vcpus"]), str(c["drainers"]), f"{c['pushed']:.1f}",
             f"{c['drained']:.1f}", f"{c['parks']:,.0f}", f"{c['exits']:,.0f}",
             f"{100 * c['stalled']:.1f} %", str(c["lost"])]
            for c in bd.cells(data, "virtual-drain")]


def error_rows(data):
    return [[p, str(n), f"{ours:.1f} ns", f"{measured:.1f} ns",
             f"{100 * (ours / measured - 1):+.0f} %"]
            for p, n, ours, measured in vd.errors(data)]


SEARCH = ["policy", "vCPUs", "first", "again", "all at once: mean", "longest", "reserves"]
DRAIN = ["policy", "vCPUs", "drainers", "pushed per µs", "drained", "parks per s", "exits per s",
         "stalled", "lost"]
LIMIT = ["policy", "marking only: vCPUs", "marks per µs", "busiest line",
         "a fault before each: vCPUs", "marks per µs", "busiest line"]
ERROR = ["policy", "CPUs", "simulated", "measured", "error"]


def panel(data, title, paced):
    sizes = vd.sizes(data)
    top = {p: [vd.mark(data, p, n, paced)["mpages"] / n for n in sizes] for p in names(data)}
    best = 1e3 / (vd.model(data)["push"] + (vd.model(data)["fault"] if paced else 0))
    series = {p: [(100 * v / best,) * 3 for v in values] for p, values in top.items()}
    series["per-vcpu"] = [(100,) * 3 for _ in sizes]
    return (title, [str(n) for n in sizes], series)


def section(data, figure):
    costs = vd.model(data)
    if not costs:
        return "<p>Nothing was simulated.</p>"
    sizes = vd.sizes(data)
    shown = ["per-vcpu"] + names(data)
    head = ["ns per mark"] + [f"{n} vCPUs" for n in sizes]
    near = bd.values(data, "ns", "line")
    return (
        figure("virtual-marks", chart.figure(
            "Marks per vCPU, of those of a ring per vCPU",
            [panel(data, "marking only", False), panel(data, "a fault before each mark", True)],
            shown, "lines", "%", "vCPUs", {n: bd.label(n) for n in shown}, height=280),
            "The pool's own code, each vCPU on a CPU of its own. A CPU's clock advances by what "
            "the model says that an access costs.") +
        "<h3>Marking only</h3>" + table(head, cost_rows(data, False)) +
        "<h3>A fault before each mark</h3>" + table(head, cost_rows(data, True)) +
        "<p>The fault is not included. &gt;: too slow for the length of the run; the true value is "
        "higher.</p><h3>Where more vCPUs do not help</h3>" + table(LIMIT, limit_rows(data)) +
        "<h3>A mark while all rings but one are parked</h3>" +
        table(SEARCH, search_rows(data), 1) +
        "<h3>Drainers</h3>" + table(DRAIN, drain_rows(data), 1) +
        "<h3>The model</h3>" + table(["cost", "ns"], [[k, f"{v:g}"] for k, v in costs.items()
                                                       if k != "q"]) +
        (f"<p>A line from the other CPU took {bd.med(near):.0f} ns in the same run.</p>"
         if near else "") + table(ERROR, error_rows(data), 1))


def text(data):
    """For a terminal"""
    if not vd.model(data):
        return ""
    head = [f"{n} vCPUs" for n in vd.sizes(data)]
    lines = []
    for title, rows, left in (
            ("virtual time: a mark, marking only", [[""] + head] + cost_rows(data, False), {0}),
            ("... with a fault before each, which is not included",
             [[""] + head] + cost_rows(data, True), {0}),
            ("... more vCPUs do not help from", [LIMIT] + limit_rows(data), {0, 3, 6}),
            ("... a mark, all rings but one are parked", [SEARCH] + search_rows(data), {0}),
            ("... drainers", [DRAIN] + drain_rows(data), {0}),
            ("... error of the model", [ERROR] + error_rows(data), {0})):
        lines += ["", title] + indented(rows, left)
    return "\n".join(lines)
