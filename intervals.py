"""Metrics with their 95 % intervals, from draws of the customers."""

from collections.abc import Sequence

import numpy as np

INTERVAL = (2.5, 97.5)

# Beyond six digits a metric says nothing, and the last bits may differ between machines.
DIGITS = 6


def with_intervals(metrics: Sequence[str], point: np.ndarray, drawn: np.ndarray) -> dict:
    """``{"value", "low", "high"}`` of each metric, not rounded.

    All three are null where the metric is undefined on the rows, or on all of the draws.

    Args:
        metrics: Their names.
        point: (metrics,), the values on the rows; NaN where undefined.
        drawn: (draws, metrics), the values on each draw.
    """
    result = {}
    for position, metric in enumerate(metrics):
        defined = drawn[np.isfinite(drawn[:, position]), position]
        if np.isnan(point[position]) or not len(defined):
            result[metric] = {"value": None, "low": None, "high": None}
            continue
        low, high = np.percentile(defined, INTERVAL)
        result[metric] = {"value": point[position], "low": low, "high": high}
    return result


def rounded(value: dict | float | int | bool | None) -> dict | float | int | bool | None:
    """The floats in it to six digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return round(float(value), DIGITS) if isinstance(value, float) else value
