"""Measuring cohorts from a small lake: labels by the day, and what is said when they lack."""

import shutil
from dataclasses import replace as changed
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from evidently.ui.workspace import Workspace
from pyspark.sql import functions as F

import catalog
import warehouse
from features.activity import is_known, read_activity
from features.labels import label_outcomes
from jobs import list_training_window, measure_performance
from jobs.build_training_set import listed_pieces
from jobs.measure_performance import find_cohorts
from lake import PieceAltered, PieceMissing, read_json, write_json
from params import FIRST_QUESTION, Params, Question, read_params
from records import ActivityRecord, Challenger, RunRecord, StageRecord
from tests.features.visits import deliver, visit
from tests.harm import HARMS
from tests.records import finish, intake, put_dataset, run_record
from tests.warehouse.nights import SCHEMA, a_run, predictions
from warehouse.tables import DRIFT, LABEL_MATURITY, NEWEST_PERFORMANCE, PERFORMANCE

HORIZON = 30
COHORT = date(2026, 3, 2)
YOUNGER = COHORT + timedelta(23)
NIGHT = COHORT + timedelta(HORIZON)
LATE = NIGHT + timedelta(1)

# The first four will buy, and the scores say the opposite.
CUSTOMERS = {
    "ada": (0.1, False),
    "bob": (0.1, False),
    "cyd": (0.2, False),
    "dee": (0.2, False),
    "eve": (0.7, True),
    "fay": (0.7, True),
    "gus": (0.8, True),
    "hal": (0.9, True),
}


def purchases() -> list[dict]:
    """What happens after the cohort was scored, and what only seems to count."""

    def after(days: int) -> date:
        return COHORT + timedelta(days)

    return [
        visit("ada", on=after(1)),
        visit("bob", on=after(HORIZON)),
        visit("cyd", on=after(3), known_on=after(20)),
        visit("cyd", on=after(25)),
        visit("dee", on=after(9)),
        visit("dee", on=after(5), known_on=after(12)),
        visit("eve", on=COHORT, known_on=after(2)),
        visit("fay", on=after(30), known_on=after(31)),
        visit("fay", on=after(31)),
        visit("gus", on=after(4), invoices=(), return_micros=1_000_000),
        visit("nobody", on=after(4)),
    ]


def deliveries(*, without: int | None = None) -> dict[date, str]:
    """The intakes that the night has pinned."""
    days = [COHORT + timedelta(n) for n in range(HORIZON + 1) if n != without]
    return dict.fromkeys(days, intake())


def a_record(score_date: date, **values) -> RunRecord:
    return run_record(score_date, **{"run_id": f"run-{score_date}"} | values)


@pytest.fixture
def params() -> Params:
    params = read_params()
    rules = {"partial_days": [7, 14, HORIZON], "min_buyers": 1, "bootstrap_rounds": 50}
    performance = params.performance.model_copy(update=rules)
    return params.model_copy(update={"performance": performance})


@pytest.fixture
def engine(settings, empty_warehouse):
    shutil.copy(empty_warehouse, settings.data_root)
    return warehouse.connect(settings.warehouse_url)


@pytest.fixture
def lake(settings, engine):
    """A model, five weeks of activity, and three published nights."""
    root = settings.data_root
    bundle = root / "bundles" / ("b" * 64)
    write_json(bundle / "estimate.json", {"value": {}, "reach": {}})
    accepted = {
        "roc_auc": {"value": 0.8, "low": 0.78, "high": 0.82},
        "expected_calibration_error": {"value": 0.01},
    }
    write_json(bundle / "metrics.json", {"model": accepted})
    for n in range(HORIZON + 2):
        known_on = COHORT + timedelta(n)
        deliver(root, known_on, [one for one in purchases() if one["known_on"] == known_on])
    for score_date in (COHORT, YOUNGER):
        publish(root, engine, a_record(score_date))
    publish(root, engine, a_record(NIGHT, intakes=deliveries()))
    return root


