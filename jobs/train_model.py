"""Fit each kind of model twice, to be judged and to score, and let both predict the holdout.

Reads artifacts/training_set, writes artifacts/model: both fits of each kind, which dates they were
made from, holdout_predictions.parquet, and unseen_predictions.parquet: of all dates, what the live
fit says of customers that it has not seen (each is scored by a fit of the same recipe which left
the customer out). All as on the night of the row's date, moved by the season. Started by DVC: dvc
repro train_model.
"""

import logging
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.entry import job_parser, start
from lake import replacing, write_json
from models.apply import score
from models.fit import Recipe, fit_and_score_unseen, fit_model, rows_of
from models.metrics import JUDGED, KINDS, LIVE, XGBOOST
from models.season import SEASON, Season, read_levels
from models.split import split_by_time
from params import Params, read_params

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.train_model")


def run(params: Params, artifacts: Path) -> dict:
    """Train on ``artifacts/training_set``; the facts are the dates and the number of trees."""
    training = params.training
    training_set = pq.read_table(artifacts / "training_set" / "training_set.parquet")
    levels = read_levels(artifacts / "training_set" / SEASON)
    split = split_by_time(
        training_set["as_of"].unique().to_pylist(), training.horizon_days, training.holdout_count
    )
    told = [f"{days[0]} to {days[-1]} ({len(days)})" for days in (split.fit, split.holdout)]
    log.info("fit on the dates %s, judge on %s, fit again on all", *told)

    rows = {part: rows_of(training_set, dates) for part, dates in asdict(split).items()}
    holdout, recipe = rows["holdout"], Recipe.of(params)
    judged, live, unseen = {}, {}, rows["live"].select(["as_of", "label"])
    names = ("as_of", "customer_id", "label", "country")
    predictions = holdout.select([name for name in names if name in holdout.column_names])
    for kind in KINDS:
        judged[kind] = fit_model(training_set, split.fit, kind, recipe)
        live[kind], promised = fit_and_score_unseen(training_set, split.live, kind, recipe)
        season = Season(levels, judged[kind].calibrated_on)
        probability = score(holdout, judged[kind], reasons=0)["probability"]
        probability = season.move(probability.to_numpy(zero_copy_only=False), holdout["as_of"])
        predictions = predictions.append_column(f"{JUDGED}{kind}", pa.array(probability))
        season = Season(levels, live[kind].calibrated_on)
        promised = season.move(promised, unseen["as_of"])
        # The holdout has the newest dates, so its rows are the last.
        newest = pa.array(promised[-holdout.num_rows :])
        predictions = predictions.append_column(f"{LIVE}{kind}", newest)
        unseen = unseen.append_column(f"{LIVE}{kind}", pa.array(promised))

    counts = {part: table.num_rows for part, table in rows.items()}
    with replacing(artifacts / "model") as fresh:
        for name, fits in (("judged", judged), ("live", live)):
            for kind, fit in fits.items():
                (fresh / kind / name).mkdir(parents=True)
                fit.write(fresh / kind / name)
        as_of = {part: [str(day) for day in days] for part, days in asdict(split).items()}
        write_json(fresh / "split.json", {"as_of": as_of, "rows": counts})
        for name, table in (("holdout", predictions), ("unseen", unseen)):
            table = table.replace_schema_metadata(None).combine_chunks()
            pq.write_table(table, fresh / f"{name}_predictions.parquet", compression="zstd")
    return {"trees": live[XGBOOST].rounds, "rows": counts}


def main(_arguments) -> dict:
    """Train in the current folder, where DVC has put the training set."""
    return run(read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
