"""What the generated shop promises: the same bytes, lifelike lines, and faults to order."""

from collections import Counter
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from deliveries.cells import DeliveredCells
from deliveries.contract import check_contract
from deliveries.faults import Fault, Faults
from deliveries.files import DeliveryUnreadable
from deliveries.generator import Shop, days_between
from deliveries.receive import describe_delivery
from jobs import generate_deliveries
from params import read_params
from tests.deliveries.conftest import DAY, TYPES

NEXT_DAY = DAY + timedelta(days=1)
NATURAL_DIRT = 0.01


@pytest.fixture
def shop(source):
    """``shop("nulls:2026-04-01", ...)`` is the same shop each time, but for its faults."""

    def open_shop(*faults: str, customers: int = 3000, seed: int = 1, source=source) -> Shop:
        return Shop(customers, seed, source, Faults(tuple(map(Fault.parse, faults))))

    return open_shop


def rows_of(table: pa.Table) -> Counter:
    """The rows with their numbers, whatever their order."""
    return Counter(tuple(row.values()) for row in table.to_pylist())


@pytest.fixture(scope="module")
def two_years():
    """All lines of a small shop over two years, one pandas row each, ``known_on`` added."""
    shop = Shop(1500, 3, read_params().source("generated"))
    days = list(days_between(date(2024, 4, 1), date(2026, 3, 31)))
    tables = [shop.delivery(day).to_pandas().assign(known_on=pd.Timestamp(day)) for day in days]
    return pd.concat(tables, ignore_index=True)


# --- the same bytes ----------------------------------------------------------------------------


def test_a_day_has_the_same_bytes_whether_or_not_others_are_made(shop, tmp_path):
    alone, among = shop(), shop()
    alone.write_delivery(DAY, tmp_path / "alone")
    # Years apart, places have changed hands.
    for day in [date(2022, 1, 1), NEXT_DAY, DAY]:
        among.write_delivery(day, tmp_path / str(day))
    assert (tmp_path / "alone/part-0.parquet").read_bytes() == (
        tmp_path / f"{DAY}/part-0.parquet"
    ).read_bytes()


def test_another_seed_is_another_shop(shop):
    first, second = rows_of(shop(seed=1).delivery(DAY)), rows_of(shop(seed=2).delivery(DAY))
    assert not first & second


def test_a_delivery_keeps_the_contract(shop, source, tmp_path):
    shop().write_delivery(DAY, tmp_path / "day")
    files = describe_delivery(tmp_path / "day", "parquet")
    assert files[0].rows > 100
    assert check_contract(tmp_path / "day", files, source) == []
    schema = pq.read_schema(tmp_path / "day/part-0.parquet")
    assert dict(zip(schema.names, schema.types, strict=True)) == TYPES


# --- lifelike ----------------------------------------------------------------------------------


def test_lines_look_like_those_of_a_shop(two_years, source):
    lines = two_years
    assert 0.05 < lines.customer.isna().mean() < 0.15
    assert 0.002 < (lines.quantity < 0).mean() < 0.03
    sane = lines[lines.quantity.notna() & (lines.quantity < 20_000)]
    assert ((sane.quantity < 0) == sane.invoice.str.startswith("C")).all()
    assert lines.country.nunique() >= 8
    assert 0.7 < (lines.country == "United Kingdom").mean() < 0.9
    assert 0.002 < lines["product"].str.match(source.not_merchandise).mean() < 0.05
    assert (lines.unit_price > 0).all()
    assert np.allclose(lines.unit_price * 100, (lines.unit_price * 100).round())
    assert 3 < len(lines) / lines.invoice.nunique() < 10


def test_every_line_is_of_the_day_of_its_delivery(two_years):
    assert (two_years.invoiced_at.dt.normalize() == two_years.known_on).all()


