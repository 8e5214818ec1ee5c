"""Fitting: only what may be looked at, in an order that does not matter."""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from models.apply import score
from models.calibration import Calibration, calibrate
from models.fit import (
    FittedModel,
    OneOutcome,
    Recipe,
    _folds,
    fit_and_score_unseen,
    fit_model,
    labels,
    rows_of,
)
from models.metrics import RECENCY, XGBOOST
from models.schema import feature_matrix
from models.split import split_by_time
from params import read_params

MODEL = read_params().model.model_copy(update={"max_rounds": 60, "early_stopping_rounds": 10})


def split_of(training_set):
    return split_by_time(training_set["as_of"].unique().to_pylist(), 30, 2)


RECIPE = Recipe(calibration_count=2, half_life_days=None, model=MODEL, seed=1)


def trees(training_set, dates, recipe=RECIPE) -> FittedModel:
    return fit_model(training_set, dates, XGBOOST, recipe)


@pytest.fixture(scope="module")
def fitted(small_training_set) -> FittedModel:
    return trees(small_training_set, split_of(small_training_set).fit)


def test_the_holdout_leaves_no_trace_in_the_model(small_training_set, fitted):
    split = split_of(small_training_set)
    is_holdout = pc.is_in(small_training_set["as_of"], pa.array(split.holdout, pa.date32()))
    column = small_training_set.column_names.index("label")
    label = pc.if_else(
        is_holdout, pc.subtract(1, small_training_set["label"]), small_training_set["label"]
    )
    changed = small_training_set.set_column(column, "label", label)
    other = trees(changed, split.fit)
    assert other.estimator.booster.save_raw("ubj") == fitted.estimator.booster.save_raw("ubj")
    assert other.calibration == fitted.calibration


def test_a_date_teaches_half_as_much_after_every_half_life(small_training_set):
    """The oldest date says the opposite: it is believed as far as its weight goes."""
    oldest, *_, newest = sorted(small_training_set["as_of"].unique().to_pylist())
    rows = rows_of(small_training_set, [newest])
    turned = rows.set_column(
        rows.column_names.index("as_of"), "as_of", pa.array([oldest] * len(rows), pa.date32())
    )
    at = turned.column_names.index("label")
    turned = turned.set_column(at, "label", pc.subtract(1, turned["label"]))
    both = pa.concat_tables([turned.cast(rows.schema), rows])
    days = (newest - oldest).days

    def share(half_life: int | None) -> float:
        """What the table of recency says on average, where every customer did both."""
        recipe = replace(RECIPE, calibration_count=1, half_life_days=half_life)
        model = fit_model(both, [oldest, newest], RECENCY, recipe)
        return float(expit(model.estimator.margin(feature_matrix(rows, model.schema))).mean())

    bought = labels(rows).mean()
    assert share(None) == pytest.approx(0.5, abs=0.02)
    assert share(days) == pytest.approx((2 * bought + (1 - bought)) / 3, abs=0.02)
    assert share(1) == pytest.approx(bought, abs=0.02)


@pytest.fixture(scope="module")
def noise(small_training_set) -> pa.Table:
    """Labels that mean nothing."""
    random = np.random.default_rng(8)
    label = pa.array((random.random(small_training_set.num_rows) < 0.3).astype("int32"))
    column = small_training_set.column_names.index("label")
    return small_training_set.set_column(column, "label", label)


BY_HEART = replace(RECIPE, model=MODEL.model_copy(update={"max_depth": 8, "min_child_weight": 1}))
"""A recipe that learns the rows by heart: only customers it has not seen can tell."""


def test_customers_are_scored_by_a_fit_that_has_not_seen_them(noise):
    dates = split_of(noise).live
    model, unseen = fit_and_score_unseen(noise, dates, XGBOOST, BY_HEART)
    rows = rows_of(noise, dates)
    seen = model.estimator.margin(feature_matrix(rows, model.schema))
    assert roc_auc_score(labels(rows), seen) > 0.6
    assert roc_auc_score(labels(rows), unseen) == pytest.approx(0.5, abs=0.03)


def test_a_model_of_labels_that_mean_nothing_is_calibrated_to_say_nothing(noise):
    split = split_of(noise)
    model = trees(noise, split.fit, BY_HEART)
    probability = score(rows_of(noise, split.holdout), model, reasons=0)["probability"].to_numpy()
    assert np.abs(probability - 0.3).max() < 0.1


