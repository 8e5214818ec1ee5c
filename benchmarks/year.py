"""What monitoring decides in a year of nights: ``python -m benchmarks.year``.

A generated shop is scored on 365 nights under each of several stories (a quiet year, drift with a
loss, an upstream null storm, a backfill, a change in how customers behave). Deliveries, intake,
features, training, drift, performance, decision and gate are the pipeline's own code; left out are
Airflow, DVC and the warehouse, and a version that passes the gate becomes champion after as many
nights as the steps of a rollout take. Writes docs/retraining_year.md.
"""

import argparse
import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import mean

import pandas as pd
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from pyspark.sql import SparkSession
from rich.console import Console
from rich.progress import track
from sklearn.metrics import roc_auc_score

from deliveries.faults import Fault, Faults
from expectations.refusal import DeliveryRefused
from features.activity import ON_TIME, read_activity
from features.build import build_features
from features.labels import label_outcomes
from jobs import (
    build_bundle,
    build_training_set,
    evaluate_model,
    generate_deliveries,
    list_training_window,
    load_history,
    train_model,
)
from jobs.decide_retraining import REACH, fresh_cohorts
from jobs.engine import choose_engine
from jobs.measure_quality import describe_lines, unchanged_columns, usual, usual_columns
from jobs.session import session
from lake import read_json, value_sha256, write_json
from ledger import intake_rules, known_by, pin_rules
from models.apply import Model, score
from models.bundle import Bundle, read_bundle, read_holdout
from models.bundle_hash import bundle_sha256
from models.gate import GateVerdict, judge_challenger
from models.golden import run_golden_rows
from models.season import moved
from monitoring.decision import Evidence, decide
from monitoring.drift import (
    DRIFT_THRESHOLDS,
    PREDICTION_COLUMNS,
    Thresholds,
    find_drift_of_both,
    verdict_of_both,
)
from monitoring.performance import (
    ESTIMATE_BIAS,
    Bias,
    accepted,
    conclude,
    corrected,
    estimate,
    is_spoilt,
    judge_cohort,
    measure,
)
from monitoring.quality import ColumnStats, judge_features, judge_lines
from params import Params, read_params
from records import ActivityRecord
from settings import PROJECT_ROOT, Settings
from warehouse import weekdays_before

CUSTOMERS = 3000
SEED = 7
NIGHTS_AT_ONCE = 60

# The ROC AUC that a model may lack to be as good as another, and the nights that are looked at
# together.
AS_GOOD = 0.01
FORTNIGHT = 14

# From the day when the first labels of a lasting change are all there.
CATCH_UP_DAYS = 45

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Calendar:
    """From when on deliveries are known, and which nights are lived."""

    first_day: date
    first_night: date
    last_night: date

    @property
    def eve(self) -> date:
        """The last day that the first training looks at."""
        return self.first_night - timedelta(days=1)

    @property
    def nights(self) -> list[date]:
        """Every night, the first one first."""
        count = (self.last_night - self.first_night).days + 1
        return [self.first_night + timedelta(days=n) for n in range(count)]


YEAR = Calendar(date(2024, 3, 1), date(2026, 4, 1), date(2027, 3, 31))


@dataclass(frozen=True, slots=True)
class Story:
    """What happens in the year, and what has to follow from it."""

    name: str
    faults: tuple[str, ...]
    expected: str
    # Nights that are run again at the end of the year.
    backfill: tuple[date, date] | None = None
    # The day from which on customers behave otherwise, for good.
    changed_on: date | None = None


STORIES = (
    Story("a quiet year", (), "no retraining, no alarm"),
    Story(
        "30 nights of drift with a loss",
        ("concept:2026-09-01..2026-09-30", "shifted:2026-09-01..2026-09-30"),
        "one retraining in a cool-down",
    ),
    Story(
        "a null storm upstream, 10 nights",
        ("anonymous:2026-09-01..2026-09-10:0.6",),
        "alarms, no retraining",
    ),
    Story(
        "customers change their ways for good",
        ("concept:2026-09-01..2027-03-31",),
        "a retraining soon after the labels are there, and more that follow it; none from a "
        "backfill",
        backfill=(date(2026, 10, 20), date(2026, 11, 2)),
        changed_on=date(2026, 9, 1),
    ),
)


