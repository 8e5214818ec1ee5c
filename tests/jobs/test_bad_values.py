"""Bad input, one kind after the other, through the job that takes deliveries in."""

import csv
import io
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import catalog
from expectations.refusal import DeliveryRefused
from jobs import load_history
from params import Limits, Text, read_params
from settings import PROJECT_ROOT, Settings
from tests.jobs.test_validate_delivery import DAY, partition

PARAMS = read_params()
# So many lines may be broken that every kind can be tried in one delivery.
LENIENT = PARAMS.validation.model_copy(update={"quarantine_budget_share": 1.0})
COLUMNS = ("invoice", "product", "customer", "quantity", "unit_price", "invoiced_at", "country")


def text_line(**values: str) -> dict[str, str]:
    """A good line as text; a test names only the values it is about."""
    return {
        "invoice": "1",
        "product": "85123A",
        "customer": "17850",
        "quantity": "2",
        "unit_price": "2.5",
        "invoiced_at": "2026-04-01 12:00",
        "country": "France",
    } | values


def written(*lines: dict[str, str] | str, **dialect) -> str:
    """Lines as a CSV file with a header; a text stands for itself."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(COLUMNS), lineterminator="\n", **dialect)
    writer.writeheader()
    for line in lines:
        if isinstance(line, str):
            buffer.write(line + "\n")
        else:
            writer.writerow(line)
    return buffer.getvalue()


@dataclass
class Taken:
    """What became of the delivery of the day."""

    totals: dict
    accepted: list[dict] = field(default_factory=list)
    quarantined: list[dict] = field(default_factory=list)
    excluded: list[dict] = field(default_factory=list)
    activity: list[dict] = field(default_factory=list)


@pytest.fixture
def take(spark, settings):
    """``take(content, **source)`` takes in what lies in incoming for the day."""

    def run(*contents: str | bytes | pa.Table, validation=LENIENT, **changes) -> Taken:
        folder = catalog.incoming_folder(settings.data_root, DAY)
        folder.mkdir(parents=True)
        is_table = isinstance(contents[0], pa.Table)
        for number, content in enumerate(contents):
            name = f"part-{number}.{'parquet' if is_table else 'csv'}"
            if is_table:
                pq.write_table(content, folder / name)
            else:
                text = content if isinstance(content, bytes) else content.encode()
                (folder / name).write_bytes(text)
        source = PARAMS.source(settings.source).model_copy(
            update={"format": "parquet" if is_table else "csv"} | changes
        )
        params = PARAMS.model_copy(
            update={"sources": {settings.source: source}, "validation": validation}
        )
        totals = load_history.run(spark, settings, params, until=DAY)
        pieces = (
            catalog.TRANSACTIONS,
            catalog.QUARANTINED_TRANSACTIONS,
            catalog.EXCLUDED_TRANSACTIONS,
            catalog.ACTIVITY,
        )
        return Taken(totals, *(partition(settings, each, DAY) for each in pieces))

    return run


def test_malformed_lines_are_kept_as_delivered_with_their_line_and_what_is_wrong(take):
    short, stray = "1,85123A,17850,2,2.5", '1,6" PLATE,17850,2,2.5,2026-04-01 12:00,France'
    taken = take(written(text_line(), short, stray, text_line(invoice="2")))

    assert (taken.totals["delivered"], taken.totals["accepted"]) == (4, 2)
    assert taken.totals["quarantined"] == {"malformed_line": 2}
    found = {row["source_line"]: row for row in taken.quarantined}
    assert {number: dict(row["raw"]) for number, row in found.items()} == {
        3: {"_malformed_line": short},
        4: {"_malformed_line": stray},
    }
    assert found[3]["reason"].endswith("Here: 5 value(s) instead of 7")
    assert found[4]["reason"].endswith("Here: a quote opens inside a value")


def test_a_quote_that_swallows_lines_refuses_the_day_and_names_file_and_line(take):
    lines = [text_line(invoice=str(number)) for number in range(20)]
    stray = '1,"PLATE,17850,2,2.5,2026-04-01 12:00,France'
    said = r"^2026-04-01 refused: .*/part-0\.csv cannot be read \(line 22: "
    with pytest.raises(DeliveryRefused, match=said):
        take(written(*lines, stray, *lines))


BAD_VALUES = {
    "invoice_id_usable": {"invoice": "1\u200b"},
    "product_id_usable": {"product": "x" * 65},
    "customer_id_usable": {"customer": "\u202e17850"},
    "country_usable": {"country": "Fran\ufffdce"},
    "invoice_id_given": {"invoice": "NULL"},
    "quantity_exact": {"quantity": "1.5"},
    "quantity_given": {"quantity": "two dozen"},
    "quantity_not_zero": {"quantity": "-0"},
    "unit_price_exact": {"unit_price": "1e-9"},
    "unit_price_given": {"unit_price": "0x1F"},
    "amount_plausible": {"quantity": "20000", "unit_price": "5000"},
    "invoiced_at_given": {"invoiced_at": "2026-04-01 10:00 Europe/Berlin"},
    "not_too_old": {"invoiced_at": "1999-12-31 10:00"},
    "not_in_future": {"invoiced_at": "9998-12-31 10:00"},
}


def test_every_kind_of_bad_value_is_quarantined_under_its_rule(take):
    lines = [text_line(**values) for values in BAD_VALUES.values()]
    taken = take(written(text_line(), *lines))
    assert taken.totals["quarantined"] == dict.fromkeys(BAD_VALUES, 1)
    by_line = {row["source_line"]: row["rule"] for row in taken.quarantined}
    assert by_line == dict(enumerate(BAD_VALUES, start=3))


@pytest.mark.parametrize(
    "at", ["0001-01-01 00:00+02:00", "0000-01-01 00:00", "9999-12-31 23:59-02", "10000-01-01 00:00"]
)
def test_a_date_outside_the_calendar_is_quarantined_and_the_verdict_is_computed(take, at):
    taken = take(written(text_line(), text_line(invoiced_at=at)))
    assert taken.totals["quarantined"] == {"invoiced_at_given": 1}
    assert dict(taken.quarantined[0]["raw"])["invoiced_at"] == at


@pytest.mark.parametrize("mark", ["\\N", "NULL", "nan", "None", " <NA> "])
def test_a_marker_of_nothing_is_no_customer(take, mark):
    taken = take(written(text_line(), text_line(customer=mark)))
    assert taken.totals["excluded"] == {"no_customer": 1}


def test_an_id_that_is_a_number_is_the_same_however_it_is_written(take):
    kinds = PARAMS.source("generated").ids.model_copy(update={"customer_id": "number"})
    spellings = ["12345", "12345.0", " 12345 ", "1.2345E4", "012345", "+12345", "12345A", "123.5"]
    lines = [text_line(invoice=str(n), customer=one) for n, one in enumerate(spellings)]
    taken = take(written(*lines), ids=kinds)
    assert [row["customer_id"] for row in taken.accepted] == ["12345"] * 6
    assert taken.totals["quarantined"] == {"customer_id_usable": 2}
    assert all("no whole number" in row["reason"] for row in taken.quarantined)


def parquet(**columns: pa.Array) -> pa.Table:
    """Good lines as a table, as many as the columns given are long."""
    rows = len(next(iter(columns.values())))
    good = {
        "invoice": pa.array([str(number) for number in range(rows)]),
        "product": pa.array(["85123A"] * rows),
        "customer": pa.array(["17850"] * rows),
        "quantity": pa.array([2] * rows),
        "unit_price": pa.array([2.5] * rows),
        "invoiced_at": pa.array([datetime(2026, 4, 1, 12)] * rows, pa.timestamp("us")),  # noqa: DTZ001
        "country": pa.array(["France"] * rows),
    }
    return pa.table(good | columns)


def test_bytes_that_are_no_text_in_parquet_are_no_id(take):
    names = pa.array([b"ada", b"a\xff", b"b\0"]).view(pa.string())
    taken = take(parquet(customer=names))
    assert taken.totals["quarantined"] == {"customer_id_usable": 2}
    assert [row["source_line"] for row in taken.quarantined] == [2, 3]


def test_floats_that_cannot_tell_ids_apart_are_no_ids(take):
    taken = take(parquet(customer=pa.array([17850.0, 2.0**53 + 2, None, float("nan")])))
    assert [row["customer_id"] for row in taken.accepted] == ["17850"]
    assert taken.totals["quarantined"] == {"customer_id_usable": 1}
    assert taken.totals["excluded"] == {"no_customer": 2}


def test_times_far_outside_are_quarantined_in_parquet_too(take):
    at = pa.array([1_775_000_000_000, 10**15, -(10**15)], pa.timestamp("ms", "UTC"))
    taken = take(parquet(invoiced_at=at))
    assert taken.totals["quarantined"] == {"invoiced_at_given": 2}
    assert {dict(row["raw"])["invoiced_at"] for row in taken.quarantined} == {
        "1000000000000000",
        "-1000000000000000",
    }


def test_dates_far_outside_are_quarantined_in_parquet_too(take):
    taken = take(parquet(invoiced_at=pa.array([20_544, 2**31 - 1, -(2**31)], pa.date32())))
    assert taken.totals["quarantined"] == {"invoiced_at_given": 2}


def test_columns_of_every_type_and_name_are_tolerated_if_nobody_uses_them(take):
    odd = {
        "": pa.array(["x"]),
        "a\0b\n": pa.array([[1, 2]]),
        "COUNTRY": pa.array([b"\xff"]),
        "n" * 1_000: pa.array([{"a": 1}]),
        "w": pa.array([1.5], pa.float16()),
        "d": pa.array([3], pa.duration("s")),
        "t": pa.array([time(1)]),
        "v": pa.array(["x"], pa.string_view()),
        "l": pa.array([b"x"], pa.large_binary()),
    }
    assert take(parquet(quantity=pa.array([3]), **odd)).totals["accepted"] == 1


LONG_NAME = ",".join([*COLUMNS, "n" * 3_000])
WIDE = ",".join(f"c{number}" for number in range(10_000))
NINE = written(*[text_line()] * 9)


@pytest.mark.parametrize(
    ("content", "limits", "sentence"),
    [
        (WIDE, {}, "10,000 columns, 1,000 are allowed"),
        (LONG_NAME, {}, "name has 3,000 characters"),
        (written(text_line(product="x" * 10_000_000)), {}, "line 2: it is longer than"),
        (written(text_line(product="x" * 110_000)), {}, "line 2: a value has 110,000 characters"),
        (
            parquet(product=pa.array(["x" * 10_000_000] * 3)),
            {},
            "product: a value has 10,000,000 b",
        ),
        (parquet(photo=pa.array([b"x" * 10_000_000])), {}, "photo: a value has 10,000,000 bytes"),
        (parquet(**{f"c{n}": pa.array([1]) for n in range(1_000)}), {}, "1,007 columns, 1,000 are"),
        (NINE, {"delivery_rows": 8}, "more than 8 rows, 8 are allowed.*limits.delivery_rows"),
        (parquet(quantity=pa.array([1] * 9)), {"delivery_rows": 8}, "more than 8 rows"),
        (NINE, {"delivery_bytes": 99}, "bytes, 99 are allowed"),
        ("invoice;product;customer\n", {}, "one column only; is the separator ';'"),
        ("1,2,3\n4,5,6\n", {}, "no name fits; has the file no header"),
        ("Invoice,product\n", {}, r"'invoice' .* is missing .* \(is it 'Invoice'\?\)"),
    ],
)
def test_what_is_beyond_a_limit_or_not_as_agreed_is_refused_with_a_sentence(
    take, content, limits, sentence
):
    with pytest.raises(DeliveryRefused, match=sentence):
        take(content, limits=Limits(**limits))


def test_one_bad_day_does_not_keep_the_others_out(take, settings):
    other = catalog.incoming_folder(settings.data_root, DAY - timedelta(days=1))
    other.mkdir(parents=True)
    (other / "part-0.csv").write_text('a,"b\nc')
    with pytest.raises(DeliveryRefused, match=r"^2026-03-31 refused: [^\n]*\n→ what to do"):
        take(written(text_line()))
    assert len(partition(settings, catalog.TRANSACTIONS, DAY)) == 1


def test_a_delivery_that_is_large_and_breaks_off_leaves_nothing_of_itself(take, settings):
    other = catalog.incoming_folder(settings.data_root, DAY - timedelta(days=1))
    other.mkdir(parents=True)
    large = written(*[text_line(invoice=str(number)) for number in range(70_000)])
    (other / "part-0.csv").write_text(large + '1,"PLATE\n' + large)
    with pytest.raises(DeliveryRefused, match=r"line 70002: "):
        take(written(text_line()))
    assert len(partition(settings, catalog.TRANSACTIONS, DAY)) == 1


def test_wrong_data_end_the_job_with_20_and_the_sentence_in_its_log(settings):
    folder = catalog.incoming_folder(settings.data_root, DAY)
    folder.mkdir(parents=True)
    pq.write_table(parquet(quantity=pa.array([1])).drop(["country"]), folder / "part-0.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.load_history", "--until", str(DAY)],
        env=os.environ | {"SCORING_DATA_ROOT": str(settings.data_root)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 20, done.stderr
    assert "column 'country' (our country) is missing" in done.stderr + done.stdout


def test_the_dialect_of_an_erp_system_is_read(take):
    text = Text(
        encoding="cp1252",
        separator=";",
        decimal_mark=",",
        thousands_mark=".",
        trailing_minus=True,
        column_names=list(COLUMNS),
    )
    lines = (
        "1;85123A;17850;2;1.234,50;01.04.2026 12:00;Österreich\n"
        "2;85123A;17850;5-;2,5;01.04.2026 12:00+02;Österreich\n"
        "3;85123A;17850;2;1.23;01.04.2026 12:00;Österreich\n"
    )
    taken = take(lines.encode("cp1252"), text=text, timestamp_format="dd.MM.yyyy HH:mm")
    assert [(row["quantity_micros"], row["unit_price_micros"]) for row in taken.accepted] == [
        (-5_000_000, 2_500_000),
        (2_000_000, 1_234_500_000),
    ]
    assert [row["invoiced_at"] for row in taken.accepted] == [
        datetime(2026, 4, 1, 10, tzinfo=UTC),
        datetime(2026, 4, 1, 11, tzinfo=UTC),
    ]
    assert {row["country"] for row in taken.accepted} == {"Österreich"}
    # A point that parts no thousands is no number.
    assert taken.totals["quarantined"] == {"unit_price_given": 1}


def test_a_sale_after_midnight_is_of_the_evening_before(take):
    lines = [
        text_line(invoice=at, invoiced_at=at) for at in ("2026-04-02 03:59", "2026-04-02 04:00")
    ]
    taken = take(written(*lines), day_ends_at=time(4))
    assert taken.totals["quarantined"] == {"not_in_future": 1}
    assert [row["activity_on"] for row in taken.activity] == [DAY]


def test_invoices_whose_numbers_start_again_every_day_are_told_apart(take):
    lines = [
        text_line(invoice="1", product=shop, invoiced_at=f"{day} 12:00")
        for day in ("2026-03-31", "2026-04-01")
        for shop in ("north", "south")
    ]
    text = written(*lines)
    daily = take(text, invoices_restart_daily=True, invoices_issued_by="product")
    assert [row["purchase_invoice_ids"] for row in daily.activity] == [
        [f"{day}/north/1", f"{day}/south/1"] for day in ("2026-03-31", "2026-04-01")
    ]


@pytest.mark.parametrize(
    ("duplicates", "copies"), [("all columns", {5}), ("never", set()), (["invoice"], {3, 5})]
)
def test_the_source_says_what_a_duplicate_is(take, duplicates, copies):
    lines = [text_line(), text_line(quantity="3"), text_line(invoice="2"), text_line()]
    taken = take(written(*lines), duplicates=duplicates)
    assert {row["source_line"] for row in taken.quarantined} == copies
    assert taken.totals["accepted"] == 4 - len(copies)


def test_a_column_that_tells_duplicates_or_issuers_apart_is_part_of_the_contract(take):
    with pytest.raises(DeliveryRefused, match=r"column 'line_number' is missing"):
        take(written(text_line()), duplicates=["invoice", "line_number"])


def test_goods_are_weighed_exactly_in_as_many_decimals_as_the_source_allows(take):
    weighed = {"0.125": "19.99", "1.2500": "2", "0.30000000000000004": "10", "-0.125": "19.99"}
    lines = [text_line(invoice=of, quantity=of, unit_price=at) for of, at in weighed.items()]
    taken = take(written(*lines, text_line(quantity="0.0625")), quantity_decimals=3)

    assert taken.totals["quarantined"] == {"quantity_exact": 1}
    [beyond] = taken.quarantined
    assert beyond["reason"].endswith("Here: 0.0625")
    quantities = {row["invoice_id"]: row["quantity_micros"] for row in taken.accepted}
    assert sorted(quantities.values()) == [-125_000, 125_000, 300_000, 1_250_000]
    [day] = taken.activity
    assert (day["purchase_quantity_micros"], day["return_quantity_micros"]) == (1_675_000, 125_000)
    # 0.125 x 19.99 + 1.25 x 2 + 0.3 x 10, and the first of them back.
    assert (day["purchase_micros"], day["return_micros"]) == (7_998_750, 2_498_750)


def test_a_quantity_is_plausible_in_its_own_unit(take):
    lines = [text_line(quantity=of, invoice=of, unit_price="1") for of in ("20000", "20000.001")]
    taken = take(written(*lines), quantity_decimals=3)
    assert (taken.totals["accepted"], taken.totals["quarantined"]) == (
        1,
        {"quantity_plausible": 1},
    )


def test_the_largest_amounts_that_are_allowed_never_overflow(take):
    source = PARAMS.source("generated")
    most = text_line(quantity="20000", unit_price="5")
    taken = take(written(*[most | {"invoice": str(number)} for number in range(30)]))
    assert taken.activity[0]["purchase_micros"] == 30 * round(source.largest_amount) * 1_000_000
    for limit in ("largest_amount", "largest_quantity"):
        with pytest.raises(ValueError, match=rf"{limit} .* is more than the exact sums hold"):
            type(source).model_validate(source.model_dump() | {limit: 10**9})


PIECES = st.sampled_from(
    ["1", "tea", '"tea"', '"a, b"', '"9"" plate"', "", '"', 'x"', "\r", "\0", "NULL", "-1", "1e-9"]
) | st.sampled_from(
    ["2026-04-01 12:00", "2026-04-01 12:00+02", "France", "\ufeff", "\u202e", "é" * 70]
)
DIRTY = st.lists(
    st.lists(PIECES, min_size=5, max_size=8).map(",".join)
    | st.builds(text_line, quantity=PIECES, customer=PIECES).map(
        lambda line: ",".join(line.values())
    ),
    min_size=50,
    max_size=150,
)


@hypothesis_settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(lines=DIRTY)
def test_of_random_dirty_files_as_many_rows_are_split_as_are_there(spark, tmp_path_factory, lines):
    root = Settings(data_root=tmp_path_factory.mktemp("dirty"))
    folder = catalog.incoming_folder(root.data_root, DAY)
    folder.mkdir(parents=True)
    (folder / "part-0.csv").write_text("\n".join([",".join(COLUMNS), *lines]), "utf-8", newline="")
    one_line = Limits(lines_of_a_value=1)
    source = PARAMS.source("generated").model_copy(update={"format": "csv", "limits": one_line})
    params = PARAMS.model_copy(update={"sources": {"generated": source}, "validation": LENIENT})

    totals = load_history.run(spark, root, params, until=DAY)

    assert totals["delivered"] == sum(bool(line.removesuffix("\r")) for line in lines)
    split = [*totals["quarantined"].values(), *totals["excluded"].values(), totals["accepted"]]
    assert totals["delivered"] == sum(split)
    assert totals["quarantined"]["malformed_line"] > 0
