"""Summarise the night's delivery as one exact row per customer and day with activity.

Reads the accepted lines of the delivery, writes its partition of activity, and lets later runs use
the delivery. A delivery that was summarised before is left as it is.
"""

import logging
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from features.activity import summarise_intakes
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from jobs.sizes import delivered_rows
from lake import is_whole
from params import Params
from records import ActivityRecord, RunRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Summarise the run's own delivery; the facts are its rows and whether they were there.

    Raises:
        FileNotFoundError: If the delivery was not taken in.
        PieceMissing, PieceAltered: If its accepted lines are not as they were written.
    """
    root = settings.data_root
    with recorded(root, record, "summarise_activity", engine_of(spark)) as stage:
        found, was_there = summarise(spark, root, params, record)
        stage.inputs = {"transactions": found.transactions_sha256}
        stage.pieces = {"activity": found.activity}
        stage.facts = {
            "intake": record.intake,
            "rows": found.activity.rows,
            "was_there": was_there,
        }
    return stage.facts


def summarise(
    spark: SparkSession, root: Path, params: Params, record: RunRecord
) -> tuple[ActivityRecord, bool]:
    """The activity of the run's own delivery, and whether it was there before."""
    day = record.score_date
    found = ActivityRecord.find(root, day, record.intake)
    if found is not None and is_whole(root, found.activity, catalog.ACTIVITY):
        log.info("the delivery of %s was summarised before and never changes", day)
        return found, True
    remedy = f"Write them again: {record.command('validate_delivery')}"
    [made] = summarise_intakes(
        spark, root, params, record.source, {day: record.intake}, remedy, own_night=day
    ).values()
    return made, False


if __name__ == "__main__":
    start(PARSER, on_spark("summarise_activity", run, delivered_rows))
