"""What a whole table holds, read once in bounded memory: days, customers, repeats, extremes."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deliveries.contract import file_columns
from deliveries.table import Batch, TableUnfit, read_batches
from deliveries.values import by_value, given_texts, read_numbers
from params import Source

COUNTED_ROWS = 20_000_000
"""Rows among which repeats are counted; each takes eight bytes of memory."""

MEASURED = ("quantity", "unit_price", "amount")

STRAY_SHARE = 0.01
STRAY_GAP_DAYS = 366
"""Days beyond a gap that long, with so few rows in all, are default dates or misread centuries."""


@dataclass(slots=True)
class DayOfFile:
    """The rows of a day in one file: how many, and a sum that differs if they do, whatever their
    order."""

    rows: int = 0
    content: int = 0


@dataclass(slots=True)
class Survey:
    """What was counted in all files of a table that the source describes."""

    source: Source
    rows: int = 0
    undated: int = 0
    """Rows whose day cannot be read, malformed ones among them."""
    malformed: int = 0
    without_customer: int = 0
    repeated: int | None = None
    """Rows that are equal to another in all columns, none of them because files overlap; null if
    there were too many rows to tell."""
    largest: dict[str, float] = field(default_factory=dict)
    """Of quantity, unit_price and amount, either way."""
    decimals: int = 0
    """Of quantities."""
    days: dict[date, dict[Path, DayOfFile]] = field(default_factory=dict)
    strays: dict[date, int] = field(default_factory=dict)
    """Rows of days far off all others, which are not in ``days``."""

    @property
    def first(self) -> date:
        """The first day that is no stray."""
        return min(self.days)

    @property
    def last(self) -> date:
        """The last day that is no stray."""
        return max(self.days)

    @property
    def calendar(self) -> list[date]:
        """Every day from the first to the last."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    def rows_by_file(self, day: date) -> list[int]:
        """The rows of a day in each file that holds it."""
        return [one.rows for one in self.days[day].values()]

    def rows_of(self, day: date) -> int:
        """The rows that the day's delivery gets, its undated ones left out."""
        return sum(self.days[day][path].rows for path in self.taken(day))

    def taken(self, day: date) -> list[Path]:
        """The files that a day is taken from: those that hold it, or the first of them if the
        source says that its files overlap; none for a day without trade."""
        files = list(self.days.get(day, {}))
        return files[:1] if self.source.overlapping_files else files

    @property
    def overlap(self) -> list[date]:
        """The days that several files hold with the very same rows."""
        return [day for day, files in self.days.items() if len(files) > 1 and _same(files)]

    @property
    def conflicts(self) -> list[date]:
        """The days that several files hold, but not with the same rows."""
        return [day for day, files in self.days.items() if len(files) > 1 and not _same(files)]


def _same(files: dict[Path, DayOfFile]) -> bool:
    first, *others = files.values()
    return all(one == first for one in others)


def survey(files: Sequence[Path], source: Source) -> Survey:
    """Read every file once.

    Raises:
        TableUnfit: If no row has a day.
        DeliveryUnreadable: If a file cannot be read to its end.
    """
    found = Survey(source)
    hashes: list[np.ndarray] = []
    days: dict[date, dict[Path, DayOfFile]] = defaultdict(lambda: defaultdict(DayOfFile))
    for path in files:
        positions = {column.name: n for n, column in enumerate(file_columns(path, source))}
        ours = {name: positions[theirs] for name, theirs in source.columns.given.items()}
        for batch in read_batches(path, source):
            found.rows += len(batch.days)
            found.malformed += len(batch.malformed)
            _count_days(batch, path, found, days)
            _count_values(batch, ours, found)
            if found.rows <= COUNTED_ROWS:
                hashes.append(batch.hashes)
    if not days:
        raise TableUnfit(
            f"of {found.rows:,} rows, none has a time in {source.columns.invoiced_at!r} that is "
            f"written as the source says (timestamp_format: {source.timestamp_format})."
        )
    found.strays = _strays(
        {day: sum(one.rows for one in days[day].values()) for day in sorted(days)}
    )
    found.days = {day: dict(days[day]) for day in sorted(days) if day not in found.strays}
    counted = np.concatenate(hashes)
    if len(counted) == found.rows:
        in_other_files = sum(sum(found.rows_by_file(day)[1:]) for day in found.overlap)
        found.repeated = len(counted) - len(np.unique(counted)) - in_other_files
    return found


def _count_days(
    batch: Batch, path: Path, found: Survey, days: dict[date, dict[Path, DayOfFile]]
) -> None:
    is_dated = ~np.isnat(batch.days)
    found.undated += int((~is_dated).sum())
    distinct, codes = np.unique(batch.days[is_dated], return_inverse=True)
    contents = np.zeros(len(distinct), np.int64)
    with np.errstate(over="ignore"):
        np.add.at(contents, codes, batch.hashes[is_dated])
    for day, rows, content in zip(
        distinct.tolist(), np.bincount(codes).tolist(), contents.tolist(), strict=True
    ):
        one = days[day][path]
        one.rows += rows
        one.content = (one.content + content) % 2**64


def _count_values(batch: Batch, ours: dict[str, int], found: Survey) -> None:
    source = found.source
    customers = given_texts(batch.texts(ours["customer_id"]), source)
    found.without_customer += customers.null_count - len(batch.malformed)
    numbers = {name: _numbers(batch.texts(ours[name]), source) for name in MEASURED if name in ours}
    if "quantity" in numbers:
        found.decimals = max(found.decimals, _decimals(numbers["quantity"]))
    if "amount" not in numbers and len(numbers) == len(MEASURED) - 1:
        doubles = [number.cast(pa.float64()) for number in numbers.values()]
        numbers["amount"] = pc.multiply(*doubles)
    for name, values in numbers.items():
        largest = pc.max(pc.abs(values.cast(pa.float64()))).as_py()
        found.largest[name] = max(found.largest.get(name, 0.0), largest or 0.0)


def _numbers(texts: pa.Array, source: Source) -> pa.Array:
    return by_value(texts, lambda some: read_numbers(given_texts(some, source), source.dialect))


def _decimals(numbers: pa.Array) -> int:
    written = pc.replace_substring_regex(pc.unique(numbers), r"^[^.]*\.?|0+$", "")
    return pc.max(pc.utf8_length(written)).as_py() or 0


def _strays(rows: dict[date, int]) -> dict[date, int]:
    """Days far before or behind all others, with their rows; ``rows`` is in the order of days."""
    most = STRAY_SHARE * sum(rows.values())
    strays: dict[date, int] = {}
    for days in (list(rows), list(rows)[::-1]):
        beyond: dict[date, int] = {}
        for day, following in itertools.pairwise(days):
            beyond[day] = rows[day]
            if sum(beyond.values()) > most:
                break
            if abs((following - day).days) > STRAY_GAP_DAYS:
                strays |= beyond
    return strays
