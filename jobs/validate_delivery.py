"""Hold the night's delivery to its promises, and split its rows into accepted and not.

Reads the lake's copy of the score date's delivery, writes the accepted, excluded and quarantined
lines into the lake, the page of the verdict below reports, and the record of the intake.
"""

import logging
import shutil
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.cells import DeliveredCells
from deliveries.lines import read_lines
from errors import BadData
from expectations.intake import refuse, take_deliveries
from expectations.refusal import DeliveryRefused
from jobs.entry import run_parser, start
from jobs.intake import (
    check_copy_of,
    check_not_repeated,
    contents_taken,
    is_taken,
    say_what_is_absent,
)
from jobs.session import engine_of, on_spark
from jobs.sizes import delivered_rows
from params import Params, Validation
from records import IntakeRecord, RunRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Take the delivery in, unless that was done before; counts by outcome and rule.

    Raises:
        ContractBroken: If a column is gone or of another kind.
        ExpectationsBroken: If too many rows break a row rule.
        DeliveryRefused: If the delivery must not be used.
        PieceMissing, PieceAltered: If the copy of the delivery is not what the run was opened with.
    """
    with recorded(settings.data_root, record, "validate_delivery", engine_of(spark)) as stage:
        found = take_in(spark, settings.data_root, params, record)
        stage.inputs = {"delivery": found.delivery_id}
        stage.pieces = found.pieces
        stage.facts = found.model_dump(
            mode="json",
            include={"delivery_id", "delivered", "accepted", "quarantined", "excluded", "findings"},
        )
    return stage.facts


def take_in(spark: SparkSession, root: Path, params: Params, record: RunRecord) -> IntakeRecord:
    """The record of the run's own delivery, which is read and split unless that was done before."""
    day, source = record.score_date, params.source(record.source)
    docs = root / catalog.REPORTS.format(**record.key) / "data_docs/transactions"
    kept_docs = root / catalog.DELIVERY_DOCS.format(known_on=day, intake=record.intake)

    found = IntakeRecord.find(root, day, record.intake)
    if found is not None and is_taken(root, found):
        log.info("the delivery was taken in before; its rows are not split again")
        if kept_docs.exists() and not docs.exists():
            shutil.copytree(kept_docs, docs)
        return found
    say_what_is_absent(source)
    folder = check_copy_of(root, record)
    with DeliveredCells(root) as cells:
        try:
            check_not_repeated(day, record.files, folder, contents_taken(root), source)
            delivery = cells.open_delivery(folder, day, record.intake, record.files, source)
        except BadData as error:
            refuse(root, day, record.intake, [str(error)], params, source)
            raise
        intake = take_deliveries(
            spark,
            read_lines(spark, cells.finish(), source),
            [delivery],
            root,
            record.source,
            params,
            docs,
            compared_with(root, record, params.validation),
            is_history=False,
            accepted=accepted_before(day, found),
        )
    if intake.refusals:
        raise DeliveryRefused(intake.refusals)
    [found] = intake.records
    for sentence in [*found.findings, *intake.warnings]:
        log.warning("%s", sentence)
    shutil.copytree(docs, kept_docs, dirs_exist_ok=True)
    return found


def accepted_before(day: date, found: IntakeRecord | None) -> dict[date, str]:
    """The day with the reason for which a person took its delivery although it was refused.

    What was accepted stays accepted when its lines have to be split again.
    """
    reason = None if found is None else found.accepted_because
    return {day: reason} if reason else {}


def compared_with(root: Path, record: RunRecord, limits: Validation) -> dict[date, IntakeRecord]:
    """Earlier deliveries that tell what to expect: of the same weekday, and of the last days."""
    weeks = [timedelta(weeks=week) for week in range(1, limits.volume_weeks + 1)]
    last_days = [timedelta(days=age) for age in range(1, limits.overlap_days + 1)]
    days = {record.score_date - age for age in (*weeks, *last_days)}
    return {
        day: IntakeRecord.read(root, day, record.intakes[day])
        for day in sorted(days & record.intakes.keys())
    }


if __name__ == "__main__":
    start(PARSER, on_spark("validate_delivery", run, delivered_rows))
