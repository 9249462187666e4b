# SPDX-License-Identifier: GPL-2.0
"""Pieces of the page."""
import html

esc = html.escape


def tile(big, small, bad=False):
    return (f"<div class='tile{' bad' if bad else ''}'><b>{esc(big)}</b>"
            f"<span>{esc(small)}</span></div>")


def tiles(parts):
    return f"<div class='tiles'>{''.join(parts)}</div>"


def failed(code, what="The run failed", measured="what it measured"):
    """A tile, in front of the others"""
    return tile(what, f"with exit code {code}; {measured} until then is below", True)


def table(head, rows, left=1):
    """The first LEFT columns are left-aligned.  A cell that begins with <b is HTML."""
    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}{' class=l' if i < left else ''}>{c}</{tag}>"
                                for i, c in enumerate(cells)) + "</tr>"
    return ("<div class='scroll'><table><thead>" + line("th", map(esc, head)) +
            "</thead><tbody>" +
            "".join(line("td", [c if c.startswith("<b") else esc(c) for c in r]) for r in rows) +
            "</tbody></table></div>")


def facts(pairs):
    rows = "".join(f"<tr><td class='l'>{esc(k)}</td><td class='l'>{esc(str(v))}</td></tr>"
                   for k, v in pairs)
    return f"<div class='scroll'><table>{rows}</table></div>"


def terms(pairs):
    return "<dl>" + "".join(f"<dt>{k}</dt><dd>{esc(v)}</dd>" for k, v in pairs) + "</dl>"


def targets(data):
    rows = []
    for t in data["targets"]:
        mark = "<b>met</b>" if t["met"] else "<b style='color:#b0003a'>not met</b>"
        rows.append([t["target"], t["value"], t["limit"], mark])
    met = sum(t["met"] for t in data["targets"])
    return (f"<h3>Targets: {met} of {len(rows)} met</h3>" +
            table(["target", "measured", "required", ""], rows) +
            "<p class='sub'>Ratios are medians of the ratios of single rounds, in which all "
            "rivals took turns.</p>")
