"""Thresholds that quiet nights stay below, and that real shifts do not."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import find_drift
from monitoring.placebo import placebo_thresholds
from params import read_params

DRIFT = read_params().drift.model_copy(
    update={"min_rows": 100, "placebo_nights": 300, "false_alarm_nights": 90}
)
CATEGORIES = ("country",)


def customers(seed: int, rows: int = 1500, **columns) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    plain = {
        "spend_gbp_90d": random.lognormal(3, 1, rows),
        "visits_30d": random.poisson(1.5, rows).astype(float),
        "tenure_days": random.uniform(0, 400, rows),
        "country": random.choice(["Norway", "Spain"], rows, p=[0.8, 0.2]),
        "probability": random.beta(2, 5, rows),
    }
    return pd.DataFrame(plain | columns)


def dates(count: int = 6, **by_age) -> pd.DataFrame:
    """Customers of ``count`` as-of dates a month apart; everybody grows older by a month."""
    first = date(2026, 1, 1)
    parts = []
    for n in range(count):
        part = customers(n)
        part["tenure_days"] += 30 * n
        for name, change in by_age.items():
            part[name] = change(part[name], n)
        parts.append(part.assign(as_of=first + timedelta(days=30 * n)))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def thresholds():
    return placebo_thresholds(dates(), DRIFT, CATEGORIES)


def test_it_is_kept_how_many_customers_at_most_had_no_value(thresholds):
    assert set(thresholds.missing.values()) == {0.0}
    seasonal = dates(spend_gbp_90d=lambda spend, n: spend.where(np.arange(len(spend)) >= 150 * n))
    missing = placebo_thresholds(seasonal, DRIFT, CATEGORIES).missing
    assert missing["spend_gbp_90d"] == 0.5
    assert missing["visits_30d"] == 0.0


def verdict(thresholds, current: pd.DataFrame) -> str:
    reference = customers(5).assign(is_contacted=False)
    reference["tenure_days"] += 150
    current = current.assign(is_contacted=False)
    return find_drift(reference, current, thresholds, DRIFT, CATEGORIES).verdict


def test_hardly_a_quiet_night_is_called_drifted(thresholds):
    quiet = (customers(seed) for seed in range(1000, 1090))
    called = [
        verdict(thresholds, night.assign(tenure_days=night["tenure_days"] + 180)) for night in quiet
    ]
    assert called.count("drift") <= 1


@pytest.mark.parametrize(
    "shift",
    [
        {"spend_gbp_90d": np.random.default_rng(1).lognormal(3.5, 1, 1500)},
        {"visits_30d": np.random.default_rng(1).poisson(2.2, 1500).astype(float)},
        {"country": np.array(["Norway", "Spain"] * 750)},
        {"probability": np.random.default_rng(1).beta(3, 5, 1500)},
    ],
    ids=lambda shift: next(iter(shift)),
)
def test_half_a_standard_deviation_is_noticed(thresholds, shift):
    night = customers(99, **shift)
    assert verdict(thresholds, night.assign(tenure_days=night["tenure_days"] + 180)) == "drift"


def test_a_column_that_moves_by_itself_gets_the_room_it_takes(thresholds):
    assert thresholds.columns["tenure_days"] > 10 * thresholds.columns["visits_30d"]
    seasonal = dates(spend_gbp_90d=lambda spend, n: spend * (1 + n % 2))
    wide = placebo_thresholds(seasonal, DRIFT, CATEGORIES)
    assert wide.columns["spend_gbp_90d"] > 10 * thresholds.columns["spend_gbp_90d"]
    assert wide.columns["visits_30d"] < 2 * thresholds.columns["visits_30d"]


def test_fewer_false_alarms_are_had_by_a_higher_score(thresholds):
    often = DRIFT.model_copy(update={"false_alarm_nights": 5})
    assert placebo_thresholds(dates(), often, CATEGORIES).score < thresholds.score


def test_the_same_rows_give_the_same_thresholds_and_one_date_is_enough(thresholds):
    assert placebo_thresholds(dates(), DRIFT, CATEGORIES) == thresholds
    alone = placebo_thresholds(dates(1), DRIFT, CATEGORIES)
    assert (alone.pairs, alone.nights) == (1, 300)
    assert alone.columns["tenure_days"] < thresholds.columns["tenure_days"]


def test_a_column_that_never_differs_does_not_alarm_at_a_trifle():
    rows = dates().assign(always=1.0)
    thresholds = placebo_thresholds(rows, DRIFT, CATEGORIES)
    assert thresholds.columns["always"] == 0.01
    assert replace(thresholds, columns={}).score == thresholds.score


def test_many_rows_are_sampled_down_to_a_nights_size(thresholds):
    few = DRIFT.model_copy(update={"sample_rows": 300})
    noisy = placebo_thresholds(dates(), few, CATEGORIES)
    assert noisy.columns["visits_30d"] > 2 * thresholds.columns["visits_30d"]
