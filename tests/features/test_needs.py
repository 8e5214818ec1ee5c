"""A feature says which columns of the line it needs; what it does not need does not change it."""

import pytest
from pyspark.sql import functions as F

from features.build import FEATURE_NAMES, build_features, names_of
from params import Source, read_params
from tests.features.visits import AS_OF, activity, visit

SOURCE = read_params().source("generated")
NOTHING = {
    "invoice_id": ("purchase_invoice_ids", "filter(purchase_invoice_ids, id -> false)"),
    "product_id": ("purchase_product_ids", "filter(purchase_product_ids, id -> false)"),
    "country": ("country", "cast(null as string)"),
}
"""What activity holds of a source that lacks the column."""


def without(*names: str) -> Source:
    columns = SOURCE.columns.model_copy(update=dict.fromkeys(names))
    return SOURCE.model_copy(update={"columns": columns})


@pytest.mark.parametrize("name", NOTHING)
def test_exactly_the_features_that_need_a_column_are_left_out_without_it(spark, name):
    rows = activity(spark, [visit("ada", n, products=("tea", "cup")) for n in (1, 20, 60, 300)])
    [whole] = build_features(rows, [AS_OF], 365).collect()
    column, nothing = NOTHING[name]
    [poor] = build_features(rows.withColumn(column, F.expr(nothing)), [AS_OF], 365).collect()

    changed = {feature for feature in FEATURE_NAMES if whole[feature] != poor[feature]}
    assert changed == set(FEATURE_NAMES) - set(names_of(without(name)))


def test_features_keep_their_order_and_bits_beside_those_that_are_left_out(spark):
    rows = activity(spark, [visit("ada", n) for n in (1, 20, 60, 300)])
    source = without("invoice_id", "country")
    [whole] = build_features(rows, [AS_OF], 365).collect()
    few = build_features(rows, [AS_OF], 365, source)

    assert few.columns == ["as_of", "customer_id", *names_of(source)]
    assert few.collect() == [tuple(whole[name] for name in few.columns)]
    assert names_of(SOURCE) == FEATURE_NAMES
