"""Compare tonight's customers with those the model was judged on, and with those of weeks before.

Scores are compared as they are before the season moves them: by how much it does is known, and no
news of the customers. Reads the run's features and predictions, the reference and the thresholds in
the model's bundle, and the trailing nights of the same weekday; writes the drift page, drift.json
and the warehouse's `drift` rows of the run.
"""

import argparse
import logging
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

import catalog
import warehouse
from jobs.entry import run_parser, start
from lake import check_pieces, read_json, replacing, write_json
from models.apply import score
from models.bundle import Bundle, read_bundle
from models.schema import FeatureMismatch
from monitoring.drift import (
    DRIFT_THRESHOLDS,
    DriftFinding,
    Thresholds,
    find_drift_of_both,
    verdict_of_both,
)
from monitoring.sample import sample_scored
from params import Params
from records import RunRecord, StageRecord, recorded
from sealed import RecordOutdated
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger("jobs.report_drift")


def run(settings: Settings, params: Params, record: RunRecord) -> dict:
    """Do the job; what tests call. Returns the verdict, the drifted columns and the page.

    Raises:
        FileNotFoundError: If the run has not been published; names the job to run.
        BundleRefused: If the bundle is damaged or does not fit what is installed.
    """
    root = settings.data_root
    # The warehouse knows published runs only; better to say so before anything is computed.
    StageRecord.read(root, record, "publish_predictions")
    with recorded(root, record, "report_drift") as stage:
        stage.facts = report(settings, params, record)
    return stage.facts


def report(settings: Settings, params: Params, record: RunRecord) -> dict:
    """Compare the night, keep what was found, and draw the page; the facts."""
    root = settings.data_root
    bundle = read_bundle(root / "bundles" / record.bundle_sha256, record.bundle_sha256)
    thresholds = Thresholds(**read_json(bundle.folder / DRIFT_THRESHOLDS)).on(record.score_date)
    engine = warehouse.connect(settings.warehouse_url)
    current = sample(root, params, record, bundle)
    reference = pd.read_parquet(bundle.folder / "reference.parquet")
    reference["is_contacted"] = reference["probability"] >= bundle.threshold
    before = same_weekday(engine, root, params, record, bundle)

    result, lately = find_drift_of_both(
        reference, before, current, thresholds, params.drift, bundle.categories
    )
    findings: dict[str, list[DriftFinding]] = {"reference": result.findings}
    if lately is not None:
        findings["same_weekday"] = lately.findings
    verdict = verdict_of_both(result, lately)

    # What was found is kept even where the page cannot be drawn.
    warehouse.replace_drift(engine, record.run_id, findings)
    # Evidently takes seconds to import.
    from monitoring.dashboard import add_night
    from monitoring.report import comparison, write_page

    folder = root / catalog.REPORTS.format(**record.key) / "drift"
    title = f"{record.score_date}, {record.model_name} {record.model_version}, run {record.run_id}"
    snapshot = comparison(reference, current, result, bundle.categories, title, lately)
    against = {"reference": result.as_dict(), "same_weekday": lately and lately.as_dict()}
    with replacing(folder) as fresh:
        write_page(snapshot, fresh)
        write_json(fresh / "drift.json", {"verdict": verdict, **against})
    try:
        add_night(
            root / catalog.DASHBOARD,
            record.model_name,
            record.run_id,
            record.score_date,
            reference,
            current,
            result,
            bundle.categories,
            warehouse.missing_shares(engine, record.run_id),
        )
    except Exception:
        # The page and the warehouse have it all; the dashboard is a convenience.
        log.exception("the night is not on the dashboard in %s", root / catalog.DASHBOARD)
    return {
        "verdict": verdict,
        "score": result.score,
        "deaf": list(thresholds.deaf),
        "drifted": result.drifted,
        "against_reference": result.verdict,
        "against_same_weekday": lately.verdict if lately else "no_nights",
        "report": str(folder / "index.html"),
    }


def sample(root: Path, params: Params, record: RunRecord, bundle: Bundle) -> pd.DataFrame:
    """Some customers of a run, with features and what the model in ``bundle`` says of them.

    Raises:
        FeatureMismatch: If the run was scored by another model and lacks a feature of this one.
    """
    described = StageRecord.read(root, record, "build_features").pieces["features"]
    scored = StageRecord.read(root, record, "score_customers").pieces["predictions"]
    rows = sample_scored(
        check_pieces(root, [described], f"Make it again: {record.command('build_features')}"),
        check_pieces(root, [scored], f"Make it again: {record.command('score_customers')}"),
        params.drift.sample_rows,
        params.drift.seed,
    )
    is_by_this_one = record.bundle_sha256 == bundle.sha256 and record.challenger is None
    if is_by_this_one and bundle.season.step(record.score_date) == 0.0:
        return rows
    # Readers got another model's scores, for all of the customers or for some, or they were moved.
    probability = score(rows, bundle, reasons=0)["probability"].to_numpy()
    return rows.assign(probability=probability, is_contacted=probability >= bundle.threshold)


def same_weekday(
    engine: sa.Engine, root: Path, params: Params, record: RunRecord, bundle: Bundle
) -> pd.DataFrame | None:
    """Customers of the trailing nights of the same weekday, as many of each; None without any.

    Left out are nights whose features were wrong, those without a feature that tonight's model
    reads, and those that the lake no longer has.
    """
    samples = []
    weekdays = warehouse.weekdays_before(record.score_date, params.drift.weekday_nights)
    wrong = warehouse.incidents(engine, weekdays[-1], weekdays[0])
    for night in weekdays:
        run_id = warehouse.judged_runs(engine, night, night).get(night)
        if run_id is None or any(dataset == "features" for dataset, _ in wrong.get(night, ())):
            continue
        try:
            samples.append(sample(root, params, RunRecord.read(root, night, run_id), bundle))
        except (FileNotFoundError, FeatureMismatch, RecordOutdated) as error:
            log.warning("%s is not compared with: %s", night, error)
    return pd.concat(samples, ignore_index=True) if samples else None


def main(arguments: argparse.Namespace) -> dict:
    """Compare the run that the command line names."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, record.pinned_params, record)


if __name__ == "__main__":
    start(PARSER, main)
