"""When the customer buys, and whether the next purchase is overdue. Over all known history.

A gap is the number of days from one purchase day to the next: 1 for two days running.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.windows import purchase_days_ago, ratio


def recency_days() -> Column:
    """Days since the latest purchase day; 0 is the as-of date itself. Never null."""
    return F.array_min(purchase_days_ago())


def tenure_days() -> Column:
    """Days since the first known purchase day; 0 is the as-of date itself. Never null."""
    return F.array_max(purchase_days_ago())


def gap_mean_days() -> Column:
    """Mean gap between purchase days, days. Null below two purchase days."""
    return ratio(tenure_days() - recency_days(), _gap_count())


def gap_std_days() -> Column:
    """Sample standard deviation of the gaps between purchase days. Null below three purchase days.

    The root of one division of exact integers.
    """
    count, sum_ = _gap_count(), (tenure_days() - recency_days()).cast("bigint")
    squares = F.aggregate(_gaps(), F.lit(0).cast("bigint"), lambda sum_, gap: sum_ + gap * gap)
    enough = F.when(count >= 2, count)
    return F.sqrt((enough * squares - sum_ * sum_) / (enough * (enough - 1)))


def gap_longest_days() -> Column:
    """Longest gap between purchase days. Null below two purchase days."""
    return F.array_max(_gaps())


def overdue_ratio() -> Column:
    """Days since the latest purchase over the mean gap; above 1 is later than is usual.

    Null below two purchase days.
    """
    return ratio(recency_days() * _gap_count(), tenure_days() - recency_days())


def _gap_count() -> Column:
    return (F.size(purchase_days_ago()) - 1).cast("bigint")


def _gaps() -> Column:
    days = purchase_days_ago()
    # The first purchase day has none before it. Slices of both, as Apache Spark reads the elements
    # of a column that it has stored at several times the cost (``purchase_days``).
    count = F.greatest(F.size(days) - 1, F.lit(0))
    day, before = F.slice(days, 1, count), F.slice(days, 2, count)
    # In pairs; inside the function the days would be gathered again for every one of them.
    pairs = F.arrays_zip(before.alias("before"), day.alias("day"))
    return F.transform(pairs, lambda pair: (pair["before"] - pair["day"]).cast("bigint"))


RHYTHM_FEATURES = (
    recency_days,
    tenure_days,
    gap_mean_days,
    gap_std_days,
    gap_longest_days,
    overdue_ratio,
)
