"""Describe active customers on each as-of date, with what came after.

Reads exactly the files that artifacts/training_window.json lists, after checking each against it;
writes artifacts/training_set: training_set.parquet, which as-of dates were left out and why, how
the share for whom the outcome came true moved over the seasons, and some customers with their
features by which every night checks that it computes the same. Started by DVC.
"""

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from errors import BadData
from features.activity import Interval, is_known, read_activity
from features.build import CATEGORICAL, build_features, names_of
from features.golden import write_golden
from features.labels import count_outcomes, label_outcomes
from jobs.engine import choose_engine
from jobs.entry import job_parser, start
from jobs.session import job_session
from lake import Piece, PieceFile, read_json, replacing, write_json
from models.as_of import as_of_dates, left_out
from models.season import SEASON, YEAR
from models.split import split_by_time
from params import Params, Training, read_params
from settings import Settings

PARSER = job_parser(__doc__)

ROW_GROUP_ROWS = 65_536

FILE_KEYS = tuple(PieceFile.model_fields)

LIST_AGAIN = (
    "Files of the lake never change: restore it from a backup. If days were taken in again on "
    "purpose, list the window again: dvc repro list_training_window"
)
# 48 bits of a hash: enough for any share, and exact as a bigint on every engine.
SAMPLE_DIGITS = 12

log = logging.getLogger(__name__)


class NobodyActive(BadData):
    """There is nobody to learn from on an as-of date."""


def run(spark: SparkSession, settings: Settings, params: Params, artifacts: Path) -> dict:
    """Write ``artifacts/training_set``; the facts are rows and buyers of each as-of date.

    Raises:
        PieceMissing, PieceAltered: If a listed file is gone or has other content; names it.
        TooFewDates: If too few as-of dates can be used; says why.
        NobodyActive: If nobody was active on one of them.
    """
    root, training = settings.data_root, params.training
    active_days = params.population.active_days
    window = read_json(artifacts / "training_window.json")
    until = date.fromisoformat(window["training_until"])
    as_of, without = usable_dates(window, training)
    source = params.source(settings.source)
    activity = read_activity(spark, root, listed_pieces(window["files"]), LIST_AGAIN, source)
    drawn = drawn_customers(activity, as_of, training.rows_per_date, training.seed)
    described = activity
    if drawn is not None:
        described = activity.join(drawn.select("customer_id"), on="customer_id", how="left_semi")

    features = build_features(described, as_of, active_days, source)
    # Labels are as they were known at the end of the window.
    final = described.where(is_known(F.lit(until)))
    labels = label_outcomes(final, as_of, training.question)
    # Spark sizes the labels by the files, not by the as-of dates, and would broadcast too much.
    labelled = features.join(labels.hint("merge"), on=["as_of", "customer_id"], how="inner")
    if drawn is not None:
        labelled = labelled.join(drawn, on=["as_of", "customer_id"], how="left_semi")

    with replacing(artifacts / "training_set") as fresh:
        fresh.mkdir()
        schema = training_schema(names_of(source))
        counts = write_training_set(labelled, as_of, schema, fresh / "training_set.parquet", root)
        write_golden(activity, fresh, as_of[-1], active_days, source)
        write_json(fresh / "left_out.json", without)
        write_json(fresh / SEASON, count_seasons(activity, window, params))
    return {"as_of": counts, "left_out": without}


def usable_dates(window: dict, training: Training) -> tuple[list[date], dict[str, str]]:
    """The as-of dates that may be used, ascending; and those left out, as text, with the reason.

    Raises:
        TooFewDates: If they are too few to be split.
    """
    asked = as_of_dates(date.fromisoformat(window["training_until"]), training)
    without = left_out(asked, training, *history_of(window))
    if without:
        log.info("%s", said_of(without, len(asked)))
    usable = [day for day in asked if day not in without]
    split_by_time(usable, training.horizon_days, training.holdout_count, without)
    return usable, {str(day): reason for day, reason in without.items()}


def history_of(window: dict) -> tuple[date, dict[date, str]]:
    """The first day that the lake holds, and the days that must not teach, with the reason."""
    first = min(date.fromisoformat(entry["known_on"]) for entry in window["files"])
    return first, {date.fromisoformat(day): what for day, what in window["wrong_days"].items()}


def count_seasons(activity: DataFrame, window: dict, params: Params) -> dict[str, dict[str, int]]:
    """How many customers were active and for how many the outcome came true, by date; nothing
    where no prior is asked for.

    The dates go on from those of the training to a year before the first of them, as far back as
    half the days are known in which a customer counts as active. As they are known at the end of
    the window, and of a sample of the customers if there are many.
    """
    training, active_days = params.training, params.population.active_days
    if not training.seasonal_prior:
        return {}
    until = date.fromisoformat(window["training_until"])
    more = YEAR.days // training.as_of_step_days
    wider = {"as_of_count": training.as_of_count + more, "history_days": active_days // 2}
    counting = training.model_copy(update=wider)
    asked = as_of_dates(until, counting)
    without = left_out(asked, counting, *history_of(window))
    dates = [day for day in asked if day not in without]
    if not dates:
        return {}
    drawn = drawn_customers(activity, asked[-1:], training.rows_per_date, training.seed)
    if drawn is not None:
        activity = activity.join(drawn.select("customer_id"), on="customer_id", how="left_semi")
    final = activity.where(is_known(F.lit(until)))
    counts = count_outcomes(final, dates, active_days, training.question)
    return {
        str(row["as_of"]): {name: row[name] for name in ("customers", "came_true")}
        for row in sorted(counts.collect(), key=lambda row: row["as_of"])
    }


def said_of(without: Mapping[date, str], asked: int) -> str:
    """A sentence about the as-of dates that are left out.

    >>> said_of({date(2026, 1, 1): "99 of 365 days", date(2026, 1, 8): "106 of 365 days"}, 52)
    '2 of 52 as-of dates are left out: 2026-01-01 (99 of 365 days) to 2026-01-08 (106 of 365 days)'
    """
    first, last = min(without), max(without)
    to = f" to {last} ({without[last]})" if last != first else ""
    return f"{len(without)} of {asked} as-of dates are left out: {first} ({without[first]}){to}"


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


def listed_pieces(files: list[dict]) -> list[tuple[Piece, Interval]]:
    """The files of the window, each with the nights in which it was known."""
    return [
        (
            Piece(files=(PieceFile.model_validate({key: file[key] for key in FILE_KEYS}),)),
            (_day(file["known_from"]), _day(file["known_until"])),
        )
        for file in files
    ]


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def write_training_set(
    labelled: DataFrame, as_of: list[date], schema: pa.Schema, path: Path, root: Path
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


def training_schema(names: Sequence[str]) -> pa.Schema:
    """``as_of``, ``customer_id``, the features, ``label`` (1: the outcome came true)."""
    return pa.schema(
        [
            ("as_of", pa.date32()),
            ("customer_id", pa.string()),
            *[(name, pa.string() if name in CATEGORICAL else pa.float64()) for name in names],
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
    with job_session(settings, "build_training_set", engine, rows) as spark:
        return run(spark, settings, params, artifacts)


if __name__ == "__main__":
    start(PARSER, main)
