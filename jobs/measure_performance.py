"""Measure how well published scores turned out, and estimate how tonight's will.

Reads the predictions of earlier nights as they were published then, their features, and the
activity known by tonight; writes the warehouse's `performance` and `label_maturity`. The cohort
whose labels are all there tonight is mature, younger ones are partial, tonight's own is estimated
from its probabilities alone. A cohort whose night of maturity never ran, or lacked a delivery, is
caught up with; one whose labels change by what came since it was measured is measured again.
"""

import logging
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
import warehouse
from features.activity import ON_TIME, read_activity
from features.labels import known_after, label_outcomes
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from lake import Piece, PieceMissing, check_pieces, may_hold, read_batches, read_json, read_pieces
from models.deciles import decile, tenths
from models.metrics import TENURE_BANDS
from monitoring.control import CONTACTED, CONTROL, WITHHELD, contact_metrics
from monitoring.performance import (
    ESTIMATE_BIAS,
    Bias,
    Measured,
    accepted,
    compare,
    conclude,
    corrected,
    estimate,
    judge_cohort,
    measure,
)
from params import Params, Performance, Question
from records import ActivityRecord, RunRecord, StageRecord, recorded
from sealed import RecordOutdated
from settings import Settings

if TYPE_CHECKING:
    import pandas as pd

PARSER = run_parser(__doc__)

# Scores from 0 to 1 are cut into this many equal steps, and customers of one step are counted
# together: what reaches this process is bounded by the steps, not by the customers. A cell keeps
# its mean probability; the order of two customers less than 0.00001 apart is lost.
SCORE_STEPS = 100_000

# Sums of probabilities are of whole numbers, so they do not depend on the order of adding.
PROBABILITY_UNITS = 10_000_000_000

# Two scores at once are cut into fewer steps, for their pairs are many.
PAIR_STEPS = 1_000

ALL = "all"


