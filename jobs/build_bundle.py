"""Put the chosen model together with all that is needed to use it.

Reads artifacts/model, artifacts/evaluation, artifacts/training_set and the training window,
writes artifacts/bundle. Started by DVC.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.build import FEATURES, SEASONAL, features_sha256, names_of
from jobs.entry import job_parser, start
from lake import file_sha256, read_json, replacing, value_sha256, write_json
from models.apply import score
from models.bundle import read_bundle
from models.bundle_hash import bundle_sha256
from models.choice import choice_text
from models.fit import FittedModel, rows_of
from models.metrics import LIVE
from models.packing import Origin, contact_threshold, write_bundle
from monitoring.drift import DRIFT_THRESHOLDS, Thresholds
from monitoring.performance import ESTIMATE_BIAS, estimate_bias
from monitoring.placebo import placebo_thresholds
from params import Params, read_params

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.build_bundle")


def run(params: Params, artifacts: Path) -> dict:
    """Build ``artifacts/bundle``; the facts are its kind, its hash and its decision rule."""
    metrics = read_json(artifacts / "evaluation" / "metrics.json")
    split = read_json(artifacts / "model" / "split.json")
    window = read_json(artifacts / "training_window.json")
    chosen = metrics["chosen"]
    live, judged = (
        FittedModel.read(artifacts / "model" / chosen / name) for name in ("live", "judged")
    )
    predictions, unseen = (
        pd.read_parquet(artifacts / "model" / f"{name}_predictions.parquet")
        for name in ("holdout", "unseen")
    )
    training_set = artifacts / "training_set" / "training_set.parquet"
    holdout = rows_of(pq.read_table(training_set), sorted(predictions["as_of"].unique()))

    origin = Origin(
        source=window["source"],
        training_until=window["training_until"],
        as_of=split["as_of"],
        rows=split["rows"],
        left_out=read_json(training_set.parent / "left_out.json"),
        training_set_sha256=file_sha256(training_set),
        features_sha256=features_sha256(),
        params_sha256=training_params_sha256(params, window["source"]),
    )

    thresholds = quiet_thresholds(pq.read_table(training_set), live, params)
    hears = {name: getattr(thresholds, name) for name in ("power", "deaf", "fading")}
    with replacing(artifacts / "bundle") as fresh:
        fresh.mkdir()
        write_bundle(
            *(fresh, live, judged, holdout, predictions, training_set.parent),
            *(metrics, origin, hears, with_its_groups(params, window["source"])),
        )
        write_json(fresh / DRIFT_THRESHOLDS, thresholds.as_dict())
        write_json(
            fresh / ESTIMATE_BIAS,
            promised_too_much(unseen["as_of"], unseen[f"{LIVE}{chosen}"], unseen["label"], params),
        )
        bundle = read_bundle(fresh, bundle_sha256(fresh))
    log.info("%s", choice_text(metrics, params.training.question))
    return {
        "kind": bundle.kind,
        "bundle_sha256": bundle.sha256,
        "threshold": bundle.threshold,
        "threshold_version": bundle.threshold_version,
    }


def with_its_groups(params: Params, source: str) -> Params:
    """``params`` without those of ``gate.group_columns`` that are over columns the source lacks."""
    absent = {one.__name__ for one in FEATURES} - set(names_of(params.source(source)))
    columns = [name for name in params.gate.group_columns if name not in absent]
    gate = params.gate.model_copy(update={"group_columns": columns})
    return params.model_copy(update={"gate": gate})


def promised_too_much(
    as_of: pd.Series, promised: pd.Series, labels: pd.Series, params: Params
) -> dict:
    """How far what scores promise of the training's dates is from what the labels say.

    Args:
        as_of: The date of each row.
        promised: By the live fit, which will score, for customers that it has not seen; the judged
            fit has a calibration of its own, and other faults.
        labels: 0 or 1.
        params: The share to contact, and how performance is measured.
    """

    def dates() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for _, probability in promised.groupby(as_of, sort=True):
            threshold = contact_threshold(probability.to_numpy(), params.decision.contact_share)
            label = labels[probability.index].to_numpy()
            yield probability.to_numpy(), probability.to_numpy() >= threshold, label

    return estimate_bias(dates(), params.performance, params.training.seed).as_dict()


def quiet_thresholds(rows: pa.Table, model: FittedModel, params: Params) -> Thresholds:
    """When to call a night drifted, from how much the dates of the training set differ."""
    names = [feature.name for feature in model.schema]
    described = rows.select(["as_of", *names]).to_pandas()
    described["probability"] = score(rows, model, reasons=0)["probability"].to_numpy()
    categories = [feature.name for feature in model.schema if feature.kind == "category"]
    seasonal = [name for name in SEASONAL if name in names]
    return placebo_thresholds(
        described, params.drift, categories, params.training.horizon_days, seasonal
    )


def training_params_sha256(params: Params, source: str) -> str:
    """Hash of the parameters that a bundle depends on: not of those that only scoring reads."""
    sections = params.model_dump(
        mode="json", include={"population", "training", "model", "decision", "drift"}
    )
    return value_sha256(sections | {"source": params.source(source).model_dump(mode="json")})


def main(_arguments) -> dict:
    """Build in the current folder, where DVC has put what is needed."""
    return run(read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