def publish(root, engine, record: RunRecord, both: pa.RecordBatch | None = None, **columns) -> None:
    """Put a run into the lake and the warehouse: its record, features and predictions."""
    record.write(root)
    probability, is_contacted = zip(*CUSTOMERS.values(), strict=True)
    values = {"probability": list(probability), "is_contacted": list(is_contacted)}
    batch = predictions(*CUSTOMERS, **values | {"decile": [10] * 4 + [1] * 4} | columns)
    # Of hal nothing is known.
    features = pa.table(
        {
            "customer_id": list(CUSTOMERS)[:-1],
            "country": ["Norway"] * 5 + ["Spain", "Malta"],
            "tenure_days": pa.array([0, 89, 90, 364, 365, 1000, 1000], pa.float64()),
        }
    )
    described = put_dataset(root, record, catalog.FEATURES_LAYOUT, features)
    finish(root, record, "build_features", features=described)
    scores = pa.Table.from_batches([batch], SCHEMA)
    pieces = {"predictions": put_dataset(root, record, catalog.PREDICTIONS_LAYOUT, scores)}
    if both is not None:
        pieces["arm_scores"] = put_dataset(root, record, catalog.ARM_SCORES.layout, both)
    facts = {"threshold": 0.5, "challenger": {"threshold": 0.5}}
    finish(root, record, "score_customers", facts, **pieces)
    run = a_run(record.run_id, population=len(CUSTOMERS), score_date=record.score_date)
    statuses = batch["status"].to_pylist()
    fallback = {status: statuses.count(status) for status in ("previous", "default")}
    run = changed(run, scored=statuses.count("scored"), fallback=fallback)
    if record.challenger is not None:
        run = changed(
            run,
            challenger_version=record.challenger.version,
            challenger_percent=record.challenger.percent,
            challenger_served=batch["arm"].to_pylist().count("challenger"),
        )
    before = warehouse.pointer_of(engine, record.score_date)
    arm_scores = [] if both is None else [both]
    warehouse.publish(engine, run, [batch], replaces=before, arm_scores=arm_scores)
    finish(root, record, "publish_predictions")


def night_drifted(engine, verdict: str) -> None:
    """What was found about the inputs of the cohort as a whole."""
    row = {"run_id": f"run-{COHORT}", "against": "reference", "column_name": "night"}
    row |= {"kind": "night", "method": "share", "verdict": verdict, "detail": ""}
    with engine.begin() as connection:
        connection.execute(DRIFT.insert(), row)


def kept(engine, **conditions) -> dict[tuple, tuple]:
    """Value and customers by score date, maturity, arm and slice, of one metric."""
    c = PERFORMANCE.c
    query = sa.select(c.score_date, c.maturity, c.arm, c.slice, c.value, c.customers).where(
        *(c[name] == value for name, value in conditions.items())
    )
    with engine.connect() as connection:
        return {tuple(row[:4]): tuple(row[4:]) for row in connection.execute(query)}


def scored_file(root, record: RunRecord) -> Path:
    """The file with the run's predictions."""
    [file] = StageRecord.read(root, record, "score_customers").pieces["predictions"].files
    return root / file.path


