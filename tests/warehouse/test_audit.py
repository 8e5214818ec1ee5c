"""Tests of the audit log."""

import threading

import pytest
import sqlalchemy as sa

import warehouse
from warehouse.audit import row_sha256
from warehouse.tables import AUDIT_LOG


@pytest.fixture
def with_events(engine):
    """A warehouse with three events, whose protection against changes is off."""
    for event in ("first", "second", "third"):
        with warehouse.writing(engine) as connection:
            warehouse.append_audit(connection, event, {"text": "naïve 名", "n": 1, "none": None})
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("alter table audit_log disable trigger all"))
        else:
            connection.execute(sa.text("drop trigger audit_log_refuses_update"))
            connection.execute(sa.text("drop trigger audit_log_refuses_delete"))
    return engine


def tamper(engine: sa.Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(sql)


def test_an_untouched_log_holds(with_events):
    assert warehouse.check_audit(with_events) == 3


def test_an_empty_log_holds(engine):
    assert warehouse.check_audit(engine) == 0


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ("update audit_log set event = 'other' where number = 2", "row 2 .* is not what was"),
        (
            """update audit_log set details = '{"n":2}' where number = 1""",
            "row 1 .* is not what was",
        ),
        ("update audit_log set at = '2020-01-01T00:00:00.000000Z' where number = 3", "row 3 "),
        ("delete from audit_log where number = 2", "row 3 does not follow on row 1"),
        ("delete from audit_log where number = 1", "row 2 does not follow on row 0"),
    ],
)
def test_the_first_row_that_was_touched_is_named(with_events, change, broken):
    tamper(with_events, change)

    with pytest.raises(warehouse.AuditBroken, match=broken):
        warehouse.check_audit(with_events)


def test_a_forged_row_with_the_right_hash_breaks_the_row_after_it(with_events):
    second = AUDIT_LOG.c.number == 2
    with with_events.begin() as connection:
        row = dict(connection.execute(sa.select(AUDIT_LOG).where(second)).mappings().one())
        row["event"] = "forged"
        row["sha256"] = row_sha256(row)
        connection.execute(AUDIT_LOG.update().where(second).values(row))

    with pytest.raises(warehouse.AuditBroken, match="row 3 does not follow on row 2"):
        warehouse.check_audit(with_events)


def test_an_event_is_undone_with_its_transaction(engine):
    def fail():
        with warehouse.writing(engine) as connection:
            warehouse.append_audit(connection, "never", {})
            raise KeyError("the work has failed")

    with pytest.raises(KeyError):
        fail()

    assert warehouse.check_audit(engine) == 0


def test_events_written_at_once_make_one_chain(engine):
    def write(name):
        for number in range(10):
            with warehouse.writing(engine) as connection:
                warehouse.append_audit(connection, "event", {"by": name, "number": number})

    writers = [threading.Thread(target=write, args=[name]) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert warehouse.check_audit(engine) == 30
