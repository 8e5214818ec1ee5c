"""Fitting the model: XGBoost on the early dates, calibrated on later ones."""

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
from models.split import Split

KEYS = ("as_of", "customer_id", "label")
"""The columns of a training set that are not features."""

# Fixed, so that the order of float additions does not follow the machine's number of cores.
THREADS = 2


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


def fit_model(training_set: pa.Table, split: Split, model: params.Model, seed: int) -> FittedModel:
    """The model that ``split`` and the parameters ask for; the holdout is not looked at.

    The number of rounds comes from a first fit, on the early dates, that stops when the newest
    fitting date no longer improves. The second fit takes all fitting dates and that number.

    Args:
        training_set: As-of date, customer, features and label.
        split: Which dates to use for what.
        model: The ``model`` section of the parameters.
        seed: Of the sampling of rows and columns.

    Raises:
        OneOutcome: If the labels of one part are all equal.
    """
    fit, calibration = rows_of(training_set, split.fit), rows_of(training_set, split.calibration)
    schema = describe_features(
        fit, [name for name in training_set.column_names if name not in KEYS]
    )

    stopped = xgboost.train(
        _xgboost_params(model, seed),
        _matrix(rows_of(training_set, split.early), schema),
        num_boost_round=model.max_rounds,
        evals=[(_matrix(rows_of(training_set, split.stopping), schema), "stopping")],
        early_stopping_rounds=model.early_stopping_rounds,
        verbose_eval=False,
    )
    rounds = stopped.best_iteration + 1
    booster = xgboost.train(
        _xgboost_params(model, seed), _matrix(fit, schema), num_boost_round=rounds
    )

    margin = booster.inplace_predict(feature_matrix(calibration, schema), predict_type="margin")
    return FittedModel(schema, booster, calibrate(margin, labels(calibration)), rounds)


def _matrix(rows: pa.Table, schema: Sequence[Feature]) -> xgboost.DMatrix:
    return xgboost.DMatrix(
        feature_matrix(rows, schema), labels(rows), missing=np.nan, nthread=THREADS
    )


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