@pytest.mark.usefixtures("lake")
def test_a_cohort_is_measured_by_the_purchases_of_its_horizon_as_known_that_night(
    spark, settings, engine, params
):
    night_drifted(engine, "steady")
    facts = measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))

    mature = facts["mature"]
    assert (mature["score_date"], mature["run_id"]) == (str(COHORT), f"run-{COHORT}")
    # ada on the first day, bob on the last, cyd and dee though known late; nobody else.
    assert (mature["customers"], mature["buyers"]) == (8, 4)
    assert "challenger" not in mature
    assert mature["champion"]["roc_auc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert mature["champion"]["precision"]["value"] == 0
    assert (mature["finding"], facts["finding"]) == ("loss", "concept_drift")

    shares = kept(engine, metric="buyer_share", score_date=COHORT)
    assert {key[3]: value for key, value in shares.items()} == {
        "all": (0.5, 8),
        "country: Norway": (0.8, 5),
        "country: all others": (0.0, 2),
        "country: unknown": (0.0, 1),
        "tenure: under 90 days": (1.0, 2),
        "tenure: 90 to 364 days": (1.0, 2),
        "tenure: 365 days and more": (0.0, 3),
        "tenure: unknown": (0.0, 1),
        "decile: 1": (0.0, 4),
        "decile: 10": (1.0, 4),
    }
    assert {key[1] for key in shares} == {"mature"}
    with engine.connect() as connection:
        curve = dict(connection.execute(sa.select(LABEL_MATURITY.c["days", "buyers"])).all())
    # dee's purchase of the 9th day was known before that of the 5th, cyd's first on the 20th.
    days = {0: 0, 1: 1, 9: 2, 20: 3, 30: 4}
    assert curve == {
        n: max(buyers for day, buyers in days.items() if day <= n) for n in range(1, HORIZON + 1)
    }

    [partial] = facts["partial"]
    assert (partial["score_date"], partial["days"], partial["buyers"]) == (str(YOUNGER), 7, 2)
    everybody = kept(engine, metric="roc_auc", slice="all")
    assert {key[:2] for key in everybody} == {
        (COHORT, "mature"),
        (YOUNGER, "partial"),
        (NIGHT, "estimated"),
    }
    # The mean probability of these eight.
    assert kept(engine, metric="buyer_share", slice="all", score_date=NIGHT)[
        NIGHT, "estimated", "champion", "all"
    ] == (0.4625, 8)
    assert facts["estimated"]["roc_auc"]["value"] == pytest.approx(0.84, abs=0.02)
    assert facts["estimated"]["finding"] == "holds"
    assert facts["estimate_error"]["n"] == 0
    assert [skip["reason"] for skip in facts["skipped"]] == ["nothing is published"]
    recorded = StageRecord.read(settings.data_root, a_record(NIGHT), "measure_performance")
    assert recorded.facts == facts


@pytest.mark.usefixtures("lake")
def test_a_day_without_delivery_makes_the_labels_partial_until_it_comes(
    spark, settings, engine, params
):
    tonight = {"run_id": f"run-{NIGHT}", "intakes": deliveries(without=9)}
    promised = warehouse.Measurement(
        run_id=f"run-{COHORT}",
        score_date=COHORT,
        arm="champion",
        model_version="v1.0.0",
        maturity="estimated",
        measured_on=COHORT,
        slice="all",
        metric="roc_auc",
        value=0.8,
        low=0.7,
        high=0.9,
        customers=8,
    )
    warehouse.replace_performance(engine, promised.run_id, COHORT, [promised])

    facts = measure_performance.run(spark, settings, params, a_record(NIGHT, **tonight))
    assert (facts["mature"], facts["finding"]) == (None, "unknown")
    assert facts["partial"][0]["missing_days"] == [str(COHORT + timedelta(9))]
    assert "no delivery was accepted for 2026-03-11" in facts["skipped"][0]["reason"]
    # The 9th day is not known, but the 5th is.
    found = kept(engine, metric="buyer_share", slice="all", score_date=COHORT)
    assert found == {(COHORT, "partial", "champion", "all"): (0.5, 8)}
    assert facts["estimate_error"]["n"] == 0

    tonight["intakes"] = deliveries()
    facts = measure_performance.run(spark, settings, params, a_record(NIGHT, **tonight))
    assert facts == measure_performance.run(spark, settings, params, a_record(NIGHT, **tonight))
    found = kept(engine, metric="buyer_share", slice="all", score_date=COHORT)
    assert found == {(COHORT, "mature", "champion", "all"): (0.5, 8)}
    # The labels put the buyers last.
    errors = {"metric": "roc_auc", "n": 1, "mean_absolute": 0.8, "median_absolute": 0.8}
    assert facts["estimate_error"] == errors
    # The inputs of the cohort were never reported on.
    assert (facts["mature"]["finding"], facts["finding"]) == ("loss", "unknown")


def night_after(settings, engine, nights: int, **corrected: date) -> RunRecord:
    """A published night that knows the deliveries up to it; of some days the one that is named."""
    night = NIGHT + timedelta(nights)
    later = {NIGHT + timedelta(n): intake() for n in range(1, nights + 1)}
    instead = {day: intake(name) for name, day in corrected.items()}
    record = a_record(night, intakes=deliveries() | later | instead)
    publish(settings.data_root, engine, record)
    return record


def buyer_shares(engine, table=PERFORMANCE) -> dict[date, float]:
    """The share of buyers among the mature cohort's customers, by the night that measured it."""
    c = table.c
    query = sa.select(c.measured_on, c.value).where(
        c.run_id == f"run-{COHORT}", c.maturity == "mature", c.slice == "all",
        c.metric == "buyer_share",
    )  # fmt: skip
    with engine.connect() as connection:
        return dict(map(tuple, connection.execute(query)))


@pytest.mark.usefixtures("lake")
def test_a_cohort_that_missed_its_night_matures_by_what_is_known_when_it_is_measured(
    spark, settings, engine, params
):
    late = night_after(settings, engine, 1)
    facts = measure_performance.run(spark, settings, params, late)

    # fay bought on the last day, which became known on the later night.
    assert (facts["mature"]["score_date"], facts["mature"]["buyers"]) == (str(COHORT), 5)
    assert facts["measured_again"] == []
    assert buyer_shares(engine) == {late.score_date: 5 / 8}
    assert measure_performance.run(spark, settings, params, late) == facts


def training_buyers(spark, settings, folder: Path, until: date) -> set[str]:
    """The cohort's customers who bought by the labels of a training whose window ends so."""
    sources = {
        name: source.model_copy(update={"training_until": until})
        for name, source in read_params().sources.items()
    }
    list_training_window.run(
        settings, read_params().model_copy(update={"sources": sources}), folder
    )
    pieces = listed_pieces(read_json(folder / "training_window.json")["files"])
    activity = read_activity(spark, settings.data_root, pieces).where(is_known(F.lit(until)))
    labels = label_outcomes(activity, [COHORT], FIRST_QUESTION).where("label = 1").collect()
    return {row.customer_id for row in labels} & set(CUSTOMERS)


@pytest.mark.usefixtures("lake")
def test_a_cohort_is_measured_again_when_late_lines_change_its_labels_and_both_values_stay(
    spark, settings, engine, params, tmp_path
):
    first = measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))
    on_time = buyer_shares(engine)
    next_night = night_after(settings, engine, 1)

    facts = measure_performance.run(spark, settings, params, next_night)

    # What was concluded from the cohort is not concluded twice.
    assert facts["mature"] is None
    again = {key: first["mature"][key] for key in ("score_date", "run_id", "customers")}
    assert facts["measured_again"] == [again | {"buyers": 5, "measured_on": str(NIGHT)}]
    assert on_time == {NIGHT: 4 / 8}
    assert buyer_shares(engine) == on_time | {next_night.score_date: 5 / 8}
    assert buyer_shares(engine, NEWEST_PERFORMANCE) == {next_night.score_date: 5 / 8}
    assert measure_performance.run(spark, settings, params, next_night) == facts

    # Tonight nothing came for that horizon; and on each night training sees the same buyers.
    deliver(settings.data_root, NIGHT + timedelta(2), [visit("gus", on=NIGHT + timedelta(2))])
    last_night = night_after(settings, engine, 2)
    facts = measure_performance.run(spark, settings, params, last_night)
    assert facts["measured_again"] == []
    for night, share in buyer_shares(engine).items():
        buyers = training_buyers(spark, settings, tmp_path / str(night), night)
        assert len(buyers) / len(CUSTOMERS) == share


