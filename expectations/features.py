"""What good features look like, and which customers cannot be scored from theirs.

A promise about a single row serves twice: the verdict counts the rows that break it, and those
customers get a fallback score. The lists name every feature there is; a test holds them to it. Of a
source without a column, the features over it are absent, and so are the promises about them.
"""

from collections.abc import Collection
from datetime import date
from itertools import pairwise
from pathlib import Path

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import ColumnMapExpectation
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations.promise import FAIL, promise
from expectations.verdict import breaks, verify

WINDOWS = (7, 30, 90, 365)
WINDOWED = ("purchase_days", "invoices", "products", "spend", "returned")
"""Subjects with a feature for each window, 0 if there was nothing."""

OTHER_COUNTS = ("recency_days", "tenure_days", "purchase_days_year_ago_30d")
"""Zero or more, never null."""

SOMETIMES_NULL = (
    "gap_mean_days",
    "gap_std_days",
    "gap_longest_days",
    "overdue_ratio",
    "basket_mean_365d",
    "returned_share_365d",
)
"""Zero or more; null for a customer with too little history, by the feature's own rule."""

SHARES = ("weekend_share_365d",)
"""In [0, 1], or null."""

TRENDS = ("purchase_days_trend_30d", "purchase_days_trend_90d", "spend_trend_30d")
"""In [-1, 1], or null."""

CATEGORIES = ("country",)

# Nothing we count or sum for one customer comes near it; not-a-number and infinity lie beyond.
LARGEST = 1e12

# Fallback scores are for single customers; beyond it the features as a whole are ill.
SCORABLE_SHARE = 0.95


def feature_rules(names: Collection[str]) -> list[ColumnMapExpectation]:
    """The promises about single rows; a customer whose row breaks one cannot be scored.

    Args:
        names: The features that are there; nothing is promised of others.
    """
    windowed = [f"{subject}_{days}d" for subject in WINDOWED for days in WINDOWS]
    largest = {f"purchase_days_{days}d": days for days in WINDOWS}
    rules = [
        *[
            promise(
                gxe.ExpectColumnValuesToNotBeNull,
                f"{column}_given",
                "It is known for every active customer; null would be a fault of ours.",
                column=column,
            )
            for column in (*windowed, *OTHER_COUNTS, *CATEGORIES)
        ],
        *[
            promise(
                gxe.ExpectColumnValuesToBeBetween,
                f"{column}_in_range",
                "It counts days or things, or sums or compares amounts: zero or more, and finite.",
                column=column,
                min_value=0,
                max_value=largest.get(column, LARGEST),
            )
            for column in (*windowed, *OTHER_COUNTS, *SOMETIMES_NULL)
        ],
        *[
            promise(
                gxe.ExpectColumnValuesToBeBetween,
                f"{column}_in_range",
                "It is a share of a whole.",
                column=column,
                min_value=0,
                max_value=1,
            )
            for column in SHARES
        ],
        *[
            promise(
                gxe.ExpectColumnValuesToBeBetween,
                f"{column}_in_range",
                "It runs from -1 (stopped) to 1 (nothing before).",
                column=column,
                min_value=-1,
                max_value=1,
            )
            for column in TRENDS
        ],
    ]
    return [rule for rule in rules if rule.configuration.kwargs["column"] in names]


def unscorable(spark: SparkSession, features: DataFrame) -> DataFrame:
    """``features`` with ``is_scorable boolean``: whether the row keeps every row rule."""
    conditions = breaks(spark, features, feature_rules(features.columns)).values()
    return features.withColumn("is_scorable", ~F.array_contains(F.array(*conditions), True))


def verify_features(features: DataFrame, docs: Path, *, night: date, active_days: int) -> list[str]:
    """Judge the features of one night and write the page.

    Args:
        features: ``customer_id`` and the features, one row per customer of the population.
        docs: The folder for the page.
        night: The score date.
        active_days: A customer with a purchase in this many days is in the population.

    Returns:
        A sentence for each row rule that some customers break.

    Raises:
        ExpectationsBroken: If a promise that must hold is broken; names all that are broken.
    """
    whole = [
        promise(
            gxe.ExpectColumnValuesToNotBeNull,
            "customer_id_given",
            "A row without a customer cannot be scored for anybody.",
            FAIL,
            column="customer_id",
        ),
        promise(
            gxe.ExpectColumnValuesToBeUnique,
            "customer_once",
            "A customer described twice would be scored twice.",
            FAIL,
            column="customer_id",
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "recently_active",
            "The population is who bought within active_days of params.yaml; anybody else is "
            "there by mistake.",
            FAIL,
            column="recency_days",
            max_value=active_days - 1,
        ),
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "windows_in_order",
            "A longer window holds the shorter one, so it cannot hold less: else a window is cut "
            "wrongly, for everybody.",
            FAIL,
            column="disordered_windows",
        ),
        promise(
            gxe.ExpectColumnValuesToBeInSet,
            "nearly_all_scorable",
            "Rows that break a promise get a fallback score. So many of them mean that the "
            "features as a whole are ill.",
            FAIL,
            column="is_scorable",
            value_set=[True],
            mostly=SCORABLE_SHARE,
        ),
    ]
    batch = unscorable(features.sparkSession, features)
    batch = batch.withColumn("disordered_windows", _disordered_windows(batch.columns))
    rules = [*whole, *feature_rules(batch.columns)]
    return verify("features", batch, rules, docs, f"all active customers of {night}")


def _disordered_windows(names: Collection[str]) -> Column:
    """The first subject of which a shorter window holds more than the next longer one, or null."""
    broken = []
    for subject in WINDOWED:
        if f"{subject}_{WINDOWS[0]}d" not in names:
            continue
        columns = [F.col(f"{subject}_{days}d") for days in WINDOWS]
        falls = [shorter > longer for shorter, longer in pairwise(columns)]
        broken += [F.when(fall, F.lit(subject)) for fall in falls]
    return F.coalesce(*broken)
