"""Take in all deliveries up to a day that are not in the lake yet, before the first night.

Does for many days at once, in one Spark session, what validate_delivery and summarise_activity do
for one. Reads incoming/transactions; writes lines, quarantine, activity and a record for each
delivery, and one page of the verdict. Deliveries that must be refused are left out and named at
the end.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries import delivered_files, delivery_id, read_lines
from errors import BadData
from expectations import Delivery, DeliveryRefused, take_deliveries
from features import summarise_activity
from jobs.entry import job_parser, start
from jobs.session import spark_session
from jobs.validate_delivery import is_in_lake, open_delivery
from lake import write_deliveries
from params import Params, Source, read_params
from records import DeliveryRecord, current_deliveries, make_current
from settings import Settings

PARSER = job_parser(__doc__)
PARSER.add_argument(
    "--until", type=date.fromisoformat, required=True, help="the last day to take in"
)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, until: date) -> dict:
    """Take in what is new and let later nights use it; totals of all history up to ``until``.

    Raises:
        DeliveryRefused: If deliveries break the contract or the budget; all others are taken in.
    """
    source = params.source(settings.source)
    delivered = delivered_ids(settings.data_root, source, until)
    current = current_deliveries(settings.data_root, until)
    new = {day: name for day, name in delivered.items() if current.get(day) != name}
    log.info("%d deliveries up to %s, %d of them new", len(delivered), until, len(new))

    refusals = take_in(spark, settings, params, new, until)
    summarise(spark, settings, params, {day: new[day] for day in new if day not in refusals})
    if refusals:
        raise DeliveryRefused(refusals)

    return totals(settings.data_root, until)


def delivered_ids(root: Path, source: Source, until: date) -> dict[date, str]:
    """What lies in incoming/transactions for each day up to ``until``."""
    incoming = catalog.incoming_folder(root, until).parent
    days = sorted(date.fromisoformat(path.name) for path in incoming.glob("????-??-??"))
    return {
        day: delivery_id(delivered_files(catalog.incoming_folder(root, day), source.format))
        for day in days
        if day <= until
    }


def take_in(
    spark: SparkSession, settings: Settings, params: Params, ids: Mapping[date, str], until: date
) -> dict[date, list[str]]:
    """Split the deliveries that have no record yet; the reasons of those refused."""
    root, source = settings.data_root, params.source(settings.source)
    deliveries: list[Delivery] = []
    refusals: dict[date, list[str]] = {}
    for day, name in ids.items():
        if is_in_lake(root, day, name):
            continue
        folder = catalog.incoming_folder(root, day)
        try:
            files = delivered_files(folder, source.format)
            deliveries.append(open_delivery(folder, day, files, source))
        except BadData as error:
            refusals[day] = [str(error)]
    if not deliveries:
        return refusals

    folders = {one.known_on: catalog.incoming_folder(root, one.known_on) for one in deliveries}
    earlier = current_deliveries(root, until)
    intake = take_deliveries(
        spark,
        read_lines(spark, folders, source),
        deliveries,
        root,
        settings.source,
        params,
        root / catalog.HISTORY_DOCS.format(until=until),
        {day: DeliveryRecord.read(root, day, earlier[day]).delivered for day in earlier},
        is_history=True,
    )
    for sentence in intake.warnings:
        log.warning("%s", sentence)
    return refusals | intake.refusals


def summarise(
    spark: SparkSession, settings: Settings, params: Params, ids: Mapping[date, str]
) -> None:
    """Write the activity of these deliveries and make each the current one of its day."""
    if not ids:
        return
    root = settings.data_root
    lines = (
        spark.read.schema(f"{catalog.TRANSACTIONS.schema}, known_on date, delivery_id string")
        .option("basePath", str(root / "lake/transactions"))
        .parquet(
            *[
                str(catalog.TRANSACTIONS.partition(root, known_on=day, delivery_id=name))
                for day, name in ids.items()
            ]
        )
    )
    activity = summarise_activity(lines, params.business.timezone, by=("known_on",))

    rows = write_deliveries(
        activity.repartition("known_on"),
        catalog.ACTIVITY,
        root,
        ids,
        order=("customer_id", "activity_on"),
    )
    for day, name in ids.items():
        make_current(root, day, name)
    log.info("summarised %d deliveries as %d rows of activity", len(ids), sum(rows.values()))


def totals(root: Path, until: date) -> dict:
    """Deliveries and rows in the lake up to ``until``, by outcome and rule."""
    quarantined: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    current = current_deliveries(root, until)
    for day, name in current.items():
        record = DeliveryRecord.read(root, day, name)
        rows.update(delivered=record.delivered, accepted=record.accepted)
        quarantined.update(record.quarantined)
        excluded.update(record.excluded)
    return {
        "until": str(until),
        "deliveries": len(current),
        "delivered": rows["delivered"],
        "accepted": rows["accepted"],
        "quarantined": dict(quarantined),
        "excluded": dict(excluded),
    }


def main(arguments: argparse.Namespace) -> dict:
    """Do the job in a session of its own."""
    settings, params = Settings(), read_params()
    spark = spark_session(settings, "load_history")
    try:
        return run(spark, settings, params, arguments.until)
    finally:
        spark.stop()


if __name__ == "__main__":
    start(PARSER, main)
