"""What features are written in: windows, purchase days, exact sums and counts of different things.

The activity of a customer is gathered once for each as-of date; features are expressions over what
was gathered. The last 30 days are the as-of date and the 29 days before it.
"""

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from params import Carried

MICROS = 1_000_000

WINDOWS = (7, 30, 90, 365)

SUMMED = ("purchase_micros", "return_micros")
COUNTED = ("purchase_invoice_ids", "purchase_product_ids")
"""Columns of activity that are summed, and arrays whose different elements are counted; a source
may carry others beside them."""

SUNDAY, SATURDAY = 1, 7
"""As ``dayofweek`` numbers them."""


def summed(carry: Mapping[str, Carried]) -> tuple[str, ...]:
    """All columns of activity that are summed."""
    return (*SUMMED, *(name for name, one in carry.items() if one.keep == "sum"))


def counted(carry: Mapping[str, Carried]) -> tuple[str, ...]:
    """All arrays of activity whose different elements are counted."""
    return (*COUNTED, *(name for name, one in carry.items() if one.keep == "values"))


def gathered(carry: Mapping[str, Carried]) -> list[Column]:
    """Aggregates of the rows of one as-of date and customer, under the names that features use."""
    is_purchase = F.col("purchase_lines") > 0
    is_weekend = F.dayofweek("activity_on").isin(SUNDAY, SATURDAY)
    purchase_day = F.when(is_purchase, F.col("days_ago"))
    weekend_day = F.when(is_purchase & is_weekend & _within(365), F.col("days_ago"))
    country = F.min(F.when(is_purchase, F.struct("days_ago", "country")))["country"]
    return [
        F.sort_array(different(purchase_day)).alias("purchase_days_ago"),
        F.size(different(weekend_day)).alias("weekend_purchase_days_365d"),
        country.alias("latest_country"),
        *[_sum(name, days).alias(f"{name}_{days}d") for name in summed(carry) for days in WINDOWS],
        *[
            _distinct(name, days).alias(f"{name}_{days}d")
            for name in counted(carry)
            for days in WINDOWS
        ],
    ]


def different(value: Column) -> Column:
    """An aggregate: each value of a group once, in no order; nulls are left out.

    As a list, for the embedded engine keeps a set at several times the cost.
    """
    return F.array_distinct(F.collect_list(value))


def _within(days: int) -> Column:
    return F.col("days_ago") < days


def _sum(column: str, days: int) -> Column:
    """In more digits than one row has: of ten billion rows none can be too large."""
    value = F.when(_within(days), F.col(column)).otherwise(F.lit(0).cast("bigint"))
    return F.sum(value.cast("decimal(20,0)"))


def _distinct(column: str, days: int) -> Column:
    arrays = F.collect_list(F.when(_within(days), F.col(column)))
    return F.size(F.array_distinct(F.flatten(arrays)))


def total(column: str, days: int) -> Column:
    """Exact sum of a bigint column over the last ``days`` days, ``decimal(30,0)``; 0 if there is
    nothing to sum."""
    return F.col(f"{column}_{days}d")


def amount(column: str, days: int) -> Column:
    """Sum of a column of millionths over the last ``days`` days, in currency units."""
    return ratio(total(column, days), F.lit(MICROS))


def distinct(column: str, days: int) -> Column:
    """How many different elements the arrays in ``column`` hold over the last ``days`` days."""
    return F.col(f"{column}_{days}d")


def purchase_days_ago() -> Column:
    """The ages of all purchase days, each once, the latest day first; never null."""
    return F.col("purchase_days_ago")


def purchase_days(days: int) -> Column:
    """How many of the last ``days`` days are purchase days.

    Counted as the days in front of an age of ``days``, all in order. A lambda over the ages would
    cost a tenth of the query: for each element Apache Spark looks up its settings.
    """
    boundary = F.lit(days)
    with_boundary = F.sort_array(F.concat(purchase_days_ago(), F.array(boundary)))
    return F.array_position(with_boundary, boundary) - 1


def change(recent: Column, recent_days: int, before: Column, before_days: int) -> Column:
    """How the daily rate of exact counts or sums has changed, -1 (stopped) to 1 (nothing before).

    The difference of the two rates over their sum, as one division of integers. Null if both are 0.
    """
    # Wide enough for every product; only the two operands of the division are rounded.
    recent_weighed = recent.cast("decimal(31,0)") * F.lit(before_days).cast("decimal(4,0)")
    before_weighed = before.cast("decimal(31,0)") * F.lit(recent_days).cast("decimal(4,0)")
    difference, sum_ = recent_weighed - before_weighed, recent_weighed + before_weighed
    return ratio(difference, sum_)


def ratio(part: Column, whole: Column) -> Column:
    """One division of two exact numbers, each rounded to a double first; null if ``whole`` is 0."""
    return F.when(whole != 0, part.cast("double") / whole.cast("double"))
