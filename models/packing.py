"""Packing a judged model into a bundle, with all that is needed to use it and to judge it."""

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

from intervals import DIGITS
from lake import value_sha256, write_json
from models.apply import score
from models.bundle import JUDGED_MODEL, JUDGED_PROBABILITY, LIVE_MODEL
from models.card import model_card
from models.fit import FittedModel
from models.judge import calibration_curve, judge_groups
from models.metrics import JUDGED
from models.schema import schema_to_json
from models.season import SEASON, YEAR, Season, read_levels
from params import Params

GOLDEN_FEATURES = ("golden_activity.parquet", "golden_features.parquet")
"""Recorded when the training set was built, recomputed every night; carried along unchanged."""

GOLDEN_ROWS = 32

HOLDOUT_ROWS = 100_000
"""The most rows to judge on that a bundle carries."""

LIBRARIES = ("numpy", "pyarrow", "pysail", "pyspark", "scikit-learn", "xgboost")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a bundle was made from. ``as_of`` and ``rows`` are by part of the split; dates are text.

    ``left_out`` are the as-of dates that were asked for and not used, each with the reason.

    The hashes are SHA-256 of ``training_set.parquet``, of the source of ``features/`` and of the
    parameters.
    """

    source: str
    training_until: str
    as_of: dict[str, list[str]]
    rows: dict[str, int]
    left_out: dict[str, str]
    training_set_sha256: str
    features_sha256: str
    params_sha256: str


def write_bundle(
    folder: Path,
    live: FittedModel,
    judged: FittedModel,
    holdout: pa.Table,
    predictions: pd.DataFrame,
    training_set: Path,
    metrics: dict,
    origin: Origin,
    hears: dict,
    params: Params,
) -> None:
    """Put a bundle into ``folder``, which exists; the same arguments give the same bytes.

    Args:
        folder: Where to put it.
        live: The model that will score.
        judged: The model that answers for its quality, which has not seen the holdout.
        holdout: As-of date, customer, features and label, ordered by date and customer. Those of
            the newest date become the reference for drift and the golden rows; a sample of all,
            customers by number, is what this model and another will be judged on.
        predictions: Of the same rows: ``label`` and, by kind, the judged model's probability on
            the night of the row's date.
        training_set: Folder with the golden files of the features, and the season.
        metrics: What ``judge`` found.
        origin: What went in.
        hears: ``power``, ``deaf`` and ``fading``: which changes its monitors notice, for the card.
        params: Name, owner, question, contact share, groups, and the size of the reference.

    Raises:
        GroupUnknown: If ``gate.group_columns`` names something that is no feature.
    """
    share = params.decision.contact_share
    newest = holdout.filter(pc.equal(holdout["as_of"], pc.max(holdout["as_of"])))
    probability, before = (score(newest, fit, reasons=0)["probability"] for fit in (live, judged))
    after, earlier = (each.to_numpy(zero_copy_only=False) for each in (probability, before))
    levels = read_levels(training_set / SEASON)
    season, judged_season = (Season(levels, fit.calibrated_on) for fit in (live, judged))
    # Whom to contact goes by the order of the customers; that the live fit has seen their labels
    # changes the order, not how many a share of them is.
    threshold = contact_threshold(after, share)
    chosen = predictions[f"{JUDGED}{live.kind}"]
    judged_threshold = contact_threshold(chosen.to_numpy(), share)
    description = {
        "kind": live.kind,
        "model_name": params.model.name,
        "owner": params.gate.owner,
        "question": params.training.question.model_dump(),
        "schema": schema_to_json(live.schema),
        "calibration": asdict(live.calibration),
        "calibrated_on": [str(day) for day in live.calibrated_on],
        "season": _steps_to_come(season, newest["as_of"][0].as_py()),
        "rounds": live.rounds,
        "base_rate": float(predictions["label"].mean()),
        "contact_share": share,
        "threshold": threshold,
        "threshold_version": threshold_version(threshold, share),
        "judged": {
            "schema": schema_to_json(judged.schema),
            "calibration": asdict(judged.calibration),
            "calibrated_on": [str(day) for day in judged.calibrated_on],
            "threshold": judged_threshold,
        },
        "second_fit": _second_fit(
            judged_season.move(earlier, newest["as_of"]), season.move(after, newest["as_of"]), share
        ),
        "hears": hears,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "origin": asdict(origin),
        "metrics": metrics["model"],
    }
    predicted = holdout.to_pandas().assign(probability=chosen.to_numpy())
    groups = judge_groups(
        predicted,
        params.gate.group_columns,
        judged_threshold,
        params.gate.min_slice_rows,
        params.training.bootstrap_rounds,
        params.training.seed,
    )
    curve = calibration_curve(predictions["label"], chosen).to_dict("records")
    metrics = metrics | {"groups": groups, "calibration_curve": curve}
    write_json(folder / "bundle.json", description)
    write_json(folder / "metrics.json", metrics)
    for name, fit in ((LIVE_MODEL, live), (JUDGED_MODEL, judged)):
        fit.estimator.write((folder / name).with_suffix(fit.estimator.suffix))
    for file in (*GOLDEN_FEATURES, SEASON):
        shutil.copyfile(training_set / file, folder / file)
    (folder / "model_card.md").write_text(model_card(description, metrics), encoding="utf-8")

    features = newest.select([feature.name for feature in live.schema])
    scored = features.append_column("probability", probability)
    sample = _sample(scored, params.drift.sample_rows, params.drift.seed)
    golden = _spread(scored.append_column(JUDGED_PROBABILITY, before), GOLDEN_ROWS)
    _write_parquet(golden, folder / "golden_rows.parquet")
    _write_parquet(sample, folder / "reference.parquet")
    to_judge = _sample(_without_identity(holdout), HOLDOUT_ROWS, params.training.seed)
    _write_parquet(to_judge, folder / "holdout.parquet")


def _steps_to_come(season: Season, newest: date) -> dict[str, float] | None:
    """By the first days of the months of the year after the newest date, the step of that night;
    None if the season is not known."""
    if not season.is_known:
        return None
    months = [newest.year * 12 + newest.month + n for n in range(12)]
    days = [date(month // 12, month % 12 + 1, 1) for month in months]
    return {str(day): season.step(day) for day in days if day <= newest + YEAR}


def _second_fit(before: np.ndarray, after: np.ndarray, share: float) -> dict[str, float]:
    """What the second fit alone moves on the newest date: the share of customers of whom only one
    of the two fits is among those to contact, and the mean change of the probability."""
    one, other = (p >= contact_threshold(p, share) for p in (before, after))
    return {
        "moved_share": round(float((one != other).mean()), DIGITS),
        "mean_change": round(float(np.nanmean(np.abs(after - before))), DIGITS),
    }


def contact_threshold(probabilities: np.ndarray, contact_share: float) -> float:
    """The probability that the best ``contact_share`` of the rows that have one reach.

    Equal probabilities get one decision: of a run of them at the edge all or none are in,
    whichever comes nearer to the share.

    >>> contact_threshold(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), 0.4)
    0.4
    >>> contact_threshold(np.array([0.1, 0.1, 0.1, 0.1, 0.5]), 0.4)
    0.5
    """
    known = np.sort(probabilities[~np.isnan(probabilities)])
    count = max(1, int(len(known) * contact_share))
    edge = known[-count]
    below, above = np.searchsorted(known, edge), np.searchsorted(known, edge, side="right")
    with_run, without_run = len(known) - below, len(known) - above
    if without_run and with_run - count > count - without_run:
        edge = known[above]
    return float(edge)


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
