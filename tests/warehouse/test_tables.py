"""Tests of tables, constraints and migrations, on SQLite and on PostgreSQL."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import warehouse
from tests.warehouse.nights import (
    NIGHT,
    a_challenged_run,
    a_run,
    arm_scores,
    predictions,
    shown,
)
from warehouse import tables
from warehouse.migrate import migration_config
from warehouse.views import VIEWS

TABLES = [table.name for table in tables.METADATA.sorted_tables]


def run_row(**changes) -> dict:
    """A row of scoring_runs that adds up."""
    texts = {column.name: "x" for column in tables.SCORING_RUNS.c}
    row = {**texts, "run_id": "run-1", "score_date": "2026-04-01"}
    row |= {"delivered": 10, "accepted": 7, "quarantined": 2, "excluded": 1}
    row |= {"population": 5, "scored": 4, "fallback": 1, "challenger_percent": 5}
    row |= {"audit_number": 1, "hashed_columns": "{}"}
    return row | {"published_at": "2026-04-02T03:15:07.120000Z"} | changes


def insert_raw(engine: sa.Engine, **changes) -> None:
    """Insert it past all our own code."""
    row = run_row(**changes)
    names = ", ".join(row)
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"insert into scoring_runs ({names}) values (:{', :'.join(row)})"),  # noqa: S608
            row,
        )


def test_models_and_migrations_agree(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.METADATA) == []


def test_migrations_make_the_constraints_that_the_models_declare(engine):
    """Alembic's own comparison does not look at CHECK constraints."""
    inspector = sa.inspect(engine)
    for table in tables.METADATA.sorted_tables:
        declared = {
            str(constraint.name)
            for constraint in table.constraints
            if isinstance(constraint, sa.CheckConstraint)
        }
        prefix = f"ck_{table.name}_"
        declared = {name.removeprefix(prefix) for name in declared}
        found = {
            check["name"].removeprefix(prefix)
            for check in inspector.get_check_constraints(table.name)
        }
        assert found == declared, table.name


def test_every_view_has_the_columns_that_are_declared(engine):
    for view in (tables.CURRENT_PREDICTIONS, tables.LATEST_PREDICTIONS, tables.RETRAININGS):
        columns = [column["name"] for column in sa.inspect(engine).get_columns(view.name)]
        assert columns == view.c.keys()


def test_a_view_whose_query_was_changed_is_made_again_and_the_others_stay_readable(
    url, engine, monkeypatch
):
    warehouse.publish(engine, a_run(), [predictions("ada", "bob")], replaces=None)
    changed = VIEWS["latest_predictions"].replace("select *", "select customer_id")
    monkeypatch.setitem(VIEWS, "latest_predictions", changed)

    warehouse.migrate(url)

    with engine.connect() as connection:
        rows = connection.execute(sa.text("select * from latest_predictions")).all()
        assert sorted(rows) == [("ada",), ("bob",)]
        assert connection.scalar(sa.text("select count(*) from current_predictions")) == 2


@pytest.mark.parametrize(("day", "is_near"), [("2027-04-02", True), ("2027-04-03", False)])
def test_the_database_itself_refuses_a_night_far_from_the_newest(engine, day, is_near):
    insert_raw(engine)
    far = {"run_id": "far", "score_date": day}
    if is_near:
        insert_raw(engine, **far)
        return
    with pytest.raises(sa.exc.IntegrityError, match="366 days after the newest night"):
        insert_raw(engine, **far)


def test_migrating_twice_changes_nothing(url, engine):
    warehouse.publish(engine, a_run(), [predictions("ada", "bob")], replaces=None)

    assert warehouse.migrate(url) == warehouse.migrate(url)

    assert warehouse.current_run(engine, a_run().score_date) == "run-1"


