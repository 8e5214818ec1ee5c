"""Reasons in words: the features that moved a customer's score most, each with its value."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from models.schema import Feature


def reason_texts(
    matrix: np.ndarray, contributions: np.ndarray, schema: Sequence[Feature], count: int
) -> dict[str, pa.Array]:
    """The features that moved each row most, the strongest first, as ``recency_days = 3 (raises)``.

    Args:
        matrix: (n, k), float32: the values of the features of ``schema``.
        contributions: (k, n), float64: how each moved the row's log-odds.
        schema: The features.
        count: How many reasons for each row.

    Returns:
        ``reason_1`` to ``reason_<count>``, n texts each; null where a contribution is zero.
    """
    rows = np.arange(len(matrix))
    strength = np.abs(contributions).astype(np.float32)
    columns = {}
    for rank in range(count):
        chosen = strength.argmax(axis=0)
        # Past the last feature the strongest is one that was named already.
        left = strength[chosen, rows] >= 0
        direction = np.sign(contributions[chosen, rows]) * left
        strength[chosen, rows] = -1
        texts = _texts(matrix[rows, chosen], chosen, direction, schema)
        columns[f"reason_{rank + 1}"] = texts
    return columns


def _texts(
    values: np.ndarray, positions: np.ndarray, directions: np.ndarray, schema: Sequence[Feature]
) -> pa.Array:
    """For each row the phrase of its value of a feature; null where the direction is 0."""
    phrases: list[str] = []
    phrase_of = np.zeros(len(values), dtype=np.int64)
    for position in np.unique(positions):
        for direction, verb in ((1, "raises"), (-1, "lowers")):
            here = np.flatnonzero((positions == position) & (directions == direction))
            different, which = np.unique(values[here], return_inverse=True)
            phrase_of[here] = len(phrases) + which
            phrases += [f"{_phrase(schema[position], value)} ({verb})" for value in different]
    return pa.array(phrases, pa.string()).take(pa.array(phrase_of, mask=directions == 0))


def _phrase(feature: Feature, value: np.float32) -> str:
    """The feature and its value, e.g. ``recency_days = 3`` or ``country missing``."""
    if np.isnan(value):
        return f"{feature.name} missing"
    if feature.kind == "category":
        return f"{feature.name} = {feature.categories[int(value)]}"
    # Whole numbers in full; others to three significant digits, as a person would say them.
    text = f"{value:.0f}" if value == np.round(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{feature.name} = {text}"
