"""How delivered rows become canonical lines."""

from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import catalog
from deliveries.cells import DeliveredCells
from deliveries.contract import ContractBroken
from deliveries.files import DeliveryUnreadable
from deliveries.receive import describe_delivery
from tests.deliveries.conftest import DAY, line

HEADER = "invoice,product,customer,quantity,unit_price,invoiced_at,country\n"


def csv_row(**values) -> str:
    """A line of CSV; a test names only the values it is about."""
    row = {
        "invoice": "500001",
        "product": "85123A",
        "customer": "17850",
        "quantity": "6",
        "unit_price": "2.55",
        "invoiced_at": "01/04/2026 08:26",
        "country": "United Kingdom",
    }
    return ",".join((row | values).values()) + "\n"


def test_gives_the_canonical_line_and_where_it_came_from(deliver, read, source):
    folder = deliver(line())
    [row] = read(source, folder)
    declared = catalog.Dataset("delivered", catalog.DELIVERED_LINE, "").columns
    assert list(row.asDict()) == declared
    found = {name: value for name, value in row.asDict().items() if value is not None}
    assert found.pop("row_text")
    assert found == {
        "invoice_id": "500001",
        "product_id": "85123A",
        "customer_id": "17850",
        "quantity_micros": 6_000_000,
        "unit_price_micros": 2_550_000,
        "invoiced_at": datetime.fromisoformat("2026-04-01T07:26"),
        "country": "United Kingdom",
        "known_on": DAY,
        "source_file": "part-0.parquet",
        "source_line": 1,
        "raw": {
            "invoice": "500001",
            "product": "85123A",
            "customer": "17850",
            "quantity": "6",
            "unit_price": "2.55",
            "invoiced_at": "2026-04-01 08:26:00",
            "country": "United Kingdom",
        },
    }


def test_rows_that_say_the_same_have_the_same_text_and_no_others(deliver, read, source):
    # Signs that stand between values, and for none, are values too.
    values = [None, "", "-", "1", "\x1b", "\x1b-", "\x1be-", "\x1f", "1\x1f", "\x1f1", "\x1bs"]
    pairs = [(one, other) for one in values for other in values]
    lines = [line(customer=one, country=other) for one, other in pairs]
    rows = read(source, deliver(*lines, *lines[:3]))
    texts = {tuple(row.raw.items()): row.row_text for row in rows}
    assert len(texts) == len(set(texts.values())) == len(pairs)
    assert {row.row_text == texts[tuple(row.raw.items())] for row in rows} == {True}


def test_the_same_values_under_other_names_are_another_row(deliver, read, source):
    deliver(line() | {"till": "1"}, name="a.parquet", till=pa.string())
    deliver(line() | {"shop": "1"}, name="b.parquet", shop=pa.string())
    one, other = read(source, deliver(line() | {"till": "1"}, name="c.parquet", till=pa.string()))[
        :2
    ]
    assert one.row_text != other.row_text


def test_a_source_that_names_what_tells_lines_apart_needs_no_text_of_rows(deliver, read, source):
    keyed = source.model_copy(update={"duplicates": ["invoice", "product"]})
    [row] = read(keyed, deliver(line()))
    assert row.row_text is None


def test_trims_text_and_takes_empty_text_for_null(deliver, read, source):
    [row] = read(source, deliver(line(customer=" \u00a0", country=" Eire\t")))
    assert (row.customer_id, row.country) == (None, "Eire")
    assert row.raw["customer"] == " \u00a0"


def test_reads_each_file_with_its_own_number_types(deliver, read, source):
    deliver(line(quantity=1), name="a.parquet", quantity=pa.int8())
    deliver(line(quantity=2, customer=17850), name="b.parquet", customer=pa.int64())
    deliver(line(quantity=3.0, customer=17850.0), customer=pa.float64(), quantity=pa.float64())
    folder = deliver(
        line(quantity=4, unit_price=Decimal("2.55")),
        name="d.parquet",
        quantity=pa.uint64(),
        unit_price=pa.decimal128(9, 3),
    )
    lines = sorted(read(source, folder), key=lambda row: row.quantity_micros)
    assert [row.quantity_micros for row in lines] == [1_000_000, 2_000_000, 3_000_000, 4_000_000]
    assert {row.customer_id for row in lines} == {"17850"}
    assert {row.unit_price_micros for row in lines} == {2_550_000}