def test_scores_keep_their_values_when_the_run_comes_to_lead_the_key(url, engine):
    both = {"population": 2, "challenger_served": 0}
    for run_id, decile in (("run-2", 2), ("run-1", 1)):
        before = warehouse.pointer_of(engine, NIGHT)
        scores = [predictions("ada", "bob", decile=decile, reason_1=["often", None])]
        arms = [arm_scores("ada", "bob", challenger_is_contacted=[True, False])]
        run = a_challenged_run(run_id, **both)
        warehouse.publish(engine, run, scores, replaces=before, arm_scores=arms)
    large = (tables.PREDICTIONS, tables.ARM_SCORES)
    # The columns of that time; the control came later.
    columns = [[c for c in table.c if c.name not in ("is_control", "question")] for table in large]

    def kept() -> list:
        with engine.connect() as connection:
            return [sorted(connection.execute(sa.select(*some)).all(), key=str) for some in columns]

    def keys() -> list:
        inspector = sa.inspect(engine)
        return [inspector.get_pk_constraint(table.name)["constrained_columns"] for table in large]

    published = kept()
    with warehouse.writing(engine) as connection:
        command.downgrade(migration_config(connection), "0003")
    assert (keys(), kept()) == ([["customer_id", "run_id"]] * 2, published)

    warehouse.migrate(url)

    assert (keys(), kept()) == ([["run_id", "customer_id"]] * 2, published)
    warehouse.check_published(engine, "run-1", scores, arms)


def test_tables_can_be_taken_away_and_made_again(url, engine):
    with warehouse.writing(engine) as connection:
        command.downgrade(migration_config(connection), "base")
    assert sa.inspect(engine).get_table_names() == ["alembic_version"]
    assert sa.inspect(engine).get_view_names() == []

    warehouse.migrate(url)

    assert sorted(sa.inspect(engine).get_table_names()) == sorted([*TABLES, "alembic_version"])


def test_a_failed_migration_leaves_no_table_behind(empty_url):
    engine = warehouse.connect(empty_url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table scoring_runs (in_the_way integer)"))

    with pytest.raises(sa.exc.DBAPIError):
        warehouse.migrate(empty_url)

    assert sa.inspect(engine).get_table_names() == ["scoring_runs"]


def test_a_warehouse_without_tables_says_what_to_run(empty_url):
    with pytest.raises(warehouse.NotMigrated, match=r"python -m jobs\.migrate_warehouse"):
        warehouse.check_migrated(warehouse.connect(empty_url))


def test_a_warehouse_file_is_made_with_its_folder(tmp_path):
    url = f"sqlite:///{tmp_path}/data/generated/warehouse.db"

    warehouse.migrate(url)

    warehouse.check_migrated(warehouse.connect(url))
    assert Path(sa.make_url(url).database).exists()


def test_the_database_takes_a_run_that_adds_up(engine):
    insert_raw(engine)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"delivered": 11}, "rows_add_up"),
        ({"accepted": 8}, "rows_add_up"),
        ({"quarantined": 0}, "rows_add_up"),
        ({"excluded": 0}, "rows_add_up"),
        ({"population": 6}, "customers_add_up"),
        ({"fallback": 0}, "customers_add_up"),
        ({"accepted": 12, "quarantined": -3}, "quarantined_is_a_count"),
        ({"scored": 6, "fallback": -1}, "fallback_is_a_count"),
        ({"delivered": None}, "(?i)null"),
        ({"model_version": None}, "(?i)null"),
    ],
    ids=str,
)
def test_the_database_itself_refuses_a_run_that_does_not_add_up(engine, changes, constraint):
    with pytest.raises(sa.exc.IntegrityError, match=constraint):
        insert_raw(engine, **changes)


def test_a_night_cannot_point_at_the_run_of_another_night(engine):
    insert_raw(engine)

    with (
        pytest.raises(sa.exc.IntegrityError, match=r"(?i)foreign key"),
        engine.begin() as connection,
    ):
        connection.execute(
            sa.text(
                "insert into current_runs values "
                "('2026-04-02', 'run-1', '2026-04-02T03:15:07.120000Z', 1)"
            )
        )


def test_a_moment_without_a_zone_is_refused(engine):
    naive = datetime(2026, 4, 2, 3, 15)  # noqa: DTZ001

    with pytest.raises(sa.exc.StatementError, match="has no time zone"):
        warehouse.publish(engine, a_run(published_at=naive), [predictions("a", "b")], replaces=None)


def test_a_moment_comes_back_in_utc_and_sorts_as_it_should(engine):
    zone = timezone(timedelta(hours=2))
    moments = {
        "first": datetime(2026, 4, 2, 1, 59, 59, 999_999, tzinfo=zone),
        "second": datetime(2026, 4, 2, tzinfo=UTC),
        "third": datetime(2026, 4, 2, 2, 0, 0, 1, tzinfo=zone),
    }
    for run_id, moment in moments.items():
        run = a_run(run_id, published_at=moment)
        before = warehouse.pointer_of(engine, run.score_date)
        warehouse.publish(engine, run, [predictions("a", "b")], replaces=before)

    c = tables.SCORING_RUNS.c
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(c.run_id, c.published_at)
            .where(c.published_at > moments["first"])
            .order_by(c.published_at)
        ).all()
    assert rows == [("second", moments["second"]), ("third", moments["third"])]
    assert rows[1].published_at.tzinfo is UTC


