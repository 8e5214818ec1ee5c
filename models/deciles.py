"""Deciles: 1 for the tenth of the customers who are likeliest to buy, 10 for the last."""

from itertools import accumulate
from math import ceil, floor

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

DECILES = 10

BANDS = 1 << 16

TENTHS = tuple(tenth / DECILES for tenth in range(DECILES - 1, 0, -1))


def tenths(scores: DataFrame, probability: str) -> list[float]:
    """The nine values that cut the column into tenths, from the highest on.

    Exact, with linear interpolation between the two neighbours of a cut. Engines interpolate in
    other ways, so they are asked for the neighbours only: first how many rows are in each of many
    narrow bands, then for the values in the few bands where a cut is. Neither grows with the rows,
    unless most scores lie within one band.

    Args:
        scores: ``probability`` in [0, 1], never null; at least one row.
    """
    # A product with a power of two is exact, so bands are in the order of their values.
    band = F.floor(F.col(probability) * BANDS)
    counts = dict(sorted(map(tuple, scores.groupBy(band).count().collect())))
    starts = dict(zip(counts, accumulate(counts.values(), initial=0), strict=False))
    positions = [share * (sum(counts.values()) - 1) for share in TENTHS]
    ranks = {rank for position in positions for rank in (floor(position), ceil(position))}
    wanted = [one for one in counts if not ranks.isdisjoint(_ranks(starts[one], counts[one]))]

    inside = scores.where(band.isin(wanted)).groupBy(probability).count().collect()
    value_of: dict[int, float] = {}
    for one in wanted:
        rank = starts[one]
        for value, count in sorted(tuple(row) for row in inside if floor(row[0] * BANDS) == one):
            value_of |= dict.fromkeys(ranks.intersection(_ranks(rank, count)), value)
            rank += count
    return [_between(value_of, position) for position in positions]


def _ranks(start: int, count: int) -> range:
    return range(start, start + count)


def _between(value_of: dict[int, float], position: float) -> float:
    lower, upper = floor(position), ceil(position)
    if lower == upper or value_of[lower] == value_of[upper]:
        return value_of[lower]
    return (upper - position) * value_of[lower] + (position - lower) * value_of[upper]


def decile(probability: str, cuts: list[float]) -> Column:
    """1 for a probability at or above the first of the nine falling ``cuts``, 10 below the last.

    Equal probabilities share a decile; where many are equal, other deciles are small or empty.
    """
    below = [(F.col(probability) < cut).cast("int") for cut in cuts]
    return sum(below, F.lit(1))


def mid_decile(probability: str, cuts: list[float]) -> Column:
    """The decile, where equal probabilities share the middle of those they reach over.

    Two models are compared by it: one that has few different scores would else lose its order,
    since all who are as good as the last one of a tenth are in it.
    """
    not_above = [(F.col(probability) <= cut).cast("int") for cut in cuts]
    lowest = sum(not_above, F.lit(1))
    return F.floor((decile(probability, cuts) + lowest) / 2).cast("int")


def deciles(probability: np.ndarray) -> np.ndarray:
    """1 (likeliest) to 10 for each probability; equal ones share a decile.

    >>> deciles(np.array([0.5, 0.1, 0.9, 0.5]))
    array([ 4, 10,  1,  4])
    """
    return 1 + (probability[:, None] < np.quantile(probability, TENTHS)).sum(axis=1)