@dataclass(slots=True)
class Year:
    """What came of a story; each list holds nights."""

    drifted: list[date] = field(default_factory=list)
    refused: list[date] = field(default_factory=list)
    alarms: dict[str, list[date]] = field(default_factory=dict)
    decisions: dict[date, str] = field(default_factory=dict)
    asked: list[date] = field(default_factory=list)
    backfill: list[str] = field(default_factory=list)
    gate: list[str] = field(default_factory=list)
    live: list[date] = field(default_factory=list)
    roc_auc: dict[date, float] = field(default_factory=dict)
    # The same nights by the judged fit of whoever was champion, and by a model with hindsight.
    judged: dict[date, float] = field(default_factory=dict)
    hindsight: dict[date, float] = field(default_factory=dict)
    # And by what a training on the day by which the champion had to catch up would have given.
    due: dict[date, float] = field(default_factory=dict)
    covered: list[bool] = field(default_factory=list)
    moved: dict[date, float] = field(default_factory=dict)

    def caught_up(self) -> date | None:
        """The first night from which on a fortnight is, in the mean, as good as with hindsight."""
        lost = [(night, hind - self.roc_auc[night]) for night, hind in self.hindsight.items()]
        fortnights = {
            night: mean(loss for _, loss in lost[at : at + FORTNIGHT])
            for at, (night, _) in enumerate(lost[: 1 - FORTNIGHT])
        }
        behind = [night for night, loss in fortnights.items() if loss > AS_GOOD]
        later = [night for night in fortnights if not behind or night > behind[-1]]
        return min(later, default=None)


YEAR_AS_JSON = TypeAdapter(Year)


def due_on(changed_on: date, params: Params) -> date:
    """When the champion has to have caught up with a change."""
    return changed_on + timedelta(days=params.training.horizon_days + CATCH_UP_DAYS)


def by_month(roc_auc: Mapping[date, float]) -> dict[str, float]:
    """The mean of the nights of each month whose labels are all there."""
    months = defaultdict(list)
    for night, value in roc_auc.items():
        months[f"{night:%Y-%m}"].append(value)
    return {month: mean(values) for month, values in months.items()}


def prepare_history(spark: SparkSession, folder: Path, params: Params) -> Settings:
    """The shop until the eve of the first night, generated and taken in once."""
    settings = Settings(data_root=folder / "history")
    make_days(settings, params, YEAR.first_day, YEAR.eve, Faults())
    load_history.run(spark, settings, params, YEAR.eve)
    return settings


def prepare_story(
    spark: SparkSession, folder: Path, params: Params, story: Story
) -> tuple[Settings, list[date]]:
    """The same shop with the year of the story; the days whose delivery was refused."""
    # Two stories with the same deliveries share their folder.
    settings = Settings(data_root=folder / f"world-{value_sha256(story.faults)[:8]}")
    for part in ("incoming", "lake"):
        if not (settings.data_root / part).exists():
            shutil.copytree(
                folder / "history" / part, settings.data_root / part, copy_function=os.link
            )
    faults = Faults(tuple(Fault.parse(text) for text in story.faults))
    make_days(settings, params, YEAR.first_night, YEAR.last_night, faults)
    try:
        load_history.run(spark, settings, params, YEAR.last_night)
    except DeliveryRefused as refused:
        console.print(f"{story.name}: {str(refused).splitlines()[0]}")
    known = on_time(settings, params, YEAR.last_night)
    return settings, [night for night in YEAR.nights if night not in known]


def make_days(
    settings: Settings, params: Params, first: date, until: date, faults: Faults, seed: int = SEED
) -> None:
    """Deliveries of the shop; another seed is another shop."""
    generate_deliveries.run(
        settings,
        params,
        first=first,
        until=until,
        customers=CUSTOMERS,
        seed=seed,
        faults=faults,
    )


def on_time(settings: Settings, params: Params, until: date) -> dict[date, str]:
    """The intake of each day up to ``until``; in these stories every delivery came on time."""
    rules = pin_rules(settings.data_root, intake_rules(params, settings.source))
    return known_by(settings.data_root, rules, night=until, until=until)


