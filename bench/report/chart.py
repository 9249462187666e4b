# SPDX-License-Identifier: GPL-2.0
"""Charts as SVG, with nothing but the standard library.

A figure is a row of panels that share a legend.  Colours and marks belong to
a series' name, so that a mode looks the same in every figure.
"""
import html
import math

FONT = "font-family='system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif'"
INK = "#1a1a1a"
SOFT = "#5c5c5c"
GRID = "#e3e3e3"

# Okabe and Ito's colours, told apart by colour-blind readers too
STYLES = {
    "bitmap": ("#8c8c8c", "square"),
    "per-vcpu": ("#000000", "circle"),
    "round-robin": ("#e69f00", "triangle"),
    "lru": ("#56b4e9", "diamond"),
    "last-used": ("#0072b2", "square"),
    "mru": ("#009e73", "down"),
    "last-used+nostop": ("#d55e00", "circle"),
}
SPARE = [("#cc79a7", "triangle"), ("#7a4f9a", "diamond"), ("#8b5a2b", "square"),
         ("#5f7f00", "down"), ("#b0003a", "circle")]


def style(name):
    """Colour and mark of a series; names without one take the spare ones."""
    if name not in STYLES:
        STYLES[name] = SPARE[(len(STYLES) - 7) % len(SPARE)]
    return STYLES[name]


def esc(text):
    return html.escape(str(text), quote=True)


def ticks(top, count=5):
    """Round numbers from 0 to top or a little above it."""
    if top <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(top / count))
    for factor in (1, 2, 2.5, 5, 10):
        if top / (step * factor) <= count:
            step *= factor
            break
    n = math.ceil(top / step - 1e-9)
    return [i * step for i in range(n + 1)]


