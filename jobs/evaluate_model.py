"""Judge the candidates side by side on the holdout, and choose one.

Reads artifacts/model/holdout_predictions.parquet, writes artifacts/evaluation: metrics.json with
all of it, summary.json with what one compares (dvc metrics show, dvc metrics diff), and pictures:
calibration.svg and lift.svg (dvc plots show). Started by DVC.
"""

import logging
from pathlib import Path

import pandas as pd

from jobs.entry import job_parser, start
from lake import replacing, write_json
from models.judge import calibration_curve, judge, lift_curve
from models.metrics import JUDGED, METRICS
from models.pictures import calibration_picture, lift_picture
from params import Params, read_params

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.evaluate_model")


def run(params: Params, artifacts: Path) -> dict:
    """Judge what is in ``artifacts/model``; the facts are what was chosen and its main metrics."""
    predictions = pd.read_parquet(artifacts / "model" / "holdout_predictions.parquet")

    training, control_share = params.training, params.decision.control_share
    metrics = judge(predictions, training.bootstrap_rounds, training.seed, control_share)
    curve = calibration_curve(predictions["label"], predictions[f"{JUDGED}{metrics['chosen']}"])
    with replacing(artifacts / "evaluation") as fresh:
        write_json(fresh / "metrics.json", metrics)
        write_json(fresh / "summary.json", summary(metrics))
        for name, picture in (
            ("calibration", calibration_picture(curve, training.question)),
            ("lift", lift_picture(lift_curve(predictions), training.question)),
        ):
            (fresh / f"{name}.svg").write_text(picture, encoding="utf-8")
    return {
        "chosen": metrics["chosen"],
        **{metric: entry["value"] for metric, entry in metrics["model"].items()},
    }


def summary(metrics: dict) -> dict:
    """The chosen model in figures few enough to be read beside those of another training."""
    model = metrics["model"]
    return {
        "chosen": metrics["chosen"],
        **{name: round(model[name]["value"], 4) for name in METRICS},
        "calibration_error": round(model["expected_calibration_error"]["value"], 4),
        "rows": metrics["holdout"]["rows"],
        "bought": round(metrics["holdout"]["base_rate"], 4),
    }


def main(_arguments) -> dict:
    """Judge in the current folder, where DVC has put the model."""
    return run(read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
