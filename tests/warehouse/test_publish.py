"""Tests of publishing, on SQLite and on PostgreSQL."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import replace
from datetime import date, datetime
from uuid import uuid4

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import warehouse
from settings import PROJECT_ROOT
from tests.warehouse.nights import NIGHT, a_run, many_predictions, predictions, shown
from warehouse import tables
from warehouse.connection import explained
from warehouse.content import Content

BOTH = predictions("ada", "bob")
CUSTOMERS = ("c-4711", "c-4712")


def read(engine, query) -> list[tuple]:
    statement = sa.text(query) if isinstance(query, str) else query
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def count(engine, table: sa.Table) -> int:
    return read(engine, sa.select(sa.func.count()).select_from(table))[0][0]


def publish(engine, run=None, *batches, replaces=None):
    """Publish a run opened when readers saw ``replaces``: a pointer, or the run they see now."""
    if isinstance(replaces, str):
        replaces = shown(engine, replaces)
    return warehouse.publish(engine, run or a_run(), iter(batches or [BOTH]), replaces=replaces)


def test_readers_get_what_was_published(engine):
    batch = predictions(
        "ada", "bob", probability=[0.25, 1.0], reason_1=["late payer", None], decile=[9, 1]
    )

    assert publish(engine, None, batch) == "published"

    c = tables.LATEST_PREDICTIONS.c
    rows = read(
        engine,
        sa.select(c.score_date, c.customer_id, c.probability, c.decile, c.reason_1, c.status)
        .where(c.model_version == "v1.0.0", c.threshold_version == "aa11")
        .order_by(c.customer_id),
    )
    assert rows == [
        (NIGHT, "ada", 0.25, 9, "late payer", "scored"),
        (NIGHT, "bob", 1.0, 1, None, "scored"),
    ]


def test_what_is_recorded_about_a_run_comes_back_as_it_was(engine):
    run = a_run(
        quarantined={"a": 1, "b": 1}, published_at=datetime.fromisoformat("2026-04-02T05+02:00")
    )
    publish(engine, run)

    [row] = read(engine, sa.select(tables.SCORING_RUNS))
    stored = dict(zip(tables.SCORING_RUNS.c.keys(), row, strict=True))
    assert stored["published_at"] == run.published_at
    assert stored["deliveries"] == run.deliveries
    assert stored["stage_seconds"] == run.stage_seconds
    assert (stored["delivered"], stored["accepted"]) == (10, 7)
    assert (stored["quarantined"], stored["excluded"]) == (2, 1)
    counts = read(engine, sa.select(tables.QUARANTINE_COUNTS).order_by("rule"))
    assert counts == [
        ("run-1", "quarantined", "a", 1, 0.1),
        ("run-1", "quarantined", "b", 1, 0.1),
        ("run-1", "excluded", "customer_is_known", 1, 0.1),
    ]


def test_publishing_a_run_again_changes_nothing(engine):
    publish(engine)
    everything = [sa.select(table) for table in tables.METADATA.sorted_tables]
    before = [read(engine, query) for query in everything]

    later = a_run(published_at=datetime.fromisoformat("2026-04-09T03:00Z"), published_by="retry")
    assert publish(engine, later, replaces="run-1") == "unchanged"
    assert publish(engine, later, replaces=None) == "unchanged"

    assert [read(engine, query) for query in everything] == before


def test_a_superseding_run_is_current_and_the_old_one_stays(engine):
    publish(engine)

    publish(engine, a_run("run-2", population=1), predictions("ada"), replaces="run-1")

    assert read(engine, "select run_id, customer_id from current_predictions") == [("run-2", "ada")]
    assert count(engine, tables.PREDICTIONS) == 3
    assert warehouse.current_run(engine, NIGHT) == "run-2"


@pytest.mark.parametrize("replaces", [None, "run-2"])
def test_a_superseded_run_is_not_shown_again_by_publishing_it(engine, replaces):
    publish(engine)
    publish(engine, a_run("run-2", reason="a correction"), replaces="run-1")

    with pytest.raises(warehouse.Overtaken) as refusal:
        publish(engine, a_run(), replaces=replaces)

    assert "run run-2, which was published by tests (a correction)" in str(refusal.value)
    assert "roll_back_predictions --score-date 2026-04-01 --run-id run-1" in str(refusal.value)
    assert warehouse.current_run(engine, NIGHT) == "run-2"
    assert count(engine, tables.PREDICTIONS) == 4


def test_latest_predictions_are_those_of_the_newest_night_whatever_came_last(engine):
    publish(engine, a_run("newer", score_date=date(2026, 4, 2)))
    publish(engine, a_run("older"))

    assert read(engine, "select distinct run_id from latest_predictions") == [("newer",)]
    nights = read(engine, "select run_id, count(*) from current_predictions group by run_id")
    assert sorted(nights) == [("newer", 2), ("older", 2)]


def test_a_publisher_that_was_overtaken_gives_up(engine):
    """It began when nothing was published, and wakes up when a newer run is."""
    publish(engine, a_run("newer"))

    with pytest.raises(warehouse.Overtaken, match="run newer, which was published by") as refusal:
        publish(engine, a_run("zombie"), replaces=None)

    assert "--run-id zombie --instead-of newer" in str(refusal.value)

    assert warehouse.current_run(engine, NIGHT) == "newer"
    assert count(engine, tables.PREDICTIONS) == 2


def test_the_same_run_with_other_scores_is_refused(engine):
    publish(engine)

    with pytest.raises(warehouse.RunDiffers, match="the same inputs gave different scores"):
        publish(engine, None, predictions("ada", "bob", probability=[0.5, 0.50000001]))

    assert read(engine, "select distinct probability from predictions") == [(0.5,)]


@pytest.mark.parametrize(
    "run",
    [
        a_run(population=3),
        a_run(population=2, scored=1, fallback={"previous": 1, "default": 0}),
        a_run(population=3, scored=2),
    ],
    ids=["too few", "other status", "population"],
)
def test_predictions_that_are_not_as_counted_are_not_published(engine, run):
    with pytest.raises(warehouse.CountsDiffer, match="run score_customers again"):
        publish(engine, run)

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


def test_an_empty_night_is_not_published(engine):
    with pytest.raises(warehouse.CountsDiffer):
        publish(engine, a_run(population=0), predictions())

    assert warehouse.current_run(engine, NIGHT) is None


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([predictions("bob", "ada")], "'ada' comes after 'bob'"),
        ([predictions("ada", "ada")], "'ada' comes after 'ada'"),
        ([predictions("ada"), predictions("ada")], "'ada' comes after 'ada'"),
        ([predictions("ada", "b\0b")], "NUL"),
        ([BOTH.drop_columns("decile")], "no column decile"),
    ],
    ids=["order", "twice", "twice in two batches", "NUL", "column"],
)
def test_predictions_that_break_their_form_are_not_published(engine, batches, message):
    with pytest.raises(warehouse.PredictionsBroken, match=message):
        publish(engine, None, *batches)

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


@pytest.mark.parametrize(
    "columns",
    [
        {"probability": 1.5},
        {"probability": float("nan")},
        {"probability": None},
        {"decile": 0},
        {"decile": 11},
        {"is_contacted": None},
        {"status": "guessed"},
        {"is_control": None},
        {"is_control": True, "is_contacted": True},
    ],
    ids=str,
)
def test_the_database_refuses_impossible_predictions(engine, columns):
    with pytest.raises(Exception, match=r"(?i)constraint"):
        publish(engine, None, predictions("ada", "bob", **columns))

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


def test_a_run_that_does_not_add_up_is_refused_by_the_database_and_nothing_stays(engine):
    with pytest.raises(sa.exc.IntegrityError, match="rows_add_up"):
        publish(engine, a_run(delivered=11))

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


def test_an_error_in_the_middle_of_the_predictions_is_the_one_that_is_raised(engine):
    def torn():
        yield predictions("ada")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        warehouse.publish(engine, a_run(), torn(), replaces=None)

    assert count(engine, tables.PREDICTIONS) == 0


def test_the_hash_of_the_content_does_not_depend_on_batches_and_tells_values_apart():
    def sha256(*batches):
        content = Content("any", batches)
        list(content)
        return content.sha256()

    whole = predictions("ada", "bob", "eve", reason_1=["x", None, "yz"])
    assert sha256(whole) == sha256(whole.slice(0, 1), whole.slice(1, 0), whole.slice(1))
    others = [
        predictions("ada", "bob", "eve", reason_1=["x", "", "yz"]),
        predictions("ada", "bob", "eve", reason_1=["xy", None, "z"]),
        predictions("ada", "bob", "eve", reason_2=["x", None, "yz"], reason_1=None),
        predictions("ada", "bob", "ev", reason_1=["x", None, "yz"]),
    ]
    assert len({sha256(batch) for batch in [whole, *others]}) == 5

    # What lies in memory below a null is no value.
    column = whole.schema.get_field_index("reason_1")
    below = pa.py_buffer(b"x??yz")
    offsets, present = pa.array([0, 1, 3, 5], pa.int32()).buffers()[1], pa.py_buffer(b"\x05")
    odd = pa.StringArray.from_buffers(3, offsets, below, present)
    assert odd.to_pylist() == ["x", None, "yz"]
    assert sha256(whole.set_column(column, "reason_1", odd)) == sha256(whole)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ODD = st.sampled_from(
    ["'", '"', "\\", "\\N", "%s", ":x", "$1", "\t\n\r", "é", "e\u0301", "名", "🙂", " "]
)


@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.dictionaries(
        (TEXT | ODD).filter(bool), st.tuples(st.floats(0, 1), st.none() | TEXT | ODD), min_size=1
    )
)
def test_any_text_and_any_probability_come_back_bit_for_bit(engine, rows):
    customers = sorted(rows, key=str.encode)
    batch = predictions(
        *customers,
        probability=[rows[name][0] for name in customers],
        reason_1=[rows[name][1] for name in customers],
    )
    run = a_run(uuid4().hex, population=len(rows))

    publish(engine, run, batch, replaces=warehouse.pointer_of(engine, NIGHT))

    c = tables.PREDICTIONS.c
    stored = read(
        engine,
        sa.select(c.customer_id, c.probability, c.reason_1).where(c.run_id == run.run_id),
    )
    assert {name: rest for name, *rest in stored} == {name: [*rows[name]] for name in rows}


def test_a_reader_never_sees_part_of_a_night_or_two(engine):
    """20 publishes of 2,000 customers; the reader asks all the while, on its own connection."""
    customers, runs = 2000, 20
    seen, done = [], threading.Event()
    night = sa.text(
        "select run_id, count(*), min(decile), max(decile) from current_predictions "
        "where score_date = '2026-04-01' group by run_id"
    )

    def poll():
        while not done.is_set():
            seen.append(read(engine, night))

    reader = threading.Thread(target=poll)
    reader.start()
    before = None
    try:
        for number in range(runs):
            run = a_run(f"run-{number:02d}", population=customers)
            batches = many_predictions(customers, decile=1 + number % 10)
            warehouse.publish(engine, run, batches, replaces=before)
            before = warehouse.pointer_of(engine, NIGHT)
    finally:
        done.set()
        reader.join()

    whole = [[(f"run-{n:02d}", customers, 1 + n % 10, 1 + n % 10)] for n in range(runs)]
    assert [answer for answer in seen if answer not in [[], *whole]] == []
    assert len({str(answer) for answer in seen}) > 2, "the reader has not seen enough of it"


PUBLISHER = """
import sys
import warehouse
from tests.warehouse.nights import NIGHT, a_run, many_predictions

