# SPDX-License-Identifier: GPL-2.0
"""The part of bench.json that was simulated in virtual time."""
from data import bench as bd

SHARED = ("last-used", "round-robin:16", "round-robin", "round-robin:256", "lru:16", "lru",
          "lru:256", "emptiest:16", "emptiest", "emptiest:256")


def model(data):
    """The costs of the model, or None if nothing was simulated"""
    return bd.cell(data, "virtual-model")


def sizes(data, q="virtual-mark"):
    return sorted({c["vcpus"] for c in bd.cells(data, q)})


def mark(data, rival, vcpus, paced):
    """paced: does a fault come before each mark?"""
    for c in bd.cells(data, "virtual-mark", rival=rival, vcpus=vcpus):
        if bool(c["fault"]) == paced:
            return c
    return None


def steady(c):
    """Short runs end with more requests of a line under way than they began with, and
    then are too fast."""
    return c["line_busy"] < 1.2


def limit(data, rival, paced):
    """The cell from which on more CPUs do not help, of the sizes simulated, and the one
    after it; None if they always help."""
    found = [mark(data, rival, n, paced) for n in sizes(data)]
    for here, after in zip(found, found[1:]):
        if after["mpages"] < 1.25 * here["mpages"]:
            return here, after
    return None


def errors(data):
    """[(policy, CPUs, simulated ns, measured ns)]: of a mark, batch 1"""
    out = []
    for p in SHARED:
        alone, two = bd.marks(data, p, 1), bd.pair(data, p, 2)
        for n, measured in ((1, bd.med(alone)), (2, 2e3 / bd.med(two) if two else 0)):
            c = bd.cell(data, "virtual-check", rival=p, vcpus=n)
            if c and measured:
                out.append((p, n, c["ns"], measured))
    return out


def tests(data):
    """[(test, passed)]: do the simulated CPUs share lines, and are the counts sane?"""
    if not model(data):
        return [("virtual: simulated", False)]
    out = [("virtual: one and two CPUs, to compare with measured ones",
            bool(bd.cells(data, "virtual-check")))]
    for c in bd.cells(data, "virtual-mark"):
        name = f"virtual, {c['rival']}, {c['vcpus']} vCPUs, fault {c['fault']:g}"
        out.append((f"{name}: each mark is a claim", c["claims"] == c["all_marks"]))
    for p in SHARED:
        one, two, four = (mark(data, p, n, False)["ns"] for n in (1, 2, 4))
        if p == "last-used":
            out.append((f"virtual, {p}: marks of CPUs that share no line cost the same",
                        0.9 < two / one < 1.1))
        else:
            out.append((f"virtual, {p}: CPUs that share a line wait for it",
                        two > 1.1 * one and four > 1.1 * one))
    for c in bd.cells(data, "virtual-search"):
        out.append((f"virtual, {c['rival']}, {c['vcpus']} vCPUs: a search that finds a line "
                    "elsewhere takes longer than the next one", c["first"] > c["again"]))
    for p in {c["rival"] for c in bd.cells(data, "virtual-drain")}:
        few, many = (bd.cell(data, "virtual-drain", rival=p, vcpus=16, drainers=d)
                     for d in (1, 8))
        out.append((f"virtual, {p}: drains keep up with 16 vCPUs",
                    many["stalled"] < 0.01 and not few["lost"] and not many["lost"]))
    return out
