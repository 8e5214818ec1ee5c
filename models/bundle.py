"""A bundle: a model with all that is needed to use it, to judge it and to refuse it."""

import importlib.metadata
import shutil
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xgboost
from packaging.version import Version

from lake import read_json, value_sha256, write_json
from models.apply import score
from models.calibration import Calibration
from models.card import model_card
from models.fit import FittedModel, read_booster
from models.judge import calibration_curve, judge_groups
from models.schema import Feature, schema_from_json, schema_to_json
from models.store import BundleRefused, bundle_sha256
from params import Params

GOLDEN_FEATURES = ("golden_activity.parquet", "golden_features.parquet")
"""Recorded when the training set was built, recomputed every night; carried along unchanged."""

GOLDEN_ROWS = 32

HOLDOUT_ROWS = 100_000
"""At the most so many rows to judge on are carried along."""

# The trees add float32 in a fixed order, so margins are equal everywhere; the exponential after
# them may differ in its last bit between processors.
GOLDEN_TOLERANCE = 1e-12

LIBRARIES = ("numpy", "pyarrow", "pyspark", "scikit-learn", "xgboost")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that passed all checks, ready to score.

    ``threshold`` is the probability from which a customer is contacted, ``threshold_version``
    the name of that rule, ``contact_share`` the share of the holdout that reached it. ``base_rate``
    is the share of buyers in the holdout: the answer for a customer of whom nothing usable is
    known. ``learnt_on`` are the as-of dates it was fitted and calibrated on.
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
    contact_share: float
    learnt_on: tuple[date, ...]

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
        contact_share=description["contact_share"],
        learnt_on=_learnt_on(description["origin"]["as_of"]),
    )
    _check_golden_rows(bundle)
    return bundle


def _learnt_on(as_of: dict[str, list[str]]) -> tuple[date, ...]:
    return tuple(date.fromisoformat(day) for part in ("fit", "calibration") for day in as_of[part])


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
    holdout: pa.Table,
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
        holdout: As-of date, customer, features and label, ordered by date and customer. Those of
            the newest date become the reference for drift and the golden rows; a sample of all,
            customers by number, is what this model and another will be judged on.
        predictions: Of the same rows: ``label`` and ``p_model``.
        golden_features: Folder with the golden files of the features.
        metrics: What ``judge`` found.
        origin: What went in.
        params: Name, owner, horizon, contact share, groups, and the size of the reference.

    Raises:
        GroupUnknown: If ``gate.group_columns`` names something that is no feature.
    """
    share = params.decision.contact_share
    threshold = contact_threshold(predictions["p_model"].to_numpy(), share)
    description = {
        "model_name": params.model.name,
        "owner": params.gate.owner,
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
    predicted = holdout.to_pandas().assign(probability=predictions["p_model"].to_numpy())
    groups = judge_groups(
        predicted,
        params.gate.group_columns,
        threshold,
        params.gate.min_slice_rows,
        params.training.bootstrap_rounds,
        params.training.seed,
    )
    curve = calibration_curve(predictions).to_dict("records")
    metrics = metrics | {"groups": groups, "calibration_curve": curve}
    write_json(folder / "bundle.json", description)
    write_json(folder / "metrics.json", metrics)
    model.booster.save_model(folder / "model.ubj")
    for file in GOLDEN_FEATURES:
        shutil.copyfile(golden_features / file, folder / file)
    (folder / "model_card.md").write_text(model_card(description, metrics), encoding="utf-8")

    newest = holdout.filter(pc.equal(holdout["as_of"], pc.max(holdout["as_of"])))
    features = newest.select([feature.name for feature in model.schema])
    probability = score(features, model, reasons=0)["probability"]
    scored = features.append_column("probability", probability)
    sample = _sample(scored, params.drift.sample_rows, params.drift.seed)
    _write_parquet(_spread(scored, GOLDEN_ROWS), folder / "golden_rows.parquet")
    _write_parquet(sample, folder / "reference.parquet")
    to_judge = _sample(_without_identity(holdout), HOLDOUT_ROWS, params.training.seed)
    _write_parquet(to_judge, folder / "holdout.parquet")


def read_holdout(folder: Path) -> pa.Table:
    """The rows to judge on: ``as_of``, ``customer_id`` (a number of this table), features, label.

    Raises:
        BundleRefused: If the bundle was made before bundles had them.
    """
    path = folder / "holdout.parquet"
    if not path.exists():
        raise BundleRefused(
            f"the bundle in {folder} holds no rows to judge it on: it was made by older code. "
            "Train it anew with this code, and judge that version: python -m jobs.retrain_model "
            "--help"
        )
    return pq.read_table(path)


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


def _without_identity(holdout: pa.Table) -> pa.Table:
    """The rows with a number in place of the customer: the bootstrap must know whose rows they are,
    and nobody who they are."""
    numbers, _ = pd.factorize(holdout["customer_id"].to_pandas(), sort=True)
    position = holdout.column_names.index("customer_id")
    return holdout.set_column(position, "customer_id", pa.array(numbers, pa.int32()))


def _sample(rows: pa.Table, count: int, seed: int) -> pa.Table:
    if rows.num_rows <= count:
        return rows
    chosen = np.random.default_rng(seed).choice(rows.num_rows, count, replace=False)
    return rows.take(np.sort(chosen))


def _write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows.replace_schema_metadata(None).combine_chunks(), path, compression="zstd")
