"""Where a score stands among all scores of a night."""

import math

import numpy as np
import pytest

from models.deciles import TENTHS, decile, deciles, mid_decile, tenths


def test_a_mid_decile_tells_models_with_few_scores_apart_where_a_decile_does_not(spark):
    # 90 of 100 share the lowest score, as with a model of few trees.
    scores = [0.1] * 90 + [0.5] * 6 + [0.9] * 4
    rows = spark.createDataFrame([(score,) for score in scores], "p double")
    cuts = tenths(rows, "p")
    placed = rows.select(
        "p",
        decile("p", cuts).alias("decile"),
        mid_decile("p", cuts).alias("mid_decile"),
    )
    found = {row.p: (row.decile, row.mid_decile) for row in placed.collect()}
    assert found == {0.1: (2, 6), 0.5: (1, 1), 0.9: (1, 1)}


def test_arrays_and_frames_have_the_same_deciles(spark):
    scores = [n * n / 500 for n in range(23)] + [0.1] * 5
    rows = spark.createDataFrame([(score,) for score in scores], "p double")
    found = rows.select(decile("p", tenths(rows, "p")).alias("decile")).collect()
    assert sorted(row.decile for row in found) == sorted(deciles(np.array(scores)))


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param([0.25 + n * 2.0**-40 for n in range(500)], id="within 2**-31"),
        pytest.param([n * 2.0**-60 for n in range(100)] + [1.0], id="too near for any band"),
        pytest.param([0.0] * 50 + [1.0] * 50 + [0.5], id="few values"),
        pytest.param([0.3], id="one customer"),
    ],
)
def test_cuts_are_exact_however_near_scores_are(spark, monkeypatch, scores):
    monkeypatch.setattr("models.deciles.FEW", 10)
    rows = spark.createDataFrame([(score,) for score in scores], "p double")
    assert tenths(rows, "p") == [_tenth(sorted(scores), share) for share in TENTHS]


def _tenth(ordered: list[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    lower = math.floor(position)
    upper = math.ceil(position)
    if ordered[lower] == ordered[upper]:
        return ordered[lower]
    return (upper - position) * ordered[lower] + (position - lower) * ordered[upper]


def test_scores_that_are_near_each_other_are_counted_not_fetched(spark, monkeypatch):
    monkeypatch.setattr("models.deciles.FEW", 10)
    fetched = []
    collect = type(spark.range(1)).collect
    monkeypatch.setattr(
        type(spark.range(1)), "collect", lambda self: fetched.append(collect(self)) or fetched[-1]
    )
    tenths(spark.range(20_000).selectExpr("id * pow(2.0D, -34) as p"), "p")
    assert max(map(len, fetched)) <= 9 * 2**10
