"""Describe active customers on each as-of date, with what came after.

Reads exactly the files that artifacts/training_window.json lists, after checking each against it;
writes artifacts/training_set: training_set.parquet, which as-of dates were left out and why, and
some customers with their features by which every night checks that it computes the same. Started by
DVC.
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
from pyspark.sql import functions as F

from errors import BadData
from features.activity import read_activity
from features.build import CATEGORICAL, FEATURE_NAMES, build_features
from features.golden import write_golden
from features.labels import label_purchases
from jobs.engine import choose_engine
from jobs.entry import job_parser, start
from jobs.session import job_session
from lake import file_sha256, read_json, replacing, write_json
from models.split import as_of_dates, left_out, split_by_time
from params import Params, Training, read_params
from settings import Settings

PARSER = job_parser(__doc__)

ROW_GROUP_ROWS = 65_536

# 48 bits of a hash: enough for any share, and exact as a bigint on every engine.
SAMPLE_DIGITS = 12

log = logging.getLogger(__name__)


class WindowChanged(BadData):
    """A file of the training window is not what it was when the window was listed."""


class NobodyActive(BadData):
    """There is nobody to learn from on an as-of date."""


def run(spark: SparkSession, settings: Settings, params: Params, artifacts: Path) -> dict:
    """Write ``artifacts/training_set``; the facts are rows and buyers of each as-of date.

    Raises:
        WindowChanged: If a listed file is gone or has other content; names it.
        TooFewDates: If too few as-of dates can be used; says why.
        NobodyActive: If nobody was active on one of them.
    """
    root, training = settings.data_root, params.training
    active_days = params.population.active_days
    window = read_json(artifacts / "training_window.json")
    check_files(root, window["files"])
    as_of, without = usable_dates(window, training)
    activity = read_activity(spark, [root / entry["path"] for entry in window["files"]])
    drawn = drawn_customers(activity, as_of, training.rows_per_date, training.seed)
    described = activity
    if drawn is not None:
        described = activity.join(drawn.select("customer_id"), on="customer_id", how="left_semi")

    features = build_features(described, as_of, active_days)
    labels = label_purchases(described, as_of, training.horizon_days)
    # Spark sizes the labels by the files, not by the as-of dates, and would broadcast too much.
    labelled = features.join(labels.hint("merge"), on=["as_of", "customer_id"], how="inner")
    if drawn is not None:
        labelled = labelled.join(drawn, on=["as_of", "customer_id"], how="left_semi")

    with replacing(artifacts / "training_set") as fresh:
        fresh.mkdir()
        counts = write_training_set(labelled, as_of, fresh / "training_set.parquet", root)
        write_golden(activity, fresh, as_of[-1], active_days)
        write_json(fresh / "left_out.json", without)
    return {"as_of": counts, "left_out": without}


def usable_dates(window: dict, training: Training) -> tuple[list[date], dict[str, str]]:
    """The as-of dates that may be used, ascending; and those left out, as text, with the reason.

    Raises:
        TooFewDates: If they are too few to be split.
    """
    asked = as_of_dates(date.fromisoformat(window["training_until"]), training)
    first = min(date.fromisoformat(entry["known_on"]) for entry in window["files"])
    wrong = {date.fromisoformat(day): what for day, what in window["wrong_days"].items()}
    without = left_out(asked, training, first, wrong)
    for day, reason in without.items():
        log.info("as-of date %s is left out: %s", day, reason)
    usable = [day for day in asked if day not in without]
    split_by_time(usable, training.horizon_days, training.holdout_count, without)
    return usable, {str(day): reason for day, reason in without.items()}


def drawn_customers(
    activity: DataFrame, as_of: list[date], rows_per_date: int, seed: int
) -> DataFrame | None:
    """``as_of`` and ``customer_id`` of those to describe, about ``rows_per_date`` of each date, the
    same ones on every engine; None if all are to be described.

    The share is of all customers that there are, of whom not all are active on a date.
    """
    customers = activity.select("customer_id").distinct()
    count = customers.count()
    if count <= rows_per_date:
        return None
    dated = customers.withColumn("as_of", F.explode(F.lit(as_of)))
    named = F.concat(
        F.lit(f"{seed}:"), F.col("as_of").cast("string"), F.lit(":"), F.col("customer_id")
    )
    digits = F.substring(F.sha2(named, 256), 1, SAMPLE_DIGITS)
    place = F.conv(digits, 16, 10).cast("bigint")
    return dated.where(place < F.lit(int(rows_per_date / count * 16**SAMPLE_DIGITS)))


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
            "the lake was made anew on purpose, list it again: dvc repro list_training_window"
        )


def write_training_set(
    labelled: DataFrame, as_of: list[date], path: Path, root: Path
) -> dict[str, dict]:
    """Write the rows sorted by as-of date and customer; rows and buyers of each date.

    Spark's own files hold the same rows in other bytes each time, so pyarrow writes them again,
    one date after the other.

    Raises:
        NobodyActive: If nobody was active on a date.
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
                    raise NobodyActive(
                        f"no customer was active as of {day}: nobody bought in the days before. "
                        "Look at the deliveries of that time, or set training.as_of_count lower."
                    )
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
