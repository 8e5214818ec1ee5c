"""Delivered rows as canonical transaction lines, nothing lost: what cannot be parsed stays raw."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from deliveries.cells import SPARK_SCHEMA, write_cells
from params import Source

MICROS = 1_000_000
BLANKS = " \t\r\n\u00a0"
# A time of day alone would be read as today's, so the date is asked for.
ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}"
ISO_ZONE = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
# With an empty fraction, as writers give whole numbers that were kept as floats.
WHOLE_NUMBER = r"^[+-]?[0-9]+(\.0*)?$"
# The letters of Spark's patterns that stand for a zone, outside quoted text.
PATTERN_ZONE = re.compile(r"[VzOXxZ]")
QUOTED = re.compile(r"'[^']*'")


@contextmanager
def read_lines(
    spark: SparkSession, folders: Mapping[date, Path], source: Source, root: Path
) -> Iterator[DataFrame]:
    """The rows of one or many deliveries, one output row per delivered row, while the block lasts.

    Text is trimmed, and empty text is null. A value that is not what its column should hold
    (text where a number belongs, a fraction of a piece, a date that does not exist) is null in
    the canonical column and as delivered in ``raw``. Prices become millionths exactly: the
    shortest decimal text of the number, halves rounded away from zero.

    Timestamps without a zone are in ``source.timezone``. A time that daylight saving skips is
    moved on by the skipped hour; of a time that it repeats, the first (summer time) is taken.

    Args:
        folders: Each day with the folder of its delivery.
        source: Names, zone and formats of the source.
        root: A deployment's folder, which every worker of the engine sees.

    Yields:
        The columns of ``catalog.LINE``; ``source_file``, the name of the file; ``raw`` map of the
        source's column names to values as text, null kept. A CSV line with too few or too many
        values has all canonical columns null, and the whole line in ``raw`` under
        ``_malformed_line``.

    Raises:
        What ``deliveries.cells.write_cells`` raises.
    """
    (root / "lake").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cells.", dir=root / "lake") as cells:
        write_cells(folders, source, Path(cells))
        rows = spark.read.schema(SPARK_SCHEMA).parquet(cells)
        yield rows.select(
            *[_text(name) for name in ("invoice_id", "product_id", "customer_id")],
            _whole_number("quantity").alias("quantity"),
            _micros("unit_price").alias("unit_price_micros"),
            _instant(source).alias("invoiced_at"),
            _text("country"),
            "known_on",
            "source_file",
            "raw",
        )


def _text(name: str) -> Column:
    return F.nullif(_trimmed(name), F.lit("")).alias(name)


def _trimmed(name: str) -> Column:
    return F.trim(F.col(name), F.lit(BLANKS))


def _whole_number(name: str) -> Column:
    text = _trimmed(name)
    return F.when(
        text.rlike(WHOLE_NUMBER), F.regexp_extract(text, r"^[+-]?[0-9]+", 0).try_cast("int")
    )


def _micros(name: str) -> Column:
    """Millionths: casting to six decimals rounds halves away from zero, once."""
    price = _trimmed(name).try_cast("decimal(24,6)")
    return (price * F.lit(MICROS).cast("decimal(7,0)")).try_cast("bigint")


def _instant(source: Source) -> Column:
    text = _trimmed("invoiced_at_text")
    if source.timestamp_format:
        parsed = F.try_to_timestamp(text, F.lit(source.timestamp_format))
        has_zone = PATTERN_ZONE.search(QUOTED.sub("", source.timestamp_format))
        written = parsed if has_zone else _from_local(parsed, source)
    else:
        local = _from_local(text.try_cast("timestamp_ntz"), source)
        zoned = text.try_cast("timestamp")
        written = F.when(text.rlike(ISO_TIME), F.when(text.rlike(ISO_ZONE), zoned).otherwise(local))
    local = _from_local(F.col("invoiced_at_local"), source)
    return F.coalesce("invoiced_at_instant", local, written)


def _from_local(local: Column, source: Source) -> Column:
    return F.to_utc_timestamp(local.cast("timestamp"), source.timezone)
