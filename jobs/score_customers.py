"""Score every customer of the population with the models that the run has pinned.

Reads the run's features, its bundles and the previous run's predictions, writes the run's
predictions. A customer who cannot be scored keeps the champion's previous score, else gets the
prior. With a challenger it writes also what either model says of everybody; the challenger's share
of customers gets its score, unless it is found unfit.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from catalog import Dataset
from chunks import cut, kept_chunks
from expectations.predictions import verify_predictions
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from jobs.sizes import population_rows
from lake import Piece, check_pieces, kept, read_pieces, write_sorted
from models.arms import bucket_column
from models.batches import (
    PAIRS_SCHEMA,
    SCORES_SCHEMA,
    Scorer,
    batch_scorer,
    marked,
    pair_scorer,
)
from models.bundle import Bundle, read_bundle
from models.control import control_column
from models.deciles import DECILES, decile, mid_decile, tenths
from monitoring.rollout import TwoModels, unfit
from params import Params
from records import Challenger, RunRecord, StageRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

HISTOGRAM_BINS = 20

CHAMPION, CHALLENGER = "champion", "challenger"
REASONS = ("reason_1", "reason_2", "reason_3")
MODEL_SCORES = ("probability", "challenger_probability")

log = logging.getLogger("jobs.score_customers")


@dataclass(frozen=True, slots=True)
class Night:
    """What a run is scored from.

    ``rejected`` are files that name the customers whose features break a promise.
    """

    root: Path
    record: RunRecord
    params: Params
    champion: Bundle
    features: list[Path]
    rejected: list[Path]
    previous: DataFrame


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of a night, and what is known beyond its predictions."""

    pieces: dict[str, Piece]
    facts: dict


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Score the population of the run; the facts are counts by status and the score histogram.

    With a challenger the facts say in `challenger` whom it serves, what was counted of both models
    and, when it is unfit, why; its percent is then 0 whatever the run has pinned.

    Raises:
        BundleRefused: If the bundle is damaged or does not fit what is installed.
        ExpectationsBroken: If the predictions must not be published.
    """
    root = settings.data_root
    with recorded(root, record, "score_customers", engine_of(spark)) as stage:
        champion = pinned_bundle(root, record.bundle_sha256, record.score_date)
        built = StageRecord.read(root, record, "build_features").pieces
        described = built["features"]
        remedy = f"Make them again: {record.command('build_features')}"
        paths = check_pieces(root, [described], remedy)
        rejected = check_pieces(root, [built["unscorable"]], remedy)
        before_id = same_question(root, record)
        previous = previous_scores(spark, root, before_id)
        before = previous_pieces(root, before_id)
        stage.inputs = {name: piece.sha256 for name, piece in built.items()}
        stage.inputs |= {f"previous {name}": piece.sha256 for name, piece in before.items()}

        night = Night(root, record, params, champion, paths, rejected, previous)
        if record.challenger is None:
            written = score_alone(spark, night)
        else:
            written = score_beside(spark, night, record.challenger)
        stage.pieces |= written.pieces

        docs = root / catalog.REPORTS.format(**record.key) / "data_docs" / "predictions"
        predictions = read_pieces(spark, root, [written.pieces["predictions"]])
        findings = verify_predictions(
            predictions, docs, night=record.score_date, population=described.rows
        )
        stage.facts = describe(predictions, champion) | {"findings": findings} | written.facts
        stage.facts["season_step"] = champion.season.step(record.score_date)
    return stage.facts


def same_question(root: Path, record: RunRecord) -> str | None:
    """The run before, if its scores answer this run's question; else they are no fallback."""
    name = record.previous_run_id
    if name is None or RunRecord.find(root, name).question != record.question:
        return None
    return name


def pinned_bundle(root: Path, sha256: str, night: date) -> Bundle:
    """The bundle that open_run has put there, as it scores that night."""
    return read_bundle(root / "bundles" / sha256, sha256).on(night)


def score_alone(spark: SparkSession, night: Night) -> Written:
    """Write the champion's predictions."""
    champion = night.champion
    scorer = batch_scorer(
        champion.folder, champion.sha256, night.record.score_date, reason_count(night.params)
    )
    with (
        scores_of(spark, night, marked(scorer, night.rejected), SCORES_SCHEMA) as scores,
        gaps_filled(scores, night) as filled,
    ):
        predictions = decide(filled, champion, night.params.decision.control_share)
        return Written({"predictions": write(predictions, catalog.PREDICTIONS, night)}, {})


