"""What jobs share that take repaired rows back from quarantine."""

from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.cells import DeliveredCells
from deliveries.lines import read_lines
from errors import BadData
from expectations.intake import take_deliveries
from expectations.refusal import DeliveryRefused
from features.activity import summarise_intakes
from ledger import Entry, delivery_of, intake_id, known_by
from params import Params, Source, Text
from records import ActivityRecord, IntakeRecord


class NothingToRepair(BadData):
    """The delivery whose rows come back does not stand in the lake."""


def standing_intake(root: Path, rules: str, day: date) -> IntakeRecord:
    """What stands for a day by now.

    Raises:
        NothingToRepair: If nothing does.
    """
    standing = known_by(root, rules, night=date.max, until=day, strict=False)
    if day not in standing:
        raise NothingToRepair(
            f"no delivery of {day} was taken in, so there is none whose rows could come back. Have "
            "the whole day delivered again."
        )
    return IntakeRecord.read(root, day, standing[day])


def take_repair(
    spark: SparkSession, root: Path, params: Params, source_name: str, rules: str, entry: Entry
) -> IntakeRecord:
    """Take in rows that came back, unless that was done before.

    Args:
        entry: Of the ledger; its ``repairs`` stands for its day.

    Raises:
        NothingToRepair: If another delivery stands for the day by now.
        DeliveryRefused: If a row still breaks a rule, or more rows come back than are in
            quarantine. Nothing is taken then.
        ContractBroken, DeliveryUnreadable: If the file is not such a CSV file.
    """
    day, intake = entry.known_on, intake_id(entry.delivery_id, rules)
    repaired = standing_intake(root, rules, day)
    if delivery_of(repaired.intake) != entry.repairs:
        raise NothingToRepair(
            f"the rows of {entry.delivery_id} were repaired for delivery {entry.repairs} of {day}, "
            f"but {repaired.delivery_id} stands for the day by now, and has rows of its own."
        )
    record = IntakeRecord.find(root, day, intake)
    if record is not None and ActivityRecord.find(root, day, intake) is not None:
        return record

    source = repaired_source(params.source(source_name))
    first = day - timedelta(days=params.validation.overlap_days)
    standing = known_by(root, rules, night=date.max, until=day, strict=False)
    before = {
        earlier: IntakeRecord.read(root, earlier, name)
        for earlier, name in standing.items()
        if earlier >= first
    }
    with DeliveredCells(root) as cells:
        delivery = cells.open_delivery(root / entry.folder, day, intake, entry.files, source)
        result = take_deliveries(
            spark,
            read_lines(spark, cells.finish(), source),
            [delivery],
            root,
            source_name,
            params,
            root / catalog.DELIVERY_DOCS.format(known_on=day, intake=intake),
            before,
            is_history=True,
            repaired=repaired,
        )
    if result.refusals:
        raise DeliveryRefused(result.refusals)
    summarise_intakes(spark, root, params, source_name, {day: intake})
    return result.records[0]


def repaired_source(source: Source) -> Source:
    """The source as show_quarantine writes its rows: CSV, values as they were delivered."""
    kept = {"decimal_mark", "thousands_mark", "trailing_minus"} if source.format == "csv" else set()
    return source.model_copy(
        update={
            "format": "csv",
            "text": Text(**source.text.model_dump(include=kept)),
            "timestamp_format": source.timestamp_format if source.format == "csv" else None,
        }
    )