def describe_nights(
    spark: SparkSession, settings: Settings, params: Params, calendar: Calendar
) -> Path:
    """A folder with the features of every night and, where they are mature, its labels."""
    folder = settings.data_root / "nights"
    if folder.exists():
        return folder
    root = settings.data_root
    pieces = [
        (ActivityRecord.read(root, day, name).activity, ON_TIME)
        for day, name in on_time(settings, params, calendar.last_night).items()
    ]
    source = params.source(settings.source)
    activity = read_activity(spark, root, pieces, source=source)
    nights = calendar.nights
    chunks = [nights[at : at + NIGHTS_AT_ONCE] for at in range(0, len(nights), NIGHTS_AT_ONCE)]
    for chunk in track(chunks, f"features of {len(nights)} nights", console=console):
        features = build_features(activity, chunk, params.population.active_days, source)
        labels = label_outcomes(activity, chunk, params.training.question)
        labelled = features.join(labels.hint("merge"), on=["as_of", "customer_id"], how="inner")
        ordered = labelled.repartition("as_of").sortWithinPartitions("customer_id")
        ordered.write.mode("append").partitionBy("as_of").parquet(str(folder))
    return folder


def train(
    spark: SparkSession,
    settings: Settings,
    params: Params,
    until: date,
    artifacts: Path,
    incidents: Collection[date] = (),
) -> Bundle:
    """A bundle from the stages of dvc.yaml, one after the other; ``incidents`` are wrong days."""
    if not (artifacts / "bundle").exists():
        source = params.source(settings.source).model_copy(update={"training_until": until})
        params = params.model_copy(update={"sources": {settings.source: source}})
        artifacts.mkdir(parents=True, exist_ok=True)
        list_training_window.run(settings, params, artifacts)
        leave_out(artifacts / "training_window.json", incidents)
        build_training_set.run(spark, settings, params, artifacts)
        train_model.run(params, artifacts)
        evaluate_model.run(params, artifacts)
        build_bundle.run(params, artifacts)
    bundle = artifacts / "bundle"
    return read_bundle(bundle, bundle_sha256(bundle))


def leave_out(window: Path, incidents: Collection[date]) -> None:
    """Name in a training window the days that the warehouse would have named."""
    described = read_json(window)
    described["wrong_days"] |= {str(day): "incident" for day in sorted(incidents)}
    write_json(window, described)


def train_with_hindsight(
    spark: SparkSession, folder: Path, params: Params, story: Story, changed_on: date
) -> Bundle:
    """What could have been known: a model of customers as they are since the change.

    It learns from another shop in which the same happens, so it has seen no customer that it is
    measured on.
    """
    settings = Settings(data_root=folder / f"hindsight-{value_sha256(story.faults)[:8]}")
    faults = Faults(tuple(Fault.parse(text) for text in story.faults))
    make_days(settings, params, YEAR.first_day, YEAR.last_night, faults, SEED + 1)
    load_history.run(spark, settings, params, YEAR.last_night)
    known = (YEAR.last_night - changed_on).days - params.training.horizon_days
    dates = known // params.training.as_of_step_days + 1
    training = params.training.model_copy(update={"as_of_count": dates})
    params = params.model_copy(update={"training": training})
    return train(spark, settings, params, YEAR.last_night, settings.data_root / "model")


