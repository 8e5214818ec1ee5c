"""What the features of a night cost on the embedded engine and on Apache Spark, by size.

    python -m benchmarks.engines --folder data/large --copies 1 5 18

``folder`` is a deployment whose history was taken in; larger shops are made of it by copying its
customers. Prints a Markdown table of CPU seconds (the whole process tree, starts included), wall
seconds and peak memory. This is where ``EMBEDDED_ROWS`` in jobs/engine.py comes from.
"""

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

import catalog
from benchmarks.measure import measure
from ledger import intake_rules, known_by, pin_rules
from params import read_params
from records import ActivityRecord
from settings import Settings

ENGINES = ("embedded", "local[2]")


def copy_customers(root: Path, until: date, copies: int, into: Path) -> int:
    """Write the activity of ``copies`` shops into ``into``; return how many rows it has."""
    from jobs.session import session

    settings = Settings(data_root=root, spark_embedded_memory="12g")
    rules = pin_rules(root, intake_rules(read_params(), settings.source))
    pieces = [
        ActivityRecord.read(root, day, name).activity
        for day, name in known_by(root, rules, night=until, until=until).items()
    ]
    with session(settings, "copy", "embedded") as spark:
        from lake import read_pieces

        activity = read_pieces(spark, root, pieces, catalog.ACTIVITY)
        named = "concat(customer_id, '-', copy) as customer_id"
        others = [name for name in catalog.ACTIVITY.columns if name != "customer_id"]
        several = activity.crossJoin(spark.range(copies).selectExpr("id as copy"))
        several.selectExpr(named, *others).write.parquet(str(into))
        return spark.read.parquet(str(into)).count()


def compute(root: Path, activity: Path, engine: str, as_of: list[date], memory: str) -> None:
    """The features of these dates, written to a file."""
    from features.activity import with_interval
    from features.build import build_features
    from jobs.session import session
    from lake import kept, write_sorted

    settings = Settings(data_root=root, spark_embedded_memory=memory)
    with session(settings, "features", engine) as spark, tempfile.TemporaryDirectory() as folder:
        rows = spark.read.schema(catalog.ACTIVITY.schema).parquet(str(activity))
        root = Path(folder)
        with kept(build_features(with_interval(rows), as_of, 365), root) as features:
            written = write_sorted(features, root / "sorted", root, ["as_of", "customer_id"])
        print(json.dumps({"rows": written.rows}), flush=True)


def main() -> None:
    """Measure every size on every engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--until", type=date.fromisoformat, default=date(2026, 3, 31))
    parser.add_argument("--copies", type=int, nargs="+", default=[1])
    parser.add_argument("--dates", type=int, default=1, help="as-of dates, 30 days apart")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--memory", default="12g", help="of the embedded engine")
    parser.add_argument("--compute", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--copy", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.copy:
        rows = copy_customers(
            arguments.folder, arguments.until, arguments.copies[0], arguments.copy
        )
        print(json.dumps({"rows": rows}))
        return
    if arguments.compute:
        as_of = [
            date.fromordinal(arguments.until.toordinal() - 30 * n) for n in range(arguments.dates)
        ]
        activity, engine = arguments.compute
        compute(arguments.folder, Path(activity), engine, as_of, arguments.memory)
        return

    print("| rows of activity | dates | engine | customers | CPU s | wall s | peak GB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for copies in arguments.copies:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            activity = Path(folder) / "activity"
            rows = copy_customers(arguments.folder, arguments.until, copies, activity)
            for engine in arguments.engines:
                common = ["--folder", str(arguments.folder), "--until", str(arguments.until)]
                more = ["--dates", str(arguments.dates), "--memory", arguments.memory]
                found = measure(
                    "benchmarks.engines", [*common, *more, "--compute", str(activity), engine]
                )
                customers = "failed" if "failed" in found else f"{found['rows']:,}"
                print(
                    f"| {rows:,} | {arguments.dates} | {engine} | {customers} "
                    f"| {found['cpu']:.1f} | {found['wall']:.1f} | {found['peak'] / 1e9:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