def number(value):
    """A tick's label: as short as it can be without losing anything."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


class Svg:
    def __init__(self, width, height, title):
        self.width = width
        self.height = height
        self.title = title
        self.parts = []

    def add(self, text):
        self.parts.append(text)

    def line(self, x1, y1, x2, y2, color=GRID, width=1, opacity=1):
        more = f" stroke-opacity='{opacity}'" if opacity != 1 else ""
        self.add(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
                 f"stroke='{color}' stroke-width='{width}'{more}/>")

    def rect(self, x, y, w, h, color, more=""):
        self.add(f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(w, 0):.1f}' "
                 f"height='{max(h, 0):.1f}' fill='{color}'{more}/>")

    def text(self, x, y, text, size=12, anchor="start", color=INK, weight="normal",
             rotate=None):
        turn = f" transform='rotate({rotate} {x:.1f} {y:.1f})'" if rotate else ""
        self.add(f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' "
                 f"text-anchor='{anchor}' fill='{color}' font-weight='{weight}'"
                 f"{turn}>{esc(text)}</text>")

    def path(self, points, color, width=2, dash=None):
        d = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}"
                     for i, (x, y) in enumerate(points))
        more = f" stroke-dasharray='{dash}'" if dash else ""
        self.add(f"<path d='{d}' fill='none' stroke='{color}' stroke-width='{width}' "
                 f"stroke-linejoin='round'{more}/>")

    def mark(self, x, y, kind, color, r=4):
        fill = f"fill='{color}' stroke='white' stroke-width='1'"
        if kind == "circle":
            self.add(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{r}' {fill}/>")
            return
        shapes = {
            "square": [(-r, -r), (r, -r), (r, r), (-r, r)],
            "diamond": [(0, -1.3 * r), (1.3 * r, 0), (0, 1.3 * r), (-1.3 * r, 0)],
            "triangle": [(0, -1.2 * r), (1.2 * r, r), (-1.2 * r, r)],
            "down": [(0, 1.2 * r), (1.2 * r, -r), (-1.2 * r, -r)],
        }
        at = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[kind])
        self.add(f"<polygon points='{at}' {fill}/>")

    def render(self):
        return (f"<svg xmlns='http://www.w3.org/2000/svg' role='img' "
                f"viewBox='0 0 {self.width} {self.height}' "
                f"width='{self.width}' height='{self.height}' {FONT}>"
                f"<title>{esc(self.title)}</title>"
                f"<rect width='100%' height='100%' fill='white'/>"
                + "\n".join(self.parts) + "</svg>\n")


def dashed(name):
    return "6 3" if "+" in name else None


def legend(svg, names, x, y, width, lines, labels=None):
    """Returns the height it took."""
    labels = labels or {}
    at, row = x, 0
    for name in names:
        label = labels.get(name, name)
        need = 34 + 7.2 * len(label) + 14
        if at + need > x + width and at > x:
            at, row = x, row + 1
        color, mark = style(name)
        mid = y + row * 20
        if lines:
            svg.path([(at, mid), (at + 26, mid)], color, dash=dashed(name))
            svg.mark(at + 13, mid, mark, color)
        else:
            swatch(svg, at + 6, mid - 6, 14, 12, name)
        svg.text(at + 32, mid + 4, label, 12.5)
        at += need
    return (row + 1) * 20


def swatch(svg, x, y, w, h, name):
    """A bar.  Modes with a flag (+nostop) are striped."""
    color, _ = style(name)
    if "+" in name:
        key = "s" + "".join(c for c in name if c.isalnum())
        if not any(f"id='{key}'" in p for p in svg.parts):
            svg.add(f"<defs><pattern id='{key}' width='5' height='5' "
                    f"patternUnits='userSpaceOnUse' patternTransform='rotate(45)'>"
                    f"<rect width='5' height='5' fill='white'/>"
                    f"<rect width='3.2' height='5' fill='{color}'/></pattern></defs>")
        svg.rect(x, y, w, h, f"url(#{key})", f" stroke='{color}' stroke-width='1'")
    else:
        svg.rect(x, y, w, h, color)


def axes(svg, x, y, w, h, top, unit):
    """Grid and labels of a panel; returns how a value becomes a position."""
    marks = ticks(top)
    top = marks[-1]

    def place(value):
        return y + h - h * min(value, top) / top

    for t in marks:
        svg.line(x, place(t), x + w, place(t), GRID if t else SOFT)
        svg.text(x - 6, place(t) + 4, number(t), 11, "end", SOFT)
    if unit:
        svg.text(x - 44, y + h / 2, unit, 12, "middle", SOFT, rotate=-90)
    return place


def figure(title, panels, names, kind, unit, x_label, labels=None, width=1080,
           height=300):
    """A row of panels.

    panels: [(panel title, [x category], {name: [(value, low, high) or None]})]
    kind: "lines" or "bars"
    """
    left, gap, above, below = 62, 46, 62, 46
    lines = kind == "lines"
    probe = Svg(0, 0, "")
    foot = legend(probe, names, 0, 0, width - left, lines, labels)
    svg = Svg(width, above + height + below + foot + 12, title)
    panel_w = (width - left - 12 - gap * (len(panels) - 1)) / len(panels)
    top = max((v[2] for _, _, series in panels for name in names
               for v in series.get(name, []) if v), default=0)

    svg.text(8, 20, title, 15, weight="600")
    for i, (name, xs, series) in enumerate(panels):
        x = left + i * (panel_w + gap)
        svg.text(x, above - 14, name, 13.5, weight="600", color=SOFT)
        place = axes(svg, x, above, panel_w, height, top * 1.02,
                     unit if i == 0 else None)
        step = panel_w / max(len(xs), 1)
        for j, cat in enumerate(xs):
            svg.text(x + (j + 0.5) * step, above + height + 18, cat, 12, "middle", SOFT)
        svg.text(x + panel_w / 2, above + height + 38, x_label, 12, "middle", SOFT)
        draw = draw_lines if lines else draw_bars
        draw(svg, x, step, place, names, series)

    legend(svg, names, left, above + height + below + 12, width - left, lines, labels)
    return svg.render()


def draw_lines(svg, x, step, place, names, series):
    shown = [n for n in names if any(series.get(n, []))]
    for k, name in enumerate(shown):
        color, mark = style(name)
        # Side by side, for whiskers that would cover each other
        shift = (k - (len(shown) - 1) / 2) * min(6, step / (len(shown) + 2))
        at = [(x + (j + 0.5) * step + shift, v)
              for j, v in enumerate(series[name]) if v]
        svg.path([(px, place(v[0])) for px, v in at], color, dash=dashed(name))
        for px, v in at:
            if v[1] < v[2]:
                svg.line(px, place(v[1]), px, place(v[2]), color, 1, opacity=0.55)
        for px, v in at:
            svg.mark(px, place(v[0]), mark, color)


def draw_bars(svg, x, step, place, names, series):
    shown = [n for n in names if any(series.get(n, []))]
    if not shown:
        return
    bar = min(step * 0.84 / len(shown), 26)
    for k, name in enumerate(shown):
        for j, v in enumerate(series[name]):
            if not v:
                continue
            px = x + (j + 0.5) * step + (k - len(shown) / 2) * bar
            swatch(svg, px + 0.5, place(v[0]), bar - 1, place(0) - place(v[0]), name)
            if v[0] == 0:
                svg.line(px + 1, place(0) - 1, px + bar - 1, place(0) - 1,
                         style(name)[0], 2)
            if v[1] < v[2]:
                svg.line(px + bar / 2, place(v[1]), px + bar / 2, place(v[2]),
                         "#444", 1)


def stacked(title, rows, parts, unit, width=1080, colors=None):
    """Horizontal bars of several parts.

    rows: [(label, [value of each part])]; parts: their names
    """
    colors = colors or ["#4c78a8", "#f2a65a", "#9aa0a6"]
    left, right, above, row_h = 190, 90, 62, 26
    height = above + row_h * len(rows) + 50
    svg = Svg(width, height, title)
    marks = ticks(max((sum(v) for _, v in rows), default=0))
    w = width - left - right

    def place(value):
        return left + w * value / marks[-1]

    bottom = above + row_h * len(rows)
    for t in marks:
        svg.line(place(t), above - 4, place(t), bottom, GRID if t else SOFT)
        svg.text(place(t), bottom + 16, number(t), 11, "middle", SOFT)
    svg.text(left + w / 2, bottom + 36, unit, 12, "middle", SOFT)
    for i, (label, values) in enumerate(rows):
        y = above + i * row_h
        svg.text(left - 10, y + 16, label, 12.5, "end")
        at = 0
        for value, color in zip(values, colors):
            svg.rect(place(at), y + 3, place(at + value) - place(at), row_h - 8, color)
            at += value
        svg.text(place(at) + 6, y + 16, f"{at:,.0f}", 11.5, color=SOFT)
    svg.text(8, 20, title, 15, weight="600")
    at = left
    for part, color in zip(parts, colors):
        svg.rect(at, 34, 12, 12, color)
        svg.text(at + 18, 44, part, 12.5)
        at += 40 + 7.2 * len(part)
    return svg.render()
