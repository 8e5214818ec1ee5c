"""By how much a night's probabilities are moved, and what that leaves alone."""

import math
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake import write_json
from models.bundle import TIE_TOLERANCE
from models.calibration import Calibration
from models.season import YEAR, Season, moved, read_levels

SUMMER, WINTER = date(2025, 6, 1), date(2025, 12, 1)
LEVELS = {SUMMER: -1.0, WINTER: -0.5}
SEASON = Season(LEVELS, (SUMMER + YEAR,))

steps = st.floats(-3, 3)


def test_a_night_is_moved_as_the_odds_changed_a_year_ago():
    assert SEASON.step(WINTER + YEAR) == 0.5


def test_on_a_date_of_the_calibration_nothing_is_moved():
    assert SEASON.step(SUMMER + YEAR) == 0.0


def test_between_two_counted_dates_the_level_goes_straight():
    halfway = SUMMER + (WINTER - SUMMER) / 3
    assert SEASON.level(halfway + YEAR) == pytest.approx(-1.0 + 0.5 / 3)


def test_of_several_dates_of_calibration_the_mean_is_the_level():
    season = Season(LEVELS, (SUMMER + YEAR, WINTER + YEAR))
    assert (season.step(SUMMER + YEAR), season.step(WINTER + YEAR)) == (-0.25, 0.25)


def test_dates_of_calibration_before_the_first_count_are_left_out_of_the_mean():
    season = Season(LEVELS, (SUMMER + YEAR - timedelta(1), SUMMER + YEAR))
    assert season.step(WINTER + YEAR) == 0.5


def test_an_old_model_looks_two_years_back():
    """A year before the night nothing was counted yet when it was trained."""
    assert SEASON.step(WINTER + 2 * YEAR) == 0.5


@pytest.mark.parametrize(
    ("levels", "calibrated_on", "night"),
    [
        ({}, (SUMMER + YEAR,), WINTER + YEAR),
        (LEVELS, (), WINTER + YEAR),
        (LEVELS, (SUMMER,), WINTER + YEAR),
        (LEVELS, (SUMMER + YEAR,), SUMMER + YEAR - timedelta(1)),
    ],
)
def test_what_was_not_counted_moves_nobody(levels, calibrated_on, night):
    assert Season(levels, calibrated_on).step(night) == 0.0


def test_whether_a_season_is_known_is_a_question_of_the_calibration():
    assert SEASON.is_known
    assert not Season(LEVELS, (SUMMER,)).is_known
    assert not Season({}, (SUMMER + YEAR,)).is_known


def test_counts_become_log_odds_also_where_nobody_or_everybody_did(tmp_path):
    counts = {
        "2025-12-01": {"customers": 500, "came_true": 500},
        "2025-06-01": {"customers": 500, "came_true": 0},
        "2025-09-01": {"customers": 1001, "came_true": 250},
    }
    write_json(tmp_path / "season.json", counts)
    levels = read_levels(tmp_path / "season.json")
    assert list(levels) == [SUMMER, date(2025, 9, 1), WINTER]
    assert levels[SUMMER] == -levels[WINTER] == pytest.approx(math.log(0.5 / 500.5))
    assert levels[date(2025, 9, 1)] == pytest.approx(math.log(250.5 / 751.5))


def test_of_a_date_with_few_customers_the_level_is_not_taken(tmp_path):
    counts = {
        "2025-06-01": {"customers": 500, "came_true": 125},
        "2025-06-08": {"customers": 499, "came_true": 400},
    }
    write_json(tmp_path / "season.json", counts)
    assert list(read_levels(tmp_path / "season.json")) == [SUMMER]


def test_a_bundle_of_older_code_has_no_counts_and_no_steps(tmp_path):
    assert read_levels(tmp_path / "season.json") == {}


@given(st.lists(st.floats(0, 1), min_size=1), steps)
def test_moved_back_a_probability_is_what_it_was(probabilities, step):
    there = moved(np.array(probabilities), step)
    assert ((there >= 0) & (there <= 1)).all()
    assert moved(there, -step) == pytest.approx(probabilities, abs=1e-12)


def test_a_missing_probability_stays_missing_and_each_row_moves_with_its_own_date():
    as_of = pa.chunked_array([[WINTER + YEAR, WINTER + YEAR, SUMMER + YEAR]])
    found = SEASON.move(np.array([np.nan, 0.5, 0.5]), as_of)
    assert np.isnan(found[0])
    assert found[1:].tolist() == [pytest.approx(1 / (1 + math.exp(-0.5))), 0.5]


@dataclass(frozen=True)
class Scores:
    """What some calibration makes of margins in float32, among them equal ones."""

    calibration: Calibration
    margins: np.ndarray
    threshold: float


@st.composite
def scores(draw) -> Scores:
    calibration = Calibration(draw(st.floats(0.1, 3)), draw(st.floats(-2, 2)))
    few = st.integers(-40, 40).map(lambda n: n / 10)
    margins = np.array(draw(st.lists(few, min_size=1, max_size=30)), dtype=np.float32)
    chosen = draw(st.sampled_from(calibration.probability(margins).tolist()))
    return Scores(calibration, margins, chosen)


@given(scores(), steps)
def test_whoever_reaches_the_threshold_does_so_in_every_season(given_scores, step):
    """The threshold is a score that some of them have."""
    calibration = given_scores.calibration
    before = calibration.probability(given_scores.margins) >= given_scores.threshold
    threshold = moved(given_scores.threshold, step) - TIE_TOLERANCE
    after = calibration.moved(step).probability(given_scores.margins) >= threshold
    assert after.tolist() == before.tolist()


@given(scores(), steps)
def test_a_calibration_that_is_moved_gives_the_probabilities_moved(given_scores, step):
    calibration, margins = given_scores.calibration, given_scores.margins
    expected = moved(calibration.probability(margins), step)
    assert calibration.moved(step).probability(margins) == pytest.approx(expected, abs=1e-12)
