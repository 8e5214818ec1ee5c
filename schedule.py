"""When a night starts and which day it describes, by the clock of the source."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import catalog
from params import WEEKDAYS, Source

NIGHT_STARTS_AFTER = timedelta(hours=2)
"""From the end of a business day: what it sold is on its way by then."""


def starts_at(source: Source) -> time:
    """What the clock of the source shows when a night starts, to the minute."""
    since_midnight = source.after_midnight + NIGHT_STARTS_AFTER
    return (datetime.combine(date.min, time()) + since_midnight).time().replace(second=0)


def cron(source: Source) -> str:
    """The same as a cron expression, in the zone of the source."""
    at = starts_at(source)
    # Cron begins its week on Sunday, and a night starts on the morning after its day.
    mornings = [
        str((number + 2) % 7)
        for number, weekday in enumerate(WEEKDAYS)
        if weekday not in source.closed_weekdays
    ]
    weekdays = ",".join(sorted(mornings)) if source.closed_weekdays else "*"
    return f"{at.minute} {at.hour} * * {weekdays}"


def has_night(source: Source, root: Path, day: date) -> bool:
    """Whether that day has a night: a closed weekday has none, unless something was put down."""
    return source.trades_on(day) or catalog.incoming_folder(root, day).exists()


def start_of_night(source: Source, score_date: date) -> datetime:
    """The instant at which the schedule starts the night of a day, in UTC.

    As Airflow does, it takes the later one where the clock goes back and shows the time twice, and
    moves a time on that the clock leaves out.
    """
    morning = datetime.combine(score_date + timedelta(days=1), starts_at(source))
    zone = ZoneInfo(source.timezone)
    return max(morning.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


def day_ended_before(source: Source, moment: datetime) -> date:
    """The last business day with trade that had ended at a moment."""
    on_the_clock = moment.astimezone(ZoneInfo(source.timezone)).replace(tzinfo=None)
    return source.trading_day((on_the_clock - source.after_midnight).date() - timedelta(days=1))
