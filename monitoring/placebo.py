"""What a column's distance is on nights on which nothing has happened: thresholds for alarms.

A fixed threshold is either deaf or never silent, because columns differ in how much they move by
themselves. So quiet nights are made from the training set, whose as-of dates lie apart as a night
lies apart from the model's reference, and an alarm begins where they end.
"""

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pandas as pd

from monitoring.drift import (
    Thresholds,
    binned,
    distance_of_shares,
    index_of_shares,
)
from params import Drift

# A column's own threshold: this share of its quiet nights stays below it.
COLUMN_QUANTILE = 0.99

# The least threshold, for a column whose quiet nights never differ; by whether it is a category.
SMALLEST_THRESHOLD = {False: 0.01, True: 0.02}

# The nights drawn are few where they matter, at the end; the last step is asked for twice over.
SAFETY = 2.0

DIGITS = 6


def placebo_thresholds(rows: pd.DataFrame, drift: Drift, categories: Collection[str]) -> Thresholds:
    """Thresholds from quiet nights.

    A quiet night compares two as-of dates, the earlier of which stands for the reference; of
    either, as many customers as a night's sample has are drawn with replacement. Customers grow
    older and seasons turn between the two as they do between a model's reference and its nights, so
    that is in the thresholds.

    Args:
        rows: Features of all as-of dates, ``as_of`` and ``probability``, in a fixed order. On the
            dates that the model was fitted on it is a little too sure; that widens the threshold of
            the probability, if it changes anything.
        drift: Sample size, number of nights, how many false verdicts are allowed, seed.
        categories: Names of the columns that hold text.

    Returns:
        The thresholds, rounded; the same arguments give the same.
    """
    random = np.random.default_rng(drift.seed)
    parts = {
        day: _sample(rows[rows["as_of"] == day].drop(columns="as_of"), drift.sample_rows, random)
        for day in sorted(rows["as_of"].unique())
    }
    pairs = list(combinations(parts, 2)) or [tuple(parts) * 2]
    each = -(-drift.placebo_nights // len(pairs))

    nights = [
        _quiet_nights(parts[before], parts[after], categories, each, random)
        for before, after in pairs
    ]
    distances = pd.concat(nights, ignore_index=True)

    scales = distances.quantile(COLUMN_QUANTILE)
    columns = {
        name: round(max(float(scale), SMALLEST_THRESHOLD[name in categories]), DIGITS)
        for name, scale in scales.items()
    }
    scores = (distances / pd.Series(columns)).max(axis=1)
    allowed = 1 / (SAFETY * drift.false_alarm_nights)
    score = max(1.0, float(scores.quantile(1 - allowed, interpolation="higher")))
    missing = rows.drop(columns=["as_of", "probability"]).isna().groupby(rows["as_of"]).mean().max()
    return Thresholds(
        columns,
        round(score, DIGITS),
        len(distances),
        len(pairs),
        {name: round(share, DIGITS) for name, share in missing.items()},
    )


def _sample(rows: pd.DataFrame, count: int, random: np.random.Generator) -> pd.DataFrame:
    if len(rows) <= count:
        return rows
    return rows.iloc[np.sort(random.choice(len(rows), count, replace=False))]


def _quiet_nights(
    before: pd.DataFrame,
    after: pd.DataFrame,
    categories: Collection[str],
    nights: int,
    random: np.random.Generator,
) -> pd.DataFrame:
    """(nights, columns): distances of customers drawn from both dates; bins are cut only once."""
    sides = (before, after)
    weights = [
        np.stack(
            [
                np.bincount(random.integers(0, len(side), len(side)), minlength=len(side))
                for _ in range(nights)
            ]
        )
        for side in sides
    ]
    result = {}
    for name in before.columns:
        is_category = name in categories
        labels = binned(before[name], after[name], is_category)
        bins = {label: at for at, label in enumerate(sorted({*labels[0], *labels[1]}))}
        expected, actual = (
            _shares(side.map(bins).to_numpy(), len(bins), drawn)
            for side, drawn in zip(labels, weights, strict=True)
        )
        distance = distance_of_shares if is_category else index_of_shares
        result[name] = [distance(*pair) for pair in zip(expected, actual, strict=True)]
    return pd.DataFrame(result)


def _shares(bins: np.ndarray, count: int, weights: np.ndarray) -> np.ndarray:
    """(nights, count): the share of the drawn customers in each bin, exactly counted."""
    is_in = bins[:, None] == np.arange(count)
    return (weights @ is_in) / weights.sum(axis=1, keepdims=True)
