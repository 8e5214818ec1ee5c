"""What ``make run`` begins with, without running it: which nights, and what it refuses at once."""

from datetime import date

import pytest

import catalog
from errors import WrongInput
from local.run import nights_to_run
from params import read_params

PARAMS = read_params()


@pytest.fixture
def delivered(settings):
    """``delivered(4, 5)`` is a shop with deliveries of these days of September 2011."""
    settings = settings.model_copy(update={"source": "online_retail_ii"})

    def put(*days: int):
        for day in days:
            catalog.incoming_folder(settings.data_root, date(2011, 9, day)).mkdir(parents=True)
        return settings

    return put


def test_nights_are_the_first_delivered_days_in_a_row_after_the_training(delivered):
    shop = delivered(4, 6, 7, 9)
    assert nights_to_run(shop, PARAMS, 3) == [date(2011, 9, 6), date(2011, 9, 7)]
    assert nights_to_run(shop, PARAMS, 1) == [date(2011, 9, 6)]


def test_a_generated_source_needs_no_deliveries(settings):
    assert nights_to_run(settings, PARAMS, 2) == [date(2026, 4, 1), date(2026, 4, 2)]


def test_a_source_without_deliveries_is_told_how_to_lay_them_out(delivered):
    with pytest.raises(WrongInput, match=r"describe_source FILE --name online_retail_ii --into"):
        nights_to_run(delivered(), PARAMS, 3)


@pytest.mark.parametrize("days", [(3, 4), (5, 6)])
def test_a_source_needs_days_before_and_after_the_end_of_its_training(delivered, days):
    with pytest.raises(WrongInput, match="training wants some up to 2011-09-04, and nights"):
        nights_to_run(delivered(*days), PARAMS, 3)


def test_an_unknown_source_is_named_with_those_there_are(settings):
    unknown = settings.model_copy(update={"source": "till"})
    with pytest.raises(WrongInput, match=r"no source 'till', only \['generated'"):
        nights_to_run(unknown, PARAMS, 3)
