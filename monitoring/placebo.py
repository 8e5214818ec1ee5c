"""What a column's distance is on nights on which nothing has happened, and what a change makes it.

A fixed threshold is either deaf or never silent, because columns differ in how much they move by
themselves. So quiet nights are made from the training set, whose as-of dates lie apart as nights
lie apart from what they are compared with, and an alarm begins where they end. What then goes
unheard is measured, by making changes in such nights.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
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

# Columns are held against each other in their rarest distances: one with a few wild nights, such as
# a count that is nearly always zero, would else raise the threshold of all others.
SCALE_QUANTILE = 0.998

# The nights in which changes are made to see whether they are heard, spread over the dates.
POWER_NIGHTS = 20

# What a change must reach to count as heard, in times the threshold. Nights to come are not those
# of the training set: in a column that ages with the shop the same change moves less and less.
ROOM = 1.25

HEARD_SHARE = 0.95
"""A column is deaf if fewer nights than this hear one of LARGE_CHANGES."""

DIGITS = 6


Limits = dict[str, dict[str, float]]
"""Of one comparison: ``columns`` and ``night``, each a threshold by column."""
Heard = dict[str, dict[str, float | None]]
Parts = Mapping[date, pd.DataFrame]
"""The customers of every as-of date."""
Night = tuple[pd.DataFrame, pd.DataFrame | None, pd.DataFrame]
"""The reference, the weeks before where they are known, and the night."""


def placebo_thresholds(
    rows: pd.DataFrame,
    drift: Drift,
    categories: Collection[str],
    apart_days: int,
    seasonal: Sequence[str] = (),
) -> Thresholds:
    """Thresholds from quiet nights, and the power they leave.

    A night is compared with the model's reference and with the same weekday of the weeks before. So
    a quiet night compares an as-of date with one that lies as far back as a reference does, or with
    those of the weeks before it; of either side as many customers as there are are drawn with
    replacement. Customers grow older and seasons turn in between, so that is in the thresholds. All
    dates have whole windows, so a window that fills is not.

    A column's own threshold is what it alone exceeds on one night in ``false_alarm_nights``; the
    threshold for the night is what any column at all exceeds on one such night, each in its own
    measure: the higher for a column, the more it moves by itself. Of those nights each of the two
    comparisons has half.

    Power is measured in nights of all seasons, held against the newest date, which is the model's
    reference, and against the weeks before them. What is heard with little room is not counted.

    Args:
        rows: Features of all as-of dates, ``as_of`` and ``probability``, in a fixed order. On the
            dates that the model was fitted on it is a little too sure; that widens the threshold of
            the probability, if it changes anything.
        drift: Sample size, number of nights, how many false verdicts are allowed, seed.
        categories: Names of the columns that hold text.
        apart_days: Dates nearer than this make no pair: no night lies so near its reference.
        seasonal: Names of the columns that tell the season.

    Returns:
        The thresholds, rounded; the same arguments give the same. Without dates that have the same
        weekday of all ``drift.weekday_nights`` weeks before them, none for that comparison.
    """
    random = np.random.default_rng(drift.seed)
    parts = {
        day: _sample(part.drop(columns="as_of"), drift.sample_rows, random)
        for day, part in rows.groupby("as_of", sort=True)
    }
    weekly = _weekly(parts, drift.weekday_nights)
    tail = 1 / drift.false_alarm_nights
    tails = (tail, tail / 2 if weekly else tail)

    apart = _apart(list(parts), apart_days)
    pairs = list(combinations(apart, 2)) or [(day, day) for day in apart]
    far = ((parts[before], parts[day]) for before, day in pairs)
    distances = _quiet_nights(far, len(pairs), drift, categories, random)
    reference = _limits(distances, categories, *tails)
    same_weekday = None
    if weekly:
        near = ((_weeks_before(parts, day, drift), parts[day]) for day in weekly)
        quiet = _quiet_nights(near, len(weekly), drift, categories, random)
        same_weekday = _limits(quiet, categories, *tails)

    nights = _power_nights(parts, weekly, drift, apart_days)
    power, lasting = _power(nights, reference, same_weekday, categories, random)
    deaf = [name for name, heard in power.items() if is_deaf(heard)]
    missing = rows.drop(columns=["as_of", PROBABILITY]).isna().groupby(rows["as_of"]).mean()
    most, least_missing = (
        {name: round(share, DIGITS) for name, share in shares.items()}
        for shares in (missing.max(), missing.min())
    )
    return Thresholds(
        columns=reference["columns"],
        night=reference["night"],
        same_weekday=same_weekday,
        nights=len(distances),
        pairs=len(pairs),
        missing=most,
        least_missing=least_missing,
        power=power,
        deaf=deaf,
        fading=[name for name, heard in lasting.items() if is_deaf(heard) and name not in deaf],
        seasonal=seasonal,
        seen_on=[str(day) for day in weekly or parts],
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


def _weekly(days: Collection[date], weeks: int) -> list[date]:
    """The dates with the same weekday of so many weeks before among the dates."""
    return [
        day
        for day in days
        if all(day - timedelta(weeks=back) in days for back in range(1, weeks + 1))
    ]


def _weeks_before(parts: Parts, day: date, drift: Drift) -> pd.DataFrame:
    """The customers of the same weekday of the weeks before a date."""
    weeks = range(1, drift.weekday_nights + 1)
    return pd.concat([parts[day - timedelta(weeks=back)] for back in weeks], ignore_index=True)


def _power_nights(
    parts: Parts, weekly: Collection[date], drift: Drift, apart_days: int
) -> Iterator[Night]:
    """Nights of all seasons beside the newest date, which is the model's reference."""
    newest = max(parts)
    old = [day for day in parts if (newest - day).days >= apart_days] or [newest]
    known = [day for day in old if day in weekly] or old
    for at in np.linspace(0, len(known) - 1, POWER_NIGHTS).astype(int):
        day = known[at]
        before = _weeks_before(parts, day, drift) if day in weekly else None
        yield parts[newest], before, parts[day]


