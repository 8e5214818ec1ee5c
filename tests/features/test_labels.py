"""What came after the as-of date."""

from datetime import timedelta

import pytest

from features.labels import known_after, label_outcomes
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