def score_beside(spark: SparkSession, night: Night, challenger: Challenger) -> Written:
    """Write the predictions, and what both models make of everybody, scored in one pass."""
    champion = night.champion
    day = night.record.score_date
    challenger_bundle = pinned_bundle(night.root, challenger.bundle_sha256, day)
    scorer = pair_scorer(
        (champion.folder, champion.sha256),
        (challenger_bundle.folder, challenger_bundle.sha256),
        day,
        reason_count(night.params),
    )
    marking = marked(scorer, night.rejected, challenger)
    with (
        scores_of(spark, night, marking, PAIRS_SCHEMA) as scores,
        gaps_filled(scores, night) as filled,
    ):
        both = decide_both(
            filled,
            champion=champion,
            challenger_bundle=challenger_bundle,
            control_share=night.params.decision.control_share,
        )
        found = compare(both, challenger_bundle, challenger, night.params)
        found["season_step"] = challenger_bundle.season.step(day)
        predictions = serve(both, challenger.version, found["percent"])
        arm_scores = both.select(*catalog.ARM_SCORES.columns)
        pieces = {
            "arm_scores": write(arm_scores, catalog.ARM_SCORES, night),
            "predictions": write(predictions, catalog.PREDICTIONS, night),
        }
        found["served"] = predictions.where(F.col("arm") == CHALLENGER).count()
    return Written(pieces, {"challenger": found})


def scores_of(
    spark: SparkSession, night: Night, scorer: Scorer, schema: str
) -> AbstractContextManager[DataFrame]:
    """What ``scorer`` makes of the features of the night, while the block lasts."""
    chunks, batch_rows = cut(night.features), night.params.scoring.batch_rows
    return kept_chunks(spark, night.root, chunks, scorer, schema, batch_rows)


def write(rows: DataFrame, dataset: Dataset, night: Night) -> Piece:
    """A piece of the night, sorted by customer."""
    folder = dataset.partition(night.root, **night.record.key)
    return write_sorted(rows, folder, night.root, ["customer_id"])


def reason_count(params: Params) -> int:
    """How many reasons each score gets."""
    return params.scoring.reason_count if params.scoring.reasons else 0


def previous_scores(spark: SparkSession, root: Path, run_id: str | None) -> DataFrame:
    """``customer_id`` and ``previous_probability`` of that run; priors are not worth keeping.

    It is what the champion said, also of those whom a challenger served: one that is withdrawn
    leaves nothing behind.

    Raises:
        FileNotFoundError: If the run is named but its record or its predictions are gone.
        PieceAltered: If its predictions are not as they were written.
    """
    if run_id is None:
        return spark.createDataFrame([], "customer_id string, previous_probability double")
    before = RunRecord.find(root, run_id)
    pieces = previous_pieces(root, run_id)
    remedy = (
        f"Restore it, or make it again: {before.command('score_customers')}. Or publish a run of "
        "an earlier night and open this one again."
    )
    # In its own columns: it may have been scored before others were added.
    predictions = read_pieces(spark, root, [pieces["predictions"]], remedy=remedy)
    scores = predictions.where(F.col("status") != "default")
    probability = "probability"
    if "arm_scores" in pieces:
        probability = "champion_probability"
        both = read_pieces(spark, root, [pieces["arm_scores"]], catalog.ARM_SCORES, remedy)
        scores = scores.join(both.select("customer_id", "champion_probability"), on="customer_id")
    return scores.select("customer_id", F.col(probability).alias("previous_probability"))


def previous_pieces(root: Path, run_id: str | None) -> dict[str, Piece]:
    """What that run's score_customers wrote; nothing without a run."""
    if run_id is None:
        return {}
    return StageRecord.read(root, RunRecord.find(root, run_id), "score_customers").pieces


@contextmanager
def gaps_filled(scores: DataFrame, night: Night) -> Iterator[DataFrame]:
    """``scores`` as ``fill_gaps`` fills them, while the block lasts.

    The night before is looked at only for those who lack a score, which on most nights is nobody.
    """
    lacks_score = F.lit(False)
    for name in MODEL_SCORES:
        if name in scores.columns:
            lacks_score |= F.col(name).isNull()
    given = {"previous_probability": F.lit(None).cast("double"), "status": F.lit("scored")}
    filled = scores.where(~lacks_score).withColumns(given)
    gaps = scores.where(lacks_score)
    if gaps.isEmpty():
        yield filled
    else:
        with kept(fill_gaps(gaps, night.previous, night.champion.base_rate), night.root) as found:
            yield filled.unionByName(found)


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


