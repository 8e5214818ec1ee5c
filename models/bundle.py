"""A bundle: a model with all that is needed to use it, to judge it and to refuse it."""

import importlib.metadata
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from packaging.version import Version

from lake import file_sha256, read_json, value_sha256, write_json
from models.apply import score
from models.calibration import Calibration
from models.card import model_card
from models.fit import FittedModel, read_booster
from models.judge import calibration_curve
from models.schema import Feature, schema_from_json, schema_to_json
from params import Params

GOLDEN_FEATURES = ("golden_activity.parquet", "golden_features.parquet")
"""Recorded when the training set was built, recomputed every night; carried along unchanged."""

GOLDEN_ROWS = 32

# The trees add float32 in a fixed order, so margins are equal everywhere; the exponential after
# them may differ in its last bit between processors.
GOLDEN_TOLERANCE = 1e-12

LIBRARIES = ("numpy", "pyarrow", "pyspark", "scikit-learn", "xgboost")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that passed all checks, ready to score.

    ``threshold`` is the probability from which a customer is contacted, ``threshold_version``
    the name of that rule, ``base_rate`` the share of buyers in the holdout: the answer for a
    customer of whom nothing usable is known.
    """

    folder: Path
    sha256: str
    model_name: str
    horizon_days: int
    schema: tuple[Feature, ...]
    booster: xgboost.Booster
    calibration: Calibration
    base_rate: float
    threshold: float
    threshold_version: str

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns the model reads, in the model's order."""
        return tuple(feature.name for feature in self.schema)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The known values of each column that is a category."""
        return {f.name: f.categories for f in self.schema if f.kind == "category"}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a bundle was made from. ``as_of`` and ``rows`` are by part of the split; dates are text.

    The hashes are SHA-256 of ``training_set.parquet``, of the source of ``features/`` and of the
    parameters.
    """

    source: str
    training_until: str
    as_of: dict[str, list[str]]
    rows: dict[str, int]
    training_set_sha256: str
    features_sha256: str
    params_sha256: str


class BundleRefused(Exception):
    """The bundle must not score: it is damaged, or does not fit what is installed here."""


