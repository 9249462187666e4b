# SPDX-License-Identifier: GPL-2.0
"""make policy, make bench: cost of a mark against exits and stops"""
from data import bench as bd
from data import policy as pd
from markup import chart
from markup.page import esc, table
from markup.text import indented

SOURCE = "bench.json"
ORDER = 10
TITLE = "Which policy: the cost of a mark against the vCPUs' stops"

HEAD = ["", "ns a mark", "two busy threads", "stopped, ns a page", "together",
        *(f"exits, {s}" for s in pd.SKEWS), "parks in 1000 pages"]


def label(mode):
    return "ring per vCPU" if mode == "per-vcpu" else mode.replace("+nostop", ", NOSTOP")


def rows(found):
    return [[label(e["mode"]), f"{e['mark']:.1f}", f"{e['pair']:.1f}" if e["pair"] else "-",
             f"{e['still']:.0f}", f"{e['sum']:.0f}", *(f"{x:.0f}" for x in e["each"]),
             f"{e['parks']:.2f}"] for e in sorted(found, key=lambda e: e["sum"])]


def section(data, figure):
    found = pd.entries(data)
    if not found:
        return ""
    plain, flagged = pd.split(found)
    panels = [
        ("ring-full exits, in 1000 pages", {e["mode"]: (e["mark"], e["exits"]) for e in plain[0]}),
        ("vCPUs stopped, ns a page", {e["mode"]: (e["mark"], e["still"]) for e in plain[0]}),
        ("rings parked, in 1000 pages, with NOSTOP",
         {e["mode"]: (e["mark"], e["parks"]) for e in flagged[0]}),
    ]
    names = {e["mode"]: label(e["mode"]).split(",")[0] for e in found}
    said = "".join(f"<p>{esc(s)}</p>" for s in pd.sentences(data))
    return (
        said +
        figure("bench-policy", chart.scatter("What a policy costs, and what it saves", panels,
                                             names, "ns a mark, one page at a time, one thread"),
               "Down and to the left is better. Marks are measured; exits, stops and parks are "
               f"simulated with the pool's own code: 16 vCPUs, rings of 1024 entries, a drain every "
               f"{pd.PERIOD} ms, a page each µs, the mean of four skews. With NOSTOP no policy here "
               "makes a vCPU stop unless the table says so; then the number of parks counts, "
               "each of which wakes the thread that drains.") +
        table(HEAD, rows(found), 1))


def text(data, name=None):
    """For a terminal; with a verdict on a policy if one is named"""
    found = pd.entries(data)
    head = ["", "ns/mark", "2 threads", "stopped", "sum", *pd.SKEWS, "parks/1000"]
    out = ["", "cost of a mark, and what vCPUs stop for: ns a page; exits by skew, a drain every "
           f"{pd.PERIOD} ms"] + indented([head] + rows(found), {0})
    out += [""] + [f"  {s}" for s in pd.sentences(data)]
    if name:
        out += ["", f"verdict on {name}"] + [f"  {s}" for s in pd.verdict(data, name)]
    return "\n".join(out)
