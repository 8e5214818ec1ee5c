"""This project beside what people would use instead, on the same generated work.

    make bench                                     small, under five minutes on two idle cores
    make bench PARTS="growth cores cluster night"  how cost grows, and where a night's goes
    make bench SIZE=large REPEATS=3                a million customers; hours

``ways`` does every work in turn by every way, several times. ``growth`` does our own at several
sizes, ``cores`` on one core and on two, ``cluster`` on one worker and on two of a standalone
cluster, ``night`` all jobs of a night one after the other. Each is a process of its own. Writes
``bench.json``, ``bench.md`` (medians; ratios to the peer with their spread) and plots into the
folder; parts measured before stay in them. The peers, and what draws, run in an environment of
their own (benchmarks/requirements.txt). A way that is not installed, or fails, is shown as such;
what programs say is in ``bench.log``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import catalog
from benchmarks import intake, scoring
from benchmarks.cluster import standalone_cluster
from benchmarks.measure import measure
from benchmarks.night import run_night
from jobs.java import JAVA_OPTIONS, java_home
from records import RunRecord

SPARK = "local[2]"


@dataclass(frozen=True, slots=True)
class Size:
    """How much work there is.

    ``places`` and ``days`` make a history, in which ``active`` customers are left; its activity is
    multiplied by ``copies``. ``grown`` are the sizes of growth, in customers.
    """

    places: int
    days: int
    active: int
    copies: int
    scored: int
    lines: int
    grown: tuple[int, ...]

    def of(self, customers: int) -> "Size":
        """So many customers, each with the activity of this size and a line a day."""
        copies = max(1, round(customers / self.active))
        return replace(self, copies=copies, scored=customers, lines=customers)


SIZES = {
    "small": Size(6_000, 120, 3_442, 10, 100_000, 90_000, (10_000, 30_000, 100_000)),
    "middle": Size(20_000, 365, 17_000, 5, 300_000, 300_000, (10_000, 100_000, 300_000)),
    "large": Size(
        56_000, 730, 55_000, 18, 1_000_000, 1_000_000, (10_000, 100_000, 300_000, 1_000_000)
    ),
}


@dataclass(frozen=True, slots=True)
class Way:
    """One program that does a work; a peer is what the others are compared with."""

    name: str
    module: str
    arguments: Sequence[str]
    is_peer: bool = False

    def on(self, master: str) -> "Way":
        """The same on another Apache Spark."""
        arguments = [master if one == SPARK else one for one in self.arguments]
        return replace(self, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Work:
    """What is done, and the ways to do it."""

    name: str
    ways: Sequence[Way]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, how often, and where it lies."""

    folder: Path
    python_of_peers: Path
    size: Size
    repeats: int
    works: Sequence[str]
    customers: Sequence[int]

    @property
    def log(self) -> Path:
        """What programs say beside their result."""
        return self.folder / "bench.log"

    def work(self, name: str, size: Size) -> Work:
        """A work of that size, prepared."""
        return WORKS[name](self, size)

    def run(self, work: Work, way: Way, **how: Any) -> dict:
        """What it costs to do a work once."""
        python = str(self.python_of_peers) if way.is_peer else sys.executable
        found = measure(way.module, way.arguments, python, log=self.log, **how)
        cost = "failed" if "failed" in found else f"{found['rows']:,} rows"
        print(f"{work.name}, {way.name}: {cost}, {found['cpu']:.1f} CPU s", flush=True)
        return found


def peer(name: str, *arguments: object) -> Way:
    """A way of benchmarks/peers.py."""
    return Way(name, "benchmarks.peers", [str(one) for one in arguments], is_peer=True)


def scoring_work(bench: Bench, size: Size) -> Work:
    """Predictions of a night from its features."""
    root = bench.folder / f"scoring-{size.scored}"
    scoring.make_shop(root, size.scored)
    record = RunRecord.read(root, scoring.TONIGHT, "tonight")
    features = root / catalog.FEATURES_LAYOUT.format(**record.key)
    model = root / "bundles" / record.bundle_sha256 / "model.ubj"
    ours = [
        Way(way, "benchmarks.scoring", ["--folder", str(root), "--compute", way])
        for way in ("embedded", "embedded, reasons", SPARK)
    ]
    return Work("scoring", [*ours, peer("mlflow spark_udf, local[2]", "mlflow", features, model)])


