"""The simple kinds of model: what they say, why, and that every machine says the same."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from models.additive import Additive, Line, Steps, compressed
from models.apply import ReasonsWrong, score
from models.baselines import fit_logistic, fit_recency
from models.calibration import Calibration
from models.explain import attribute
from models.fit import FittedModel, Recipe, fit_model, labels, rows_of
from models.metrics import LOGISTIC, RECENCY
from models.schema import Feature, describe_features, feature_matrix
from params import read_params
from tests.models.conftest import AS_OF

RECIPE = Recipe(2, None, read_params().model, seed=1)
DAYS = Feature("recency_days", "number", (), 0.0, 300.0, 0.0)


@pytest.fixture(scope="module", params=[RECENCY, LOGISTIC])
def fitted(request, small_training_set) -> FittedModel:
    return fit_model(small_training_set, AS_OF[:5], request.param, RECIPE)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_the_table_gives_the_share_of_buyers_by_days_since_the_last_purchase():
    days = column(*[1] * 10, *[20] * 10, *[300] * 10)
    label = np.array([1] * 8 + [0] * 2 + [1] * 4 + [0] * 6 + [1] + [0] * 9)
    table = fit_recency(days, label, [DAYS])
    share = expit(table.margin(column(0, 1, 19, 20, 250, 300, 365)))
    np.testing.assert_allclose(share, [0.8, 0.8, 0.8, 0.4, 0.4, 0.1, 0.1])


def test_the_table_never_rises_and_never_claims_certainty(small_training_set):
    rows = rows_of(small_training_set, AS_OF)
    schema = describe_features(rows, ["recency_days"])
    table = fit_recency(feature_matrix(rows, schema), labels(rows) * 0, schema)
    assert (expit(table.margin(column(*range(365)))) > 0).all()
    table = fit_recency(feature_matrix(rows, schema), labels(rows), schema)
    assert (np.diff(table.margin(column(*range(365)))) <= 0).all()


def test_who_has_no_last_purchase_is_like_the_average_customer():
    table = fit_recency(column(1, 1, 20, 20), np.array([1, 1, 0, 0]), [DAYS])
    assert table.margin(column(np.nan)) == table.start
    assert table.start == pytest.approx(table.margin(column(1, 20)).mean())


def test_the_regression_is_that_of_scikit_learn_on_the_same_columns(small_training_set):
    rows = rows_of(small_training_set, AS_OF[:1])
    names = ["purchase_count_365d", "gap_mean_days"]
    matrix = feature_matrix(rows, describe_features(rows, names))
    ours = fit_logistic(matrix, labels(rows), describe_features(rows, names)).margin(matrix)

    given = compressed(matrix)
    missing = np.isnan(given[:, 1])
    given[missing, 1] = np.median(given[~missing, 1])
    design = np.column_stack([given, missing])
    design = (design - design.mean(axis=0)) / design.std(axis=0)
    theirs = LogisticRegression().fit(design, labels(rows)).decision_function(design)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_rare_and_unseen_categories_share_a_weight():
    country = np.repeat([0.0, 1.0, 2.0, np.nan], [200, 200, 20, 20]).astype(np.float32)[:, None]
    label = np.r_[np.ones(150), np.zeros(250), np.ones(40)].astype(int)
    schema = [Feature("country", "category", ("Norway", "Spain", "Malta"), None, None, 0.0)]
    norway, spain, malta, unseen = fit_logistic(country, label, schema).margin(
        column(0, 1, 2, np.nan)
    )
    assert spain < norway < malta == unseen


def test_labels_of_one_kind_teach_the_regression_their_level_only():
    model = fit_logistic(column(1, 2, 3), np.array([0, 0, 0]), [DAYS])
    np.testing.assert_allclose(expit(model.margin(column(1, 200))), 1 / 5)


def test_a_model_that_was_written_gives_the_same_bits(fitted, small_training_set, tmp_path):
    fitted.write(tmp_path)
    again = FittedModel.read(tmp_path)
    assert again == fitted
    assert again.kind == fitted.kind
    assert score(small_training_set, again, 3) == score(small_training_set, fitted, 3)


def test_batches_columns_and_neighbours_change_no_bit(fitted, small_training_set):
    customers = small_training_set.slice(0, 500)
    whole = score(customers, fitted, reasons=3)
    parts = [score(b, fitted, reasons=3) for b in customers.to_batches(max_chunksize=7)]
    assert pa.Table.from_batches(parts).combine_chunks() == pa.Table.from_batches([whole])


def test_no_library_decides_about_the_last_bit_of_a_margin():
    """Values by hand: only operations that every processor rounds alike."""
    model = Additive(
        LOGISTIC,
        ("recency_days", "country"),
        -0.3,
        {"recency_days": Line(-0.7, 0.1, 0.2), "country": Steps((0.0, 1.0), (0.4, -0.2), 0.05)},
    )
    matrix = np.array([[10, 1], [np.nan, np.nan]], dtype=np.float32)
    log2_of_11 = 3 + 2 * (11 / 16) - 1
    assert model.margin(matrix).tolist() == [
        -0.3 + (-0.7 * log2_of_11 + 0.1) - 0.2,
        -0.3 + 0.2 + 0.05,
    ]


def test_the_compressed_value_is_close_to_the_logarithm_and_keeps_the_order():
    values = np.linspace(-1e6, 1e6, 100_001)
    found = compressed(values)
    assert (np.diff(found) > 0).all()
    assert np.abs(found - np.sign(values) * np.log2(1 + np.abs(values))).max() < 0.087


def test_reasons_are_what_the_model_adds_and_sum_to_its_score(fitted, small_training_set):
    one = small_training_set.slice(3, 1)
    attribution = attribute(one, fitted)
    assert attribution.adds_up
    strongest = [each for each in attribution.contributions if each.log_odds][:2]
    [scored] = score(one, fitted, reasons=2).to_pylist()
    named = [scored["reason_1"], scored["reason_2"]]
    for reason, each in zip(named, strongest, strict=False):
        assert reason.startswith(each.feature)
        assert reason.endswith("(raises)" if each.log_odds > 0 else "(lowers)")
    assert (named[1] is None) == (fitted.kind == RECENCY)


def test_contributions_that_do_not_add_up_explain_nobody(fitted, small_training_set):
    class Wrong:
        margin = fitted.estimator.margin

        def contributions(self, matrix):
            return fitted.estimator.contributions(matrix) + 0.1

    wrong = SimpleNamespace(schema=fitted.schema, estimator=Wrong(), calibration=fitted.calibration)
    with pytest.raises(ReasonsWrong):
        score(small_training_set, wrong, reasons=1)


def test_an_infinite_number_gets_no_score(fitted, small_training_set):
    one = small_training_set.slice(0, 1)
    position = one.column_names.index("spend_365d")
    endless = one.set_column(position, "spend_365d", pa.array([float("inf")]))
    assert score(endless, fitted, reasons=1).to_pylist() == [
        {"probability": None, "reason_1": None}
    ]


def test_only_the_dates_of_the_fit_teach(fitted, small_training_set):
    is_fit = pc.is_in(small_training_set["as_of"], pa.array(AS_OF[:5], pa.date32()))
    turned = pc.if_else(is_fit, small_training_set["label"], 0).cast("int32")
    position = small_training_set.column_names.index("label")
    changed = small_training_set.set_column(position, "label", turned)
    assert fit_model(changed, AS_OF[:5], fitted.kind, RECIPE) == fitted


def test_calibration_moves_the_level_and_not_the_order(fitted, small_training_set):
    lower = replace(fitted, calibration=Calibration(fitted.calibration.slope, -3.0))
    before, after = (
        score(small_training_set, model, reasons=0)["probability"].to_numpy()
        for model in (fitted, lower)
    )
    assert after.mean() < before.mean()
    assert (np.argsort(before, kind="stable") == np.argsort(after, kind="stable")).all()
