"""Performance: the metrics are the known ones, intervals hold what they say, findings differ."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.judge import judge
from monitoring import performance
from monitoring.performance import (
    Measured,
    accepted,
    compare,
    conclude,
    corrected,
    estimate,
    estimate_bias,
    is_spoilt,
    judge_cohort,
    measure,
)
from params import read_params

RULES = read_params().performance
QUICK = RULES.model_copy(update={"bootstrap_rounds": 20})
COHORT = date(2026, 3, 2)


def calibrated(customers: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, decisions for the top fifth, and labels drawn from the probabilities."""
    random = np.random.default_rng(seed)
    probability = random.beta(1, 4, customers)
    return probability, probability >= 0.33, (random.random(customers) < probability).astype(int)


def interval(metric: dict) -> tuple[float, float]:
    return metric["low"], metric["high"]


def test_four_customers_by_hand():
    found = measure(
        np.array([0.8, 0.6, 0.4, 0.2]), np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]), QUICK, 1
    )
    assert (found.customers, found.buyers) == (4, 2)
    assert {name: metric["value"] for name, metric in found.metrics.items()} == {
        "roc_auc": 0.75,  # three of four pairs are in order
        "pr_auc": round((1 + 2 / 3) / 2, 6),
        "log_loss": round(-np.log([0.8, 0.4, 0.4, 0.8]).mean(), 6),
        "brier": 0.2,
        "expected_calibration_error": 0.4,
        "buyer_share": 0.5,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "lift": 1.0,
        "contacted_share": 0.5,
        "value_per_customer": (RULES.contacted_buyer_value - 2 * RULES.contact_cost) / 4,
    }


def test_the_estimate_of_two_customers_by_hand():
    found = estimate(np.array([0.75, 0.25]), np.array([True, False]), QUICK, 1)
    assert (found.customers, found.buyers) == (2, 1.0)
    values = {name: metric["value"] for name, metric in found.metrics.items()}
    # Of a buyer and another, both made of parts: 9/16 in order, 6/16 within a customer, a tie.
    assert values["roc_auc"] == (9 + 6 / 2) / 16
    assert values["brier"] == 0.75 * 0.25
    assert values["precision"] == values["recall"] == 0.75
    assert values["expected_calibration_error"] is None


def test_the_metrics_are_those_that_judged_the_model():
    random = np.random.default_rng(3)
    probability = np.round(random.beta(1, 3, 500), 2)
    label = (random.random(500) < probability).astype(int)
    rows = pd.DataFrame({"as_of": "2026-03-02", "customer_id": range(500), "country": "Norway"})
    rows = rows.assign(label=label, p_xgboost=probability, p_recency=0.5, p_logistic=0.5)
    rows = rows.assign(live_xgboost=probability, live_recency=0.5, live_logistic=0.5)
    expected = judge(rows, rounds=1, seed=1)["model"]
    found = measure(probability, probability > 0.5, label, QUICK, 1).metrics
    for metric in ("roc_auc", "pr_auc", "log_loss", "brier", "expected_calibration_error"):
        assert found[metric]["value"] == pytest.approx(expected[metric]["value"], abs=1e-6), metric


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]),
            st.booleans(),
            st.integers(1, 5),
            st.integers(0, 5),
        ).map(lambda row: (*row[:3], min(row[2:]))),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_a_row_of_many_customers_gives_what_so_many_rows_give_in_any_order(cells, shuffler):
    customers = [
        (probability, contacted, int(number < buyers))
        for probability, contacted, count, buyers in cells
        for number in range(count)
    ]
    shuffler.shuffle(customers)
    probability, contacted, counts, buyers = map(np.array, zip(*cells, strict=True))
    one_by_one = [np.array(column) for column in zip(*customers, strict=True)]
    assert measure(probability, contacted, buyers, QUICK, 1, counts) == measure(
        *one_by_one, QUICK, 1
    )
    assert estimate(probability, contacted, QUICK, 1, counts) == estimate(*one_by_one[:2], QUICK, 1)


