"""Tests of schedule.py: the clock of a source, held against Airflow's own timetable."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import pytest
from pendulum import instance

from params import read_params
from schedule import cron, day_ended_before, start_of_night

GENERATED = read_params().source("generated")


def shop(timezone: str, day_ends_at: str = "00:00", closed_weekdays: Sequence[str] = ()):
    changes = {
        "timezone": timezone,
        "day_ends_at": time.fromisoformat(day_ends_at),
        "closed_weekdays": list(closed_weekdays),
    }
    return GENERATED.model_copy(update=changes)


# Days on which a clock goes forward or back, of zones that do it at midnight, at two and at three.
CHANGES = {
    "Europe/London": ("2026-03-29", "2026-10-25"),
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "America/Santiago": ("2026-04-04", "2026-09-06"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "Asia/Kolkata": ("2026-07-01",),
}


@pytest.mark.parametrize("closed", [(), ("sunday",), ("monday", "saturday", "wednesday")])
@pytest.mark.parametrize("day_ends_at", ["00:00", "00:30", "04:15"])
@pytest.mark.parametrize("zone", CHANGES)
def test_a_night_by_hand_is_dated_as_the_schedule_would_have_dated_it(zone, day_ends_at, closed):
    from airflow.timetables.base import DataInterval, TimeRestriction
    from airflow.timetables.trigger import CronTriggerTimetable

    source = shop(zone, day_ends_at, closed)
    timetable = CronTriggerTimetable(cron(source), timezone=zone)
    for changed_on in map(date.fromisoformat, CHANGES[zone]):
        every = [changed_on + timedelta(days=n) for n in range(-4, 4)]
        nights = [day for day in every if f"{day:%A}".lower() not in closed]
        started = instance(start_of_night(source, nights[0]))
        for night in nights[1:]:
            following = timetable.next_dagrun_info(
                last_automated_data_interval=DataInterval(started, started),
                restriction=TimeRestriction(None, None, catchup=True),
            )
            started = following.run_after
            assert start_of_night(source, night) == started
            assert day_ended_before(source, started) == night


def test_a_night_starts_two_hours_after_the_day_has_ended():
    assert cron(shop("America/New_York")) == "0 2 * * *"
    assert cron(shop("America/New_York", "04:30")) == "30 6 * * *"
    winter, summer = date(2026, 1, 15), date(2026, 7, 15)
    assert (
        start_of_night(shop("America/New_York"), winter).isoformat() == "2026-01-16T07:00:00+00:00"
    )
    assert (
        start_of_night(shop("America/New_York"), summer).isoformat() == "2026-07-16T06:00:00+00:00"
    )


def test_a_day_that_is_not_over_on_the_clock_of_the_shop_is_not_described():
    bar = shop("America/New_York", "04:00")
    # 03:59 and 04:00 of 2 July in New York.
    assert day_ended_before(bar, datetime(2026, 7, 2, 7, 59, tzinfo=UTC)) == date(2026, 6, 30)
    assert day_ended_before(bar, datetime(2026, 7, 2, 8, 0, tzinfo=UTC)) == date(2026, 7, 1)


def test_a_run_on_the_morning_after_a_closed_weekday_describes_the_day_of_trade_before():
    source = shop("Europe/London", closed_weekdays=["saturday", "sunday"])
    monday = datetime(2026, 7, 6, 9, tzinfo=UTC)
    assert day_ended_before(source, monday) == date(2026, 7, 3)