@pytest.mark.usefixtures("lake")
def test_a_cohort_is_measured_again_when_a_day_of_its_horizon_is_corrected(
    spark, settings, engine, params
):
    measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))
    day, known_from = COHORT + timedelta(9), NIGHT + timedelta(1)
    deliver(settings.data_root, day, [], "emptied", known_from=known_from)
    corrected = night_after(settings, engine, 1, emptied=day)

    facts = measure_performance.run(spark, settings, params, corrected)

    # dee's purchase of that day is gone, that of another is known; fay's came late.
    assert [one["buyers"] for one in facts["measured_again"]] == [5]


@pytest.mark.usefixtures("lake")
def test_a_cohort_is_measured_again_within_so_many_nights_and_not_after(
    spark, settings, engine, params
):
    measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))

    def again(nights: int) -> list[date | None]:
        record = a_record(NIGHT + timedelta(nights), intakes=deliveries() | {LATE: intake()})
        cohorts, _ = find_cohorts(engine, settings.data_root, record, params.performance)
        return [one.measured_on for one in cohorts if one.record.score_date == COHORT]

    assert again(nights=14) == [NIGHT]
    assert again(nights=15) == []


@pytest.mark.usefixtures("lake")
def test_a_cohort_that_lacks_a_delivery_is_tried_again_and_then_given_up(engine, lake, params):
    def tried(nights: int) -> list[str]:
        night = a_record(NIGHT + timedelta(nights), intakes=deliveries(without=9))
        cohorts, skipped = find_cohorts(engine, lake, night, params.performance)
        assert COHORT not in [each.record.score_date for each in cohorts]
        return [each["score_date"] for each in skipped if "2026-03-11" in each["reason"]]

    assert tried(nights=14) == [str(COHORT)]
    assert tried(nights=15) == []