class Deployment:
    """The nights of one story, one after the other, with what earlier ones left behind."""

    def __init__(
        self, spark: SparkSession, settings: Settings, params: Params, calendar: Calendar
    ) -> None:
        self.settings, self.params = settings, params
        self.eve, self.last_night = calendar.eve, calendar.last_night
        self.horizon = timedelta(days=params.training.horizon_days)
        self.folder = describe_nights(spark, settings, params, calendar)
        deliveries = on_time(settings, params, calendar.last_night)
        weeks = timedelta(weeks=params.drift.weekday_nights)
        self.lines = describe_lines(
            spark,
            settings.data_root,
            {day: name for day, name in deliveries.items() if day >= calendar.first_night - weeks},
            params.source(settings.source).columns.given,
        )
        self.year = Year()
        self.wrong: dict[date, set[tuple[str, str]]] = {}
        self.champion: Bundle = self.trained(self.eve)
        self.year.moved[self.eve] = moved_share(self.champion)
        self.trained_until = self.eve
        # A model to compare with from that night on.
        self.hindsight: tuple[date, Bundle] | None = None
        # Who goes live when; None while nobody is on the way.
        self.coming: tuple[date, date, Bundle] | None = None
        self.scored: dict[date, pd.DataFrame] = {}
        # Features, and what the champion says of them.
        self.current: dict[date, pd.DataFrame] = {}
        self.version: dict[date, str] = {}
        self.drift: dict[date, str] = {}
        self.estimated: dict[date, str] = {}
        self.promised: dict[date, dict] = {}
        self.realised: dict[date, str] = {}
        self.incidents: dict[date, tuple[str, ...]] = {}
        self.asked_for: dict[date, str | None] = {}

    def trained(self, until: date) -> Bundle:
        """A model trained on what was known on ``until``."""
        artifacts = self.settings.data_root / "versions" / str(until)
        if until == self.eve:
            artifacts = self.settings.data_root.parent / "first"
        # Of lines alone, as list_training_window has it.
        wrong = {
            day
            for day, found in self.wrong.items()
            if any(dataset == "transactions" for dataset, _ in found)
        }
        # An engine that nobody asks anything for the nights between two trainings would end.
        with opened(self.settings) as spark:
            return train(spark, self.settings, self.params, until, artifacts, wrong)

    def night(self, night: date) -> None:
        """Score, measure, decide, and train if that was decided."""
        if self.coming and self.coming[0] <= night:
            _, self.trained_until, self.champion = self.coming
            self.coming = None
            self.year.live.append(night)
        customers = self.customers(night)
        self.measure(night, customers)
        evidence = self.evidence(night)
        decision = decide(evidence, self.params.retraining)
        self.year.decisions[night] = decision.decision
        for alarm in decision.alarms:
            self.year.alarms.setdefault(alarm.name, []).append(night)
        if decision.decision == "retrain":
            self.year.asked.append(night)
            self.asked_for[night] = decision.trigger
            self.retrain(night)

    def customers(self, night: date) -> pd.DataFrame:
        """Features and labels of that night's population, by customer."""
        rows = pq.ParquetDataset(self.folder, filters=[("as_of", "=", str(night))]).read()
        return rows.drop_columns("as_of").to_pandas().set_index("customer_id").sort_index()

    def measure(self, night: date, customers: pd.DataFrame) -> None:
        """What measure_quality, report_drift and measure_performance would find."""
        bundle, params = self.champion, self.params
        current = with_scores(customers.drop(columns="label"), bundle)
        scores, contacted = (current[name].to_numpy() for name in PREDICTION_COLUMNS)
        probability = moved(scores, bundle.season.step(night))
        self.current[night] = current
        self.scored[night] = customers[["label"]].assign(p=probability, contacted=contacted)
        self.version[night] = bundle.sha256
        if night + self.horizon <= self.last_night:
            self.year.roc_auc[night] = roc_auc_score(customers["label"], probability)
            self.year.judged[night] = ranked(customers, bundle.judged)
            if self.hindsight and night >= self.hindsight[0]:
                self.year.hindsight[night] = ranked(customers, self.hindsight[1])

        self.incidents[night] = self.find_incidents(night, current)
        reference = pd.read_parquet(bundle.folder / "reference.parquet")
        reference["is_contacted"] = reference["probability"] >= bundle.threshold
        thresholds = Thresholds(**read_json(bundle.folder / DRIFT_THRESHOLDS)).on(night)
        before = self.weeks_before(night)
        found = find_drift_of_both(
            reference, before, current, thresholds, params.drift, bundle.categories
        )
        self.drift[night] = verdict_of_both(*found)
        if self.drift[night] == "drift":
            self.year.drifted.append(night)
        metrics = read_json(bundle.folder / "metrics.json")
        reference = accepted(metrics["model"], metrics["live"]["model"])
        promised = corrected(
            estimate(probability, contacted, params.performance, SEED),
            Bias(**read_json(bundle.folder / ESTIMATE_BIAS)),
        )
        self.promised[night] = promised.metrics["roc_auc"]
        self.estimated[night] = judge_cohort(promised, reference, params.performance)

        cohort = night - self.horizon
        self.realised[night] = "unknown"
        if cohort in self.scored and self.version[cohort] == bundle.sha256:
            rows = self.scored[cohort]
            measured = measure(
                rows["p"].to_numpy(),
                rows["contacted"].to_numpy(),
                rows["label"].to_numpy(),
                params.performance,
                SEED,
            )
            self.realised[night] = judge_cohort(measured, reference, params.performance)
            said, found = self.promised[cohort], measured.metrics["roc_auc"]["value"]
            self.year.covered.append(said["low"] <= found <= said["high"])

    def weeks_before(self, night: date) -> pd.DataFrame | None:
        """The customers of the same weekday before, as report_drift takes them."""
        weekdays = weekdays_before(night, self.params.drift.weekday_nights)
        nights = [
            day
            for day in weekdays
            if day in self.current
            and all(dataset != "features" for dataset, _ in self.wrong.get(day, ()))
        ]
        for day in nights:
            if self.version[day] != self.champion.sha256:
                features = self.current[day].drop(columns=list(PREDICTION_COLUMNS))
                self.current[day] = with_scores(features, self.champion)
        return pd.concat([self.current[day] for day in nights]) if nights else None

    def find_incidents(self, night: date, features: pd.DataFrame) -> tuple[str, ...]:
        """What measure_quality would call an incident."""
        weeks = range(1, self.params.drift.weekday_nights + 1)
        before = [night - timedelta(weeks=back) for back in weeks]
        reference = usual(self.champion)
        stats = stats_of(features, reference)
        findings = [
            *judge_lines(
                self.lines.get(night, {}),
                [
                    usual_columns(self.lines[day], self.wrong.get(day, ()))
                    for day in before
                    if day in self.lines
                ],
                self.params.quality,
            ),
            *judge_features(stats, reference, self.params.quality, unchanged_columns(stats)),
        ]
        wrong = [each for each in findings if each.verdict == "incident"]
        if wrong:
            self.wrong[night] = {(each.dataset, each.column) for each in wrong}
        return tuple(each.sentence for each in wrong)

    def judge(self, challenger: Bundle) -> GateVerdict:
        """What judge_challenger would say."""
        golden = run_golden_rows(
            challenger.folder, challenger.sha256, self.params.gate.golden_seconds
        )
        rows = read_holdout(challenger.folder)
        return judge_challenger(challenger, self.champion, rows, golden, self.params)

    def again(self, first: date, last: date) -> list[str]:
        """What past nights decide when they are run again, late in the year."""
        count = (last - first).days + 1
        past = (first + timedelta(days=n) for n in range(count))
        return [
            decide(self.evidence(night, is_past=True), self.params.retraining).decision
            for night in past
        ]

    def evidence(self, night: date, is_past: bool = False) -> Evidence:
        """As decide_retraining gathers it, from memory instead of records."""
        rules, asked = self.params.retraining, self.year.asked

        def newest(count: int) -> list[date]:
            return [night - timedelta(days=back) for back in range(REACH * count)]

        def findings(found: dict[date, str], count: int) -> tuple[str, ...]:
            return tuple(
                "incident" if day in self.wrong else found.get(day, "unknown")
                for day in newest(count)
            )

        def cohorts(count: int) -> tuple[str, ...]:
            return tuple(
                "incident"
                if is_spoilt(
                    day - self.horizon, self.horizon.days, self.wrong, self.params.performance
                )
                else self.realised.get(day, "unknown")
                for day in newest(count)
            )

        cohort = night - self.horizon
        performed = self.realised[night]
        conclusion = conclude(
            None if performed == "unknown" else performed, self.drift.get(cohort), cohort
        )
        fresh = fresh_cohorts(night, self.horizon, self.trained_until)
        return Evidence(
            score_date=night,
            trained_until=self.trained_until,
            is_past=is_past,
            incidents=self.incidents[night],
            drift=findings(self.drift, rules.drift_nights),
            estimated=findings(self.estimated, rules.drift_nights),
            realised=cohorts(rules.loss_cohorts),
            performance=conclusion.sentence,
            new_labels=sum(len(self.scored[day]) for day in fresh if day in self.scored),
            last_asked=asked[-1] if asked else None,
            # A night trains until its own day.
            learnt_for=self.asked_for.get(self.trained_until)
            if asked[-1:] == [self.trained_until]
            else None,
            asked_this_month=sum((d.year, d.month) == (night.year, night.month) for d in asked),
            in_flight="a challenger is on its way" if self.coming else None,
        )

    def retrain(self, night: date) -> None:
        """Train, judge, and let the version be champion once a rollout would be through."""
        challenger = self.trained(night)
        self.year.moved[night] = moved_share(challenger)
        verdict = self.judge(challenger)
        self.year.gate.append(f"{night}: {'passed' if verdict.is_passed else 'lost'}")
        if verdict.is_passed:
            steps = self.params.rollout
            takes = timedelta(days=len(steps.percents) * steps.min_nights + 1)
            self.coming = (night + takes, night, challenger)


