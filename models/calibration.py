"""From a model's margin to a probability that means what it says."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling: probability = 1 / (1 + exp(-(slope x margin + intercept))).

    Two numbers, so they fit in JSON; strictly increasing for a positive slope, so that calibrated
    scores rank customers as the margins do, without new ties.
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


def calibrate(margin: np.ndarray, label: np.ndarray) -> Calibration:
    """The calibration under which ``label`` (0 or 1, both present) is likeliest."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        margin.reshape(-1, 1).astype(np.float64), label
    )
    return Calibration(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))
