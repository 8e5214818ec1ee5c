"""A delivery becomes lines in the lake, or is refused; a history becomes the same lines."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import catalog
from expectations.refusal import DeliveryRefused
from jobs import describe_source, load_history, validate_delivery
from jobs.intake import receive_delivery
from lake import PieceAltered, PieceMissing
from ledger import intake_id, intake_rules, known_by, pin_rules
from params import PARAMS_FILE, Params, read_params
from records import IntakeRecord, RefusalRecord, RunRecord, StageRecord
from settings import Settings
from tests.records import intake, put_intake, run_record

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


def opened(
    settings: Settings,
    day: date,
    run_id="r1",
    before: dict[date, str] | None = None,
    params: Params = PARAMS,
) -> RunRecord:
    """The record of a run opened on what lies in incoming."""
    root = settings.data_root
    source = params.source(settings.source)
    entry = receive_delivery(root, source.format, day, night=day, taken_by="test", is_reopened=True)
    rules = pin_rules(root, intake_rules(params, settings.source))
    record = run_record(
        day,
        run_id=run_id,
        source=settings.source,
        intakes=(before or {}) | {day: intake_id(entry.delivery_id, rules)},
        files=entry.files,
    )
    record.write(root)
    return record


def delivered_before(settings: Settings, rows: list[int]) -> dict[date, str]:
    """Intakes of deliveries with these numbers of rows, one, two, ... weeks before the day."""
    days = {DAY - timedelta(weeks=week): count for week, count in enumerate(rows, start=1)}
    for day, count in days.items():
        put_intake(settings.data_root, day, delivered=count, accepted=count)
    return dict.fromkeys(days, intake())


def taken(settings: Settings, until: date) -> dict[date, IntakeRecord]:
    """What was taken in and stands at the end."""
    root = settings.data_root
    rules = pin_rules(root, intake_rules(PARAMS, settings.source))
    standing = known_by(root, rules, night=date.max, until=until)
    return {day: IntakeRecord.read(root, day, name) for day, name in standing.items()}


def partition_file(settings: Settings, dataset: catalog.Dataset, day: date) -> Path:
    """The one file of a day's one partition of a dataset."""
    folder = dataset.partition(settings.data_root, known_on=day, intake="*")
    [file] = folder.parent.glob("*/*/*.parquet")
    return file


def partition(settings: Settings, dataset: catalog.Dataset, day: date) -> list[dict]:
    """The rows of a day's one partition of a dataset, in their order."""
    return pq.read_table(partition_file(settings, dataset, day), partitioning=None).to_pylist()


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
    found = IntakeRecord.read(root, DAY, record.intake)
    assert found.delivered == found.accepted + sum(found.quarantined.values()) + sum(
        found.excluded.values()
    )
    stage = StageRecord.read(root, record, "validate_delivery")
    assert (stage.facts, stage.pieces) == (facts, found.pieces)
    assert stage.inputs == {"delivery": found.delivery_id}

    accepted = partition(settings, catalog.TRANSACTIONS, DAY)
    assert list(accepted[0]) == [name.split()[0] for name in catalog.KEPT_LINE.split(", ")]
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

    with pytest.raises(DeliveryRefused) as refused:
        validate_delivery.run(spark, settings, PARAMS, record)

    assert "2026-04-01 refused: 6 of 106 rows (5.66%) break row rules, more than" in str(
        refused.value
    )
    assert "quantity_not_zero: 6 rows, such as part-0.parquet" in str(refused.value)
    # People find out why; nothing goes on to be used.
    assert len(partition(settings, catalog.QUARANTINED_TRANSACTIONS, DAY)) == 15
    page = settings.data_root / "reports/2026-04-01/r1/data_docs/transactions/index.html"
    assert "refused" in page.read_text()
    assert IntakeRecord.find(settings.data_root, DAY, record.intake) is None
    refusal = RefusalRecord.find(settings.data_root, DAY, record.intake)
    assert refusal.reasons[0] in str(refused.value)
    assert refusal.quarantined.rows == 15
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


@pytest.mark.parametrize(
    "closed", [{"closed_days": [DAY]}, {"closed_weekdays": [f"{DAY:%A}".lower()]}]
)
def test_an_empty_delivery_is_right_on_a_closed_day(spark, settings, closed):
    shut = PARAMS.source(settings.source).model_copy(update=closed)
    params = PARAMS.model_copy(update={"sources": {settings.source: shut}})
    before = delivered_before(settings, [100, 90, 110])
    deliver(settings, DAY, [])

    facts = validate_delivery.run(spark, settings, params, opened(settings, DAY, before=before))

    assert (facts["delivered"], facts["accepted"], facts["findings"]) == (0, 0, [])
    assert partition(settings, catalog.TRANSACTIONS, DAY) == []


