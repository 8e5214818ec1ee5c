"""Thresholds that quiet nights stay below, and that real shifts do not."""

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
    return placebo_thresholds(dates(), DRIFT, CATEGORIES, 30)


def test_it_is_kept_how_many_customers_at_most_and_at_least_had_no_value(thresholds):
    assert set(thresholds.missing.values()) == {0.0}
    seasonal = dates(spend_gbp_90d=lambda spend, n: spend.where(np.arange(len(spend)) >= 150 * n))
    gone = seasonal.drop(index=seasonal.index[seasonal["as_of"] == seasonal["as_of"].min()])
    found = placebo_thresholds(gone, DRIFT, CATEGORIES, 30)
    assert found.missing["spend_gbp_90d"] > found.least_missing["spend_gbp_90d"] > 0
    found = placebo_thresholds(seasonal, DRIFT, CATEGORIES, 30)
    assert (found.missing["spend_gbp_90d"], found.least_missing["spend_gbp_90d"]) == (0.5, 0.0)
    assert found.missing["visits_30d"] == 0.0


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
    wide = placebo_thresholds(seasonal, DRIFT, CATEGORIES, 30)
    assert wide.columns["spend_gbp_90d"] > 10 * thresholds.columns["spend_gbp_90d"]
    assert wide.columns["visits_30d"] < 2 * thresholds.columns["visits_30d"]


def test_fewer_false_alarms_are_had_by_a_higher_score(thresholds):
    often = DRIFT.model_copy(update={"false_alarm_nights": 5})
    loud = placebo_thresholds(dates(), often, CATEGORIES, 30)
    assert loud.columns["visits_30d"] < thresholds.columns["visits_30d"]
    assert loud.night["visits_30d"] < thresholds.night["visits_30d"]


def test_the_same_rows_give_the_same_thresholds_and_one_date_is_enough(thresholds):
    assert placebo_thresholds(dates(), DRIFT, CATEGORIES, 30) == thresholds
    alone = placebo_thresholds(dates(1), DRIFT, CATEGORIES, 30)
    assert (alone.pairs, alone.nights) == (1, 300)
    assert alone.columns["tenure_days"] < thresholds.columns["tenure_days"]


def test_a_column_that_never_differs_does_not_alarm_at_a_trifle():
    rows = dates().assign(always=1.0)
    thresholds = placebo_thresholds(rows, DRIFT, CATEGORIES, 30)
    assert thresholds.columns["always"] == 0.01


def test_many_rows_are_sampled_down_to_a_nights_size(thresholds):
    few = DRIFT.model_copy(update={"sample_rows": 300})
    noisy = placebo_thresholds(dates(), few, CATEGORIES, 30)
    assert noisy.columns["visits_30d"] > 2 * thresholds.columns["visits_30d"]


def test_dates_nearer_than_a_night_to_its_reference_make_no_pair():
    every_week = dates(9)
    every_week["as_of"] = [
        date(2026, 1, 1) + (day - date(2026, 1, 1)) / 30 * 7 for day in every_week["as_of"]
    ]
    # Of nine weekly dates the newest, and those five weeks apart from it and one another.
    assert placebo_thresholds(every_week, DRIFT, CATEGORIES, 30).pairs == 1
    assert placebo_thresholds(every_week, DRIFT, CATEGORIES, 7).pairs == 36


def test_what_is_heard_is_measured_and_what_is_not_is_named(thresholds):
    """Everybody grows older, and spend turns with the season: what is usual there is large."""
    assert thresholds.deaf == ["tenure_days"]
    assert thresholds.power["visits_30d"]["shift_0.5"] == 1.0
    assert thresholds.power["country"] == {"constant": 1.0, "missing": 1.0}
    assert thresholds.power["mean_probability"]["raised_0.25"] == 1.0
    for heard in thresholds.power.values():
        if heard.get("shift_0.5") is not None:
            assert heard["shift_0.2"] <= heard["shift_0.5"]
    seasonal = dates(spend_gbp_90d=lambda spend, n: spend * (1 + 3 * (n % 2)))
    found = placebo_thresholds(seasonal, DRIFT, CATEGORIES, 30)
    assert found.deaf == ["spend_gbp_90d", "tenure_days"]
    assert found.power["spend_gbp_90d"]["shift_0.5"] < 0.5