def test_an_invoice_has_one_customer_one_time_and_each_product_once(two_years):
    lines = two_years.drop_duplicates()
    invoices = lines.groupby("invoice")
    assert (invoices.customer.nunique() <= 1).all()
    assert (invoices.invoiced_at.nunique() == 1).all()
    absurd = lines.quantity > 20_000
    assert not lines[~absurd & lines.quantity.notna()].duplicated(["invoice", "product"]).any()


def test_there_is_a_year_and_a_week_in_it(two_years):
    by_month = two_years.groupby(two_years.known_on.dt.month).size()
    assert by_month[12] > 1.6 * by_month[2]
    by_weekday = two_years.groupby(two_years.known_on.dt.weekday).size()
    assert by_weekday[6] < 0.8 * by_weekday[:5].mean()


def test_trade_of_a_whole_winter_passes_the_volume_rule(shop):
    validation = read_params().validation
    full_size = shop(customers=generate_deliveries.PARSER.get_default("customers"))
    days = list(days_between(date(2025, 9, 1), date(2026, 3, 31)))
    rows = pd.Series([full_size.delivery(day).num_rows for day in days], pd.DatetimeIndex(days))
    by_weekday = rows.groupby(rows.index.weekday)
    usual = by_weekday.transform(lambda d: d.shift().rolling(validation.volume_weeks).median())
    share = (rows / usual).dropna()
    assert share.min() > 1.2 * validation.volume_min_share
    assert share.max() < 0.8 * validation.volume_max_share


def test_a_little_dirt_is_natural(two_years):
    duplicates = two_years.duplicated().mean()
    nulls = two_years.quantity.isna().mean()
    absurd = (two_years.quantity > 20_000).mean()
    assert min(duplicates, nulls, absurd) > 0
    assert duplicates + nulls + absurd < NATURAL_DIRT


def test_some_customers_come_by_the_calendar_and_some_by_chance(two_years):
    visits = two_years.dropna(subset=["customer"]).drop_duplicates(["customer", "known_on"])
    gaps = visits.sort_values("known_on").groupby("customer").known_on.diff().dt.days
    by_customer = gaps.groupby(visits.customer).agg(["count", "mean", "std"])
    regularity = (by_customer["std"] / by_customer["mean"])[by_customer["count"] >= 10]
    assert (regularity < 0.5).mean() > 0.15
    assert (regularity > 0.9).mean() > 0.15


def test_customers_leave_and_others_come(two_years):
    years = two_years.dropna(subset=["customer"]).groupby(
        two_years.known_on < pd.Timestamp("2025-04-01")
    )
    second, first = (set(customers) for _, customers in years.customer)
    assert len(first - second) > 0.1 * len(first)
    assert len(second - first) > 0.1 * len(second)


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["nuls:2026-04-01", "nulls", "nulls:2026-04-01:2", "nulls:2026-04-02..2026-04-01"]
)
def test_a_misspelt_fault_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  each has words of its own
        Fault.parse(text)


def test_a_fault_touches_its_days_alone(shop):
    faulty = shop("nulls:2026-04-01", "shifted:2026-04-01", "duplicates:2026-04-01")
    assert faulty.delivery(NEXT_DAY).equals(shop().delivery(NEXT_DAY))
    assert not faulty.delivery(DAY).equals(shop().delivery(DAY))


def test_nulls(shop):
    rows = shop("nulls:2026-04-01:0.4").delivery(DAY)
    for column in ("quantity", "product"):
        assert 0.1 < rows[column].null_count / rows.num_rows < 0.3


def test_anonymous(shop):
    rows, usual = shop("anonymous:2026-04-01:0.4").delivery(DAY), shop().delivery(DAY)
    lost = pc.and_(pc.is_null(rows["customer"]), pc.is_valid(usual["customer"]))
    assert 0.25 < pc.sum(lost).as_py() / rows.num_rows < 0.45
    assert rows.drop_columns("customer") == usual.drop_columns("customer")


