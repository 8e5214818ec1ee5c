"""What good features look like, and which customers cannot be scored from theirs."""

import math
from datetime import date

import pytest

from expectations.features import (
    CATEGORIES,
    OTHER_COUNTS,
    SHARES,
    SOMETIMES_NULL,
    TRENDS,
    WINDOWED,
    WINDOWS,
    unscorable,
    verify_features,
)
from expectations.verdict import ExpectationsBroken
from features.build import CATEGORICAL, FEATURE_NAMES, FEATURES

NIGHT = date(2026, 4, 1)

SCHEMA = ", ".join(
    ["customer_id string"]
    + [f"{name} {'string' if name in CATEGORICAL else 'double'}" for name in FEATURE_NAMES]
)


def customer(customer_id="ada", **values):
    """A customer who bought for 10 in the last week and never before."""
    usual = dict.fromkeys(FEATURE_NAMES, 1.0) | {"country": "France", "recency_days": 3.0}
    return {"customer_id": customer_id} | usual | values


@pytest.fixture
def described(spark):
    return lambda *customers: spark.createDataFrame(list(customers), SCHEMA)


def test_every_feature_has_its_promises_and_no_other():
    windowed = [f"{subject}_{days}d" for subject in WINDOWED for days in WINDOWS]
    named = [*windowed, *OTHER_COUNTS, *SOMETIMES_NULL, *SHARES, *TRENDS, *CATEGORIES]
    assert sorted(named) == sorted(feature.__name__ for feature in FEATURES)


def test_a_customer_whose_features_break_a_rule_is_not_scorable(spark, described):
    customers = {
        "a new customer": ({"gap_mean_days": None, "overdue_ratio": None}, True),
        "one who stopped": ({"spend_trend_30d": -1.0}, True),
        "one who returned more": ({"returned_share_365d": 2.0}, True),
        "no recency": ({"recency_days": None}, False),
        "no country": ({"country": None}, False),
        "negative spend": ({"spend_30d": -0.01}, False),
        "eight days in a week": ({"purchase_days_7d": 8.0}, False),
        "a share above one": ({"weekend_share_365d": 1.01}, False),
        "a trend below -1": ({"spend_trend_30d": -1.01}, False),
        "not a number": ({"spend_365d": math.nan}, False),
        "infinite": ({"overdue_ratio": math.inf}, False),
    }
    features = described(*[customer(name, **values) for name, (values, _) in customers.items()])

    rows = unscorable(spark, features).collect()

    assert {row.customer_id: row.is_scorable for row in rows} == {
        name: is_scorable for name, (_, is_scorable) in customers.items()
    }


def test_one_odd_customer_among_many_is_a_warning(described, tmp_path):
    customers = [customer(str(number)) for number in range(30)] + [customer(country=None)]

    [warning] = verify_features(
        described(*customers), tmp_path / "docs", night=NIGHT, active_days=365
    )

    assert warning.startswith("country_given: 1 of 31 rows (3.23%).")


def test_what_would_mislead_about_everybody_stops_the_night(described, tmp_path):
    customers = [
        customer("ada"),
        customer("ada"),
        customer(None),
        customer("long gone", recency_days=365.0),
        customer("cut wrongly", spend_7d=5.0, spend_30d=5.0, spend_90d=4.0, spend_365d=4.0),
        customer("odd", country=None),
    ]

    with pytest.raises(ExpectationsBroken) as refused:
        verify_features(described(*customers), tmp_path / "docs", night=NIGHT, active_days=365)

    for rule in (
        "customer_id_given: 1 of 6 rows",
        "customer_once: 2 of 6 rows",
        "recently_active: 1 of 6 rows",
        "windows_in_order: 1 of 6 rows",
        "nearly_all_scorable: 1 of 6 rows",
        "country_given: 1 of 6 rows",
    ):
        assert rule in str(refused.value)
    page = (tmp_path / "docs/index.html").read_text()
    assert "all active customers of 2026-04-01" in page
    assert "refused" in page
    assert "Found, for example: spend" in page
