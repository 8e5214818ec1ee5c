"""How a score came about: what each feature adds to the log-odds of one customer."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.apply import Model
from models.schema import Feature, feature_matrix

SUM_TOLERANCE = 1e-4
"""Contributions are sums of float32: what they may differ in from the score itself, in log-odds."""

FIGURES = 6


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one feature adds to the log-odds; ``value`` is ready to be read."""

    feature: str
    value: str
    log_odds: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """The parts of one customer's log-odds, the strongest first.

    ``start`` is what everybody starts from. Parts and start are calibrated (the model's own times
    ``slope``, with ``intercept`` in the start), and their sum is the log-odds of ``probability``,
    which is computed without them.
    """

    contributions: tuple[Contribution, ...]
    start: float
    probability: float
    slope: float
    intercept: float

    @property
    def log_odds(self) -> float:
        """The sum of start and contributions."""
        return self.start + sum(each.log_odds for each in self.contributions)

    @property
    def summed(self) -> float:
        """The probability that start and contributions make."""
        return float(1 / (1 + np.exp(-self.log_odds)))

    @property
    def adds_up(self) -> bool:
        """Whether that is the probability."""
        expected = np.log(self.probability) - np.log1p(-self.probability)
        return bool(abs(self.log_odds - expected) <= SUM_TOLERANCE)


def attribute(features: pa.Table, model: Model) -> Attribution:
    """What made the score of the one row in ``features``.

    Raises:
        FeatureMismatch: If a feature the model was trained on is absent.
    """
    matrix = feature_matrix(features, model.schema)
    # Where there is a second way to them, so that the reasons of scoring are seen from both sides.
    own = model.estimator.second_contributions(matrix)[:, 0]
    [*parts, start] = own * model.calibration.slope
    [row] = matrix
    contributions = [
        Contribution(name, value, float(part))
        for (name, value), part in zip(
            (shown(feature, value) for feature, value in zip(model.schema, row, strict=True)),
            parts,
            strict=True,
        )
    ]
    margin = model.estimator.margin(matrix)
    return Attribution(
        tuple(sorted(contributions, key=lambda each: -abs(each.log_odds))),
        float(start + model.calibration.intercept),
        float(model.calibration.probability(margin)[0]),
        model.calibration.slope,
        model.calibration.intercept,
    )


def shown(feature: Feature, value: float) -> tuple[str, str]:
    """A feature's name and value for people; a category stands beside the name."""
    if np.isnan(value):
        return feature.name, "-"
    if feature.kind == "category":
        return f"{feature.name} = {feature.categories[int(value)]}", ""
    return feature.name, figure(value)


def figure(value: float) -> str:
    """A number in at most ``FIGURES`` characters where that is possible.

    >>> figure(3.0), figure(498.56), figure(-1 / 3), figure(123456.7), figure(0.000123)
    ('3', '498.6', '-0.333', '123457', '0.0001')
    """
    if value == round(value) or abs(value) >= 10_000:
        return f"{value:.0f}"
    texts = (f"{value:.{digits}g}" for digits in (4, 3, 2, 1))
    return next((text for text in texts if len(text) <= FIGURES), f"{value:.1g}")
