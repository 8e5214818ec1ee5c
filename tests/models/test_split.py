"""Splitting by time: nothing that judges has been seen, not even as a label."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.split import TooFewDates, split_by_time


@given(
    count=st.integers(1, 60),
    step=st.integers(1, 60),
    horizon=st.integers(1, 90),
    holdout=st.integers(1, 6),
)
def test_every_label_that_is_learnt_is_known_before_the_holdout_begins(
    count, step, horizon, holdout
):
    dates = [date(2026, 1, 1) + timedelta(days=step * i) for i in range(count)]
    try:
        split = split_by_time(dates, horizon, holdout)
    except TooFewDates:
        assert dates[0] + timedelta(days=horizon) > dates[-holdout:][0]
        return
    assert max(split.fit) + timedelta(days=horizon) <= min(split.holdout)
    assert list(split.holdout) == dates[-holdout:]
    assert list(split.live) == dates


def test_dates_inside_the_gap_teach_only_the_live_fit():
    dates = [date(2026, 1, 1) + timedelta(days=15 * i) for i in range(12)]
    split = split_by_time(dates, 30, holdout_count=3)
    assert dates[8] not in split.fit + split.holdout
    assert dates[8] in split.live


def test_a_window_that_is_too_short_says_what_was_left_out_and_what_to_do():
    days = [date(2026, 1, 1), date(2026, 2, 1)]
    without = {date(2025, 12, 1): "12 of 90 days of deliveries"}
    with pytest.raises(
        TooFewDates,
        match=r"2 as-of dates .* 2025-12-01 \(12 of 90 days.*training.history_days.*as_of_count",
    ):
        split_by_time(days, 30, 2, without)


def test_no_date_at_all_is_too_few_and_not_a_fault():
    with pytest.raises(TooFewDates, match="0 as-of dates"):
        split_by_time([], 30, 2)
