"""Who the customer is."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.needs import needs


@needs("country")
def country() -> Column:
    """Country of the latest purchase day; the first by alphabet if it had several. Never null."""
    return F.col("latest_country")


PROFILE_FEATURES = (country,)
