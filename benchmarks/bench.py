"""This project beside what people would use instead, on the same generated work.

    make bench                        small, under five minutes on two idle cores
    make bench SIZE=large REPEATS=3   a million customers; hours

Every work is done in turn by every way, several times, each time by a process of its own. Writes
``bench.json``, ``bench.md`` (medians; ratios to the peer with their spread) and a plot for each
work into the folder. The peers, and what draws, run in an environment of their own
(benchmarks/requirements.txt). A way that is not installed, or fails, is shown as such.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import catalog
from benchmarks import intake, scoring
from benchmarks.measure import measure
from jobs.java import JAVA_OPTIONS, java_home
from records import RunRecord

SPARK = "local[2]"
CORES = "2"


@dataclass(frozen=True, slots=True)
class Size:
    """How much work there is."""

    customers: int
    days: int
    copies: int
    scored: int
    lines: int


SIZES = {
    "small": Size(customers=6_000, days=120, copies=10, scored=100_000, lines=90_000),
    "middle": Size(customers=20_000, days=365, copies=5, scored=300_000, lines=300_000),
    "large": Size(customers=56_000, days=730, copies=18, scored=1_000_000, lines=1_000_000),
}


@dataclass(frozen=True, slots=True)
class Way:
    """One program that does a work; a peer is what the others are compared with."""

    name: str
    module: str
    arguments: Sequence[str]
    is_peer: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What is done, and the ways to do it."""

    name: str
    ways: Sequence[Way]


def peer(name: str, *arguments: object) -> Way:
    """A way of benchmarks/peers.py."""
    return Way(name, "benchmarks.peers", [str(one) for one in arguments], is_peer=True)


def scoring_work(folder: Path, size: Size) -> Work:
    """Predictions of a night from its features."""
    root = folder / f"scoring-{size.scored}"
    scoring.make_shop(root, size.scored)
    record = RunRecord.read(root, scoring.TONIGHT, "tonight")
    features = root / catalog.FEATURES_LAYOUT.format(**record.key)
    model = root / "bundles" / record.bundle_sha256 / "model.ubj"
    ours = [
        Way(way, "benchmarks.scoring", ["--folder", str(root), "--compute", way])
        for way in ("embedded", "embedded, reasons", SPARK)
    ]
    return Work("scoring", [*ours, peer("mlflow spark_udf, local[2]", "mlflow", features, model)])


def day_work(folder: Path, size: Size) -> Work:
    """One delivery read, checked, split and written."""
    root = folder / f"day-{size.lines}"
    intake.make_day(history_root(folder, size), root, size.lines)
    lines = root / "incoming"
    ours = [
        Way(engine, "benchmarks.intake", [str(root), "day", engine])
        for engine in ("embedded", SPARK)
    ]
    return Work("intake of a day", [*ours, peer("plain Spark aggregate", "aggregate", lines)])


def history_work(folder: Path, size: Size) -> Work:
    """Many deliveries read, checked, split, written and summarised."""
    root = history_root(folder, size)
    incoming = root / "incoming" / "transactions"
    ours = Way("embedded", "benchmarks.intake", [str(root), "history", "embedded"])
    return Work("history", [ours, peer("DuckDB, nothing checked", "duckdb_history", incoming)])


def features_work(folder: Path, size: Size) -> Work:
    """The features of all customers from their activity."""
    root = history_root(folder, size)
    activity = folder / f"activity-{size.customers}-{size.days}-{size.copies}"
    common = ["--folder", str(root), "--until", str(intake.UNTIL)]
    if not activity.exists():
        measure("benchmarks.intake", [str(root), "history", "embedded"])
        copying = [*common, "--copies", str(size.copies), "--copy", str(activity)]
        measure("benchmarks.engines", copying)
    ours = [
        Way(engine, "benchmarks.engines", [*common, "--compute", str(activity), engine])
        for engine in ("embedded", SPARK)
    ]
    duckdb = peer("DuckDB, what is gathered", "duckdb_features", activity, intake.UNTIL)
    return Work("features", [*ours, duckdb])


