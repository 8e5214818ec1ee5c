"""The job that summarises the night's delivery."""

from datetime import date

import pyarrow.parquet as pq
import pytest

import catalog
from jobs import summarise_activity
from params import read_params
from records import RunRecord, StageRecord, current_deliveries
from tests.jobs.records import a_record

DAY = date(2026, 4, 1)
KEY = {"known_on": DAY, "delivery_id": "00aa"}


@pytest.fixture
def record() -> RunRecord:
    """A run of the night, opened with that delivery."""
    return a_record(score_date=DAY, deliveries={DAY: "00aa"})


def accept(spark, root, invoiced_at):
    """Put one accepted line of the delivery into the lake."""
    row = spark.sql(
        "select '1' invoice_id, 'tea' product_id, 'ada' customer_id, 2 quantity, "
        f"1500000L unit_price_micros, timestamp'{invoiced_at}' invoiced_at, 'Spain' country, "
        f"date'{DAY}' known_on"
    )
    folder = catalog.TRANSACTIONS.partition(root, **KEY)
    row.write.mode("overwrite").parquet(str(folder))


def test_the_delivery_becomes_activity_and_the_one_that_later_runs_use(spark, settings, record):
    accept(spark, settings.data_root, "2026-03-31T23:30:00")  # UTC; in London it is April

    facts = summarise_activity.run(spark, settings, read_params(), record)

    assert facts == {"delivery_id": "00aa", "rows": 1, "was_there": False}
    [row] = pq.read_table(catalog.ACTIVITY.partition(settings.data_root, **KEY)).to_pylist()
    assert (row["activity_on"], row["purchase_micros"]) == (DAY, 3_000_000)
    assert current_deliveries(settings.data_root, DAY) == {DAY: "00aa"}
    assert StageRecord.read(settings.data_root, record, "summarise_activity").facts == facts


def test_a_delivery_summarised_before_is_left_as_it_is(spark, settings, record):
    accept(spark, settings.data_root, "2026-04-01T12:00:00")
    summarise_activity.run(spark, settings, read_params(), record)
    [file] = catalog.ACTIVITY.partition(settings.data_root, **KEY).glob("*.parquet")
    before = file.read_bytes()

    accept(spark, settings.data_root, "2026-03-20T12:00:00")
    facts = summarise_activity.run(spark, settings, read_params(), record)

    assert facts["was_there"]
    assert file.read_bytes() == before


def test_without_accepted_lines_it_says_what_to_run_first(spark, settings, record):
    with pytest.raises(FileNotFoundError, match="Run validate_delivery for this run first"):
        summarise_activity.run(spark, settings, read_params(), record)
    assert current_deliveries(settings.data_root, DAY) == {}
