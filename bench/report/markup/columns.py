# SPDX-License-Identifier: GPL-2.0
"""Tables of entries.  A column is the two lines of its heading and what it shows
of an entry; a < before the second line aligns it to the left."""
import html

from markup.text import aligned


def rows(columns, entries):
    return [[show(e) for _, _, show in columns] for e in entries]


def grouped(columns, entries):
    """Rows without repetitions in the first column, and the indices of those that begin
    a group"""
    out, firsts, before = rows(columns, entries), [], None
    for i, row in enumerate(out):
        if row[0] == before:
            row[0] = ""
        else:
            firsts.append(i)
            before = row[0]
    return out, firsts


def as_text(columns, body, firsts=()):
    """Lines, with an empty one between groups"""
    left = {i for i, c in enumerate(columns) if c[1].startswith("<")}
    head = [[c[0] for c in columns], [c[1].lstrip("<") for c in columns]]
    for i, line in enumerate(aligned(head + body, left)):
        if i - 2 in firsts[1:]:
            yield ""
        yield "  " + line


def as_html(columns, body, firsts=()):
    """With a line above each group"""
    def tags(tag, texts):
        return "".join(f"<{tag}{' class=l' if c[1].startswith('<') else ''}>"
                       f"{html.escape(t)}</{tag}>" for c, t in zip(columns, texts))

    head = tags("th", [(c[0] + " " + c[1].lstrip("<")).strip() for c in columns])
    lines = "".join(f"<tr{' class=first' if i in firsts else ''}>{tags('td', row)}</tr>"
                    for i, row in enumerate(body))
    return (f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{lines}</tbody></table></div>")