def test_nothing_depends_on_how_much_is_drawn_at_once(monkeypatch):
    cohort = calibrated(300, seed=1)
    whole = measure(*cohort, RULES, 1), estimate(*cohort[:2], RULES, 1)
    monkeypatch.setattr(performance, "DRAWN_AT_ONCE", 1000)
    assert whole == (measure(*cohort, RULES, 1), estimate(*cohort[:2], RULES, 1))


def test_where_nobody_bought_ranking_is_undefined_and_the_rest_is_not():
    found = measure(np.array([0.2, 0.1]), np.array([1, 0]), np.array([0, 0]), QUICK, 1).metrics
    null = {"value": None, "low": None, "high": None}
    assert found["roc_auc"] == found["pr_auc"] == found["recall"] == found["lift"] == null
    assert found["precision"]["value"] == 0
    assert found["brier"]["value"] == 0.025


def test_where_nobody_was_contacted_only_the_decision_is_undefined():
    found = measure(np.array([0.2, 0.1]), np.array([0, 0]), np.array([1, 0]), QUICK, 1).metrics
    assert found["precision"]["value"] is None
    assert found["recall"]["value"] == found["value_per_customer"]["value"] == 0
    assert found["roc_auc"]["value"] == 1


def test_the_interval_holds_the_truth_about_nineteen_times_of_twenty():
    truth = measure(*calibrated(400_000, seed=0), QUICK, 1).metrics
    cohorts = [measure(*calibrated(1000, seed=n), RULES, n).metrics for n in range(1, 121)]
    for metric in ("roc_auc", "log_loss", "precision", "value_per_customer"):
        holds = [
            low <= truth[metric]["value"] <= high
            for low, high in (interval(cohort[metric]) for cohort in cohorts)
        ]
        assert 0.88 <= np.mean(holds) <= 0.99, metric


def test_of_calibrated_scores_the_calibration_error_is_not_told_from_zero():
    lows = [
        measure(*calibrated(1000, seed=n), RULES, n).metrics["expected_calibration_error"]["low"]
        for n in range(60)
    ]
    # Noise alone gives an error of 0.03 here.
    assert np.mean(np.array(lows) > 0.01) <= 0.1


def test_the_estimate_for_calibrated_scores_is_what_the_labels_show_on_average():
    probability, contacted, _ = calibrated(1000, seed=1)
    expected = estimate(probability, contacted, RULES, 1).metrics
    random = np.random.default_rng(2)
    shown = [
        measure(probability, contacted, random.random(1000) < probability, QUICK, 1).metrics
        for _ in range(200)
    ]
    for metric in set(expected) - {"expected_calibration_error"}:
        values = np.array([each[metric]["value"] for each in shown])
        error = values.std() / np.sqrt(len(values))
        assert values.mean() == pytest.approx(expected[metric]["value"], abs=4 * error + 1e-6)
        low, high = interval(expected[metric])
        assert np.mean((low <= values) & (values <= high)) >= 0.9, metric


def reference(auc_low=0.75, calibration_error=0.01) -> dict:
    return {
        "roc_auc": {"value": 0.77, "low": auc_low, "high": 0.79},
        "expected_calibration_error": {"value": calibration_error},
    }


def cohort(auc_high=0.8, error_low=0.0, buyers=100.0, customers=1000) -> Measured:
    metrics = {
        "roc_auc": {"value": 0.7, "low": 0.6, "high": auc_high},
        "expected_calibration_error": {"value": 0.3, "low": error_low, "high": 0.4},
    }
    return Measured(customers, buyers, metrics)


MARGINS = RULES.model_copy(
    update={"loss_margin": 0.02, "calibration_margin": 0.1, "min_buyers": 30}
)


