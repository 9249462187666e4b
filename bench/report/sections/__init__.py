# SPDX-License-Identifier: GPL-2.0
"""What is shown of the figures.  A module for each section of the page, with
  SOURCE   the JSON file that it shows, or several: section() then gets a list;
           without those files there is no section
  ORDER    its place on the page
  TITLE    its heading
  section(data, figure) -> HTML
where figure(name, svg, caption) saves name.svg next to the page and returns the
HTML that shows it.  text(data), where there is one, is the same for a terminal.

Sections do not import each other: what they share belongs to markup or data.
"""
