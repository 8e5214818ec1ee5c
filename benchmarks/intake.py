"""Deliveries for the benchmarks, and what taking them in costs.

    python -m benchmarks.intake FOLDER {day,history} ENGINE

``day`` takes one delivery in as a night does, ``history`` all of a folder as load_history does.
Each begins with an empty lake.
"""

import json
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import catalog
from settings import Settings

SOURCE = "generated"
UNTIL = date(2026, 3, 31)


def make_history(root: Path, customers: int, days: int) -> None:
    """Deliveries of so many days, the last one of ``UNTIL``, unless they are there."""
    from deliveries.faults import Faults
    from jobs import generate_deliveries
    from params import read_params

    if catalog.incoming_folder(root, UNTIL).exists():
        return
    first = UNTIL - timedelta(days - 1)
    generate_deliveries.run(
        Settings(data_root=root),
        read_params(),
        first=first,
        until=UNTIL,
        customers=customers,
        seed=1,
        faults=Faults(()),
    )


def make_day(history: Path, root: Path, lines: int, day: date = UNTIL) -> None:
    """One delivery of so many lines, of the history's days one behind the other, dated alike."""
    target = catalog.incoming_folder(root, day) / "part-0.parquet"
    if target.exists():
        return
    tables: list[pa.Table] = []
    for path in sorted(catalog.incoming_folder(history, UNTIL).parent.glob("*/*.parquet")):
        tables.append(pq.read_table(path))
        if sum(table.num_rows for table in tables) >= lines:
            break
    rows = pa.concat_tables(tables).slice(0, lines)
    moment = rows["invoiced_at"]
    since_midnight = pc.subtract(moment, pc.floor_temporal(moment, unit="day"))
    midnight = pa.scalar(day, pa.date32()).cast(moment.type)
    position = rows.schema.get_field_index("invoiced_at")
    dated = pc.add(midnight, since_midnight).cast(moment.type)
    target.parent.mkdir(parents=True)
    pq.write_table(rows.set_column(position, "invoiced_at", dated), target)


def take_day(root: Path, engine: str) -> dict:
    """Read, check and split one delivery."""
    from deliveries.cells import DeliveredCells
    from deliveries.lines import read_lines
    from expectations.intake import take_deliveries
    from jobs.intake import receive_delivery
    from jobs.session import job_session
    from jobs.sizes import lines_of, rows_of
    from params import read_params

    settings, params = Settings(data_root=root, spark_embedded_memory="8g"), read_params()
    source = params.source(SOURCE)
    entry = receive_delivery(
        root, source.format, UNTIL, night=UNTIL + timedelta(1), taken_by="benchmark"
    )
    with (
        job_session(settings, "day", engine, rows_of(lines_of(entry.files))) as spark,
        DeliveredCells(root) as cells,
    ):
        folder = root / entry.folder
        delivery = cells.open_delivery(folder, UNTIL, "benchmark", entry.files, source)
        lines = read_lines(spark, cells.finish(), source)
        docs = root / "reports" / "benchmark"
        take_deliveries(
            spark, lines, [delivery], root, SOURCE, params, docs, before={}, is_history=False
        )
    return {"rows": delivery.rows}


def take_history(root: Path, engine: str) -> dict:
    """All deliveries, as ``load_history`` takes them in."""
    from jobs import load_history
    from jobs.session import job_session
    from params import read_params

    settings = Settings(data_root=root, spark_embedded_memory="8g")
    params = read_params()
    found = load_history.find_lacking(settings, params, UNTIL)
    with job_session(settings, "history", engine) as spark:
        totals = load_history.run(spark, settings, params, UNTIL, found)
    return {"rows": totals["delivered"]}


def main() -> None:
    """Do one of the two."""
    root, what, engine = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    for name in ("lake", "reports"):
        shutil.rmtree(root / name, ignore_errors=True)
    take = {"day": take_day, "history": take_history}[what]
    print(json.dumps(take(root, engine)), flush=True)


if __name__ == "__main__":
    main()