@pytest.mark.parametrize(
    ("measured", "finding"),
    [
        (cohort(), "holds"),
        (cohort(auc_high=0.731), "holds"),  # within the margin of 0.02
        (cohort(auc_high=0.729), "loss"),
        (cohort(error_low=0.109), "holds"),  # within the margin of 0.1
        (cohort(error_low=0.111), "loss"),
        (cohort(error_low=None), "holds"),  # an estimate
        (cohort(auc_high=0.5, buyers=29), "too_few"),
        (cohort(auc_high=0.5, buyers=971), "too_few"),
        (cohort(auc_high=0.5, buyers=30), "loss"),
    ],
)
def test_a_loss_is_more_than_chance_and_more_than_a_trifle(measured, finding):
    assert judge_cohort(measured, reference(), MARGINS) == finding


@pytest.mark.parametrize(
    ("performed", "drift", "finding"),
    [
        ("holds", "steady", "works"),
        ("holds", "too_few_rows", "works"),
        ("holds", None, "works"),
        ("holds", "drift", "works_inputs_drift"),
        ("loss", "steady", "concept_drift"),
        ("loss", "drift", "loss_with_drift"),
        ("loss", "too_few_rows", "unknown"),
        ("loss", None, "unknown"),
        ("too_few", "drift", "unknown"),
        (None, "drift", "unknown"),
    ],
)
def test_concept_drift_is_told_from_data_drift(performed, drift, finding):
    assert conclude(performed, drift, COHORT).finding == finding


def test_a_loss_of_unknown_cause_is_still_said():
    assert "did worse" in conclude("loss", None, COHORT).sentence


def test_a_change_of_behaviour_at_the_same_inputs_is_seen_in_the_labels_and_nowhere_else():
    probability, contacted, label = calibrated(2000, seed=1)
    known = measure(*calibrated(2000, seed=2), RULES, 1).metrics
    random = np.random.default_rng(3)
    # From some day on, half of the customers do the opposite of what they did.
    changed = np.where(random.random(2000) < 0.5, random.permutation(label), label)

    def finding(labels):
        measured = measure(probability, contacted, labels, RULES, 1)
        return conclude(judge_cohort(measured, known, RULES), "steady", COHORT).finding

    assert (finding(label), finding(changed)) == ("works", "concept_drift")
    assert judge_cohort(estimate(probability, contacted, RULES, 1), known, RULES) == "holds"


def test_two_models_are_compared_in_pairs_as_draws_of_the_customers_say():
    """Both see the same drive: alone their intervals overlap, in pairs the worse one is found."""
    random = np.random.default_rng(5)
    drive = random.normal(0, 1, 3000)
    bought = (random.random(3000) < 1 / (1 + np.exp(1 - drive))).astype(int)
    seen = drive + random.normal(0, 0.3, 3000)
    blurred = seen + random.normal(0, 0.45, 3000)
    champion, challenger = (1 / (1 + np.exp(1 - each)) for each in (seen, blurred))
    ones = np.ones(3000, dtype=int)
    found = compare(champion, challenger, bought, ones)

    frame = pd.DataFrame(
        {"as_of": 0, "customer_id": np.arange(3000), "label": bought, "country": "Norway"}
    )
    scores = {"xgboost": challenger, "recency": champion, "logistic": champion}
    frame = frame.assign(
        **{f"{fit}{kind}": scored for fit in ("p_", "live_") for kind, scored in scores.items()}
    )
    drawn = judge(frame, rounds=300, seed=1)["xgboost_over_recency"]
    for metric in ("roc_auc", "log_loss"):
        one, other = found[f"{metric}_difference"], drawn[metric]
        assert one["value"] == pytest.approx(other["value"], abs=1e-6)
        width = other["high"] - other["low"]
        assert one["high"] - one["low"] == pytest.approx(width, rel=0.15)
    assert found["roc_auc_difference"]["high"] < 0
    alone = [
        measure(p, ones == 1, bought, QUICK, 1).metrics["roc_auc"] for p in (champion, challenger)
    ]
    assert alone[1]["high"] > alone[0]["low"]


