"""From a model's margin to a probability that means what it says."""

import math
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = 1 / (1 + exp(-(slope x margin + intercept))).

    Two numbers, so they fit in JSON; strictly increasing for a positive slope, so that calibrated
    scores rank customers as the margins do, without new ties. With a slope of zero all are alike.
    """

    slope: float
    intercept: float

    def probability(self, margin: np.ndarray) -> np.ndarray:
        """Probabilities as float64, in the shape of ``margin``."""
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-self.log_odds(margin)))

    def log_odds(self, margin: np.ndarray) -> np.ndarray:
        """The log-odds of the probabilities, as float64."""
        return self.slope * margin.astype(np.float64) + self.intercept

    def moved(self, step: float) -> "Calibration":
        """With all log-odds moved by ``step``."""
        return Calibration(self.slope, self.intercept + step)


def calibrate(margin: np.ndarray, label: np.ndarray) -> Calibration:
    """The calibration under which ``label`` (0 or 1, both present) is likeliest.

    As if one more customer had done the opposite on either side (Platt's targets): scores that part
    buyers from all others without an error do not become certainties. Scores that rank the wrong
    way round say nothing: the slope is never below zero, and at zero all get the share of buyers.
    """
    from sklearn.linear_model import LogisticRegression

    buyers = int(label.sum())
    bought = np.where(label == 1, (buyers + 1) / (buyers + 2), 1 / (len(label) - buyers + 2))
    outcomes = np.repeat([1, 0], len(label))
    # One thread, so that the order of additions does not follow the machine's number of cores.
    with threadpool_limits(1):
        fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
            np.tile(margin.astype(np.float64), 2).reshape(-1, 1),
            outcomes,
            sample_weight=np.concatenate([bought, 1 - bought]),
        )
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        share = float(bought.mean())
        return Calibration(0.0, math.log(share / (1 - share)))
    return Calibration(slope, intercept)
