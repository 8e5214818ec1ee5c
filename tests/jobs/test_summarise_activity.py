"""The job that summarises the night's delivery."""

from datetime import date

import pyarrow.parquet as pq
import pytest

import catalog
from jobs import summarise_activity
from lake import PieceAltered
from ledger import known_by
from params import read_params
from records import ActivityRecord, IntakeRecord, StageRecord
from tests.records import intake, put_entry, put_intake, put_piece, run_record

DAY = date(2026, 4, 1)
PARAMS = read_params()


@pytest.fixture
def record(settings):
    """A run of the night, opened with a delivery that is on the ledger."""
    put_entry(settings.data_root, DAY)
    return run_record(DAY)


def accept(spark, root, invoiced_at) -> IntakeRecord:
    """Let the delivery have been taken in: one accepted line."""
    row = spark.sql(
        "select '1' invoice_id, 'tea' product_id, 'ada' customer_id, 2000000L quantity_micros, "
        f"1500000L unit_price_micros, timestamp'{invoiced_at}' invoiced_at, 'Spain' country, "
        f"date'{DAY}' known_on, cast(null as string) line_key"
    )
    folder = catalog.TRANSACTIONS.partition(root, known_on=DAY, intake=intake())
    return put_intake(root, DAY, pieces={"transactions": put_piece(root, folder, row.toArrow())})


def usable(settings) -> dict[date, str]:
    """The intakes that a night of that day may use."""
    rules = intake().rpartition("-")[2]
    return known_by(settings.data_root, rules, night=DAY, until=DAY)


def test_the_delivery_becomes_activity_and_the_one_that_later_runs_use(spark, settings, record):
    root = settings.data_root
    accepted = accept(spark, root, "2026-03-31T23:30:00")  # UTC; in London it is April
    assert usable(settings) == {}

    facts = summarise_activity.run(spark, settings, PARAMS, record)

    assert facts == {"intake": intake(), "rows": 1, "was_there": False}
    found = ActivityRecord.read(root, DAY, intake())
    [file] = found.activity.files
    [row] = pq.read_table(root / file.path).to_pylist()
    assert (row["activity_on"], row["purchase_micros"]) == (DAY, 3_000_000)
    assert found.transactions_sha256 == accepted.pieces["transactions"].sha256
    assert usable(settings) == {DAY: intake()}
    stage = StageRecord.read(root, record, "summarise_activity")
    assert (stage.facts, stage.pieces) == (facts, {"activity": found.activity})
    assert stage.inputs == {"transactions": found.transactions_sha256}


def test_a_delivery_summarised_before_is_left_as_it_is(spark, settings, record):
    root = settings.data_root
    accept(spark, root, "2026-04-01T12:00:00")
    summarise_activity.run(spark, settings, PARAMS, record)
    before = ActivityRecord.read(root, DAY, intake())

    facts = summarise_activity.run(spark, settings, PARAMS, record)

    assert facts["was_there"]
    assert ActivityRecord.read(root, DAY, intake()) == before
    assert len(list((root / "lake/activity").rglob("*.parquet"))) == 1


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
def test_activity_that_was_lost_or_altered_is_made_again(spark, settings, record, content):
    root = settings.data_root
    accept(spark, root, "2026-04-01T12:00:00")
    summarise_activity.run(spark, settings, PARAMS, record)
    path = root / ActivityRecord.read(root, DAY, intake()).activity.files[0].path
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    assert not summarise_activity.run(spark, settings, PARAMS, record)["was_there"]

    [file] = ActivityRecord.read(root, DAY, intake()).activity.files
    assert pq.read_table(root / file.path).num_rows == 1


def test_without_accepted_lines_it_says_what_to_run_first(spark, settings, record):
    with pytest.raises(FileNotFoundError, match="Run validate_delivery for its run"):
        summarise_activity.run(spark, settings, PARAMS, record)
    assert usable(settings) == {}


def test_accepted_lines_that_changed_are_not_summarised(spark, settings, record):
    accepted = accept(spark, settings.data_root, "2026-04-01T12:00:00")
    path = settings.data_root / accepted.pieces["transactions"].files[0].path
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(PieceAltered, match=rf"{path}.* python -m jobs\.validate_delivery .*run-1"):
        summarise_activity.run(spark, settings, PARAMS, record)
    assert usable(settings) == {}
