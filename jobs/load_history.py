"""Take in all deliveries up to a day that are not in the lake yet, before the first night.

Does for many days at once, in one Spark session, what validate_delivery and summarise_activity do
for one. Reads incoming/transactions; writes lines, quarantine, activity and a record for each
delivery, and one page of the verdict. Deliveries that must be refused are left out and named at
the end.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.cells import DeliveredCells
from deliveries.files import delivered_files, delivery_id
from deliveries.lines import read_lines
from errors import BadData
from expectations.intake import DeliveryRefused, take_deliveries
from features.activity import summarise_activity
from jobs.engine import choose_engine
from jobs.entry import job_parser, start
from jobs.session import job_session
from lake import is_whole, read_parquet, write_deliveries
from params import Params, Source, read_params
from records import DeliveredFile, Delivery, DeliveryRecord, current_deliveries, make_current
from settings import Settings

PARSER = job_parser(__doc__)
PARSER.add_argument(
    "--until", type=date.fromisoformat, required=True, help="the last day to take in"
)

LINES = (catalog.TRANSACTIONS, catalog.EXCLUDED_TRANSACTIONS)
PIECES = (*LINES, catalog.ACTIVITY)
"""What nights read of a delivery; a piece that is lost, or lacks a column, is written again."""

BYTES_OF_A_LINE = 60

Delivered = dict[date, list[DeliveredFile]]

log = logging.getLogger(__name__)


def run(
    spark: SparkSession,
    settings: Settings,
    params: Params,
    until: date,
    new: Delivered | None = None,
) -> dict:
    """Take in what is new and let later nights use it; totals of all history up to ``until``.

    Args:
        new: What ``new_deliveries`` has found, if it was asked before.

    Raises:
        DeliveryRefused: If deliveries break the contract or the budget; all others are taken in.
    """
    new = new_deliveries(settings, params, until) if new is None else new
    refusals = take_in(spark, settings, params, new, until)
    taken = {day: delivery_id(files) for day, files in new.items() if day not in refusals}
    summarise(spark, settings, params, taken)
    if refusals:
        raise DeliveryRefused(refusals)

    return totals(settings.data_root, until)


def new_deliveries(settings: Settings, params: Params, until: date) -> Delivered:
    """What lies in incoming/transactions up to ``until`` and is not in the lake, or not whole."""
    root, source = settings.data_root, params.source(settings.source)
    incoming = catalog.incoming_folder(root, until).parent
    days = sorted(date.fromisoformat(path.name) for path in incoming.glob("????-??-??"))
    delivered = {
        day: delivered_files(catalog.incoming_folder(root, day), source.format)
        for day in days
        if day <= until
    }
    current = current_deliveries(root, until)
    new = {
        day: files
        for day, files in delivered.items()
        if current.get(day) != delivery_id(files) or not is_complete(root, day, current[day])
    }
    log.info("%d deliveries up to %s, %d of them new", len(delivered), until, len(new))
    return new


def is_complete(
    root: Path, day: date, delivery: str, pieces: Sequence[catalog.Dataset] = PIECES
) -> bool:
    """Whether the lake has these pieces of a delivery, with all columns they have today."""
    key = {"known_on": day, "delivery_id": delivery}
    return all(is_whole(each.partition(root, **key), each) for each in pieces)


def take_in(
    spark: SparkSession, settings: Settings, params: Params, new: Delivered, until: date
) -> dict[date, list[str]]:
    """Split the deliveries that have no record yet; the reasons of those refused."""
    root, source = settings.data_root, params.source(settings.source)
    refusals: dict[date, list[str]] = {}
    with DeliveredCells(root) as cells:
        deliveries = _read(cells, root, new, source, refusals)
        if not deliveries:
            return refusals
        earlier = current_deliveries(root, until)
        intake = take_deliveries(
            spark,
            read_lines(spark, cells.finish(), source),
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


def _read(
    cells: DeliveredCells,
    root: Path,
    new: Delivered,
    source: Source,
    refusals: dict[date, list[str]],
) -> list[Delivery]:
    """Read the deliveries that have no record yet; those that cannot be used go to ``refusals``."""
    deliveries = []
    for day, files in new.items():
        name = delivery_id(files)
        if DeliveryRecord.exists(root, day, name) and is_complete(root, day, name, LINES):
            continue
        folder = catalog.incoming_folder(root, day)
        try:
            deliveries.append(cells.open_delivery(folder, day, files, source))
        except BadData as error:
            refusals[day] = [str(error)]
    return deliveries


def summarise(
    spark: SparkSession, settings: Settings, params: Params, ids: Mapping[date, str]
) -> None:
    """Write the activity of these deliveries and make each the current one of its day."""
    if not ids:
        return
    root = settings.data_root
    accepted = [
        catalog.TRANSACTIONS.partition(root, known_on=day, delivery_id=name)
        for day, name in ids.items()
    ]
    lines = read_parquet(spark, accepted, catalog.TRANSACTIONS)
    ends_at = params.source(settings.source).day_ends_at
    activity = summarise_activity(lines, params.business.timezone, ends_at)

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
    new = new_deliveries(settings, params, arguments.until)
    if not new:
        return totals(settings.data_root, arguments.until)
    engine = choose_engine(settings.spark, rows_of(new))
    with job_session(settings, f"load_history {arguments.until}", engine) as spark:
        return run(spark, settings, params, arguments.until, new)


def rows_of(new: Delivered) -> int:
    """About how many rows are delivered: those of Parquet are known, those of text guessed."""
    files = [file for files in new.values() for file in files]
    return sum(file.bytes // BYTES_OF_A_LINE if file.rows is None else file.rows for file in files)


if __name__ == "__main__":
    start(PARSER, main)
