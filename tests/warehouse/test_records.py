"""Tests of drift rows, model versions and promotions, and of the questions others ask."""

import contextlib
import stat
from datetime import UTC, date, datetime
from pathlib import Path
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
    before = warehouse.pointer_of(engine, score_date)
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

    query = "select customer_id, 7 % 4 as n from latest_predictions order by 1"
    answer = warehouse.look_up(engine, query)
    assert (answer.names, answer.rows) == (["customer_id", "n"], [("ada", 3), ("bob", 3)])
    assert not answer.is_cut
    with pytest.raises(warehouse.QueryRefused, match=r"(?i)read-?only|syntax error"):
        warehouse.look_up(engine, "delete from predictions")
    assert len(rows(engine, tables.PREDICTIONS)) == 2


def test_the_names_of_a_users_query_are_bound_to_values(engine):
    publish(engine)
    values = {"customer_id": "bob", "score_date": str(NIGHT)}
    answer = warehouse.look_up(engine, warehouse.WHO_SCORED, values)
    assert [row[answer.names.index("customer_id")] for row in answer.rows] == ["bob"]
    hostile = values | {"customer_id": "bob' or '1' = '1"}
    assert warehouse.look_up(engine, warehouse.WHO_SCORED, hostile).rows == []
    with pytest.raises(warehouse.QueryRefused, match="customer"):
        warehouse.look_up(engine, "select 1", {"customer": "bob"})
    with pytest.raises(warehouse.QueryRefused, match="night"):
        warehouse.look_up(engine, "select :customer, :night", {"customer": "bob"})
    deletion = "delete from predictions where customer_id = :customer returning customer_id"
    with pytest.raises(warehouse.QueryRefused, match=r"(?i)read-?only|syntax error"):
        warehouse.look_up(engine, deletion, {"customer": "bob"})


def test_a_retraining_tells_what_asked_for_it_and_when_it_was_live(engine):
    publish(engine)
    asked_at, tried_at, live_at = (datetime(2026, 4, day, 3, tzinfo=UTC) for day in (1, 2, 16))
    decision = warehouse.RecordedDecision(
        *("run-1", NIGHT, "retrain", "drift", ["three nights"], {}, "drift__2026-04-01")
    )
    warehouse.record_decision(engine, decision)
    for name, token in (("v1.0.0", None), ("v1.1.0", "drift__2026-04-01")):
        warehouse.record_version(engine, a_version(version=name, token=token, asked_at=asked_at))
    warehouse.record_promotion(engine, a_promotion())
    trial = {"version": "v1.1.0", "percent": 0, "against": 1, "at": tried_at}
    warehouse.record_challenge(engine, a_promotion(number=1, **trial))
    warehouse.record_promotion(engine, a_promotion(number=2, version="v1.1.0", at=live_at))

    answer = warehouse.look_up(engine, "select * from retrainings order by version")
    by_hand, asked = (dict(zip(answer.names, row, strict=True)) for row in answer.rows)
    assert (asked["version"], asked["trigger"], str(asked["score_date"])) == (
        *("v1.1.0", "drift"),
        str(NIGHT),
    )
    shown = [str(asked[name])[:10] for name in ("asked_at", "tried_at", "live_at")]
    assert shown == ["2026-04-01", "2026-04-02", "2026-04-16"]
    assert (by_hand["trigger"], by_hand["tried_at"]) == (None, None)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; commit; delete from predictions",
        "commit; delete from predictions",
        "set transaction read write; delete from predictions",
        "pragma query_only = off; delete from predictions",
    ],
)
def test_a_users_query_cannot_end_what_makes_it_harmless(engine, sql):
    publish(engine)
    with pytest.raises(warehouse.QueryRefused):
        warehouse.look_up(engine, sql)
    assert len(rows(engine, tables.PREDICTIONS)) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "commit",
        "set transaction read write",
        "set session characteristics as transaction read write",
        "pragma query_only = off",
        "pragma user_version = 7",
        "do $$ begin set transaction read write; delete from predictions; end $$",
        "do $$ begin commit; delete from predictions; end $$",
        "with off as (select set_config('transaction_read_only', 'off', false)), "
        "gone as (delete from predictions returning 1) select * from off, gone",
        "with gone as (delete from predictions returning 1) select * from gone",
    ],
)
def test_no_single_statement_of_a_user_changes_anything(engine, sql):
    publish(engine)
    with contextlib.suppress(warehouse.QueryRefused):
        warehouse.look_up(engine, sql)
    assert len(rows(engine, tables.PREDICTIONS)) == 2
    if engine.dialect.name == "sqlite":
        assert warehouse.look_up(engine, "pragma user_version").rows == [(0,)]


def test_the_readme_shows_the_query_that_is_tested():
    assert warehouse.WHO_SCORED.strip() in (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select {} from n"


def test_a_users_query_is_stopped_when_it_takes_too_long(engine):
    with pytest.raises(warehouse.QueryRefused, match=r"stopped after 1 seconds; .*--seconds"):
        warehouse.look_up(engine, ENDLESS.format("count(*)"), seconds=1)


def test_of_a_users_query_only_so_many_rows_are_fetched(engine):
    answer = warehouse.look_up(engine, ENDLESS.format("i") + " limit 1000000", limit=3)
    assert answer.rows == [(1,), (2,), (3,)]
    assert answer.is_cut


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("sql", ["attach '{}' as other", "vacuum into '{}'"])
def test_a_users_query_makes_no_file(engine, tmp_path, sql):
    publish(engine)
    with pytest.raises(warehouse.QueryRefused, match="too many attached"):
        warehouse.look_up(engine, sql.format(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_users_query_sees_what_a_reader_sees(engine):
    publish(engine)
    with pytest.raises(warehouse.QueryRefused, match="permission denied for table predictions"):
        warehouse.look_up(engine, "select * from predictions")


def test_a_slip_in_a_users_query_is_told_in_the_databases_words(engine):
    with pytest.raises(warehouse.QueryRefused, match=r"'selec 1': .*syntax error"):
        warehouse.look_up(engine, "selec 1")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_warehouse_file_is_not_for_everybody(url, engine):
    publish(engine)
    file = Path(engine.url.database)
    file.chmod(0o644)
    warehouse.migrate(url)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
