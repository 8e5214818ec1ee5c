"""A table that nobody has described: what is found in it, what is asked, and its days laid out."""

import csv
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from deliveries.layout import OverlapDiffers
from deliveries.table import TableUnfit
from jobs import describe_source
from params import PARAMS_FILE, read_params

HEADER = ["receipt_no", "sku", "loyalty_card", "pieces", "price", "sold_at", "store_country"]


def row(sold_at, card="ada", receipt="r1", sku="s1", pieces="1", price="2.50", country="France"):
    """A row of a till; a test names only the values it is about."""
    return [receipt, sku, card, pieces, price, sold_at, country]


EVE, MORNING, LATER = "2026-03-30 18:00:00", "2026-03-31 08:00:00", "2026-04-02 10:00:00"


@pytest.fixture
def params_file(tmp_path):
    """A params.yaml of the test's own."""
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS_FILE.read_text())
    return path


@pytest.fixture
def table(tmp_path):
    """``table(row, ..., delimiter=";")`` writes a text file; returns its path."""

    def write(*rows, name="till.csv", header=HEADER, encoding="utf-8", **dialect) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="", encoding=encoding) as file:
            csv.writer(file, **dialect).writerows([header, *rows] if header else rows)
        return path

    return write


@pytest.fixture
def describe(params_file, tmp_path):
    """``describe(path)`` does the job; returns what it printed."""

    def run(path, into=False, name="till", **named):
        return describe_source.run(
            params_file, path, name, into=tmp_path / "incoming" if into else None, named=named
        )

    return run


@pytest.fixture
def entry(params_file):
    """``entry()`` is the written entry; ``entry("timezone")`` that line, with its comment."""

    def read(key=None):
        if key is None:
            return read_params(params_file).source("till")
        _, _, text = params_file.read_text().partition("\n  till:\n")
        return next(line for line in text.splitlines() if line.strip().startswith(f"{key}:"))

    return read


@pytest.fixture
def delivered(tmp_path):
    """``delivered()`` is what was laid out: the cells of each day."""

    def read():
        days = {}
        for folder in sorted((tmp_path / "incoming/transactions").iterdir()):
            lines = [
                line for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()
            ]
            days[folder.name] = [line for line in lines if not line.startswith(HEADER[0])]
        return days

    return read


# ---------------------------------------------------------------------------------- what is found


def test_each_column_is_found_by_its_name_and_what_it_holds(table, describe, entry):
    describe(table(row(EVE), row(LATER)))
    assert entry().columns.given == {
        "invoice_id": "receipt_no",
        "product_id": "sku",
        "customer_id": "loyalty_card",
        "quantity": "pieces",
        "unit_price": "price",
        "invoiced_at": "sold_at",
        "country": "store_country",
    }


@pytest.mark.parametrize(
    ("dialect", "price", "encoding", "found"),
    [
        ({"delimiter": ";"}, "1234,5", "utf-8", {"separator": ";", "decimal_mark": ","}),
        ({"delimiter": "\t"}, "1.234,50", "cp1252", {"separator": "\t", "thousands_mark": "."}),
        ({"delimiter": "|"}, "1,234.50", "utf-16", {"separator": "|", "thousands_mark": ","}),
        ({}, "12.50-", "utf-8-sig", {"separator": ",", "trailing_minus": True}),
    ],
)
def test_how_text_is_written_is_found(table, describe, entry, dialect, price, encoding, found):
    rows = (row(day, price=price, country="Österreich") for day in (EVE, MORNING))
    describe(table(*rows, encoding=encoding, **dialect))
    text = entry().text
    assert {name: getattr(text, name) for name in found} == found
    assert text.encoding == encoding.removesuffix("-sig")


@pytest.mark.parametrize(
    ("times", "pattern"),
    [
        (["2026-03-30T18:00:00+02:00", "2026-03-31T08:00:00Z"], None),
        (["30/03/2026 18:00", "01/04/2026 08:30"], "dd/MM/yyyy HH:mm"),
        (["03/30/2026 6:00 PM", "04/01/2026 8:30 AM"], "MM/dd/yyyy h:mm a"),
        (["30.3.2026 18:00:00", "1.4.2026 08:30:00"], "d.M.yyyy HH:mm:ss"),
        (["20260330", "20260401"], "yyyyMMdd"),
        (["30-Mar-2026 18:00:00", "01-Apr-2026 08:30:00"], "dd-MMM-yyyy HH:mm:ss"),
    ],
)
def test_how_times_are_written_is_found_and_no_question(table, describe, entry, times, pattern):
    facts = describe(table(*map(row, times)))
    assert entry().timestamp_format == pattern
    assert "?" not in entry("timestamp_format")
    assert facts["first"] == date(2026, 3, 30)


