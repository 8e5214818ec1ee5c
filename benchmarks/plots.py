"""Bars of what ``benchmarks.bench`` has measured; runs in the peers' environment.

python -m benchmarks.plots bench.json FOLDER
"""

import json
import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS, PEER = "#2b6cb0", "#a0aec0"


def bars(name: str, rows: list[dict], about: dict, path: Path) -> None:
    """CPU seconds and peak memory of the ways of one work, side by side."""
    rows = [row for row in rows if row["repeats"]][::-1]
    names = [row["way"] for row in rows]
    colours = [PEER if row["is_peer"] else OURS for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.9 + 0.55 * len(rows)), sharey=True)
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
    detail = ", ".join(
        part for part in (counted, about["machine"], f"{about['repeats']} runs") if part
    )
    figure.suptitle(f"{name}: {detail}", fontsize=11, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    """A file for each work."""
    facts, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for name in dict.fromkeys(row["work"] for row in facts["rows"]):
        rows = [row for row in facts["rows"] if row["work"] == name]
        if any(row["repeats"] for row in rows):
            bars(name, rows, facts["about"], folder / f"{re.sub(r'[^a-z]+', '_', name)}.png")


if __name__ == "__main__":
    main()
