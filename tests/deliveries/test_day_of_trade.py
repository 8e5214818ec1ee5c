"""The day that a row is laid out under is the day that a night's engine reads."""

from datetime import date, datetime, time

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from deliveries.day_of_trade import PatternUnknown, days_of_trade, translated
from deliveries.time_patterns import PATTERNS
from params import read_params

SOURCE = read_params().source("generated")
MOMENT = datetime(2026, 3, 31, 21, 5, 9)  # noqa: DTZ001


def day_of(text, **changes):
    """The day of a time that was delivered as text."""
    texts = pa.array([text])
    return days_of_trade(texts, texts, "text", SOURCE.model_copy(update=changes))[0].item()


def written(pattern):
    """The moment as text by one of Spark's patterns."""
    text = MOMENT.strftime(translated(pattern)[1])
    return text if pattern.endswith("SSSSSS") else text.replace(".000000", ".000")


def test_engines_read_every_pattern_that_is_tried_as_it_is_read_here(spark):
    rows = [(pattern, written(pattern)) for pattern in PATTERNS]
    columns = [F.to_date(F.try_to_timestamp(F.lit(text), F.lit(pattern))) for pattern, text in rows]
    [read] = spark.range(1).select(F.array(*columns)).collect()
    wrong = [row for row, day in zip(rows, read[0], strict=True) if day != MOMENT.date()]
    assert wrong == []
    assert {day_of(text, timestamp_format=pattern) for pattern, text in rows} == {MOMENT.date()}


@pytest.mark.parametrize(
    ("text", "changes", "day"),
    [
        ("2026-04-01 00:30:00", {}, date(2026, 4, 1)),
        ("2026-03-31T23:30:00Z", {}, date(2026, 4, 1)),
        ("2026-03-31 23:30:00 -0100", {}, date(2026, 4, 1)),
        ("2026-04-01 03:59:59", {"day_ends_at": time(4)}, date(2026, 3, 31)),
        ("2026-03-29 01:30:00", {"day_ends_at": time(1, 30)}, date(2026, 3, 29)),
        ("2026-02-31 10:00:00", {}, None),
        ("soon", {}, None),
    ],
)
def test_the_day_ends_by_the_clock_of_the_shop(text, changes, day):
    assert day_of(text, **changes) == day


def test_timestamps_of_parquet_have_their_day():
    times = pa.array([MOMENT, None], pa.timestamp("ns"))
    texts = pa.array(["", None])
    assert list(days_of_trade(times, texts, "naive", SOURCE)[:1]) == [np.datetime64("2026-03-31")]
    zoned = times.cast(pa.timestamp("us", "America/New_York"))
    assert np.isnat(days_of_trade(zoned, texts, "zoned", SOURCE)[1])


def test_a_pattern_that_cannot_be_translated_is_named():
    with pytest.raises(PatternUnknown, match="'EEE'"):
        translated("EEE dd.MM.yyyy")
