# SPDX-License-Identifier: GPL-2.0
"""make run: what a reset costs, and the guest's faults meanwhile."""
import html

import chart
import resetdata
from section_bench import table, targets

SOURCE = "reset.json"
ORDER = 12
TITLE = "Reset: how fast, and in whose way"


def spread(values):
    values = sorted(values)
    return (values[len(values) // 2], values[0], values[-1])


def rate_figure(cells, figure):
    panels = []
    for p in resetdata.PATTERNS:
        series = {m: [spread(resetdata.rates(cells, p, m, n)) for n in (1, 2)]
                  for m in resetdata.modes(cells)}
        panels.append((p, [1, 2], series))
    names = list(resetdata.modes(cells))
    return figure(
        "reset-rate",
        chart.figure("Pages reset per millisecond", panels, names, "bars", "pages/ms", "threads",
                     {m: resetdata.label(m) for m in names}, height=220),
        "By the order in which the pages were dirtied. Median, and least to most of the rounds. "
        "Per-vCPU rings have one call that resets all of them under a lock of the VM; in a pool "
        "each of two threads resets a ring of its own.")


def fault_figure(cells, figure, kind):
    names = list(resetdata.modes(cells))
    panels = []
    for p in resetdata.FAULT_PATTERNS:
        series = {}
        for m in names:
            found = [resetdata.faults(cells, p, m, kind, idle) for idle in (True, False)]
            series[m] = [(resetdata.quantile(v, s),) * 3 for s in (0.5, 0.99) for v in found]
        panels.append((p, ["median", "in a reset", "99 %", "in a reset"], series))
    what = {"protected": "KVM mends it without a lock, so it waits for no reset of either kind.",
            "unmapped": "Mapping the page takes <code>mmu_lock</code> for read; a reset of per-vCPU "
                        "rings takes it for write."}[kind]
    return figure(
        f"reset-{kind}",
        chart.figure(f"A write to a page that is {resetdata.FAULTS[kind]}", panels, names, "bars",
                     "µs", "", {m: resetdata.label(m) for m in names}, height=220),
        "How long the fault takes, by the guest's own clock, on one CPU while the other keeps "
        "busy, and while it resets. " + what)


def method(data):
    emulated = "TCG" in data["meta"].get("accelerator", "")
    patterns = "".join(f"<dt>{p}</dt><dd>{html.escape(t)}</dd>"
                       for p, t in resetdata.PATTERNS.items())
    emulator = """<p>The processor below KVM was emulated (QEMU's TCG). Good as they are:
who waits for whom, and how the two threads of a reset get on beside each other, as each
emulated CPU is a thread on a processor of its own. An indication only: what a page takes. An
exit costs some 20 times of what it costs on hardware, and an atomic instruction as much as any
other: the share of a fault that is spent waiting for a lock is smaller here, and so is the
price of the pool's compare-and-swap. The slowest fault in a hundred is mostly the emulator's or
the host's doing, which interrupts the guest or takes the emulated CPU's processor away: compare
it with that of faults while no reset runs. Where these alone take more than half as long as
the slowest with per-vCPU rings, no way to reset could meet the target here.</p>""" if emulated else ""
    held = """<p>How long <code>mmu_lock</code> is held for write is derived: per-vCPU rings take
it once for each run of neighbours, which follows from the order; a reset of as many entries that
name no memslot does all but that, and the difference is the time with the lock. A pool takes it
once for each ring and lets go at once, to wait for faults on their way; a VM with shadow pages
does as upstream does.</p>"""
    counted = """<p>The instructions are those of the thread that resets, its system call and
all, in a VM whose one processor takes a nanosecond for each (QEMU's <code>-icount</code>): the
clock counts them. That does not drift, so it tells whether a reset does more work or less; a
compare-and-swap, a lock and a TLB flush count as little as any other instruction.</p>"""
    return f"""<h3>What was measured</h3>
<p>Two vCPUs, each on a CPU, dirty {data['meta'].get('pages', '3328')} pages and stop; both rings are harvested
and then reset, by one thread with <code>KVM_RESET_DIRTY_RINGS</code>, then the same again by two
threads at once. For the faults half as many pages are reset on the first CPU, while a vCPU on
the second writes other pages one after the other: pages that are write-protected, as what was
reset is, and pages that are not mapped, as a page first touched, swapped in or migrated is. The
first and the last fault of a reset are cut by its begin and its end; during the last the TLBs are
flushed. Just before each reset as many faults are timed while the first CPU only keeps busy. Both
kinds of rings take turns on the same kernel.</p>
<dl>{patterns}</dl>{held}{counted}{emulator}"""


def section(data, figure):
    cells = data["reset"]
    if not all(resetdata.modes(cells)):
        return "<p>Measured for one kind of rings only: nothing to compare.</p>"
    head, *rows = resetdata.rows(cells, data["counted"])
    fault_head, *fault_rows = resetdata.fault_rows(cells)
    return (targets(data) + rate_figure(cells, figure) + table(head, rows, 2) +
            "".join(fault_figure(cells, figure, k) for k in resetdata.FAULTS) +
            table(fault_head, fault_rows, 3) + method(data))
