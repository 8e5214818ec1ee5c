"""What ``make run`` begins with, without running it: which nights, and what it refuses at once."""

import shlex
from datetime import date

import pytest

import catalog
from errors import WrongInput
from local.run import nights_to_run, step
from params import read_params

PARAMS = read_params()


@pytest.fixture
def delivered(settings):
    """``delivered(4, 5)`` is an old shop with deliveries of these days of September 2011."""
    settings = settings.model_copy(update={"source": "online_retail_ii"})

    def put(*days: int, first=date(2009, 12, 1)):
        for day in (first, *(date(2011, 9, day) for day in days)):
            catalog.incoming_folder(settings.data_root, day).mkdir(parents=True)
        return settings

    return put


def test_nights_are_the_first_delivered_days_in_a_row_after_the_training(delivered):
    shop = delivered(4, 6, 7, 9)
    assert nights_to_run(shop, PARAMS, 3) == [date(2011, 9, 6), date(2011, 9, 7)]
    assert nights_to_run(shop, PARAMS, 1) == [date(2011, 9, 6)]


def test_closed_weekdays_are_no_nights_unless_they_were_delivered(delivered):
    """The 4th was a Sunday."""
    shop = delivered(2, 4, 7, 8)
    shut = PARAMS.source(shop.source).model_copy(
        update={"closed_weekdays": ["monday", "tuesday"], "training_until": date(2011, 9, 2)}
    )
    params = PARAMS.model_copy(update={"sources": {shop.source: shut}})
    # Nothing came for the Saturday.
    assert nights_to_run(shop, params, 3) == [date(2011, 9, 4), date(2011, 9, 7), date(2011, 9, 8)]


def test_the_command_that_a_step_shows_can_be_copied_into_a_shell(capsys, monkeypatch):
    monkeypatch.setenv("SCORING_SOURCE", "till export")
    step("Platform", "Says on what it runs.", "platform", "first model")
    [shown] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("$ ")]
    words = shlex.split(shown.removeprefix("$ "))
    assert words == ["SCORING_SOURCE=till export", "python", "-m", "platform", "first model"]


def test_a_generated_source_needs_no_deliveries(settings):
    assert nights_to_run(settings, PARAMS, 2) == [date(2026, 4, 1), date(2026, 4, 2)]


def test_a_source_without_deliveries_is_told_how_to_lay_them_out(settings):
    empty = settings.model_copy(update={"source": "online_retail_ii"})
    with pytest.raises(WrongInput, match=r"describe_source FILE --name online_retail_ii --into"):
        nights_to_run(empty, PARAMS, 3)


@pytest.mark.parametrize(("days", "first"), [((3, 4), 1), ((6, 7), 5)])
def test_a_source_needs_days_before_and_after_the_end_of_its_training(delivered, days, first):
    with pytest.raises(WrongInput, match="training wants some up to 2011-09-04, and nights"):
        nights_to_run(delivered(*days, first=date(2011, 9, first)), PARAMS, 3)


def test_a_history_that_is_too_short_to_train_on_is_said_before_any_work(delivered):
    shop = delivered(4, 5, first=date(2010, 12, 1))
    with pytest.raises(WrongInput, match=r"278 days .* Set training.history_days .* to 124"):
        nights_to_run(shop, PARAMS, 3)


def test_an_unknown_source_is_named_with_those_there_are(settings):
    unknown = settings.model_copy(update={"source": "till"})
    with pytest.raises(WrongInput, match=r"no source 'till', only \['generated'"):
        nights_to_run(unknown, PARAMS, 3)