def test_duplicates(shop):
    rows, clean = (shop(*faults).delivery(DAY) for faults in (["duplicates:2026-04-01"], []))
    assert 1.1 < rows.num_rows / clean.num_rows < 1.3
    assert set(rows_of(rows)) == set(rows_of(clean))


def test_wrong_types(shop, csv_source, tmp_path):
    assert shop("wrong_types:2026-04-01").delivery(DAY)["quantity"].type == pa.string()
    shop("wrong_types:2026-04-01:0.5", source=csv_source).write_delivery(DAY, tmp_path / "day")
    quantity = pa.csv.read_csv(tmp_path / "day/part-0.csv")["quantity"].to_pylist()
    assert 0.4 < quantity.count("two dozen") / len(quantity) < 0.6


def test_missing_column(shop):
    assert "unit_price" not in shop("missing_column:2026-04-01").delivery(DAY).column_names


def test_empty_day_and_no_delivery(shop, tmp_path):
    assert shop("empty_day:2026-04-01").write_delivery(DAY, tmp_path / "empty") == 0
    [file] = describe_delivery(tmp_path / "empty", "parquet")
    assert file.rows == 0
    assert shop("no_delivery:2026-04-01").write_delivery(DAY, tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_late_rows_come_a_day_later_and_none_is_lost(shop):
    late, clean = shop("late_rows:2026-04-01:0.3"), shop()
    first, second = late.delivery(DAY), late.delivery(NEXT_DAY)
    assert 0.6 < first.num_rows / clean.delivery(DAY).num_rows < 0.8
    both_days = rows_of(clean.delivery(DAY)) + rows_of(clean.delivery(NEXT_DAY))
    assert rows_of(first) + rows_of(second) == both_days
    assert {time.date() for time in second["invoiced_at"].to_pylist()} == {DAY, NEXT_DAY}


def test_future_rows(shop):
    rows = shop("future_rows:2026-04-01:0.1").delivery(DAY)
    dates = Counter(time.date() for time in rows["invoiced_at"].to_pylist())
    assert set(dates) == {DAY, DAY + timedelta(days=30)}
    assert 0.05 < dates[DAY + timedelta(days=30)] / rows.num_rows < 0.15


def test_corrupt_file(shop, source, tmp_path):
    shop("corrupt_file:2026-04-01").write_delivery(DAY, tmp_path / "day")
    files = describe_delivery(tmp_path / "day", "parquet")
    with (
        DeliveredCells(tmp_path) as cells,
        pytest.raises(DeliveryUnreadable, match=r"day/part-0\.parquet"),
    ):
        cells.open_delivery(tmp_path / "day", DAY, "d1-r1", files, source)


def test_shifted(shop):
    shifted, clean = (
        shop(*faults).delivery(DAY).to_pandas() for faults in (["shifted:2026-04-01"], [])
    )
    assert len(shifted) == len(clean)
    assert 2.5 < shifted.quantity.median() / clean.quantity.median() <= 3
    assert 1.4 < shifted.unit_price.mean() / clean.unit_price.mean() < 1.6


def test_concept_turns_behaviour_round_but_not_the_look_of_the_lines(shop):
    since = date(2026, 3, 1)
    concept, clean = shop("concept:2026-03-01..2026-12-31"), shop()

    def purchases(a_shop: Shop, first: date, last: date) -> pd.Series:
        lines = pd.concat(a_shop.delivery(day).to_pandas() for day in days_between(first, last))
        return lines.dropna(subset=["customer"]).groupby("customer").invoice.nunique()

    before = purchases(clean, since - timedelta(days=60), since - timedelta(days=1))
    after = {
        name: purchases(a_shop, since, since + timedelta(days=29))
        for name, a_shop in {"clean": clean, "concept": concept}.items()
    }
    assert 0.7 < after["concept"].sum() / after["clean"].sum() < 1.4
    related = {
        name: before.corr(counts.reindex(before.index, fill_value=0), method="spearman")
        for name, counts in after.items()
    }
    assert related["clean"] > 0.4
    assert related["concept"] < 0.1