def with_scores(features: pd.DataFrame, bundle: Bundle) -> pd.DataFrame:
    """The features with what the model says of them before the season moves it."""
    probability = score(features, bundle, reasons=0)["probability"].to_numpy()
    return features.assign(probability=probability, is_contacted=probability >= bundle.threshold)


def moved_share(bundle: Bundle) -> float:
    """The share of the newest date's customers whom only one of its two fits would contact."""
    return read_json(bundle.folder / "bundle.json")["second_fit"]["moved_share"]


def ranked(customers: pd.DataFrame, model: Model) -> float:
    """The ROC AUC of a model on these customers."""
    probability = score(customers, model, reasons=0)["probability"].to_numpy()
    return float(roc_auc_score(customers["label"], probability))


def stats_of(features: pd.DataFrame, reference: dict) -> dict[str, ColumnStats]:
    """As measure_quality counts them in Spark, but for histograms."""
    stats = {}
    for name, usually in reference.items():
        column, reach = features[name], usually.reach()
        known = column.dropna()
        stats[name] = ColumnStats(
            rows=len(column),
            missing=int(column.isna().sum()),
            kind=str(column.dtype),
            low=None if reach is None or known.empty else float(known.min()),
            high=None if reach is None or known.empty else float(known.max()),
            beyond=0 if reach is None else int((~known.between(*reach)).sum()),
            categories=known.value_counts().to_dict() if usually.categories else {},
        )
    return stats


