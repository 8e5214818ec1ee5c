"""Judging: the metrics are the known ones, the intervals mean something, the gate is real."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from models.choice import choice_text
from models.judge import GroupUnknown, calibration_curve, judge_groups, lift_curve
from models.judge import judge as judge_both
from models.metrics import KINDS
from params import FIRST_QUESTION


def holdout(customers=400, dates=2, seed=0, model_noise=0.5, decimals=2) -> pd.DataFrame:
    """Predictions in which the model sees the truth best; rounded, so that some are equal."""
    random = np.random.default_rng(seed)
    rows = customers * dates
    drive = np.tile(random.normal(0, 1.5, customers), dates) + random.normal(0, 0.5, rows)

    def predicted(noise):
        seen = drive + random.normal(0, noise, rows)
        return np.clip(np.round(1 / (1 + np.exp(-seen)), decimals), 0.01, 0.99)

    return pd.DataFrame(
        {
            "as_of": np.repeat([f"2026-0{i + 1}-01" for i in range(dates)], customers),
            "customer_id": np.tile([f"c{i}" for i in range(customers)], dates),
            "label": (random.random(rows) < 1 / (1 + np.exp(-drive))).astype(int),
            "country": np.where(np.arange(rows) % customers < customers * 0.8, "Norway", "Spain"),
            "p_xgboost": predicted(model_noise),
            "p_recency": predicted(2.0),
            "p_logistic": predicted(1.5),
        }
    )


def judge(rows: pd.DataFrame, *args, **kwargs) -> dict:
    """Both fits say the same."""
    live = {f"live_{kind}": rows[f"p_{kind}"] for kind in KINDS}
    return judge_both(rows.assign(**live), *args, **kwargs)


def test_metrics_equal_those_of_scikit_learn():
    rows = holdout()
    found = judge(rows, rounds=20, seed=1)["xgboost"]
    label, probability = rows["label"], rows["p_xgboost"]
    assert found["roc_auc"]["value"] == pytest.approx(roc_auc_score(label, probability), abs=1e-6)
    expected = average_precision_score(label, probability)
    assert found["pr_auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(label, probability), abs=1e-6)
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(label, probability), abs=1e-6)


def test_the_draws_equal_metrics_of_the_drawn_rows():
    rows = holdout(customers=30)
    [picked] = [np.random.default_rng(9).integers(0, 30, 30)]
    names = np.sort(rows["customer_id"].unique())[picked]
    drawn = pd.concat([rows[rows["customer_id"] == name] for name in names])
    found = judge(rows, rounds=1, seed=9)["xgboost"]
    for metric, expected in {
        "roc_auc": roc_auc_score(drawn["label"], drawn["p_xgboost"]),
        "pr_auc": average_precision_score(drawn["label"], drawn["p_xgboost"]),
        "log_loss": log_loss(drawn["label"], drawn["p_xgboost"]),
    }.items():
        assert found[metric]["low"] == found[metric]["high"] == pytest.approx(expected, abs=1e-6)


def test_the_top_decile_is_the_tenth_with_the_highest_scores():
    rows = holdout(customers=100, dates=1).assign(label=[1] * 5 + [0] * 75 + [1] * 20)
    rows["p_xgboost"] = np.r_[np.full(10, 0.9), np.linspace(0.5, 0.1, 90)]
    found = judge(rows, rounds=5, seed=1)["xgboost"]
    assert found["top_decile_precision"]["value"] == 0.5
    assert found["top_decile_lift"]["value"] == 2.0


def test_of_equal_scores_at_the_edge_of_the_decile_a_proportional_part_counts():
    rows = holdout(customers=100, dates=1).assign(label=[1] * 10 + [0] * 90, p_xgboost=0.5)
    found = judge(rows, rounds=5, seed=1)["xgboost"]
    assert found["top_decile_lift"]["value"] == 1.0
    assert found["roc_auc"]["value"] == 0.5


def test_the_rows_of_one_customer_are_drawn_together():
    once = holdout(customers=200, dates=1)
    copies = pd.concat([once] * 8).assign(as_of=np.repeat(range(8), 200))
    width = {}
    for name, rows in {"once": once, "copies": copies}.items():
        interval = judge(rows, rounds=300, seed=2)["xgboost"]["log_loss"]
        width[name] = interval["high"] - interval["low"]
    # Eight copies of each row hold no more knowledge; drawing rows would give a third of the width.
    assert width["copies"] == pytest.approx(width["once"], rel=0.01)


def test_the_same_seed_gives_the_same_intervals_in_any_order_of_rows():
    rows = holdout()
    assert judge(rows, 30, seed=4) == judge(rows.sample(frac=1, random_state=1), 30, seed=4)
    assert judge(rows, 30, seed=4) != judge(rows, 30, seed=5)


def test_a_model_that_knows_more_is_chosen():
    assert judge(holdout(), rounds=200, seed=1)["chosen"] == "xgboost"


def test_of_two_that_are_equal_the_simpler_one_is_chosen():
    rows = holdout()
    equal = rows.assign(p_logistic=rows["p_xgboost"])
    assert judge(equal, rounds=100, seed=1)["chosen"] == "logistic"
    assert judge(rows.assign(p_recency=rows["p_xgboost"]), 100, seed=1)["chosen"] == "recency"


def test_what_chooses_is_the_live_fit_and_what_answers_for_quality_the_judged_one():
    """Customers have changed: the judged trees know nothing of it, the live ones do."""
    rows = holdout()
    lost = rows.assign(**{f"live_{kind}": rows[f"p_{kind}"] for kind in KINDS})
    lost["p_xgboost"] = np.random.default_rng(1).permutation(lost["p_xgboost"])
    metrics = judge_both(lost, rounds=200, seed=1)
    assert metrics["chosen"] == "xgboost"
    assert metrics["model"]["roc_auc"]["value"] == pytest.approx(0.5, abs=0.05)
    expected = roc_auc_score(rows["label"], rows["p_xgboost"])
    assert metrics["live"]["model"]["roc_auc"]["value"] == pytest.approx(expected, abs=1e-6)


def test_a_better_ranking_with_a_wrong_level_is_not_clearly_better():
    rows = holdout()
    rows["p_xgboost"] = rows["p_xgboost"] * 0.05
    metrics = judge(rows, rounds=100, seed=1)
    assert metrics["xgboost_over_logistic"]["pr_auc"]["low"] > 0
    assert metrics["chosen"] == "logistic"


def test_one_score_for_everybody_is_not_chosen_though_nothing_beats_it():
    rows = holdout()
    label = np.random.default_rng(0).permutation(rows["label"])
    rows = rows.assign(label=label, p_recency=label.mean(), p_logistic=rows["p_xgboost"])
    metrics = judge(rows, rounds=100, seed=1)
    assert (metrics["alike"], metrics["chosen"]) == (["recency"], "logistic")
    assert "The recency table gives everybody the same score" in choice_text(
        metrics, FIRST_QUESTION
    )


def test_the_choice_is_told_with_all_three_side_by_side_on_a_terminal():
    rows = holdout()
    told = choice_text(
        judge(rows.assign(p_logistic=rows["p_xgboost"]), rounds=100, seed=1), FIRST_QUESTION
    )
    assert max(map(len, told.splitlines())) <= 80
    for kind in KINDS.values():
        assert kind in told
    assert "Chosen: logistic regression" in told
    assert "XGBoost beside logistic regression: not clearly better (log loss +0.0000" in told
    assert "logistic regression beside recency table: clearly better (log loss -" in told


def test_slices_are_the_most_frequent_country_all_others_and_each_date():
    rows = holdout()
    slices = judge(rows, rounds=5, seed=1)["slices"]
    assert {name: found["holdout"]["rows"] for name, found in slices.items()} == {
        "country: Norway": 640,
        "country: all others": 160,
        "as of 2026-01-01": 400,
        "as of 2026-02-01": 400,
    }
    spain = rows[rows["country"] == "Spain"]
    expected = roc_auc_score(spain["label"], spain["p_xgboost"])
    assert slices["country: all others"]["model"]["roc_auc"]["value"] == pytest.approx(
        expected, abs=1e-6
    )


def test_a_slice_without_buyers_has_null_where_nothing_can_be_said():
    rows = holdout()
    rows.loc[rows["country"] == "Spain", "label"] = 0
    found = judge(rows, rounds=5, seed=1)["slices"]["country: all others"]["model"]
    assert found["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found["log_loss"]["value"] > 0


def test_a_holdout_in_one_country_has_no_slice_for_others():
    rows = holdout().assign(country="Norway")
    assert "country: all others" not in judge(rows, rounds=2, seed=1)["slices"]


def test_the_calibration_curve_compares_promise_and_outcome():
    rows = holdout(customers=1000, dates=1, model_noise=0.01, decimals=9)
    curve = calibration_curve(rows["label"], rows["p_xgboost"])
    assert curve["rows"].tolist() == [100] * 10
    assert np.abs(curve["predicted"] - curve["observed"]).max() < 0.15
    assert (curve["predicted"].diff()[1:] > 0).all()


def test_the_expected_calibration_error_is_the_mean_distance_on_the_curve():
    rows = holdout()
    curve = calibration_curve(rows["label"], rows["p_xgboost"])
    distance = (curve["predicted"] - curve["observed"]).abs()
    expected = (distance * curve["rows"]).sum() / curve["rows"].sum()
    found = judge(rows, rounds=2, seed=1)["xgboost"]["expected_calibration_error"]["value"]
    assert found == pytest.approx(expected, abs=2e-6)


def test_the_lift_curve_ends_with_everybody():
    curve = lift_curve(holdout())
    last = curve[curve["contacted_share"] == 1.0]
    assert last["lift"].tolist() == last["captured_share"].tolist() == [1.0, 1.0, 1.0]
    assert last["kind"].tolist() == ["recency", "logistic", "xgboost"]


def grouped() -> pd.DataFrame:
    """Norway: four rows, of whose two buyers one is contacted; Spain: one row; nowhere: two."""
    return pd.DataFrame(
        {
            "customer_id": [1, 2, 3, 4, 5, 6, 7],
            "label": [1, 1, 0, 0, 1, 0, 0],
            "probability": [0.9, 0.2, 0.8, 0.1, 0.5, 0.3, 0.1],
            "country": ["Norway"] * 4 + ["Spain", None, None],
        }
    )


def test_groups_are_judged_by_whom_the_decision_reaches():
    found = judge_groups(grouped(), ["country"], 0.8, min_rows=2, rounds=5, seed=1)["country"]
    assert found["too_few"] == 1
    assert list(found["groups"]) == ["Norway", "missing"]
    norway, nowhere = found["groups"]["Norway"], found["groups"]["missing"]
    assert (norway["rows"], norway["base_rate"], norway["mean_probability"]) == (4, 0.5, 0.5)
    assert (norway["contacted_share"], norway["recall"], norway["precision"]) == (0.5, 0.5, 0.5)
    assert norway["roc_auc"]["value"] == 0.75
    assert (nowhere["contacted_share"], nowhere["recall"], nowhere["precision"]) == (0, None, None)


def test_a_group_column_that_is_no_feature_is_named():
    with pytest.raises(GroupUnknown, match=r"\['colour'\].*country"):
        judge_groups(grouped(), ["country", "colour"], 0.8, min_rows=2, rounds=5, seed=1)
