"""From transaction lines to one exact row per customer and day, and back from the lake."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog


def summarise_activity(lines: DataFrame, timezone: str, by: Sequence[str] = ()) -> DataFrame:
    """One row per customer and business day with activity; sums are exact integers.

    Args:
        lines: Accepted lines (``catalog.LINE``), each with a customer.
        timezone: The zone at whose midnight days are cut.
        by: Columns of ``lines`` that keep apart what must not be summed, such as
            ``("known_on", "delivery_id")`` when there are lines of many deliveries.

    Returns:
        The columns of ``catalog.ACTIVITY``, without nulls, after those of ``by``. Summaries of two
        deliveries add up to the summary of both.
    """
    is_purchase, is_return = F.col("quantity") > 0, F.col("quantity") < 0
    micros = F.col("quantity") * F.col("unit_price_micros")

    dated = lines.where(is_purchase | is_return).withColumn(
        "activity_on", F.to_date(F.from_utc_timestamp("invoiced_at", timezone))
    )
    return dated.groupBy(*by, "customer_id", "activity_on").agg(
        # Of the purchases if there are any: features look at where a customer buys.
        F.coalesce(F.min(F.when(is_purchase, F.col("country"))), F.min("country")).alias("country"),
        _distinct("invoice_id", is_purchase).alias("purchase_invoice_ids"),
        _distinct("product_id", is_purchase).alias("purchase_product_ids"),
        F.count_if(is_purchase).alias("purchase_lines"),
        _total(F.col("quantity"), is_purchase).alias("purchase_quantity"),
        _total(micros, is_purchase).alias("purchase_micros"),
        F.count_if(is_return).alias("return_lines"),
        _total(-F.col("quantity"), is_return).alias("return_quantity"),
        _total(-micros, is_return).alias("return_micros"),
    )


def read_activity(spark: SparkSession, root: Path, paths: Iterable[Path]) -> DataFrame:
    """Activity from exactly these partitions (or files) of the lake, with ``known_on date``.

    Raises:
        FileNotFoundError: If one of them is not there; names the first and says how to make it.
    """
    paths = list(paths)
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} pieces of activity are not in the lake, the first is "
            f"{missing[0]}. Load that day: python -m jobs.load_history --until <the day before the "
            "first night>, or for a day of a night, clear its summarise_activity."
        )
    schema = f"{catalog.ACTIVITY.schema}, known_on date, delivery_id string"
    reader = spark.read.schema(schema).option("basePath", str(root / "lake/activity"))
    return reader.parquet(*map(str, paths)).drop("delivery_id")


def _distinct(column: str, condition: Column) -> Column:
    return F.array_sort(F.collect_set(F.when(condition, F.col(column))))


def _total(value: Column, condition: Column) -> Column:
    return F.coalesce(F.sum(F.when(condition, value.cast("bigint"))), F.lit(0).cast("bigint"))
