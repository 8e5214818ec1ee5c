"""Tests of what the warehouse keeps about how well published scores turned out."""

from dataclasses import replace as replace_fields
from datetime import date, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

import warehouse
from tests.warehouse.nights import NIGHT, a_run, predictions
from warehouse import Measurement, PublishedChanged
from warehouse.bulk import SCHEMAS
from warehouse.content import Content
from warehouse.tables import DRIFT, LABEL_MATURITY, NEWEST_PERFORMANCE, PERFORMANCE

MATURED = NIGHT + timedelta(30)


def publish(engine, run_id="run-1", score_date=NIGHT) -> None:
    before = warehouse.pointer_of(engine, score_date)
    run = a_run(run_id, score_date=score_date)
    warehouse.publish(engine, run, [predictions("ada", "bob")], replaces=before)


def a_measurement(**changes) -> Measurement:
    values = {
        "run_id": "run-1",
        "score_date": NIGHT,
        "arm": "champion",
        "model_version": "v1.0.0",
        "maturity": "mature",
        "measured_on": MATURED,
        "slice": "all",
        "metric": "roc_auc",
        "value": 0.75,
        "low": 0.7,
        "high": 0.8,
        "customers": 2,
    }
    return Measurement(**values | changes)


def replace(engine, *rows: Measurement) -> None:
    [[run_id, measured_on]] = {(row.run_id, row.measured_on) for row in rows}
    warehouse.replace_performance(engine, run_id, measured_on, rows)


def kept(engine) -> list[tuple]:
    c = PERFORMANCE.c
    query = sa.select(c.measured_on, c.maturity, c.value).order_by(c.measured_on, c.value)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def test_measuring_a_cohort_again_replaces_what_was_found_that_night_and_no_other(engine):
    publish(engine)
    early = MATURED - timedelta(7)
    replace(engine, a_measurement(maturity="partial", measured_on=early, value=0.6))
    replace(engine, a_measurement(maturity="partial", value=0.7), a_measurement(metric="brier"))
    replace(engine, a_measurement(value=None, low=None, high=None))
    assert kept(engine) == [(early, "partial", 0.6), (MATURED, "mature", None)]


def test_a_mature_cohort_that_was_measured_again_keeps_both_values_and_the_last_one_counts(engine):
    publish(engine)
    replace(engine, a_measurement(maturity="estimated", measured_on=NIGHT, value=0.5))
    again = MATURED + timedelta(1)
    for measured_on, value in ((MATURED, 0.6), (again, 0.7)):
        arms = {"champion": "v1.0.0", "challenger": "v1.1.0"}
        replace(
            engine,
            *(
                a_measurement(measured_on=measured_on, value=value, arm=arm, model_version=version)
                for arm, version in arms.items()
            ),
        )
    assert [row for row in kept(engine) if row[1] == "mature"] == [
        (MATURED, "mature", 0.6),
        (MATURED, "mature", 0.6),
        (again, "mature", 0.7),
        (again, "mature", 0.7),
    ]
    c = NEWEST_PERFORMANCE.c
    newest = sa.select(c.measured_on).where(c.maturity == "mature").distinct()
    with engine.connect() as connection:
        assert connection.scalars(newest).all() == [again]
    assert len(warehouse.newest_comparison(engine, "v1.0.0", "v1.1.0")) == 2
    realised = {
        until: [one.realised for one in warehouse.estimate_errors(engine, until)]
        for until in (MATURED, again)
    }
    assert realised == {MATURED: [0.6], again: [0.7]}


def test_a_cohort_that_was_not_published_is_refused(engine):
    with pytest.raises(sa.exc.IntegrityError):
        replace(engine, a_measurement(run_id="nobody-knows"))


def test_the_maturity_curve_counts_days_from_one(engine):
    publish(engine)
    warehouse.replace_maturity_curve(engine, "run-1", NIGHT, [1, 1, 1])
    warehouse.replace_maturity_curve(engine, "run-1", NIGHT, [0, 2])
    c = LABEL_MATURITY.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(c.score_date, c.days, c.buyers).order_by(c.days)).all()
    assert rows == [(NIGHT, 1, 0), (NIGHT, 2, 2)]


def estimated_and_mature(engine, run_id: str, score_date: date, estimated, realised) -> None:
    key = {"run_id": run_id, "score_date": score_date}
    after = score_date + timedelta(30)
    replace(
        engine,
        a_measurement(**key, maturity="estimated", measured_on=score_date, value=estimated),
    )
    replace(
        engine,
        a_measurement(**key, measured_on=after, value=realised),
        a_measurement(**key, measured_on=after, value=0.1, metric="brier"),
        a_measurement(**key, measured_on=after, value=0.1, slice="decile: 1"),
    )


def test_past_estimates_stand_beside_what_came(engine):
    for number, (estimated, realised) in enumerate([(0.75, 0.5), (0.5, 0.75), (0.5, None)]):
        publish(engine, f"run-{number}", NIGHT + timedelta(number))
        estimated_and_mature(
            engine, f"run-{number}", NIGHT + timedelta(number), estimated, realised
        )

    errors = warehouse.estimate_errors(engine, until=MATURED + timedelta(9))
    assert [(each.score_date, each.run_id, each.error) for each in errors] == [
        (NIGHT, "run-0", 0.25),
        (NIGHT + timedelta(1), "run-1", -0.25),
    ]
    assert [each.run_id for each in warehouse.estimate_errors(engine, until=MATURED)] == ["run-0"]
    assert warehouse.estimate_errors(engine, until=MATURED - timedelta(1)) == []
    assert warehouse.estimate_errors(engine, until=MATURED, metric="brier") == []


