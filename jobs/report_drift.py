"""Compare tonight's customers with those the model was judged on.

Reads the run's features and predictions and the reference in the model's bundle, writes the
drift page, drift.json and the warehouse's `drift` rows of the run.
"""

import argparse
import time

import pandas as pd

import catalog
import warehouse
from jobs.entry import run_parser, start
from lake import replacing, write_json
from models import read_bundle
from monitoring import find_drift
from monitoring.report import write_report
from monitoring.sample import sample_scored
from params import Params, read_params
from records import RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)


def run(settings: Settings, params: Params, record: RunRecord) -> dict:
    """Do the job; what tests call. Returns the verdict, the drifted columns and the page.

    Raises:
        FileNotFoundError: If the run has not been published; names the job to run.
        BundleRefused: If the bundle is damaged or does not fit what is installed.
    """
    started = time.perf_counter()
    root = settings.data_root
    # The warehouse knows published runs only; better to say so before anything is computed.
    StageRecord.read(root, record, "publish_predictions")
    bundle = read_bundle(root / "bundles" / record.bundle_sha256, record.bundle_sha256)
    current = sample_scored(
        root / catalog.FEATURES_LAYOUT.format(**record.key),
        catalog.PREDICTIONS.partition(root, **record.key),
        params.drift.sample_rows,
        params.drift.seed,
    )
    reference = pd.read_parquet(bundle.folder / "reference.parquet")
    reference["is_contacted"] = reference["probability"] >= bundle.threshold

    result = find_drift(reference, current, params.drift, bundle.categories)

    folder = root / catalog.REPORTS.format(**record.key) / "drift"
    title = f"{record.score_date}, {record.model_name} {record.model_version}, run {record.run_id}"
    with replacing(folder) as fresh:
        write_report(reference, current, result, params.drift, bundle.categories, fresh, title)
        write_json(fresh / "drift.json", result.as_dict())
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.replace_drift(engine, record.run_id, result.findings)
    facts = {
        "verdict": result.verdict,
        "drifted": result.drifted,
        "report": str(folder / "index.html"),
    }
    seconds = time.perf_counter() - started
    StageRecord(stage="report_drift", seconds=seconds, facts=facts).write(root, record)
    return facts


def main(arguments: argparse.Namespace) -> dict:
    """Compare the run that the command line names."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, read_params(), record)


if __name__ == "__main__":
    start(PARSER, main)
