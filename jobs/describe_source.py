"""Look at a table of transactions, say what it is like, and write its entry into params.yaml.

Reads a file or a folder of files (CSV or Parquet). Shows how it is written, which column looks like
what, and what all of it holds. Writes a commented entry below `sources`, with a question mark where
it is not sure; an entry that is there already is used as it stands. With --into, the table is laid
out there as daily deliveries: transactions/<day>/part-0.csv or .parquet. Days that are there
already are left alone.

    python -m jobs.describe_source till.csv --name till_export --into data/till_export/incoming
"""

import argparse
import logging
import re
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from zoneinfo import available_timezones

import yaml
from rich.console import Console
from rich.table import Table

from deliveries.draft import entry_comments, entry_fields, entry_text, with_entry
from deliveries.layout import lay_out
from deliveries.recognise import Recognised, recognise
from deliveries.survey import Survey, survey
from deliveries.table import TableUnfit, check_readable, table_files
from expectations.volume import Dated, judge_volume, same_weekday
from jobs.entry import existing, job_parser, start
from models.as_of import as_of_dates, left_out
from models.split import TooFewDates, split_by_time
from params import (
    PARAMS_FILE,
    WEEKDAYS,
    Columns,
    Params,
    Source,
    Weekday,
    read_params,
    weekday,
)

NIGHTS_LEFT = 3
"""The days at the end that are left to be scored."""

LEAST_WEEKS = 4
"""A table of fewer does not tell on which weekdays a shop is never open."""

DAYS_SHOWN = 5

log = logging.getLogger(__name__)


def named_column(text: str) -> tuple[str, str]:
    """Our name and the source's in ``customer_id=loyalty_card``."""
    ours, equals, theirs = text.partition("=")
    if not equals or ours not in Columns.model_fields:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not OURS=THEIRS, with one of {list(Columns.model_fields)} before it"
        )
    return ours, theirs


def zone(text: str) -> str:
    """The name of a time zone."""
    if text not in available_timezones():
        raise argparse.ArgumentTypeError(f"no time zone is called {text!r}, but Europe/Berlin is")
    return text


def currency(text: str) -> str:
    """The code of a currency."""
    if not re.fullmatch("[A-Z]{3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no code of a currency such as EUR")
    return text


PARSER = job_parser(__doc__, "till.csv --name till_export --into data/till_export/incoming")
PARSER.add_argument("table", type=existing, metavar="FILE-OR-FOLDER")
PARSER.add_argument("--name", required=True, help="of the source, such as till_export")
PARSER.add_argument("--into", type=Path, help="folder for daily deliveries")
PARSER.add_argument(
    "--column",
    dest="columns",
    type=named_column,
    action="append",
    default=[],
    metavar="OURS=THEIRS",
    help="a column by name, such as customer_id=card; may be repeated",
)
PARSER.add_argument("--timezone", type=zone, help="of the shop, such as Europe/Berlin")
PARSER.add_argument("--currency", type=currency, help="of all amounts, such as EUR")


def run(
    params_file: Path,
    path: Path,
    name: str,
    *,
    into: Path | None = None,
    named: Mapping[str, str] | None = None,
    timezone: str | None = None,
    currency: str | None = None,
) -> dict:
    """Do the job; what tests call.

    Raises:
        TableUnfit: If the table, or a column that every table must have, is not found.
        OverlapDiffers: If files that should overlap differ.
        DeliveryUnreadable: If a file is damaged.
    """
    params = read_params(params_file)
    format, files = table_files(path)
    if name in params.sources:
        source = params.source(name)
        if source.format != format:
            raise TableUnfit(f"{path} is {format}, and the source {name} is {source.format}.")
        check_readable(files, source)
        found = survey(files, source)
        show(name, source, found, len(files))
        log.info("%s is in params.yaml already; the table was read by that entry", name)
    else:
        recognised = recognise(format, files, named or {}, timezone, currency)
        check_readable(files, recognised.source)
        found = survey(files, recognised.source)
        entry = describe(params, name, path, recognised, found)
        text = with_entry(params_file.read_text(encoding="utf-8"), name, entry)
        params = Params.model_validate(yaml.safe_load(text))
        params_file.write_text(text, encoding="utf-8")
        source = found.source = params.source(name)
        show(name, source, found, len(files))
        log.info(
            "params.yaml has a new entry %s. Read it, above all where a comment has a question "
            "mark, and commit it:\n%s",
            name,
            entry,
        )
    if why := too_short(params, source, found.first):
        log.warning("%s", why)
    facts = {"source": name, "rows": found.rows, "first": found.first, "last": found.last}
    if into is None:
        return facts
    laid_out = lay_out(files, source, found, into / "transactions")
    log.info(
        "%s rows = %s in %d new days below %s + %s in %d days that were there + %s for a second "
        "time in files that overlap",
        *(f"{laid_out.rows:,}", f"{laid_out.written:,}", laid_out.days_written, into),
        *(f"{laid_out.left_alone:,}", laid_out.days_left_alone, f"{laid_out.overlapping:,}"),
    )
    return facts | asdict(laid_out)


