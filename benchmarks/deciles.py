"""What the nine cuts of the deciles cost, by engine, for scores that are spread and that are not.

    python -m benchmarks.deciles --folder data/deciles --rows 10000000

Writes that many scores into ``folder`` and cuts them into tenths. Prints a Markdown table of CPU
seconds (the whole process tree, starts included), wall seconds, peak memory, and whether the cuts
are those of a full sort.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.engines import ENGINES, measure
from settings import Settings

FILES = 8
# As a share of all: a usual night, and one on which hardly anybody will buy.
MEANS = {"spread": 0.05, "near each other": 1e-5}


def make_scores(folder: Path, rows: int, mean: float) -> list[float]:
    """Write the scores, unless they are there; their cuts by a sort."""
    cuts = folder / "cuts.json"
    if not cuts.exists():
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(1)
        scores = random.beta(1, 1 / mean - 1, rows)
        for number, part in enumerate(np.array_split(scores, FILES)):
            pq.write_table(pa.table({"p": part}), folder / f"part-{number}.parquet")
        ordered = np.sort(scores)
        cuts.write_text(json.dumps(np.quantile(ordered, np.arange(9, 0, -1) / 10).tolist()))
    return json.loads(cuts.read_text())


def compute(folder: Path, engine: str) -> None:
    """Read the scores and cut them."""
    from jobs.session import session
    from models.deciles import tenths

    with session(
        Settings(data_root=folder, spark_embedded_memory="2g"), "deciles", engine
    ) as spark:
        print(json.dumps({"cuts": tenths(spark.read.parquet(f"{folder}/*.parquet"), "p")}))


def main() -> None:
    """Measure both kinds of scores on every engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--compute", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compute:
        compute(arguments.folder, arguments.compute)
        return

    print("| scores | rows | engine | CPU s | wall s | peak GB | largest error |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for kind, mean in MEANS.items():
        folder = arguments.folder.resolve() / f"{kind.split()[0]}-{arguments.rows}"
        right = make_scores(folder, arguments.rows, mean)
        for engine in arguments.engines:
            found = measure("benchmarks.deciles", ["--folder", str(folder), "--compute", engine])
            error = "failed"
            if "cuts" in found:
                error = f"{max(map(abs, np.subtract(found['cuts'], right))):.1g}"
            print(
                f"| {kind} | {arguments.rows:,} | {engine} | {found['cpu']:.1f} "
                f"| {found['wall']:.1f} | {found['peak'] / 1e9:.2f} | {error} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
