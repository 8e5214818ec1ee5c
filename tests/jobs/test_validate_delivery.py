"""A delivery becomes lines in the lake, or is refused; a history becomes the same lines."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import catalog
from deliveries.files import delivered_files, delivery_id
from expectations.refusal import DeliveryRefused
from expectations.verdict import ExpectationsBroken
from jobs import load_history, split_deliveries, validate_delivery
from params import read_params
from records import DeliveryRecord, RunRecord, StageRecord, current_deliveries
from settings import Settings
from tests.jobs.records import a_record

PARAMS = read_params()
DAY = date(2026, 4, 1)
INCOMING = pa.schema(
    {
        "invoice": pa.string(),
        "product": pa.string(),
        "customer": pa.string(),
        "quantity": pa.int64(),
        "unit_price": pa.float64(),
        "invoiced_at": pa.timestamp("us", tz="UTC"),
        "country": pa.string(),
    }
)


def row(**values):
    """A delivered row that keeps every promise."""
    good = {
        "invoice": "1",
        "product": "85123A",
        "customer": "ada",
        "quantity": 2,
        "unit_price": 2.5,
        "invoiced_at": datetime(2026, 4, 1, 12, tzinfo=UTC),
        "country": "France",
    }
    return good | values


def good_rows(count, day=DAY):
    """Different good rows of one day."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return [row(invoice=f"{day}-{number}", invoiced_at=noon) for number in range(count)]


def deliver(settings: Settings, day: date, rows: list[dict], columns=INCOMING) -> Path:
    """Put a delivery down; its folder."""
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), folder / "part-0.parquet")
    return folder


def opened(settings: Settings, day: date, run_id="r1", before=None) -> RunRecord:
    """The record of a run opened on what lies in incoming."""
    folder = catalog.incoming_folder(settings.data_root, day)
    record = a_record(
        run_id,
        day,
        source=settings.source,
        deliveries=(before or {}) | {day: delivery_id(delivered_files(folder, "parquet"))},
    )
    record.write(settings.data_root)
    return record


def delivered_before(settings: Settings, rows: list[int]) -> dict[date, str]:
    """Records of deliveries with these numbers of rows, one, two, ... weeks before the day."""
    days = {DAY - timedelta(weeks=week): count for week, count in enumerate(rows, start=1)}
    for day, count in days.items():
        DeliveryRecord(
            known_on=day,
            delivery_id="before",
            source=settings.source,
            files=[],
            delivered=count,
            accepted=count,
            quarantined={},
            excluded={},
            findings=[],
        ).write(settings.data_root)
    return dict.fromkeys(days, "before")


def partition_file(settings: Settings, dataset: catalog.Dataset, day: date) -> Path:
    """The one file of a day's one partition of a dataset."""
    folder = dataset.partition(settings.data_root, known_on=day, delivery_id="*")
    [file] = folder.parent.glob("delivery_id=*/*")
    return file


def partition(settings: Settings, dataset: catalog.Dataset, day: date) -> list[dict]:
    """The rows of a day's one partition of a dataset, in their order."""
    return pq.read_table(partition_file(settings, dataset, day)).to_pylist()


def lake_files(settings: Settings) -> dict[Path, int]:
    """Every file of the lake with the moment it was written."""
    return {
        path: path.stat().st_mtime_ns for path in (settings.data_root / "lake").rglob("*.parquet")
    }


# Late, still to come, broken, three times the same, without a customer, postage.
ODD_ROWS = [
    row(invoice="late", invoiced_at=datetime(2026, 3, 20, 12, tzinfo=UTC)),
    row(invoice="future", invoiced_at=datetime(2026, 4, 2, 12, tzinfo=UTC)),
    row(invoice="nothing", quantity=0),
    row(invoice="thrice"),
    row(invoice="thrice"),
    row(invoice="thrice"),
    row(invoice="guest", customer=None),
    row(invoice="postage", product="POST"),
]


