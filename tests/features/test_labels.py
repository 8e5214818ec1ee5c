"""What came after the as-of date."""

from datetime import timedelta

import pytest

from features.build import build_features
from features.labels import count_outcomes, known_after, label_outcomes
from params import FIRST_QUESTION, Question
from tests.features.visits import AS_OF, activity, visit

RETURN = Question(outcome="return", horizon_days=30)
SPEND = Question(outcome="spend", least_amount=50, horizon_days=30)


def labels_of(spark, rows, question=FIRST_QUESTION) -> dict[str, int]:
    labels = label_outcomes(activity(spark, rows), [AS_OF], question).collect()
    return {row.customer_id: row.label for row in labels}


def test_a_label_is_a_purchase_from_the_next_day_to_the_last_of_the_horizon(spark):
    rows = [visit(f"{days} later", on=AS_OF + timedelta(days)) for days in (0, 1, 30, 31)]
    rows.append(visit("only sent back", on=AS_OF + timedelta(5), invoices=(), return_micros=5))
    assert labels_of(spark, rows) == {
        "0 later": 0,
        "1 later": 1,
        "30 later": 1,
        "31 later": 0,
        "only sent back": 0,
    }


def test_each_as_of_date_has_a_label_of_its_own(spark):
    rows = [visit(on=AS_OF), visit(on=AS_OF + timedelta(40))]
    days = [AS_OF - timedelta(1), AS_OF, AS_OF + timedelta(10)]
    labels = label_outcomes(activity(spark, rows), days, FIRST_QUESTION).collect()
    assert {row.as_of: row.label for row in labels} == dict(zip(days, (1, 0, 1), strict=True))


@pytest.mark.parametrize("question", [FIRST_QUESTION, SPEND, RETURN])
def test_counted_is_who_has_features_and_whose_label_is_one(spark, question):
    """Customers of whom one is active until 300 days later, one sends back and one never bought."""
    rows = [
        visit("often", on=AS_OF + timedelta(days), micros=60_000_000)
        for days in (-300, -20, 0, 1, 12)
    ]
    rows += [visit("once", on=AS_OF - timedelta(65))]
    rows += [
        visit("sends back", on=AS_OF - timedelta(3)),
        visit("sends back", on=AS_OF + timedelta(9), invoices=(), return_micros=5),
        visit("never bought", on=AS_OF, invoices=(), return_micros=5),
        visit("new", on=AS_OF + timedelta(5), micros=60_000_000),
    ]
    frame = activity(spark, rows)
    days = [AS_OF + timedelta(n) for n in (-10, 0, 300)]
    described = build_features(frame, days, 365).select("as_of", "customer_id")
    labels = label_outcomes(frame, days, question)
    expected = {}
    for row in described.join(labels, on=["as_of", "customer_id"]).collect():
        customers, came_true = expected.get(row.as_of, (0, 0))
        expected[row.as_of] = (customers + 1, came_true + row.label)

    counts = count_outcomes(frame, days, 365, question).collect()
    assert {row.as_of: (row.customers, row.came_true) for row in counts} == expected
    assert expected[AS_OF][0] == 3
    assert expected[AS_OF][1] == 1


def test_of_a_spend_all_purchases_within_the_horizon_count_together(spark):
    def bought(name: str, **micros_by_day: int):
        return [
            visit(name, on=AS_OF + timedelta(int(day[1:])), micros=micros)
            for day, micros in micros_by_day.items()
        ]

    rows = [
        *bought("just", d1=20_000_000, d30=30_000_000),
        *bought("not quite", d1=20_000_000, d30=29_999_999),
        *bought("too late", d1=20_000_000, d31=90_000_000),
        *bought("before", d0=90_000_000),
        visit("sent back", on=AS_OF + timedelta(5), micros=50_000_000, return_micros=50_000_000),
    ]
    assert labels_of(spark, rows, SPEND) == {
        "just": 1,
        "not quite": 0,
        "too late": 0,
        "before": 0,
        "sent back": 1,
    }


def test_of_a_return_only_what_was_sent_back_counts(spark):
    rows = [
        visit("bought", on=AS_OF + timedelta(5)),
        visit("sent back", on=AS_OF + timedelta(5), invoices=(), return_micros=5),
    ]
    assert labels_of(spark, rows, RETURN) == {"bought": 0, "sent back": 1}


@pytest.mark.parametrize(("question", "days"), [(FIRST_QUESTION, 4), (SPEND, 9)])
def test_an_outcome_is_known_with_the_delivery_that_makes_it_true(spark, question, days):
    rows = [
        visit(on=AS_OF + timedelta(3), known_on=AS_OF + timedelta(4), micros=20_000_000),
        visit(on=AS_OF + timedelta(2), known_on=AS_OF + timedelta(9), micros=30_000_000),
        visit("bob", on=AS_OF + timedelta(40)),
    ]
    known = known_after(activity(spark, rows), AS_OF, question).collect()
    assert [(row.customer_id, row.days) for row in known] == [("ada", days)]