def weekly(count: int, **by_week) -> pd.DataFrame:
    """Customers of ``count`` weekly dates; everybody grows older by a week."""
    first = date(2026, 1, 1)
    parts = []
    for n in range(count):
        part = customers(n, rows=1000)
        part["tenure_days"] += 7 * n
        for name, change in by_week.items():
            part[name] = change(part[name], n)
        parts.append(part.assign(as_of=first + timedelta(weeks=n)))
    return pd.concat(parts, ignore_index=True)


def test_what_moves_by_itself_in_a_season_is_heard_while_it_is_new():
    """Within a year the level of the scores turns by two fifths, and everybody ages; from one month
    to the next neither moves far."""

    def level(scores, week):
        return scores * (1 + 0.2 * np.sin(week / 52 * 2 * np.pi))

    found = placebo_thresholds(weekly(40, probability=level), DRIFT, CATEGORIES, 30)
    assert found.deaf == []
    assert found.fading == ["tenure_days", "mean_probability"]
    assert found.power["mean_probability"]["raised_0.25"] >= 0.95
    near, far = found.same_weekday["night"], found.night
    assert near["mean_probability"] < far["mean_probability"] / 2
    assert near["tenure_days"] < far["tenure_days"] / 2
    assert found.of_weeks_before.night == near
    # The first four weeks have no such weeks before them.
    assert (found.seen_on[0], len(found.seen_on)) == ("2026-01-29", 36)


def test_what_a_column_that_ages_with_the_shop_lets_hear_less_and_less_is_not_counted_on():
    """Nobody can have been there for longer than the shop: in the training set, where most are as
    old as it, a change moves more than it will on a night to come."""

    def tenure(column, week):
        oldest = 370 + 7 * week
        days = np.random.default_rng(week).uniform(0, oldest + 530, len(column))
        return np.minimum(days.round(), oldest)

    found = placebo_thresholds(weekly(40, tenure_days=tenure), DRIFT, CATEGORIES, 30)
    assert found.power["tenure_days"]["shift_0.5"] < 0.5
    assert found.deaf == ["tenure_days"]


def test_without_weekly_dates_the_weeks_before_have_the_thresholds_of_the_reference(thresholds):
    assert thresholds.same_weekday is None
    assert thresholds.of_weeks_before.night == thresholds.night
    assert thresholds.seen_on == [str(day) for day in sorted(set(dates()["as_of"]))]


def test_power_is_that_beside_the_models_own_reference():
    """Spend fell before the newest date, so half a deviation more is far from that; between any two
    other dates it would be lost in how far the newest lies from all."""
    fallen = dates(8, spend_gbp_90d=lambda spend, n: np.log(spend) - 0.5 * (n == 7))
    found = placebo_thresholds(fallen, DRIFT, CATEGORIES, 30)
    assert found.power["spend_gbp_90d"]["shift_0.5"] == 1.0


def test_a_mean_that_cannot_be_raised_so_far_is_not_asked_for():
    sure = dates(probability=lambda scores, _: 0.9 + scores / 20)
    found = placebo_thresholds(sure, DRIFT, CATEGORIES, 30)
    assert found.power["mean_probability"]["raised_0.25"] is None
    assert "mean_probability" not in found.deaf


def test_a_column_that_is_nearly_always_the_same_cannot_be_made_more_so():
    rare = dates(visits_30d=lambda visits, _: (visits > 6).astype(float))
    found = placebo_thresholds(rare, DRIFT, CATEGORIES, 30)
    assert found.power["visits_30d"]["constant"] is None
    assert found.power["visits_30d"]["missing"] == 1.0