def day_work(bench: Bench, size: Size) -> Work:
    """One delivery read, checked, split and written."""
    root = bench.folder / f"day-{size.lines}"
    intake.make_day(history_root(bench.folder, size), root, size.lines)
    lines = root / "incoming"
    ours = [
        Way(engine, "benchmarks.intake", [str(root), "day", engine])
        for engine in ("embedded", SPARK)
    ]
    return Work("intake of a day", [*ours, peer("plain Spark aggregate", "aggregate", lines)])


def history_work(bench: Bench, size: Size) -> Work:
    """Many deliveries read, checked, split, written and summarised."""
    root = history_root(bench.folder, size)
    incoming = root / "incoming" / "transactions"
    ours = Way("embedded", "benchmarks.intake", [str(root), "history", "embedded"])
    return Work("history", [ours, peer("DuckDB, nothing checked", "duckdb_history", incoming)])


def features_work(bench: Bench, size: Size) -> Work:
    """The features of all customers from their activity."""
    root = taken_in(bench, size)
    activity = bench.folder / f"activity-{size.places}-{size.days}-{size.copies}"
    common = ["--folder", str(root), "--until", str(intake.UNTIL)]
    if not activity.exists():
        copying = [*common, "--copies", str(size.copies), "--copy", str(activity)]
        measure("benchmarks.engines", copying, log=bench.log)
    ours = [
        Way(engine, "benchmarks.engines", [*common, "--compute", str(activity), engine])
        for engine in ("embedded", SPARK)
    ]
    duckdb = peer("DuckDB, what is gathered", "duckdb_features", activity, intake.UNTIL)
    return Work("features", [*ours, duckdb])


def history_root(folder: Path, size: Size) -> Path:
    """The deliveries of a shop, made once."""
    root = folder / f"history-{size.places}-{size.days}"
    intake.make_history(root, size.places, size.days)
    return root


def taken_in(bench: Bench, size: Size) -> Path:
    """The same, its deliveries taken in."""
    root = history_root(bench.folder, size)
    if not (root / "lake" / "activity").exists():
        measure("benchmarks.intake", [str(root), "history", "embedded"], log=bench.log)
    return root


WORKS = {
    "scoring": scoring_work,
    "day": day_work,
    "history": history_work,
    "features": features_work,
}


def run_ways(work: Work, bench: Bench) -> list[dict]:
    """What each way cost, one after the other, so that a busy moment hits them alike."""
    found: dict[str, list[dict]] = {way.name: [] for way in work.ways}
    for _ in range(bench.repeats):
        for way in work.ways:
            if not way.is_peer or bench.python_of_peers.exists():
                found[way.name].append(bench.run(work, way))
    return summary(work, found)


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


# ---------------------------------------------------------------- customers, cores and workers


def ways(bench: Bench) -> list[dict]:
    """Every work by every way."""
    return [row for name in bench.works for row in run_ways(bench.work(name, bench.size), bench)]


def growth(bench: Bench) -> list[dict]:
    """Our ways at several sizes: a delivery has as many lines as there are customers."""
    points = []
    for customers in bench.customers:
        size = bench.size.of(customers)
        for name in sized(bench.works):
            work = bench.work(name, size)
            for way in work.ways:
                if not way.is_peer:
                    points.append(point(bench, work, way) | {"customers": customers})
    return points


def cores(bench: Bench) -> list[dict]:
    """Our ways at the largest of these sizes on one core and on all of two."""
    size = bench.size.of(max(bench.customers))
    points = []
    for name in sized(bench.works):
        work = bench.work(name, size)
        for count in (1, 2):
            for way in work.ways:
                if not way.is_peer:
                    way = way.on(f"local[{count}]") if SPARK in way.arguments else way
                    points.append(point(bench, work, way, cores=count) | {"cores": count})
    return points


