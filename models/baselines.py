"""Fitting the simple kinds of model: one number about the customer, and all of them in a line.

They are candidates like the trees, and serve where trees do not help. Each learns from the same
rows and is calibrated on the same later dates, so that what is compared is how much each knows
about a customer, not who saw the newer level.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from models.additive import Additive, Line, Steps, compressed
from models.metrics import LOGISTIC, RECENCY
from models.schema import Feature

RECENCY_FEATURE = "recency_days"
"""The feature of the simplest kind: days since the last purchase."""

# A category with fewer rows is pooled with the other rare ones, and with those not seen.
RARE_ROWS = 50


def fit_recency(
    matrix: np.ndarray,
    label: np.ndarray,
    schema: Sequence[Feature],
    weight: np.ndarray | None = None,
) -> Additive:
    """A table of the share of buyers by days since the last purchase, which never rises.

    A customer without a last purchase is like the average one. ``weight`` says how much each row
    teaches; without it all teach alike.
    """
    names = tuple(feature.name for feature in schema)
    days = matrix[:, names.index(RECENCY_FEATURE)].astype(np.float64)
    known = ~np.isnan(days)
    # A step on which nobody or everybody bought would claim certainty.
    edge = 1.0 / (len(label) + 2)
    if not known.any():
        share = np.clip(np.average(label, weights=weight), edge, 1 - edge)
        return Additive(RECENCY, names, float(_log_odds(share)), {})
    steps = IsotonicRegression(increasing=False, y_min=edge, y_max=1 - edge)
    steps.fit(days[known], label[known], sample_weight=None if weight is None else weight[known])
    shares = steps.y_thresholds_
    first = np.flatnonzero(np.diff(shares, prepend=np.nan) != 0)
    given = _log_odds(shares[first])
    starts = steps.X_thresholds_[first]
    average = given[np.maximum(np.searchsorted(starts, days[known], side="right") - 1, 0)].mean()
    term = Steps(tuple(starts.tolist()), tuple((given - average).tolist()), 0.0)
    return Additive(RECENCY, names, float(average), {RECENCY_FEATURE: term})


def fit_logistic(
    matrix: np.ndarray,
    label: np.ndarray,
    schema: Sequence[Feature],
    weight: np.ndarray | None = None,
) -> Additive:
    """A logistic regression on all features.

    Counts and amounts are long-tailed, so the regression gets their logarithm, scaled; missing
    numbers become the median beside a flag; categories become one column each. ``weight`` as for
    ``fit_recency``.
    """
    names = tuple(feature.name for feature in schema)
    if label.min() == label.max():
        edge = 1.0 / (len(label) + 2)
        return Additive(LOGISTIC, names, float(_log_odds(np.clip(label[0], edge, 1 - edge))), {})
    parts = [
        _category(values, len(feature.categories))
        if feature.kind == "category"
        else _number(values)
        for feature, values in zip(schema, matrix.T, strict=True)
    ]
    # One thread, so that the order of additions does not follow the machine's number of cores.
    with threadpool_limits(1):
        fitted = LogisticRegression(max_iter=2000)
        columns = np.column_stack([part.columns for part in parts])
        fitted.fit(columns, label, sample_weight=weight)
    [weights], [start] = fitted.coef_.astype(np.float64), fitted.intercept_.astype(np.float64)
    terms, used = {}, 0
    for name, part in zip(names, parts, strict=True):
        own = weights[used : used + part.columns.shape[1]]
        used += len(own)
        terms[name], average = part.term(own)
        start += average
    return Additive(LOGISTIC, names, float(start), terms)


@dataclass(frozen=True, slots=True)
class _Part:
    """A feature's columns of the regression's input, and what it adds once they have weights.

    ``term`` gives a term that is zero on average, and what it would have been.
    """

    columns: np.ndarray
    term: Callable[[np.ndarray], tuple[Steps | Line, float]]


def _number(values: np.ndarray) -> _Part:
    missing = np.isnan(values)
    known = compressed(values[~missing])
    median = float(np.median(known)) if len(known) else 0.0
    filled = np.full(len(values), median)
    filled[~missing] = known
    # A constant column has no spread, and gets no weight.
    (mean, spread), (share, flag_spread) = (
        (float(column.mean()), float(column.std()) or 1.0) for column in (filled, missing)
    )
    columns = np.column_stack([(filled - mean) / spread, (missing - share) / flag_spread])

    def term(weights: np.ndarray) -> tuple[Line, float]:
        weight, of_flag = (float(weights[0]) / spread, float(weights[1]) / flag_spread)
        return Line(
            weight=weight,
            offset=-weight * mean - of_flag * share,
            missing=weight * (median - mean) + of_flag * (1 - share),
        ), 0.0

    return _Part(columns.astype(np.float32), term)


def _category(values: np.ndarray, count: int) -> _Part:
    # The last position is for all that is missing.
    positions = np.where(np.isnan(values), count, values).astype(np.intp)
    rows = np.bincount(positions, minlength=count + 1)
    frequent = np.flatnonzero(rows[:count] >= RARE_ROWS)
    # Every position's column; what is rare or missing shares the last one.
    column_of = np.full(count + 1, len(frequent))
    column_of[frequent] = np.arange(len(frequent))
    columns = np.zeros((len(values), len(frequent) + 1), dtype=np.float32)
    columns[np.arange(len(values)), column_of[positions]] = 1

    def term(weights: np.ndarray) -> tuple[Steps, float]:
        given = weights[column_of]
        average = float(given @ rows / len(values))
        *adds, missing = (given - average).tolist()
        return Steps(tuple(map(float, range(count))), tuple(adds), missing), average

    return _Part(columns, term)


def _log_odds(probability: np.ndarray | float) -> np.ndarray:
    return np.log(probability / (1 - np.asarray(probability)))
