"""What came after: the answer that training learns from, and that nights are measured by."""

from collections.abc import Sequence
from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from params import MICROS, Question


def label_outcomes(activity: DataFrame, as_of: Sequence[date], question: Question) -> DataFrame:
    """Whether the outcome of the question came true for each customer after each as-of date.

    Args:
        activity: As for ``build_features``; it must reach to the end of the last horizon, and hold
            nothing that became known after the day at which labels are taken to be final.
        as_of: The days after which to look.
        question: With a horizon of 30, the day after the as-of date and the 29 that follow count.

    Returns:
        ``as_of``, ``customer_id``, ``label int`` (1 it did, 0 it did not), one row per as-of date
        and customer of ``activity``.
    """
    customers = _dated(activity, as_of).groupBy("as_of", "customer_id")
    return customers.agg(_came_true(question).alias("label"))


def count_outcomes(
    activity: DataFrame, as_of: Sequence[date], active_days: int, question: Question
) -> DataFrame:
    """How many customers were active on each as-of date, and for how many the outcome came true.

    Args:
        activity: As for ``label_outcomes``.
        as_of: The dates.
        active_days: Who is active, as for ``build_features``.
        question: What the outcome is.

    Returns:
        ``as_of``, ``customers bigint``, ``came_true bigint``; no row for a date on which nobody was
        active.
    """
    days_ago = F.date_diff("as_of", "activity_on")
    bought = (F.col("purchase_lines") > 0) & days_ago.between(0, active_days - 1)
    customers = (
        _dated(activity, as_of)
        .groupBy("as_of", "customer_id")
        .agg(
            F.max(bought.cast("int")).alias("is_active"),
            _came_true(question).alias("came_true"),
        )
    )
    active = customers.where(F.col("is_active") == 1).groupBy("as_of")
    return active.agg(F.count("*").alias("customers"), F.sum("came_true").alias("came_true"))


def known_after(activity: DataFrame, as_of: date, question: Question) -> DataFrame:
    """For each customer for whom the outcome came true, how long it took until that was known.

    Returns:
        ``customer_id``, ``days``: from ``as_of`` to the day of the delivery that made it true.
    """
    day = F.lit(as_of)
    by_day = (
        activity.where(_is_within(day, question))
        .groupBy("customer_id", F.date_diff("known_on", day).alias("days"))
        .agg(F.sum(_counted(question)).alias("counted"))
    )
    so_far = F.sum("counted").over(Window.partitionBy("customer_id").orderBy("days"))
    reached = by_day.withColumn("so_far", so_far).where(F.col("so_far") >= _least(question))
    return reached.groupBy("customer_id").agg(F.min("days").alias("days"))


def _dated(activity: DataFrame, as_of: Sequence[date]) -> DataFrame:
    """A copy of each row for each as-of date, brought together by customer before."""
    return activity.repartition("customer_id").withColumn("as_of", F.explode(F.lit(list(as_of))))


def _came_true(question: Question) -> Column:
    """An aggregate of the rows of one as-of date and customer: 1 if the outcome came true, else
    0."""
    counted = F.when(_is_within(F.col("as_of"), question), _counted(question)).otherwise(0)
    return (F.sum(counted) >= _least(question)).cast("int")


def _is_within(as_of: Column, question: Question) -> Column:
    return F.date_diff("activity_on", as_of).between(1, question.horizon_days)


def _counted(question: Question) -> Column:
    """What a row of activity adds towards the outcome; whole numbers, so that sums are exact."""
    columns = {"purchase": "purchase_lines", "return": "return_lines", "spend": "purchase_micros"}
    return F.col(columns[question.outcome])


def _least(question: Question) -> Column:
    """The sum from which the outcome has come true."""
    least = 1 if question.least_amount is None else round(question.least_amount * MICROS)
    return F.lit(least)