def test_a_column_of_nothing_but_nulls_is_nulls(deliver, read, source):
    [row] = read(
        source, deliver(line(customer=None, quantity=None), customer=pa.null(), quantity=pa.null())
    )
    assert (row.customer_id, row.quantity_micros) == (None, None)
    assert row.raw["customer"] is None


def test_a_number_that_does_not_fit_is_null_and_kept_raw(deliver, read, source):
    folder = deliver(line(quantity=10**13), name="wide.parquet", quantity=pa.int64())
    deliver(line(quantity=2.5), line(quantity=float("nan")), quantity=pa.float64())
    lines = read(source, folder)
    assert [row.quantity_micros for row in lines] == [None] * 3
    assert {row.raw["quantity"] for row in lines} == {"10000000000000", "2.5", "NaN"}


def test_an_empty_file_is_a_delivery_of_no_rows(deliver, read, source):
    assert read(source, deliver()) == []


def test_a_footer_that_promises_other_rows_is_no_footer(deliver, source, tmp_path):
    folder = deliver(line())
    [file] = describe_delivery(folder, "parquet")
    more = file.model_copy(update={"rows": 5})
    with (
        DeliveredCells(tmp_path) as cells,
        pytest.raises(DeliveryUnreadable, match="its footer promises 5 rows, 1 are there"),
    ):
        cells.open_delivery(folder, DAY, "d1-r1", [more], source)


def test_text_of_every_width_is_read_alike(deliver, read, source):
    deliver(line(customer="ada"), name="a.parquet", customer=pa.large_string())
    deliver(line(customer="ada"), name="b.parquet", customer=pa.string_view())
    deliver(line(customer="ada"), name="c.parquet", customer=pa.dictionary(pa.int8(), pa.string()))
    folder = deliver(line(customer=Decimal(12)), name="d.parquet", customer=pa.decimal128(9, 2))
    assert sorted(row.customer_id for row in read(source, folder)) == ["12", "ada", "ada", "ada"]


def test_the_letters_of_an_id_are_one_however_they_were_typed(deliver, read, source):
    [row] = read(source, deliver(line(customer="Rene\u0301")))
    assert row.customer_id == "Ren\u00e9"


def test_known_on_is_the_day_of_the_folder_when_many_are_read_at_once(deliver, read, source):
    days = [date(2026, 4, day) for day in range(1, 6)]
    folders = [deliver(line(invoice=f"5{day.day}"), day=day) for day in days]
    lines = read(source, *folders)
    assert sorted((row.known_on, row.invoice_id) for row in lines) == [
        (day, f"5{day.day}") for day in days
    ]


def test_source_file_is_the_name_as_delivered(deliver, read, source):
    name = "sales +(1) 100% = 2.parquet"
    [row] = read(source, deliver(line(), name=name))
    assert row.source_file == name


def test_a_new_column_is_kept_raw(deliver, read, source):
    [row] = read(source, deliver(line(**{"a `note`.": "gift"}), **{"a `note`.": pa.string()}))
    assert row.raw["a `note`."] == "gift"


def test_a_column_missing_from_one_file_of_many_is_never_nulls(deliver, read, source):
    folders = [deliver(line()), deliver(line(), day=date(2026, 4, 2), quantity=None)]
    with pytest.raises(ContractBroken, match=r"2026-04-02.*part-0.parquet.*'quantity'"):
        read(source, *folders)


# --- prices ------------------------------------------------------------------------------------


