# SPDX-License-Identifier: GPL-2.0
"""make run: the cost of a reset, and of the guest's faults during one"""
import statistics

from data import files
from data import reset as rd
from markup import chart
from markup.page import table, targets, terms
from markup.text import indented

SOURCE = "reset.json"
ORDER = 12
TITLE = "Reset: its speed, and the faults that it delays"


def spread(values):
    values = sorted(values)
    return (values[len(values) // 2], values[0], values[-1])


def rate_figure(cells, figure):
    panels = []
    for p in rd.PATTERNS:
        series = {m: [spread(rd.rates(cells, p, m, n)) for n in (1, 2)]
                  for m in rd.modes(cells)}
        panels.append((p, [1, 2], series))
    names = list(rd.modes(cells))
    return figure(
        "reset-rate",
        chart.figure("Pages reset per millisecond", panels, names, "bars", "pages/ms", "threads",
                     {m: rd.label(m) for m in names}, height=220),
        "By the order in which the pages were dirtied. Median, and least to most of the rounds. "
        "Per-vCPU rings have one call, which resets all of them under a lock of the VM; in a pool "
        "each of two threads resets its own ring.")


def fault_figure(cells, figure, kind):
    names = list(rd.modes(cells))
    panels = []
    for p in rd.FAULT_PATTERNS:
        series = {}
        for m in names:
            found = [rd.faults(cells, p, m, kind, idle) for idle in (True, False)]
            series[m] = [(rd.quantile(v, s),) * 3 for s in (0.5, 0.99) for v in found]
        panels.append((p, ["median", "in a reset", "99 %", "in a reset"], series))
    what = {"protected": "KVM fixes it without a lock, so it waits for neither kind of reset.",
            "unmapped": "Mapping the page takes <code>mmu_lock</code> for read; a reset of per-vCPU "
                        "rings takes it for write."}[kind]
    return figure(
        f"reset-{kind}",
        chart.figure(f"A write to a page that is {rd.FAULTS[kind]}", panels, names, "bars",
                     "µs", "", {m: rd.label(m) for m in names}, height=220),
        "Duration of the fault by the guest's own clock, on one CPU while the other one keeps "
        "busy, and while it resets. " + what)


def method(data):
    emulator = """<p>The processor below KVM was emulated (QEMU's TCG). Valid on any machine: what
waits for what, and how well two threads reset in parallel, as each emulated CPU is a thread on
its own processor. An indication only: the time per page. An exit costs about 20 times as much as
on hardware, and an atomic instruction as much as any other: waiting for a lock is a smaller share
of a fault here, and the pool's compare-and-swap is cheaper. The slowest fault in a hundred is
mostly caused by the emulator, or by the host that preempts the emulated CPU: compare it with that
of faults without a reset. Where those alone take more than half as long as the slowest with
per-vCPU rings, no way to reset could meet the target here.</p>""" if files.emulated(data) else ""
    held = """<p>The time for which <code>mmu_lock</code> is held for write is derived. Per-vCPU
rings take it once for each run of neighbours, which follows from the order; a reset of as many
entries that name no memslot does everything else, and the difference is the time under the lock.
A pool takes it once for each ring and releases it at once, to wait for faults in flight; a VM with
shadow pages does what upstream does.</p>"""
    counted = """<p>The instructions are those of the thread that resets, with its system call,
in a VM whose single processor takes a nanosecond for each (QEMU's <code>-icount</code>), so that
the clock counts them. The counts do not drift, so they show whether a reset does more work or
less; but a compare-and-swap, a lock and a TLB flush count as any other instruction.</p>"""
    return f"""<h3>What was measured</h3>
<p>Two vCPUs, each on its own CPU, dirty {data['meta'].get('pages', '3328')} pages each and stop. Both rings are
harvested and then reset, by one thread with <code>KVM_RESET_DIRTY_RINGS</code>, then the same again
by two threads at once. For the faults, half as many pages are reset on the first CPU, while a vCPU
on the second CPU writes other pages one by one: write-protected pages, as after a reset, and
unmapped pages, as after a first touch, a swap-in or a migration. The first and the last fault only
overlap with the reset; the TLBs are flushed during the last one. Just before each reset, as many
faults are timed while the first CPU only keeps busy. Both kinds of rings take turns on the same
kernel.</p>
{terms(rd.PATTERNS.items())}{held}{counted}{emulator}"""


def rows(cells, counted):
    """Heading, and a row for each pattern and mode."""
    out = [["order", "rings", "1 thread", "2 threads", "2 : 1", "write locks", "held for",
            "instructions"]]
    for p in rd.PATTERNS:
        for mode in rd.modes(cells):
            one, two = (rd.rates(cells, p, mode, n) for n in (1, 2))
            found = rd.pick(cells, p, mode)
            pages = found[0]["bare_pages"]
            time = rd.held(cells, p, mode)
            work = rd.instructions(counted, p, mode)
            out.append([p, rd.label(mode), f"{statistics.median(one):.0f} pages/ms",
                        f"{statistics.median(two):.0f} pages/ms", f"{rd.ratio(two, one):.2f}",
                        str(found[0]["write_locks"]),
                        f"{time * pages / 1e6:.1f} ms" if time else "nothing",
                        f"{work:.0f} a page" if work else "-"])
    return out


def fault_rows(cells):
    """The same of the faults; each figure while no reset runs, and while one does."""
    out = [["page is", "order", "rings", "faults", "no reset: median", "99 %", "longest",
            "reset: median", "99 %", "longest"]]
    for kind, name in rd.FAULTS.items():
        for p in rd.FAULT_PATTERNS:
            for mode in rd.modes(cells):
                idle, slow = (rd.faults(cells, p, mode, kind, i) for i in (True, False))
                out.append([name, p, rd.label(mode), f"{len(idle)}, {len(slow)}"] +
                           [f"{rd.quantile(v, share):.0f} µs" for v in (idle, slow)
                            for share in (0.5, 0.99, 1.0)])
    return out


def section(data, figure):
    cells = data["reset"]
    if not all(rd.modes(cells)):
        return "<p>Only one kind of rings was measured: nothing to compare.</p>"
    head, *body = rows(cells, data["counted"])
    fault_head, *fault_body = fault_rows(cells)
    return (targets(data) + rate_figure(cells, figure) + table(head, body, 2) +
            "".join(fault_figure(cells, figure, k) for k in rd.FAULTS) +
            table(fault_head, fault_body, 3) + method(data))


def text(data):
    """For a terminal"""
    cells = data["reset"]
    if not all(rd.modes(cells)):
        return "reset: only one kind of rings was measured, nothing to compare"
    lines = ["", "reset: 2 vCPUs, a ring each; write locks: of mmu_lock, all pages reset by one thread"]
    lines += indented(rows(cells, data["counted"]), {0, 1})
    lines += ["", "a guest's write fault on one CPU, without and with a reset on the other"]
    lines += indented(fault_rows(cells), {0, 1, 2})
    met = sum(t["met"] for t in data["targets"])
    lines += ["", f"targets of the reset: {met} of {len(data['targets'])} met"]
    lines += indented([[t["target"], t["value"], t["limit"], "met" if t["met"] else "NOT MET"]
                       for t in data["targets"]], {0})
    return "\n".join(lines)