def describe(params: Params, name: str, path: Path, recognised: Recognised, found: Survey) -> str:
    """The entry of a table, as text."""
    closed_weekdays = weekdays_without_trade(found)
    closed_days = probably_closed(found, params, closed_weekdays)
    open_days = [day for day in found.calendar if weekday(day) not in closed_weekdays]
    fields = entry_fields(
        recognised,
        found,
        closed_days=closed_days,
        closed_weekdays=closed_weekdays,
        training_until=max([found.first, *open_days[:-NIGHTS_LEFT][-1:]]),
    )
    comments = entry_comments(fields, recognised, found)
    return entry_text(name, fields, comments, f"Written by describe_source for {path.name}.")


def weekdays_without_trade(found: Survey) -> list[Weekday]:
    """The weekdays that came at least ``LEAST_WEEKS`` times, and never with a row."""
    times = Counter(map(weekday, found.calendar))
    traded = set(map(weekday, found.days))
    return [one for one in WEEKDAYS if times[one] >= LEAST_WEEKS and one not in traded]


def probably_closed(
    found: Survey, params: Params, closed_weekdays: Collection[Weekday]
) -> list[date]:
    """The days whose delivery would be refused as empty or thin, were they no closed days.

    Those of closed weekdays are not delivered.
    """
    closed: list[date] = []
    before: dict[date, Dated] = {}
    for day in (day for day in found.calendar if weekday(day) not in closed_weekdays):
        rows: dict[date | None, int] = {}
        if day in found.days:
            rows[day] = found.rows_of(day)
        trailing = same_weekday(day, before, params.validation.volume_weeks)
        if judge_volume(day, rows, trailing, False, params.validation).refusal:
            closed.append(day)
        before[day] = Dated(rows.get(day, 0), 0)
    return closed


def too_short(params: Params, source: Source, first: date) -> str | None:
    """What to do if a history that begins on ``first`` is too short to train on; null if not."""
    training, until = params.training, source.training_until
    dates = as_of_dates(until, training)
    lacking = left_out(dates, training, first, {})
    usable = [day for day in dates if day not in lacking]
    try:
        split_by_time(usable, training.horizon_days, training.holdout_count)
    except TooFewDates:
        days = (until - first).days + 1
        shorter = max(1, (days - training.horizon_days) // 2)
        return (
            f"the {days} days from {first} to {until} are too few for a training that asks for "
            f"{training.history_days} days before each date it learns from. Set "
            f"training.history_days in params.yaml to {shorter}: windows are then cut short where "
            "the history begins."
        )
    return None


def show(name: str, source: Source, found: Survey, files: int) -> None:
    """Print what was found."""
    title = f"{name}: {found.rows:,} rows in {files} file(s)"
    table = Table(title=title, box=None, show_header=False, title_justify="left")
    for what, text in findings(source, found):
        table.add_row(what, text)
    Console(stderr=True, highlight=False, markup=False).print(table)


def findings(source: Source, found: Survey) -> list[tuple[str, str]]:
    """What was found, each with a title."""
    written = str(source.format)
    if source.format == "csv":
        text = source.text
        written += f", {text.encoding}, {text.separator!r} between values, "
        written += f"{text.decimal_mark!r} before decimals"
    times = source.timestamp_format or "ISO 8601"
    without_trade = [day for day in found.calendar if day not in found.days]
    repeated = "not counted" if found.repeated is None else _share(found.repeated, found)
    return [
        ("written as", written),
        ("times", f"{times}, in {source.zone_of_timestamps} unless they carry a zone"),
        *source.columns.given.items(),
        ("days", f"{found.first} to {found.last}"),
        ("without trade", f"{len(without_trade):,} days{_some(without_trade)}"),
        ("without a customer", _share(found.without_customer, found)),
        ("repeated", repeated),
        ("without a readable time", _share(found.undated, found)),
        *([("far off days", _some(found.strays)[2:])] if found.strays else []),
        *([("malformed lines", f"{found.malformed:,}")] if found.malformed else []),
        *([("in several files", _overlap(found))] if found.overlap else []),
    ]


def _overlap(found: Survey) -> str:
    alike = f"{len(found.overlap)} days with the same rows{_some(found.overlap)}"
    return alike + (f"; {len(found.conflicts)} with others" if found.conflicts else "")


def _share(rows: int, found: Survey) -> str:
    return f"{rows:,} rows, {rows / found.rows:.2%}"


def _some(days: Iterable[date]) -> str:
    first, *more = textwrap.wrap(", ".join(map(str, days)), DAYS_SHOWN * len("2026-03-31, ")) or [
        ""
    ]
    return (f": {first}" if first else "") + (" ..." if more else "")


def main(arguments: argparse.Namespace) -> dict:
    """Start the job from the command line."""
    return run(
        PARAMS_FILE,
        arguments.table,
        arguments.name,
        into=arguments.into,
        named=dict(arguments.columns),
        timezone=arguments.timezone,
        currency=arguments.currency,
    )


if __name__ == "__main__":
    start(PARSER, main)
