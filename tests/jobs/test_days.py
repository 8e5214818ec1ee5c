"""Days that are not what they should be: old files, overlapping exports, swapped dates."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalog
from expectations.refusal import DeliveryRefused
from jobs import load_history
from ledger import intake_rules, known_by, pin_rules
from params import Text, read_params
from records import IntakeRecord
from settings import Settings
from tests.jobs.test_validate_delivery import INCOMING

PARAMS = read_params()
DAY = date(2026, 4, 1)
DAYS = [DAY + timedelta(days=number) for number in range(4)]


def rows_of(day: date, count: int = 20, **values) -> list[dict]:
    """Different good rows of one day."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    good = {
        "product": "85123A",
        "customer": "ada",
        "quantity": 2,
        "unit_price": 2.5,
        "invoiced_at": noon,
        "country": "France",
    }
    return [{"invoice": f"{day}-{number}"} | good | values for number in range(count)]


def deliver(
    settings: Settings,
    day: date,
    rows: list[dict],
    name="part-0.parquet",
    schema=INCOMING,
    **options,
):
    """Put a delivery down."""
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name, **options)


def taken(settings: Settings, until: date, params=PARAMS) -> dict[date, IntakeRecord]:
    """What stands for each day in the night after."""
    root: Path = settings.data_root
    rules = pin_rules(root, intake_rules(params, settings.source))
    standing = known_by(root, rules, night=date.max, until=until)
    return {day: IntakeRecord.read(root, day, name) for day, name in standing.items()}


def test_lines_of_an_overlapping_export_count_once(spark, settings):
    deliver(settings, DAYS[0], rows_of(DAYS[0]))
    deliver(settings, DAYS[1], [*rows_of(DAYS[1], 40), *rows_of(DAYS[0], 15)])
    deliver(settings, DAYS[2], [*rows_of(DAYS[2], 40), *rows_of(DAYS[1], 5)])

    load_history.run(spark, settings, PARAMS, until=DAYS[1])
    totals = load_history.run(spark, settings, PARAMS, until=DAYS[2])

    assert totals["quarantined"] == {"delivered_before": 20}
    assert totals["accepted"] == 100
    found = taken(settings, DAYS[2])
    assert [(one.of_the_day, one.late) for one in found.values()] == [(20, 0), (40, 15), (40, 5)]


def test_a_late_line_that_did_not_come_before_is_welcome(spark, settings):
    deliver(settings, DAYS[0], rows_of(DAYS[0]))
    late = rows_of(DAYS[0], 3, quantity=7)
    deliver(settings, DAYS[1], [*rows_of(DAYS[1], 40), *late, *rows_of(DAYS[0], 2)])

    totals = load_history.run(spark, settings, PARAMS, until=DAYS[1])

    assert (totals["accepted"], totals["quarantined"]) == (63, {"delivered_before": 2})


NUMBERED = INCOMING.append(pa.field("line", pa.int64()))


def numbered(settings: Settings, **changes):
    """A source that tells the lines of an invoice apart by their number."""
    key = {"duplicates": ["invoice", "line"]}
    source = PARAMS.source(settings.source).model_copy(update=key | changes)
    return PARAMS.model_copy(update={"sources": {settings.source: source}})


def test_a_line_with_a_number_of_its_own_did_not_come_before_though_all_else_is_equal(
    spark, settings
):
    [twice] = rows_of(DAYS[0], 1)
    deliver(settings, DAYS[0], [twice | {"line": 1}], schema=NUMBERED)
    again = [twice | {"line": number} for number in (1, 2, 2)]
    today = rows_of(DAYS[1], 40, line=1)
    deliver(settings, DAYS[1], [*today, *again], schema=NUMBERED)

    totals = load_history.run(spark, settings, numbered(settings), until=DAYS[1])

    assert totals["quarantined"] == {"delivered_before": 1, "exact_duplicate": 1}
    assert totals["accepted"] == 42


def test_lines_with_one_number_are_two_where_invoices_start_again_every_day(spark, settings):
    params = numbered(settings, invoices_restart_daily=True)
    [yesterdays], [todays] = rows_of(DAYS[0], 1), rows_of(DAYS[1], 1)
    numbers = {"invoice": "7", "line": 1}
    deliver(settings, DAYS[0], [yesterdays | {"line": 1}], schema=NUMBERED)
    both = [todays | numbers, yesterdays | numbers]
    deliver(settings, DAYS[1], both, schema=NUMBERED)
    deliver(settings, DAYS[2], [*rows_of(DAYS[2], 40, line=1), *both], schema=NUMBERED)

    totals = load_history.run(spark, settings, params, until=DAYS[2])

    assert totals["quarantined"] == {"delivered_before": 2}
    assert totals["accepted"] == 43


def test_a_line_is_looked_for_in_the_last_days_only(spark, settings):
    none = PARAMS.validation.model_copy(update={"overlap_days": 1})
    params = PARAMS.model_copy(update={"validation": none})
    for day in DAYS[:3]:
        deliver(settings, day, rows_of(day))
    deliver(settings, DAYS[2], [*rows_of(DAYS[2], 40), *rows_of(DAYS[1], 3), *rows_of(DAYS[0], 4)])

    totals = load_history.run(spark, settings, params, until=DAYS[2])

    assert totals["quarantined"] == {"delivered_before": 3}


