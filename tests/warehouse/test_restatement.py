"""Tests of nights that are switched together, and of what they go on being judged by."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

import warehouse
from tests.warehouse.nights import NIGHT, a_challenged_run, a_run, arm_scores, predictions, shown
from warehouse import Measurement, Overtaken, RestatedNight, publish_restated
from warehouse.tables import AUDIT_LOG

NEXT = NIGHT + timedelta(days=1)
BOTH = (NIGHT, NEXT)


@pytest.fixture
def published(engine):
    """A warehouse with two nights, run-1 and run-2."""
    for number, night in enumerate(BOTH, start=1):
        run = a_run(f"run-{number}", score_date=night)
        warehouse.publish(engine, run, [predictions("ada", "bob")], replaces=None)
    return engine


def restated(engine, number: int, **changes) -> RestatedNight:
    later = {"score_date": BOTH[number - 1], "published_at": datetime(2026, 4, 9, tzinfo=UTC)}
    run = a_run(f"restated-{number}", **later | changes)
    batch = predictions("ada", "bob", probability=0.25)
    replaces = shown(engine, f"run-{number}", BOTH[number - 1])
    return RestatedNight(run, replaces, [batch])


def switch(engine, *nights: RestatedNight) -> int:
    return publish_restated(engine, nights, actor="ada", reason="late lines")


def current(engine) -> list[str]:
    return list(warehouse.current_runs(engine, *BOTH).values())


def test_all_nights_switch_together(published):
    assert switch(published, restated(published, 2), restated(published, 1)) == 2
    assert current(published) == ["restated-1", "restated-2"]
    with published.connect() as connection:
        view = sa.text("select distinct probability from current_predictions")
        assert connection.scalars(view).all() == [0.25]


def test_switching_again_changes_nothing(published):
    nights = restated(published, 1), restated(published, 2)
    switch(published, *nights)
    events = warehouse.check_audit(published)
    assert switch(published, *nights) == 0
    assert warehouse.check_audit(published) == events


def test_none_switches_when_one_was_published_meanwhile(published):
    nights = restated(published, 1), restated(published, 2)
    other = a_run("run-3", score_date=NEXT)
    replaces = shown(published, "run-2", NEXT)
    warehouse.publish(published, other, [predictions("ada", "bob")], replaces=replaces)
    with pytest.raises(Overtaken, match="run-3"):
        switch(published, *nights)
    assert current(published) == ["run-1", "run-3"]
    assert warehouse.score_of(published, "restated-1", "ada") is None


def test_none_switches_when_the_rows_of_one_are_broken(published):
    wrong = restated(published, 2, population=3, scored=3)
    with pytest.raises(warehouse.CountsDiffer):
        switch(published, restated(published, 1), wrong)
    assert current(published) == ["run-1", "run-2"]


def test_a_roll_back_undoes_a_night(published):
    switch(published, restated(published, 1), restated(published, 2))
    warehouse.roll_back(published, NIGHT, actor="ben", reason="it was right before")
    assert current(published) == ["run-1", "restated-2"]


def test_the_audit_log_says_who_restated_what_and_why(published):
    switch(published, restated(published, 1))
    with published.connect() as connection:
        event = AUDIT_LOG.c.event == "nights_restated"
        [details] = connection.scalars(sa.select(AUDIT_LOG.c.details).where(event))
    assert details == {
        "nights": [
            {
                "score_date": str(NIGHT),
                "run_id": "restated-1",
                "instead_of": "run-1",
                "judged_by": "run-1",
            }
        ],
        "by": "ada",
        "reason": "late lines",
    }


def test_a_night_is_judged_by_what_readers_had_in_their_time_however_often_it_is_restated(
    published,
):
    switch(published, restated(published, 1))
    once_more = RestatedNight(
        a_run("restated-3"), shown(published, "restated-1"), [predictions("ada", "bob")]
    )
    switch(published, once_more)
    assert current(published) == ["restated-3", "run-2"]
    assert warehouse.judged_runs(published, *BOTH) == {NIGHT: "run-1", NEXT: "run-2"}


def test_a_new_run_of_a_restated_night_is_judged_itself(published):
    switch(published, restated(published, 1))
    redelivered = a_run("run-4")
    warehouse.publish(
        published, redelivered, [predictions("ada", "bob")], replaces=shown(published, "restated-1")
    )
    assert warehouse.judged_runs(published, NIGHT, NIGHT) == {NIGHT: "run-4"}


def test_a_restatement_hides_no_incident(published):
    finding = SimpleNamespace(
        dataset="transactions",
        column="quantity",
        measure="missing_share",
        value=0.5,
        low=0.0,
        high=0.1,
        detail="",
        verdict="incident",
    )
    warehouse.replace_quality(published, "run-1", [finding])
    switch(published, restated(published, 1))
    assert warehouse.incident_nights(published, *BOTH) == {NIGHT}


def mature(run_id: str, **changes) -> Measurement:
    values = {
        "run_id": run_id,
        "score_date": NIGHT,
        "arm": "champion",
        "model_version": "v1.0.0",
        "maturity": "mature",
        "measured_on": date(2026, 5, 1),
        "slice": "all",
        "metric": "roc_auc",
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "customers": 2,
    }
    return Measurement(**values | changes)


def test_a_restated_cohort_is_not_measured_a_second_time(published):
    warehouse.replace_performance(published, "run-1", date(2026, 5, 1), [mature("run-1")])
    switch(published, restated(published, 1))
    measured = warehouse.measured_cohorts(published, *BOTH, date(2026, 5, 2))
    assert measured == {NIGHT: date(2026, 5, 1), NEXT: None}


def test_estimates_are_compared_with_what_was_measured_then(published):
    both = [mature("run-1"), mature("run-1", maturity="estimated", value=0.75)]
    warehouse.replace_performance(published, "run-1", date(2026, 5, 1), both)
    switch(published, restated(published, 1))
    [found] = warehouse.estimate_errors(published, until=date(2026, 5, 2))
    assert (found.run_id, found.realised) == ("run-1", 0.8)


def test_a_night_with_a_challenger_goes_on_counting_as_one(engine):
    def challenged(run_id: str) -> tuple:
        rows = predictions("ada", "bob", arm=["champion", "challenger"])
        return a_challenged_run(run_id), [rows], [arm_scores("ada", "bob")]

    run, rows, arms = challenged("run-1")
    warehouse.publish(engine, run, rows, replaces=None, arm_scores=arms)
    # A newer night makes what is published of an older one after it a backfill.
    newer = a_run("run-2", score_date=NEXT, published_at=datetime(2026, 4, 3, tzinfo=UTC))
    warehouse.publish(engine, newer, [predictions("ada", "bob")], replaces=None)
    run, rows, arms = challenged("restated-1")
    switch(engine, RestatedNight(run, shown(engine, "run-1"), rows, arms))
    since = datetime(2026, 4, 1, tzinfo=UTC)
    assert warehouse.nights_tried(engine, NEXT, "v1.1.0", 5, since) == 1
