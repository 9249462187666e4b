# SPDX-License-Identifier: GPL-2.0
"""Charts as SVG, drawn by gnuplot.

A figure is a row of panels that share a legend.  A series' name determines its
colour and mark, so a mode looks the same in every figure.  The background is
always white.
"""
import html
import re
import subprocess
import zlib

from data.modes import BASELINES, NOSTOP, POLICIES

SOFT = "#5c5c5c"
GRID = "#e3e3e3"

# Okabe and Ito's colours, which colour-blind readers can tell apart
CIRCLE, SQUARE, TRIANGLE, DOWN, DIAMOND = 7, 5, 9, 11, 13	# gnuplot's points
STYLES = dict(zip(BASELINES + POLICIES, [
    ("#8c8c8c", SQUARE), ("#000000", CIRCLE),
    ("#e69f00", TRIANGLE), ("#56b4e9", DIAMOND), ("#0072b2", SQUARE), ("#009e73", DOWN)]))
STYLES[NOSTOP] = ("#d55e00", CIRCLE)
KNOWN = len(STYLES)
SPARE = [("#cc79a7", TRIANGLE), ("#7a4f9a", DIAMOND), ("#8b5a2b", SQUARE),
         ("#5f7f00", DOWN), ("#b0003a", CIRCLE)]


def style(name):
    """Colour and mark of a series: those of the mode without its flag, or spare ones."""
    if name not in STYLES:
        spare = SPARE[(len(STYLES) - KNOWN) % len(SPARE)]
        STYLES[name] = STYLES.get(name.split("+")[0], spare)
    return STYLES[name]


