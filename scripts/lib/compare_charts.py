"""Draws the tables of scripts/compare as bar charts, in SVG that suits light and dark pages."""

import math
import os
import statistics
from html import escape

from compare_peers import OURS
from compare_report import NAMES, number

# In pixels. Two panels stand side by side; a panel is a cell, a bar in it a server.
PANEL, LABELS, BAR, GAP, HEAD, MARGIN = 480, 200, 14, 6, 44, 12
# Where the largest figure is so many times the least, bars have a logarithmic scale.
LOGARITHMIC_FROM = 40

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px } .heading { font-weight: 600 } .small { font-size: 11px; fill: #6b7280 }
.other { fill: #a3abb6 } .ours { fill: #2f7fd6 } .range { stroke: #57606a; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9aa4b0 } .other { fill: #5d6672 } .ours { fill: #58a6ff } .range { stroke: #b5bec9 }
}
""".strip()


def draw(tables, folder):
    """Writes a chart for each table; their paths, by the table's group."""
    os.makedirs(folder, exist_ok=True)
    drawn = {}
    for table in tables:
        panels = [panel(column) for column in table["columns"]]
        panels = [one for one in panels if one]
        if not panels:
            continue
        path = os.path.join(folder, f"{table['group']}.svg")
        with open(path, "w", encoding="utf-8") as picture:
            picture.write(chart(table, panels))
        drawn[table["group"]] = path
    return drawn


def panel(column):
    """The bars of a cell, cheapest first: key, median, least, most."""
    bars = [
        (key, statistics.median(row["figures"]), min(row["figures"]), max(row["figures"]))
        for key, row in column["rows"].items()
        if row["figures"]
    ]
    bars.sort(key=lambda bar: bar[1])
    return bars and {"heading": column["heading"], "bars": bars}


def chart(table, panels):
    across = min(2, len(panels))
    height_of = [HEAD + len(one["bars"]) * (BAR + GAP) for one in panels]
    rows = [max(height_of[start:start + across]) for start in range(0, len(panels), across)]
    width, height = MARGIN + 2 * PANEL, 58 + sum(rows) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        f"<title>{escape(table['title'])}</title>",
        f"<style>{STYLE}</style>",
        text(MARGIN, 24, table["title"], "title"),
        text(MARGIN, 42, f"{table['unit'].split(';')[0]}; less is better", "small"),
    ]
    for index, one in enumerate(panels):
        x = MARGIN + index % across * PANEL
        parts += bars_of(one, x, 58 + sum(rows[:index // across]))
    return "\n".join([*parts, "</svg>"]) + "\n"


def bars_of(one, x, y):
    bars, room = one["bars"], PANEL - LABELS - 80
    place, is_logarithmic = scale([most for *_, most in bars] + [least for _, _, least, _ in bars], room)
    heading = one["heading"] + (", logarithmic scale" if is_logarithmic else "")
    yield text(x, y + 26, heading, "heading")
    for index, (key, middle, least, most) in enumerate(bars):
        top = y + HEAD - 8 + index * (BAR + GAP)
        base, end = x + LABELS, place(middle)
        kind = "ours" if key.startswith(OURS.key) else "other"
        yield text(base - 6, top + 11, NAMES[key], "", "end")
        yield f'<rect class="{kind}" x="{base}" y="{top}" width="{end:.1f}" height="{BAR}" rx="2"/>'
        if most > least:
            line = top + BAR / 2
            yield f'<path class="range" d="M{base + place(least):.1f} {line}H{base + place(most):.1f}"/>'
        yield text(base + max(end, place(most)) + 6, top + 11, number(middle))


def scale(values, room):
    """From a figure to pixels, and whether it is logarithmic."""
    least, most = max(min(values), 1e-3), max(values)
    if most / least < LOGARITHMIC_FROM:
        return (lambda value: value / most * room), False
    floor = 10 ** math.floor(math.log10(least) - 0.3)
    return (lambda value: max(1.0, math.log(max(value, floor) / floor) / math.log(most / floor) * room)), True


def text(x, y, words, kind="", anchor="start"):
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
