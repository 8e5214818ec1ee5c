"""Judge the candidates side by side on the holdout, and choose one.

Reads artifacts/model/holdout_predictions.parquet, writes artifacts/evaluation: metrics.json
(dvc metrics show), calibration.csv and lift.csv (dvc plots show). Started by DVC.
"""

import logging
from pathlib import Path

import pandas as pd

from jobs.entry import job_parser, start
from lake import replacing, write_json
from models.judge import calibration_curve, judge, lift_curve
from params import Params, read_params

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.evaluate_model")


def run(params: Params, artifacts: Path) -> dict:
    """Judge what is in ``artifacts/model``; the facts are what was chosen and its main metrics."""
    predictions = pd.read_parquet(artifacts / "model" / "holdout_predictions.parquet")

    training, control_share = params.training, params.decision.control_share
    metrics = judge(predictions, training.bootstrap_rounds, training.seed, control_share)
    curve = calibration_curve(predictions["label"], predictions[f"p_{metrics['chosen']}"])
    with replacing(artifacts / "evaluation") as fresh:
        write_json(fresh / "metrics.json", metrics)
        curve.to_csv(fresh / "calibration.csv", index=False)
        lift_curve(predictions).to_csv(fresh / "lift.csv", index=False)
    return {
        "chosen": metrics["chosen"],
        **{metric: entry["value"] for metric, entry in metrics["model"].items()},
    }


def main(_arguments) -> dict:
    """Judge in the current folder, where DVC has put the model."""
    return run(read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