@hypothesis_settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prices=st.lists(
        st.floats(-1e9, 1e9, allow_nan=False)
        | st.decimals(-1_000_000, 1_000_000, places=3).map(float)
        | st.sampled_from(
            [0.0000005, -0.0000005, 0.0000015, 2.675, 1e9 / 3, 1e-9, -0.0, 0.1 + 0.2]
        ),
        min_size=200,
        max_size=300,
    )
)
def test_a_price_becomes_millionths_exactly_or_not_at_all(deliver, read, source, prices):
    lines = read(source, deliver(*[line(unit_price=price) for price in prices]))

    def expected(price: float) -> int | None:
        exact = Decimal(repr(price)) * 1_000_000
        rounded = int(exact.quantize(Decimal(1), ROUND_HALF_UP))
        # As a float, nothing but these millionths is meant.
        is_float_of_them = abs(exact - rounded) <= abs(exact) * Decimal(2) ** -51
        return rounded if is_float_of_them else None

    by_line = sorted(lines, key=lambda row: row.source_line)
    assert [row.unit_price_micros for row in by_line] == [expected(price) for price in prices]
    assert [row.inexact_unit_price is not None for row in by_line] == [
        expected(price) is None for price in prices
    ]


def test_a_short_float_price_is_read_by_its_shortest_text(deliver, read, source):
    [row] = read(source, deliver(line(unit_price=1234.57), unit_price=pa.float32()))
    assert row.unit_price_micros == 1_234_570_000


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 1e300])
def test_a_price_that_is_no_amount_is_null(deliver, read, source, price):
    [row] = read(source, deliver(line(unit_price=price)))
    assert row.unit_price_micros is None


# --- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-01-15T12:00", "2026-01-15T12:00"),  # winter
        ("2026-07-15T12:00", "2026-07-15T11:00"),  # summer
        ("2026-03-29T00:59", "2026-03-29T00:59"),  # the last minute before the clocks go forward
        ("2026-03-29T01:30", "2026-03-29T01:30"),  # skipped: 02:30 summer time
        ("2026-03-29T02:00", "2026-03-29T01:00"),
        ("2026-10-25T01:30", "2026-10-25T00:30"),  # twice: the first, summer time
        ("2026-10-25T02:00", "2026-10-25T02:00"),
    ],
)
@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_a_time_without_zone_is_local(deliver, read, source, local, utc, unit):
    at = datetime.fromisoformat(local)
    [row] = read(source, deliver(line(invoiced_at=at), invoiced_at=pa.timestamp(unit)))
    assert row.invoiced_at == datetime.fromisoformat(utc)


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_a_time_with_zone_is_the_instant_it_says(deliver, read, source, unit):
    at = datetime.fromisoformat("2026-07-15T12:00:00+09:00")
    [row] = read(source, deliver(line(invoiced_at=at), invoiced_at=pa.timestamp(unit, "UTC")))
    assert row.invoiced_at == datetime.fromisoformat("2026-07-15T03:00")


@pytest.mark.parametrize("type_", [pa.date32(), pa.date64()])
def test_a_date_in_parquet_is_what_the_same_date_is_as_text(
    deliver, deliver_text, read, source, csv_source, type_
):
    """In summer, midnight in London is 23:00 UTC."""
    written = csv_source.model_copy(update={"timestamp_format": "yyyy-MM-dd"})
    [text] = read(written, deliver_text(HEADER + "500001,85123A,17850,6,2.55,2026-07-15,France\n"))
    day = date(2026, 7, 15)
    [row] = read(source, deliver(line(invoiced_at=day), day=day, invoiced_at=type_))
    assert row.invoiced_at == text.invoiced_at == datetime.fromisoformat("2026-07-14T23:00")


def test_the_oldest_parquet_timestamps_are_utc(deliver, read, source):
    folder = deliver(line(invoiced_at=datetime.fromisoformat("2026-07-15T12:00")))
    table = pq.read_table(folder / "part-0.parquet")
    pq.write_table(table, folder / "part-0.parquet", use_deprecated_int96_timestamps=True)
    [row] = read(source, folder)
    assert row.invoiced_at == datetime.fromisoformat("2026-07-15T12:00")


# --- CSV ---------------------------------------------------------------------------------------


def test_csv_text_where_a_number_belongs_is_null_and_kept_raw(deliver_text, read, csv_source):
    values = [
        ("6", 6_000_000),
        (" -6 ", -6_000_000),
        ("12.0", 12_000_000),
        ("2.5", None),
        ("six", None),
        ("", None),
    ]
    text = HEADER + "".join(csv_row(quantity=quantity) for quantity, _ in values)
    lines = read(csv_source, deliver_text(text))
    assert [(row.raw["quantity"] or "", row.quantity_micros) for row in lines] == values


