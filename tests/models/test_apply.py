"""Applying: matrix, probabilities and reasons."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost

from models import tree_shap
from models.apply import ReasonsWrong, feature_contributions, score
from models.calibration import Calibration
from models.estimators import Trees
from models.fit import Recipe, fit_model
from models.metrics import XGBOOST
from models.schema import Feature, FeatureMismatch, describe_features, feature_matrix
from models.split import split_by_time
from params import read_params

MODEL = read_params().model.model_copy(update={"max_rounds": 40, "early_stopping_rounds": 10})
COUNTRY = Feature("country", "category", ("Norway", "Spain"), None, None, 0.0)
RECENCY = Feature("recency_days", "number", (), 0.0, 300.0, 0.0)


@pytest.fixture(scope="module")
def model(small_training_set):
    split = split_by_time(small_training_set["as_of"].unique().to_pylist(), 30, 2)
    return fit_model(small_training_set, split.fit, XGBOOST, Recipe(2, None, MODEL, seed=1))


@pytest.fixture
def customers(small_training_set) -> pa.Table:
    return small_training_set.slice(0, 300)


def test_missing_and_unseen_values_become_nan():
    rows = pa.table(
        {
            "recency_days": pa.array([3.0, None, 7.0, 9.0]),
            "country": ["Spain", "Norway", None, "Atlantis"],
        }
    )
    expected = [[1, 3], [0, np.nan], [np.nan, 7], [np.nan, 9]]
    np.testing.assert_array_equal(feature_matrix(rows, [COUNTRY, RECENCY]), expected)


def test_an_absent_feature_is_named():
    with pytest.raises(FeatureMismatch, match=r"\['recency_days'\].*renamed"):
        feature_matrix(pa.table({"country": ["Spain"]}), [COUNTRY, RECENCY])


def test_a_column_without_any_value_can_be_described_and_read():
    rows = pa.table({"trend": pa.nulls(2, pa.float64())})
    [trend] = schema = describe_features(rows, ["trend"])
    assert (trend.low, trend.high, trend.missing_share) == (None, None, 1.0)
    assert np.isnan(feature_matrix(rows, schema)).all()


def test_batches_columns_and_neighbours_change_no_bit(model, customers):
    whole = score(customers, model, reasons=3)
    reversed_columns = customers.select(customers.column_names[::-1])
    parts = [score(batch, model, reasons=3) for batch in reversed_columns.to_batches(7)]
    assert pa.Table.from_batches(parts).combine_chunks() == pa.Table.from_batches([whole])


def test_a_pandas_frame_scores_like_the_arrow_table(model, customers):
    assert score(customers.to_pandas(), model, reasons=2) == score(customers, model, reasons=2)


def test_an_unseen_country_scores_like_a_missing_one(model, customers):
    def with_country(value):
        column = pa.array([value] * customers.num_rows, pa.string())
        return customers.set_column(customers.column_names.index("country"), "country", column)

    unseen, missing = (score(with_country(value), model, reasons=0) for value in ("Mars", None))
    assert unseen == missing


def test_contributions_add_up_to_the_log_odds(model, customers):
    matrix = feature_matrix(customers, model.schema)
    probability = score(customers, model, reasons=0)["probability"].to_numpy()
    log_odds = np.log(probability / (1 - probability))
    summed = feature_contributions(matrix, model).sum(axis=0)
    np.testing.assert_allclose(summed, log_odds, atol=1e-5)


def test_contributions_that_do_not_add_up_explain_nobody(model, customers, monkeypatch):
    groups, start = tree_shap._tables(model.estimator.booster)
    monkeypatch.setattr(tree_shap, "_tables", lambda _: (groups[1:], start))
    score(customers, model, reasons=0)
    with pytest.raises(ReasonsWrong, match=r".* of 300 rows .* scoring.reasons to"):
        score(customers, model, reasons=3)


def test_reasons_are_the_largest_contributions_with_their_direction(model, customers):
    matrix = feature_matrix(customers, model.schema)
    contributions = feature_contributions(matrix, model)[:-1].T
    scores = score(customers, model, reasons=2).to_pandas()
    for row in (0, 17, 123):
        for rank, position in enumerate(np.argsort(-np.abs(contributions[row]))[:2], start=1):
            reason = scores[f"reason_{rank}"][row]
            assert reason.startswith(model.schema[position].name)
            assert reason.endswith("(raises)" if contributions[row, position] > 0 else "(lowers)")


def test_contributions_that_are_equal_are_named_in_the_order_of_the_schema():
    # A purchase needs all four, so whatever a row has, or lacks, has the same part in it. Sums in
    # float64 differ in their last bit.
    rows = np.array(list(product((0, 1), repeat=4)) * 20, dtype=np.float32)
    data = xgboost.DMatrix(rows, rows.prod(axis=1), nthread=1)
    booster = xgboost.train({"max_depth": 4, "nthread": 1, "reg_lambda": 0}, data, 3)
    schema = [Feature(name, "number", (), 0.0, 1.0, 0.0) for name in "zyxw"]
    trees, calibration = Trees(booster), Calibration(1.0, 0.0)
    model = SimpleNamespace(schema=schema, estimator=trees, calibration=calibration)
    table = pa.table({name: rows[:, position] for position, name in enumerate("zyxw")})
    for scored in score(table, model, reasons=4).to_pylist():
        named = [reason for name, reason in scored.items() if name != "probability"]
        for what in ("= 1 (raises)", "= 0 (lowers)"):
            alike = [reason[0] for reason in named if reason.endswith(what)]
            assert alike == sorted(alike, reverse=True)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("recency_days", 3.0, "recency_days = 3 ("),
        ("recency_days", None, "recency_days missing ("),
        ("spend_365d", 1234.56, "spend_365d = 1235 ("),
        ("spend_365d", 12.345, "spend_365d = 12.3 ("),
        ("country", "Spain", "country = Spain ("),
        ("country", "Mars", "country missing ("),
    ],
)
def test_reasons_name_the_feature_and_its_value(model, customers, column, value, expected):
    one = customers.slice(0, 1).to_pandas()
    one[column] = pd.Series([value], dtype=one[column].dtype)
    all_reasons = score(one, model, reasons=len(model.schema)).to_pylist()[0].values()
    assert any(str(reason).startswith(expected) for reason in all_reasons), all_reasons


def test_there_are_no_reasons_beyond_the_features(model, customers):
    scores = score(customers, model, reasons=len(model.schema) + 1)
    assert scores[f"reason_{len(model.schema) + 1}"].null_count == customers.num_rows


def test_a_row_with_an_infinite_number_has_no_probability_and_others_keep_theirs(model, customers):
    before = score(customers, model, reasons=1)
    frame = customers.to_pandas()
    frame.loc[5, "spend_365d"] = np.inf
    frame.loc[6, "spend_365d"] = 1e300
    after = score(frame, model, reasons=1)
    assert after["probability"].is_null().to_pylist() == [i in (5, 6) for i in range(300)]
    assert after["reason_1"][5].as_py() is None
    assert after.slice(7) == before.slice(7)
