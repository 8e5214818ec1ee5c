"""Where days are cut: at midnight in the time zone of the business."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def business_day(instant: str, timezone: str) -> Column:
    """The date on which ``instant``, a column of UTC timestamps, falls in ``timezone``."""
    return F.to_date(F.from_utc_timestamp(instant, timezone))