def test_every_row_of_a_night_is_accepted_quarantined_or_excluded_and_found_again(spark, settings):
    deliver(settings, DAY, good_rows(60) + ODD_ROWS)
    record = opened(settings, DAY)

    facts = validate_delivery.run(spark, settings, PARAMS, record)

    assert (facts["delivered"], facts["accepted"]) == (68, 62)
    assert facts["quarantined"] == {
        "exact_duplicate": 2,
        "not_in_future": 1,
        "quantity_not_zero": 1,
    }
    assert facts["excluded"] == {"no_customer": 1, "not_merchandise": 1}
    root = settings.data_root
    found = DeliveryRecord.read(root, DAY, record.deliveries[DAY])
    assert found.delivered == found.accepted + sum(found.quarantined.values()) + sum(
        found.excluded.values()
    )
    assert StageRecord.read(root, record, "validate_delivery").facts == facts

    accepted = partition(settings, catalog.TRANSACTIONS, DAY)
    assert list(accepted[0]) == [name.split()[0] for name in catalog.LINE.split(", ")]
    [late] = [line for line in accepted if line["invoice_id"] == "late"]
    assert late["invoiced_at"] == datetime(2026, 3, 20, 12, tzinfo=UTC)
    assert late["unit_price_micros"] == 2_500_000
    excluded = partition(settings, catalog.EXCLUDED_TRANSACTIONS, DAY)
    assert {line["rule"]: line["invoice_id"] for line in excluded} == {
        "no_customer": "guest",
        "not_merchandise": "postage",
    }
    [future] = [
        line
        for line in partition(settings, catalog.QUARANTINED_TRANSACTIONS, DAY)
        if line["rule"] == "not_in_future"
    ]
    assert future["rules"] == ["not_in_future"]
    assert future["reason"].startswith("The line is dated after the day")
    assert future["source_file"] == "part-0.parquet"
    assert dict(future["raw"])["invoice"] == "future"

    page = root / "reports/2026-04-01/r1/data_docs/transactions/index.html"
    assert "quantity_not_zero" in page.read_text()

    # Another run of the same delivery (a new model) finds it in the lake.
    before = lake_files(settings)
    again = opened(settings, DAY, run_id="r2")
    assert validate_delivery.run(spark, settings, PARAMS, again) == facts
    assert lake_files(settings) == before
    other_page = root / "reports/2026-04-01/r2/data_docs/transactions/index.html"
    assert other_page.read_text() == page.read_text()


def test_too_many_broken_rows_refuse_the_delivery_but_exact_copies_do_not_count(spark, settings):
    rows = good_rows(90) + [row(invoice=str(number), quantity=0) for number in range(6)]
    deliver(settings, DAY, rows + [row(invoice="copied")] * 10)
    record = opened(settings, DAY)

    with pytest.raises(ExpectationsBroken) as refused:
        validate_delivery.run(spark, settings, PARAMS, record)

    assert "within_budget: 6 of 106 rows (5.66%)" in str(refused.value)
    assert "quantity_not_zero: 6 of 106 rows" in str(refused.value)
    assert "exact_duplicate: 9 of 106 rows" in str(refused.value)
    # People find out why; nothing goes on to be used.
    assert len(partition(settings, catalog.QUARANTINED_TRANSACTIONS, DAY)) == 15
    page = settings.data_root / "reports/2026-04-01/r1/data_docs/transactions/index.html"
    assert "refused" in page.read_text()
    assert not DeliveryRecord.exists(settings.data_root, DAY, record.deliveries[DAY])
    assert not (settings.data_root / "lake/transactions").exists()


@pytest.mark.parametrize(
    ("rows", "refused"), [(0, "empty delivery: 0 rows"), (10, "thin delivery: 10 rows")]
)
def test_a_thin_or_empty_delivery_is_refused(spark, settings, rows, refused):
    before = delivered_before(settings, [100, 90, 110])
    deliver(settings, DAY, good_rows(rows))

    with pytest.raises(DeliveryRefused, match=f"{refused} where the median .* is 100"):
        validate_delivery.run(spark, settings, PARAMS, opened(settings, DAY, before=before))

    assert not (settings.data_root / "lake/transactions").exists()


def test_an_empty_delivery_is_right_on_a_closed_day(spark, settings):
    shut = PARAMS.source(settings.source).model_copy(update={"closed_days": [DAY]})
    params = PARAMS.model_copy(update={"sources": {settings.source: shut}})
    before = delivered_before(settings, [100, 90, 110])
    deliver(settings, DAY, [])

    facts = validate_delivery.run(spark, settings, params, opened(settings, DAY, before=before))

    assert (facts["delivered"], facts["accepted"], facts["findings"]) == (0, 0, [])
    assert partition(settings, catalog.TRANSACTIONS, DAY) == []


def test_a_delivery_that_changed_after_the_run_was_opened_is_refused(spark, settings):
    folder = deliver(settings, DAY, good_rows(3))
    record = opened(settings, DAY)
    shutil.rmtree(folder)
    deliver(settings, DAY, good_rows(4))

    with pytest.raises(validate_delivery.DeliveryChanged, match="run r1 was opened with"):
        validate_delivery.run(spark, settings, PARAMS, record)


