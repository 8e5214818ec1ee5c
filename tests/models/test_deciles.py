"""Where a score stands among all scores of a night."""

import numpy as np

from models.deciles import decile, deciles, mid_decile, tenths


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
