"""What came after: the answer that training learns from."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def label_purchases(activity: DataFrame, as_of: Sequence[date], horizon_days: int) -> DataFrame:
    """Whether each customer bought anything in the ``horizon_days`` days after each as-of date.

    Args:
        activity: As for ``build_features``; it must reach to the end of the last horizon, and hold
            nothing that became known after the day at which labels are taken to be final.
        as_of: The days after which to look.
        horizon_days: 30 is the day after the as-of date and the 29 that follow.

    Returns:
        ``as_of``, ``customer_id``, ``label int`` (1 bought, 0 did not), one row per as-of date and
        customer of ``activity``.
    """
    dated = activity.repartition("customer_id").withColumn("as_of", F.explode(F.lit(list(as_of))))
    bought = bought_within(F.col("as_of"), horizon_days)
    return dated.groupBy("as_of", "customer_id").agg(F.max(bought.cast("int")).alias("label"))


def bought_within(as_of: Column, horizon_days: int) -> Column:
    """Whether a row of activity is a purchase in the ``horizon_days`` days after ``as_of``."""
    days_later = F.date_diff("activity_on", as_of)
    return (F.col("purchase_lines") > 0) & days_later.between(1, horizon_days)
