"""Where days are cut: in the time zone of the business, at midnight or at a later hour."""

from datetime import time

from pyspark.sql import Column
from pyspark.sql import functions as F

MICROS = 1_000_000


def business_day(instant: str, timezone: str, day_ends_at: time) -> Column:
    """The business day of ``instant``, a column of UTC timestamps.

    Args:
        timezone: The zone of the clock on the wall.
        day_ends_at: What that clock shows when a day ends. At 04:00, half past one in the morning
            belongs to the day before.
    """
    local = F.from_utc_timestamp(instant, timezone)
    if day_ends_at == time(0):
        return F.to_date(local)
    seconds = (day_ends_at.hour * 60 + day_ends_at.minute) * 60 + day_ends_at.second
    return F.to_date(F.timestamp_micros(F.unix_micros(local) - F.lit(seconds * MICROS)))