@pytest.mark.usefixtures("lake")
def test_what_a_contact_brings_is_seen_beside_those_who_were_held_back(
    spark, settings, engine, params
):
    # cyd and dee would be contacted, too; dee and gus are in the control, eve and fay buy nothing.
    publish(
        *(settings.data_root, engine, a_record(COHORT, run_id="controlled")),
        probability=[0.1, 0.1, 0.7, 0.7, 0.7, 0.7, 0.8, 0.4],
        is_contacted=[False, False, True, False, True, True, False, False],
        is_control=[False, False, False, True, False, False, True, True],
    )

    facts = measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))

    shares = kept(engine, metric="buyer_share", run_id="controlled")
    of_slice = {key[3]: value for key, value in shares.items()}
    assert of_slice["contact: made"] == (pytest.approx(1 / 3, abs=1e-6), 3)
    assert of_slice["contact: withheld"] == (0.5, 2)
    assert of_slice["control"] == (pytest.approx(1 / 3, abs=1e-6), 3)
    # What would have been decided of them: two contacts, one of which buys.
    precision = kept(engine, metric="precision", run_id="controlled")
    assert {key[3]: value for key, value in precision.items()}["control"] == (0.5, 3)
    effect = facts["mature"]["champion"]["contact_effect"]
    assert effect["value"] == pytest.approx(1 / 3 - 1 / 2, abs=1e-6)
    assert effect["low"] < effect["value"] < effect["high"]
    # The dashboard has it once, however often it is measured.
    measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))
    workspace = Workspace.create(str(settings.data_root / catalog.DASHBOARD))
    [project] = workspace.list_projects()
    [run] = [workspace.get_run(project.id, each) for each in workspace.list_runs(project.id)]
    assert run.timestamp.date() == COHORT
    shown = {
        each.metric_value_location.metric.params["column"]: each.value
        for each in run.metric_results.values()
    }
    names = {"value": "contact effect", "low": "at least", "high": "at most"}
    assert shown == {name: pytest.approx(effect[end]) for end, name in names.items()}
    [panel] = project.dashboard.model().panels
    assert [line.legend for line in panel.values] == list(names.values())
    # Too few to be judged by.
    assert facts["mature"]["judged_by"] == "all"


