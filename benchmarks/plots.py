"""Plots of what ``benchmarks.bench`` has measured; runs in the peers' environment.

python -m benchmarks.plots bench.json FOLDER
"""

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator

OURS, PEER = "#2b6cb0", "#a0aec0"
MONITORS = "#dd8452"
COLOURS = {"embedded": "#2b6cb0", "embedded, reasons": "#63b3ed", "local[2]": "#c05621"}

NAMES = {"local[2]": "Apache Spark", "local[1]": "Apache Spark"}

AFTER_PUBLISHING = "measure_quality"
"""With it monitoring and proofs begin."""


def bars(name: str, rows: list[dict], about: dict, path: Path) -> None:
    """CPU seconds and peak memory of the ways of one work, side by side."""
    rows = [row for row in rows if row["repeats"]][::-1]
    names = [NAMES.get(row["way"], row["way"]) for row in rows]
    colours = [PEER if row["is_peer"] else OURS for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(10, 1 + 0.5 * len(rows)), sharey=True)
    for axis, values, title, form in (
        (axes[0], [row["cpu"] for row in rows], "CPU seconds", "{:.1f}"),
        (axes[1], [row["peak"] / 1e9 for row in rows], "peak memory, GB", "{:.2f}"),
    ):
        drawn = axis.barh(names, values, color=colours)
        axis.bar_label(drawn, [form.format(value) for value in values], padding=3, fontsize=9)
        axis.set_xlim(0, 1.18 * max(values))
        axis.set_title(title, fontsize=10, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    counted = f"{rows[0]['rows']:,} rows" if len({row["rows"] for row in rows}) == 1 else ""
    finish(figure, name, [counted, about["machine"], f"{about['repeats']} runs"], path)


def lines(points: list[dict], about: dict, path: Path) -> None:
    """CPU seconds and peak memory over the number of customers, a column for each work."""
    works = list(dict.fromkeys(point["work"] for point in points))
    shape = {"figsize": (3.6 * len(works), 6), "sharex": True, "sharey": "row", "squeeze": False}
    figure, grid = plt.subplots(2, len(works), **shape)
    sizes = sorted({point["customers"] for point in points})
    for column, work in enumerate(works):
        for row, (key, unit, title) in enumerate(
            (("cpu", 1, "CPU seconds"), ("peak", 1e9, "peak memory, GB"))
        ):
            axis = grid[row][column]
            mine = [point for point in points if point["work"] == work and "failed" not in point]
            for way in dict.fromkeys(point["way"] for point in mine):
                cost = {one["customers"]: one[key] / unit for one in mine if one["way"] == way}
                label = NAMES.get(way, way)
                if key == "cpu" and len(cost) > 1:
                    label = f"{label}: {exponent(cost):.2f}"
                colour = COLOURS.get(way)
                axis.plot(list(cost), list(cost.values()), "o-", color=colour, label=label)
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
            axis.minorticks_off()
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axis.set_title(work, fontsize=10, loc="left")
                axis.legend(fontsize=8, frameon=False, title="exponent of the last step")
                axis.get_legend().get_title().set_fontsize(8)
            else:
                axis.set_xlabel("customers", fontsize=9)
            if column == 0:
                axis.set_ylabel(title, fontsize=9)
    finish(figure, "Growth", [about["machine"]], path)


def exponent(cost: dict[int, float]) -> float:
    """How the cost grows from the last but one size to the last: 1 is in proportion."""
    (few, less), (many, more) = sorted(cost.items())[-2:]
    return math.log(more / less) / math.log(many / few)


def pairs(points: list[dict], by: str, about: dict, path: Path) -> None:
    """Wall seconds with one and with two of something, in pairs."""
    points = [point for point in points if "failed" not in point]
    named = [(point["work"], NAMES.get(point["way"], point["way"])) for point in points]
    groups = list(dict.fromkeys(named))
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.6 * len(groups)))
    for count, colour, shift in ((1, PEER, -0.2), (2, OURS, 0.2)):
        found = {
            group: point["wall"]
            for group, point in zip(named, points, strict=True)
            if point[by] == count
        }
        places = [groups.index(group) + shift for group in found]
        unit = by if count > 1 else by.removesuffix("s")
        drawn = axis.barh(
            places, list(found.values()), height=0.38, color=colour, label=f"{count} {unit}"
        )
        axis.bar_label(drawn, [f"{value:.1f}" for value in found.values()], padding=3, fontsize=8)
    axis.set_yticks(range(len(groups)), [f"{work}, {way}" for work, way in groups], fontsize=9)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("wall seconds", fontsize=9)
    axis.legend(fontsize=9, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axis.spines[["top", "right"]].set_visible(False)
    title = "One and two cores" if by == "cores" else "One and two workers of a cluster"
    finish(figure, title, [about["machine"]], path)


def waterfall(jobs: list[dict], about: dict, path: Path) -> None:
    """When each job of a night began and ended, with what it took."""
    names = [job["job"] for job in jobs]
    first = names.index(AFTER_PUBLISHING) if AFTER_PUBLISHING in names else len(names)
    colours = [OURS if number < first else MONITORS for number in range(len(jobs))]
    figure, axis = plt.subplots(figsize=(10, 1.2 + 0.36 * len(jobs)))
    axis.barh(names, [job["wall"] for job in jobs], left=[job["began"] for job in jobs])
    for bar, job, colour in zip(axis.patches, jobs, colours, strict=True):
        bar.set_color(colour)
        told = f"{job['wall']:.1f} s, {job['cpu']:.1f} CPU s, {job['peak'] / 1e9:.1f} GB"
        end = job["began"] + job["wall"]
        axis.annotate(told, (end, job["job"]), (4, 0), textcoords="offset points", va="center")
        axis.texts[-1].set_fontsize(8)
    axis.invert_yaxis()
    whole = sum(job["wall"] for job in jobs)
    axis.set_xlim(0, 1.3 * whole)
    axis.set_xlabel("seconds after the beginning", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    spent = sum(job["cpu"] for job in jobs)
    share = sum(job["cpu"] for job in jobs[first:]) / spent
    told = [
        f"{whole / 60:.1f} minutes, {spent:.0f} CPU s, "
        f"{share:.0%} of them after publishing (orange)",
        about["machine"],
    ]
    finish(figure, "A night", told, path)


def finish(figure: plt.Figure, title: str, details: Sequence[str], path: Path) -> None:
    """Title the figure and write it."""
    told = ", ".join(part for part in details if part)
    figure.suptitle(f"{title}: {told}", fontsize=10, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """A file for each work, and for each other part."""
    facts, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for part, found in facts.items():
        rows, about = found["rows"], found["about"]
        path = folder / f"{part}.png"
        if part == "growth":
            lines(rows, about, path)
        elif part in ("cores", "cluster"):
            pairs(rows, "cores" if part == "cores" else "workers", about, path)
        elif part == "night":
            waterfall(rows, about, path)
        else:
            for name in dict.fromkeys(row["work"] for row in rows):
                ways = [row for row in rows if row["work"] == name]
                if any(row["repeats"] for row in ways):
                    bars(name, ways, about, folder / f"{re.sub(r'[^a-z]+', '_', name)}.png")


if __name__ == "__main__":
    main()
