"""Tests of what retention lets go, and of what is left when it went."""

from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

import warehouse
from params import Retention
from tests.warehouse.nights import (
    NIGHT,
    a_challenged_run,
    a_run,
    arm_scores,
    predictions,
    shown,
)
from warehouse import StoredRun, tables

NOON = datetime(2026, 4, 2, 12, tzinfo=UTC)


def stored(age: int, *, is_current=True, is_judged=None, left_days: int = 0) -> StoredRun:
    """A run of a night that is ``age`` days older than the newest, which is `NIGHT`."""
    return StoredRun(
        run_id=f"run-{age}",
        score_date=NIGHT - timedelta(days=age),
        customers=2,
        is_current=is_current,
        is_judged=is_current if is_judged is None else is_judged,
        moved_at=NOON - timedelta(days=left_days),
    )


def dropped(*runs: StoredRun, needed_days: int = 44, **rules) -> list[str]:
    """The ids of those that go, beside the newest night."""
    chosen = warehouse.runs_to_drop([*runs, stored(0)], Retention(**rules), needed_days)
    return [run.run_id for run, _ in chosen]


def test_nothing_goes_unless_it_is_asked_for():
    assert dropped(stored(5000), stored(4000, is_current=False, left_days=4000)) == []


def test_a_night_goes_when_it_is_older_than_asked():
    assert dropped(stored(365), stored(366), night_days=365) == ["run-366"]


def test_a_night_that_is_still_to_be_measured_stays_whatever_is_asked():
    assert dropped(stored(44), stored(45), night_days=1) == ["run-45"]


def test_a_run_goes_when_readers_have_not_seen_it_for_longer_than_asked():
    runs = (stored(3, is_current=False, left_days=2), stored(9, is_current=False, left_days=3))
    assert dropped(*runs, superseded_days=2) == ["run-9"]


def test_a_run_that_judges_its_night_stays_until_it_is_measured_though_readers_see_another():
    judging = {"is_current": False, "is_judged": True, "left_days": 30}
    assert dropped(stored(44, **judging), stored(45, **judging), superseded_days=7) == ["run-45"]


def test_a_night_under_audit_stays():
    runs = (stored(400), stored(500), stored(500, is_current=False, left_days=500))
    under_audit = [NIGHT - timedelta(days=500)]
    rules = {"night_days": 100, "superseded_days": 1, "keep_nights": under_audit}
    assert dropped(*runs, **rules) == ["run-400"]


@pytest.fixture
def published(engine) -> sa.Engine:
    """A night of which readers see run-2, after run-1."""
    for run_id in ("run-1", "run-2"):
        before = warehouse.pointer_of(engine, NIGHT)
        warehouse.publish(
            engine,
            a_challenged_run(run_id, challenger_served=0),
            [predictions("ada", "bob")],
            replaces=before,
            arm_scores=[arm_scores("ada", "bob")],
        )
    return engine


def run_of(engine: sa.Engine, run_id: str) -> StoredRun:
    [run] = [one for one in warehouse.stored_runs(engine) if one.run_id == run_id]
    return run


def drop(engine: sa.Engine, run: StoredRun) -> bool:
    return warehouse.drop_run(engine, run, actor="ada", reason="it is old")


def runs_in(engine: sa.Engine, table: sa.Table) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(table.c.run_id).distinct().order_by("run_id")))


def test_a_dropped_run_loses_its_scores_and_nothing_else(published):
    first, second = warehouse.stored_runs(published)
    assert (first.is_current, second.is_current, second.is_judged) == (False, True, True)

    assert drop(published, first)

    assert warehouse.stored_runs(published) == [second]
    assert warehouse.dropped_nights(published) == {"run-1": NIGHT}
    for table in (tables.PREDICTIONS, tables.ARM_SCORES):
        assert runs_in(published, table) == ["run-2"]
    assert runs_in(published, tables.SCORING_RUNS) == ["run-1", "run-2"]
    with published.connect() as connection:
        newest = sa.select(tables.AUDIT_LOG).order_by(tables.AUDIT_LOG.c.number.desc()).limit(1)
        line = connection.execute(newest).one()
    assert line.event == "run_dropped"
    assert line.details == {
        "run_id": "run-1",
        "score_date": "2026-04-01",
        "customers": 2,
        "was_current": False,
        "by": "ada",
        "reason": "it is old",
    }
    warehouse.check_audit(published)


def test_a_run_is_dropped_once(published):
    run = run_of(published, "run-1")
    assert drop(published, run)
    assert not drop(published, run)
    assert warehouse.check_audit(published) == 3


def test_a_run_that_readers_see_again_since_it_was_chosen_is_not_dropped(published):
    run = run_of(published, "run-1")
    warehouse.roll_back(published, NIGHT, actor="ada", reason="better", run_id="run-1")

    assert not drop(published, run)

    assert runs_in(published, tables.PREDICTIONS) == ["run-1", "run-2"]


def test_a_night_cannot_be_rolled_back_to_a_dropped_run(published):
    drop(published, run_of(published, "run-1"))
    for run_id in (None, "run-1"):
        with pytest.raises(warehouse.NothingToRollBack, match="the newest first: run-2"):
            warehouse.roll_back(published, NIGHT, actor="ada", reason="better", run_id=run_id)


def test_a_night_whose_scores_were_dropped_is_not_listed_and_says_who_dropped_it(published):
    next_night = NIGHT + timedelta(days=1)
    run = a_run("run-3", score_date=next_night)
    warehouse.publish(published, run, [predictions("ada", "bob")], replaces=None)
    drop(published, run_of(published, "run-2"))

    assert [night.run_id for night in warehouse.newest_nights(published, 5)] == ["run-3"]
    warehouse.check_kept(published, "run-3")
    told = r"run run-2 of 2026-04-01 were dropped on \d{4}-\d\d-\d\d by ada \(it is old\)"
    with pytest.raises(warehouse.RunDropped, match=told):
        warehouse.check_kept(published, "run-2")


def test_a_restated_night_is_judged_by_a_run_that_readers_do_not_see(engine):
    assert warehouse.stored_runs(engine) == []
    run = a_run("first", score_date=date(2026, 3, 1))
    warehouse.publish(engine, run, [predictions("ada", "bob")], replaces=None)
    restated = warehouse.RestatedNight(
        a_run("restated", score_date=date(2026, 3, 1)),
        shown(engine, "first", date(2026, 3, 1)),
        [predictions("ada", "bob", decile=2)],
    )
    warehouse.publish_restated(engine, [restated], actor="ada", reason="late lines")

    found = {one.run_id: (one.is_current, one.is_judged) for one in warehouse.stored_runs(engine)}
    assert found == {"first": (False, True), "restated": (True, False)}


@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_who_may_drop_scores_may_do_nothing_else_and_the_jobs_may_not(connect_as, published):
    remover, writer = connect_as("remover"), connect_as("writer")
    warehouse.check_migrated(remover)
    warehouse.check_may_drop(remover)
    [run, _] = warehouse.stored_runs(remover)
    assert drop(remover, run)
    assert runs_in(published, tables.PREDICTIONS) == ["run-2"]
    assert warehouse.dropped_nights(remover) == {"run-1": NIGHT}
    for forbidden in ("delete from scoring_runs", "update predictions set decile = 1"):
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
            remover.begin() as connection,
        ):
            connection.execute(sa.text(forbidden))

    with pytest.raises(warehouse.MayNotDrop, match="in role scoring_remover"):
        warehouse.check_may_drop(writer)
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        drop(writer, run_of(writer, "run-2"))
