"""Lines that are dated after the day of their delivery: by how much, and what that looks like."""

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.split import QUARANTINED
from params import MICROS, Source

HOUR, DAY = 3_600 * MICROS, 86_400 * MICROS

FARTHEST_ZONE_HOURS = 14
MOST = 0.9


def hours_ahead(tagged: DataFrame, source: Source) -> dict[date, dict[int, int]]:
    """Lines in the future by day of delivery and by the hours begun since that day ended.

    Args:
        tagged: As ``split.split_lines`` gives it.
    """
    since_midnight = source.after_midnight // timedelta(microseconds=1)
    local = F.unix_micros(F.from_utc_timestamp("invoiced_at", source.timezone))
    ended = (F.unix_date("known_on").cast("bigint") + 1) * DAY + since_midnight
    hours = (F.floor((local - ended) / HOUR) + 1).cast("int")

    future = tagged.where((F.col("outcome") == QUARANTINED) & (F.col("days_late") < 0))
    found: dict[date, dict[int, int]] = {}
    for row in future.groupBy("known_on", hours.alias("hours")).count().collect():
        found.setdefault(row.known_on, {})[row.hours] = row["count"]
    return found


def zone_doubt(ahead: Mapping[int, int], rows: int) -> str | None:
    """A sentence if so many hours are what two time zones differ by; null if it is not that.

    Args:
        ahead: Lines in the future by the hours begun since the day ended.
        rows: All lines of the delivery.

    >>> zone_doubt({5: 300, 4: 500, 1: 400, 23: 4}, rows=4800)
    '1,204 of 4,800 lines lie in the future, most by up to 5 hours: is timezone right?'
    >>> zone_doubt({hour: 50 for hour in range(1, 25)}, rows=4800)  # of the next day
    """
    lines, within = sum(ahead.values()), 0
    for hours in range(1, FARTHEST_ZONE_HOURS + 1):
        within += ahead.get(hours, 0)
        if lines and within >= MOST * lines:
            unit = "an hour" if hours == 1 else f"{hours} hours"
            return (
                f"{lines:,} of {rows:,} lines lie in the future, most by up to {unit}: "
                "is timezone right?"
            )
    return None
