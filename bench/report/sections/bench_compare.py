# SPDX-License-Identifier: GPL-2.0
"""Two files of bench.json: of two machines, or of two commits.  For a terminal
only."""
import os

from data import bench as bd
from data import files


def compare(path_a, path_b):
    a, b = files.load(path_a), files.load(path_b)
    name_a, name_b = (x["meta"].get("name") or os.path.basename(p)
                      for x, p in ((a, path_a), (b, path_b)))
    lines = []
    for name, d in ((name_a, a), (name_b, b)):
        m = d["meta"]
        lines.append(f"{name}: {m.get('host', '?')}, commit {m.get('commit', '?')}, {m.get('date', '?')}")

    def row(what, x, y, note=""):
        change = f"{y / x:8.2f}" if x else "       -"
        lines.append(f"  {what:44} {x:10.2f} {y:10.2f} {change}{note}")

    lines.append(f"\n  {'':44} {name_a[:10]:>10} {name_b[:10]:>10}    B / A")
    row("compare-and-swap, ns", bd.med(bd.values(a, "ns", "cas", undo=0)),
        bd.med(bd.values(b, "ns", "cas", undo=0)))
    for r in bd.rivals(a):
        for batch in (1, 64):
            row(f"mark, {bd.label(r)}, batch {batch}, ns", bd.med(bd.marks(a, r, batch)),
                bd.med(bd.marks(b, r, batch)))
    for r in bd.rivals(a):
        for threads in (1, 2):
            row(f"{threads} thread{'s' * (threads > 1)}, {bd.label(r)}, Mpages/s",
                bd.med(bd.pair(a, r, threads)), bd.med(bd.pair(b, r, threads)))
    for p in bd.policies(a):
        for state in ("free", "one free", "one reserve"):
            row(f"claim, 1024 rings, {state}, {p}, ns", bd.med(bd.scale(a, p, state, 1024)),
                bd.med(bd.scale(b, p, state, 1024)))
    for key in sorted(set(a["instructions"]) & set(b["instructions"])):
        x, y = a["instructions"][key], b["instructions"][key]
        if abs(x - y) > 0.05:
            row(f"instructions, {key}", x, y)
    lines.append("\n  targets")
    for x, y in zip(a["targets"], b["targets"]):
        lines.append(f"  {x['value']:>10} {y['value']:>10}  {y['limit']:>9}  "
                     f"{'met' if x['met'] else 'not met'} → "
                     f"{'met' if y['met'] else 'not met'}  {y['target']}")
    return "\n".join(lines)
