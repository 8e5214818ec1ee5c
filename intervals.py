"""Metrics with their 95 % intervals, from draws of the customers."""

from collections.abc import Collection

import numpy as np

INTERVAL = (2.5, 97.5)

# Beyond six digits a metric says nothing, and the last bits may differ between machines.
DIGITS = 6


def with_intervals(metrics: Collection[str], point: np.ndarray, drawn: np.ndarray) -> dict:
    """``{"value", "low", "high"}`` of each metric, not rounded.

    All three are null where the metric is undefined on the rows, or on all of the draws.

    Args:
        metrics: Their names, in order.
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


def rounded(values: dict) -> dict:
    """The floats in it, at any depth, to six digits."""
    return {
        key: rounded(value)
        if isinstance(value, dict)
        else round(float(value), DIGITS)
        if isinstance(value, float)
        else value
        for key, value in values.items()
    }
