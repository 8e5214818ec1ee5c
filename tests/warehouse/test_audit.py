"""Tests of the audit log."""

import threading

import pytest
import sqlalchemy as sa

import warehouse
from records import AuditAnchor
from warehouse.audit import BEGINNING, row_sha256
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
            connection.execute(sa.text("drop trigger audit_log_refuses_replacement"))
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


def rewrite(engine: sa.Engine, first_event: str) -> None:
    """Write the whole log again with another first event and right hashes, as its owner can."""
    with engine.begin() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG).order_by("number")).mappings().all()
        connection.execute(AUDIT_LOG.delete())
        sha256 = BEGINNING
        for row in map(dict, rows):
            row |= {"previous_sha256": sha256}
            row |= {"event": first_event} if row["number"] == 1 else {}
            sha256 = row_sha256(row)
            connection.execute(AUDIT_LOG.insert().values(row | {"sha256": sha256}))


def test_a_log_that_was_written_again_as_a_whole_does_not_fit_the_copies_of_its_head(with_events):
    anchors = {"run abc": warehouse.audit_head(with_events)}
    assert warehouse.check_audit(with_events, anchors) == 3

    rewrite(with_events, "harmless")

    assert warehouse.check_audit(with_events) == 3
    with pytest.raises(warehouse.AuditBroken, match=r"1 of 1 .* row 3 .* run abc: .* 3 rows"):
        warehouse.check_audit(with_events, anchors)


def test_a_log_that_lost_its_newest_rows_does_not_fit_the_copies_of_its_head(with_events):
    empty = AuditAnchor(number=0, sha256=BEGINNING)
    anchors = {"the first tag": empty, "the last run": warehouse.audit_head(with_events)}

    tamper(with_events, "delete from audit_log where number = 3")

    assert warehouse.check_audit(with_events) == 2
    with pytest.raises(warehouse.AuditBroken, match=r"1 of 2 copies .* in the last run"):
        warehouse.check_audit(with_events, anchors)


def test_the_head_of_an_empty_log_fits_every_log(engine):
    anchors = {"the first run": warehouse.audit_head(engine)}
    with warehouse.writing(engine) as connection:
        assert warehouse.append_audit(connection, "first", {}) == 1
    assert warehouse.check_audit(engine, anchors) == 1


FORGERIES = {
    "its number": "insert or replace into audit_log values (1, :at, 'forged', '{}', 'x', 'y')",
    "its place in the chain": "insert or replace into audit_log "
    "select 99, at, 'forged', details, previous_sha256, sha256 from audit_log where number = 1",
    "its rowid": "insert or replace into audit_log "
    "(rowid, number, at, event, details, previous_sha256, sha256) "
    "select rowid, 99, at, 'forged', details, 'x', 'y' from audit_log where number = 1",
    "replace": "replace into audit_log values (1, :at, 'forged', '{}', 'x', 'y')",
    "upsert": "insert into audit_log values (1, :at, 'forged', '{}', 'x', 'y') "
    "on conflict (number) do update set event = 'forged'",
}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.parametrize("setting", ["on", "off"])
def test_no_row_of_the_log_can_be_replaced_by_a_writer_of_sqlite(engine, forgery, setting):
    with warehouse.writing(engine) as connection:
        warehouse.append_audit(connection, "first", {})
    with engine.begin() as other:
        other.exec_driver_sql(f"pragma recursive_triggers = {setting}")
        with pytest.raises(sa.exc.DBAPIError, match="audit_log is append-only"):
            other.exec_driver_sql(forgery.replace(":at", "'2020-01-01T00:00:00.000000Z'"))
    assert warehouse.check_audit(engine) == 1