def quote(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def tics(names, first):
    """Labels at first, first + 1 and so on; gnuplot treats them as formats."""
    return "(" + ", ".join(f"{quote(str(n).replace('%', '%%'))} {first + i}"
                           for i, n in enumerate(names)) + ")"


class Plot:
    """Commands for one figure; all lengths are in pixels, from the top left."""
    def __init__(self, title, width, height):
        self.count = 0
        self.title, self.width, self.height = title, width, height
        self.commands = [
            "set encoding utf8",
            f"set terminal svg size {width},{height} dynamic noenhanced "
            "font 'sans-serif,12' linewidth 1 background '#ffffff'",
            f"set grid ytics lc rgb '{GRID}' lt 1", f"set border 1 lc rgb '{SOFT}'",
            f"set tics scale 0 textcolor rgb '{SOFT}'",
            "unset key", "set multiplot"]
        self.text(8, 14, title, "font 'sans-serif,15'")

    def do(self, *commands):
        self.commands += commands

    def text(self, x, y, text, more=""):
        self.do(f"set label {quote(text)} at screen {x / self.width:.5f},"
                f"{1 - y / self.height:.5f} {more}")

    def area(self, left, right, top, bottom):
        for name, at in (("lmargin", left / self.width), ("rmargin", right / self.width),
                         ("tmargin", 1 - top / self.height),
                         ("bmargin", 1 - bottom / self.height)):
            self.do(f"set {name} at screen {at:.5f}")

    def data(self, rows):
        self.count += 1
        self.do(f"$d{self.count} << EOD", *(" ".join(map(str, r)) for r in rows), "EOD")
        return f"$d{self.count}"

    def key(self, names, labels, y, left, lines):
        """A legend: an empty plot as wide as the figure.  Its rows begin at y."""
        cols = columns(names, labels, self.width - left)
        self.area(left, self.width, y, self.height)
        self.do("unset xtics", "unset ytics", "unset grid", "unset border", "unset label",
                "unset xlabel", "unset ylabel", "set xrange [0:1]", "set yrange [0:1]",
                f"set key at screen {left / self.width:.5f},{1 - y / self.height:.5f} left top "
                f"Left reverse horizontal maxcols {cols} samplen 1.6 spacing 1.3",
                "plot " + ", ".join(f"NaN {look(n, lines)} title {quote(labels.get(n, n))}"
                                    for n in names))

    def render(self):
        self.do("unset multiplot")
        try:
            done = subprocess.run(["gnuplot"], input="\n".join(self.commands), text=True,
                                  capture_output=True, check=False)
        except FileNotFoundError as e:
            raise SystemExit("gnuplot is not installed: run 'make setup'") from e
        if done.returncode or "</svg>" not in done.stdout:
            raise SystemExit(f"gnuplot could not draw a figure: {done.stderr.strip()}")
        # Figures share a page, so each one needs ids of its own
        svg = done.stdout.replace("gpP", f"g{zlib.crc32(self.title.encode()):x}")
        svg = svg.replace("<title>Gnuplot<", f"<title>{html.escape(self.title)}<")
        return re.sub(r"<g [^>]*>\s*</g>\n", "", svg)


def columns(names, labels, width):
    longest = max(len(labels.get(n, n)) for n in names)
    return max(min(int(width / (7.2 * longest + 60)), len(names)), 1)


def look(name, lines):
    """Modes with a flag (+nostop) are dashed, or striped."""
    color, point = style(name)
    flag = "+" in name
    if lines:
        return (f"with linespoints lc rgb '{color}' lw 2 pt {point} ps 0.7"
                f"{' dt (8,4)' if flag else ''}")
    return f"with boxes lc rgb '{color}' fs {'pattern 4' if flag else 'solid 1'} border lc rgb '{color}'"


def figure(title, panels, names, kind, unit, x_label, labels=None, width=1080,
           height=300):
    """A row of panels.

    panels: [(panel title, [x category], {name: [(value, low, high) or None]})]
    kind: "lines" or "bars"
    """
    labels = labels or {}
    lines = kind == "lines"
    left, gap, above, below = 68, 46, 62, 56
    rows = -(-len(names) // columns(names, labels, width - left))
    plot = Plot(title, width, above + height + below + 22 * rows + 8)
    step = (width - left - 12 + gap) / len(panels)
    top = max((v[2] for _, _, series in panels for name in names
               for v in series.get(name, []) if v), default=0) or 1
    for i, (name, xs, series) in enumerate(panels):
        x = left + i * step
        plot.area(x, x + step - gap, above, above + height)
        plot.text(x, above - 18, name, f"font 'sans-serif,13' textcolor rgb '{SOFT}'")
        plot.do(f"set xrange [0:{max(len(xs), 1)}]", f"set yrange [0:{top * 1.04}]",
                f"set format y '{'%g' if top < 1e5 else '%.0s%c'}'",
                f"set xtics {tics(xs, 0.5)}",
                f"set xlabel {quote(x_label)}",
                f"set ylabel {quote(unit)} offset 1" if not i else "unset ylabel")
        parts = []
        shown = [n for n in names if any(series.get(n, []))]
        # Side by side, or whiskers would cover each other
        each = 0.84 / max(len(shown), 1)
        if lines:
            each = min(6 * len(xs) / (step - gap), 1 / (len(shown) + 2))
        for k, n in enumerate(shown):
            at = [(j + 0.5 + (k - (len(shown) - 1) / 2) * each, *v, each * 0.9)
                  for j, v in enumerate(series[n]) if v]
            data = plot.data(at)
            color = style(n)[0] if lines else "#444444"
            parts.append(f"{data} using 1:2{'' if lines else ':5'} {look(n, lines)}")
            if any(v[2] < v[3] for v in at):
                parts.append(f"{data} using 1:3:(0):($4-$3) with vectors nohead "
                             f"lc rgb '{color}' lw 1")
        plot.do("plot " + ", ".join(parts or ["NaN"]), "unset label")
    plot.key(names, labels, above + height + below, left, lines)
    return plot.render()


def panels(entries, value, workloads, scale=1.0):
    """Of entries of data.summary, a panel for each workload, for figure(), over the
    number of vCPUs"""
    out = []
    for w in workloads:
        found = [e for e in entries if e["workload"] == w]
        if not found:
            continue
        vcpus = sorted({e["vcpus"] for e in found})
        series = {}
        for e in found:
            at = series.setdefault(e["mode"], [None] * len(vcpus))
            at[vcpus.index(e["vcpus"])] = tuple(e[value][k] * scale
                                                for k in ("median", "min", "max"))
        out.append((w, vcpus, series))
    return out


def scatter(title, panels, labels, x_label, width=1080, height=330):
    """A row of panels of named points: [(panel title, {name: (x, y)})]"""
    left, gap, above = 56, 52, 62
    plot = Plot(title, width, above + height + 56)
    step = (width - left - 12 + gap) / len(panels)
    for i, (name, points) in enumerate(panels):
        x = left + i * step
        plot.area(x, x + step - gap, above, above + height)
        plot.text(x, above - 18, name, f"font 'sans-serif,13' textcolor rgb '{SOFT}'")
        xs, ys = ([v[k] for v in points.values()] or [1] for k in (0, 1))
        room = max(max(xs) - min(xs), 0.5)
        top = max(max(ys), 0.01)
        plot.do(f"set xrange [{min(xs) - room * 0.08}:{max(xs) + room * 0.5}]",
                f"set yrange [{-top * 0.03}:{top * 1.1}]", "set format y '%g'", "set xtics auto",
                f"set xlabel {quote(x_label)}")
        # Labels to the right of the points, pushed apart where points are close
        low, parts = -1.0, []
        for n, (px, py) in sorted(points.items(), key=lambda p: p[1][1]):
            at = max(py, low + top * 0.052)
            low = at
            color, mark = style(n)
            plot.do(f"set label {quote(labels.get(n, n))} at first {px + room * 0.05},{at} left "
                    f"font 'sans-serif,10' textcolor rgb '{color}'")
            if at > py:
                plot.do(f"set arrow from first {px + room * 0.045},{at} to first {px},{py} nohead "
                        f"lc rgb '{GRID}' lw 1")
            parts.append(f"{plot.data([(px, py)])} with points lc rgb '{color}' pt {mark} ps 1.1")
        plot.do("plot " + ", ".join(parts or ["NaN"]), "unset label", "unset arrow")
    return plot.render()


def stacked(title, rows, parts, unit, width=1080, colors=None):
    """Horizontal bars of several parts.

    rows: [(label, [value of each part])]; parts: their names
    """
    colors = colors or ["#4c78a8", "#f2a65a", "#9aa0a6"]
    left, above, row = 190, 62, 26
    bottom = above + row * len(rows)
    plot = Plot(title, width, bottom + 50 + 30)
    plot.area(left, width - 90, above, bottom)
    bars, sums = [[] for _ in parts], []
    for y, (_, values) in enumerate(rows):
        end = 0
        for k, value in enumerate(values):
            bars[k].append((end + value / 2, y, end, end + value, y - 0.36, y + 0.36))
            end += value
        sums.append((end, y, f'"  {end:,.0f}"'))
    plot.do("unset grid", f"set grid xtics lc rgb '{GRID}' lt 1",
            f"set xrange [0:{max((s[0] for s in sums), default=0) or 1}]",
            f"set yrange [{len(rows) - 0.5}:-0.5]", f"set xlabel {quote(unit)}",
            f"set ytics {tics([r[0] for r in rows], 0)}")
    drawn = [f"{plot.data(b)} with boxxyerror lc rgb '{c}' fs solid 1 noborder"
             for b, c in zip(bars, colors)]
    drawn.append(f"{plot.data(sums)} using 1:2:3 with labels left textcolor rgb '{SOFT}'")
    plot.do("plot " + ", ".join(drawn))
    for part, color in zip(parts, colors):
        STYLES[part] = (color, SQUARE)
    plot.key(parts, {}, bottom + 50, left, False)
    return plot.render()
