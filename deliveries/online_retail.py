"""Online Retail II (https://doi.org/10.24432/C5CG6D) laid out as the deliveries it came from.

The data set is one file per year, and the years overlap: the same days are in both, line for
line. Read blindly, they would count twice; here each day is taken from one file, after looking
that the other says the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deliveries.files import open_parquet
from errors import BadData

ONE_DAY = timedelta(days=1)

# SHA-256 of the files that this was tried with.
TRIED = {
    "year_2009_2010.parquet": "40cb84d0ccd99141522699889fdec4cdca59c1ff0b3f55c843a6043b033f0c89",
    "year_2010_2011.parquet": "db59b8494ce666ebc4a639d1557ae4250e23c1f512f342cdc8a99a67d29054a5",
}


class OverlapDiffers(BadData):
    """Two files hold the same day, but not the same lines."""

    def __init__(self, day: date, kept: Path, kept_rows: int, other: Path, other_rows: int) -> None:
        super().__init__(
            f"{kept.name} and {other.name} both hold {day}, but not the same lines "
            f"({kept_rows} and {other_rows}, or as many with other values), so neither can be "
            "dropped. Find out which of them is right, and take the day out of the other."
        )


class FilesUnfit(BadData):
    """The files cannot be laid out by day."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the files hold together up to ``last``, and after it.

    A line is counted as often as it is there. Days are inclusive.
    """

    first: date
    last: date
    rows: int
    rows_after: int


@dataclass(frozen=True, slots=True)
class DayLines:
    """One calendar day: its lines in the order of its file, and how many were dropped.

    ``taken_from`` is None for a day without trade, whose ``lines`` have no rows.
    """

    day: date
    lines: pa.Table
    taken_from: Path | None
    dropped: int


def survey(files: Sequence[Path], time_column: str, until: date | None = None) -> Span:
    """First and last day, not after ``until``, and numbers of lines.

    Raises:
        FilesUnfit: If there are no files, or no lines up to ``until``, or if a file lacks the time
            column or has lines without a time.
        DeliveryUnreadable: If a file is damaged.
    """
    if not files:
        raise FilesUnfit("there are no .parquet files to split; name the folder that holds them.")

    days = []
    for path in files:
        parquet = open_parquet(path)
        if time_column not in parquet.schema_arrow.names:
            raise FilesUnfit(
                f"{path} has no column {time_column!r}, only {parquet.schema_arrow.names}. "
                "SCORING_SOURCE chooses the entry of params.yaml that names the columns; for "
                "Online Retail II it is online_retail_ii."
            )
        times = parquet.read(columns=[time_column])[time_column]
        if times.null_count:
            raise FilesUnfit(
                f"{path} has {times.null_count} lines without {time_column!r}; they belong to no "
                "day. Take them out or date them."
            )
        days += times.cast(pa.date32()).chunks
    all_days = pa.chunked_array(days, pa.date32())
    if not len(all_days):
        raise FilesUnfit(f"the files {[str(path) for path in files]} hold no lines.")

    first, newest = pc.min_max(all_days).as_py().values()
    last = min(newest, until or newest)
    if last < first:
        raise FilesUnfit(f"the files begin on {first}, which is after {until}; nothing to lay out.")
    rows_after = pc.sum(pc.greater(all_days, pa.scalar(last))).as_py()
    return Span(first, last, len(all_days) - rows_after, rows_after)


def split_by_day(files: Sequence[Path], time_column: str, span: Span) -> Iterator[DayLines]:
    """Every calendar day of the span, also those without trade.

    A day is taken from the first of ``files`` that has it. A month is in memory at a time.

    Raises:
        OverlapDiffers: If two files hold different lines for a day; the order of lines may differ.
    """
    day = span.first
    while day <= span.last:
        next_month = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        month_end = min(span.last, next_month - ONE_DAY)
        months = {path: _between(path, time_column, day, month_end) for path in files}
        while day <= month_end:
            yield _one_day(day, months, time_column)
            day += ONE_DAY


def _between(path: Path, time_column: str, first: date, last: date) -> pa.Table:
    bounds = [(time_column, ">=", _midnight(first)), (time_column, "<", _midnight(last + ONE_DAY))]
    return pq.read_table(path, filters=bounds).replace_schema_metadata()


def _midnight(day: date) -> pa.Scalar:
    return pa.scalar(day).cast(pa.timestamp("us"))


def _one_day(day: date, months: dict[Path, pa.Table], time_column: str) -> DayLines:
    by_file = {
        path: month.filter(pc.equal(month[time_column].cast(pa.date32()), pa.scalar(day)))
        for path, month in months.items()
    }
    with_trade = [(path, lines) for path, lines in by_file.items() if lines.num_rows]
    if not with_trade:
        return DayLines(day, next(iter(by_file.values())), None, 0)

    (taken_from, lines), *others = with_trade
    for path, other in others:
        if not _multiset(lines).equals(_multiset(other)):
            raise OverlapDiffers(day, taken_from, lines.num_rows, path, other.num_rows)
    return DayLines(day, lines, taken_from, sum(other.num_rows for _, other in others))


def _multiset(lines: pa.Table) -> pa.Table:
    """Each distinct line with its number, in an order that does not depend on that of the lines."""
    counted = lines.group_by(lines.column_names).aggregate([([], "count_all")])
    return counted.sort_by([(name, "ascending") for name in lines.column_names]).combine_chunks()
