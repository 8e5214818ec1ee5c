"""How long a night is taken back from readers: ``python -m benchmarks.roll_back --customers 1e7``.

Publishes two runs of one night into a warehouse of its own and moves the pointer to and fro. The
time of a move must not depend on the number of customers. PostgreSQL is started for it out of the
package, as for the tests.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from rich.console import Console
from rich.progress import track

import warehouse
from local import postgres

NIGHT = date(2026, 4, 1)
BATCH_ROWS = 65_536
MOVES = 20


def predictions(customers: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Predictions of ``customers``, plausible in size."""
    random = np.random.default_rng(seed)
    for begin in range(0, customers, BATCH_ROWS):
        rows = min(BATCH_ROWS, customers - begin)
        probability = random.random(rows)
        columns = {
            "customer_id": [f"c{number:09d}" for number in range(begin, begin + rows)],
            "probability": probability,
            "decile": pa.array(10 - (probability * 10).astype("int16"), pa.int16()),
            "is_contacted": probability > 0.8,
            "reason_1": ["recency_days = 3 (raises)"] * rows,
            "reason_2": ["purchase_days_90d = 7 (raises)"] * rows,
            "reason_3": ["spend_trend_30d = -0.25 (lowers)"] * rows,
            "status": ["scored"] * rows,
            "arm": ["champion"] * rows,
            "is_control": [False] * rows,
            "question": ["purchase_within_30d"] * rows,
        }
        yield pa.RecordBatch.from_pydict(columns)


def a_run(number: int, customers: int) -> warehouse.PublishedRun:
    """The first or the second run of the night."""
    return warehouse.PublishedRun(
        run_id=f"run-{number}",
        score_date=NIGHT,
        source="generated",
        question="purchase_within_30d",
        model_name="repurchase",
        model_version=f"v1.{number}.0",
        threshold_version="benchmark",
        bundle_sha256="b" * 64,
        features_sha256="f" * 64,
        params_sha256="p" * 64,
        code_version="benchmark",
        deliveries={str(NIGHT): "d1"},
        delivered=customers,
        accepted=customers,
        quarantined={},
        excluded={},
        population=customers,
        scored=customers,
        fallback={},
        reason="benchmark",
        published_at=datetime(2026, 4, 2, 3, tzinfo=UTC) + timedelta(hours=number),
        published_by="benchmark",
        stage_seconds={},
    )


def measure(url: str, customers: int, console: Console) -> list[float]:
    """Seconds of each move, with two runs of ``customers`` each in the warehouse at ``url``."""
    warehouse.migrate(url)
    engine = warehouse.connect(url)
    for number in (1, 2):
        started = time.perf_counter()
        run = a_run(number, customers)
        before = warehouse.pointer_of(engine, NIGHT)
        warehouse.publish(engine, run, predictions(customers, number), replaces=before)
        console.print(f"published {customers:,} rows in {time.perf_counter() - started:.1f} s")

    seconds = []
    for move in track(range(MOVES), "moving", console=console):
        target = "run-1" if move % 2 == 0 else "run-2"
        started = time.perf_counter()
        warehouse.roll_back(engine, NIGHT, actor="benchmark", reason="benchmark", run_id=target)
        seconds.append(time.perf_counter() - started)
        with engine.connect() as connection:
            seen = sa.text("select run_id from latest_predictions where customer_id = 'c000000000'")
            if connection.scalar(seen) != target:
                raise RuntimeError(f"readers do not see {target} after it was rolled back to")
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=float, default=1e6, help="rows of each run")
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    arguments = parser.parse_args()
    console = Console()

    folder = Path(tempfile.mkdtemp(prefix="roll-back-"))
    folder.chmod(0o755)
    try:
        if arguments.database == "sqlite":
            url = f"sqlite:///{folder}/warehouse.db"
        else:
            url = postgres.create_database(postgres.start(folder), "roll_back")
        seconds = measure(url, int(arguments.customers), console)
    finally:
        postgres.stop(folder)
        shutil.rmtree((folder / "server").resolve(), ignore_errors=True)
        shutil.rmtree(folder)
    console.print(
        f"{arguments.database}, {int(arguments.customers):,} customers, {MOVES} moves: median "
        f"{statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s"
    )


if __name__ == "__main__":
    main()
