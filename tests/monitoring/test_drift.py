"""What counts as drift, case by case."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.drift import (
    Thresholds,
    binned,
    distance,
    find_drift,
    jensen_shannon_distance,
    population_stability_index,
)
from params import read_params

DRIFT = read_params().drift.model_copy(update={"min_rows": 100})
OWN = {"spend_gbp_90d": 0.2, "returns_90d": 0.2, "country": 0.1, "probability": 0.2}
THRESHOLDS = Thresholds(OWN, {name: 1.5 * own for name, own in OWN.items()}, 1000, 10, {})
CATEGORIES = ("country",)


def customers(rows=1_000, seed=0, **columns):
    """A sample; a test names only the columns it is about."""
    random = np.random.default_rng(seed)
    plain = {
        "spend_gbp_90d": random.lognormal(3, 1.5, rows),
        "returns_90d": random.poisson(0.2, rows).astype(float),
        "country": random.choice(["United Kingdom", "France", "EIRE"], rows, p=[0.8, 0.1, 0.1]),
        "probability": random.beta(2, 5, rows),
    }
    table = pd.DataFrame(plain | columns, index=range(rows))
    return table.assign(is_contacted=table["probability"] > 0.4)


def found(reference, current, thresholds=THRESHOLDS):
    """The result, and its findings by column."""
    result = find_drift(reference, current, thresholds, DRIFT, CATEGORIES)
    return result, {finding.column: finding for finding in result.findings}


def test_another_sample_of_the_same_customers_is_steady():
    result, findings = found(customers(seed=1), customers(seed=2))
    assert result.verdict == "steady"
    assert {finding.verdict for finding in findings.values()} == {"steady"}


def test_the_same_sample_differs_by_nothing():
    _, findings = found(customers(), customers())
    assert {finding.value for finding in findings.values()} == {0.0}


def test_a_number_that_moved_has_drifted():
    reference = customers()
    moved = customers(spend_gbp_90d=reference["spend_gbp_90d"] * 3)
    result, findings = found(reference, moved)
    assert result.drifted == ["spend_gbp_90d"]
    assert findings["spend_gbp_90d"].method == "population stability index"
    assert findings["spend_gbp_90d"].value > findings["spend_gbp_90d"].threshold == 0.2


SUMMER = replace(
    THRESHOLDS,
    same_weekday={"columns": OWN, "night": OWN},
    deaf=["country"],
    seasonal=["returns_90d"],
    seen_on=["2025-12-20", "2026-06-01", "2026-08-01"],
)


@pytest.mark.parametrize(
    ("night", "is_seen"),
    [
        (date(2026, 8, 8), True),
        (date(2026, 8, 9), False),
        (date(2026, 12, 12), False),
        (date(2026, 12, 13), True),
        (date(2026, 12, 27), True),
        (date(2027, 6, 5), True),
    ],
)
def test_a_column_that_tells_the_season_is_judged_in_seasons_that_quiet_nights_were_of(
    night, is_seen
):
    reference = customers()
    moved = customers(returns_90d=reference["returns_90d"] + 2)
    thresholds = SUMMER.on(night)
    for limits in (thresholds, thresholds.of_weeks_before):
        result, findings = found(reference, moved, limits)
        assert (result.verdict == "drift") is is_seen
        assert findings["returns_90d"].value > 0.3
        assert list(result.deaf) == (["country"] if is_seen else ["country", "returns_90d"])


def test_in_a_season_that_no_quiet_night_was_of_other_columns_are_judged_as_ever():
    reference = customers()
    moved = customers(spend_gbp_90d=reference["spend_gbp_90d"] * 3)
    thresholds = SUMMER.on(date(2026, 10, 15))
    for limits in (thresholds, thresholds.of_weeks_before):
        result, _ = found(reference, moved, limits)
        assert result.drifted == ["spend_gbp_90d"]
        assert result.verdict == "drift"


def test_a_seasonal_column_that_died_is_found_in_every_season():
    _, findings = found(customers(), customers(returns_90d=0.0), SUMMER.on(date(2026, 10, 15)))
    assert findings["returns_90d"].verdict == "constant"


def test_bundles_of_older_code_name_no_seasonal_column():
    assert THRESHOLDS.on(date(2026, 10, 15)) == replace(THRESHOLDS, deaf=[])


def test_one_absurd_amount_hides_nothing():
    reference = customers()
    moved = reference["spend_gbp_90d"] * 3
    moved.iloc[0] = 1e12
    result, _ = found(reference, customers(spend_gbp_90d=moved))
    assert result.drifted == ["spend_gbp_90d"]


def test_a_count_that_is_mostly_zero_drifts_when_the_zeros_go():
    result, _ = found(customers(), customers(returns_90d=1.0 + customers()["returns_90d"]))
    assert result.drifted == ["returns_90d"]


def test_what_moves_off_a_common_value_is_seen_on_either_side():
    reference = customers(returns_90d=0.0)
    for moved in (-1.0, 1.0):
        _, findings = found(reference, customers(returns_90d=[moved] * 500 + [0.0] * 500))
        assert findings["returns_90d"].verdict == "drift"


def test_values_that_go_missing_are_drift():
    holes = customers()["spend_gbp_90d"].where(np.arange(1_000) % 2 == 0)
    result, findings = found(customers(), customers(spend_gbp_90d=holes))
    assert result.drifted == ["spend_gbp_90d"]
    assert "null 0.0%, tonight 50.0%" in findings["spend_gbp_90d"].detail


def test_a_category_that_gains_share_has_drifted():
    result, findings = found(customers(), customers(country=["France"] * 300 + ["EIRE"] * 700))
    assert result.drifted == ["country"]
    assert findings["country"].method == "Jensen-Shannon distance"
    assert findings["country"].detail.startswith("United Kingdom: ")


def test_many_rare_categories_are_not_drift_by_themselves():
    def countries(seed):
        return np.random.default_rng(seed).choice([f"country {n}" for n in range(400)], 1_000)

    result, _ = found(customers(country=countries(1)), customers(country=countries(2)))
    assert result.drifted == []


def test_new_categories_that_take_a_share_are_drift():
    country = np.where(np.arange(1_000) % 5 == 0, "Atlantis", customers()["country"])
    result, findings = found(customers(), customers(country=country))
    assert result.drifted == ["country"]
    assert "all other" in findings["country"].detail


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"spend_gbp_90d": np.nan}, "empty"),
        ({"country": None}, "empty"),
        ({"spend_gbp_90d": 5.0}, "constant"),
        ({"country": "France"}, "constant"),
    ],
)
def test_a_column_without_content_is_a_finding_of_its_own(columns, verdict):
    [name] = columns
    result, findings = found(customers(), customers(**columns))
    assert findings[name].verdict == verdict
    assert findings[name].value is None
    assert result.verdict == "steady"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_column_that_was_without_content_in_the_reference_is_compared(value):
    same = customers(returns_90d=value)
    _, findings = found(same, same)
    assert findings["returns_90d"].verdict == "steady"
    _, findings = found(same, customers())
    assert findings["returns_90d"].verdict == "drift"


def test_columns_on_one_side_only_are_named():
    _, findings = found(customers(old_feature=1.0), customers(new_feature=1.0))
    assert findings["old_feature"].verdict == "missing"
    assert findings["new_feature"].verdict == "new"


@pytest.mark.parametrize(("before", "tonight"), [(99, 1_000), (1_000, 99), (1_000, 0)])
def test_too_few_rows_give_no_verdict_on_any_column(before, tonight):
    result, findings = found(customers(before), customers(tonight))
    assert result.verdict == "too_few_rows"
    assert {finding.verdict for finding in findings.values()} == {"too_few_rows"}


def test_enough_rows_are_as_many_as_the_parameter_says():
    result, _ = found(customers(100), customers(100))
    assert result.verdict == "steady"


def test_the_night_drifts_when_its_farthest_column_is_farther_than_on_quiet_nights():
    reference, current = customers(), customers(returns_90d=[9.0, 8.0] * 500)
    result, findings = found(reference, current)
    far = findings["returns_90d"].value
    assert result.score == findings["night"].value == far / (1.5 * 0.2)
    for allowed, verdict in ((far, "drift"), (far * 1.001, "steady")):
        night = THRESHOLDS.night | {"returns_90d": allowed}
        result, findings = found(reference, current, replace(THRESHOLDS, night=night))
        assert result.verdict == findings["night"].verdict == verdict
        assert findings["returns_90d"].verdict == "drift"
        assert findings["night"].threshold == 1
        assert findings["night"].detail.startswith("1 of 4 columns")
        assert "the night's is returns_90d" in findings["night"].detail


def test_a_column_without_a_threshold_only_informs():
    reference, current = customers(), customers(returns_90d=[9.0, 8.0] * 500)
    others = {name: own for name, own in OWN.items() if name != "returns_90d"}
    thresholds = replace(THRESHOLDS, columns=others, night=others)
    result, findings = found(reference, current, thresholds)
    assert findings["returns_90d"].value > 1
    assert findings["returns_90d"].verdict == result.verdict == "steady"


def test_columns_that_cannot_be_compared_are_not_in_the_share():
    result, _ = found(customers(), customers(spend_gbp_90d=np.nan, returns_90d=[9.0, 8.0] * 500))
    assert result.drifted_share == 1 / 3


def test_the_night_drifts_when_the_prediction_does():
    shifted = np.sqrt(customers()["probability"])
    result, findings = found(customers(), customers(probability=shifted))
    assert result.verdict == "drift"
    assert result.drifted_share == 1 / 4
    assert findings["probability"].kind == "prediction"


def test_mean_and_share_contacted_go_with_the_prediction():
    reference = customers(probability=np.linspace(0.0, 0.5, 1_000))
    _, findings = found(reference, customers(probability=np.linspace(0.1, 0.6, 1_000)))
    assert findings["mean_probability"].value == pytest.approx(0.1)
    assert findings["mean_probability"].threshold is None
    assert findings["contacted_share"].value == pytest.approx(0.2, abs=0.01)
    assert findings["contacted_share"].detail == "0.2000, tonight 0.4000"


@pytest.mark.parametrize(("by", "verdict"), [(0.09, "steady"), (0.11, "drift"), (-0.11, "drift")])
def test_a_mean_probability_beyond_its_threshold_is_drift_whatever_the_shape_says(by, verdict):
    allowed = {**dict.fromkeys(OWN, 9.0), "mean_probability": 0.1}
    thresholds = replace(THRESHOLDS, columns=allowed, night=allowed)
    reference = customers(probability=np.linspace(0.2, 0.6, 1_000))
    moved = customers(probability=np.linspace(0.2, 0.6, 1_000) + by)
    result, findings = found(reference, moved, thresholds)
    assert result.verdict == findings["mean_probability"].verdict == verdict
    assert result.score == pytest.approx(abs(by) / 0.1)
    # It has no distribution of its own to draw.
    assert "mean_probability" not in result.compared


def test_the_order_of_rows_changes_nothing():
    reference, current = customers(seed=1), customers(seed=2)
    shuffled = current.sample(frac=1, random_state=3)
    turned = reference.iloc[::-1]
    assert found(turned, shuffled)[0] == found(reference, current)[0]


def test_false_alarms_are_rare_at_the_smallest_sample():
    """None in 200 nights of 500 rows, the smallest number of rows that params.yaml compares."""
    reference = customers(20_000, seed=1)
    nights = [customers(500, seed=seed) for seed in range(2, 202)]
    assert sum(found(reference, night)[0].drifted != [] for night in nights) == 0


numbers = st.lists(
    st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(allow_nan=False)),
    min_size=1,
    max_size=40,
)
texts = st.lists(st.one_of(st.none(), st.sampled_from("abcde")), min_size=1, max_size=40)


@given(reference=numbers, current=numbers)
def test_any_two_columns_of_numbers_can_be_compared(reference, current):
    before, now = (pd.Series(side, dtype=float) for side in (reference, current))
    index = population_stability_index(*binned(before, now, is_category=False))
    assert 0 <= index < 20
    assert population_stability_index(*binned(before, before, is_category=False)) == 0


@given(reference=texts, current=texts)
def test_any_two_columns_of_text_can_be_compared(reference, current):
    before, now = (pd.Series(side, dtype=object) for side in (reference, current))
    distance = jensen_shannon_distance(*binned(before, now, is_category=True))
    assert 0 <= distance <= 1
    assert jensen_shannon_distance(*binned(before, before, is_category=True)) == 0


@given(reference=numbers, current=numbers)
def test_the_distance_is_that_of_the_bins_that_are_shown(reference, current):
    before, now = (pd.Series(side, dtype=float) for side in (reference, current))
    shown = population_stability_index(*binned(before, now, is_category=False))
    assert distance(before, now, is_category=False) == pytest.approx(shown, abs=1e-9)


@given(reference=texts, current=texts)
def test_so_it_is_for_text(reference, current):
    before, now = (pd.Series(side, dtype=object) for side in (reference, current))
    shown = jensen_shannon_distance(*binned(before, now, is_category=True))
    assert distance(before, now, is_category=True) == pytest.approx(shown, abs=1e-9)


@given(values=numbers)
def test_bins_hold_every_row_and_sort_as_the_numbers_do(values):
    column = pd.Series(values, dtype=float)
    labels, _ = binned(column, column, is_category=False)
    order = column.sort_values(na_position="last").index
    assert labels.loc[order].is_monotonic_increasing
    assert (labels == "null").equals(column.isna())
