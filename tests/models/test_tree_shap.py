"""Contributions that are looked up are those that XGBoost computes."""

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import tree_shap
from models.tree_shap import margin_contributions

# XGBoost adds float32; a forest without regularisation has contributions of a hundred.
FLOAT32_ACCURACY = {"atol": 2e-5, "rtol": 1e-5}

columns = st.sampled_from(["continuous", "code", "constant", "mostly missing"])


@st.composite
def fitted(draw) -> tuple[xgboost.Booster, np.ndarray]:
    """A small model, and rows that it may have seen or not."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = draw(st.lists(columns, min_size=1, max_size=6))
    rows = np.column_stack([column(random, kind, 150) for kind in kinds])
    label = (np.nan_to_num(rows) @ random.normal(size=len(kinds)) + random.normal(size=150)) > 0
    options = {
        "objective": "binary:logistic",
        # With few features a deep tree asks about the same one several times on the way down.
        "max_depth": draw(st.integers(1, 7)),
        "min_child_weight": draw(st.sampled_from([0.1, 1, 20])),
        "reg_lambda": draw(st.sampled_from([0.0, 5.0])),
        "learning_rate": 0.3,
        "nthread": 1,
    }
    if draw(st.booleans()):
        options["base_score"] = draw(st.sampled_from([0.01, 0.5, 0.9]))
    data = xgboost.DMatrix(rows, label.astype(int), nthread=1)
    booster = xgboost.train(options, data, draw(st.integers(1, 6)))
    others = np.column_stack([column(random, kind, 60) for kind in kinds])
    return booster, np.concatenate([rows, others])


def column(random: np.random.Generator, kind: str, count: int) -> np.ndarray:
    values = {
        "continuous": random.normal(size=count),
        "code": random.integers(0, 4, count),
        "constant": np.ones(count),
        "mostly missing": random.normal(size=count),
    }[kind].astype(np.float32)
    values[random.random(count) < {"mostly missing": 0.8, "constant": 0}.get(kind, 0.2)] = np.nan
    return values


def of_xgboost(booster: xgboost.Booster, rows: np.ndarray) -> np.ndarray:
    return booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True).T


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(fitted())
def test_contributions_are_those_of_xgboost_and_add_up_to_the_margin(model):
    booster, rows = model
    contributions = margin_contributions(booster, rows)
    np.testing.assert_allclose(contributions, of_xgboost(booster, rows), **FLOAT32_ACCURACY)
    margin = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_allclose(contributions.sum(axis=0), margin, **FLOAT32_ACCURACY)


def trained(rows: np.ndarray, label: np.ndarray, **options: object) -> xgboost.Booster:
    options = {"objective": "reg:squarederror", "nthread": 1, "min_child_weight": 0} | options
    rounds = options.pop("rounds", 1)
    return xgboost.train(options, xgboost.DMatrix(rows, label, nthread=1), rounds)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(400, 3)).astype(np.float32)


def test_a_tree_of_a_single_leaf_moves_what_everybody_starts_from(rows):
    booster = trained(rows, rows[:, 0], gamma=1e9, rounds=3)
    contributions = margin_contributions(booster, rows)
    assert not contributions[:-1].any()
    np.testing.assert_allclose(contributions, of_xgboost(booster, rows), **FLOAT32_ACCURACY)


def test_leaves_that_lie_deeper_than_a_byte_of_questions_are_exact_too():
    # Each question takes off the highest value of what is left.
    values = np.arange(40, dtype=np.float32)[:, None]
    booster = trained(values, 2.0 ** np.arange(40), max_depth=12, reg_lambda=0)
    assert (
        max(len(group.questions) for group in tree_shap._tables(booster)[0]) > tree_shap.QUESTIONS
    )
    expected = of_xgboost(booster, values)
    np.testing.assert_allclose(margin_contributions(booster, values), expected, rtol=1e-5)


def test_trees_too_large_for_tables_are_left_to_xgboost(rows, monkeypatch):
    monkeypatch.setattr(tree_shap, "LARGEST_TABLES", 1000)
    booster = trained(rows, rows[:, 0] * rows[:, 1], max_depth=4)
    np.testing.assert_array_equal(margin_contributions(booster, rows), of_xgboost(booster, rows))


def test_how_many_rows_are_looked_up_at_a_time_changes_no_bit(rows, monkeypatch):
    booster = trained(rows, rows[:, 0] * rows[:, 1], max_depth=4, rounds=20)
    at_once = margin_contributions(booster, rows)
    monkeypatch.setattr(tree_shap, "CHUNK_ROWS", 37)
    np.testing.assert_array_equal(margin_contributions(booster, rows), at_once)


def test_a_value_at_a_threshold_and_a_missing_one_go_where_the_tree_sends_them():
    values = np.array([[1.0], [2.0], [3.0], [np.nan]] * 10, dtype=np.float32)
    for missing_like in (0, 5):
        label = np.array([0, 0, 5, missing_like] * 10)
        booster = trained(values, label, max_depth=2)
        expected = of_xgboost(booster, values)
        np.testing.assert_allclose(margin_contributions(booster, values), expected, atol=1e-5)
