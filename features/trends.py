"""Whether the customer buys more or less than before.

Each is the difference of two daily rates over their sum: -1 stopped, 0 steady, 1 nothing before.
"""

from pyspark.sql import Column

from features.windows import change, purchase_days, total


def purchase_days_trend_30d() -> Column:
    """Purchase days, the last 30 days against the 60 before, -1 to 1. Null if there were none."""
    recent = purchase_days(30)
    return change(recent, 30, purchase_days(90) - recent, 60)


def purchase_days_trend_90d() -> Column:
    """Purchase days, the last 90 days against the 275 before, -1 to 1. Null if there were none."""
    recent = purchase_days(90)
    return change(recent, 90, purchase_days(365) - recent, 275)


def spend_trend_30d() -> Column:
    """Value bought, the last 30 days against the 60 before, -1 to 1. Null if nothing was bought."""
    recent = total("purchase_micros", 30)
    return change(recent, 30, total("purchase_micros", 90) - recent, 60)


TRENDS_FEATURES = (purchase_days_trend_30d, purchase_days_trend_90d, spend_trend_30d)
