"""A bundle: a model with all that is needed to use it, to judge it and to refuse it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from packaging.version import Version

from lake import read_json
from models.apply import score
from models.bundle_hash import BundleRefused, check_bundle
from models.calibration import Calibration
from models.estimators import Estimator, read_estimator
from models.metrics import XGBOOST
from models.schema import Feature, schema_from_json
from models.season import SEASON, Season, moved, read_levels
from params import Question

# Margins are added up in a fixed order, so they are equal everywhere; the exponential after them
# may differ in its last bit between processors.
GOLDEN_TOLERANCE = 1e-12

LIVE_MODEL, JUDGED_MODEL = "model", "judged"
"""The names of the files of the two fits, without the suffix that follows from their kind."""

JUDGED_PROBABILITY = "judged_probability"

# A customer exactly at the threshold is so on every night: moved score and moved threshold are
# rounded on different ways. Two scores that differ do so by far more.
TIE_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Judged:
    """The fit that answers for the quality of a bundle and never scores a night.

    It was fitted on the dates ``learnt_on``, all of whose labels were known on the first date of
    the holdout. ``threshold`` is the probability that the share to contact reached there.
    """

    schema: tuple[Feature, ...]
    estimator: Estimator
    calibration: Calibration
    threshold: float
    season: Season
    learnt_on: tuple[date, ...]

    def unseen_from(self, horizon_days: int) -> date:
        """The first as-of date on which all that it learnt was known: from there on it may be
        judged."""
        return max(self.learnt_on) + timedelta(days=horizon_days)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that passed all checks, ready to score.

    What scores is the live fit: the same recipe as the judged one, fitted on all dates.
    ``threshold`` is the probability from which a customer is contacted, ``threshold_version``
    the name of that rule, ``contact_share`` the share of the newest date's customers that reached
    it. ``base_rate`` is the share in the holdout for whom the outcome came true: the answer for a
    customer of whom nothing usable is known. ``season`` says by how much all of this moves on a
    night, see ``on``.
    """

    folder: Path
    sha256: str
    model_name: str
    question: Question
    schema: tuple[Feature, ...]
    estimator: Estimator
    calibration: Calibration
    base_rate: float
    threshold: float
    threshold_version: str
    contact_share: float
    season: Season
    judged: Judged

    def on(self, night: date) -> "Bundle":
        """As it scores that night: probabilities, threshold and base rate moved by the season.

        The same customers reach the threshold, whatever the step.
        """
        step = self.season.step(night)
        if step == 0.0:
            return self
        base_rate, threshold = moved(np.array([self.base_rate, self.threshold]), step)
        return replace(
            self,
            calibration=self.calibration.moved(step),
            base_rate=float(base_rate),
            threshold=float(threshold) - TIE_TOLERANCE,
        )

    @property
    def kind(self) -> str:
        """One of ``models.metrics.KINDS``."""
        return self.estimator.kind

    @property
    def horizon_days(self) -> int:
        """Within how many days its outcome comes true, or does not."""
        return self.question.horizon_days

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns the model reads, in the model's order."""
        return tuple(feature.name for feature in self.schema)

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The known values of each column that is a category."""
        return {f.name: f.categories for f in self.schema if f.kind == "category"}


def read_bundle(folder: Path, expected_sha256: str) -> Bundle:
    """The bundle in ``folder``, once it has been found whole, fitting and equal to itself.

    In this order: the hash, because a damaged model file can crash the process that loads it;
    the libraries, because another XGBoost can load a model and silently predict something else;
    the golden rows, because what counts is the scores.

    Raises:
        BundleRefused: If a check fails; says which, and what to do.
    """
    check_bundle(folder, expected_sha256)

    description = read_json(folder / "bundle.json")
    if not {"kind", "question"} <= set(description):
        raise BundleRefused(
            f"the bundle in {folder} does not say what kind of model it holds, or what question it "
            "answers: it was made by older code. Train it anew with this code: python -m "
            "jobs.retrain_model --help"
        )
    if description["kind"] == XGBOOST:
        _check_libraries(folder, description["libraries"])
    levels = read_levels(folder / SEASON)
    bundle = Bundle(
        folder=folder,
        sha256=expected_sha256,
        model_name=description["model_name"],
        question=Question(**description["question"]),
        schema=schema_from_json(description["schema"]),
        estimator=read_estimator(description["kind"], folder / LIVE_MODEL),
        calibration=Calibration(**description["calibration"]),
        base_rate=description["base_rate"],
        threshold=description["threshold"],
        threshold_version=description["threshold_version"],
        contact_share=description["contact_share"],
        season=_season(levels, description),
        judged=_judged(folder, description, levels),
    )
    _check_golden_rows(bundle)
    return bundle


def _season(levels: Mapping[date, float], described: dict) -> Season:
    # Bundles of older code do not say it, and have no levels either.
    days = described.get("calibrated_on", [])
    return Season(levels, tuple(date.fromisoformat(day) for day in days))


def _judged(folder: Path, description: dict, levels: Mapping[date, float]) -> Judged:
    judged = description["judged"]
    return Judged(
        schema=schema_from_json(judged["schema"]),
        estimator=read_estimator(description["kind"], folder / JUDGED_MODEL),
        calibration=Calibration(**judged["calibration"]),
        threshold=judged["threshold"],
        season=_season(levels, judged),
        learnt_on=tuple(date.fromisoformat(day) for day in description["origin"]["as_of"]["fit"]),
    )


def _check_libraries(folder: Path, trained_with: dict[str, str]) -> None:
    trained, here = Version(trained_with["xgboost"]), Version(xgboost.__version__)
    if here < trained or here.release[:2] != trained.release[:2]:
        raise BundleRefused(
            f"the model in {folder} was trained with xgboost {trained}, here is {here}; another "
            "minor version may load it and predict something else. Install the locked "
            "requirements of that model's commit, or retrain with this version."
        )


def _check_golden_rows(bundle: Bundle) -> None:
    golden = pq.read_table(bundle.folder / "golden_rows.parquet")
    for column, model in (("probability", bundle), (JUDGED_PROBABILITY, bundle.judged)):
        expected = golden[column].to_numpy()
        computed = score(golden, model, reasons=0)["probability"].to_numpy(zero_copy_only=False)
        differs = ~(np.abs(computed - expected) <= GOLDEN_TOLERANCE)
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            raise BundleRefused(
                f"{differs.sum()} of {len(expected)} golden rows of {bundle.folder} score "
                f"differently here than when the model was made ({column} of row {row}: "
                f"{computed[row]} instead of {expected[row]}). The code in models/ or an installed "
                "library has changed: score with the commit and the locked requirements of that "
                "model, or retrain."
            )


def read_holdout(folder: Path) -> pa.Table:
    """The rows to judge on: ``as_of``, ``customer_id`` (a number of this table), features, label.

    Raises:
        BundleRefused: If the bundle was made before bundles had them.
    """
    path = folder / "holdout.parquet"
    if not path.exists():
        raise BundleRefused(
            f"the bundle in {folder} holds no rows to judge it on: it was made by older code. "
            "Retrain it with this code, and judge that version: python -m jobs.retrain_model "
            "--help"
        )
    return pq.read_table(path)