def test_the_estimate_of_a_superseded_run_does_not_count_twice(engine):
    for run_id in ("run-1", "run-2"):
        publish(engine, run_id)
        estimated_and_mature(engine, run_id, NIGHT, 0.75, 0.5)
    assert [each.run_id for each in warehouse.estimate_errors(engine, MATURED)] == ["run-2"]


@pytest.mark.parametrize(
    ("reference", "weeks_before", "verdict"),
    [
        ("drift", "steady", "drift"),
        ("steady", "drift", "drift"),
        ("steady", "steady", "steady"),
        ("too_few_rows", "too_few_rows", "too_few_rows"),
    ],
)
def test_a_night_has_drifted_as_a_whole_against_the_reference_or_the_weeks_before(
    engine, reference, weeks_before, verdict
):
    publish(engine)
    assert warehouse.night_drift(engine, "run-1") is None
    finding = {"run_id": "run-1", "method": "share", "detail": "", "value": 0.1, "threshold": 0.3}
    rows = [
        ("reference", "night", "night", reference),
        ("reference", "spend_30d", "number", "drift"),
        ("same_weekday", "night", "night", weeks_before),
    ]
    names = ("against", "column_name", "kind", "verdict")
    with engine.begin() as connection:
        connection.execute(
            DRIFT.insert(), [finding | dict(zip(names, row, strict=True)) for row in rows]
        )
    assert warehouse.night_drift(engine, "run-1") == verdict


def test_a_changed_score_of_the_challenger_is_noticed_though_nobody_was_served_by_it(engine):
    run = replace_fields(
        a_run("run-1"),
        challenger_version="v1.1.0",
        challenger_threshold_version="bb22",
        challenger_bundle_sha256="c" * 64,
        challenger_percent=0,
    )

    def both(probability: float) -> pa.RecordBatch:
        columns = {
            "customer_id": ["ada", "bob"],
            "champion_probability": [0.5, 0.5],
            "champion_is_contacted": [False, False],
            "challenger_probability": [0.5, probability],
            "challenger_is_contacted": [False, False],
        }
        return pa.record_batch(columns)

    served = predictions("ada", "bob")
    warehouse.publish(engine, run, [served], replaces=None, arm_scores=[both(0.25)])
    warehouse.check_published(engine, "run-1", [served], [both(0.25)])
    with pytest.raises(PublishedChanged, match="run-1"):
        warehouse.check_published(engine, "run-1", [served], [both(0.26)])


def test_a_column_that_is_added_later_says_nothing_about_earlier_runs(engine, monkeypatch):
    """What measuring an old cohort and publishing it again look at are the columns it had."""
    publish(engine)
    wider = SCHEMAS["predictions"].append(pa.field("offer", pa.string()))
    monkeypatch.setitem(SCHEMAS, "predictions", wider)

    batch = predictions("ada", "bob")
    warehouse.check_published(engine, "run-1", [batch])
    assert warehouse.publish(engine, a_run(), [batch], replaces=None) == "unchanged"
    with pytest.raises(warehouse.PredictionsBroken, match="no column offer"):
        list(Content("run-2", [batch]))


def test_a_changed_prediction_is_noticed(engine):
    publish(engine)
    warehouse.check_published(engine, "run-1", [predictions("ada"), predictions("bob")])
    for changed in (predictions("ada"), predictions("ada", "bob", probability=[0.5, 0.51])):
        with pytest.raises(PublishedChanged, match=r"run-1 .*restore the run's folder"):
            warehouse.check_published(engine, "run-1", [changed])


def test_a_run_that_was_superseded_hides_no_older_comparison(engine):
    later = NIGHT + timedelta(1)
    publish(engine)
    publish(engine, "run-2", later)
    for run_id, night in (("run-1", NIGHT), ("run-2", later)):
        arms = (
            a_measurement(run_id=run_id, score_date=night, arm=arm, model_version=version)
            for arm, version in (("champion", "v1.0.0"), ("challenger", "v1.1.0"))
        )
        replace(engine, *arms)

    def compared() -> set[date]:
        return {row.score_date for row in warehouse.newest_comparison(engine, "v1.0.0", "v1.1.0")}

    assert compared() == {later}
    publish(engine, "run-3", later)
    assert compared() == {NIGHT}


def test_a_night_of_which_nothing_mature_is_known_waits_to_be_measured(engine):
    days = [NIGHT + timedelta(n) for n in range(3)]
    for day in days:
        publish(engine, f"run-{day}", day)
    late = MATURED + timedelta(5)
    for day, maturity, measured_on in (
        (days[0], "mature", MATURED),
        (days[1], "partial", MATURED),
        (days[2], "mature", late),
    ):
        replace(
            engine,
            a_measurement(
                run_id=f"run-{day}", score_date=day, maturity=maturity, measured_on=measured_on
            ),
        )

    def measured(night: date) -> dict[date, date | None]:
        return warehouse.measured_cohorts(engine, days[0], days[-1], night)

    assert measured(late + timedelta(1)) == {days[0]: MATURED, days[1]: None, days[2]: late}
    # What tonight has found itself, it finds again.
    assert measured(late) == {days[0]: MATURED, days[1]: None, days[2]: None}