def bundle_sha256(folder: Path) -> str:
    """The identity of a bundle: a hash over the names and contents of all its files, in hex.

    Raises:
        BundleRefused: If there is no such folder, or nothing in it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise BundleRefused(
            f"no bundle in {folder}. Fetch or build one: python -m jobs.open_run fetches the "
            "champion, dvc repro builds a new one."
        )
    return value_sha256({str(path.relative_to(folder)): file_sha256(path) for path in files})


def read_bundle(folder: Path, expected_sha256: str) -> Bundle:
    """The bundle in ``folder``, once it has been found whole, fitting and equal to itself.

    In this order: the hash, because a damaged model file can crash the process that loads it;
    the libraries, because another XGBoost can load a model and silently predict something else;
    the golden rows, because what counts is the scores.

    Raises:
        BundleRefused: If a check fails; says which, and what to do.
    """
    found = bundle_sha256(folder)
    if found != expected_sha256:
        raise BundleRefused(
            f"the bundle in {folder} has hash {found}, not {expected_sha256}: a file was changed, "
            "lost or added. Remove the folder and run the job again; it is fetched anew."
        )

    description = read_json(folder / "bundle.json")
    _check_libraries(folder, description["libraries"])
    bundle = Bundle(
        folder=folder,
        sha256=found,
        model_name=description["model_name"],
        horizon_days=description["horizon_days"],
        schema=schema_from_json(description["schema"]),
        booster=read_booster(folder / "model.ubj"),
        calibration=Calibration(**description["calibration"]),
        base_rate=description["base_rate"],
        threshold=description["threshold"],
        threshold_version=description["threshold_version"],
    )
    _check_golden_rows(bundle)
    return bundle


def _check_libraries(folder: Path, trained_with: dict[str, str]) -> None:
    trained, here = Version(trained_with["xgboost"]), Version(xgboost.__version__)
    if here < trained or here.release[:2] != trained.release[:2]:
        raise BundleRefused(
            f"the model in {folder} was trained with xgboost {trained}, here is {here}; another "
            "minor version may load it and predict something else. Install the locked "
            "requirements of that model's commit, or train anew with this version."
        )


def _check_golden_rows(bundle: Bundle) -> None:
    golden = pq.read_table(bundle.folder / "golden_rows.parquet")
    expected = golden["probability"].to_numpy()
    computed = score(golden, bundle, reasons=0)["probability"].to_numpy(zero_copy_only=False)
    differs = ~(np.abs(computed - expected) <= GOLDEN_TOLERANCE)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise BundleRefused(
            f"{differs.sum()} of {len(expected)} golden rows of {bundle.folder} score differently "
            f"here than when the model was made (row {row}: {computed[row]} instead of "
            f"{expected[row]}). The code in models/ or an installed library has changed: score "
            "with the commit and the locked requirements of that model, or train anew."
        )


def write_bundle(
    folder: Path,
    model: FittedModel,
    newest: pa.Table,
    predictions: pd.DataFrame,
    golden_features: Path,
    metrics: dict,
    origin: Origin,
    params: Params,
) -> None:
    """Put a bundle into ``folder``, which exists; the same arguments give the same bytes.

    Args:
        folder: Where to put it.
        model: The judged model.
        newest: Features of the newest holdout date, ordered by customer: reference for drift
            and golden rows.
        predictions: Of the whole holdout: ``label`` and ``p_model``.
        golden_features: Folder with the golden files of the features.
        metrics: What ``judge`` found.
        origin: What went in.
        params: Name, horizon, contact share, and the size of the reference.
    """
    share = params.decision.contact_share
    threshold = contact_threshold(predictions["p_model"].to_numpy(), share)
    description = {
        "model_name": params.model.name,
        "horizon_days": params.training.horizon_days,
        "schema": schema_to_json(model.schema),
        "calibration": asdict(model.calibration),
        "rounds": model.rounds,
        "base_rate": float(predictions["label"].mean()),
        "contact_share": share,
        "threshold": threshold,
        "threshold_version": threshold_version(threshold, share),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "origin": asdict(origin),
        "metrics": metrics["model"],
    }
    write_json(folder / "bundle.json", description)
    write_json(folder / "metrics.json", metrics)
    model.booster.save_model(folder / "model.ubj")
    for file in GOLDEN_FEATURES:
        shutil.copyfile(golden_features / file, folder / file)
    curve = calibration_curve(predictions)
    (folder / "model_card.md").write_text(model_card(description, metrics, curve))

    features = newest.select([feature.name for feature in model.schema])
    probability = score(features, model, reasons=0)["probability"]
    scored = features.append_column("probability", probability)
    sample = _sample(scored, params.drift.sample_rows, params.drift.seed)
    _write_parquet(_spread(scored, GOLDEN_ROWS), folder / "golden_rows.parquet")
    _write_parquet(sample, folder / "reference.parquet")


def contact_threshold(probabilities: np.ndarray, contact_share: float) -> float:
    """The probability that the best ``contact_share`` of the rows reach.

    >>> contact_threshold(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), 0.4)
    0.4
    """
    count = max(1, int(len(probabilities) * contact_share))
    return float(np.sort(probabilities)[-count])


def threshold_version(threshold: float, contact_share: float) -> str:
    """The name of a decision rule: 8 hex digits that change when the rule does."""
    return value_sha256({"threshold": threshold, "contact_share": contact_share})[:8]


def _spread(scored: pa.Table, count: int) -> pa.Table:
    """Rows from the lowest score to the highest, evenly over the ranks."""
    order = np.argsort(scored["probability"].to_numpy(), kind="stable")
    positions = np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)
    return scored.take(order[positions])


def _sample(scored: pa.Table, count: int, seed: int) -> pa.Table:
    if scored.num_rows <= count:
        return scored
    chosen = np.random.default_rng(seed).choice(scored.num_rows, count, replace=False)
    return scored.take(np.sort(chosen))


def _write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows.replace_schema_metadata(None).combine_chunks(), path, compression="zstd")
