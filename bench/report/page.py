# SPDX-License-Identifier: GPL-2.0
"""index.html: one self-contained page of what build/report/*.json hold."""
import html
import importlib
import os
import pkgutil

import sections
from data import files

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 20px 60px; color: #1a1a1a;
  background: #fff; font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  "DejaVu Sans", sans-serif; }
h1 { font-size: 28px; line-height: 1.25; margin: 8px 0 4px; }
h2 { font-size: 22px; margin: 44px 0 8px; padding-top: 14px; border-top: 1px solid #ddd; }
h3 { font-size: 17px; margin: 30px 0 6px; }
p, ul, dl { max-width: 78ch; margin: 8px 0; }
.sub { color: #5c5c5c; }
.tiles { display: flex; flex-wrap: wrap; gap: 14px; margin: 18px 0 8px; }
.tile { flex: 1 1 240px; border: 1px solid #ddd; border-radius: 6px; padding: 12px 16px; }
.tile b { display: block; font-size: 24px; line-height: 1.3; }
.tile.bad { border-color: #b0003a; color: #b0003a; }
.tile span { color: #5c5c5c; font-size: 14px; line-height: 1.4; display: block; }
figure { margin: 18px 0 26px; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: 14.5px; max-width: 90ch; }
.scroll { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 7px; text-align: right; white-space: nowrap; }
th { white-space: normal; line-height: 1.25; color: #5c5c5c; font-weight: 600; border-bottom: 1px solid #bbb; vertical-align: bottom; }
td.l, th.l { text-align: left; }
.why td:last-child { text-align: left; white-space: normal; min-width: 34ch; }
tr.first td { border-top: 1px solid #ddd; }
td.bad { color: #b0003a; font-weight: 700; }
code { font: 0.92em ui-monospace, "DejaVu Sans Mono", monospace; }
dt { font-weight: 600; margin-top: 6px; }
dd { margin: 0 0 0 1.2em; }
"""


def found(folder):
    """The sections that have something to show: (module, data), in order."""
    out = []
    for info in pkgutil.iter_modules(sections.__path__):
        module = importlib.import_module(f"sections.{info.name}")
        sources = getattr(module, "SOURCE", None)
        if not sources:
            continue
        one = isinstance(sources, str)
        paths = [os.path.join(folder, s) for s in ([sources] if one else sources)]
        if all(map(os.path.exists, paths)):
            data = [files.load(path) for path in paths]
            out.append((module, data[0] if one else data))
    return sorted(out, key=lambda f: f[0].ORDER)


def write(folder):
    def figure(name, svg, caption):
        with open(os.path.join(folder, name + ".svg"), "w", encoding="utf-8") as f:
            f.write(svg)
        return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"

    parts = [(m.__name__.split(".")[-1], m.TITLE, m.section(data, figure))
             for m, data in found(folder)]
    if not parts:
        raise SystemExit(f"{folder}: there is nothing to report")
    links = " · ".join(f"<a href='#{name}'>{html.escape(title)}</a>"
                       for name, title, _ in parts)
    body = "".join(f"<section id='{name}'><h2>{html.escape(title)}</h2>{content}</section>"
                   for name, title, content in parts)
    out = os.path.join(folder, "index.html")
    with open(out, "w", encoding="utf-8") as f:
        f.write("<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
                "<meta name='viewport' content='width=device-width, initial-scale=1'>"
                "<title>The dirty ring pool, measured</title>"
                f"<style>{STYLE}</style></head><body>"
                "<h1>The dirty ring pool, measured</h1>"
                "<p class='sub'>KVM's dirty page tracking: the bitmap, a ring per vCPU, "
                "and the same rings in a pool that the whole VM shares.</p>"
                f"{f'<p>{links}</p>' if len(parts) > 1 else ''}{body}</body></html>\n")
