"""Applying a model: probabilities, and the reasons for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import xgboost

from models.calibration import Calibration
from models.schema import Feature, feature_matrix

if TYPE_CHECKING:
    import pandas as pd


class Model(Protocol):
    """What scoring needs of a model; a bundle has it, and so has one just fitted."""

    @property
    def schema(self) -> Sequence[Feature]:
        """What it reads, in its order."""

    @property
    def booster(self) -> xgboost.Booster:
        """Gives the margin."""

    @property
    def calibration(self) -> Calibration:
        """Makes a probability of it."""


def read_booster(path: Path) -> xgboost.Booster:
    """The booster in the file, predicting on one thread: workers share the cores already."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(path)
    return booster


def score(
    features: "pa.RecordBatch | pa.Table | pd.DataFrame", model: Model, reasons: int
) -> pa.RecordBatch:
    """Predict a purchase within the horizon for every row.

    A row's result depends on that row alone, so any way of cutting rows into batches gives the
    same bits.

    Args:
        features: The model's features, (n, any number of columns), any column order.
        model: The model to use.
        reasons: How many reasons to give for each row; they cost a hundred times the score.

    Returns:
        (n, 1 + ``reasons``), in the order of ``features``. ``probability`` is a double in [0, 1],
        null for a row with an infinite number. ``reason_1``, ``reason_2``, ... are the features
        that moved the row's log-odds most (exact TreeSHAP contributions), as
        ``recency_days = 3 (raises)`` or ``trend missing (lowers)``; equal contributions in the
        order of the schema, null where a contribution is zero or the probability is null.

    Raises:
        FeatureMismatch: If a feature the model was trained on is absent.
    """
    if not isinstance(features, pa.RecordBatch | pa.Table):
        features = pa.Table.from_pandas(features, preserve_index=False)
    matrix = feature_matrix(features, model.schema)
    infinite = np.isinf(matrix).any(axis=1)
    matrix[infinite] = np.nan

    margin = model.booster.inplace_predict(matrix, predict_type="margin")
    probability = pa.array(model.calibration.probability(margin), pa.float64(), mask=infinite)
    columns = {"probability": probability}
    if reasons:
        contributions = feature_contributions(matrix, model)[:, :-1]
        contributions[infinite] = 0.0
        columns |= _reasons(matrix, contributions, model.schema, reasons)
    return pa.RecordBatch.from_pydict(columns)


def feature_contributions(matrix: np.ndarray, model: Model) -> np.ndarray:
    """How each feature moves each row's calibrated log-odds.

    Returns:
        (n, k + 1), float64; the last column is what every row starts from, and a row's sum is
        the log-odds of its probability (to float32 accuracy).
    """
    # The number of threads of a DMatrix is its own, not the booster's.
    rows = xgboost.DMatrix(matrix, missing=np.nan, nthread=1)
    contributions = model.booster.predict(rows, pred_contribs=True).astype(np.float64)
    contributions *= model.calibration.slope
    contributions[:, -1] += model.calibration.intercept
    return contributions


def _reasons(
    matrix: np.ndarray, contributions: np.ndarray, schema: Sequence[Feature], count: int
) -> dict[str, pa.Array]:
    rows = np.arange(len(matrix))
    strongest = np.argsort(-np.abs(contributions), axis=1, kind="stable")
    columns = {}
    for rank in range(count):
        texts = np.full(len(matrix), None, dtype=object)
        chosen = strongest[:, rank] if rank < len(schema) else np.zeros_like(rows)
        contribution = contributions[rows, chosen] if rank < len(schema) else np.zeros(len(rows))
        for position in np.unique(chosen):
            for sign, verb in ((1.0, "raises"), (-1.0, "lowers")):
                here = (chosen == position) & (np.sign(contribution) == sign)
                values, which = np.unique(matrix[here, position], return_inverse=True)
                phrases = [f"{_phrase(schema[position], value)} ({verb})" for value in values]
                texts[here] = np.array(phrases, dtype=object)[which]
        columns[f"reason_{rank + 1}"] = pa.array(texts, pa.string())
    return columns


def _phrase(feature: Feature, value: np.float32) -> str:
    """The feature and its value, e.g. ``recency_days = 3`` or ``country missing``."""
    if np.isnan(value):
        return f"{feature.name} missing"
    if feature.kind == "category":
        return f"{feature.name} = {feature.categories[int(value)]}"
    # Whole numbers in full; others to three significant digits, as a person would say them.
    text = f"{value:.0f}" if value == np.round(value) or abs(value) >= 1000 else f"{value:.3g}"
    return f"{feature.name} = {text}"