@pytest.mark.parametrize(
    "table", ["audit_log", "model_versions", "promotions", "retraining_decisions"]
)
@pytest.mark.parametrize(
    "change",
    [
        "update {0} set {1} = {1}",
        "delete from {0} where {1} = {1}",
        pytest.param("insert or replace into {0} select * from {0}", id="replace"),
    ],
)
def test_the_database_itself_refuses_to_change_history(engine, table, change):
    insert_raw(engine)
    columns = tables.METADATA.tables[table].c
    row = {
        column.name: {int: 1, str: "x"}.get(column.type.python_type, "2026-04-01T00:00:00.000000Z")
        if not isinstance(column.type, tables.Json)
        else "{}"
        for column in columns
    }
    fitting = {"training_until": "2026-04-01", "score_date": "2026-04-01", "run_id": "run-1"}
    fitting |= {"stage": "champion", "decision": "wait"}
    row |= {name: value for name, value in fitting.items() if name in columns}
    names = ", ".join(f'"{name}"' for name in row)
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"insert into {table} ({names}) values (:{', :'.join(row)})"),  # noqa: S608
            row,
        )

    key = next(iter(columns)).name
    if engine.dialect.name == "postgresql" and "replace" in change:
        pytest.skip("PostgreSQL has no such statement")
    with pytest.raises(sa.exc.DBAPIError, match=f"{table} is append-only"), engine.begin() as other:
        other.execute(sa.text(change.format(table, f'"{key}"')))


postgresql_only = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@pytest.mark.e2e
@postgresql_only
def test_the_jobs_need_no_more_than_the_writer_may(connect_as, engine):
    writer = connect_as("writer")

    warehouse.check_migrated(writer)
    warehouse.publish(writer, a_run(), [predictions("ada", "bob")], replaces=None)
    before = shown(writer, "run-1")
    warehouse.publish(writer, a_run("run-2"), [predictions("ada", "bob")], replaces=before)
    warehouse.replace_drift(writer, "run-2", {"reference": []})

    assert warehouse.current_run(engine, a_run().score_date) == "run-2"
    for forbidden in ("update predictions set decile = 1", "delete from scoring_runs"):
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
            writer.begin() as connection,
        ):
            connection.execute(sa.text(forbidden))


@pytest.mark.e2e
@postgresql_only
def test_a_reader_sees_published_predictions_only(connect_as, engine):
    warehouse.publish(engine, a_run(), [predictions("ada", "bob")], replaces=None)
    reader = connect_as("reader")

    with reader.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from latest_predictions")) == 2
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.execute(sa.text("select * from predictions"))


@pytest.mark.e2e
@postgresql_only
def test_questions_about_a_customer_or_a_night_do_not_read_everything(engine):
    names = [f"c{number}" for number in range(1000, 1400)]
    for number in range(20):
        run = a_run(f"run-{number}", population=len(names), score_date=NIGHT + timedelta(number))
        warehouse.publish(engine, run, [predictions(*names)], replaces=None)

    questions = {
        "select * from latest_predictions where customer_id = 'c1000'": ("run_id", "customer_id"),
        "select * from current_predictions where customer_id = 'c1000'": ("customer_id",),
        "select * from latest_predictions order by probability desc limit 100": ("run_id",),
        "select * from current_predictions where score_date = '2026-04-03'": ("run_id",),
        "select * from predictions where run_id = 'run-1'": ("run_id",),
    }
    with engine.begin() as connection:
        connection.execute(sa.text("analyze"))
        # At this size reading everything is cheap; the question is whether there is another way.
        connection.execute(sa.text("set local enable_seqscan = off"))
        for query, columns in questions.items():
            plan = "\n".join(connection.scalars(sa.text(f"explain {query}")))
            [found] = re.findall(r"on pk_predictions.*\n *Index Cond: (.*)", plan) or re.findall(
                r"using pk_predictions on predictions.*\n *Index Cond: (.*)", plan
            )
            assert all(f"{column} = " in found for column in columns), (query, plan)
