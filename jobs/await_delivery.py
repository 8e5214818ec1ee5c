"""Look whether the delivery of the night is there.

Reads the names in incoming/transactions/<score date>. Exits with 75 (try again later) when the
delivery is not there or not whole yet, which is what the sensor asks for; the log names the path.
"""

import argparse
import logging
import os
import sys
from datetime import date

import catalog
from deliveries.receive import DeliveryMissing, data_files
from errors import BadData
from jobs.entry import night_parser, start
from params import Params, read_params
from schedule import has_night
from settings import Settings

log = logging.getLogger(__name__)

PARSER = night_parser(__doc__)


class ShopClosed(BadData):
    """The night of a closed weekday was asked for, and nothing was delivered for it."""


def run(settings: Settings, params: Params, score_date: date) -> dict:
    """Look once; what tests call.

    Raises:
        DeliveryMissing: If the delivery is not there or not whole yet.
        ShopClosed: If there is none to wait for.
    """
    source = params.source(settings.source)
    folder = catalog.incoming_folder(settings.data_root, score_date)
    if not has_night(source, settings.data_root, score_date):
        raise ShopClosed(
            f"{score_date} is a {score_date:%A}, on which {settings.source} never trades "
            "(closed_weekdays in params.yaml), and nothing was delivered for it: the night of "
            f"{source.trading_day(score_date)} stands until the next. Was the shop open, have the "
            f"day delivered at {folder} and trigger the night again."
        )
    files = data_files(folder, source.format)
    return {"score_date": score_date, "files": len(files)}


def main(arguments: argparse.Namespace) -> dict:
    """Start the job from the command line."""
    try:
        return run(Settings(), read_params(), arguments.score_date)
    except DeliveryMissing as error:
        log.info("%s", error)
        sys.exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    start(PARSER, main)
