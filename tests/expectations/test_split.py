"""Every line has one outcome, and Great Expectations counts the very lines that are split off."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from expectations.promise import rule_of
from expectations.split import Layout, count_lines, split_lines
from expectations.transactions import transaction_rules
from expectations.verdict import judge


def at(instant: str) -> datetime:
    """A moment, UTC."""
    return datetime.fromisoformat(instant).replace(tzinfo=UTC)


# What is wrong with a line, what becomes of it, and by which rule.
CASES = {
    "a good line": ({}, "accepted", None),
    "a return": ({"quantity_micros": -6_000_000}, "accepted", None),
    "a gift": ({"unit_price_micros": 0}, "accepted", None),
    "the largest quantity": ({"quantity_micros": 20_000_000_000}, "accepted", None),
    "the largest price": ({"unit_price_micros": 5_000_000_000}, "accepted", None),
    "a line of last month": ({"invoiced_at": at("2026-03-01T00:00:00")}, "accepted", None),
    "a line of ten years ago": ({"invoiced_at": at("2016-03-01T00:00:00")}, "accepted", None),
    "the last second of the day": (
        {"invoiced_at": at("2026-04-01T22:59:59")},
        "accepted",
        None,
    ),
    "the first of tomorrow": (
        {"invoiced_at": at("2026-04-01T23:00:00")},
        "quarantined",
        "not_in_future",
    ),
    "a date to come": ({"invoiced_at": at("2027-04-01T00:00:00")}, "quarantined", "not_in_future"),
    "a default date": ({"invoiced_at": at("1970-01-01T00:00:00")}, "quarantined", "not_too_old"),
    "no time": ({"invoiced_at": None}, "quarantined", "invoiced_at_given"),
    "no invoice": ({"invoice_id": None}, "quarantined", "invoice_id_given"),
    "no product": ({"product_id": None}, "quarantined", "product_id_given"),
    "no country": ({"country": None}, "quarantined", "country_given"),
    "text for a quantity": ({"quantity_micros": None}, "quarantined", "quantity_given"),
    "a quantity of nothing": ({"quantity_micros": 0}, "quarantined", "quantity_not_zero"),
    "an absurd quantity": (
        {"quantity_micros": 20_001_000_000},
        "quarantined",
        "quantity_plausible",
    ),
    "an absurd return": ({"quantity_micros": -20_001_000_000}, "quarantined", "quantity_plausible"),
    "no price": ({"unit_price_micros": None}, "quarantined", "unit_price_given"),
    "a negative price": ({"unit_price_micros": -1}, "quarantined", "unit_price_not_negative"),
    "an absurd price": (
        {"unit_price_micros": 5_000_000_001},
        "quarantined",
        "unit_price_plausible",
    ),
    "no customer": ({"customer_id": None}, "excluded", "no_customer"),
    "postage": ({"product_id": "POST"}, "excluded", "not_merchandise"),
    "a product that only begins so": ({"product_id": "POSTER"}, "accepted", None),
    "a broken line without a customer": (
        {"customer_id": None, "quantity_micros": 0},
        "quarantined",
        "quantity_not_zero",
    ),
}


def test_every_kind_of_line_has_its_outcome_and_rule(spark, source, line, delivered):
    lines = [line(**changes) | {"raw": {"case": case}} for case, (changes, _, _) in CASES.items()]

    rows = split_lines(spark, delivered(lines), source).collect()

    found = {row.raw["case"]: (row.outcome, row.rule) for row in rows}
    assert found == {case: (outcome, rule) for case, (_, outcome, rule) in CASES.items()}
    assert all((row.reason is None) == (row.rule is None) for row in rows)


def test_a_line_is_filed_under_the_first_rule_it_breaks_and_names_all(
    spark, source, line, delivered
):
    broken = line(invoice_id=None, quantity_micros=0, unit_price_micros=-5)

    [row] = split_lines(spark, delivered([broken]), source).collect()

    assert row.rule == "invoice_id_given"
    assert row.rules == ["invoice_id_given", "quantity_not_zero", "unit_price_not_negative"]
    assert row.reason == "A line without an invoice cannot be counted as a purchase."


def test_a_country_outside_the_list_is_quarantined_when_there_is_a_list(
    spark, source, line, delivered
):
    listed = source.model_copy(update={"countries": ["France", "United Kingdom"]})
    lines = [line(country="France"), line(country="Frankreich"), line(country=None)]

    rows = split_lines(spark, delivered(lines), listed).collect()

    assert {row.country: row.rule for row in rows} == {
        "France": None,
        "Frankreich": "country_known",
        None: "country_given",
    }


def test_of_equal_lines_one_is_kept_whatever_the_order_of_rows_and_parts(
    spark, source, line, delivered
):
    twice = [line(source_file=name) for name in ("b.parquet", "a.parquet", "a.parquet")]
    next_day = line(known_on=date(2026, 4, 2))
    other_customer = line(customer_id="17851")
    broken_twice = [line(quantity_micros=0), line(quantity_micros=0)]
    other_payload = line(row_text="another")
    lines = [*twice, next_day, other_customer, *broken_twice, other_payload]

    def outcomes(rows: list[dict], layout: Layout) -> Counter:
        frame = delivered(rows).repartition(3)
        tagged = split_lines(spark, frame, source, layout)
        return Counter((row.outcome, row.rule, row.source_file) for row in tagged.collect())

    expected = Counter(
        {
            ("accepted", None, "a.parquet"): 1,
            ("accepted", None, "part-0.parquet"): 3,
            ("quarantined", "exact_duplicate", "a.parquet"): 1,
            ("quarantined", "exact_duplicate", "b.parquet"): 1,
            ("quarantined", "quantity_not_zero", "part-0.parquet"): 2,
        }
    )
    assert outcomes(lines, Layout()) == expected
    assert outcomes(lines[::-1], Layout(partitions=5, per_day=7)) == expected


def test_outcomes_are_counted_by_day_and_rule(spark, source, line, delivered):
    lines = [
        line(),
        line(quantity_micros=0),
        line(quantity_micros=0, invoice_id="2"),
        line(customer_id=None, invoiced_at=at("2026-03-30T12:00:00")),
        line(known_on=date(2026, 4, 2)),
    ]

    counted = count_lines(split_lines(spark, delivered(lines), source))
    assert counted.outcomes == {
        date(2026, 4, 1): {
            "accepted": {"": 1},
            "excluded": {"no_customer": 1},
            "quarantined": {"quantity_not_zero": 2},
        },
        date(2026, 4, 2): {"accepted": {"": 1}},
    }
    assert counted.dates == {
        date(2026, 4, 1): {date(2026, 3, 30): 1, date(2026, 4, 1): 3},
        date(2026, 4, 2): {date(2026, 4, 1): 1},
    }


DAY = at("2026-04-01T00:00:00")
anything = st.integers(-(2**63) + 1, 2**63 - 1)
quantities = st.sampled_from([0, 1, -1, 20_000_000_000, -20_000_000_001]) | anything
prices = st.sampled_from([0, 1, -1, 5_000_000_000, 5_000_000_001]) | anything
hours_around = st.integers(-48, 48).map(lambda hours: DAY + timedelta(hours=hours))
days_around = st.integers(-20_000, 400).map(lambda days: DAY + timedelta(days=days))
dirty_lines = st.fixed_dictionaries(
    {
        "invoice_id": st.sampled_from(["1", "2", None]),
        "product_id": st.sampled_from(["85123A", "POST", None]),
        "customer_id": st.sampled_from(["a", "b", None]),
        "quantity_micros": st.none() | quantities,
        "unit_price_micros": st.none() | prices,
        "invoiced_at": st.none() | hours_around | days_around,
        "country": st.sampled_from(["France", "United Kingdom", "Frankreich", None]),
        "source_file": st.sampled_from(["a.parquet", "b.parquet"]),
        "invoice_issuer": st.sampled_from([None, "1"]),
        "malformed": st.sampled_from([None, None, "a quote is never closed"]),
        "inexact_quantity": st.sampled_from([None, None, "1.5"]),
        "inexact_unit_price": st.sampled_from([None, None, "0.0000001"]),
    }
)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(dirty_lines, min_size=150, max_size=250))
def test_the_verdict_and_the_split_count_the_same_rows(spark, source, line, delivered, rows):
    strict = source.model_copy(update={"countries": ["France", "United Kingdom"]})
    rules = transaction_rules(strict)
    tagged = split_lines(spark, delivered([line(**row) for row in rows]), strict)

    verdict = {outcome.rule: outcome.broken for outcome in judge("transactions", tagged, rules)}
    split = {
        row.rule: row["count"]
        for row in tagged.select(F.explode("rules").alias("rule")).groupBy("rule").count().collect()
    }

    assert {rule: rows for rule, rows in verdict.items() if rows} == split
    assert set(verdict) == {rule_of(rule) for rule in rules}
    assert sum(verdict.values()) > 0


@pytest.mark.parametrize("name", ["generated", "online_retail_ii"])
def test_every_promise_has_a_name_of_its_own_and_a_reason(params, name):
    rules = transaction_rules(params.source(name))

    assert len({rule_of(rule) for rule in rules}) == len(rules)
    assert all(rule.notes.endswith(".") for rule in rules)
