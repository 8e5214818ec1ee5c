"""Summarise the night's delivery as one exact row per customer and day with activity.

Reads the accepted lines of the delivery, writes its partition of activity, and lets later runs use
the delivery. A delivery that was summarised before is left as it is.
"""

import logging
import time

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

import catalog
from features.activity import summarise_activity
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from lake import PieceMissing, is_whole, read_parquet, write_deliveries
from params import Params
from records import RunRecord, StageRecord, make_current
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Summarise the run's own delivery; the facts are its rows and whether they were there.

    Raises:
        PieceMissing: If the accepted lines are not in the lake.
    """
    started = time.monotonic()
    root, day = settings.data_root, record.score_date
    key = {"known_on": day, "delivery_id": record.deliveries[day]}
    partition = catalog.ACTIVITY.partition(root, **key)
    was_there = is_whole(partition, catalog.ACTIVITY)

    if was_there:
        log.info("%s is there and never changes; not summarised again", partition)
    else:
        lines = read_lines(spark, settings, key)
        ends_at = params.source(settings.source).day_ends_at
        activity = summarise_activity(lines, params.business.timezone, ends_at)
        write_deliveries(
            activity.repartition("known_on"),
            catalog.ACTIVITY,
            root,
            {day: record.deliveries[day]},
            order=("customer_id", "activity_on"),
        )

    make_current(root, day, record.deliveries[day])
    rows = sum(pq.read_metadata(file).num_rows for file in partition.glob("*.parquet"))
    facts = {"delivery_id": record.deliveries[day], "rows": rows, "was_there": was_there}
    seconds = time.monotonic() - started
    StageRecord(
        stage="summarise_activity", seconds=seconds, facts=facts, engine=engine_of(spark)
    ).write(root, record)
    return facts


def read_lines(spark: SparkSession, settings: Settings, key: dict) -> DataFrame:
    """The accepted lines of one delivery."""
    folder = catalog.TRANSACTIONS.partition(settings.data_root, **key)
    try:
        return read_parquet(spark, [folder], catalog.TRANSACTIONS)
    except PieceMissing as missing:
        raise PieceMissing(
            f"the accepted lines of delivery {key['delivery_id']} of {key['known_on']} are not at "
            f"{folder}. Run validate_delivery for this run first."
        ) from missing


if __name__ == "__main__":
    start(PARSER, on_spark("summarise_activity", run))
