"""Who the customer is."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.windows import is_purchase


def country() -> Column:
    """Country of the latest purchase day; the first by alphabet if it had several. Never null."""
    return F.min(F.when(is_purchase(), F.struct("days_ago", "country")))["country"]


PROFILE_FEATURES = (country,)