@pytest.mark.parametrize(
    ("compression", "said"),
    [
        ("snappy", "again.parquet of 2026-04-02 holds what was delivered for 2026-04-01"),
        ("zstd", r"20 of 20 rows \(100.00%\) were delivered before"),
    ],
)
def test_yesterdays_file_again_is_refused_also_when_its_bytes_are_others(
    spark, settings, compression, said
):
    deliver(settings, DAYS[0], rows_of(DAYS[0]))
    deliver(settings, DAYS[1], rows_of(DAYS[0]), name="again.parquet", compression=compression)

    with pytest.raises(DeliveryRefused, match=said):
        load_history.run(spark, settings, PARAMS, until=DAYS[1])

    assert list(taken(settings, DAYS[1])) == [DAYS[0]]


def test_a_file_that_is_there_twice_is_refused_where_lines_are_no_copies_too(spark, settings):
    source = PARAMS.source(settings.source).model_copy(update={"duplicates": "never"})
    params = PARAMS.model_copy(update={"sources": {settings.source: source}})
    for name in ("part-0.parquet", "part-0 (1).parquet"):
        deliver(settings, DAY, rows_of(DAY), name=name)

    said = r"part-0.parquet of 2026-04-01 holds what part-0 \(1\).parquet does, byte for byte"
    with pytest.raises(DeliveryRefused, match=said):
        load_history.run(spark, settings, params, until=DAY)

    assert taken(settings, DAY) == {}


def test_lines_that_are_there_twice_are_refused_also_when_no_two_files_are_alike(spark, settings):
    deliver(settings, DAY, rows_of(DAY))
    deliver(settings, DAY, rows_of(DAY), name="part-1.parquet", compression="zstd")

    said = r"20 of 40 rows \(50.00%\) are copies of others in this delivery, more than the 25%"
    with pytest.raises(DeliveryRefused, match=said):
        load_history.run(spark, settings, PARAMS, until=DAY)

    accepted = load_history.run(
        spark, settings, PARAMS, until=DAY, accepted={DAY: "the till prints twice"}
    )
    assert (accepted["accepted"], accepted["quarantined"]) == (20, {"exact_duplicate": 20})


def test_a_shop_may_sell_the_same_thing_twice(spark, settings):
    few = [*rows_of(DAY), *rows_of(DAY, 9)]
    deliver(settings, DAY, few)

    totals = load_history.run(spark, settings, PARAMS, until=DAY)

    assert totals["quarantined"] == {"exact_duplicate": 9}


def text_params(settings: Settings, **changes):
    """The source as text files, changed."""
    text = PARAMS.source(settings.source).model_copy(update={"format": "csv"} | changes)
    return PARAMS.model_copy(update={"sources": {settings.source: text}})


def deliver_text(settings: Settings, day: date, content: bytes) -> None:
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True)
    (folder / "part-0.csv").write_bytes(content)


def test_the_same_header_without_rows_may_come_every_day_in_any_encoding(spark, settings):
    params = text_params(settings, text=Text(encoding="utf-16"))
    for day in DAYS[:2]:
        deliver_text(settings, day, (",".join(INCOMING.names) + "\n").encode("utf-16"))

    assert load_history.run(spark, settings, params, until=DAYS[1])["deliveries"] == 2


def test_a_file_of_one_row_without_a_header_is_not_taken_for_another_day(spark, settings):
    params = text_params(settings, text=Text(column_names=INCOMING.names))
    for day in DAYS[:2]:
        deliver_text(settings, day, b"1,85123A,ada,2,2.5,2026-04-01 12:00,France\n")

    with pytest.raises(DeliveryRefused, match="holds what was delivered for 2026-04-01, byte for"):
        load_history.run(spark, settings, params, until=DAYS[1])


def test_a_day_whose_day_and_month_are_swapped_is_refused(spark, settings):
    day = date(2026, 5, 4)
    deliver(settings, day - timedelta(days=1), rows_of(day - timedelta(days=1)))
    deliver(settings, day, rows_of(date(2026, 4, 5)))

    with pytest.raises(DeliveryRefused, match="no line is of the day: 20 rows, most dated 2026-04"):
        load_history.run(spark, settings, PARAMS, until=day)

    assert day not in taken(settings, day)


def test_a_day_without_a_line_of_its_own_is_right_when_the_shop_was_shut(spark, settings):
    shut = PARAMS.source(settings.source).model_copy(update={"closed_days": [DAYS[1]]})
    params = PARAMS.model_copy(update={"sources": {settings.source: shut}})
    deliver(settings, DAYS[0], rows_of(DAYS[0]))
    deliver(settings, DAYS[1], rows_of(DAYS[0], 3, quantity=9))

    totals = load_history.run(spark, settings, params, until=DAYS[1])

    assert totals["accepted"] == 23


def test_what_was_refused_stays_refused_until_a_person_takes_it_with_a_reason(spark, settings):
    deliver(settings, DAYS[0], rows_of(DAYS[0]))
    deliver(settings, DAYS[1], rows_of(DAYS[0]))
    for _ in range(2):
        with pytest.raises(DeliveryRefused, match="2026-04-02"):
            load_history.run(spark, settings, PARAMS, until=DAYS[1])

    totals = load_history.run(
        spark, settings, PARAMS, until=DAYS[1], accepted={DAYS[1]: "a test day, says upstream"}
    )

    assert totals["deliveries"] == 2
    record = taken(settings, DAYS[1])[DAYS[1]]
    assert record.accepted_because == "a test day, says upstream"
    assert any("delivered before" in reason for reason in record.accepted_despite)
    assert load_history.run(spark, settings, PARAMS, until=DAYS[1]) == totals
