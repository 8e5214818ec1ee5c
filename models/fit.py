"""Fitting a model: XGBoost on all rows, calibrated by what it says of customers it has not seen."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

import params
from lake import read_json, write_json
from models.apply import read_booster
from models.calibration import Calibration, calibrate
from models.schema import (
    Feature,
    describe_features,
    feature_matrix,
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
    """A calibrated model, not yet judged."""

    schema: tuple[Feature, ...]
    booster: xgboost.Booster
    calibration: Calibration
    rounds: int

    def write(self, folder: Path) -> None:
        """Put ``model.ubj`` and ``model.json`` into ``folder``, which exists."""
        self.booster.save_model(folder / "model.ubj")
        description = {
            "schema": schema_to_json(self.schema),
            "calibration": asdict(self.calibration),
            "rounds": self.rounds,
        }
        write_json(folder / "model.json", description)

    @classmethod
    def read(cls, folder: Path) -> "FittedModel":
        """What ``write`` put into ``folder``."""
        description = read_json(folder / "model.json")
        return cls(
            schema_from_json(description["schema"]),
            read_booster(folder / "model.ubj"),
            Calibration(**description["calibration"]),
            description["rounds"],
        )


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
    training_set: pa.Table,
    dates: Sequence[date],
    calibration_count: int,
    model: params.Model,
    seed: int,
    rounds: int | None = None,
) -> FittedModel:
    """The model that these dates and the parameters ask for; other rows are not looked at.

    Customers are dealt into folds, and those of a fold are scored by trees that the others have
    taught. What these scores say of the newest dates calibrates the model, and finds the number of
    rounds: each fold stops when they no longer improve. The model itself learns from all rows.

    Args:
        training_set: As-of date, customer, features and label.
        dates: The as-of dates to learn from.
        calibration_count: How many of them, the newest, calibrate.
        model: The ``model`` section of the parameters.
        seed: Of the folds, and of the sampling of rows and columns.
        rounds: The number of trees; None to find it.

    Raises:
        OneOutcome: If the labels of one part are all equal.
    """
    rows = rows_of(training_set, dates)
    rows_of(training_set, sorted(dates)[-calibration_count:])
    schema = describe_features(
        rows, [name for name in training_set.column_names if name not in KEYS]
    )
    matrix, label = feature_matrix(rows, schema), labels(rows)
    folds = _folds(rows["customer_id"], seed)
    newest = pc.is_in(rows["as_of"], pa.array(sorted(dates)[-calibration_count:], pa.date32()))
    newest = newest.to_numpy(zero_copy_only=False)

    xgboost_params = _xgboost_params(model, seed)
    margin, found = np.empty(len(label), dtype=np.float32), []
    for fold in range(FOLDS):
        stopping = {}
        held = newest & (folds == fold)
        others = _matrix(matrix, label, folds != fold)
        if rounds is None:
            stopping = {
                "evals": [(_matrix(matrix, label, held), "held")],
                "early_stopping_rounds": model.early_stopping_rounds,
            }
        fitted = xgboost.train(
            xgboost_params,
            others,
            num_boost_round=rounds or model.max_rounds,
            verbose_eval=False,
            **stopping,
        )
        found.append(fitted.best_iteration + 1 if rounds is None else rounds)
        margin[held] = fitted.inplace_predict(
            matrix[held], iteration_range=(0, found[-1]), predict_type="margin"
        )
    rounds = sorted(found)[FOLDS // 2]
    booster = xgboost.train(
        xgboost_params, _matrix(matrix, label, slice(None)), num_boost_round=rounds
    )
    return FittedModel(schema, booster, calibrate(margin[newest], label[newest]), rounds)


def _folds(customers: pa.ChunkedArray, seed: int) -> np.ndarray:
    """The fold of each row, 0 to FOLDS - 1: all rows of a customer are in one."""
    encoded = customers.combine_chunks().dictionary_encode()
    dealt = [
        hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()[0] % FOLDS
        for name in encoded.dictionary.to_pylist()
    ]
    return np.array(dealt, dtype=np.int8)[encoded.indices.to_numpy()]


def _matrix(matrix: np.ndarray, label: np.ndarray, chosen: np.ndarray | slice) -> xgboost.DMatrix:
    return xgboost.DMatrix(matrix[chosen], label[chosen], missing=np.nan, nthread=THREADS)


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
