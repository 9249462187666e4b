# SPDX-License-Identifier: GPL-2.0
"""Text for a terminal, and figures as text."""


def aligned(rows, left):
    """Lines; left: which columns are aligned to the left."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        yield "  ".join(cell.ljust(w) if i in left else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(r, widths))).rstrip()


def indented(rows, left):
    return ["  " + line for line in aligned(rows, left)]


# Figures of an entry of data.summary

def count(entry, name):
    """A median that was counted: whole where the rounds agree."""
    if name not in entry:
        return "-"
    value = entry[name]["median"]
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def median(entry, name, form, scale=1):
    return form.format(entry[name]["median"] * scale) if name in entry else "-"


def ranged(entry, name, form, scale=1, unit=""):
    """Median, and least to most of the rounds"""
    v = {k: form.format(value * scale) for k, value in entry[name].items()}
    return v["median"] + unit + (f" ({v['min']}..{v['max']})" if entry["runs"] > 1 else "")


def rounds(runs):
    return f"Median, and least to most of {runs} rounds." if runs > 1 else "One round."


def number(value, unit=""):
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
    return f"{text}{' ' + unit if unit else ''}"


def plural(n, what):
    return f"{n} {what}" + ("" if n == 1 else "s")


def target(t, width=0):
    return f"{'met    ' if t['met'] else 'NOT MET'}  {t['value']:>{width}}"