def _sample(rows: pd.DataFrame, count: int, random: np.random.Generator) -> pd.DataFrame:
    if len(rows) <= count:
        return rows
    return rows.iloc[np.sort(random.choice(len(rows), count, replace=False))]


def _quiet_nights(
    pairs: Iterable[tuple[pd.DataFrame, pd.DataFrame]],
    count: int,
    drift: Drift,
    categories: Collection[str],
    random: np.random.Generator,
) -> pd.DataFrame:
    """(nights, columns): distances of quiet nights, as many of each of ``count`` pairs."""
    each = -(-drift.placebo_nights // count)
    nights = [_drawn(before, after, categories, each, random) for before, after in pairs]
    return pd.concat(nights, ignore_index=True)


def _limits(
    distances: pd.DataFrame, categories: Collection[str], tail: float, tail_night: float
) -> Limits:
    """What a column exceeds on the share ``tail`` of quiet nights, and any on ``tail_night``."""
    least = pd.Series({name: SMALLEST_THRESHOLD[name in categories] for name in distances})
    own = distances.quantile(1 - tail, interpolation="higher").clip(lower=least)
    scale = distances.quantile(SCALE_QUANTILE, interpolation="higher").clip(lower=least)
    score = (distances / scale).max(axis=1).quantile(1 - tail_night, interpolation="higher")
    return {
        part: {name: round(float(value), DIGITS) for name, value in values.items()}
        for part, values in (("columns", own), ("night", (scale * score).clip(lower=own)))
    }


def _drawn(
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
    # Whole numbers below 2^53, so that floats add them up exactly, and fast.
    is_in = (bins[:, None] == np.arange(count)).astype(float)
    return (weights.astype(float) @ is_in) / weights.sum(axis=1, keepdims=True)


def _power(
    nights: Iterable[Night],
    reference: Limits,
    same_weekday: Limits | None,
    categories: Collection[str],
    random: np.random.Generator,
) -> tuple[Heard, Heard]:
    """By column and change, the share of the nights that it makes drifted by itself; and the share
    that the comparison with the reference alone calls so."""
    found = []
    for model, weeks, night in nights:
        for name, change, changed in _changes(night, categories, random):
            lasting = either = None
            if changed is not None:
                is_category = name in categories
                lasting = either = _hears(name, is_category, model, changed, reference)
                if not either and same_weekday and weeks is not None:
                    either = _hears(name, is_category, weeks, changed, same_weekday)
            found.append((name, change, either, lasting))
    heard = pd.DataFrame(found, columns=["name", "change", "either", "lasting"])
    return _shares_heard(heard, "either"), _shares_heard(heard, "lasting")


def _shares_heard(heard: pd.DataFrame, by: str) -> Heard:
    shares: Heard = defaultdict(dict)
    for (name, change), nights in heard.groupby(["name", "change"], sort=False)[by]:
        known = nights.dropna()
        shares[name][change] = float(known.mean()) if len(known) else None
    return dict(shares)


def _changes(
    night: pd.DataFrame, categories: Collection[str], random: np.random.Generator
) -> Iterator[tuple[str, str, pd.Series | None]]:
    """Column, change and the changed values, None where it cannot be made."""
    for name in night.columns.drop(PROBABILITY):
        for change, (apply, is_for_text) in CHANGES.items():
            if is_for_text or name not in categories:
                yield name, change, apply(night[name], random)
    for change, raise_mean in MEAN_CHANGES.items():
        yield MEAN_PROBABILITY, change, raise_mean(night[PROBABILITY])


def _hears(
    name: str, is_category: bool, before: pd.DataFrame, changed: pd.Series, limits: Limits
) -> bool:
    """Whether the change makes the night drifted, with room."""
    night = limits["night"]
    if name != MEAN_PROBABILITY:
        return distance(before[name], changed, is_category) >= ROOM * night[name]
    probability = before[PROBABILITY]
    moved = abs(changed.mean() - probability.mean()) >= ROOM * night[MEAN_PROBABILITY]
    return bool(moved or distance(probability, changed, False) >= ROOM * night[PROBABILITY])
