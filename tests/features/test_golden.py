"""Features recorded at training must come out the same, or the night stops."""

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.golden import (
    ACTIVITY_FILE,
    FEATURES_FILE,
    GOLDEN_CUSTOMERS,
    FeaturesDiffer,
    check_golden,
    write_golden,
)
from tests.features.visits import AS_OF, activity, visit


@pytest.fixture
def golden(spark, tmp_path):
    """A folder with the record of 12 customers."""
    rows = [visit(f"c{n % 12:02}", n * 5, micros=n * 333_333) for n in range(60)]
    rows += [visit("c03", on=AS_OF + timedelta(9)), visit("c04", 2, known_on=AS_OF + timedelta(9))]
    write_golden(activity(spark, rows), tmp_path, AS_OF, 365)
    return tmp_path


def test_what_was_recorded_comes_out_again(spark, golden):
    assert check_golden(spark, golden) == 12


def test_what_came_after_the_as_of_date_is_recorded_so_that_the_check_covers_it(golden):
    known_on = pq.read_table(golden / ACTIVITY_FILE)["known_on"]
    assert pc.max(known_on).as_py() == AS_OF + timedelta(9)


def test_one_other_bit_is_named_with_its_feature_and_its_customer(spark, golden):
    table = pq.read_table(golden / FEATURES_FILE)
    place = table.column_names.index("spend_90d")
    values = table["spend_90d"].to_pylist()
    expected, values[7] = values[7], values[7] + 1e-15 * values[7]
    assert values[7] != expected
    pq.write_table(table.set_column(place, "spend_90d", pa.array(values)), golden / FEATURES_FILE)
    with pytest.raises(
        FeaturesDiffer,
        match=f"spend_90d of customer c07 is {expected}, recorded as {values[7]}.*dvc repro",
    ):
        check_golden(spark, golden)


def test_a_feature_that_is_gone_is_named(spark, golden):
    table = pq.read_table(golden / FEATURES_FILE)
    names = ["age_days" if name == "tenure_days" else name for name in table.column_names]
    renamed = table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
    pq.write_table(renamed, golden / FEATURES_FILE)
    with pytest.raises(FeaturesDiffer, match=r"gone \['age_days'\], new \['tenure_days'\]"):
        check_golden(spark, golden)


def test_another_population_is_noticed(spark, golden):
    table = pq.read_table(golden / FEATURES_FILE)
    pq.write_table(table.slice(1), golden / FEATURES_FILE)
    with pytest.raises(FeaturesDiffer, match="Of 11 recorded customers, other ones"):
        check_golden(spark, golden)


def test_two_hundred_active_customers_are_enough(spark, tmp_path):
    rows = [visit(f"c{n}", n % 300) for n in range(GOLDEN_CUSTOMERS + 50)]
    rows += [visit(f"lapsed {n}", 400) for n in range(50)]
    rows += [visit(f"not yet known {n}", known_on=AS_OF + timedelta(1)) for n in range(50)]
    write_golden(activity(spark, rows), tmp_path, AS_OF, 365)
    recorded = pq.read_table(tmp_path / FEATURES_FILE)
    assert recorded.num_rows == GOLDEN_CUSTOMERS


def test_without_an_active_customer_there_is_nothing_to_record(spark, tmp_path):
    with pytest.raises(ValueError, match="no customer was active as of 2026-03-01"):
        write_golden(activity(spark, [visit(days_ago=400)]), tmp_path, AS_OF, 365)