def test_a_control_that_is_large_enough_judges_the_cohort(spark, settings, engine, params, lake):
    """Everybody's scores are the wrong way round; those of the control are right."""
    publish(
        *(lake, engine, a_record(COHORT, run_id="controlled")),
        is_contacted=[False] * 8,
        is_control=[False, False, True, False, True, False, False, False],
        probability=[0.1, 0.1, 0.75, 0.2, 0.7, 0.7, 0.8, 0.9],
    )
    accepted = read_json(lake / "bundles" / ("b" * 64) / "metrics.json")
    control = {"customers": 4, "buyers": 2, "model": accepted["model"]}
    write_json(lake / "bundles" / ("b" * 64) / "metrics.json", accepted | {"control": control})
    rules = params.performance.model_copy(
        update={"min_control_buyers": 1, "calibration_margin": 1.0}
    )
    params = params.model_copy(update={"performance": rules})

    facts = measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))

    assert facts["mature"]["judged_by"] == "control"
    assert facts["mature"]["finding"] == "holds"


def test_both_arms_are_measured_on_all_customers_whoever_was_served(
    spark, settings, engine, params, lake
):
    tried = Challenger(version="v1.1.0", bundle_sha256="d" * 64, percent=50)
    record = a_record(COHORT, run_id="with-challenger", challenger=tried)
    champion = [probability for probability, _ in CUSTOMERS.values()]
    challenger = [round(1 - probability, 1) for probability in champion]
    both = pa.record_batch(
        {
            "customer_id": list(CUSTOMERS),
            "champion_probability": champion,
            "champion_is_contacted": [one >= 0.5 for one in champion],
            "challenger_probability": challenger,
            "challenger_is_contacted": [one >= 0.5 for one in challenger],
        }
    )
    half = challenger[:1] + champion[1:2] + challenger[2:3] + champion[3:]
    served = ["challenger", "champion"] * 2 + ["champion"] * 4
    publish(
        lake,
        engine,
        record,
        probability=half,
        arm=served,
        status=["scored"] * 7 + ["default"],
        both=both,
    )
    shutil.rmtree(lake / catalog.FEATURES_LAYOUT.format(**record.key))
    night = a_record(NIGHT, intakes=deliveries())

    facts = measure_performance.run(spark, settings, params, night)

    mature = facts["mature"]
    assert mature["run_id"] == "with-challenger"
    assert mature["champion"]["roc_auc"]["value"] == 0
    assert mature["challenger"]["roc_auc"]["value"] == 1
    assert mature["challenger"]["precision"]["value"] == 1
    # In pairs: four of four buyers rise above four of four others, without exception.
    found = {
        metric: kept(engine, metric=metric, run_id="with-challenger", arm="challenger")
        for metric in ("roc_auc_difference", "log_loss_difference")
    }
    [(difference, customers)] = found["roc_auc_difference"].values()
    assert (difference, customers) == (1.0, 8)
    [(less, _)] = found["log_loss_difference"].values()
    assert less == pytest.approx(
        mature["challenger"]["log_loss"]["value"] - mature["champion"]["log_loss"]["value"],
        abs=1e-5,
    )
    shares = kept(engine, metric="buyer_share", run_id="with-challenger", arm="challenger")
    assert {key[3]: value for key, value in shares.items()} == {
        "all": (0.5, 8),
        "country: unknown": (0.5, 8),
        "tenure: unknown": (0.5, 8),
        # Of either model its own tenths; equal scores share one.
        "decile: 1": (1.0, 2),
        "decile: 3": (1.0, 2),
        "decile: 6": (0.0, 2),
        "decile: 9": (0.0, 1),
        "decile: 10": (0.0, 1),
        "status: fallback": (0.0, 1),
    }
    with engine.connect() as connection:
        versions = sa.select(PERFORMANCE.c["arm", "model_version"]).distinct()
        assert dict(connection.execute(versions).all())["challenger"] == "v1.1.0"


