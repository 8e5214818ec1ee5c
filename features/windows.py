"""What features are written in: the age of a day, windows, purchase days, amounts.

All of it is for rows of :func:`features.build.known_activity`, inside one aggregation by as-of
date and customer. The last 30 days are the as-of date and the 29 days before it.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

MICROS = 1_000_000


def is_purchase() -> Column:
    """Whether something was bought that day; a day may hold returns only."""
    return F.col("purchase_lines") > 0


def within(days: int) -> Column:
    """Whether the day is one of the last ``days``."""
    return F.col("days_ago") < days


def total(column: str, days: int) -> Column:
    """Exact sum of a bigint column over the last ``days`` days; 0 if there is nothing to sum.

    A sum beyond 64 bits is an error.
    """
    return F.coalesce(exact_sum(F.when(within(days), F.col(column))), F.lit(0).cast("bigint"))


def exact_sum(value: Column) -> Column:
    """Sum of a bigint as a bigint; null if there is nothing to sum, an error beyond 64 bits.

    Not every engine notices when a sum of bigint overflows, so it is taken in more digits.
    """
    return F.sum(value.cast("decimal(20,0)")).cast("bigint")


def amount(column: str, days: int) -> Column:
    """Sum of a column of millionths over the last ``days`` days, in currency units."""
    return total(column, days) / MICROS


def distinct(column: str, days: int) -> Column:
    """How many different elements the arrays in ``column`` hold over the last ``days`` days."""
    return F.size(F.array_distinct(F.flatten(F.collect_list(F.when(within(days), F.col(column))))))


def purchase_days_ago() -> Column:
    """The ages of all purchase days, each once, the latest day first; never null."""
    return F.sort_array(F.collect_set(F.when(is_purchase(), F.col("days_ago"))))


def purchase_days(days: int) -> Column:
    """How many of the last ``days`` days are purchase days."""
    return F.size(F.filter(purchase_days_ago(), lambda ago: ago < days))


def change(recent: Column, recent_days: int, before: Column, before_days: int) -> Column:
    """How the daily rate of exact counts or sums has changed, -1 (stopped) to 1 (nothing before).

    The difference of the two rates over their sum, as one division of integers. Null if both are 0.
    """
    # Wide enough for every product; only the two operands of the division are rounded.
    recent_weighed = recent.cast("decimal(20,0)") * F.lit(before_days).cast("decimal(4,0)")
    before_weighed = before.cast("decimal(20,0)") * F.lit(recent_days).cast("decimal(4,0)")
    difference, sum_ = recent_weighed - before_weighed, recent_weighed + before_weighed
    return ratio(difference, sum_)


def ratio(part: Column, whole: Column) -> Column:
    """One division of two exact numbers, each rounded to a double first; null if ``whole`` is 0."""
    return F.when(whole != 0, part.cast("double") / whole.cast("double"))
