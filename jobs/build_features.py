"""Describe every active customer at the end of the night's day.

Reads the activity of the deliveries that the run has pinned, and nothing else; writes the run's
features. First the customers recorded with the model must come out as they did at training.
"""

import logging
import time

from pyspark.sql import SparkSession

import catalog
from expectations.features import verify_features
from features.activity import read_activity
from features.build import build_features
from features.golden import check_golden
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from lake import kept, read_parquet, replacing, write_sorted
from params import Params
from records import RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Describe the population of the run; the facts are its size and what was found odd.

    Raises:
        FeaturesDiffer: If this code makes other features than the model was trained on.
        FileNotFoundError: If activity of a pinned delivery is not in the lake.
        ExpectationsBroken: If the features must not be scored.
    """
    started = time.monotonic()
    root, active_days = settings.data_root, params.population.active_days
    golden = check_golden(spark, root / "bundles" / record.bundle_sha256)
    log.info("%d recorded customers came out as they did at training", golden)
    partitions = [
        catalog.ACTIVITY.partition(root, known_on=day, delivery_id=delivery_id)
        for day, delivery_id in record.deliveries.items()
    ]
    activity = read_activity(spark, partitions)

    features = build_features(activity, [record.score_date], active_days).drop("as_of")

    docs = root / catalog.REPORTS.format(**record.key) / "data_docs" / "features"
    # Kept first: to sort, Apache Spark looks at all rows twice, and would compute them twice.
    with (
        kept(features, root) as described,
        replacing(root / catalog.FEATURES_LAYOUT.format(**record.key)) as fresh,
    ):
        population = write_sorted(described, fresh, ["customer_id"])
        findings = verify_features(read_parquet(spark, [fresh]), docs, active_days)
    for finding in findings:
        log.warning("%s", finding)
    facts = {"population": population, "golden": golden, "findings": findings}
    seconds = time.monotonic() - started
    StageRecord(
        stage="build_features", seconds=seconds, facts=facts, engine=engine_of(spark)
    ).write(root, record)
    return facts


if __name__ == "__main__":
    start(PARSER, on_spark("build_features", run))