def decide(scores: DataFrame, bundle: Bundle, control_share: float) -> DataFrame:
    """Predictions: ``scores`` with decile and decision, in the columns of the catalog."""
    cuts = tenths(scores, "probability")
    is_control = control_column(control_share)
    rows = scores.withColumns(
        {
            "decile": decile("probability", cuts),
            "is_contacted": (F.col("probability") >= bundle.threshold) & ~is_control,
            "arm": F.lit(CHAMPION),
            "is_control": is_control,
            "question": F.lit(bundle.question.name),
        }
    )
    return rows.select(*catalog.PREDICTIONS.columns)


def decide_both(
    scores: DataFrame, *, champion: Bundle, challenger_bundle: Bundle, control_share: float
) -> DataFrame:
    """``scores`` of two models with the decile and the decision of each, for every customer.

    A decile is a customer's place among all customers by one model, also by a model that does not
    serve them all: so the champion's rows are what they would be without a challenger.
    """
    challenger_probability = F.col("challenger_probability")
    filled = scores.withColumns(
        {
            "is_control": control_column(control_share),
            "is_scored_by_both": challenger_probability.isNotNull() & (F.col("status") == "scored"),
            "is_scored_by_challenger": challenger_probability.isNotNull(),
            "question": F.lit(champion.question.name),
            "champion_probability": F.col("probability"),
            "challenger_probability": F.coalesce(
                challenger_probability, "previous_probability", F.lit(challenger_bundle.base_rate)
            ),
        }
    )
    for arm, bundle in ((CHAMPION, champion), (CHALLENGER, challenger_bundle)):
        probability = f"{arm}_probability"
        cuts = tenths(filled, probability)
        filled = filled.withColumns(
            {
                f"{arm}_decile": decile(probability, cuts),
                f"{arm}_mid_decile": mid_decile(probability, cuts),
                f"{arm}_is_contacted": (F.col(probability) >= bundle.threshold)
                & ~F.col("is_control"),
            }
        )
    return filled


def compare(
    both: DataFrame, challenger_bundle: Bundle, challenger: Challenger, params: Params
) -> dict:
    """What is known of the challenger tonight before anybody gets its score; JSON-able."""
    cells = (
        both.where("is_scored_by_both")
        .groupBy("champion_mid_decile", "challenger_mid_decile")
        .agg(
            F.count("*").alias("customers"),
            F.count_if("champion_is_contacted").alias("champion"),
            F.count_if("challenger_is_contacted").alias("challenger"),
        )
        .collect()
    )
    is_compared, score = F.col("is_scored_by_both"), F.col("challenger_probability")
    totals = both.agg(
        F.count_distinct(F.when(is_compared, score)).alias("distinct"),
        F.count_if((F.col("status") == "scored") & ~is_compared).alias("unscored"),
    ).collect()[0]
    counts = {(cell["champion_mid_decile"], cell["challenger_mid_decile"]): cell for cell in cells}
    deciles = range(1, DECILES + 1)
    models = TwoModels(
        deciles=tuple(
            tuple(counts[i, j]["customers"] if (i, j) in counts else 0 for j in deciles)
            for i in deciles
        ),
        champion_contacted=sum(cell["champion"] for cell in cells),
        challenger_contacted=sum(cell["challenger"] for cell in cells),
        distinct_scores=totals["distinct"],
        unscored=totals["unscored"],
    )
    reasons = unfit(models, params.rollout)
    if reasons:
        log.warning("nobody gets the score of challenger %s: %s", challenger.version, reasons)
    return {
        "version": challenger.version,
        "percent": 0 if reasons else challenger.percent,
        "unfit": reasons,
        "seen": models.as_dict(),
        "threshold": challenger_bundle.threshold,
        "threshold_version": challenger_bundle.threshold_version,
    }


def serve(both: DataFrame, version: str, percent: int) -> DataFrame:
    """Predictions: each row wholly by one model, in the columns of the catalog.

    The challenger serves its share of those whom it could score; fallbacks are the champion's.
    """
    is_served = (bucket_column(version) < percent) & F.col("is_scored_by_challenger")
    of_challenger = {
        "status": F.lit("scored"),
        "arm": F.lit(CHALLENGER),
        **{
            name: F.col(f"challenger_{name}")
            for name in ("probability", "decile", "is_contacted", *REASONS)
        },
    }
    of_champion = {
        "arm": F.lit(CHAMPION),
        "decile": F.col("champion_decile"),
        "is_contacted": F.col("champion_is_contacted"),
    }
    served = {
        name: F.when(is_served, column).otherwise(of_champion.get(name, F.col(name)))
        for name, column in of_challenger.items()
    }
    return both.withColumns(served).select(*catalog.PREDICTIONS.columns)


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
    start(PARSER, on_spark("score_customers", run, population_rows))