def test_a_folder_that_is_replaced_after_the_run_was_opened_changes_nothing(spark, settings):
    folder = deliver(settings, DAY, good_rows(3))
    record = opened(settings, DAY)
    shutil.rmtree(folder)
    deliver(settings, DAY, good_rows(4))

    facts = validate_delivery.run(spark, settings, PARAMS, record)

    assert (facts["delivered"], facts["delivery_id"]) == (3, record.intake.rpartition("-")[0])
    assert len(partition(settings, catalog.TRANSACTIONS, DAY)) == 3


@pytest.mark.parametrize(
    ("content", "error"), [(None, PieceMissing), (b"", PieceAltered), (b"PAR1", PieceAltered)]
)
def test_a_copy_that_is_not_what_was_received_is_not_read(spark, settings, content, error):
    deliver(settings, DAY, good_rows(3))
    record = opened(settings, DAY)
    [copy] = settings.data_root.glob(f"{catalog.RECEIVED.format(known_on=DAY)}/*/part-0.parquet")
    copy.unlink()
    if content is not None:
        copy.write_bytes(content)

    with pytest.raises(error, match=rf"{copy}.*Have the day delivered again"):
        validate_delivery.run(spark, settings, PARAMS, record)

    assert not (settings.data_root / "lake/transactions").exists()
    # Delivered again, it is copied again, also for the run that is opened already.
    assert opened(settings, DAY) == record
    assert validate_delivery.run(spark, settings, PARAMS, record)["accepted"] == 3


def test_a_piece_of_the_intake_that_was_lost_is_written_again(spark, settings):
    deliver(settings, DAY, good_rows(3) + ODD_ROWS[-2:])
    record = opened(settings, DAY)
    facts = validate_delivery.run(spark, settings, PARAMS, record)
    excluded = partition_file(settings, catalog.EXCLUDED_TRANSACTIONS, DAY)
    before = excluded.read_bytes()
    excluded.unlink()

    assert validate_delivery.run(spark, settings, PARAMS, record) == facts

    found = IntakeRecord.read(settings.data_root, DAY, record.intake)
    [file] = found.pieces[catalog.EXCLUDED_TRANSACTIONS.name].files
    assert (settings.data_root / file.path).read_bytes() == before


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
    for day, record in taken(history, days[1]).items():
        other = IntakeRecord.read(nights.data_root, day, record.intake)
        same = {name: piece.sha256 for name, piece in record.pieces.items()}
        assert {name: piece.sha256 for name, piece in other.pieces.items()} == same
        rest = {"pieces": {}}
        assert record.model_copy(update=rest) == other.model_copy(update=rest)
    activity = partition(history, catalog.ACTIVITY, days[0])
    assert [str(row["activity_on"]) for row in activity] == ["2026-03-20", "2026-04-01"]
    assert (history.data_root / "reports/history/2026-04-02/data_docs/transactions").is_dir()

    before = lake_files(history)
    assert load_history.run(spark, history, PARAMS, until=days[1]) == totals
    assert lake_files(history) == before

    # Killed between the two halves, it goes on with the second.
    shutil.rmtree(history.data_root / "lake/activity")
    [unfinished] = history.data_root.glob("lake/intakes/known_on=2026-04-01/*.activity.json")
    unfinished.unlink()
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

    assert "2 deliveries are refused:" in str(refused.value)
    assert "2026-04-02 refused: 1 of 6 rows (16.67%) break row rules" in str(refused.value)
    assert "quantity_not_zero: 1 rows, such as" in str(refused.value)
    assert "2026-04-03 refused: " in str(refused.value)
    assert "'invoice'" in str(refused.value)
    assert list(taken(settings, days[3])) == [days[0], days[3]]
    assert partition(settings, catalog.ACTIVITY, days[3]) == []
    assert len(partition(settings, catalog.QUARANTINED_TRANSACTIONS, days[1])) == 1


@pytest.mark.real_data
def test_the_first_real_days_add_up(spark, tmp_path, online_retail):
    settings = Settings(source="online_retail_ii", data_root=tmp_path)
    until = date(2009, 12, 3)
    real = pq.read_table(online_retail / "year_2009_2010.parquet")
    real = real.filter(pc.less(real["InvoiceDate"], datetime(2009, 12, 4)))  # noqa: DTZ001
    pq.write_table(real, tmp_path / "first_days.parquet")
    into = tmp_path / "incoming"
    describe_source.run(PARAMS_FILE, tmp_path / "first_days.parquet", "online_retail_ii", into=into)

    totals = load_history.run(spark, settings, PARAMS, until)

    distinct = real.group_by(real.column_names).aggregate([])
    guests = distinct.filter(pc.is_null(distinct["Customer ID"]))
    assert totals["delivered"] == real.num_rows
    assert totals["quarantined"] == {"exact_duplicate": real.num_rows - distinct.num_rows}
    assert totals["excluded"]["no_customer"] == guests.num_rows
    assert totals["accepted"] == distinct.num_rows - sum(totals["excluded"].values())
    assert totals["accepted"] > 5_000
