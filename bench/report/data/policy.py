# SPDX-License-Identifier: GPL-2.0
"""Which policy is worth its code: what a mark costs under it, against how often and
how long vCPUs stop.  From bench.json."""
from data import bench as bd
from data import modes

SKEWS = ("uniform", "zipf 0.9", "zipf 1.2", "one-hot")
PERIOD = 20	# ms between drains


def drains(data, rival):
    """A cell for each skew, or nothing if one was not simulated"""
    found = [bd.cell(data, "drains", rival=rival, skew=s, period_ms=PERIOD) for s in SKEWS]
    return found if all(found) else []


def per_page(cells, key, scale):
    """The mean over the skews"""
    return sum(c[key] * scale / c["marked"] for c in cells) / len(cells)


def entries(data):
    """[{mode, mark (ns), pair (ns with two busy threads), exits and parks (in 1000
    pages), still (ns a page), sum (mark + still)}].  Marks do not depend on NOSTOP."""
    out = []
    for rival in ("per-vcpu",) + bd.policies(data):
        mark = bd.marks(data, rival, 1)
        if not mark:
            continue
        pair = bd.pair(data, rival, 2)
        for flag in ("", "+nostop"):
            cells = drains(data, rival + flag)
            if not cells:
                continue
            entry = {"mode": rival + flag, "mark": bd.med(mark),
                     "pair": 2e3 / bd.med(pair) if pair else None,
                     "each": [c["exits"] for c in cells],
                     "exits": per_page(cells, "exits", 1e3),
                     "parks": per_page(cells, "parks", 1e3),
                     "still": per_page(cells, "still_ms", 1e6)}
            entry["sum"] = entry["mark"] + entry["still"]
            out.append(entry)
    return out


def dominated(entry, others, worse):
    """Another entry that is better in something by 2 %, and worse in nothing"""
    for o in others:
        if o is entry or o["mode"] == "per-vcpu":
            continue
        a = [(o[k], entry[k]) for k in {"mark", "still", worse}]
        if all(x <= y * 1.02 for x, y in a) and any(x < y * 0.98 for x, y in a):
            return o
    return None


def split(found):
    """Without NOSTOP, and with it: [(entries, what counts there)]"""
    plain = [e for e in found if "+" not in e["mode"]]
    return [(plain, "still"), ([e for e in found if "+" in e["mode"]], "parks")]


def edge(group, worse):
    """Those that no other dominates, cheapest first"""
    return sorted((e for e in group if e["mode"] != "per-vcpu" and
                   not dominated(e, group, worse)), key=lambda e: e["mark"])


def sentences(data):
    """What follows from the figures, for a reader"""
    found = entries(data)
    plain, flagged = split(found)
    out = []
    base = next((e for e in found if e["mode"] == "per-vcpu"), None)
    best = min((e for e in plain[0] if e is not base), key=lambda e: e["sum"], default=None)
    if not best:
        return out
    out.append(f"Without NOSTOP, {best['mode']} costs least in all: a mark and the time that "
               f"vCPUs stop for it take {best['sum']:.0f} ns a page" +
               (f", with per-vCPU rings {base['sum']:.0f} ns." if base else "."))
    for group, worse in (plain, flagged):
        names = [e["mode"] for e in edge(group, worse)]
        over = [f"{e['mode']} (by {dominated(e, group, worse)['mode']})" for e in group
                if e is not base and dominated(e, group, worse)]
        if names:
            what = "stop vCPUs for less time" if worse == "still" else "park fewer rings"
            out.append(f"{'With' if worse == 'parks' else 'Without'} NOSTOP no policy is both "
                       f"cheaper than {', '.join(names)} and would {what}" +
                       (f"; dominated are {', '.join(over)}." if over else "."))
    return out


def policy(entry):
    return entry["mode"].split("+")[0].split(":")[0]


def verdict(data, name):
    """[sentence] on one policy, under its own quantum and under others"""
    found = entries(data)
    if not any(e["mode"] == name for e in found):
        raise SystemExit(f"{name} was not measured")
    out = []
    for group, worse in split(found):
        # Not by itself under another quantum: that is no code
        others = [e for e in group if policy(e) != name]
        for e in group:
            if policy(e) != name:
                continue
            over = dominated(e, others, worse)
            what = f"{e['still']:.0f} ns stopped" if worse == "still" else f"{e['parks']:.2f} parks in 1000"
            head = f"{e['mode']}: {e['mark']:.1f} ns a mark, {what}"
            if over:
                other = (f"{over['still']:.0f} ns" if worse == "still" else f"{over['parks']:.2f}")
                out.append(f"{head}: dominated, {over['mode']} has "
                           f"{over['mark']:.1f} ns and {other}")
            else:
                out.append(f"{head}: on the edge, no other policy is better in both")
    default = next((e for e in found if e["mode"] == modes.DEFAULT), None)
    own = next(e for e in found if e["mode"] == name)
    if all("dominated" in line for line in out):
        out.append("not worth its code")
    if default and own is not default:
        out.append(f"in all {own['sum']:.0f} ns a page, under {modes.DEFAULT}, the default, "
                   f"{default['sum']:.0f} ns")
    return out
