"""Activity for tests, and what is to be computed from it, said a second time in plain Python."""

import math
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

import catalog
from features.activity import ON_TIME, Interval, with_interval
from tests.records import put_activity

AS_OF = date(2026, 3, 1)  # a Sunday


def visit(
    customer_id="ada",
    days_ago=0,
    *,
    on=None,
    known_on=None,
    country="United Kingdom",
    invoices=("1",),
    products=("tea",),
    micros=10_000_000,
    return_micros=0,
) -> dict:
    """A row of activity; a test names only what it is about. No invoices: only returns."""
    on = on or AS_OF - timedelta(days_ago)
    return {
        "customer_id": customer_id,
        "activity_on": on,
        "country": country,
        "purchase_invoice_ids": sorted(invoices),
        "purchase_product_ids": sorted(products) if invoices else [],
        "purchase_lines": len(invoices),
        "purchase_quantity_micros": 1_000_000 * len(invoices),
        "purchase_micros": micros if invoices else 0,
        "return_lines": int(return_micros > 0),
        "return_quantity_micros": 1_000_000 * (return_micros > 0),
        "return_micros": return_micros,
        "known_on": known_on or on,
    }


def activity(
    spark: SparkSession, visits: Iterable[dict], interval: Interval = ON_TIME
) -> DataFrame:
    """The visits as Spark sees them in the lake, known in the nights of ``interval``."""
    rows = spark.createDataFrame([tuple(one.values()) for one in visits], catalog.ACTIVITY.schema)
    return with_interval(rows, interval)


def expected_features(
    visits: Iterable[dict], as_of: Sequence[date], active_days: int
) -> dict[tuple[date, str], dict]:
    """Slow and plain: the features of each as-of date and active customer."""
    visits = list(visits)
    expected = {}
    for day in as_of:
        known = [one for one in visits if one["activity_on"] <= day and one["known_on"] <= day]
        for customer in {one["customer_id"] for one in known}:
            own = [one for one in known if one["customer_id"] == customer]
            bought_on = sorted({one["activity_on"] for one in own if one["purchase_lines"]})
            if bought_on and (day - bought_on[-1]).days < active_days:
                expected[day, customer] = _features(own, bought_on, day)
    return expected


def _features(own: list[dict], bought_on: list[date], day: date) -> dict:
    def last(days: int) -> list[dict]:
        return [one for one in own if (day - one["activity_on"]).days < days]

    def days_in(days: int) -> int:
        return sum((day - one).days < days for one in bought_on)

    def sum_of(name: str, days: int) -> int:
        return sum(one[name] for one in last(days))

    def different(name: str, days: int) -> int:
        return len({value for one in last(days) for value in one[name]})

    recency, tenure = (day - bought_on[-1]).days, (day - bought_on[0]).days
    gaps = [(b - a).days for a, b in pairwise(bought_on)]
    count, squares = len(gaps), sum(gap * gap for gap in gaps)
    features = {
        "recency_days": recency,
        "tenure_days": tenure,
        "gap_mean_days": _ratio(sum(gaps), count),
        "gap_std_days": None
        if count < 2
        else math.sqrt((count * squares - sum(gaps) ** 2) / (count * (count - 1))),
        "gap_longest_days": max(gaps, default=None),
        "overdue_ratio": _ratio(recency * count, sum(gaps)),
        "purchase_days_year_ago_30d": sum(
            day < one + timedelta(weeks=52) <= day + timedelta(30) for one in bought_on
        ),
        "weekend_share_365d": _ratio(
            sum((day - one).days < 365 and one.isoweekday() > 5 for one in bought_on), days_in(365)
        ),
        "basket_mean_365d": _ratio(
            sum_of("purchase_micros", 365), 1_000_000 * different("purchase_invoice_ids", 365)
        ),
        "returned_share_365d": _ratio(sum_of("return_micros", 365), sum_of("purchase_micros", 365)),
        "purchase_days_trend_30d": _trend(days_in(30), 30, days_in(90), 90),
        "purchase_days_trend_90d": _trend(days_in(90), 90, days_in(365), 365),
        "spend_trend_30d": _trend(
            sum_of("purchase_micros", 30), 30, sum_of("purchase_micros", 90), 90
        ),
        "country": min(
            one["country"]
            for one in own
            if one["activity_on"] == bought_on[-1] and one["purchase_lines"]
        ),
    }
    for days in (7, 30, 90, 365):
        features |= {
            f"purchase_days_{days}d": days_in(days),
            f"invoices_{days}d": different("purchase_invoice_ids", days),
            f"products_{days}d": different("purchase_product_ids", days),
            f"spend_{days}d": sum_of("purchase_micros", days) / 1_000_000,
            f"returned_{days}d": sum_of("return_micros", days) / 1_000_000,
        }
    return features


def _ratio(top: int, bottom: int) -> float | None:
    return top / bottom if bottom else None


def _trend(recent: int, recent_days: int, whole: int, whole_days: int) -> float | None:
    recent_weighed = recent * (whole_days - recent_days)
    before_weighed = (whole - recent) * recent_days
    return _ratio(recent_weighed - before_weighed, recent_weighed + before_weighed)


def deliver(
    root: Path,
    known_on: date,
    visits: Iterable[dict],
    delivery: str = "d1",
    known_from: date | None = None,
) -> Path:
    """Let nights use a delivery of that day with these visits; the file of its activity."""
    day, many, number = pa.date32(), pa.list_(pa.string()), pa.int64()
    types = [pa.string(), day, pa.string(), many, many, *[number] * 6, day]
    schema = pa.schema(list(zip(visit(), types, strict=True)))
    table = pa.Table.from_pylist(list(visits), schema=schema)
    record = put_activity(root, known_on, table, delivery, known_from)
    return root / record.activity.files[0].path
