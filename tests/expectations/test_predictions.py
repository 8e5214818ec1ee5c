"""What good predictions look like, checked before anybody may read them."""

from datetime import date

import pytest

import catalog
from expectations.predictions import verify_predictions
from expectations.verdict import ExpectationsBroken

NIGHT = date(2026, 4, 1)


def prediction(
    customer_id="ada",
    probability=0.3,
    decile=4,
    status="scored",
    is_contacted=False,
    arm="champion",
    is_control=False,
    question="purchase_within_30d",
):
    """A row of the predictions; the reasons are off."""
    score = (customer_id, probability, decile, is_contacted)
    return (*score, None, None, None, status, arm, is_control, question)


@pytest.fixture
def predicted(spark):
    return lambda rows: spark.createDataFrame(rows, catalog.PREDICTIONS.schema)


def test_good_predictions_pass_and_some_fallback_scores_are_a_warning(predicted, tmp_path):
    rows = [prediction(str(number), number / 200) for number in range(198)]
    rows += [prediction(str(number), 0.5, status="default") for number in range(198, 201)]

    [warning] = verify_predictions(predicted(rows), tmp_path / "docs", night=NIGHT, population=201)

    assert warning.startswith("mostly_scored: 3 of 201 rows")
    assert "201 customers of 2026-04-01" in (tmp_path / "docs/index.html").read_text()


def test_every_fault_is_named(predicted, tmp_path):
    rows = [
        prediction("twice"),
        prediction("twice"),
        prediction(None),
        prediction("no score", None),
        prediction("no flag", is_contacted=None),
        prediction("above one", 1.01),
        prediction("below zero", -0.01),
        prediction("decile", decile=11),
        prediction("status", status="guessed"),
        prediction("arm", arm="both"),
        prediction("no arm", arm=None),
        prediction("control or not", is_control=None),
        prediction("no question", question=None),
    ]

    with pytest.raises(ExpectationsBroken) as refused:
        verify_predictions(predicted(rows), tmp_path / "docs", night=NIGHT, population=14)

    for rule in (
        "whole_population: found 13",
        "customer_id_given: 1 of 13",
        "customer_once: 2 of 13",
        "probability_given: 1 of 13",
        "is_contacted_given: 1 of 13",
        "probability_in_range: 2 of 13",
        "decile_in_range: 1 of 13",
        "status_known: 1 of 13",
        "arm_given: 1 of 13",
        "arm_known: 1 of 13",
        "is_control_given: 1 of 13",
        "question_given: 1 of 13",
    ):
        assert rule in str(refused.value)


def test_one_score_for_everybody_is_refused_unless_there_are_few(predicted, tmp_path):
    rows = [prediction(str(number)) for number in range(100)]

    with pytest.raises(ExpectationsBroken, match="score_not_constant: found 1"):
        verify_predictions(predicted(rows), tmp_path / "docs", night=NIGHT, population=100)
    assert (
        verify_predictions(predicted(rows[:3]), tmp_path / "docs", night=NIGHT, population=3) == []
    )