def opened(settings: Settings) -> AbstractContextManager[SparkSession]:
    """An engine."""
    return session(settings, "year", choose_engine(settings.spark, 0))


def live(folder: Path, params: Params, story: Story) -> Year:
    """All nights of the story; what came of one that was lived before is read."""
    kept = folder / f"{story.name}.json"
    if kept.exists():
        return YEAR_AS_JSON.validate_json(kept.read_bytes())
    with opened(Settings(data_root=folder)) as spark:
        prepare_history(spark, folder, params)
        settings, refused = prepare_story(spark, folder, params, story)
        deployment = Deployment(spark, settings, params, YEAR)
        if story.changed_on:
            known = train_with_hindsight(spark, folder, params, story, story.changed_on)
            deployment.hindsight = story.changed_on, known
    deployment.year.refused = refused
    for night in track(YEAR.nights, story.name, console=console):
        if night not in refused:
            deployment.night(night)
    if story.backfill:
        deployment.year.backfill = deployment.again(*story.backfill)
    if story.changed_on:
        due = due_on(story.changed_on, params)
        known = deployment.trained(due)
        deployment.year.due = {
            night: ranked(deployment.customers(night), known)
            for night in deployment.year.hindsight
            if night >= due
        }
    kept.write_bytes(YEAR_AS_JSON.dump_json(deployment.year))
    return deployment.year