def test_what_is_not_sure_has_a_question_mark(table, describe, entry):
    describe(table(row("01/02/2026 18:00"), row("03/04/2026 18:00")))
    assert entry("timestamp_format").endswith("# ? or MM/dd/yyyy HH:mm?")
    assert entry("timezone").endswith("# ? where is the shop?")


def test_two_columns_that_may_be_the_same_thing_are_a_question(table, describe, entry):
    header = [*HEADER, "customer"]
    describe(table([*row(EVE), "ada"], [*row(LATER), "bob"], header=header))
    assert entry("customer_id").endswith("# ? or customer")


def test_a_person_may_name_a_column(table, describe, entry):
    header = ["a", "b", "c", "d", "e", "f", "g"]
    path = table(row(EVE), row(LATER), header=header)
    with pytest.raises(TableUnfit, match=r"no column looks like .*customer_id.* --column"):
        describe(path)
    named = dict(zip(("invoice_id", "product_id", "customer_id", "quantity"), "abcd", strict=True))
    describe(path, **named, unit_price="e", country="g")
    assert entry().columns.customer_id == "c"
    assert entry().columns.invoiced_at == "f"


def test_numbers_that_came_as_floats_are_ids_as_numbers(table, describe, entry):
    describe(table(row(EVE, card="17850.0"), row(LATER, card="NULL")))
    assert entry().ids.customer_id == "number"
    assert entry().null_markers == ["NULL"]
    assert entry("customer_id").endswith("# 50.0% of the rows have none")


def test_limits_lie_above_what_the_table_holds(table, describe, entry):
    describe(table(row(EVE, pieces="-12.5", price="99"), row(LATER, price="1")))
    source = entry()
    assert (source.quantity_decimals, source.largest_quantity) == (1, 20)
    assert (source.largest_unit_price, source.largest_amount) == (100, 2000)


def test_an_old_shop_gets_its_oldest_day_and_a_day_far_off_is_none_of_it(table, describe, entry):
    days = [row(f"1997-05-{day:02} 10:00:00") for day in range(1, 29)] * 5
    facts = describe(table(row("1900-01-01 00:00:00"), *days))
    assert (facts["first"], facts["last"]) == (date(1997, 5, 1), date(1997, 5, 28))
    assert entry().oldest_day == date(1997, 1, 1)
    assert entry().training_until == date(1997, 5, 25)


def test_days_that_would_be_refused_as_empty_or_thin_are_closed_days(table, describe, entry):
    weeks = [f"2026-03-{day:02} 10:00:00" for day in (2, 9, 16, 23, 30)]
    thin = {weeks[3]: 1}
    rows = [row(day, receipt=f"r{n}") for day in weeks for n in range(thin.get(day, 20))]
    describe(table(*rows))
    assert entry().closed_days == [date(2026, 3, 23)]
    assert "was the shop shut?" in entry("closed_days")


def test_a_weekday_without_any_trade_is_closed_and_is_not_laid_out(
    table, describe, entry, delivered
):
    """March, from a Monday to a Tuesday; one Thursday is a holiday."""
    days = [date(2026, 3, number) for number in range(2, 32)]
    open_days = [day for day in days if day.weekday() != 6 and day != date(2026, 3, 26)]
    rows = [row(f"{day} 10:00:00", receipt=f"r{n}") for day in open_days for n in range(20)]
    describe(table(*rows), into=True)
    assert entry().closed_weekdays == ["sunday"]
    assert entry().closed_days == [date(2026, 3, 26)]
    assert "# ? never any trade" in entry("closed_weekdays")
    assert entry().training_until == date(2026, 3, 27)
    assert delivered().keys() == {str(day) for day in days if day.weekday() != 6}


def test_less_than_four_weeks_tell_of_no_closed_weekday(table, describe, entry):
    days = [date(2026, 3, number) for number in range(2, 23)]
    describe(table(*[row(f"{day} 10:00:00") for day in days if day.weekday() != 3]))
    assert entry().closed_weekdays == []


def test_repeated_rows_are_counted_and_asked_about(table, describe, entry):
    describe(table(row(EVE), row(EVE), row(LATER)))
    assert entry().duplicates == "all columns"
    assert "# ? 1 rows repeat another" in entry("duplicates")


def test_rows_with_neither_receipt_nor_time_of_day_may_be_equal(table, describe, entry):
    header = ["customer", "day", "amount"]
    rows = [["ada", "20260330", "5"]] * 2
    describe(table(*rows, ["bob", "20260331", "5"], header=header))
    assert entry().duplicates == "never"


