"""What came after the as-of date."""

from datetime import timedelta

from features.labels import label_purchases
from tests.features.visits import AS_OF, activity, visit


def test_a_label_is_a_purchase_from_the_next_day_to_the_last_of_the_horizon(spark):
    rows = [visit(f"{days} later", on=AS_OF + timedelta(days)) for days in (0, 1, 30, 31)]
    rows.append(visit("only sent back", on=AS_OF + timedelta(5), invoices=(), return_micros=5))
    labels = label_purchases(activity(spark, rows), [AS_OF], 30).collect()
    assert {row.customer_id: row.label for row in labels} == {
        "0 later": 0,
        "1 later": 1,
        "30 later": 1,
        "31 later": 0,
        "only sent back": 0,
    }


def test_each_as_of_date_has_a_label_of_its_own(spark):
    rows = [visit(on=AS_OF), visit(on=AS_OF + timedelta(40))]
    days = [AS_OF - timedelta(1), AS_OF, AS_OF + timedelta(10)]
    labels = label_purchases(activity(spark, rows), days, 30).collect()
    assert {row.as_of: row.label for row in labels} == dict(zip(days, (1, 0, 1), strict=True))
