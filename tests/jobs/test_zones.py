"""A shop in New York: its days, winter and summer, through the job that takes deliveries in."""

from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalog
from expectations.refusal import DeliveryRefused
from jobs import load_history
from params import Params, read_params
from settings import Settings

PARAMS = read_params()
WINTER, SUMMER = date(2026, 1, 15), date(2026, 7, 15)
# An hour is skipped on the first, and there twice on the second.
FORWARD, BACK = date(2026, 3, 8), date(2026, 11, 1)


def new_york(settings: Settings, **changes) -> Params:
    """A source whose times carry no zone; days are those of the clock on the wall."""
    zone = {"timezone": "America/New_York", "currency": "USD"}
    source = PARAMS.source(settings.source).model_copy(update=zone | changes)
    return PARAMS.model_copy(update={"sources": {settings.source: source}})


def deliver(settings: Settings, day: date, sold_at: list[datetime]) -> None:
    """Put down a line for each of these times, without a zone."""
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True)
    rows = [
        {
            "invoice": f"{day}-{number}",
            "product": "tea",
            "customer": f"c{number}",
            "quantity": 1,
            "unit_price": 2.5,
            "invoiced_at": at,
            "country": "USA",
        }
        for number, at in enumerate(sold_at)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")


def days_of_activity(root: Path) -> dict[date, set[date]]:
    """The business days on which something was bought, by the day of delivery."""
    found: dict[date, set[date]] = {}
    for path in (root / "lake/activity").rglob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            found.setdefault(row["known_on"], set()).add(row["activity_on"])
    return found


@pytest.mark.parametrize("ends_at", [time(0), time(4)], ids=str)
def test_the_first_and_the_last_minute_of_a_day_are_of_that_day(spark, settings, ends_at):
    days = [WINTER, FORWARD, SUMMER, BACK]
    for day in days:
        begins = datetime.combine(day, ends_at)
        deliver(settings, day, [begins, begins + timedelta(hours=23, minutes=59)])

    totals = load_history.run(spark, settings, new_york(settings, day_ends_at=ends_at), until=BACK)

    assert (totals["accepted"], totals["quarantined"]) == (8, {})
    assert days_of_activity(settings.data_root) == {day: {day} for day in days}


@pytest.mark.parametrize(("day", "hours"), [(WINTER, 5), (SUMMER, 4)])
def test_times_in_another_zone_than_said_are_recognised_by_how_far_they_lie_ahead(
    spark, settings, day, hours
):
    opens = datetime.combine(day, time(9)) + timedelta(hours=hours)
    deliver(settings, day, [opens + timedelta(minutes=9 * n) for n in range(100)])

    with pytest.raises(DeliveryRefused) as refused:
        load_history.run(spark, settings, new_york(settings), until=day)
    ahead = 100 - (24 - 9 - hours) * 60 // 9 - 1
    doubt = f"{ahead} of 100 lines lie in the future, most by up to {hours} hours: is timezone"
    assert doubt in str(refused.value)

    in_utc = new_york(settings, timestamp_timezone="UTC")
    assert load_history.run(spark, settings, in_utc, until=day)["accepted"] == 100
    assert days_of_activity(settings.data_root) == {day: {day}}


def test_the_delivery_of_another_day_is_not_taken_for_another_zone(spark, settings):
    begins = datetime.combine(SUMMER, time(0))
    deliver(settings, SUMMER, [begins + timedelta(minutes=28 * n) for n in range(100)])

    with pytest.raises(DeliveryRefused) as refused:
        load_history.run(spark, settings, new_york(settings), until=SUMMER)
    assert "not_in_future" in str(refused.value)
    assert "timezone" not in str(refused.value)
