"""From transaction lines to one exact row per customer and day, and back from the lake."""

import logging
from collections.abc import Iterable, Mapping
from datetime import date, time
from functools import reduce
from pathlib import Path
from types import MappingProxyType

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from amounts import line_amount
from business_day import business_day
from features.windows import different
from lake import TAKE_IN_AGAIN, Piece, PieceMissing, read_pieces, write_deliveries
from ledger import delivery_of, first_night
from params import Carried, Params, Source
from records import ActivityRecord, IntakeRecord

log = logging.getLogger(__name__)


def activity_of(source: Source | None) -> catalog.Dataset:
    """The columns of activity, with those that the source carries."""
    carried = {} if source is None else source.carry
    return catalog.ACTIVITY.extended({name: one.type_of_day for name, one in carried.items()})


def summarise_activity(
    lines: DataFrame,
    timezone: str,
    day_ends_at: time,
    carry: Mapping[str, Carried] = MappingProxyType({}),
) -> DataFrame:
    """One row per day of delivery, customer and business day with activity; sums are exact.

    Args:
        lines: Accepted lines (``catalog.LINE``), each with a customer.
        timezone: The zone in which days are cut.
        day_ends_at: The hour of its clock at which a day ends.
        carry: Further columns of the lines, by name.

    Returns:
        The columns of ``catalog.ACTIVITY`` and those. Summaries of two deliveries add up to the
        summary of both. A sum beyond 64 bits is an error.
    """
    quantity, amount = F.col("quantity_micros"), line_amount("quantity_micros", "unit_price_micros")
    is_purchase, is_return = quantity > 0, quantity < 0

    dated = lines.where(is_purchase | is_return).withColumn(
        "activity_on", business_day("invoiced_at", timezone, day_ends_at)
    )
    summed = dated.groupBy("known_on", "customer_id", "activity_on").agg(
        # Of the purchases if there are any: features look at where a customer buys.
        F.coalesce(F.min(F.when(is_purchase, F.col("country"))), F.min("country")).alias("country"),
        _distinct("invoice_id", is_purchase).alias("purchase_invoice_ids"),
        _distinct("product_id", is_purchase).alias("purchase_product_ids"),
        F.count_if(is_purchase).alias("purchase_lines"),
        _total(quantity, is_purchase).alias("purchase_quantity_micros"),
        _total(amount, is_purchase).alias("purchase_micros"),
        F.count_if(is_return).alias("return_lines"),
        _total(-quantity, is_return).alias("return_quantity_micros"),
        _total(-amount, is_return).alias("return_micros"),
        *[
            (
                _total(F.col(name), is_purchase)
                if one.keep == "sum"
                else _distinct(name, is_purchase)
            ).alias(name)
            for name, one in carry.items()
        ],
    )
    return summed.select(*catalog.ACTIVITY.columns, *carry)


def summarise_intakes(
    spark: SparkSession,
    root: Path,
    params: Params,
    source: str,
    intakes: Mapping[date, str],
    remedy: str = TAKE_IN_AGAIN,
    own_night: date | None = None,
) -> dict[date, ActivityRecord]:
    """Write the activity of these intakes, each taken in; from then on nights use them.

    Args:
        remedy: What to do about accepted lines that are lost or altered.
        own_night: The night whose own delivery it is, if it is one's.

    Raises:
        PieceMissing, PieceAltered: If accepted lines are not as they were written.
    """
    if not intakes:
        return {}
    lines = {
        day: IntakeRecord.read(root, day, name).pieces[catalog.TRANSACTIONS.name]
        for day, name in intakes.items()
    }
    entry = params.source(source)
    dataset = catalog.TRANSACTIONS.extended(entry.carried_of_line)
    accepted = read_pieces(spark, root, lines.values(), dataset, remedy)
    activity = summarise_activity(accepted, entry.timezone, entry.day_ends_at, entry.carry)
    pieces = write_deliveries(
        activity.repartition("known_on"),
        activity_of(entry),
        root,
        intakes,
        order=("customer_id", "activity_on"),
    )
    records = {
        day: ActivityRecord(
            known_on=day,
            intake=name,
            known_from=first_night(root, day, delivery_of(name), own_night),
            transactions_sha256=lines[day].sha256,
            activity=pieces[day],
        )
        for day, name in intakes.items()
    }
    for record in records.values():
        record.write(root)
    rows = sum(piece.rows for piece in pieces.values())
    log.info("summarised %d deliveries as %d rows of activity", len(intakes), rows)
    return records


Interval = tuple[date | None, date | None]
"""The first night that knows a delivery (null: the night of its day, as it came on time), and the
first one that knows a better one (null: none does)."""

ON_TIME: Interval = (None, None)


def read_activity(
    spark: SparkSession,
    root: Path,
    pieces: Iterable[tuple[Piece, Interval]],
    remedy: str = TAKE_IN_AGAIN,
    source: Source | None = None,
) -> DataFrame:
    """Activity from exactly these pieces of the lake, with the nights in which it was known.

    Args:
        pieces: Each piece with the nights in which it was known.
        remedy: What to do about a piece that is lost or altered.
        source: Whose carried columns are read, too; None: none are.

    Returns:
        The columns of ``catalog.ACTIVITY`` and those, ``known_from date`` and ``known_until date``,
        null where it still stands.

    Raises:
        PieceMissing, PieceAltered: If one of them is not as it was written, or lacks a column.
    """
    by_interval: dict[Interval, list[Piece]] = {}
    for piece, interval in pieces:
        by_interval.setdefault(interval, []).append(piece)
    if not by_interval:
        raise PieceMissing(f"there is no activity to read. {remedy}")
    dataset = activity_of(source)
    # Nearly all deliveries come on time, and so are one part.
    parts = [
        with_interval(read_pieces(spark, root, some, dataset, remedy), interval)
        for interval, some in sorted(by_interval.items(), key=str)
    ]
    return reduce(DataFrame.unionByName, parts)


def with_interval(activity: DataFrame, interval: Interval = ON_TIME) -> DataFrame:
    """``activity`` with the nights in which all of it was known."""
    known_from, known_until = interval
    return activity.withColumns(
        {
            "known_from": F.col("known_on") if known_from is None else F.lit(known_from),
            "known_until": F.lit(known_until).cast("date"),
        }
    )


def is_known(night: Column) -> Column:
    """Whether a row of activity was known in a night, and not yet known better."""
    is_superseded = F.coalesce(F.col("known_until") <= night, F.lit(False))
    return (F.col("known_from") <= night) & ~is_superseded


def _distinct(column: str, condition: Column) -> Column:
    return F.array_sort(different(F.when(condition, F.col(column))))


def _total(value: Column, condition: Column) -> Column:
    sum_ = F.sum(F.when(condition, value.cast("decimal(29,0)"))).cast("bigint")
    return F.coalesce(sum_, F.lit(0).cast("bigint"))
