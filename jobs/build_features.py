"""Describe every active customer at the end of the night's day.

Reads the activity of the deliveries that the run has pinned, and nothing else; writes the run's
features, and who cannot be scored from theirs. First the customers recorded with the model must
come out as they did at training.
"""

import logging

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import catalog
from expectations.features import unscorable, verify_features
from features.activity import ON_TIME, read_activity
from features.build import build_features
from features.golden import check_golden
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from lake import kept, read_pieces, value_sha256, write_sorted
from models.bundle_hash import check_bundle
from params import Params
from records import ActivityRecord, RunRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

log = logging.getLogger(__name__)


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Describe the population of the run; the facts are its size and what was found odd.

    Raises:
        BundleRefused: If the model's bundle is not what was registered.
        FeaturesDiffer: If this code makes other features than the model was trained on.
        FileNotFoundError: If a pinned delivery was not summarised.
        PieceMissing, PieceAltered: If activity of the lake is not as it was written.
        ExpectationsBroken: If the features must not be scored.
    """
    root = settings.data_root
    with recorded(root, record, "build_features", engine_of(spark)) as stage:
        source, active_days = params.source(record.source), params.population.active_days
        bundle = root / "bundles" / record.bundle_sha256
        check_bundle(bundle, record.bundle_sha256)
        golden = check_golden(spark, bundle, source)
        log.info("%d recorded customers came out as they did at training", golden)
        # Two days may have the same intake: those without a line, for instance.
        pieces = {
            f"{day} {intake}": ActivityRecord.read(root, day, intake).activity
            for day, intake in record.all_intakes
        }
        stage.inputs["activity"] = value_sha256({name: one.sha256 for name, one in pieces.items()})
        # What the run has pinned was known in its night.
        known = [(piece, ON_TIME) for piece in pieces.values()]
        activity = read_activity(spark, root, known, source=source)

        features = build_features(activity, [record.score_date], active_days, source).drop("as_of")

        docs = root / catalog.REPORTS.format(**record.key) / "data_docs" / "features"
        # Kept first: to sort, Apache Spark looks at all rows twice, and would compute them twice.
        with kept(unscorable(spark, features), root) as described:
            folder = root / catalog.FEATURES_LAYOUT.format(**record.key)
            written = write_sorted(described.drop("is_scorable"), folder, root, ["customer_id"])
            rejected = described.where(~F.col("is_scorable")).select("customer_id")
            folder = catalog.UNSCORABLE.partition(root, **record.key)
            unscored = write_sorted(rejected, folder, root, ["customer_id"])
            batch, night = read_pieces(spark, root, [written]), record.score_date
            findings = verify_features(batch, docs, night=night, active_days=active_days)
        for finding in findings:
            log.warning("%s", finding)
        stage.pieces = {"features": written, "unscorable": unscored}
        stage.facts = {"population": written.rows, "golden": golden, "findings": findings}
    return stage.facts


if __name__ == "__main__":
    start(PARSER, on_spark("build_features", run))