def write_table(years: dict[str, Year], params: Params, path: Path) -> None:
    """The years as a page of the docs."""
    rules, quiet = params.retraining, years[STORIES[0].name]
    second = mean(quiet.roc_auc.values()) - mean(quiet.judged.values())
    lines = [
        "# A year of nights, four times",
        "",
        "Made by `python -m benchmarks.year`; nothing on this page was written by hand.",
        "",
        f"A generated shop ({CUSTOMERS:,} places, seed {SEED}), scored on the {len(YEAR.nights)} "
        f"nights from {YEAR.first_night} to {YEAR.last_night} by a model trained until "
        f"{YEAR.eve}. Intake, "
        "features, training, drift, performance, decision and gate are the pipeline's own code; "
        "Airflow, DVC and the warehouse are left out; a version that passes the gate is champion "
        f"{len(params.rollout.percents) * params.rollout.min_nights + 1} nights later, as a "
        "rollout would take. The rules are those of `params.yaml`: "
        f"{rules.loss_cohorts} cohorts in a row that lost, {rules.drift_nights} drifted nights in "
        f"a row, {rules.cool_down_days} days of cool-down, at least {rules.min_new_days} new days, "
        f"a change followed after {rules.follow_up_days}.",
        "",
        "| story | expected | nights that drifted | nights with an alarm | retrainings asked for "
        "| gate | new champion from | moved by the second fit | estimates that held |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for story in STORIES:
        year = years[story.name]
        alarms = [f"{name} {len(found)}" for name, found in sorted(year.alarms.items())]
        cells = [
            story.name + (f" (`{'`, `'.join(story.faults)}`)" if story.faults else ""),
            story.expected,
            str(len(year.drifted)),
            ", ".join(alarms) or "0",
            ", ".join(map(str, year.asked)) or "none",
            ", ".join(year.gate) or "-",
            ", ".join(map(str, year.live)) or "-",
            ", ".join(f"{share:.1%}" for share in year.moved.values()),
            f"{mean(year.covered):.0%} of {len(year.covered)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for story in STORIES:
        if story.backfill:
            decided = years[story.name].backfill
            lines += [
                "",
                f"The {len(decided)} nights of the backfill ({story.backfill[0]} to "
                f"{story.backfill[1]}), run again at the end of that year, decided: "
                f"{', '.join(sorted(set(decided)))}.",
            ]
    lines += [
        "",
        "Moved by the second fit: the share of the newest date's customers whom only one of the "
        "two fits of a bundle would contact, the first bundle first. Estimates that held: cohorts "
        "whose ROC AUC, once known, lay in the 95 % interval estimated on their own night.",
        *_hindsight_lines(years, params),
        "",
        "How well the scores turned out, whoever was champion: the mean ROC AUC of the nights of a "
        "month. *First fit alone* is the judged fit of the same champion; over "
        f"{STORIES[0].name} the second fit makes a difference of {second:+.4f}.",
        "",
    ]
    rows: dict[str, dict[str, float]] = {}
    for story in STORIES:
        year = years[story.name]
        rows[story.name] = by_month(year.roc_auc)
        rows[f"{story.name}, first fit alone"] = by_month(year.judged)
        if year.hindsight:
            rows[f"{story.name}, with hindsight"] = by_month(year.hindsight)
    months = list(rows[STORIES[0].name])
    lines += [
        f"| story | {' | '.join(months)} |",
        f"|---|{'---|' * len(months)}",
        *(
            f"| {name} | "
            + " | ".join(f"{found[month]:.3f}" if month in found else "" for month in months)
            + " |"
            for name, found in rows.items()
        ),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _hindsight_lines(years: dict[str, Year], params: Params) -> list[str]:
    """For stories of a lasting change, how soon the champion was as good as it could be."""
    lines = []
    for story in STORIES:
        if story.changed_on is None:
            continue
        year = years[story.name]
        known = story.changed_on + timedelta(days=params.training.horizon_days)
        due, caught_up = due_on(story.changed_on, params), year.caught_up()
        lost, at_best = (
            mean(year.hindsight[night] - found[night] for night in year.due)
            for found in (year.roc_auc, year.due)
        )
        if caught_up is None:
            found = "At the end of the year it was not yet so."
        else:
            days = (caught_up - known).days
            found = f"It was so from {caught_up} on, {days} days after (wanted: {CATCH_UP_DAYS})."
        lines += [
            "",
            f"**{story.name.capitalize()}**: on {story.changed_on}; the first labels of it were "
            f"all there on {known}. A model with hindsight learnt, from another shop in which the "
            "same happens, from all dates between then and the end of the year. The champion is "
            f"as good when over {FORTNIGHT} nights its mean ROC AUC is within {AS_GOOD} of that "
            f"one's, and stays so. {found} From {due} on it was {lost:.4f} behind on average; the "
            "same training on all that was known on that day, champion at once and for the rest of "
            f"the year, {at_best:.4f}.",
        ]
    return lines


def main() -> None:
    """Live all stories and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "data" / "benchmark-year")
    arguments = parser.parse_args()
    folder, params = arguments.folder.resolve(), read_params()
    years = {story.name: live(folder, params, story) for story in STORIES}
    page = PROJECT_ROOT / "docs" / "retraining_year.md"
    write_table(years, params, page)
    console.print(page.read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main()
