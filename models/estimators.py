"""What gives a customer's margin: trees, or a model that adds up.

The kinds of model differ here and in how they are fitted; bundles, gate, monitors and reasons know
only what ``Estimator`` says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import xgboost

from models.additive import Additive
from models.metrics import XGBOOST
from models.tree_shap import margin_contributions, own_contributions


class Estimator(Protocol):
    """A fitted model before calibration. A matrix is (n, k), float32, NaN where missing."""

    @property
    def kind(self) -> str:
        """One of ``models.metrics.KINDS``."""

    @property
    def suffix(self) -> str:
        """The end of its file's name, with the dot."""

    def margin(self, matrix: np.ndarray) -> np.ndarray:
        """The log-odds of each row before calibration, (n,)."""

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """How each feature moves each row's margin, (k + 1, n), float64.

        The last row is what every margin starts from; a column's sum is the margin, to float32
        accuracy.
        """

    def second_contributions(self, matrix: np.ndarray) -> np.ndarray:
        """The same, computed in another way where there is one."""

    def write(self, path: Path) -> None:
        """Write the file."""


@dataclass(frozen=True, slots=True)
class Trees:
    """Boosted trees of XGBoost, which predict on one thread: workers share the cores already."""

    booster: xgboost.Booster

    kind = XGBOOST
    suffix = ".ubj"

    @property
    def rounds(self) -> int:
        """The number of trees."""
        return self.booster.num_boosted_rounds()

    def margin(self, matrix: np.ndarray) -> np.ndarray:
        """The sum of the trees, float32."""
        return self.booster.inplace_predict(matrix, predict_type="margin")

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Exact TreeSHAP, looked up."""
        return margin_contributions(self.booster, matrix)

    def second_contributions(self, matrix: np.ndarray) -> np.ndarray:
        """XGBoost's own TreeSHAP, in float32."""
        return own_contributions(self.booster, matrix)

    def write(self, path: Path) -> None:
        """Write the file in XGBoost's own format."""
        self.booster.save_model(path)


def read_estimator(kind: str, path: Path) -> Estimator:
    """The estimator in a file; ``path`` lacks the suffix, which follows from the kind."""
    if kind != XGBOOST:
        return Additive.read(path.with_suffix(Additive.suffix))
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(path.with_suffix(Trees.suffix))
    return Trees(booster)