def test_all_rows_of_a_customer_are_in_one_fold_and_the_folds_are_of_one_size():
    customers = pa.chunked_array([[f"c{n}" for n in range(6000)] * 2])
    folds = _folds(customers, seed=1).reshape(2, 6000)
    assert (folds[0] == folds[1]).all()
    assert np.bincount(folds[0]).min() > 1900
    assert (_folds(customers, seed=2).reshape(2, 6000)[0] != folds[0]).any()


def test_the_order_of_the_rows_does_not_matter(small_training_set, fitted):
    shuffled = small_training_set.take(
        np.random.default_rng(5).permutation(small_training_set.num_rows)
    )
    other = trees(shuffled, split_of(small_training_set).fit)
    assert other.estimator.booster.save_raw("ubj") == fitted.estimator.booster.save_raw("ubj")
    assert (other.schema, other.calibration) == (fitted.schema, fitted.calibration)


def test_the_number_of_threads_does_not_matter(small_training_set, fitted, monkeypatch):
    monkeypatch.setattr("models.fit.THREADS", 1)
    other = trees(small_training_set, split_of(small_training_set).fit)
    grown = [model.estimator.booster.get_dump(with_stats=True) for model in (other, fitted)]
    assert grown[0] == grown[1]


def test_a_written_model_reads_back_equal(fitted, tmp_path):
    fitted.write(tmp_path)
    again = FittedModel.read(tmp_path)
    assert replace(again, estimator=fitted.estimator) == fitted
    assert again.estimator.booster.get_dump() == fitted.estimator.booster.get_dump()


def test_categories_are_ordered_by_their_frequency(fitted):
    [country] = [feature for feature in fitted.schema if feature.kind == "category"]
    assert country.categories == ("Norway", "Spain", "France")


def test_rows_with_one_outcome_cannot_teach(small_training_set):
    buyers = small_training_set.filter(pc.equal(small_training_set["label"], 1))
    with pytest.raises(OneOutcome, match=r"2026-01-05 have labels \[1\]"):
        rows_of(buyers, [date(2026, 1, 5)])


def test_calibration_finds_the_relation_that_made_the_labels():
    random = np.random.default_rng(3)
    margin = random.normal(0, 2, 400_000).astype(np.float32)
    truth = Calibration(slope=0.6, intercept=-0.8)
    label = (random.random(len(margin)) < truth.probability(margin)).astype(int)
    found = calibrate(margin, label)
    assert found.slope == pytest.approx(truth.slope, abs=0.03)
    assert found.intercept == pytest.approx(truth.intercept, abs=0.03)


def test_calibration_is_the_likeliest_relation_to_platts_targets():
    random = np.random.default_rng(4)
    margin = random.normal(0, 2, 500)
    label = (random.random(500) < 1 / (1 + np.exp(-margin))).astype(int)
    buyers = label.sum()
    target = np.where(label, (buyers + 1) / (buyers + 2), 1 / (500 - buyers + 2))
    found = calibrate(margin, label)
    off = found.probability(margin) - target
    # Where a likelihood is largest it is level, in the intercept and in the slope.
    assert [off.mean(), (off * margin).mean()] == pytest.approx([0, 0], abs=1e-6)


def test_scores_that_rank_the_wrong_way_round_are_calibrated_to_say_nothing():
    margin = np.linspace(-2, 2, 400)
    label = (np.arange(400) < 100).astype(int)
    found = calibrate(margin, label)
    assert found.slope == 0
    assert found.probability(margin) == pytest.approx(np.full(400, 0.25), abs=0.005)


def test_scores_without_an_error_are_nearly_certain_and_no_more():
    label = np.repeat([0, 1], 200)
    probability = calibrate(np.where(label, 2.0, -2.0), label).probability(np.array([-2.0, 2.0]))
    assert probability == pytest.approx([1 / 202, 201 / 202], rel=1e-4)


def test_extreme_margins_stay_probabilities():
    margin = np.array([-3e38, -800.0, 0.0, 800.0, 3e38], dtype=np.float32)
    probability = Calibration(1.0, 0.0).probability(margin)
    assert probability.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
