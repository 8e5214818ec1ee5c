"""Make the deliveries of a shop that never was: one folder per day, the same for the same flags.

Writes incoming/transactions/<day>/part-0.parquet. Days that are already there are left alone. A
fault is one of nulls, anonymous, duplicates, wrong_types, missing_column, empty_day, no_delivery,
late_rows, future_rows, corrupt_file, shifted and concept, with its days and, if need be, the share
of rows:
--fault nulls:2026-04-03 --fault shifted:2026-04-04..2026-04-30:0.5
"""

import argparse
import logging
from datetime import date

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import catalog
from deliveries.faults import Fault, Faults
from deliveries.generator import Shop, days_between
from jobs.entry import add_days, job_parser, positive, start
from params import Params, read_params
from settings import Settings

log = logging.getLogger(__name__)


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValueError as error:
        # The parser shows the words of this error alone.
        raise argparse.ArgumentTypeError(str(error)) from error


PARSER = job_parser(__doc__, "--from 2026-03-01 --until 2026-04-03 --fault nulls:2026-04-02")
add_days(PARSER, required=True)
PARSER.add_argument("--customers", type=positive, default=4000, help="places for customers (4000)")
PARSER.add_argument("--seed", type=int, default=20241001, help="another seed is another shop")
PARSER.add_argument(
    "--fault", dest="faults", type=_fault, action="append", default=[], help="may be repeated"
)


def run(
    settings: Settings,
    params: Params,
    *,
    first: date,
    until: date,
    customers: int,
    seed: int,
    faults: Faults,
) -> dict:
    """Make the days that are not there yet; what tests call.

    Raises:
        ValueError: If ``until`` comes before ``first``.
    """
    if until < first:
        raise ValueError(f"--until {until} comes before --from {first}; there are no days to make")
    days = list(days_between(first, until))
    folders = {day: catalog.incoming_folder(settings.data_root, day) for day in days}
    missing = [day for day in days if not folders[day].exists()]

    shop = Shop(customers, seed, params.source(settings.source), faults)
    columns = (TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        rows = {
            day: shop.write_delivery(day, folders[day])
            for day in progress.track(missing, description="")
        }

    for fault in faults.faults:
        if not any(day in fault for day in missing):
            log.warning("%s touches no day that was made; remove the folders to make them", fault)
    left_alone = len(days) - len(missing)
    log.info("%d days made, %d were already there and left alone", len(missing), left_alone)
    return {
        "days": len(missing),
        "left_alone": left_alone,
        "lines": sum(count or 0 for count in rows.values()),
    }


def main(arguments: argparse.Namespace) -> dict:
    """Start the job from the command line."""
    return run(
        Settings(),
        read_params(),
        first=arguments.first,
        until=arguments.until,
        customers=arguments.customers,
        seed=arguments.seed,
        faults=Faults(tuple(arguments.faults)),
    )


if __name__ == "__main__":
    start(PARSER, main)