url, attempt = sys.argv[1:]
engine = warehouse.connect(url)
for number in range(1000):
    before = warehouse.pointer_of(engine, NIGHT)
    run = a_run(f"{attempt}-{number:03d}", population=3000)
    warehouse.publish(engine, run, many_predictions(3000, 1 + number % 10), replaces=before)
    print("published", flush=True)
"""


def test_a_publisher_killed_at_any_moment_leaves_the_old_run_or_the_new_one(url, engine):
    chance = random.Random(7)  # noqa: S311
    for attempt in range(4):
        publisher = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, url, str(attempt)],
            env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
            stdout=subprocess.PIPE,
        )
        assert publisher.stdout.readline() == b"published\n"
        began = time.monotonic()
        assert publisher.stdout.readline() == b"published\n"
        time.sleep(chance.uniform(0, time.monotonic() - began))
        publisher.send_signal(signal.SIGKILL)
        publisher.wait()
        publisher.stdout.close()

    # Waits for the server to notice that the last one is gone.
    with warehouse.writing(engine) as connection:
        connection.execute(sa.select(tables.CURRENT_RUNS).with_for_update())
    runs = read(engine, "select run_id, population from scoring_runs order by run_id")
    rows = read(engine, "select run_id, count(*) from predictions group by run_id order by run_id")
    assert rows == runs
    assert len(runs) >= 2 * 4
    assert {population for _, population in runs} == {3000}
    assert warehouse.check_audit(engine) == len(runs)
    [(newest,)] = read(engine, "select run_id from current_runs")
    assert newest == max(run_id for run_id, _ in runs)


def test_two_runs_of_a_night_published_at_once_leave_one_whole_winner(engine):
    outcomes = {}

    def work(name):
        run = a_run(name, population=3000)
        try:
            outcomes[name] = warehouse.publish(
                engine, run, many_predictions(3000, 3), replaces=None
            )
        except warehouse.Overtaken:
            outcomes[name] = "overtaken"

    threads = [threading.Thread(target=work, args=[f"run-{n}"]) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes.values()) == ["overtaken", "overtaken", "published"]
    assert count(engine, tables.PREDICTIONS) == 3000


@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_connection_lost_before_the_commit_is_an_error_and_leaves_nothing(engine):
    def cut():
        yield BOTH
        with engine.begin() as other:
            other.execute(
                sa.text(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
            )

    with pytest.raises(warehouse.WarehouseLost) as refusal:
        warehouse.publish(engine, a_run(), cut(), replaces=None)

    assert "readers still see what was published before" in str(refusal.value)
    assert "run this job again" in str(refusal.value)
    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_without_customers_and_leaves_nothing(engine):
    [(pages,)] = read(engine, "pragma page_count")
    small = warehouse.connect(engine.url)
    limit = f"pragma max_page_count = {pages + 5}"
    sa.event.listen(small, "connect", lambda driver, _: driver.execute(limit).close())

    with pytest.raises(warehouse.WarehouseFull) as refusal:
        warehouse.publish(small, a_run(population=3000), many_predictions(3000, 1), replaces=None)

    said = "".join(traceback.format_exception(refusal.value))
    assert "the disk of the warehouse sqlite:///" in said
    assert "readers still see what was published before" in said
    assert "c0000001" not in said
    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


@pytest.mark.parametrize("columns", [{"probability": 1.5}, {"decile": 11}], ids=str)
def test_what_the_database_refuses_is_told_without_customers(engine, columns):
    with pytest.raises(Exception, match=r"(?i)constraint") as refusal:
        publish(engine, None, predictions(*CUSTOMERS, **columns))

    said = "".join(traceback.format_exception(refusal.value))
    assert not any(name in said for name in CUSTOMERS)


@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_connection_lost_in_a_short_transaction_says_what_was_kept(engine):
    with pytest.raises(warehouse.WarehouseLost, match="readers still see what was published"):
        read(engine, "select pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_writer_that_never_ends_is_told_of(engine, monkeypatch):
    monkeypatch.setattr("warehouse.connection.SQLITE_WAIT_SECONDS", 0)
    with warehouse.writing(engine), pytest.raises(warehouse.WarehouseBusy, match="See which one"):
        publish(engine)


def test_a_full_disk_of_postgresql_is_told_in_its_own_words():
    url = sa.make_url("postgresql+adbc://me:geheim@host/scores")
    said = 'could not extend file "base/5/1": No space left on device\nHINT:  Check free space.'
    meaning = explained(url, OSError(said))
    assert isinstance(meaning, warehouse.WarehouseFull)
    assert "base/5/1" in str(meaning)
    assert "geheim" not in str(meaning)


def test_a_warehouse_that_is_away_is_named_without_its_password():
    engine = warehouse.connect("postgresql+psycopg://me:geheim@127.0.0.1:1/scores")

    with pytest.raises(warehouse.WarehouseAway, match=r"me:\*\*\*@127.0.0.1:1/scores") as raised:
        publish(engine)

    assert "geheim" not in str(raised.value)
    assert "run this job again" in str(raised.value)


def test_memory_does_not_grow_with_the_night(engine):
    """Batches are asked for one at a time, not gathered."""
    alive = []

    def counted():
        for batch in many_predictions(20_000, 3):
            alive.append(pa.total_allocated_bytes())
            yield batch

    warehouse.publish(engine, a_run(population=20_000), counted(), replaces=None)

    assert max(alive) < 3 * alive[1]


def test_counts_of_fallback_customers_are_kept(engine):
    run = replace(a_run(population=3), scored=1, fallback={"previous": 1, "default": 1})
    batch = predictions("ada", "bob", "eve", status=["scored", "previous", "default"])

    publish(engine, run, batch)

    assert read(engine, "select population, scored, fallback from scoring_runs") == [(3, 1, 2)]
