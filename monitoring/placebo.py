"""What a column's distance is on nights on which nothing has happened, and what a change makes it.

A fixed threshold is either deaf or never silent, because columns differ in how much they move by
themselves. So quiet nights are made from the training set, whose as-of dates lie apart as nights
lie apart from the model's reference, and an alarm begins where they end. What then goes unheard is
measured, by making changes in such nights.
"""

from collections.abc import Collection, Mapping
from datetime import date
from itertools import combinations

import numpy as np
import pandas as pd

from monitoring.changes import CHANGES, LARGE_CHANGES, MEAN_CHANGES
from monitoring.drift import (
    MEAN_PROBABILITY,
    PROBABILITY,
    Thresholds,
    bin_numbers,
    distance,
    distance_of_shares,
    index_of_shares,
)
from params import Drift

# The least threshold, for a column whose quiet nights never differ; by whether it is a category.
SMALLEST_THRESHOLD = {False: 0.01, True: 0.02}

# The nights drawn are few where they matter, at the end; the last step is asked for twice over.
SAFETY = 1.0

# Columns are held against each other in their rarest distances: one with a few wild nights, such as
# a count that is nearly always zero, would else raise the threshold of all others.
SCALE_QUANTILE = 0.998

# The nights in which changes are made to see whether they are heard, spread over the pairs.
POWER_NIGHTS = 20

HEARD_SHARE = 0.95
"""A column is deaf if fewer nights than this hear one of LARGE_CHANGES."""

DIGITS = 6


def placebo_thresholds(
    rows: pd.DataFrame, drift: Drift, categories: Collection[str], apart_days: int
) -> Thresholds:
    """Thresholds from quiet nights, and the power they leave.

    A quiet night compares two as-of dates, the earlier of which stands for the reference; of
    either, as many customers as a night's sample has are drawn with replacement. Customers grow
    older and seasons turn between the two as they do between a model's reference and its nights, so
    that is in the thresholds. All dates have whole windows, so a window that fills is not.

    A column's own threshold is what it alone exceeds on one night in ``false_alarm_nights``; the
    threshold for the night is what any column at all exceeds on one such night, each in its own
    measure: the higher for a column, the more it moves by itself.

    Args:
        rows: Features of all as-of dates, ``as_of`` and ``probability``, in a fixed order. On the
            dates that the model was fitted on it is a little too sure; that widens the threshold of
            the probability, if it changes anything.
        drift: Sample size, number of nights, how many false verdicts are allowed, seed.
        categories: Names of the columns that hold text.
        apart_days: Dates nearer than this make no pair: no night lies so near its reference.

    Returns:
        The thresholds, rounded; the same arguments give the same.
    """
    random = np.random.default_rng(drift.seed)
    parts = {
        day: _sample(rows[rows["as_of"] == day].drop(columns="as_of"), drift.sample_rows, random)
        for day in _apart(sorted(rows["as_of"].unique()), apart_days)
    }
    pairs = list(combinations(parts, 2)) or [(day, day) for day in parts]
    each = -(-drift.placebo_nights // len(pairs))

    nights = [
        _quiet_nights(parts[before], parts[after], categories, each, random)
        for before, after in pairs
    ]
    distances = pd.concat(nights, ignore_index=True)

    tail = 1 / drift.false_alarm_nights
    least = pd.Series({name: SMALLEST_THRESHOLD[name in categories] for name in distances})
    own = distances.quantile(1 - tail, interpolation="higher").clip(lower=least)
    scale = distances.quantile(SCALE_QUANTILE, interpolation="higher").clip(lower=least)
    score = (distances / scale).max(axis=1).quantile(1 - tail, interpolation="higher")
    columns, night = (
        {name: round(float(value), DIGITS) for name, value in values.items()}
        for values in (own, (scale * score).clip(lower=own))
    )

    chosen = [pairs[at] for at in np.linspace(0, len(pairs) - 1, POWER_NIGHTS).astype(int)]
    power = _power([(parts[a], parts[b]) for a, b in chosen], night, categories, random)
    missing = rows.drop(columns=["as_of", PROBABILITY]).isna().groupby(rows["as_of"]).mean()
    most, least_missing = (
        {name: round(share, DIGITS) for name, share in shares.items()}
        for shares in (missing.max(), missing.min())
    )
    return Thresholds(
        columns,
        night,
        len(distances),
        len(pairs),
        most,
        least_missing,
        power,
        [name for name, heard in power.items() if is_deaf(heard)],
    )


def is_deaf(heard: Mapping[str, float | None]) -> bool:
    """Whether a column could lose its meaning unnoticed: a large change is missed too often.

    >>> is_deaf({"shift_0.5": 1.0, "constant": 0.9, "shift_0.2": 0.1})
    True
    >>> is_deaf({"shift_0.5": None, "constant": 1.0, "shift_0.2": 0.1})
    False
    """
    large = [heard.get(name) for name in LARGE_CHANGES]
    return any(share is not None and share < HEARD_SHARE for share in large)


def _apart(dates: list[date], days: int) -> list[date]:
    """The newest date, and of the others those that lie so many days from one another."""
    chosen: list[date] = []
    for day in reversed(dates):
        if not chosen or (chosen[-1] - day).days >= days:
            chosen.append(day)
    return chosen[::-1]


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
        *bins, count = bin_numbers(before[name], after[name], is_category)
        expected, actual = (
            _shares(side, count, drawn) for side, drawn in zip(bins, weights, strict=True)
        )
        measure = distance_of_shares if is_category else index_of_shares
        result[name] = [measure(*pair) for pair in zip(expected, actual, strict=True)]
    means = [
        drawn @ side[PROBABILITY].fillna(0).to_numpy() / drawn.sum(axis=1)
        for side, drawn in zip(sides, weights, strict=True)
    ]
    return pd.DataFrame(result | {MEAN_PROBABILITY: np.abs(means[1] - means[0])})


def _shares(bins: np.ndarray, count: int, weights: np.ndarray) -> np.ndarray:
    """(nights, count): the share of the drawn customers in each bin, exactly counted."""
    is_in = bins[:, None] == np.arange(count)
    return (weights @ is_in) / weights.sum(axis=1, keepdims=True)


def _power(
    pairs: list[tuple[pd.DataFrame, pd.DataFrame]],
    night: Mapping[str, float],
    categories: Collection[str],
    random: np.random.Generator,
) -> dict[str, dict[str, float | None]]:
    """By column and change, the share of the nights that it makes drifted by itself."""
    power: dict[str, dict[str, float | None]] = {}
    for name in pairs[0][0].columns:
        is_category = name in categories
        power[name] = {}
        for change, (apply, is_for_text) in CHANGES.items():
            if name == PROBABILITY or (is_category and not is_for_text):
                continue
            changed = [(before[name], apply(after[name], random)) for before, after in pairs]
            heard = [
                distance(*pair, is_category) >= night[name]
                for pair in changed
                if pair[1] is not None
            ]
            power[name][change] = float(np.mean(heard)) if heard else None
    power[MEAN_PROBABILITY] = {
        change: float(
            np.mean(
                [
                    _hears_scores(before[PROBABILITY], apply(after[PROBABILITY]), night)
                    for before, after in pairs
                ]
            )
        )
        for change, apply in MEAN_CHANGES.items()
    }
    return {name: heard for name, heard in power.items() if heard}


def _hears_scores(before: pd.Series, now: pd.Series, night: Mapping[str, float]) -> bool:
    moved = abs(now.mean() - before.mean()) >= night[MEAN_PROBABILITY]
    return bool(moved or distance(before, now, False) >= night[PROBABILITY])