def test_a_history_is_the_same_as_its_nights_and_loading_it_again_changes_nothing(spark, tmp_path):
    history, nights = Settings(data_root=tmp_path / "a"), Settings(data_root=tmp_path / "b")
    days = [DAY, DAY + timedelta(days=1)]
    for settings in (history, nights):
        deliver(settings, days[0], good_rows(60) + ODD_ROWS)
        deliver(settings, days[1], good_rows(5, days[1]))
        deliver(settings, days[1] + timedelta(days=1), good_rows(5))

    totals = load_history.run(spark, history, PARAMS, until=days[1])
    for day in days:
        validate_delivery.run(spark, nights, PARAMS, opened(nights, day))

    assert totals == {
        "until": "2026-04-02",
        "deliveries": 2,
        "delivered": 73,
        "accepted": 67,
        "quarantined": {"exact_duplicate": 2, "not_in_future": 1, "quantity_not_zero": 1},
        "excluded": {"no_customer": 1, "not_merchandise": 1},
    }
    for dataset in (
        catalog.TRANSACTIONS,
        catalog.EXCLUDED_TRANSACTIONS,
        catalog.QUARANTINED_TRANSACTIONS,
    ):
        for day in days:
            taken_in = partition_file(history, dataset, day)
            assert taken_in.read_bytes() == partition_file(nights, dataset, day).read_bytes()
    for day, name in current_deliveries(history.data_root, days[1]).items():
        record = DeliveryRecord.read(history.data_root, day, name)
        assert record == DeliveryRecord.read(nights.data_root, day, name)
    activity = partition(history, catalog.ACTIVITY, days[0])
    assert [str(row["activity_on"]) for row in activity] == ["2026-03-20", "2026-04-01"]
    assert (history.data_root / "reports/history/2026-04-02/data_docs/transactions").is_dir()

    before = lake_files(history)
    assert load_history.run(spark, history, PARAMS, until=days[1]) == totals
    assert lake_files(history) == before

    # Killed between the two halves, it goes on with the second.
    shutil.rmtree(history.data_root / "lake/activity")
    (history.data_root / "lake/deliveries/known_on=2026-04-01/current.json").unlink()
    lines = {path: written for path, written in before.items() if "/activity/" not in str(path)}
    assert load_history.run(spark, history, PARAMS, until=days[1]) == totals
    assert partition(history, catalog.ACTIVITY, days[0]) == activity
    assert lines.items() <= lake_files(history).items()


def test_a_history_takes_in_what_is_good_and_names_what_is_not(spark, settings):
    days = [DAY + timedelta(days=number) for number in range(4)]
    deliver(settings, days[0], good_rows(5))
    deliver(settings, days[1], [*good_rows(5, days[1]), row(quantity=0)])
    deliver(settings, days[2], good_rows(5, days[2]), INCOMING.remove(0))
    deliver(settings, days[3], [])

    with pytest.raises(DeliveryRefused) as refused:
        load_history.run(spark, settings, PARAMS, until=days[3])

    assert "2 delivery(ies) refused" in str(refused.value)
    assert "2026-04-02: 1 of 6 rows (16.67%) break row rules" in str(refused.value)
    assert "{'quantity_not_zero': 1}" in str(refused.value)
    assert "2026-04-03" in str(refused.value)
    assert "'invoice'" in str(refused.value)
    assert list(current_deliveries(settings.data_root, days[3])) == [days[0], days[3]]
    assert partition(settings, catalog.ACTIVITY, days[3]) == []
    assert len(partition(settings, catalog.QUARANTINED_TRANSACTIONS, days[1])) == 1


@pytest.mark.real_data
def test_the_first_real_days_add_up(spark, tmp_path, online_retail):
    settings = Settings(source="online_retail_ii", data_root=tmp_path)
    until = date(2009, 12, 3)
    split_deliveries.run(settings, PARAMS, online_retail, until)

    totals = load_history.run(spark, settings, PARAMS, until)

    real = pq.read_table(online_retail / "year_2009_2010.parquet")
    real = real.filter(pc.less(real["InvoiceDate"], datetime(2009, 12, 4)))  # noqa: DTZ001
    distinct = real.group_by(real.column_names).aggregate([])
    guests = distinct.filter(pc.is_null(distinct["Customer ID"]))
    assert totals["delivered"] == real.num_rows
    assert totals["quarantined"] == {"exact_duplicate": real.num_rows - distinct.num_rows}
    assert totals["excluded"]["no_customer"] == guests.num_rows
    assert totals["accepted"] == distinct.num_rows - sum(totals["excluded"].values())
    assert totals["accepted"] > 5_000