def test_what_cannot_be_measured_is_skipped_with_the_reason(engine, lake, params):
    night = a_record(NIGHT, intakes=deliveries())
    rules = params.performance.model_copy(update={"partial_days": [7, 14]})

    def found() -> tuple[list[tuple], list[str]]:
        cohorts, skipped = find_cohorts(engine, lake, night, rules)
        ages = [((NIGHT - one.record.score_date).days, one.maturity) for one in cohorts]
        return ages, [f"{skip['score_date']}: {skip['reason']}" for skip in skipped]

    ages, skipped = found()
    assert ages == [(30, "mature"), (7, "partial"), (0, "estimated")]
    assert skipped == ["2026-03-18: nothing is published"]

    record = lake / catalog.RUN_RECORD.format(**a_record(YOUNGER).key)
    record.unlink()
    lost = scored_file(lake, a_record(COHORT))
    lost.unlink()
    ages, skipped = found()
    assert ages == [(0, "estimated")]
    assert skipped == [
        f"2026-03-02: run run-{COHORT} is no longer whole in the lake: 1 of 1 files of the lake "
        f"are gone, the first is {lost}. Restore it from a backup, or make it again: "
        f"{a_record(COHORT).command('score_customers')}",
        "2026-03-18: nothing is published",
        f"2026-03-25: the record of run run-{YOUNGER} is no longer in the lake",
    ]

    publish(lake, engine, a_record(COHORT, run_id="retrained", bundle_sha256="e" * 64))
    assert "the bundle of v1.0.0 is not in" in found()[1][0]
    asked = Question(outcome="spend", least_amount=50, horizon_days=HORIZON)
    publish(lake, engine, a_record(COHORT, run_id="asked", question=asked))
    assert "it was scored for another question, spend_of_50_within_30d" in found()[1][0]


def test_predictions_made_again_that_are_not_what_was_published_are_not_measured(
    spark, settings, params, lake
):
    cohort = a_record(COHORT)
    fewer = pa.table(predictions(*list(CUSTOMERS)[1:]))
    made_again = put_dataset(lake, cohort, catalog.PREDICTIONS_LAYOUT, fewer)
    finish(lake, cohort, "score_customers", predictions=made_again)
    with pytest.raises(warehouse.PublishedChanged, match=f"run-{COHORT} .*from a backup"):
        measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))


ALTERED = [harm for harm, error in HARMS if error is PieceAltered]


@pytest.mark.parametrize("harm", ALTERED)
@pytest.mark.parametrize("read", ["predictions", "features", "activity"])
def test_pieces_that_are_not_as_they_were_written_are_not_measured(
    spark, settings, engine, params, lake, read, harm
):
    cohort, job = a_record(COHORT), {"predictions": "score_customers", "features": "build_features"}
    if read == "activity":
        bought_on = COHORT + timedelta(1)
        [file] = ActivityRecord.read(lake, bought_on, intake()).activity.files
        again = "jobs.load_history"
    else:
        [file] = StageRecord.read(lake, cohort, job[read]).pieces[read].files
        again = cohort.command(job[read])
    harm(lake / file.path)

    with pytest.raises(PieceAltered, match=rf"{file.path}\. .*{again}"):
        measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))

    assert kept(engine, metric="roc_auc") == {}


def test_activity_that_is_gone_stops_the_measuring(spark, settings, params, lake):
    [file] = ActivityRecord.read(lake, COHORT + timedelta(1), intake()).activity.files
    (lake / file.path).unlink()
    with pytest.raises(PieceMissing, match=rf"{file.path}\. .*jobs\.load_history"):
        measure_performance.run(spark, settings, params, a_record(NIGHT, intakes=deliveries()))


@pytest.mark.usefixtures("engine")
def test_before_the_run_is_published_nothing_is_computed(spark, settings, params):
    with pytest.raises(FileNotFoundError, match="publish_predictions has not finished"):
        measure_performance.run(spark, settings, params, a_record(NIGHT))
