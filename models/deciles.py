"""Deciles: 1 for the tenth of the customers who are likeliest to buy, 10 for the last."""

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

DECILES = 10

TENTHS = tuple(tenth / DECILES for tenth in range(DECILES - 1, 0, -1))


def tenths(scores: DataFrame, probability: str) -> list[float]:
    """The nine values that cut the column into tenths, from the highest on."""
    shares = F.array(*map(F.lit, TENTHS))
    [[cuts]] = scores.select(F.percentile(probability, shares)).collect()
    return cuts


def decile(probability: str, cuts: list[float]) -> Column:
    """1 for a probability at or above the first of the nine falling ``cuts``, 10 below the last.

    Equal probabilities share a decile, so many equal ones leave others small or empty.
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
