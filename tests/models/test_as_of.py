"""Dates that may not teach: too little history, or wrong days."""

from datetime import date, timedelta

import pytest

from models.as_of import left_out
from params import FIRST_QUESTION, read_params

TRAINING = read_params().training.model_copy(
    update={"question": FIRST_QUESTION, "history_days": 90, "wrong_day_reach": 7}
)
FIRST_DELIVERY = date(2025, 1, 1)


@pytest.mark.parametrize(("days_after", "is_used"), [(88, False), (89, True)])
def test_a_date_whose_windows_reach_before_the_first_delivery_is_left_out(days_after, is_used):
    day = FIRST_DELIVERY + timedelta(days=days_after)
    without = left_out([day], TRAINING, FIRST_DELIVERY, {})
    assert without == ({} if is_used else {day: "89 of 90 days of deliveries"})


@pytest.mark.parametrize(
    ("days_before", "is_used"), [(31, True), (30, False), (-6, False), (-7, True)]
)
def test_a_wrong_day_leaves_out_the_labels_and_the_newest_features_it_is_in(days_before, is_used):
    wrong = date(2026, 4, 1)
    day = wrong - timedelta(days=days_before)
    without = left_out([day], TRAINING, FIRST_DELIVERY, {wrong: "no delivery"})
    assert without == ({} if is_used else {day: "2026-04-01: no delivery"})