def history_root(folder: Path, size: Size) -> Path:
    """The deliveries of a shop, made once."""
    root = folder / f"history-{size.customers}-{size.days}"
    intake.make_history(root, size.customers, size.days)
    return root


WORKS = {
    "scoring": scoring_work,
    "day": day_work,
    "history": history_work,
    "features": features_work,
}


def run_ways(work: Work, repeats: int, python_of_peers: Path) -> dict[str, list[dict]]:
    """What each way cost, one after the other, so that a busy moment hits them alike."""
    found: dict[str, list[dict]] = {way.name: [] for way in work.ways}
    for _ in range(repeats):
        for way in work.ways:
            if not way.is_peer:
                found[way.name].append(measure(way.module, list(way.arguments)))
            elif python_of_peers.exists():
                python = str(python_of_peers)
                found[way.name].append(measure(way.module, list(way.arguments), python))
    return found


def summary(work: Work, found: dict[str, list[dict]]) -> list[dict]:
    """A row for each way: medians, and its CPU seconds over the peer's, lowest and highest too."""
    [peer_name] = [way.name for way in work.ways if way.is_peer]
    rows = []
    for way in work.ways:
        runs = [run for run in found[way.name] if "failed" not in run]
        row = {"work": work.name, "way": way.name, "is_peer": way.is_peer, "repeats": len(runs)}
        if runs:
            row |= {key: statistics.median(run[key] for run in runs) for key in ("cpu", "wall")}
            row |= {"rows": runs[0]["rows"], "peak": max(run["peak"] for run in runs)}
            ratios = [
                run["cpu"] / beside["cpu"]
                for run, beside in zip(found[way.name], found[peer_name], strict=False)
                if "failed" not in run and "failed" not in beside
            ]
            if ratios:
                row["ratio"] = [min(ratios), statistics.median(ratios), max(ratios)]
        rows.append(row)
    return rows


def table(rows: Sequence[dict]) -> str:
    """The rows as Markdown."""
    head = "| work | way | rows | CPU s | wall s | peak GB | CPU s / peer's |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in rows:
        if not row["repeats"]:
            lines.append(f"| {row['work']} | {row['way']} | failed, or not installed | | | | |")
            continue
        low, middle, high = row.get("ratio", [float("nan")] * 3)
        lines.append(
            f"| {row['work']} | {row['way']} | {row['rows']:,} | {row['cpu']:.1f} "
            f"| {row['wall']:.1f} | {row['peak'] / 1e9:.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join(lines) + "\n"


def about(size: str, repeats: int) -> dict:
    """What was measured, where."""
    names = ("pyspark", "pysail", "xgboost", "pyarrow", "numpy", "great-expectations")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "size": size,
        "repeats": repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB",
        "load": os.getloadavg()[1],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("data/bench"))
    parser.add_argument("--peers", type=Path, default=Path("data/bench/peers"))
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    arguments = parser.parse_args()
    os.environ |= {"JAVA_HOME": java_home(), "BENCH_JAVA_OPTIONS": JAVA_OPTIONS}
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE"}
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    python_of_peers = arguments.peers / "bin" / "python"

    rows = []
    for name in arguments.works:
        work = WORKS[name](folder, SIZES[arguments.size])
        rows += summary(work, run_ways(work, arguments.repeats, python_of_peers))
        facts = {"about": about(arguments.size, arguments.repeats), "rows": rows}
        # After each work: what was measured is kept when a later one is stopped.
        (folder / "bench.json").write_text(json.dumps(facts, indent=2) + "\n")
        (folder / "bench.md").write_text(table(rows))
    print(table(rows))
    if python_of_peers.exists():
        command = [python_of_peers, "-m", "benchmarks.plots", folder / "bench.json", folder]
        subprocess.run(command, check=True)
    print(f"{folder}: bench.md, bench.json and the plots")


if __name__ == "__main__":
    main()
