"""A shop whose source carries columns of its own into activity, for features over them."""

import csv
from datetime import date, timedelta

import pyarrow.parquet as pq
import pytest
from pyspark.sql import Column

import catalog
from features import build
from features.activity import ON_TIME, read_activity
from features.needs import needs
from features.windows import amount, distinct
from jobs import load_history
from ledger import intake_rules, known_by, pin_rules
from params import Params, read_params
from records import ActivityRecord
from settings import Settings

FIRST = date(2026, 3, 1)
SECOND = FIRST + timedelta(days=1)
CARRY = {
    "discount": {"column": "coupon_disc", "keep": "sum"},
    "stores": {"column": "STORE", "keep": "values"},
}


@needs("discount")
def discount_30d() -> Column:
    """Discount on what was bought in the last 30 days, currency units. 0 if there was none."""
    return amount("discount", 30)


@needs("stores")
def stores_30d() -> Column:
    """Different stores of the purchases of the last 30 days. 0 if there were none."""
    return distinct("stores", 30)


def source_that_carries(settings: Settings, carry: dict) -> Params:
    values = read_params().model_dump(mode="json")
    mapping = {"customer_id": "who", "invoiced_at": "when", "amount": "paid"}
    few = {"format": "csv", "columns": mapping, "carry": carry, "not_merchandise": None}
    values["sources"] = {settings.source: values["sources"][settings.source] | few}
    values["validation"]["quarantine_budget_share"] = 0.9
    return Params.model_validate(values)


def deliver(settings: Settings, day: date, *lines: tuple[str, str, str, str]) -> None:
    """Put down lines: customer, amount, discount, store."""
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True)
    with (folder / "lines.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "when", "paid", "coupon_disc", "STORE"])
        for number, (who, *values) in enumerate(lines):
            writer.writerow([who, f"{day} 12:{number:02}", *values])


@pytest.fixture
def taken(spark, settings) -> Params:
    params = source_that_carries(settings, CARRY)
    deliver(
        settings,
        FIRST,
        ("ada", "10", "0.1", "north"),
        ("ada", "5", "0.2", "south"),
        ("ada", "5", "", "north"),
        # Of returns nothing is carried.
        ("ada", "-5", "7", "east"),
        ("bob", "3", "", ""),
        ("bob", "3", "many", "north"),
        ("bob", "3", "1e-9", "north"),
        ("bob", "3", "99999999", "north"),
        ("bob", "3", "1", "no\u200brth"),
    )
    deliver(settings, SECOND, ("ada", "1", "-0.05", "west"), ("ada", "2", "0.000001", "west"))
    totals = load_history.run(spark, settings, params, until=SECOND)
    assert totals["quarantined"] == {"carried_usable": 4}
    return params


def pieces(settings: Settings, params: Params):
    rules = pin_rules(settings.data_root, intake_rules(params, settings.source))
    known = known_by(settings.data_root, rules, night=SECOND, until=SECOND)
    return [ActivityRecord.read(settings.data_root, *one).activity for one in known.items()]


@pytest.mark.usefixtures("taken")
def test_what_is_carried_is_added_up_and_listed_exactly_by_customer_and_day(settings):
    rows = [
        row
        for path in (settings.data_root / "lake/activity").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    found = {(r["customer_id"], r["activity_on"]): (r["discount"], r["stores"]) for r in rows}
    assert found == {
        ("ada", FIRST): (300_000, ["north", "south"]),
        ("ada", SECOND): (-49_999, ["west"]),
        ("bob", FIRST): (0, []),
    }


@pytest.mark.usefixtures("taken")
def test_what_is_wrong_with_a_carried_value_is_said(settings):
    [path] = (settings.data_root / "lake/quarantine").rglob(f"known_on={FIRST}/**/*.parquet")
    reasons = [row["reason"].rpartition(" Here: ")[2] for row in pq.read_table(path).to_pylist()]
    assert reasons == [
        "discount: it is no number",
        "discount: it has more than 6 decimals",
        "discount: it is beyond 230,584, so that a sum could overflow",
        "stores: it holds a character that no id has",
    ]


def test_a_feature_over_a_carried_column_is_made_where_it_is_carried_and_left_out_elsewhere(
    spark, settings, taken, monkeypatch
):
    monkeypatch.setattr(build, "FEATURES", (*build.FEATURES, discount_30d, stores_30d))
    source = taken.source(settings.source)
    known = [(piece, ON_TIME) for piece in pieces(settings, taken)]
    activity = read_activity(spark, settings.data_root, known, source=source)
    described = build.build_features(activity, [FIRST, SECOND], 365, source).collect()

    assert {(r.as_of, r.customer_id): (r.discount_30d, r.stores_30d) for r in described} == {
        (FIRST, "ada"): (0.3, 2.0),
        (FIRST, "bob"): (0.0, 0.0),
        (SECOND, "ada"): (0.250001, 3.0),
        (SECOND, "bob"): (0.0, 0.0),
    }
    plain = source_that_carries(settings, {}).source(settings.source)
    assert set(build.names_of(source)) - set(build.names_of(plain)) == {
        "discount_30d",
        "stores_30d",
    }
    assert build.names_of(read_params().source("generated")) == build.FEATURE_NAMES


@pytest.mark.parametrize("name", ["country", "purchase_micros", "raw", "amount"])
def test_a_column_of_ours_is_not_carried_under_its_own_name(settings, name):
    with pytest.raises(ValueError, match=f"{name} is the name of a column of ours"):
        source_that_carries(settings, {name: {"column": "x", "keep": "sum"}})
