"""Fitting a model: on all rows, calibrated by what it says of customers it has not seen."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

import params
from lake import read_json, write_json
from models.baselines import fit_logistic, fit_recency
from models.calibration import Calibration, calibrate
from models.estimators import Estimator, Trees, read_estimator
from models.metrics import LOGISTIC, RECENCY
from models.schema import (
    Feature,
    describe_features,
    feature_matrix,
    of_each,
    schema_from_json,
    schema_to_json,
)

KEYS = ("as_of", "customer_id", "label")
"""The columns of a training set that are not features."""

# Fixed, so that the order of float additions does not follow the machine's number of cores.
THREADS = 2

FOLDS = 3
"""The parts that customers are dealt into. More would cost as many more fits and change little."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A calibrated model, not yet judged; ``calibrated_on`` are the dates that calibrated it."""

    schema: tuple[Feature, ...]
    estimator: Estimator
    calibration: Calibration
    calibrated_on: tuple[date, ...]

    @property
    def kind(self) -> str:
        """One of ``models.metrics.KINDS``."""
        return self.estimator.kind

    @property
    def rounds(self) -> int | None:
        """The number of trees; None for a model without."""
        return self.estimator.rounds if isinstance(self.estimator, Trees) else None

    def write(self, folder: Path) -> None:
        """Put ``fit.json`` and the estimator's file into ``folder``, which exists."""
        self.estimator.write((folder / "model").with_suffix(self.estimator.suffix))
        description = {
            "kind": self.kind,
            "schema": schema_to_json(self.schema),
            "calibration": asdict(self.calibration),
            "calibrated_on": [str(day) for day in self.calibrated_on],
        }
        write_json(folder / "fit.json", description)

    @classmethod
    def read(cls, folder: Path) -> "FittedModel":
        """What ``write`` put into ``folder``."""
        description = read_json(folder / "fit.json")
        return cls(
            schema_from_json(description["schema"]),
            read_estimator(description["kind"], folder / "model"),
            Calibration(**description["calibration"]),
            tuple(date.fromisoformat(day) for day in description["calibrated_on"]),
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is fitted, whatever it is fitted on.

    ``calibration_count`` is how many of the newest dates calibrate, ``half_life_days`` after how
    many days a date teaches half as much (None: all alike), ``model`` that section of the
    parameters, ``seed`` that of the folds, and of the sampling of rows and columns.
    """

    calibration_count: int
    half_life_days: int | None
    model: params.Model
    seed: int

    @classmethod
    def of(cls, asked: params.Params) -> "Recipe":
        """The recipe that the parameters ask for."""
        training = asked.training
        return cls(training.calibration_count, training.half_life_days, asked.model, training.seed)


class OneOutcome(ValueError):
    """Rows that are to teach a model show only one outcome."""


def rows_of(training_set: pa.Table, dates: Sequence[date]) -> pa.Table:
    """The rows with these as-of dates, ordered by as-of date and customer: the order of rows
    changes the model.

    Raises:
        OneOutcome: If their labels are not both 0 and 1.
    """
    chosen = pc.is_in(training_set["as_of"], pa.array(dates, pa.date32()))
    rows = training_set.filter(chosen)
    rows = rows.sort_by([("as_of", "ascending"), ("customer_id", "ascending")])
    outcomes = sorted(pc.unique(rows["label"]).to_pylist())
    if outcomes != [0, 1]:
        raise OneOutcome(
            f"the {rows.num_rows} rows with as-of dates {', '.join(map(str, dates))} have labels "
            f"{outcomes}, not both 0 and 1: nothing can be learnt from them. Look at the "
            "deliveries of that time, or move training_until in params.yaml."
        )
    return rows


def labels(rows: pa.Table) -> np.ndarray:
    """The label column, int64."""
    return rows["label"].to_numpy().astype(np.int64)


def fit_model(
    training_set: pa.Table, dates: Sequence[date], kind: str, recipe: Recipe
) -> FittedModel:
    """The model that these dates and the recipe ask for; other rows are not looked at.

    Customers are dealt into folds, and those of a fold are scored by a model that the others have
    taught. What these scores say of the newest dates calibrates the model, and finds the number of
    trees: each fold stops when they no longer improve. The model itself learns from all rows.

    Args:
        training_set: As-of date, customer, features and label.
        dates: The as-of dates to learn from.
        kind: One of ``models.metrics.KINDS``.
        recipe: How.

    Raises:
        OneOutcome: If the labels of one part are all equal.
    """
    return fit_and_score_unseen(training_set, dates, kind, recipe)[0]


def fit_and_score_unseen(
    training_set: pa.Table, dates: Sequence[date], kind: str, recipe: Recipe
) -> tuple[FittedModel, np.ndarray]:
    """The model of ``fit_model``, and how it serves customers whom it has not seen.

    Returns:
        The model, and a probability for each row of the dates in the order of ``rows_of``: that
        of the fold which left the customer out, by the model's calibration.

    Raises:
        OneOutcome: If the labels of one part are all equal.
    """
    rows = rows_of(training_set, dates)
    newest = sorted(dates)[-recipe.calibration_count :]
    rows_of(training_set, newest)
    schema = describe_features(
        rows, [name for name in training_set.column_names if name not in KEYS]
    )
    teach = partial(_teach, kind=kind, schema=schema, recipe=recipe)
    matrix, label = feature_matrix(rows, schema), labels(rows)
    weight = _weights(rows["as_of"], recipe.half_life_days)
    folds = _folds(rows["customer_id"], recipe.seed)
    calibrates = pc.is_in(rows["as_of"], pa.array(newest, pa.date32()))
    calibrates = calibrates.to_numpy(zero_copy_only=False)

    margin, found = np.empty(len(label)), []
    for fold in range(FOLDS):
        own, others = folds == fold, folds != fold
        held = calibrates & own
        stopping = (matrix[held], label[held]) if held.any() else None
        fitted = teach(matrix[others], label[others], weight[others], stopping=stopping)
        margin[own] = fitted.margin(matrix[own])
        found.append(fitted.rounds if isinstance(fitted, Trees) else 0)
    estimator = teach(matrix, label, weight, rounds=sorted(found)[FOLDS // 2])
    calibration = calibrate(margin[calibrates], label[calibrates])
    model = FittedModel(schema, estimator, calibration, tuple(newest))
    return model, calibration.probability(margin)


def _teach(
    matrix: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray,
    *,
    kind: str,
    schema: Sequence[Feature],
    recipe: Recipe,
    stopping: tuple[np.ndarray, np.ndarray] | None = None,
    rounds: int | None = None,
) -> Estimator:
    """An estimator of these rows: of so many trees, or they stop when the rows of ``stopping`` are
    served no better."""
    if kind == RECENCY:
        return fit_recency(matrix, label, schema, weight)
    if kind == LOGISTIC:
        return fit_logistic(matrix, label, schema, weight)
    options = {}
    if stopping:
        options = {
            "evals": [(_matrix(*stopping), "held")],
            "early_stopping_rounds": recipe.model.early_stopping_rounds,
        }
    booster = xgboost.train(
        _xgboost_params(recipe.model, recipe.seed),
        _matrix(matrix, label, weight),
        num_boost_round=rounds or recipe.model.max_rounds,
        verbose_eval=False,
        **options,
    )
    return Trees(booster[: booster.best_iteration + 1] if stopping else booster)


def _weights(as_of: pa.ChunkedArray, half_life_days: int | None) -> np.ndarray:
    """How much each row teaches: half as much for every half-life that its date is older than the
    newest one; all the same without a half-life."""
    if half_life_days is None:
        return np.ones(len(as_of), dtype=np.float32)
    newest = pc.max(as_of).as_py()
    # One power for each date, by Python: numpy's may differ in the last bit between processors.
    return of_each(as_of, lambda day: 0.5 ** ((newest - day).days / half_life_days), np.float32)


def _folds(customers: pa.ChunkedArray, seed: int) -> np.ndarray:
    """The fold of each row, 0 to FOLDS - 1: all rows of a customer are in one."""

    def dealt(name: str) -> int:
        return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()[0] % FOLDS

    return of_each(customers, dealt, np.int8)


def _matrix(
    matrix: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None
) -> xgboost.DMatrix:
    return xgboost.DMatrix(matrix, label, weight=weight, missing=np.nan, nthread=THREADS)


def _xgboost_params(model: params.Model, seed: int) -> dict:
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "nthread": THREADS,
        "seed": seed,
        "learning_rate": model.learning_rate,
        "max_depth": model.max_depth,
        "min_child_weight": model.min_child_weight,
        "subsample": model.subsample,
        "colsample_bytree": model.colsample_bytree,
        "reg_lambda": model.reg_lambda,
    }