def cluster(bench: Bench) -> list[dict]:
    """Features and scores at the largest of these sizes, by one worker and by two."""
    size = bench.size.of(max(bench.customers))
    points = []
    for count in (1, 2):
        with standalone_cluster(bench.folder / "cluster", count) as nodes:
            for name in sorted(set(bench.works) & {"features", "scoring"}):
                work = bench.work(name, size)
                [way] = [way for way in work.ways if SPARK in way.arguments]
                found = point(bench, work, way.on(nodes.url), beside=nodes.pids)
                points.append(found | {"workers": count, "way": "cluster"})
    return points


def sized(works: Sequence[str]) -> list[str]:
    """All but the history, whose size is that of the shop that the others are copied from."""
    return [name for name in works if name != "history"]


def point(bench: Bench, work: Work, way: Way, **how: Any) -> dict:
    """One run of a way, named."""
    return {"work": work.name, "way": way.name} | bench.run(work, way, **how)


def night(bench: Bench) -> list[dict]:
    """The jobs of a night in their order, on the engine that the size chooses."""
    customers = max(bench.customers)
    size = bench.size.of(customers)
    history = taken_in(bench, size)
    return run_night(bench.folder, history, copies=size.copies, customers=customers, log=bench.log)


PARTS = {"ways": ways, "growth": growth, "cores": cores, "cluster": cluster, "night": night}


# ------------------------------------------------------------------------------------- results


def table(rows: Sequence[dict]) -> str:
    """The rows of ``ways`` as Markdown."""
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


def points_table(points: Sequence[dict]) -> str:
    """Any other part as Markdown: what tells its points apart, and what they cost."""
    names = [name for name in points[0] if name not in ("cpu", "wall", "peak", "failed")]
    lines = [f"| {' | '.join(names)} | CPU s | wall s | peak GB |", "|---" * (len(names) + 3) + "|"]
    for one in points:
        told = [f"{one.get(name, 'failed')}" for name in names]
        cost = [f"{one['cpu']:.1f}", f"{one['wall']:.1f}", f"{one['peak'] / 1e9:.2f}"]
        lines.append(f"| {' | '.join([*told, *cost])} |")
    return "\n".join(lines) + "\n"


def about(size: str, repeats: int) -> dict:
    """What was measured, where."""
    names = ("pyspark", "pysail", "xgboost", "pyarrow", "numpy", "great-expectations")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "size": size,
        "repeats": repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["ways"])
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument(
        "--customers",
        nargs="+",
        type=int,
        help="sizes of growth; the largest is that of cores, cluster and night",
    )
    arguments = parser.parse_args()
    os.environ |= {"JAVA_HOME": java_home(), "BENCH_JAVA_OPTIONS": JAVA_OPTIONS}
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "SPARK_LOCAL_IP": "127.0.0.1"}
    bench = Bench(
        folder=arguments.folder.resolve(),
        python_of_peers=arguments.peers / "bin" / "python",
        size=SIZES[arguments.size],
        repeats=arguments.repeats,
        works=arguments.works,
        customers=arguments.customers or SIZES[arguments.size].grown,
    )
    bench.folder.mkdir(parents=True, exist_ok=True)
    path = bench.folder / "bench.json"
    facts = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.parts:
        found = PARTS[name](bench)
        facts[name] = {"about": about(arguments.size, arguments.repeats), "rows": found}
        # After each part: what was measured is kept when a later one is stopped.
        path.write_text(json.dumps(facts, indent=2) + "\n")
    shown = {
        name: (table if name == "ways" else points_table)(part["rows"])
        for name, part in facts.items()
    }
    pages = [f"## {name}\n\n{rows}" for name, rows in shown.items()]
    (bench.folder / "bench.md").write_text("\n".join(pages))
    print(*(shown[name] for name in arguments.parts), sep="\n")
    if bench.python_of_peers.exists():
        command = [bench.python_of_peers, "-m", "benchmarks.plots", path, bench.folder]
        subprocess.run(command, check=True)
    print(f"{bench.folder}: bench.md, bench.json and the plots")


if __name__ == "__main__":
    main()