ArmsAndSlices = dict[str, dict[str, Measured]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cohort:
    """A published run to look at tonight.

    ``missing`` are the days after it, up to tonight, of which no delivery was accepted.
    ``measured_on`` is the night that has measured it already, null if none has.
    """

    record: RunRecord
    maturity: str
    missing: tuple[date, ...] = ()
    measured_on: date | None = None


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Measure and estimate; the facts are the mature cohort, tonight's estimate, and a finding.

    Raises:
        FileNotFoundError: If the run has not been published, or activity of a pinned delivery is
            not in the lake.
        PieceAltered: If a piece of the lake is not as it was written.
        PublishedChanged: If the lake holds other predictions of a cohort than were published.
    """
    root = settings.data_root
    # The warehouse knows published runs only; better to say so before anything is computed.
    StageRecord.read(root, record, "publish_predictions")
    with recorded(root, record, "measure_performance", engine_of(spark)) as stage:
        stage.facts = measure_cohorts(spark, settings, params, record)
    return stage.facts


def measure_cohorts(
    spark: SparkSession, settings: Settings, params: Params, record: RunRecord
) -> dict:
    """Measure what there is to look at tonight and put it into the warehouse; the facts."""
    root, rules = settings.data_root, params.performance
    engine = warehouse.connect(settings.warehouse_url)
    cohorts, skipped = find_cohorts(engine, root, record, rules)
    for cohort in cohorts:
        if cohort.maturity != "estimated":
            check_published(engine, root, cohort.record)

    found = [(cohort, measure_cohort(spark, root, params, record, cohort)) for cohort in cohorts]
    curves = [
        (cohort.record, maturity_curve(spark, root, record, cohort))
        for cohort in cohorts
        if cohort.maturity == "mature" and cohort.measured_on is None
    ]

    for cohort, by_arm in found:
        rows = measurements(cohort, by_arm, record.score_date)
        run_id = cohort.record.run_id
        warehouse.replace_performance(engine, run_id, record.score_date, rows)
        if cohort.maturity == "mature":
            show_contact_effect(root, cohort.record, by_arm["champion"][ALL])
    for cohort_record, curve in curves:
        warehouse.replace_maturity_curve(
            engine, cohort_record.run_id, cohort_record.score_date, curve
        )
    return describe(engine, root, params, record, found) | {"skipped": skipped}


def show_contact_effect(root: Path, record: RunRecord, measured: Measured) -> None:
    """Put what the contacts of a mature cohort brought on the dashboard, if a control shows it."""
    effect = measured.metrics.get("contact_effect")
    if effect is None:
        return
    folder = root / catalog.DASHBOARD
    try:
        # Evidently takes seconds to import.
        from monitoring.dashboard import add_contact_effect

        add_contact_effect(folder, record.model_name, record.run_id, record.score_date, effect)
    except Exception:
        # The warehouse has it; the dashboard is a convenience.
        log.exception(
            "the contacts of %s are not on the dashboard in %s", record.score_date, folder
        )


def find_cohorts(
    engine: sa.Engine, root: Path, night: RunRecord, rules: Performance
) -> tuple[list[Cohort], list[dict]]:
    """What can be looked at tonight, tonight's own run last; and what cannot, with the reason."""
    horizon, source = night.question.horizon_days, night.pinned_params.source(night.source)
    due = night.score_date - timedelta(days=horizon)
    first, last = due - timedelta(days=rules.catch_up_nights), due - timedelta(days=1)
    measured = warehouse.measured_cohorts(engine, first, last, night.score_date)
    overdue = [day for day, measured_on in measured.items() if measured_on is None]
    younger = (days for days in sorted(rules.partial_days, reverse=True) if days < horizon)
    new = [*overdue, due, *(night.score_date - timedelta(days=age) for age in younger)]
    changed = {
        score_date: measured_on
        for score_date, measured_on in measured.items()
        if measured_on and is_changed(engine, root, night, score_date, measured_on, horizon)
    }
    cohorts, skipped = [], []
    for score_date, measured_on in [*((day, None) for day in new), *changed.items()]:
        record, reason = find_run(engine, root, score_date, night.question)
        if record is None:
            skipped.append({"score_date": str(score_date), "reason": reason})
            continue
        if measured_on:
            cohorts.append(Cohort(record, "mature", measured_on=measured_on))
            continue
        known_days = min((night.score_date - score_date).days, horizon)
        later = (score_date + timedelta(days=n) for n in range(1, known_days + 1))
        missing = tuple(day for day in later if day not in night.intakes and source.trades_on(day))
        is_due = score_date <= due
        if is_due and missing:
            days = ", ".join(map(str, missing))
            reason = f"no delivery was accepted for {days}: its labels are partial"
            skipped.append({"score_date": str(score_date), "reason": reason})
            log.warning("cohort %s: %s", score_date, reason)
            if score_date < due:
                continue
        maturity = "mature" if is_due and not missing else "partial"
        cohorts.append(Cohort(record, maturity, missing))
    return [*cohorts, Cohort(night, "estimated")], skipped


def is_changed(
    engine: sa.Engine,
    root: Path,
    night: RunRecord,
    score_date: date,
    measured_on: date,
    horizon: int,
) -> bool:
    """Whether tonight knows other deliveries than the night that measured the cohort, with lines
    that may be dated within its horizon."""
    run_id = warehouse.judged_runs(engine, measured_on, measured_on).get(measured_on)
    if run_id is None:
        return False
    try:
        before = RunRecord.read(root, measured_on, run_id)
    except (FileNotFoundError, RecordOutdated) as error:
        log.warning("whether the labels of %s have changed is unknown: %s", score_date, error)
        return False
    first, last = score_date + timedelta(days=1), score_date + timedelta(days=horizon)
    # A line is never dated after its delivery.
    pieces = (
        ActivityRecord.read(root, day, intake).activity
        for day, intake in sorted({*night.all_intakes} ^ {*before.all_intakes})
        if day >= first
    )
    return any(may_hold(root, piece, "activity_on", first, last) for piece in pieces)


def find_run(
    engine: sa.Engine, root: Path, score_date: date, question: Question
) -> tuple[RunRecord | None, str]:
    """The run by which that night is judged, if all that measuring needs of it is still there."""
    run_id = warehouse.judged_runs(engine, score_date, score_date).get(score_date)
    if run_id is None:
        return None, "nothing is published"
    key = {"score_date": score_date, "run_id": run_id}
    if not (root / catalog.RUN_RECORD.format(**key)).exists():
        return None, f"the record of run {run_id} is no longer in the lake"
    try:
        record = RunRecord.read(root, score_date, run_id)
        remedy = made_again_by(record, "score_customers")
        check_pieces(root, scored_pieces(root, record).values(), remedy)
    except (FileNotFoundError, RecordOutdated) as error:
        return None, f"run {run_id} is no longer whole in the lake: {error}"
    if not bundle_folder(root, record).exists():
        return None, f"the bundle of {record.model_version} is not in {bundle_folder(root, record)}"
    if record.question != question:
        return None, f"it was scored for another question, {record.question.name}"
    return record, ""


def scored_pieces(root: Path, record: RunRecord) -> dict[str, Piece]:
    """What score_customers wrote: ``predictions``, and with a challenger ``arm_scores``."""
    return StageRecord.read(root, record, "score_customers").pieces


def made_again_by(record: RunRecord, job: str) -> str:
    """What to do about a piece of the run that is lost or altered."""
    return f"Restore it from a backup, or make it again: {record.command(job)}"


def bundle_folder(root: Path, record: RunRecord) -> Path:
    """The bundle of the run's champion."""
    return root / "bundles" / record.bundle_sha256


def check_published(engine: sa.Engine, root: Path, record: RunRecord) -> None:
    """Raise PublishedChanged unless the lake holds what was published as that run.

    Raises:
        PublishedChanged: If a value or a row differs.
    """
    pieces = scored_pieces(root, record)
    remedy = made_again_by(record, "score_customers")
    predictions, arm_scores = (
        read_batches(check_pieces(root, [pieces[name]] if name in pieces else [], remedy))
        for name in ("predictions", "arm_scores")
    )
    warehouse.check_published(engine, record.run_id, predictions, arm_scores)


def measure_cohort(
    spark: SparkSession, root: Path, params: Params, night: RunRecord, cohort: Cohort
) -> ArmsAndSlices:
    """The performance of each arm on each slice; estimated if no label can be there yet."""
    described = describe_customers(spark, root, cohort.record)
    buyers = known_buyers(spark, root, night, cohort)
    rules = params.performance
    seed = [params.training.seed, cohort.record.score_date.toordinal()]

    result: ArmsAndSlices = {}
    for arm, scores in arms(spark, root, cohort.record).items():
        customers = scores.join(described, on="customer_id", how="left")
        customers = customers.join(buyers, on="customer_id", how="left")
        result[arm] = {}
        parts = dict(list(histogram(customers).groupby("slice", sort=True)))
        # Before there are labels they say nothing, and without a control neither.
        if cohort.maturity == "estimated" or WITHHELD not in parts:
            for name in (CONTACTED, WITHHELD):
                parts.pop(name, None)
        for name, cells in parts.items():
            scored = cells["probability"].to_numpy(), cells["is_contacted"].to_numpy()
            rows = cells["customers"].to_numpy()
            result[arm][name] = (
                estimate(*scored, rules, seed, rows)
                if cohort.maturity == "estimated"
                else measure(*scored, cells["buyers"].to_numpy(), rules, seed, rows)
            )
        if CONTACTED in result[arm] and WITHHELD in result[arm]:
            of_all = result[arm][ALL]
            sides = (result[arm][CONTACTED], result[arm][WITHHELD])
            found = contact_metrics(*sides, of_all.customers, rules)
            result[arm][ALL] = replace(of_all, metrics=of_all.metrics | found)
        if cohort.maturity == "estimated":
            bias = estimate_bias_of(root, cohort.record, arm)
            result[arm][ALL] = corrected(result[arm][ALL], bias)
    if cohort.record.challenger is not None and cohort.maturity != "estimated":
        of_challenger = result["challenger"][ALL]
        found = compare_arms(spark, root, cohort.record, buyers)
        result["challenger"][ALL] = replace(of_challenger, metrics=of_challenger.metrics | found)
    return result


def estimate_bias_of(root: Path, record: RunRecord, arm: str) -> Bias:
    """How far the estimates of that arm's model are off, as its bundle says."""
    scored_by = record.challenger if arm == "challenger" and record.challenger else record
    return Bias(**read_json(root / "bundles" / scored_by.bundle_sha256 / ESTIMATE_BIAS))


def compare_arms(spark: SparkSession, root: Path, record: RunRecord, buyers: DataFrame) -> dict:
    """How far the challenger is from the champion, customer by customer.

    What reaches this process is bounded by the pairs of steps, not by the customers.
    """
    piece = scored_pieces(root, record)["arm_scores"]
    both = read_pieces(
        spark, root, [piece], catalog.ARM_SCORES, made_again_by(record, "score_customers")
    )
    both = both.join(buyers, on="customer_id", how="left")
    arms = ("champion", "challenger")
    steps = [F.floor(F.col(f"{arm}_probability") * PAIR_STEPS).alias(f"{arm}_step") for arm in arms]
    units = [
        F.round(F.col(f"{arm}_probability") * PROBABILITY_UNITS)
        .cast("bigint")
        .alias(f"{arm}_units")
        for arm in arms
    ]
    cells: pd.DataFrame = (
        both.select(*steps, *units, F.coalesce("bought", F.lit(0)).alias("bought"))
        .groupBy("champion_step", "challenger_step")
        .agg(
            F.count("*").alias("customers"),
            F.sum("bought").alias("buyers"),
            *[F.sum(f"{arm}_units").alias(f"{arm}_units") for arm in arms],
        )
        .toPandas()
    )
    cells = cells.sort_values(["champion_step", "challenger_step"], ignore_index=True)
    customers = cells["customers"].to_numpy()
    champion, challenger = (
        cells[f"{arm}_units"].to_numpy() / (customers * PROBABILITY_UNITS) for arm in arms
    )
    return compare(champion, challenger, cells["buyers"].to_numpy(), customers)


def arms(spark: SparkSession, root: Path, record: RunRecord) -> dict[str, DataFrame]:
    """By arm, the score of every customer: as published, or with a challenger what either said.

    Returns:
        ``customer_id``, ``probability``, ``is_contacted``, ``decile`` (of that arm), ``status``,
        ``is_control``, ``would_contact`` (the decision, were it not for the control) and
        ``is_served`` (whether readers got this arm's score).
    """
    columns = (
        *("customer_id", "probability", "is_contacted", "decile", "status"),
        *("is_control", "would_contact", "is_served"),
    )
    pieces = scored_pieces(root, record)
    remedy = made_again_by(record, "score_customers")
    # In its own columns: it may have been scored before others were added.
    predictions = read_pieces(spark, root, [pieces["predictions"]], remedy=remedy)
    if "is_control" not in predictions.columns:
        predictions = predictions.withColumn("is_control", F.lit(False))
    facts = StageRecord.read(root, record, "score_customers").facts
    if record.challenger is None:
        is_likely = F.col("probability") >= facts["threshold"]
        served = {"would_contact": is_likely, "is_served": F.lit(True)}
        return {"champion": predictions.withColumns(served).select(*columns)}

    both = read_pieces(spark, root, [pieces["arm_scores"]], catalog.ARM_SCORES, remedy)
    published = predictions.select("customer_id", "status", "is_control", "arm")
    both = both.join(published, on="customer_id", how="inner")
    result = {}
    for arm, of_arm in (("champion", facts), ("challenger", facts["challenger"])):
        is_likely = F.col("probability") >= of_arm["threshold"]
        scores = both.withColumns(
            {name: F.col(f"{arm}_{name}") for name in ("probability", "is_contacted")}
        ).withColumns({"would_contact": is_likely, "is_served": F.col("arm") == arm})
        cuts = tenths(scores, "probability")
        result[arm] = scores.withColumn("decile", decile("probability", cuts)).select(*columns)
    return result


def describe_customers(spark: SparkSession, root: Path, record: RunRecord) -> DataFrame:
    """``customer_id``, ``country_slice`` and ``tenure_slice``, from the run's features.

    The home country is the one most customers are from; without countries there is no such column.
    Without the run's features (they may have been removed since) there are no rows.
    """
    described = StageRecord.read(root, record, "build_features").pieces["features"]
    try:
        remedy = made_again_by(record, "build_features")
        features = read_pieces(spark, root, [described], remedy=remedy)
    except PieceMissing as error:
        log.warning("countries and tenures are unknown: %s", error)
        empty = "customer_id string, country_slice string, tenure_slice string"
        return spark.createDataFrame([], empty)
    slices = [tenure_band().alias("tenure_slice")]
    if "country" in features.columns:
        by_size = features.groupBy("country").count().orderBy(F.desc("count"), "country")
        home = by_size.collect()[0]["country"]
        country = F.when(F.col("country") == home, home).when(
            F.col("country").isNotNull(), "all others"
        )
        slices.append(country.alias("country_slice"))
    return features.select("customer_id", *slices)


def tenure_band() -> Column:
    """The band of ``tenure_days``; null where that is."""
    days = F.col("tenure_days")
    band = F.when(days.isNull(), None)
    for name, beyond in TENURE_BANDS.items():
        band = band.when(days < beyond, name)
    return band


def known_buyers(spark: SparkSession, root: Path, night: RunRecord, cohort: Cohort) -> DataFrame:
    """``customer_id`` and ``bought`` (1) of the customers whose outcome is known tonight."""
    if cohort.maturity == "estimated":
        return spark.createDataFrame([], "customer_id string, bought int")
    score_date = cohort.record.score_date
    activity = later_activity(spark, root, night, cohort)
    labels = label_outcomes(activity, [score_date], cohort.record.question)
    return labels.where("label = 1").select("customer_id", F.col("label").alias("bought"))


def later_activity(spark: SparkSession, root: Path, night: RunRecord, cohort: Cohort) -> DataFrame:
    """Activity that was delivered after the cohort was scored, as tonight knows it: what training
    takes its labels from, if its window ends tonight.

    Nothing later can have been delivered before: validation refuses lines dated after their
    delivery.
    """
    later = [
        ActivityRecord.read(root, day, intake).activity
        for day, intake in night.all_intakes
        if day > cohort.record.score_date
    ]
    return read_activity(spark, root, [(piece, ON_TIME) for piece in later])


def histogram(customers: DataFrame) -> "pd.DataFrame":
    """One row per slice, step of the score and decision: exact counts, in a fixed order.

    Args:
        customers: One row per customer, as ``arms`` gives them, and where known
            ``country_slice``, ``tenure_slice``, ``bought``.

    Returns:
        ``slice``, ``is_contacted``, ``customers``, ``buyers``, ``probability`` (the mean of the
        cell, to ten digits). Every customer counts once in ``all``, once in its country group,
        tenure band and decile, once more in ``status: fallback`` if it could not be scored, and
        in ``control`` if it is there; ``is_contacted`` is then what would have been decided. Those
        whom the arm that served them would contact are in one of the slices for contacts, too.
    """
    is_withheld = F.col("is_control") & F.col("would_contact")
    groups = [
        F.concat(F.lit(f"{name}: "), F.coalesce(f"{name}_slice", F.lit("unknown")))
        for name in ("country", "tenure")
        if f"{name}_slice" in customers.columns
    ]
    slices = F.array(
        F.lit(ALL),
        *groups,
        F.concat(F.lit("decile: "), F.col("decile").cast("string")),
        F.when(F.col("status") != "scored", "status: fallback"),
        F.when(F.col("is_control"), CONTROL),
        F.when(F.col("is_served") & F.col("is_contacted"), CONTACTED),
        F.when(is_withheld & F.col("is_served"), WITHHELD),
    )
    step = F.least(F.floor(F.col("probability") * SCORE_STEPS), F.lit(SCORE_STEPS - 1))
    units = F.round(F.col("probability") * PROBABILITY_UNITS).cast("bigint")
    cells: pd.DataFrame = (
        customers.select(
            F.explode(F.array_compact(slices)).alias("slice"),
            step.alias("step"),
            "is_contacted",
            is_withheld.alias("is_withheld"),
            F.coalesce("bought", F.lit(0)).alias("bought"),
            units.alias("units"),
        )
        .groupBy("slice", "step", "is_contacted", "is_withheld")
        .agg(
            F.count("*").alias("customers"),
            F.sum("bought").alias("buyers"),
            F.sum("units").alias("units"),
        )
        .toPandas()
    )
    by = ["slice", "step", "is_contacted", "is_withheld"]
    cells = cells.sort_values(by, ignore_index=True)
    cells["is_contacted"] |= cells["is_withheld"] & cells["slice"].isin([CONTROL, WITHHELD])
    cells["probability"] = cells["units"] / (cells["customers"] * PROBABILITY_UNITS)
    return cells.drop(columns=["step", "units", "is_withheld"])


def maturity_curve(spark: SparkSession, root: Path, night: RunRecord, cohort: Cohort) -> list[int]:
    """How many buyers of the cohort were known 1, 2, ... days after it, up to its horizon."""
    activity = later_activity(spark, root, night, cohort)
    known = known_after(activity, cohort.record.score_date, cohort.record.question)
    predictions = scored_pieces(root, cohort.record)["predictions"]
    customers = read_pieces(spark, root, [predictions])
    by_day = (
        known.join(customers, on="customer_id", how="left_semi").groupBy("days").count().collect()
    )
    new = {row["days"]: row["count"] for row in by_day}
    return list(
        accumulate(new.get(day, 0) for day in range(1, cohort.record.question.horizon_days + 1))
    )


def measurements(
    cohort: Cohort, by_arm: ArmsAndSlices, measured_on: date
) -> Iterator[warehouse.Measurement]:
    """The rows that the warehouse keeps."""
    record = cohort.record
    versions = {"champion": record.model_version}
    if record.challenger is not None:
        versions["challenger"] = record.challenger.version
    for arm, slices in by_arm.items():
        for name, measured in slices.items():
            for metric, numbers in measured.metrics.items():
                yield warehouse.Measurement(
                    run_id=record.run_id,
                    score_date=record.score_date,
                    arm=arm,
                    model_version=versions[arm],
                    maturity=cohort.maturity,
                    measured_on=measured_on,
                    slice=name,
                    metric=metric,
                    customers=measured.customers,
                    **numbers,
                )


def describe(
    engine: sa.Engine,
    root: Path,
    params: Params,
    night: RunRecord,
    found: Sequence[tuple[Cohort, ArmsAndSlices]],
) -> dict:
    """The facts: over all customers, what was found, and what it means."""
    mature, partial, again = None, [], []
    drift, performed, matured_on = None, None, None
    for cohort, by_arm in found:
        record = cohort.record
        of_all = {arm: slices[ALL] for arm, slices in by_arm.items()}
        champion = of_all["champion"]
        size = {"customers": champion.customers, "buyers": champion.buyers}
        key = {"score_date": str(record.score_date), "run_id": record.run_id}
        if cohort.maturity == "partial":
            days = (night.score_date - record.score_date).days
            missing = [str(day) for day in cohort.missing]
            metrics = {"champion": champion.metrics, "missing_days": missing}
            partial.append(key | size | {"days": days} | metrics)
            continue
        if cohort.measured_on is not None:
            again.append(key | size | {"measured_on": str(cohort.measured_on)})
            continue
        judged_by, judged, reference = judged_rows(root, record, by_arm["champion"], params)
        finding = judge_cohort(judged, reference, params.performance)
        if cohort.maturity == "estimated":
            estimated: dict = champion.metrics | {"finding": finding}
        else:
            metrics = {arm: measured.metrics for arm, measured in of_all.items()}
            mature = key | size | metrics | {"finding": finding, "judged_by": judged_by}
            performed, matured_on = finding, record.score_date
            drift = warehouse.night_drift(engine, record.run_id)

    conclusion = conclude(performed, drift, matured_on)
    errors = estimate_error(engine, night.score_date)
    return {
        "mature": mature,
        "partial": partial,
        "measured_again": again,
        "estimated": estimated,
        "estimate_error": errors,
        "finding": conclusion.finding,
        "sentence": f"{conclusion.sentence}; {estimate_sentence(estimated['roc_auc'], errors)}",
    }


def judged_rows(
    root: Path, record: RunRecord, slices: dict[str, Measured], params: Params
) -> tuple[str, Measured, dict]:
    """The slice by which a cohort is judged, what was measured there, and what it is held against.

    It is the control, where that is large enough in the cohort and in the model's holdout: what
    others do is partly the model's own doing.
    """
    metrics = read_json(bundle_folder(root, record) / "metrics.json")
    control, held = slices.get(CONTROL), metrics.get("control")
    if control is not None and held is not None:
        known = Measured(held["customers"], held["buyers"], held["model"])
        if all(
            params.performance.is_control_enough(buyers=each.buyers, customers=each.customers)
            for each in (control, known)
        ):
            return CONTROL, control, accepted(held["model"], held.get("live", held["model"]))
    # Bundles of older code say nothing of the live fit.
    live = metrics.get("live", metrics)
    return ALL, slices[ALL], accepted(metrics["model"], live["model"])


def estimate_error(engine: sa.Engine, until: date) -> dict:
    """How far the estimated ROC AUC of past cohorts was from what their labels showed."""
    errors = [abs(each.error) for each in warehouse.estimate_errors(engine, until)]
    return {
        "metric": "roc_auc",
        "n": len(errors),
        "mean_absolute": round(statistics.mean(errors), 6) if errors else None,
        "median_absolute": round(statistics.median(errors), 6) if errors else None,
    }


def estimate_sentence(roc_auc: dict, errors: dict) -> str:
    """What tonight's scores promise, and what such promises were worth so far.

    >>> none = {"n": 0, "mean_absolute": None}
    >>> estimate_sentence({"value": 0.78, "low": 0.76, "high": 0.8}, none)
    "tonight's scores promise a ROC AUC of 0.780 (0.760 to 0.800), untried so far"
    """
    if roc_auc["value"] is None:
        return "tonight's scores promise nothing about their ranking"
    worth = (
        f"and such promises were off by {errors['mean_absolute']:.3f} on average ({errors['n']})"
        if errors["n"]
        else "untried so far"
    )
    return (
        f"tonight's scores promise a ROC AUC of {roc_auc['value']:.3f} "
        f"({roc_auc['low']:.3f} to {roc_auc['high']:.3f}), {worth}"
    )


if __name__ == "__main__":
    start(PARSER, on_spark("measure_performance", run))
