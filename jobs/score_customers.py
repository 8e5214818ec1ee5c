"""Score every customer of the population with the model that the run has pinned.

Reads the run's features, its bundle and the previous run's predictions, writes the run's
predictions. A customer who cannot be scored keeps the previous score, else gets the prior.
"""

import time
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from expectations import unscorable, verify_predictions
from jobs.entry import run_parser, start
from jobs.session import on_spark
from lake import replacing
from models.batches import SCORES_SCHEMA, batch_scorer
from models.bundle import Bundle, read_bundle
from params import Params
from records import RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)

HISTOGRAM_BINS = 20


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Score the population of the run; the facts are counts by status and the score histogram.

    Raises:
        BundleRefused: If the bundle is damaged or does not fit what is installed.
        ExpectationsBroken: If the predictions must not be published.
    """
    started = time.perf_counter()
    root = settings.data_root
    bundle_folder = root / "bundles" / record.bundle_sha256
    bundle = read_bundle(bundle_folder, record.bundle_sha256)
    features = spark.read.parquet(str(root / catalog.FEATURES_LAYOUT.format(**record.key)))
    previous = previous_scores(spark, root, record.previous_run_id)

    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", params.scoring.batch_rows)
    reasons = params.scoring.reason_count if params.scoring.reasons else 0
    scorer = batch_scorer(bundle_folder, bundle.sha256, reasons)
    scores = unscorable(spark, features).mapInArrow(scorer, SCORES_SCHEMA)
    # Deciles need all scores before the first row is written; scoring twice would cost more.
    scores = fill_gaps(scores, previous, bundle.base_rate).persist()
    predictions = decide(scores, bundle)

    docs = root / catalog.REPORTS.format(**record.key) / "data_docs" / "predictions"
    with replacing(catalog.PREDICTIONS.partition(root, **record.key)) as fresh:
        predictions.orderBy("customer_id").write.parquet(str(fresh))
        scores.unpersist()
        written = spark.read.parquet(str(fresh))
        findings = verify_predictions(written, features.count(), docs)
        facts = describe(written, bundle) | {"findings": findings}
    seconds = time.perf_counter() - started
    StageRecord(stage="score_customers", seconds=seconds, facts=facts).write(root, record)
    return facts


def previous_scores(spark: SparkSession, root: Path, run_id: str | None) -> DataFrame:
    """``customer_id`` and ``previous_probability`` of that run; priors are not worth keeping.

    Raises:
        FileNotFoundError: If the run is named but its predictions are gone.
    """
    if run_id is None:
        return spark.createDataFrame([], "customer_id string, previous_probability double")
    layout = catalog.PREDICTIONS_LAYOUT.format(score_date="*", run_id=run_id)
    folders = sorted(root.glob(layout))
    if not folders:
        raise FileNotFoundError(
            f"the predictions of the previous run {run_id} are not at {root / layout}. Restore "
            "that folder, or publish a run of an earlier night and open this one again."
        )
    return (
        spark.read.parquet(str(folders[0]))
        .where(F.col("status") != "default")
        .select("customer_id", F.col("probability").alias("previous_probability"))
    )


def fill_gaps(scores: DataFrame, previous: DataFrame, base_rate: float) -> DataFrame:
    """``scores`` with a probability for everyone, and ``status`` saying where it comes from."""
    filled = scores.join(previous, on="customer_id", how="left")
    status = (
        F.when(F.col("probability").isNotNull(), "scored")
        .when(F.col("previous_probability").isNotNull(), "previous")
        .otherwise("default")
    )
    probability = F.coalesce("probability", "previous_probability", F.lit(base_rate))
    return filled.withColumns({"status": status, "probability": probability})


def decide(scores: DataFrame, bundle: Bundle) -> DataFrame:
    """Predictions: ``scores`` with decile and decision, in the columns of the catalog."""
    tenths = [tenth / 10 for tenth in range(9, 0, -1)]
    [[cuts]] = scores.select(F.percentile("probability", F.array(*map(F.lit, tenths)))).collect()
    rows = scores.withColumns(
        {
            "decile": decile(cuts),
            "is_contacted": F.col("probability") >= bundle.threshold,
            "arm": F.lit("champion"),
        }
    )
    columns = rows.sparkSession.createDataFrame([], catalog.PREDICTIONS.schema).columns
    return rows.select(*columns)


def decile(cuts: list[float]) -> Column:
    """1 for a probability at or above the first of the nine falling ``cuts``, 10 below the last.

    Equal probabilities share a decile, so many equal ones leave others small or empty.
    """
    below = [(F.col("probability") < cut).cast("int") for cut in cuts]
    return sum(below, F.lit(1))


def describe(predictions: DataFrame, bundle: Bundle) -> dict:
    """Counts by status, the histogram of probabilities (equal bins from 0 to 1) and the rule."""
    bin = F.least(F.floor(F.col("probability") * HISTOGRAM_BINS), F.lit(HISTOGRAM_BINS - 1))
    rows = predictions.groupBy("status", bin.alias("bin")).agg(
        F.count("*").alias("rows"), F.count_if("is_contacted").alias("contacted")
    )
    counts = rows.collect()
    by_status = {
        status: sum(row["rows"] for row in counts if row["status"] == status)
        for status in ("scored", "previous", "default")
    }
    histogram = [
        sum(row["rows"] for row in counts if row["bin"] == position)
        for position in range(HISTOGRAM_BINS)
    ]
    return {
        "population": sum(by_status.values()),
        "scored": by_status.pop("scored"),
        "fallback": by_status,
        "contacted": sum(row["contacted"] for row in counts),
        "score_histogram": histogram,
        "threshold": bundle.threshold,
        "threshold_version": bundle.threshold_version,
    }


if __name__ == "__main__":
    start(PARSER, on_spark("score_customers", run))
