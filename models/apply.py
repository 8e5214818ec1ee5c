"""Applying a model: probabilities, and the reasons for each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from models.calibration import Calibration
from models.estimators import Estimator
from models.reasons import reason_texts
from models.schema import Feature, feature_matrix

if TYPE_CHECKING:
    import pandas as pd


# Of log-odds; XGBoost adds some hundred trees in float32.
SUM_TOLERANCE = 1e-3


class ReasonsWrong(RuntimeError):
    """Contributions do not add up to what they explain: a fault of ours, not of the data."""


class Model(Protocol):
    """What scoring needs of a model; a bundle has it, and so has one just fitted."""

    @property
    def schema(self) -> Sequence[Feature]:
        """What it reads, in its order."""

    @property
    def estimator(self) -> Estimator:
        """Gives the margin."""

    @property
    def calibration(self) -> Calibration:
        """Makes a probability of it."""


def score(
    features: "pa.RecordBatch | pa.Table | pd.DataFrame", model: Model, reasons: int
) -> pa.RecordBatch:
    """Predict the outcome that the model was trained for, for every row.

    A row's result depends on that row alone, so any way of cutting rows into batches gives the
    same bits.

    Args:
        features: The model's features, (n, any number of columns), any column order.
        model: The model to use.
        reasons: How many reasons to give for each row; they cost about three times
            what the score does.

    Returns:
        (n, 1 + ``reasons``), in the order of ``features``. ``probability`` is a double in [0, 1],
        null for a row with an infinite number. ``reason_1``, ``reason_2``, ... are the features
        that moved the row's log-odds most (exact contributions, of trees by TreeSHAP), as
        ``recency_days = 3 (raises)`` or ``trend missing (lowers)``; contributions that are equal
        as float32 in the order of the schema, null where a contribution is zero or the probability
        is null.

    Raises:
        FeatureMismatch: If a feature the model was trained on is absent.
        ReasonsWrong: If contributions do not add up to the log-odds.
    """
    if not isinstance(features, pa.RecordBatch | pa.Table):
        features = pa.Table.from_pandas(features, preserve_index=False)
    matrix = feature_matrix(features, model.schema)
    infinite = np.isinf(matrix).any(axis=1)
    matrix[infinite] = np.nan

    margin = model.estimator.margin(matrix)
    probability = pa.array(model.calibration.probability(margin), pa.float64(), mask=infinite)
    columns = {"probability": probability}
    if reasons:
        contributions = feature_contributions(matrix, model)
        _check_sums(contributions, model.calibration.log_odds(margin))
        contributions = contributions[:-1]
        contributions[:, infinite] = 0.0
        columns |= reason_texts(matrix, contributions, model.schema, reasons)
    return pa.RecordBatch.from_pydict(columns)


def feature_contributions(matrix: np.ndarray, model: Model) -> np.ndarray:
    """How each feature moves each row's calibrated log-odds.

    Returns:
        (k + 1, n), float64; the last row is what every customer starts from, and a column's sum is
        the log-odds of its probability (to float32 accuracy).
    """
    contributions = model.estimator.contributions(matrix)
    contributions *= model.calibration.slope
    contributions[-1] += model.calibration.intercept
    return contributions


def _check_sums(contributions: np.ndarray, log_odds: np.ndarray) -> None:
    sums = contributions.sum(axis=0)
    wrong = np.flatnonzero(~(np.abs(sums - log_odds) <= SUM_TOLERANCE))
    if len(wrong):
        row = wrong[0]
        raise ReasonsWrong(
            f"the contributions of {len(wrong)} of {len(sums)} rows do not add up to their "
            f"log-odds (row {row}: {sums[row]:.6f} instead of {log_odds[row]:.6f}). Have its trees "
            "splits that models/tree_shap.py does not know? Until it does, set scoring.reasons to "
            "false in params.yaml."
        )
