# SPDX-License-Identifier: GPL-2.0
"""Where the simulations of make bench and the VM of make run disagree, and why"""
import math

from data import bench as bd
from data import files, modes
from markup.page import esc, table
from markup.text import number

SOURCE = ("bench.json", "run.json")
ORDER = 30
TITLE = "Where the simulation and the VM disagree"

# Smaller factors mean nothing
SAME = 1.25
CLOSER = 1.1


def median(entry, name):
    return entry[name]["median"] if name in entry else None


def entries(run, workload, vcpus=None):
    return [e for e in run["summary"] if e["workload"] == workload and
            vcpus in (None, e["vcpus"])]


def nearest(cells, key, value):
    return min(cells, key=lambda c: abs(math.log(c[key] / value)))[key] if cells else None


def apart(a, b):
    """The factor between two counts; very few count as none."""
    a, b = (max(x, 0.02) for x in (a, b))
    return max(a / b, b / a)


def soft_limit(run):
    return max(e["soft_limit"] for e in run["summary"]) or run["env"]["ring_bytes"] // 16 - 64


def capacity(bench, run):
    rows = []
    for e in entries(run, "burst"):
        soft = soft_limit(run)
        c = bd.cell(bench, "capacity", rival=e["mode"], skew="one-hot", vcpus=e["vcpus"])
        if not c:
            continue
        room = 1 if e["mode"] == "per-vcpu" else e["vcpus"]
        there = median(e, "pages") / (room * soft)
        here = c["stop"] / (room * (c["entries"] - c["rsvd"]))
        rows.append([str(e["vcpus"]), modes.label(e["mode"]), f"{median(e, 'pages'):,.0f}",
                     f"{c['stop']:,}", f"{there:.3f}", f"{here:.3f}"])
    if not rows:
        return ""
    worst = max(apart(float(r[4]), float(r[5])) for r in rows)
    # Pages that the VM dirties in addition to those that it counts
    extra = max((c["marks"] - c["writes"] for c in run["cells"]
                 if c["workload"] == "burst" and c["mode"] == "per-vcpu"), default=0)
    return ("<h3>Question 3: capacity</h3><p>" +
            ("They agree: " if worst < 1.02 else "They do not agree: ") +
            f"as shares of the room below the soft limits, they differ by a factor of {worst:.3f} at most. "
            "The counts themselves differ because the VM's rings have "
            f"{run['env']['ring_bytes'] // 16} entries and the simulated ones 1024. " +
            (f"The VM's vCPU also dirties {extra} page{'s' * (extra != 1)} outside of the measured "
             "memory, which its count leaves out." if extra else "") + "</p>" +
            table(["vCPUs", "no drains, one vCPU dirties", "pages in the VM", "simulated",
                   "VM, share of the soft limits", "simulated"], rows, 2))


def reasons(workload, n, soft, cost):
    """What each simulation changes in comparison with the previous one"""
    return (f"{n} vCPUs with rings of {soft}, not 16 with 960",
            f"a harvest takes the time of {cost:g} pages per entry, not 0.05",
            "the VM has two CPUs, and while one harvests " +
            ("only one vCPU can park another ring" if workload == "uniform" else
             "the cold vCPUs, which write 16 pages at a time, mostly write nothing"),
            "a switch of vCPUs takes the time of 20 pages, so fewer park a ring before the "
            "harvest has freed all")


def why(mode, steps, there, texts):
    """The changes from the simulation to the VM that close the gap"""
    if apart(steps[0], there) < SAME:
        return "they agree"
    out, at = [], steps[0]
    for value, text in zip(steps[1:], texts):
        if apart(value, there) * CLOSER < apart(at, there):
            out.append(f"{text}: {at:.2f} → {value:.2f}")
            at = value
    if apart(at, there) >= SAME:
        out.append(("not simulated: the reaper that the eventfd wakes has to wait for a CPU"
                    if "+nostop" in mode else "not explained") + f": {at:.2f} → {there:.2f}")
    return "; ".join(out)


def twin(bench, e, run, cost):
    """The simulations from question 4 to the VM, in exits per ring's worth of pages"""
    soft = soft_limit(run)
    match = {"rival": e["mode"], "workload": e["workload"], "vcpus": e["vcpus"]}
    pages = median(e, "pages_per_s") * run["env"]["period_ms"] / 1000
    near = nearest(bd.cells(bench, "twin", **match), "pages_a_period", pages)
    found = [bd.cell(bench, "twin", pages_a_period=near, cpus=cpus, swap=swap, cost=c, **match)
             for c, cpus, swap in ((0.05, 0, 0), (cost, 0, 0), (cost, 2, 0), (cost, 2, 20))]
    return [c["exits"] * soft / c["marked"] for c in found] if all(found) else None


