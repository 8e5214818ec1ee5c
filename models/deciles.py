"""Deciles: 1 for the tenth of the customers who are likeliest to buy, 10 for the last."""

from collections.abc import Iterator, Mapping
from math import ceil, floor

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

DECILES = 10

FIRST_BITS, MORE_BITS, MOST_BITS = 16, 10, 46
"""How narrow the bands are in which scores are counted: 2**-16, then 2**-26, ... 2**-46."""

FEW = 100_000
"""So many scores may be looked at one by one."""

TENTHS = tuple(tenth / DECILES for tenth in range(DECILES - 1, 0, -1))


def tenths(scores: DataFrame, probability: str) -> list[float]:
    """The nine values that cut the column into tenths, from the highest on.

    Exact, with linear interpolation between the two neighbours of a cut. Engines interpolate in
    other ways, so they are asked for the neighbours only: how many rows are in each of many narrow
    bands, then how many in each part of the few bands where a cut is, until few rows are left or
    the parts are as narrow as the values. What comes here does not grow with the rows.

    Args:
        scores: ``probability`` in [0, 1], never null; at least one row. It is read several times.
    """
    inside, bits, starts = scores, 0, {0: 0}
    positions: list[float] = []
    ranks: set[int] = set()
    while bits < MOST_BITS:
        # All values are part of the first band.
        shift = MORE_BITS if bits else FIRST_BITS + 1
        bits += MORE_BITS if bits else FIRST_BITS
        # A product with a power of two is exact, so bands are in the order of their values.
        band = F.floor(F.col(probability) * float(1 << bits)).cast("bigint")
        counts = dict(sorted(map(tuple, inside.groupBy(band).count().collect())))
        if not ranks:
            positions = [share * (sum(counts.values()) - 1) for share in TENTHS]
            ranks = {rank for position in positions for rank in (floor(position), ceil(position))}
        starts = {
            one: start
            for one, start in _starts(counts, starts, shift)
            if not ranks.isdisjoint(_ranks(start, counts[one]))
        }
        inside = scores.where(band.isin(list(starts)))
        if sum(counts[one] for one in starts) <= FEW:
            break

    value_of: dict[int, float] = {}
    for value, count in sorted(map(tuple, inside.groupBy(probability).count().collect())):
        one = floor(value * (1 << bits))
        value_of |= dict.fromkeys(ranks.intersection(_ranks(starts[one], count)), value)
        starts[one] += count
    return [_between(value_of, position) for position in positions]


def _starts(
    counts: Mapping[int, int], wholes: Mapping[int, int], shift: int
) -> Iterator[tuple[int, int]]:
    """Each band with the rank of its first row, from that of the first row of its whole."""
    following = dict(wholes)
    for band, count in counts.items():
        whole = band >> shift
        yield band, following[whole]
        following[whole] += count


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
