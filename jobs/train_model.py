"""Fit each kind of model twice, to be judged and to score, and let the first predict the holdout.

Reads artifacts/training_set, writes artifacts/model: both fits of each kind, which dates they were
made from, and holdout_predictions.parquet. Started by DVC: dvc repro train_model.
"""

import logging
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from jobs.entry import job_parser, start
from lake import replacing, write_json
from models.apply import score
from models.fit import fit_model, rows_of
from models.metrics import KINDS, XGBOOST
from models.split import split_by_time
from params import Params, read_params

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.train_model")


def run(params: Params, artifacts: Path) -> dict:
    """Train on ``artifacts/training_set``; the facts are the dates and the number of trees."""
    training, seed = params.training, params.training.seed
    training_set = pq.read_table(artifacts / "training_set" / "training_set.parquet")
    split = split_by_time(
        training_set["as_of"].unique().to_pylist(), training.horizon_days, training.holdout_count
    )
    told = [f"{days[0]} to {days[-1]} ({len(days)})" for days in (split.fit, split.holdout)]
    log.info("fit on the dates %s, judge on %s, fit again on all", *told)

    recipe = (training.calibration_count, params.model, seed)
    judged = {kind: fit_model(training_set, split.fit, kind, *recipe) for kind in KINDS}
    live = {
        kind: fit_model(training_set, split.live, kind, *recipe, rounds=fit.rounds)
        for kind, fit in judged.items()
    }
    rows = {part: rows_of(training_set, dates) for part, dates in asdict(split).items()}
    holdout = rows["holdout"]
    names = ("as_of", "customer_id", "label", "country")
    predictions = holdout.select([name for name in names if name in holdout.column_names])
    for kind, fit in judged.items():
        probability = score(holdout, fit, reasons=0)["probability"]
        predictions = predictions.append_column(f"p_{kind}", probability)

    counts = {part: table.num_rows for part, table in rows.items()}
    with replacing(artifacts / "model") as fresh:
        for name, fits in (("judged", judged), ("live", live)):
            for kind, fit in fits.items():
                (fresh / kind / name).mkdir(parents=True)
                fit.write(fresh / kind / name)
        as_of = {part: [str(day) for day in days] for part, days in asdict(split).items()}
        write_json(fresh / "split.json", {"as_of": as_of, "rows": counts})
        pq.write_table(
            predictions.replace_schema_metadata(None).combine_chunks(),
            fresh / "holdout_predictions.parquet",
            compression="zstd",
        )
    return {"trees": judged[XGBOOST].rounds, "rows": counts}


def main(_arguments) -> dict:
    """Train in the current folder, where DVC has put the training set."""
    return run(read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
