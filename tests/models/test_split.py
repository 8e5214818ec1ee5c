"""Splitting by time: nothing that judges has been seen, not even as a label."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.split import TooFewDates, split_by_time


@given(
    count=st.integers(1, 20),
    step=st.integers(1, 60),
    horizon=st.integers(1, 90),
    calibration=st.integers(1, 3),
    holdout=st.integers(1, 4),
)
def test_every_label_of_a_part_is_known_before_the_next_part_begins(
    count, step, horizon, calibration, holdout
):
    dates = [date(2026, 1, 1) + timedelta(days=step * i) for i in range(count)]
    try:
        split = split_by_time(dates, horizon, calibration, holdout)
    except TooFewDates:
        return
    for earlier, later in (
        (split.early, split.stopping),
        (split.fit, split.calibration),
        (split.calibration, split.holdout),
    ):
        assert max(earlier) + timedelta(days=horizon) <= min(later)
    assert split.stopping == split.fit[-1:]
    assert list(split.holdout) == dates[-holdout:]
    assert len(split.calibration) <= calibration


def test_dates_one_horizon_apart_are_all_used():
    dates = [date(2026, 1, 1) + timedelta(days=30 * i) for i in range(12)]
    split = split_by_time(dates, 30, calibration_count=1, holdout_count=3)
    assert split.fit + split.calibration + split.holdout == tuple(dates)


def test_dates_inside_a_gap_are_not_used():
    dates = [date(2026, 1, 1) + timedelta(days=15 * i) for i in range(12)]
    split = split_by_time(dates, 30, calibration_count=1, holdout_count=3)
    assert dates[8] not in split.fit + split.calibration + split.holdout


def test_a_window_that_is_too_short_says_what_to_change():
    with pytest.raises(TooFewDates, match="as_of_count"):
        split_by_time([date(2026, 1, 1), date(2026, 2, 1)], 30, 1, 1)
