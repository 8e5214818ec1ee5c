"""Hold the night's delivery to its promises, and split its rows into accepted and not.

Reads incoming/transactions of the score date, writes the accepted, excluded and quarantined lines
into the lake, the page of the verdict below reports, and the record of the delivery.
"""

import logging
import shutil
import time
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.cells import DeliveredCells
from deliveries.files import delivered_files, delivery_id
from deliveries.lines import read_lines
from errors import BadData
from expectations.intake import DeliveryRefused, take_deliveries
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from params import Params, Source
from records import DeliveredFile, DeliveryRecord, RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


class DeliveryChanged(BadData):
    """What lies in the folder is not what the run was opened with."""


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Take the delivery in, unless an earlier run did; counts by outcome and rule.

    Raises:
        DeliveryChanged: If the files are no longer those the run was opened with.
        ContractBroken: If a column is gone or of another kind.
        ExpectationsBroken: If too many rows break a row rule.
        DeliveryRefused: If the delivery is thin or empty.
    """
    started = time.monotonic()
    root, day = settings.data_root, record.score_date
    source = params.source(settings.source)
    folder = catalog.incoming_folder(root, day)
    files = pinned_files(folder, record, source)
    docs = root / catalog.REPORTS.format(**record.key) / "data_docs/transactions"
    kept_docs = root / catalog.DELIVERY_DOCS.format(
        known_on=day, delivery_id=record.deliveries[day]
    )

    if DeliveryRecord.exists(root, day, record.deliveries[day]):
        log.info("%s was taken in before; its rows are not split again", folder)
        if kept_docs.exists() and not docs.exists():
            shutil.copytree(kept_docs, docs)
    else:
        with DeliveredCells(root) as cells:
            delivery = cells.open_delivery(folder, day, files, source)
            intake = take_deliveries(
                spark,
                read_lines(spark, cells.finish(), source),
                [delivery],
                root,
                settings.source,
                params,
                docs,
                rows_of_weekday(root, record.deliveries, day, params.validation.volume_weeks),
                is_history=False,
            )
        if intake.refusals:
            raise DeliveryRefused(intake.refusals)
        for sentence in [*intake.records[0].findings, *intake.warnings]:
            log.warning("%s", sentence)
        shutil.copytree(docs, kept_docs, dirs_exist_ok=True)

    found = DeliveryRecord.read(root, day, record.deliveries[day])
    facts = found.model_dump(
        mode="json",
        include={"delivery_id", "delivered", "accepted", "quarantined", "excluded", "findings"},
    )
    seconds = time.monotonic() - started
    StageRecord(
        stage="validate_delivery", seconds=seconds, facts=facts, engine=engine_of(spark)
    ).write(root, record)
    return facts


def pinned_files(folder: Path, record: RunRecord, source: Source) -> list[DeliveredFile]:
    """The files of the night's delivery, which must be those the run was opened with.

    Raises:
        DeliveryChanged: If they are not.
    """
    files = delivered_files(folder, source.format)
    found, pinned = delivery_id(files), record.deliveries[record.score_date]
    if found != pinned:
        raise DeliveryChanged(
            f"{folder} holds delivery {found}, but run {record.run_id} was opened with {pinned}: "
            "the files have changed since. Trigger the night again; it opens a run of its own."
        )
    return files


def rows_of_weekday(
    root: Path, deliveries: dict[date, str], day: date, weeks: int
) -> dict[date, int]:
    """Rows delivered on the same weekday of the weeks before, by day."""
    days = [day - timedelta(weeks=week) for week in range(1, weeks + 1)]
    return {
        earlier: DeliveryRecord.read(root, earlier, deliveries[earlier]).delivered
        for earlier in days
        if earlier in deliveries
    }


if __name__ == "__main__":
    start(PARSER, on_spark("validate_delivery", run))
