"""Tests of drift rows, model versions and promotions, and of the questions others ask."""

from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

import warehouse
from settings import PROJECT_ROOT
from tests.warehouse.nights import NIGHT, a_run, predictions
from warehouse import tables


def a_version(**changes) -> SimpleNamespace:
    values = {
        "name": "repurchase",
        "version": "v1.0.0",
        "commit": "c0ffee",
        "bundle_sha256": "b" * 64,
        "bundle_md5": "d" * 32,
        "source": "generated",
        "training_until": date(2026, 3, 31),
        "asked_at": None,
        "token": "drift__2026-04-01",
        "metrics": {"roc_auc": 0.78125, "by_country": {"France": None}},
        "reason": "first model",
        "actor": "tests",
    }
    return SimpleNamespace(**values | changes)


def a_promotion(**changes) -> SimpleNamespace:
    values = {
        "name": "repurchase",
        "number": 1,
        "version": "v1.0.0",
        "previous": None,
        "reason": "first model",
        "actor": "tests",
        "at": datetime(2026, 4, 1, 12, tzinfo=UTC),
    }
    return SimpleNamespace(**values | changes)


def finding(column: str, verdict: str = "steady", value: float | None = 0.1) -> SimpleNamespace:
    return SimpleNamespace(
        column=column,
        kind="number",
        method="psi",
        value=value,
        threshold=0.2,
        verdict=verdict,
        detail="as before",
    )


def publish(engine, run_id="run-1", score_date=NIGHT, **columns):
    run = a_run(run_id, score_date=score_date)
    batch = predictions("ada", "bob", **columns)
    before = warehouse.current_run(engine, score_date)
    warehouse.publish(engine, run, [batch], replaces=before)


def rows(engine, table):
    with engine.connect() as connection:
        return connection.execute(sa.select(table)).all()


def test_a_version_is_recorded_once_with_an_audit_line(engine):
    warehouse.record_version(engine, a_version())
    warehouse.record_version(engine, a_version())

    [row] = rows(engine, tables.MODEL_VERSIONS)
    assert row.metrics == a_version().metrics
    [event] = rows(engine, tables.AUDIT_LOG)
    assert (event.event, event.details["version"]) == ("model_registered", "v1.0.0")
    assert warehouse.check_audit(engine) == 1


def test_a_version_that_was_rewritten_is_refused(engine):
    warehouse.record_version(engine, a_version())

    with pytest.raises(warehouse.HistoryDiffers, match="bundle_sha256"):
        warehouse.record_version(engine, a_version(bundle_sha256="0" * 64))


def test_promotions_are_recorded_once_in_order(engine):
    warehouse.record_promotion(engine, a_promotion())
    warehouse.record_promotion(engine, a_promotion(number=2, version="v1.1.0", previous="v1.0.0"))
    warehouse.record_promotion(engine, a_promotion())

    moves = [(row.number, row.previous, row.version) for row in rows(engine, tables.PROMOTIONS)]
    assert moves == [(1, None, "v1.0.0"), (2, "v1.0.0", "v1.1.0")]
    assert warehouse.check_audit(engine) == 2


def test_drift_of_a_run_is_replaced_whole(engine):
    publish(engine)
    warehouse.replace_drift(
        engine, "run-1", {"reference": [finding("old"), finding("tenure_days")]}
    )

    warehouse.replace_drift(
        engine, "run-1", {"reference": [finding("tenure_days", "empty", value=None)]}
    )

    [row] = rows(engine, tables.DRIFT)
    assert (row.column_name, row.verdict, row.value) == ("tenure_days", "empty", None)


def test_drift_of_a_run_that_is_not_published_is_refused(engine):
    with pytest.raises(sa.exc.IntegrityError):
        warehouse.replace_drift(engine, "never", {"reference": [finding("tenure_days")]})


def test_the_run_before_is_the_current_run_of_the_newest_earlier_night(engine):
    publish(engine, "first", date(2026, 3, 30))
    publish(engine, "old", date(2026, 3, 31))
    publish(engine, "new", date(2026, 3, 31))
    publish(engine, "later", date(2026, 4, 2))

    assert warehouse.run_before(engine, NIGHT) == "new"
    assert warehouse.run_before(engine, date(2026, 3, 30)) is None
    assert warehouse.current_run(engine, NIGHT) is None


def test_a_night_tells_how_its_scores_are_distributed(engine):
    publish(engine, probability=[0.3, 1.0], is_contacted=[False, True])
    of_columns = [finding("a"), finding("b", "drift"), finding("c", "constant")]
    of_the_night = finding("night", "drift")
    of_the_night.kind = "night"
    warehouse.replace_drift(
        engine,
        "run-1",
        {"reference": [of_the_night, *of_columns], "same_weekday": [finding("a", "drift")]},
    )

    [night] = warehouse.newest_nights(engine, 5)

    assert night.mean_probability == 0.65
    assert night.contacted_share == 0.5
    assert night.histogram == (0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    assert (night.drifted_columns, night.compared_columns) == (1, 2)
    assert (night.delivered, night.accepted, night.quarantined, night.excluded) == (10, 7, 2, 1)


def test_only_the_newest_nights_are_told_oldest_first(engine):
    for day in (3, 1, 2):
        publish(engine, f"run-{day}", date(2026, 4, day))

    assert [night.run_id for night in warehouse.newest_nights(engine, 2)] == ["run-2", "run-3"]


def test_rules_are_counted_over_the_nights_asked_for(engine):
    for day in (1, 2, 3):
        publish(engine, f"run-{day}", date(2026, 4, day))

    rules = warehouse.top_rules(engine, warehouse.newest_nights(engine, 2), limit=1)

    assert rules == [warehouse.RuleCount("quarantined", "price_is_positive", 4)]


def test_a_users_query_may_read_but_not_write(engine):
    publish(engine)

    names, answer = warehouse.look_up(engine, "select customer_id, 7 % 4 as n from predictions")
    assert (names, answer) == (["customer_id", "n"], [("ada", 3), ("bob", 3)])
    with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read-?only"):
        warehouse.look_up(engine, "delete from predictions")
    assert len(rows(engine, tables.PREDICTIONS)) == 2


def test_the_readme_shows_the_query_that_is_tested():
    assert warehouse.WHO_SCORED.strip() in (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
