"""The table of what a delivery's number of rows means."""

from datetime import date

import pytest

from expectations.volume import judge_volume, same_weekday_rows
from params import Validation

LIMITS = Validation(
    quarantine_budget_share=0.05, volume_weeks=8, volume_min_share=0.25, volume_max_share=4.0
)
USUAL = [90, 100, 110]


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
    volume = judge_volume(rows, trailing, is_closed_day, LIMITS)

    assert (volume.outcome, volume.is_refused) == (outcome, is_refused)
    assert (volume.finding is None) == (outcome == "usual")


def test_the_order_of_the_weeks_does_not_matter():
    weeks = [10, 500, 100, 90]
    assert judge_volume(30, weeks, False, LIMITS) == judge_volume(30, weeks[::-1], False, LIMITS)


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
    assert same_weekday_rows(date(2026, 4, 15), rows, weeks=8) == [3, 4, 5]
