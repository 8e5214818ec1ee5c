"""From transaction lines to one exact row per customer and day, and back from the lake."""

from collections.abc import Iterable
from datetime import time
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from business_day import business_day
from lake import read_parquet


def summarise_activity(lines: DataFrame, timezone: str, day_ends_at: time) -> DataFrame:
    """One row per day of delivery, customer and business day with activity; sums are exact.

    Args:
        lines: Accepted lines (``catalog.LINE``), each with a customer.
        timezone: The zone in which days are cut.
        day_ends_at: The hour of its clock at which a day ends.

    Returns:
        The columns of ``catalog.ACTIVITY``, without nulls. Summaries of two deliveries add up to
        the summary of both. A sum beyond 64 bits is an error.
    """
    is_purchase, is_return = F.col("quantity") > 0, F.col("quantity") < 0
    # A product of bigint that overflows is an error on one engine and another number on the next.
    micros = F.col("quantity").cast("decimal(10,0)") * F.col("unit_price_micros").cast(
        "decimal(19,0)"
    )

    dated = lines.where(is_purchase | is_return).withColumn(
        "activity_on", business_day("invoiced_at", timezone, day_ends_at)
    )
    summed = dated.groupBy("known_on", "customer_id", "activity_on").agg(
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
    return summed.select(*catalog.ACTIVITY.columns)


def read_activity(spark: SparkSession, paths: Iterable[Path]) -> DataFrame:
    """Activity from exactly these partitions (or files) of the lake.

    Raises:
        PieceMissing, PieceOutdated: If one of them is not there, or lacks a column.
    """
    return read_parquet(spark, paths, catalog.ACTIVITY)


def _distinct(column: str, condition: Column) -> Column:
    return F.array_sort(F.collect_set(F.when(condition, F.col(column))))


def _total(value: Column, condition: Column) -> Column:
    sum_ = F.sum(F.when(condition, value.cast("decimal(29,0)"))).cast("bigint")
    return F.coalesce(sum_, F.lit(0).cast("bigint"))
