"""Delivered rows as canonical transaction lines, nothing lost: what cannot be parsed stays raw."""

import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from deliveries.contract import ContractBroken, SourceColumn, contract_differences, file_columns
from deliveries.files import data_files
from params import Source

MICROS = 1_000_000
BLANKS = " \t\r\n\u00a0"
MALFORMED = "_malformed_line"
# A time of day alone would be read as today's, so the date is asked for.
ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"
ISO_ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
# The letters of Spark's patterns that stand for a zone, outside quoted text.
PATTERN_ZONE = re.compile(r"[VzOXxZ]")
QUOTED = re.compile(r"'[^']*'")


def read_lines(spark: SparkSession, folders: Mapping[date, Path], source: Source) -> DataFrame:
    """The rows of one or many deliveries, one output row per delivered row.

    Text is trimmed, and empty text is null. A value that is not what its column should hold
    (text where a number belongs, a fraction of a piece, a date that does not exist) is null in
    the canonical column and as delivered in ``raw``. Prices become millionths exactly: the
    shortest decimal text of the number, halves rounded away from zero.

    Timestamps without a zone are in ``source.timezone``. A time that daylight saving skips is
    moved on by the skipped hour; of a time that it repeats, the first (summer time) is taken.

    Args:
        folders: Each day with its delivery; the folder is named for the day (``2026-04-01``).
        source: Names, zone and formats of the source.

    Returns:
        The columns of ``catalog.LINE``; ``known_on`` date; ``source_file``, relative to the
        folder; ``raw`` map of the source's column names to values as text, null kept. A CSV line
        with too few or too many values has all canonical columns null, and the whole line in
        ``raw`` under ``_malformed_line``.

    Raises:
        ValueError: If there are no folders, or one is not named for its day.
        DeliveryMissing: If a folder is absent or not whole.
        DeliveryUnreadable: If the footer or header of a file cannot be read.
        ContractBroken: If a column is missing or of another kind: read with a schema, a missing
            column would be nulls and nobody would know.
    """
    misnamed = [f"{day}: {folder}" for day, folder in folders.items() if folder.name != str(day)]
    if misnamed or not folders:
        raise ValueError(
            f"the folder of a delivery is named for its day, which these are not: {misnamed[:5]}"
            if misnamed
            else "there are no deliveries to read"
        )

    files_by_columns: dict[tuple[SourceColumn, ...], list[Path]] = defaultdict(list)
    for _, folder in sorted(folders.items()):
        for path in data_files(folder, source.format):
            columns = file_columns(path, source.format)
            differences = contract_differences(columns, source)
            if differences:
                raise ContractBroken(folder, {path.name: differences})
            files_by_columns[columns].append(path)

    # Files that differ in the width of a number or by a new column are read apart, each with its
    # own types, because Spark would fit them all to one.
    lines = [
        _canonical(_read(spark, columns, paths, source.format), columns, source)
        for columns, paths in files_by_columns.items()
    ]
    return reduce(DataFrame.unionByName, lines)


def _read(
    spark: SparkSession, columns: tuple[SourceColumn, ...], paths: list[Path], format: str
) -> DataFrame:
    # Spark takes a path for a pattern.
    names = [re.sub(r"([*?\[\]{}\\])", r"\\\1", str(path)) for path in paths]
    if format == "csv":
        schema = StructType([StructField(column.name, StringType()) for column in columns])
        return (
            spark.read.schema(schema.add(MALFORMED, StringType()))
            .option("columnNameOfCorruptRecord", MALFORMED)
            .option("header", True)
            .option("multiLine", True)
            .option("escape", '"')
            .csv(names)
        )
    schema = ", ".join(
        f"{_quoted(column.name)} {column.spark_type}" for column in columns if column.spark_type
    )
    return spark.read.schema(schema).parquet(*names)