@pytest.mark.parametrize("type_", [pa.date32(), pa.timestamp("us")])
def test_dates_in_parquet_are_days_as_in_text_and_so_are_timestamps_at_midnight(
    tmp_path, describe, entry, type_
):
    days = pa.array([datetime(2026, 3, 30), datetime(2026, 3, 30), datetime(2026, 4, 1)], type_)  # noqa: DTZ001
    amounts, cards = pa.array([5.0] * 3), pa.array(["ada", "ada", "bob"])
    pq.write_table(pa.table({"card": cards, "day": days, "amount": amounts}), tmp_path / "t.pq")
    facts = describe(tmp_path / "t.pq", into=True)
    assert (facts["first"], facts["last"]) == (date(2026, 3, 30), date(2026, 4, 1))
    assert (entry().columns.invoiced_at, entry().timestamp_format) == ("day", None)
    assert entry().duplicates == "never"


def test_parquet_is_described_by_its_types(tmp_path, describe, entry):
    columns = {name: [value, value] for name, value in zip(HEADER, row(None), strict=True)}
    columns |= {"sold_at": [datetime.fromisoformat(day) for day in (EVE, LATER)]}
    columns |= {"pieces": [1, 2], "price": [2.5, 3.0]}
    pq.write_table(pa.table(columns), tmp_path / "till.parquet")
    describe(tmp_path / "till.parquet")
    source = entry()
    assert (source.format, source.timestamp_format) == ("parquet", None)
    assert source.columns.invoiced_at == "sold_at"


def test_everything_else_in_params_stays_as_it_is(table, describe, params_file):
    before = params_file.read_text()
    describe(table(row(EVE), row(LATER)))
    after = params_file.read_text()
    start = after.index("\n  # Written by describe_source")
    end = start + len(after) - len(before)
    assert after[:start] + after[end:] == before
    assert list(yaml.safe_load(after)["sources"])[-1] == "till"


def test_an_entry_that_is_there_is_used_and_not_written_again(table, describe, params_file):
    path = table(row(EVE), row(LATER))
    describe(path)
    corrected = params_file.read_text().replace("customer_id: loyalty_card", "customer_id: sku")
    params_file.write_text(corrected)
    describe(path)
    assert params_file.read_text() == corrected


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "is empty"),
        ("receipt_no,sku\n", "has a header and no rows"),
        (" 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n", "pandas.read_fwf"),
        ("sku,sku\n1,2\n", "several columns called 'sku'"),
    ],
)
def test_what_is_no_table_is_said_in_a_sentence(tmp_path, describe, lines, why):
    (tmp_path / "till.csv").write_text(lines)
    with pytest.raises(TableUnfit, match=why):
        describe(tmp_path / "till.csv")


def test_a_table_that_is_not_there_is_said(tmp_path, describe):
    with pytest.raises(TableUnfit, match="there is no"):
        describe(tmp_path / "away.csv")
    with pytest.raises(TableUnfit, match=r"holds no file that ends in \.parquet"):
        describe(PARAMS_FILE)


def test_a_file_of_another_table_in_the_folder_is_named(table, describe):
    table(*[row(EVE)] * 50, row(LATER), name="tills/one.csv")
    folder = table(["1", "2"], name="tills/stores.csv", header=["store", "city"]).parent
    with pytest.raises(TableUnfit, match=r"stores\.csv is not the table"):
        describe(folder)


def test_another_table_than_the_source_describes_is_refused(table, describe):
    with pytest.raises(TableUnfit, match=r"generated is parquet|is csv, and"):
        describe(table(row(EVE), row(LATER)), name="generated")


# ------------------------------------------------------------------------------------ by its days


def test_every_day_gets_its_rows_in_their_order_and_a_day_without_trade_none(
    table, describe, delivered
):
    later = [row(LATER, receipt=one) for one in ("r3", "r2")]
    facts = describe(table(later[0], row(EVE), later[1]), into=True)
    assert delivered() == {
        "2026-03-30": [",".join(row(EVE))],
        "2026-03-31": [],
        "2026-04-01": [],
        "2026-04-02": [",".join(one) for one in later],
    }
    assert (facts["rows"], facts["written"], facts["days_written"]) == (3, 3, 4)


def test_rows_without_a_day_lie_with_the_row_before_them(table, describe, delivered):
    good = [row(EVE)] * 20
    path = table(*good, row("soon"), row(LATER))
    with path.open("a") as file:
        file.write('r9,"a "b" c"\n')
    describe(path, into=True)
    assert delivered()["2026-03-30"][-1] == ",".join(row("soon"))
    assert delivered()["2026-04-02"] == [",".join(row(LATER)), 'r9,"a "b" c"']


def test_values_come_back_as_they_were_written(table, describe, tmp_path):
    strange = row(EVE, sku='5" pipe; "long"', country="Österreich")
    describe(table(strange, row(LATER), delimiter=";", encoding="cp1252"), into=True)
    path = tmp_path / "incoming/transactions/2026-03-30/part-0.csv"
    with path.open(encoding="cp1252", newline="") as file:
        assert list(csv.reader(file, delimiter=";")) == [HEADER, strange]


