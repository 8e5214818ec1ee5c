"""The table of what a delivery's number of rows means."""

from datetime import date

import pytest

from expectations.volume import Dated, Volume, judge_volume, same_weekday
from params import Validation

DAY = date(2026, 4, 15)
LIMITS = Validation(
    quarantine_budget_share=0.05,
    volume_weeks=8,
    volume_min_share=0.25,
    volume_max_share=4.0,
    late_max_share=0.5,
    overlap_days=7,
    overlap_max_share=0.5,
    copies_max_share=0.25,
)
USUAL = [90, 100, 110]


def judged(rows, trailing, is_closed_day=False) -> Volume:
    """The verdict on a delivery with rows of its day only, as those before."""
    before = [Dated(count, 0) for count in trailing]
    return judge_volume(DAY, {DAY: rows} if rows else {}, before, is_closed_day, LIMITS)


@pytest.mark.parametrize(
    ("rows", "trailing", "is_closed_day", "outcome", "is_refused"),
    [
        (100, USUAL, False, "usual", False),
        (25, USUAL, False, "usual", False),
        (24, USUAL, False, "thin", True),
        (400, USUAL, False, "usual", False),
        (401, USUAL, False, "huge", False),
        (0, USUAL, False, "empty", True),
        # One odd week among eight does not move the median.
        (100, [100, 0, 100, 100_000, 100], False, "usual", False),
        # The shop was shut, as was known before; it sold after all.
        (0, USUAL, True, "usual", False),
        (10, USUAL, True, "usual", False),
        (401, USUAL, True, "huge", False),
        (0, [], True, "usual", False),
        # It is always shut on this weekday; it sold for once.
        (0, [0, 0, 0], False, "usual", False),
        (5, [0, 0, 0], False, "huge", False),
        # Too little to judge by, but something is known of nothing.
        (0, [], False, "unknown", False),
        (7, [], False, "unknown", False),
        (1, [100, 100], False, "unknown", False),
        (0, [100], False, "empty", True),
    ],
)
def test_what_the_number_of_rows_means(rows, trailing, is_closed_day, outcome, is_refused):
    volume = judged(rows, trailing, is_closed_day)

    assert (volume.outcome, volume.refusal is not None) == (outcome, is_refused)
    assert (volume.finding is None) == (outcome == "usual")


def test_the_order_of_the_weeks_does_not_matter():
    weeks = [10, 500, 100, 90]
    assert judged(30, weeks) == judged(30, weeks[::-1])


def test_a_delivery_is_compared_with_its_weekday_in_the_weeks_before():
    rows = {
        date(2026, 4, 15): 1,  # the day itself
        date(2026, 4, 14): 2,  # another weekday
        date(2026, 4, 8): 3,
        date(2026, 3, 25): 4,  # with a week without a delivery between
        date(2026, 2, 18): 5,  # eight weeks before
        date(2026, 2, 11): 6,  # nine
        date(2026, 4, 22): 7,  # a week later
    }
    before = {day: Dated(count, 0) for day, count in rows.items()}
    assert [one.of_the_day for one in same_weekday(DAY, before, weeks=8)] == [3, 4, 5]


YESTERDAY, LAST_MONTH = date(2026, 4, 14), date(2026, 3, 15)


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        # As many rows as ever, but of the day only some.
        ({DAY: 24, YESTERDAY: 76}, "thin"),
        ({DAY: 25, YESTERDAY: 75}, "late"),
        ({DAY: 50, YESTERDAY: 50}, "usual"),
        ({YESTERDAY: 100}, "misdated"),
        ({LAST_MONTH: 100}, "misdated"),
        # Of the unreadable and of those still to come other rules take care.
        ({None: 100}, "thin"),
        ({date(2026, 4, 16): 100}, "thin"),
    ],
)
def test_only_the_lines_of_the_day_make_the_volume_of_a_day(rows, outcome):
    volume = judge_volume(DAY, rows, [Dated(100, 0)] * 3, False, LIMITS)
    assert volume.outcome == outcome


def test_where_lines_are_always_late_that_is_usual():
    rows = {DAY: 40, YESTERDAY: 60}
    assert judge_volume(DAY, rows, [Dated(40, 60)] * 3, False, LIMITS).outcome == "usual"
    assert judge_volume(DAY, rows, [Dated(40, 0)] * 3, False, LIMITS).outcome == "late"


def test_a_weekday_on_which_nothing_is_sold_may_bring_late_lines_only():
    assert judge_volume(DAY, {YESTERDAY: 9}, [Dated(0, 5)] * 3, False, LIMITS).outcome != "misdated"
    assert judge_volume(DAY, {YESTERDAY: 9}, [], True, LIMITS).outcome == "usual"
    assert judge_volume(DAY, {YESTERDAY: 9}, [], False, LIMITS).outcome == "misdated"
