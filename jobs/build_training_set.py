"""Describe every active customer on each as-of date, with what came after.

Reads exactly the files that artifacts/training_window.json lists, after checking each against it;
writes artifacts/training_set: training_set.parquet, and some customers with their features by
which every night checks that it computes the same. Started by DVC.
"""

import argparse
import logging
import tempfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from errors import BadData
from features.activity import read_activity
from features.build import CATEGORICAL, FEATURE_NAMES, build_features
from features.golden import write_golden
from features.labels import label_purchases
from jobs.engine import choose_engine
from jobs.entry import job_parser, start
from jobs.session import job_session
from lake import file_sha256, read_json, replacing
from models.split import as_of_dates
from params import Params, Training, read_params
from settings import Settings

PARSER = job_parser(__doc__)

ROW_GROUP_ROWS = 65_536

log = logging.getLogger(__name__)


class WindowChanged(BadData):
    """A file of the training window is not what it was when the window was listed."""


class TooLittleHistory(BadData):
    """The lake begins too late for the as-of dates that training asks for."""


def run(spark: SparkSession, settings: Settings, params: Params, artifacts: Path) -> dict:
    """Write ``artifacts/training_set``; the facts are rows and buyers of each as-of date.

    Raises:
        WindowChanged: If a listed file is gone or has other content; names it.
        TooLittleHistory: If there is none for the first as-of date; says how many fit.
    """
    root, training = settings.data_root, params.training
    active_days = params.population.active_days
    window = read_json(artifacts / "training_window.json")
    check_files(root, window["files"])
    as_of = as_of_dates(date.fromisoformat(window["training_until"]), training)
    short = check_history(window["files"], as_of, training, active_days)
    activity = read_activity(spark, [root / entry["path"] for entry in window["files"]])

    features = build_features(activity, as_of, active_days)
    labels = label_purchases(activity, as_of, training.horizon_days)
    # Spark sizes the labels by the files, not by the as-of dates, and would broadcast too much.
    labelled = features.join(labels.hint("merge"), on=["as_of", "customer_id"], how="inner")

    with replacing(artifacts / "training_set") as fresh:
        fresh.mkdir()
        counts = write_training_set(labelled, as_of, fresh / "training_set.parquet", root)
        write_golden(activity, fresh, as_of[-1], active_days)
    return {"as_of": counts, "short_history": [str(day) for day in short]}


def check_files(root: Path, files: list[dict]) -> None:
    """Hold every listed file against its size and hash.

    Raises:
        WindowChanged: At the first that differs.
    """
    for entry in files:
        path = root / entry["path"]
        if not path.exists():
            difference = "is gone"
        elif path.stat().st_size != entry["bytes"]:
            difference = f"has {path.stat().st_size} bytes instead of {entry['bytes']}"
        elif file_sha256(path) != entry["sha256"]:
            difference = f"has other content than was listed (sha256 {entry['sha256']})"
        else:
            continue
        raise WindowChanged(
            f"{path} {difference}. Files of the lake never change: restore it from a backup. If "
            "the lake was made again on purpose, list it again: dvc repro list_training_window"
        )


def check_history(
    files: list[dict], as_of: list[date], training: Training, active_days: int
) -> list[date]:
    """The as-of dates before which the lake does not hold ``active_days`` of deliveries.

    Raises:
        TooLittleHistory: If the first as-of date has not even one horizon of them.
    """
    first = min(date.fromisoformat(entry["known_on"]) for entry in files)

    def history_days(day: date) -> int:
        return (day - first).days + 1

    enough = [day for day in as_of if history_days(day) >= training.horizon_days]
    if len(enough) < len(as_of):
        raise TooLittleHistory(
            f"training.as_of_count in params.yaml asks for {len(as_of)} as-of dates from "
            f"{as_of[0]}, but the first delivery is that of {first}, and a date needs at least "
            f"{training.horizon_days} days of deliveries. Load earlier deliveries, or set "
            f"as_of_count to {len(enough)} or less."
        )
    short = [day for day in as_of if history_days(day) < active_days]
    if short:
        log.warning(
            "the lake begins on %s, so %d as-of dates (%s to %s) have less than %d days of history",
            *(first, len(short), short[0], short[-1], active_days),
        )
    return short


def write_training_set(
    labelled: DataFrame, as_of: list[date], path: Path, root: Path
) -> dict[str, dict]:
    """Write the rows sorted by as-of date and customer; rows and buyers of each date.

    Spark's own files hold the same rows in other bytes each time, so pyarrow writes them again,
    one date after the other.

    Raises:
        TooLittleHistory: If nobody was active on a date.
    """
    counts = {}
    with tempfile.TemporaryDirectory(prefix=".training_set.", dir=root) as folder:
        ordered = labelled.repartition("as_of").sortWithinPartitions("as_of", "customer_id")
        ordered.write.partitionBy("as_of").parquet(f"{folder}/rows")

        schema = training_schema()
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for day in as_of:
                files = list(Path(folder, f"rows/as_of={day}").glob("*.parquet"))
                if not files:
                    raise TooLittleHistory(f"no customer was active as of {day}")
                [file] = files
                rows = pq.ParquetFile(file).read()
                rows = rows.append_column("as_of", pa.array([day] * rows.num_rows, pa.date32()))
                rows = rows.select(schema.names).cast(schema)
                writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
                buyers = pc.sum(rows["label"]).as_py()
                counts[str(day)] = {"rows": rows.num_rows, "buyers": buyers}
    return counts


def training_schema() -> pa.Schema:
    """``as_of``, ``customer_id``, the features, ``label`` (1 bought, 0 did not)."""
    return pa.schema(
        [
            ("as_of", pa.date32()),
            ("customer_id", pa.string()),
            *[
                (name, pa.string() if name in CATEGORICAL else pa.float64())
                for name in FEATURE_NAMES
            ],
            ("label", pa.int32()),
        ]
    )


def main(_arguments: argparse.Namespace) -> dict:
    """Read and write in the current folder, where DVC keeps the window and the set."""
    settings, params, artifacts = Settings(), read_params(), Path("artifacts")
    listed = read_json(artifacts / "training_window.json")["files"]
    # Every row is looked at for every date.
    rows = sum(entry["rows"] for entry in listed) * params.training.as_of_count
    engine = choose_engine(settings.spark, rows)
    with job_session(settings, "build_training_set", engine) as spark:
        return run(spark, settings, params, artifacts)


if __name__ == "__main__":
    start(PARSER, main)