def test_days_that_are_there_are_left_alone(table, describe, delivered, tmp_path):
    path = table(row(EVE), row(LATER))
    (tmp_path / "incoming/transactions/2026-03-30").mkdir(parents=True)
    facts = describe(path, into=True)
    assert (facts["written"], facts["left_alone"]) == (1, 1)
    assert delivered()["2026-03-30"] == []
    assert describe(path, into=True)["days_left_alone"] == 4


def test_the_days_of_several_files_are_joined(table, describe, delivered):
    table(row(EVE, receipt="a"), name="tills/one.csv")
    folder = table(row(EVE, receipt="b"), row(LATER), name="tills/two.csv").parent
    describe(folder, into=True)
    assert [line[:1] for line in delivered()["2026-03-30"]] == ["a", "b"]


def test_a_day_that_overlapping_files_share_is_taken_once(table, describe, entry, delivered):
    shared = [row(MORNING, receipt="b"), row(MORNING, receipt="c")]
    table(row(EVE), *shared, name="years/one.csv")
    folder = table(*shared[::-1], row(LATER), name="years/two.csv").parent
    facts = describe(folder, into=True)
    assert entry().overlapping_files
    assert facts["overlapping"] == 2
    assert [line[:1] for line in delivered()["2026-03-31"]] == ["b", "c"]


def test_overlapping_files_that_differ_on_a_day_are_refused(table, describe, tmp_path):
    folder = table(row(EVE), row(MORNING), name="years/one.csv").parent
    table(row(MORNING), row(LATER), name="years/two.csv")
    describe(folder)
    table(row(MORNING), row(MORNING), row(LATER), name="years/two.csv")
    with pytest.raises(OverlapDiffers, match="2026-03-31"):
        describe(folder, into=True)
    assert not list((tmp_path / "incoming").glob("transactions/*"))


def test_parquet_stays_parquet_however_its_rows_are_scattered(tmp_path, describe, monkeypatch):
    monkeypatch.setattr("deliveries.layout.GATHERED_ROWS", 2)
    monkeypatch.setattr("deliveries.table.BATCH_ROWS", 2)
    days = [EVE, LATER] * 3
    columns = {name: [value] * 6 for name, value in zip(HEADER, row(None), strict=True)}
    columns |= {"sold_at": [datetime.fromisoformat(day) for day in days]}
    columns |= {"pieces": list(range(6)), "price": [2.5] * 6}
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "till.parquet")
    describe(tmp_path / "till.parquet", into=True)

    incoming = tmp_path / "incoming/transactions"
    days = {
        folder.name: pq.read_table(folder / "part-0.parquet", partitioning=None)
        for folder in incoming.iterdir()
    }
    assert {day: one["pieces"].to_pylist() for day, one in days.items()} == {
        "2026-03-30": [0, 2, 4],
        "2026-03-31": [],
        "2026-04-01": [],
        "2026-04-02": [1, 3, 5],
    }
    assert {one.schema for one in days.values()} == {table.schema}


@pytest.mark.real_data
def test_online_retail_is_laid_out_row_for_row(online_retail, tmp_path):
    facts = describe_source.run(
        PARAMS_FILE, online_retail, "online_retail_ii", into=tmp_path / "incoming"
    )
    assert facts == {
        "source": "online_retail_ii",
        "rows": 1_067_371,
        "first": date(2009, 12, 1),
        "last": date(2011, 12, 9),
        "written": 1_044_848,
        "overlapping": 22_523,
        "left_alone": 0,
        "days_written": 739,
        "days_left_alone": 0,
    }
    folders = list((tmp_path / "incoming/transactions").iterdir())
    rows = [sum(pq.read_metadata(path).num_rows for path in folder.iterdir()) for folder in folders]
    assert (sum(rows), sum(count > 0 for count in rows)) == (1_044_848, 604)


# --------------------------------------------------------------------- tables with little in them


def test_a_table_of_amounts_needs_no_receipt_product_or_country(table, describe, entry):
    header = ["household", "when", "sales_value", "quantity"]
    describe(table(["ada", EVE, "2.5", "2"], ["bob", LATER, "-1", "1"], header=header), into=True)
    assert entry().columns.given == {
        "customer_id": "household",
        "invoiced_at": "when",
        "amount": "sales_value",
    }
    assert entry("currency").endswith("# ? what are amounts in?")
    assert entry().largest_amount == 5


def test_a_price_without_a_quantity_is_what_was_spent(table, describe, entry):
    header = ["card", "date", "price"]
    describe(table(["ada", EVE, "2.5"], ["bob", LATER, "7"], header=header))
    assert entry().columns.amount == "price"