def test_a_row_of_many_customers_is_compared_as_so_many_rows():
    one = compare(np.array([0.7, 0.3]), np.array([0.6, 0.5]), np.array([3, 1]), np.array([4, 5]))
    many = compare(
        np.array([0.7] * 4 + [0.3] * 5),
        np.array([0.6] * 4 + [0.5] * 5),
        np.array([1, 1, 1, 0, 1, 0, 0, 0, 0]),
        np.ones(9, dtype=int),
    )
    assert one == many


def test_without_both_outcomes_there_is_no_difference():
    found = compare(np.array([0.7]), np.array([0.6]), np.array([1]), np.array([1]))
    assert {metric["value"] for metric in found.values()} == {None}


Date = tuple[np.ndarray, np.ndarray, np.ndarray]


def too_sure(customers: int, seed: int, times: float = 1.5) -> Date:
    """As ``calibrated``, but the log-odds are that many times too large."""
    probability, contacted, bought = calibrated(customers, seed)
    odds = (probability / (1 - probability)) ** times
    return odds / (1 + odds), contacted, bought


def test_a_model_that_is_too_sure_promises_no_more_than_it_keeps_on_the_dates_it_learnt_from():
    right, wrong = 0, 0
    bias = estimate_bias([too_sure(1500, seed) for seed in range(100, 120)], QUICK, 1)
    for seed in range(20):
        sure, contacted, bought = too_sure(1500, seed)
        promised = estimate(sure, contacted, QUICK, 1)
        truth = measure(sure, contacted, bought, QUICK, 1)
        value = truth.metrics["roc_auc"]["value"]
        low, high = interval(corrected(promised, bias).metrics["roc_auc"])
        right += low <= value <= high
        low, high = interval(promised.metrics["roc_auc"])
        wrong += low <= value <= high
    assert wrong < 10
    assert right >= 17


def test_an_estimate_reaches_as_far_as_dates_differ_from_each_other():
    """A season that the model is not told of: on every other date it is as sure again as it may."""
    seasons = [too_sure(1500, seed, times) for seed in range(20) for times in (0.8, 1.6)]
    bias = estimate_bias(seasons, QUICK, 1)
    alike = estimate_bias([too_sure(1500, seed, 0.8) for seed in range(40)], QUICK, 1)
    assert bias.reach["roc_auc"] > 0.05
    assert alike.reach["roc_auc"] < 0.02

    right = {"both": 0, "one": 0}
    for seed in range(100, 120):
        sure, contacted, bought = too_sure(1500, seed, 1.6)
        promised = estimate(sure, contacted, QUICK, 1)
        value = measure(sure, contacted, bought, QUICK, 1).metrics["roc_auc"]["value"]
        for name, known in (("both", bias), ("one", alike)):
            low, high = interval(corrected(promised, known).metrics["roc_auc"])
            right[name] += low <= value <= high
    assert right["both"] >= 19
    assert right["one"] == 0


def test_of_a_single_date_nothing_is_said_about_how_far_estimates_are_off():
    assert estimate_bias([calibrated(1500, 1)], QUICK, 1).value == {}


def test_a_model_is_held_against_the_better_of_what_its_two_fits_reached():
    judged, live = ({"roc_auc": {"low": low}, "brier": low} for low in (0.7, 0.8))
    assert accepted(judged, live) == {"roc_auc": {"low": 0.8}, "brier": 0.7}
    assert accepted(live, judged) == live


@pytest.mark.parametrize(
    ("wrong", "is_spoilt_by_it"),
    [
        ([0], True),
        ([1], False),
        ([5, 9, 30], False),
        ([5, 9, 30, 12], True),
        ([-1, 31, 40, 41], False),
    ],
)
def test_a_cohort_is_spoilt_by_its_own_night_or_by_many_days_of_its_labels(wrong, is_spoilt_by_it):
    days = [COHORT + timedelta(days=day) for day in wrong]
    assert is_spoilt(COHORT, 30, days, RULES) is is_spoilt_by_it
