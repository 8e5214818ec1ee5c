"""Delivered rows as canonical transaction lines, nothing lost: what cannot be parsed stays raw."""

from datetime import UTC, datetime
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from deliveries.cells import SPARK_SCHEMA
from deliveries.values import names_zone
from params import MICROS, Source

MICROS_OF_A_MINUTE = 60 * MICROS


def _micros_of(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * MICROS


# Every zone's clock shows a year from 1 to 9999 then, which is what dates hold.
FIRST_INSTANT, LAST_INSTANT = _micros_of(1, 1, 3), _micros_of(9999, 12, 29)


def read_lines(spark: SparkSession, cells: Path, source: Source) -> DataFrame:
    """The rows of deliveries, one output row per delivered row.

    Text is trimmed; empty text and the source's null markers are null. A value that is not what
    its column should hold (text where a number belongs, a date that does not exist or is
    outside the years 1 to 9999) is null in the canonical column and as delivered in ``raw``.
    Quantities and prices become millionths exactly; one that has more decimals than the source
    allows is null. An amount without them is one piece for that price, a negative one the return of
    a piece.

    A distance from UTC behind a time is honoured, and a zone's name where the format has one; a
    time with any other zone is null. Timestamps without a zone are in ``timestamp_timezone``, or
    else in the zone of the source. A time that daylight saving skips is moved on by the skipped
    hour; of a time that it repeats, the first (summer time) is taken.

    Args:
        cells: The folder that ``deliveries.cells.DeliveredCells`` has finished.
        source: Names, zone and formats of the source.

    Returns:
        The columns of ``catalog.DELIVERED_LINE`` and those that the source carries. Of a malformed
        line all of them are null, and ``raw`` has the whole line under ``_malformed_line``.
    """
    rows = spark.read.schema(SPARK_SCHEMA).parquet(str(cells))
    quantity, unit_price = _micros("quantity"), _micros("unit_price")
    if source.columns.amount is not None:
        amount = _micros("amount")
        one_piece = F.when(amount > 0, MICROS).when(amount < 0, -MICROS).when(amount == 0, 0)
        unit_price = F.abs(amount)
        # Where it fits into no bigint, one engine compares what it was before it was cast.
        quantity = F.when(unit_price.isNotNull(), one_piece.cast("bigint"))
    return rows.select(
        "invoice_id",
        "product_id",
        "customer_id",
        quantity.alias("quantity_micros"),
        unit_price.alias("unit_price_micros"),
        _instant(source).alias("invoiced_at"),
        "country",
        "known_on",
        "source_file",
        "source_line",
        "raw",
        "row_text",
        "malformed",
        "unusable_invoice_id",
        "unusable_product_id",
        "unusable_customer_id",
        "unusable_country",
        "inexact_quantity",
        "inexact_unit_price",
        "inexact_amount",
        "invoice_issuer",
        "unusable_carried",
        *[_carried(name, one.keep).alias(name) for name, one in source.carry.items()],
    )


def _carried(name: str, keep: str) -> Column:
    value = F.col("carried").getItem(name)
    return _as_micros(value) if keep == "sum" else value


def _micros(name: str) -> Column:
    return _as_micros(F.col(name))


def _as_micros(text: Column) -> Column:
    number = text.try_cast("decimal(24,6)")
    return (number * F.lit(MICROS).cast("decimal(7,0)")).try_cast("bigint")


def _instant(source: Source) -> Column:
    """The one of the three times that is given, as an instant; null far outside of any calendar."""
    local = _from_local(F.col("invoiced_at_local"), source)
    instant = F.coalesce("invoiced_at_instant", local, _written(source))
    is_dated = F.unix_micros(instant).between(FIRST_INSTANT, LAST_INSTANT)
    return F.when(is_dated, instant)


def _written(source: Source) -> Column:
    text = F.col("invoiced_at_text")
    if source.timestamp_format is None:
        read = text.try_cast("timestamp_ntz")
    else:
        read = F.try_to_timestamp(text, F.lit(source.timestamp_format))
    if names_zone(source.timestamp_format):
        return read
    ahead = F.col("invoiced_at_offset") * F.lit(MICROS_OF_A_MINUTE)
    with_offset = F.timestamp_micros(F.unix_micros(read.cast("timestamp")) - ahead)
    return F.when(ahead.isNotNull(), with_offset).otherwise(_from_local(read, source))


def _from_local(local: Column, source: Source) -> Column:
    return F.to_utc_timestamp(local.cast("timestamp"), source.zone_of_timestamps)
