#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""accuracy.py PROFILE.csv PICTURE.svg: draws what `exhaustive --profile=PROFILE.csv` has measured, one panel
for a function and its derivative. The x axis is the order of the f32 numbers, so every number has the same
width: a binade is as wide as the next, and 0 is in the middle."""

import csv
import struct
import sys

WIDTH, LEFT, RIGHT, TOP = 860, 104, 30, 96
PANEL, GAP, HIGHEST = 64, 16, 2.0  # pixels, pixels, ulp
TICKS = (-1e30, -1e15, -1.0, -1e-15, -1e-30, 0.0, 1e-30, 1e-15, 1.0, 1e15, 1e30)
INFINITY, BINADE = 0x7F800000, 1 << 23  # as the bits of f32

STYLE = """text { font: 13px Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #4a5160; }
.title { font-size: 18px; font-weight: 600; fill: #1d2330; }
.small { font-size: 11px; }
.page { fill: #ffffff; }
.grid { stroke: #e4e7ee; stroke-width: 1; }
.axis { stroke: #8a92a3; stroke-width: 1; }
.goal { stroke: #8a92a3; stroke-width: 1; stroke-dasharray: 2 4; }
.function { fill: none; stroke: #2457b3; stroke-width: 1.3; }
.derivative { fill: none; stroke: #eda3ad; stroke-width: 3.4; }
@media (prefers-color-scheme: dark) {
  text { fill: #b4bccb; }
  .title { fill: #eef1f6; }
  .page { fill: #14181f; }
  .grid { stroke: #2a303b; }
  .function { stroke: #8db5f7; }
  .derivative { stroke: #9c4653; }
}
"""


def bits(value):
    """The place of a float among the floats: 0 for 0, negative for negative ones."""
    (unsigned,) = struct.unpack("<I", struct.pack("<f", abs(value)))
    return -unsigned if struct.pack(">f", value)[0] & 0x80 else unsigned


def x_of(place):
    return LEFT + (place / INFINITY + 1) / 2 * (WIDTH - LEFT - RIGHT)


def y_of(ulp, top):
    return top + PANEL * (1 - min(ulp, HIGHEST) / HIGHEST)


def line(x1, y1, x2, y2, name):
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x, y, anchor, content, name=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{name}">{content}</text>'


def read(path):
    """By formula, the (from, to, ulp) of each binade in the order of the number line."""
    rows = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            negative = row["first"].startswith("-")
            first = bits(float(row["first"]))
            ends = (first - BINADE, first) if negative else (first, first + BINADE)
            rows.setdefault(row["formula"], []).append((*ends, float(row["ulp"])))
    return {formula: sorted(binades) for formula, binades in rows.items()}


def steps(binades, top, name):
    """A line of steps; binades of the same height are one step."""
    path, last = "", None
    for begin, end, ulp in binades:
        y = f"{y_of(ulp, top):.1f}"
        if y != last:
            path += f"H{x_of(begin):.1f}V{y}" if path else f"M{x_of(begin):.1f} {y}"
        last = y
    return f'<path class="{name}" d="{path}H{x_of(end):.1f}"/>'


def panel(formula, profile, top):
    svg = [line(x_of(bits(tick)), top, x_of(bits(tick)), top + PANEL, "grid") for tick in TICKS]
    for ulp in (0, 1, 2):
        y = y_of(ulp, top)
        svg.append(line(LEFT, y, WIDTH - RIGHT, y, "goal" if ulp else "axis"))
        svg.append(text(LEFT - 8, y + 4, "end", ulp, "small"))
    svg.append(text(14, top + PANEL / 2 + 4, "start", formula))
    # The derivative is the wide line below, so that both show where they agree.
    for name, kind in ((formula + "_derivative", "derivative"), (formula, "function")):
        if name in profile:
            svg.append(steps(profile[name], top, kind))
    return svg


def legend(y):
    svg = []
    for x, kind, label in (
        (LEFT, "function", "function: goal 1 ulp"),
        (LEFT + 180, "derivative", "derivative: goal 2 ulp"),
    ):
        svg += [line(x, y - 4.5, x + 28, y - 4.5, kind), text(x + 36, y, "start", label)]
    return svg


def draw(profile):
    functions = [name for name in profile if not name.endswith("_derivative")]
    height = TOP + len(functions) * (PANEL + GAP) + 44
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>\n{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        text(LEFT, 36, "start", "The largest error in each binade of f32, in ulp", "title"),
        *legend(66),
    ]
    for i, formula in enumerate(functions):
        svg += panel(formula, profile, TOP + i * (PANEL + GAP))
    for tick in TICKS:
        label = f"{tick:g}".replace("e+", "e").replace("-", "\u2212")
        svg.append(text(x_of(bits(tick)), height - 44, "middle", label, "small"))
    svg.append(text((LEFT + WIDTH - RIGHT) / 2, height - 16, "middle", "x, in the order of the f32 numbers"))
    return "\n".join([*svg, "</svg>\n"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    picture = draw(read(sys.argv[1]))
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(picture)
