#!/usr/bin/env python3
"""Draws the CSVs of `etch bench --csv` as SVG, with the standard library only.

    bench/plot.py                       bench/results/*.csv, each to an .svg beside it
    bench/plot.py FILE.csv… -o DIR      these files, to DIR

A picture has two panels for each model and way to run it: tokens/s of one session against the
length of its context, and tokens/s of all sessions against their number. The dashed line is the
limit of the machine in the same run: tokens/s at a fraction of 1. Of rows that were measured
several times the newest counts.
"""

import argparse
import csv
import math
import pathlib
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 46, 46
LEGEND_LINE = 18
COLOURS = ["#1f6fb4", "#d1642a", "#2f8f4e", "#8a4fb0", "#b0303c", "#5b6b7a", "#b08a1e", "#178a94"]


def read_rows(path):
    """The rows of one file as dictionaries with numbers where numbers are."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in ("context", "batch", "adapters", "tokens"):
            row[name] = int(row[name])
        for name in ("tokens_per_s", "fraction"):
            row[name] = float(row[name])
    return rows


def newest(rows):
    """Of rows that measure the same thing, the last in the file."""
    found = {}
    for row in rows:
        key = tuple(row[name] for name in ("model", "isa", "backend", "threads", "kind", "context",
                                           "batch", "adapters", "tokens"))
        found[key] = row
    return list(found.values())


def series(rows, axis):
    """{label: [(x, tokens/s, limit)]} over `axis`, "context" or "batch", sorted by x."""
    found = {}
    for row in newest(rows):
        plain = row["kind"] == "decode" and row["adapters"] == 0
        if plain and (row["batch"] == 1 if axis == "context" else row["context"] == 0):
            label = f"{row['model']}, {row['isa']}, {row['threads']} threads"
            limit = row["tokens_per_s"] / row["fraction"] if row["fraction"] > 0 else math.nan
            found.setdefault(label, []).append((row[axis], row["tokens_per_s"], limit))
    return {label: sorted(points) for label, points in found.items()}


def ticks(largest):
    """Three to six round numbers from 0 to at least `largest`."""
    step = 10 ** math.floor(math.log10(largest)) if largest > 0 else 1
    for factor in (0.2, 0.5, 1, 2):
        if largest / (step * factor) <= 5:
            step *= factor
            break
    return [step * index for index in range(math.ceil(largest / step - 1e-9) + 1)]


def number(value):
    """1024 → 1k, 0.5 → 0.5."""
    if value >= 1024 and value % 1024 == 0:
        return f"{value // 1024:.0f}k"
    return f"{value:g}"


def path_of(points, style):
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{drawn}" fill="none" {style}/>'


def panel(title, axis_name, lines, left):
    """One diagram whose left edge is at `left`. `lines`: as series() returns them."""
    xs = sorted({x for points in lines.values() for x, _, _ in points})
    highest = max((value for points in lines.values() for _, speed, limit in points
                   for value in (speed, limit) if not math.isnan(value)), default=1)
    marks = ticks(highest)
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x, y):
        # Values of x stand at equal distances: contexts and batches grow by factors.
        place = xs.index(x) / max(1, len(xs) - 1) if len(xs) > 1 else 0.5
        return left + LEFT + place * plot_width, TOP + plot_height * (1 - y / marks[-1])

    out = [f'<text x="{left + LEFT}" y="24" class="title">{escape(title)}</text>']
    for mark in marks:
        y = at(xs[0], mark)[1] if xs else TOP
        out.append(f'<line x1="{left + LEFT}" x2="{left + WIDTH - RIGHT}" y1="{y:.1f}" '
                   f'y2="{y:.1f}" class="grid"/>')
        out.append(f'<text x="{left + LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                   f'{number(mark)}</text>')
    for x in xs:
        out.append(f'<text x="{at(x, 0)[0]:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                   f'text-anchor="middle">{number(x)}</text>')
    out.append(f'<text x="{left + LEFT + plot_width / 2}" y="{HEIGHT - 8}" '
               f'text-anchor="middle">{escape(axis_name)}</text>')
    for index, points in enumerate(lines.values()):
        colour = COLOURS[index % len(COLOURS)]
        limits = [at(x, limit) for x, _, limit in points if not math.isnan(limit)]
        out.append(path_of(limits, f'class="limit" stroke="{colour}" stroke-dasharray="5 4"'))
        speeds = [at(x, speed) for x, speed, _ in points]
        out.append(path_of(speeds, f'class="speed" stroke="{colour}" stroke-width="2"'))
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in speeds]
    return out


def picture(rows):
    """The SVG of the rows of one machine, or None when there is nothing to draw."""
    by_context, by_batch = series(rows, "context"), series(rows, "batch")
    labels = list(dict.fromkeys([*by_context, *by_batch]))
    if not labels:
        return None
    # Both panels give a label the same colour.
    by_context = {label: by_context.get(label, []) for label in labels}
    by_batch = {label: by_batch.get(label, []) for label in labels}
    height = HEIGHT + LEGEND_LINE * (len(labels) + 1)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{height}" '
           f'viewBox="0 0 {2 * WIDTH} {height}">',
           "<style>text { font: 12px sans-serif; fill: #333 } .title { font-weight: bold } "
           ".grid { stroke: #ddd }</style>",
           f'<rect width="{2 * WIDTH}" height="{height}" fill="white"/>']
    out += panel("tokens/s of one session", "tokens of context", by_context, 0)
    out += panel("tokens/s of all sessions", "sessions", by_batch, WIDTH)
    for index, label in enumerate(labels):
        y = HEIGHT + LEGEND_LINE * index
        colour = COLOURS[index % len(COLOURS)]
        out.append(f'<rect x="{LEFT}" y="{y}" width="12" height="12" fill="{colour}"/>')
        out.append(f'<text x="{LEFT + 20}" y="{y + 10}">{escape(label)}</text>')
    note = f"{rows[-1]['machine']}; dashed: the machine's limit, measured in the same run"
    out.append(f'<text x="{LEFT}" y="{HEIGHT + LEGEND_LINE * len(labels) + 10}">'
               f"{escape(note)}</text>")
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("-o", "--out", type=pathlib.Path, help="folder of the pictures")
    options = parser.parse_args()
    results = pathlib.Path(__file__).parent / "results"
    # Other programs keep their rounds in the same folder, with columns of their own.
    files = options.files or sorted(
        path for path in results.glob("*.csv")
        if not path.name.startswith(("chips-", "peers-", "serving-")))
    if not files:
        sys.exit(f"plot: no CSV in {results}; `etch bench IMAGE --csv FILE` writes one")
    for path in files:
        try:
            drawn = picture(read_rows(path))
        except (OSError, KeyError, TypeError, ValueError) as error:
            sys.exit(f"plot: {path}: not a CSV of etch bench ({error})")
        if drawn is None:
            sys.exit(f"plot: {path}: has no decode rows")
        target = (options.out or path.parent) / path.with_suffix(".svg").name
        target.write_text(drawn, encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main()