def drains(bench, run, workload):
    every = bd.cells(bench, "twin", workload=workload)
    counts = {e["vcpus"] for e in entries(run, workload)} & {c["vcpus"] for c in every}
    skew = {"uniform": "uniform", "skewed": "one-hot"}[workload]
    soft = soft_limit(run)
    rows, said, still = [], [], []
    # Show the extremes only
    for n in sorted(counts)[::max(len(counts) - 1, 1)]:
        of_n = entries(run, workload, n)
        # With the same ratio of pages between two harvests to those that fit
        pages = bd.med([median(e, "pages_per_s") for e in of_n]) * run["env"]["period_ms"] / 1000
        fill = pages / (n * soft)
        period = min(sorted({c["period_ms"] for c in bd.cells(bench, "drains")}),
                     key=lambda p: abs(math.log(p * 1000 / (16 * 960) / fill)))
        said.append(f"With {n} vCPUs, {pages:,.0f} pages were dirtied between two harvests of the "
                    f"VM's reaper, {fill:.1f} times what fits; question 4 has a period of {period:g} "
                    f"ms, {period * 1000 / (16 * 960):.1f} times what fits.")
        for e in of_n:
            here = bd.cell(bench, "drains", rival=e["mode"], skew=skew, period_ms=period)
            cost = (median(e, "harvest_ns") + median(e, "reset_ns")) * median(e, "pages_per_s") / 1e9
            near = nearest(every, "cost", max(cost, 1e-4))
            steps = twin(bench, e, run, near)
            if not here or not steps:
                continue
            steps.insert(0, here["exits"] * (here["entries"] - 64) / here["marked"])
            there, low, high = (e["exits_per_kpage"][k] * soft / 1000 for k in ("median", "min", "max"))
            first = str(n) if e["mode"] == "per-vcpu" else ""
            spread = f" ({low:.2f}..{high:.2f})" if e["runs"] > 1 else ""
            rows.append([first, modes.label(e["mode"]), *(f"{s:.2f}" for s in steps),
                         f"{there:.2f}{spread}",
                         f"<b style='font-weight:400'>{esc(why(e['mode'], steps, there, reasons(workload, n, soft, near)))}</b>"])
            still.append([first, modes.label(e["mode"]),
                          f"{here['still_ms'] / here['seconds'] / 160:.2f} %",
                          f"{100 * median(e, 'still_share'):.2f} %",
                          f"{here['still_ms'] * 1000 / max(here['exits'], 1):.0f}",
                          f"{median(e, 'still_ms') * median(e, 'pages_per_s') / 1000 / max(median(e, 'ring_full_exits'), 1):.0f}",
                          "0.050", f"{cost:.3f}"])
    if not rows:
        return ""
    return (f"<h3>Question 4, {workload}: exits for a full ring</h3><p>{esc(' '.join(said))}</p>"
            "<p>Exits per ring's worth of pages, which does not depend on the size of rings. From left "
            "to right, the simulation becomes more like the VM; a change that brings the figure closer "
            "is a reason.</p><div class='why'>" +
            table(["vCPUs", "", "question 4", "the VM's rings", "its cost of a harvest", "its two CPUs",
                   "switches of vCPUs", "VM", "why"], rows, 2) + "</div>" +
            f"<h4>{workload}: time that vCPUs stood still</h4><p>A stop is the wait for the lock and a "
            "harvest. The simulated harvest costs the same in all modes, while all other vCPUs "
            "continue. In the VM it takes one of the two CPUs from the vCPUs, and the TLB flush of the "
            "reset waits for running vCPUs.</p>" +
            table(["vCPUs", "", "of the vCPUs' time, question 4", "VM", "a stop, in pages dirtied during it, question 4",
                   "VM", "a harvest per entry, in the time of pages, question 4", "VM"], still, 2))


def device(bench, run):
    every = entries(run, "vm-scoped")
    if not every:
        return ""
    n = max(e["vcpus"] for e in every)
    every = [e for e in every if e["vcpus"] == n]
    base = next((e for e in every if e["mode"] == "per-vcpu"), None)
    if not base or not median(base, "mark_ns"):
        return ""
    own = bd.med(bd.values(bench, "device_ns", "device", rival="per-vcpu", share=0.5))
    rows, calls = [], []
    for e in every:
        here = bd.values(bench, "device_ns", "device", rival=e["mode"], share=0.5)
        if not here:
            continue
        here, there = bd.med(here), median(e, "mark_ns")
        if e["tracker"] == "pool":
            calls.append((16 * there / 1000, 16 * here))
        exits = median(base, "ring_full_exits")
        rows.append([modes.label(e["mode"]), f"{here:.1f} ns", f"{here / own:.2f}×", f"{there:.0f} ns",
                     f"{there / median(base, 'mark_ns'):.1f}×", f"{median(e, 'ring_full_exits'):.0f}",
                     f"{median(e, 'ring_full_exits') / exits:.2f}×" if exits else "-"])
    if not calls:
        return ""
    call, marks = (bd.med(c) for c in zip(*calls))
    pushed = [median(e, "pushed") for e in every if e["tracker"] == "pool"]
    return (f"<h3>Question 5, vm-scoped, {n} vCPUs: the device's marks</h3>"
            "<p>The benchmark measures the marks alone, the VM the whole time of a device thread. A "
            f"pool's device calls <code>KVM_MARK_DIRTY</code> for 16 pages at a time: {call:.1f} µs per call "
            f"in the VM. The marks of a call take {number(marks)} ns on the host; the rest is the system "
            "call on an emulated CPU. With per-vCPU rings and the bitmap the thread sets bits in a bitmap "
            f"of its own without a call ({median(base, 'mark_ns'):.0f} ns per page), but the VMM has to "
            "merge that bitmap at each harvest.</p>"
            "<p>With a pool the VM has more exits, which the benchmark does not count here: the device's "
            "half of the pages takes no room in per-vCPU rings, but does in those of a pool: "
            f"{bd.med(pushed):,.0f} entries there. A policy that stays with one ring (last-used) parks it "
            "for the device's marks alone, and each park makes a vCPU exit, unless with NOSTOP.</p>" +
            table(["", "per page of the device, benchmark", "times per-vCPU", "VM", "times per-vCPU",
                   "exits in the VM", "times per-vCPU"], rows))


def section(data, _figure):
    bench, run = data
    busy = files.busy(run)
    return ("<p>Generated from both sets of figures. They agree if they differ by less than a factor "
            f"of {SAME}." +
            (f" Other work took {busy} % of the host's processors while the VM was measured: it "
             "delayed the vCPUs unevenly, which is not simulated." if busy else "") + "</p>" + capacity(bench, run) + drains(bench, run, "uniform") +
            drains(bench, run, "skewed") + device(bench, run))