def test_csv_prices_are_exact(deliver_text, read, csv_source):
    values = [("2.55", 2_550_000), ("0.0000005", None), ("1e2", 100_000_000), ('"1,5"', None)]
    text = HEADER + "".join(csv_row(unit_price=price) for price, _ in values)
    lines = read(csv_source, deliver_text(text))
    assert [row.unit_price_micros for row in lines] == [micros for _, micros in values]


def test_csv_columns_go_by_name_in_each_file(deliver_text, read, csv_source):
    deliver_text(HEADER + csv_row(), name="a.csv")
    folder = deliver_text(
        "country,quantity,unit_price,invoiced_at,invoice,customer,product\n"
        "United Kingdom,6,2.55,01/04/2026 08:26,500001,17850,85123A\n",
        name="b.csv",
    )
    first, second = read(csv_source, folder)
    assert first[:7] == second[:7]


def test_csv_quotes_line_ends_and_byte_order_mark(deliver_text, read, csv_source):
    text = "\ufeff" + HEADER + csv_row(product='"9"" plate,\nblue"') + "\n" + csv_row(invoice="7")
    first, second = read(csv_source, deliver_text(text.replace("\n", "\r\n")))
    assert first.raw["product"] == '9" plate,\nblue'
    assert (first.invoice_id, second.invoice_id) == ("500001", "7")
    assert (first.source_line, second.source_line) == (2, 5)


@pytest.mark.parametrize("broken", ["500001,85123A,17850,6,2.55\n", csv_row(product="a,b")])
def test_a_csv_line_of_another_width_is_kept_whole_and_read_as_nulls(
    deliver_text, read, csv_source, broken
):
    good, bad = read(csv_source, deliver_text(HEADER + csv_row() + broken))
    assert good.quantity_micros == 6_000_000
    assert bad[:7] == (None,) * 7
    assert bad.raw == {"_malformed_line": broken.strip()}


@pytest.mark.parametrize(
    ("pattern", "text", "utc"),
    [
        ("dd/MM/yyyy HH:mm", "15/07/2026 12:00", "2026-07-15T11:00"),
        ("dd/MM/yyyy HH:mm", "31/02/2026 12:00", None),
        ("dd/MM/yyyy HH:mm", "yesterday", None),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-07-15T12:00:00+09:00", "2026-07-15T03:00"),
        ("dd.MM.yyyy 'at Oz' HH:mm", "15.07.2026 at Oz 12:00", "2026-07-15T11:00"),
        (None, "2026-07-15 12:00", "2026-07-15T11:00"),
        (None, "2026-07-15T12:00:00.5Z", "2026-07-15T12:00:00.5"),
        (None, "2026-07-15T12:00:00-04:00", "2026-07-15T16:00"),
        (None, "12:00:00Z", None),
        (None, "2026-07-15 12:00+02", "2026-07-15T10:00"),
        (None, "2026-07-15 12:00 -0330", "2026-07-15T15:30"),
        (None, "2026-07-15 12:00 UTC", "2026-07-15T12:00"),
        (None, "2026-07-15 12:00 Europe/Berlin", None),
        (None, "2026-07-15 12:00 CET", None),
        (None, "2026-07-15 12:00+15:00", None),
        (None, "2026-07-15 24:00", None),
        ("dd-MM-yyyy HH:mm", "15-07-2026 12:00+02", "2026-07-15T10:00"),
        ("dd-MM-yyyy", "15-07-2026", "2026-07-14T23:00"),
        ("dd-MM-yyyy HH:mm", "15-07-2026 12:00 CET", None),
        ("yyyy-MM-dd HH:mm VV", "2026-07-15 12:00 Europe/Berlin", "2026-07-15T10:00"),
        ("yyyy-MM-dd HH:mm VV", "2026-07-15 12:00 CET", None),
    ],
)
def test_times_as_text(deliver_text, read, csv_source, pattern, text, utc):
    source = csv_source.model_copy(update={"timestamp_format": pattern})
    [row] = read(source, deliver_text(HEADER + csv_row(invoiced_at=text)))
    assert row.invoiced_at == (utc and datetime.fromisoformat(utc))
    assert row.raw["invoiced_at"] == text