def _canonical(rows: DataFrame, columns: tuple[SourceColumn, ...], source: Source) -> DataFrame:
    found = {column.name: column for column in columns}
    ours = {canonical: found[name] for canonical, name in source.columns.model_dump().items()}
    is_csv = source.format == "csv"
    whole = F.col(MALFORMED).isNull() if is_csv else F.lit(True)

    path = F.col("_metadata.file_path")
    name = F.col("_metadata.file_name")
    line = {
        "invoice_id": _text(ours["invoice_id"]),
        "product_id": _text(ours["product_id"]),
        "customer_id": _text(ours["customer_id"]),
        "quantity": _whole_number(ours["quantity"], "int"),
        "unit_price_micros": _micros(ours["unit_price"]),
        "invoiced_at": _instant(ours["invoiced_at"], source),
        "country": _text(ours["country"]),
    }
    return rows.select(
        *[F.when(whole, value).alias(name) for name, value in line.items()],
        F.to_date(F.regexp_extract(path, r"/(\d{4}-\d{2}-\d{2})/[^/]*$", 1)).alias("known_on"),
        # Percent signs stand for odd characters; a plus is one, not a blank.
        F.url_decode(F.replace(name, F.lit("+"), F.lit("%2B"))).alias("source_file"),
        _raw(columns, is_csv).alias("raw"),
    )


def _raw(columns: tuple[SourceColumn, ...], is_csv: bool) -> Column:
    readable = [column for column in columns if column.spark_type]
    values = F.map_from_arrays(
        F.array(*[F.lit(column.name) for column in readable]),
        F.array(*[_value(column).cast("string") for column in readable]),
    )
    if not is_csv:
        return values
    line = F.create_map(F.lit(MALFORMED), F.col(MALFORMED))
    return F.when(F.col(MALFORMED).isNull(), values).otherwise(line)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _value(column: SourceColumn) -> Column:
    value = F.col(_quoted(column.name))
    if column.kind in ("zoned", "naive") and column.spark_type == "bigint":
        # Nanoseconds; floored, as an instant before 1970 is negative.
        micros = F.floor(value / F.lit(1000).cast("decimal(4,0)")).cast("bigint")
        instant = F.timestamp_micros(micros)
        return instant if column.kind == "zoned" else instant.cast("timestamp_ntz")
    return value


def _text(column: SourceColumn) -> Column:
    if column.kind in ("float", "decimal"):
        # 17850.0 is customer 17850; what is no whole number stays as it is written.
        number = _whole_number(column, "bigint").cast("string")
        text = F.coalesce(number, _not_nan(column).cast("string"))
    else:
        text = F.trim(_value(column).cast("string"), F.lit(BLANKS))
    return F.nullif(text, F.lit(""))


def _not_nan(column: SourceColumn) -> Column:
    value = _value(column)
    return F.when(~F.isnan(value), value) if column.kind == "float" else value


def _number(column: SourceColumn) -> Column:
    """The value, or its text, trimmed: what a decimal can be made of."""
    value = _value(column)
    if column.kind == "text":
        return F.trim(value, F.lit(BLANKS))
    # The text of a short float is shorter than that of the double nearest to it.
    return value.cast("string") if column.spark_type == "float" else value


def _whole_number(column: SourceColumn, type_: str) -> Column:
    if column.kind in ("integer", "empty"):
        return _value(column).try_cast(type_)
    number = _number(column).try_cast("decimal(38,10)")
    return F.when(number == F.floor(number), number.try_cast(type_))


def _micros(column: SourceColumn) -> Column:
    """Millionths: casting to six decimals rounds halves away from zero, once."""
    price = _number(column).try_cast("decimal(24,6)")
    return (price * F.lit(MICROS).cast("decimal(7,0)")).try_cast("bigint")


def _instant(column: SourceColumn, source: Source) -> Column:
    value = _value(column)
    if column.kind == "zoned":
        return value
    if column.kind == "naive":
        return _from_local(value, source)
    text = F.trim(value.cast("string"), F.lit(BLANKS))
    if source.timestamp_format:
        parsed = F.try_to_timestamp(text, F.lit(source.timestamp_format))
        has_zone = PATTERN_ZONE.search(QUOTED.sub("", source.timestamp_format))
        return parsed if has_zone else _from_local(parsed, source)
    return F.when(
        text.rlike(ISO_TIME),
        F.when(text.rlike(ISO_ZONE), text.try_cast("timestamp")).otherwise(
            _from_local(text.try_cast("timestamp_ntz"), source)
        ),
    )


def _from_local(local: Column, source: Source) -> Column:
    return F.to_utc_timestamp(local.cast("timestamp"), source.timezone)
