"""A big table put into one folder per day, as daily deliveries, in bounded memory."""

import csv
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deliveries.day_of_trade import DAY
from deliveries.delimited import header
from deliveries.files import open_parquet
from deliveries.survey import Survey
from deliveries.table import Batch, TableUnfit, read_batches
from params import Source, Text

GATHERED_ROWS = 1_000_000
DAYS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LaidOut:
    """How many rows went where: ``rows`` = ``written`` + ``left_alone`` + ``overlapping``."""

    rows: int
    written: int
    left_alone: int
    overlapping: int
    days_written: int
    days_left_alone: int


class OverlapDiffers(TableUnfit):
    """Files that should overlap hold the same day, but not the same rows."""


def lay_out(files: Sequence[Path], source: Source, found: Survey, into: Path) -> LaidOut:
    """Write every day of the survey to ``into``/<day>; days that are there already are left alone.

    A day without trade is a file without rows: nothing was sold, which is not: nothing came. Of a
    closed weekday nothing comes. A row
    without a day of its own lies with the row before it, where its night quarantines it. Days
    appear when all are written.

    Raises:
        OverlapDiffers: If the source's files overlap, and two of them differ on a day.
        RuntimeError: If rows in are not rows out.
    """
    if source.overlapping_files and found.conflicts:
        shown = ", ".join(map(str, found.conflicts[:DAYS_SHOWN]))
        raise OverlapDiffers(
            f"overlapping_files of the source says that a day is the same in each file that holds "
            f"it, but {len(found.conflicts)} day(s) are not ({shown}). Find out which file is "
            "right, and take these days out of the others."
        )
    into.mkdir(parents=True, exist_ok=True)
    already = {day for day in found.calendar if (into / str(day)).exists()}
    counts = dict.fromkeys(("written", "left_alone", "overlapping"), 0)
    with tempfile.TemporaryDirectory(prefix=".laying_out.", dir=into) as workspace:
        for number, path in enumerate(files):
            writer = _parts(Path(workspace), path, source, number)
            for batch, days, overlaps in _with_days(path, source, found):
                is_there = np.isin(days, _array(already)) & ~overlaps
                is_written = ~overlaps & ~is_there
                writer.write(batch, days, is_written)
                for name, some in zip(counts, (is_written, is_there, overlaps), strict=True):
                    counts[name] += int(some.sum())
            writer.close()
        delivered = (day for day in found.calendar if day in found.days or source.trades_on(day))
        fresh = [day for day in delivered if day not in already]
        for day in fresh:
            folder = Path(workspace) / str(day)
            if not folder.exists():
                folder.mkdir()
                _write_empty(folder, files[0], source)
            folder.rename(into / str(day))
    if sum(counts.values()) != found.rows:
        raise RuntimeError(f"{found.rows:,} rows were read, but {counts} went somewhere")
    return LaidOut(found.rows, **counts, days_written=len(fresh), days_left_alone=len(already))


def _with_days(
    path: Path, source: Source, found: Survey
) -> Iterator[tuple[Batch, np.ndarray, np.ndarray]]:
    """Batches with the day that each row is laid under, and whether the overlap drops it."""
    elsewhere = _array({day for day in found.days if path not in found.taken(day)})
    own_days = _array(found.days)
    before = np.datetime64(found.first)
    for batch in read_batches(path, source):
        is_own = np.isin(batch.days, own_days)
        position = np.maximum.accumulate(np.where(is_own, np.arange(len(is_own)), -1))
        days = np.where(position >= 0, batch.days[position], before)
        before = days[-1]
        yield batch, days, is_own & np.isin(batch.days, elsewhere)


def _array(days: Iterable[date]) -> np.ndarray:
    return np.array(sorted(days), dtype=DAY)


class _Parts(Protocol):
    """Writes the rows of one file into a file for each day."""

    def write(self, batch: Batch, days: np.ndarray, is_written: np.ndarray) -> None: ...

    def close(self) -> None: ...


def _groups(days: np.ndarray, is_written: np.ndarray) -> Iterator[tuple[date, np.ndarray]]:
    """Each day with the positions of its rows, in their order."""
    positions = np.flatnonzero(is_written)
    order = positions[np.argsort(days[positions], kind="stable")]
    starts = np.flatnonzero(np.diff(days[order], prepend=np.datetime64("NaT")) != 0)
    for some in np.split(order, starts[1:]) if len(order) else []:
        yield days[some[0]].item(), some


class _TextParts:
    """Text in the dialect of the source; a malformed line stays as it is."""

    def __init__(self, workspace: Path, path: Path, source: Source, number: int) -> None:
        self._workspace, self._name, self._text = workspace, f"part-{number}.csv", source.text
        self._names = _names_to_write(path, source)

    def write(self, batch: Batch, days: np.ndarray, is_written: np.ndarray) -> None:
        rows = list(zip(*batch.columns, strict=True))
        for day, positions in _groups(days, is_written):
            with _open_text(self._workspace / str(day) / self._name, self._text) as file:
                writer = _writer(file, self._text)
                if self._names and not file.tell():
                    writer.writerow(self._names)
                for position in positions.tolist():
                    if position in batch.malformed:
                        file.write(f"{batch.malformed[position]}\n")
                    else:
                        writer.writerow(rows[position])

    def close(self) -> None:
        """Every file is closed already."""


class _ParquetParts:
    """Parquet with the columns as they are; rows are gathered, so that a day has few row groups."""

    def __init__(self, workspace: Path, path: Path, number: int) -> None:
        self._workspace, self._name = workspace, f"part-{number}.parquet"
        self._schema = open_parquet(path).schema_arrow.remove_metadata()
        self._gathered: list[tuple[pa.Table, np.ndarray]] = []
        self._rows = 0
        self._pieces: dict[date, list[Path]] = {}

    def write(self, batch: Batch, days: np.ndarray, is_written: np.ndarray) -> None:
        assert isinstance(batch.columns, pa.Table)
        mask = pa.array(is_written)
        self._gathered.append((batch.columns.filter(mask), days[is_written]))
        self._rows += int(is_written.sum())
        if self._rows >= GATHERED_ROWS:
            self._write_gathered()

    def close(self) -> None:
        """Join what a day was written in."""
        self._write_gathered()
        for day, pieces in self._pieces.items():
            target = self._workspace / str(day) / self._name
            if len(pieces) == 1:
                pieces[0].rename(target)
                continue
            with pq.ParquetWriter(target, self._schema) as writer:
                for piece in pieces:
                    writer.write_table(pq.read_table(piece, partitioning=None))
                    piece.unlink()

    def _write_gathered(self) -> None:
        if not self._gathered:
            return
        table = pa.concat_tables(table for table, _ in self._gathered)
        days = np.concatenate([days for _, days in self._gathered])
        for day, positions in _groups(days, np.ones(len(days), bool)):
            pieces = self._pieces.setdefault(day, [])
            piece = self._workspace / str(day) / f".{len(pieces)}.{self._name}"
            piece.parent.mkdir(exist_ok=True)
            pq.write_table(table.take(positions), piece)
            pieces.append(piece)
        self._gathered, self._rows = [], 0


def _parts(workspace: Path, path: Path, source: Source, number: int) -> _Parts:
    if source.format == "csv":
        return _TextParts(workspace, path, source, number)
    return _ParquetParts(workspace, path, number)


def _write_empty(folder: Path, like: Path, source: Source) -> None:
    if source.format == "parquet":
        schema = open_parquet(like).schema_arrow.remove_metadata()
        pq.write_table(schema.empty_table(), folder / "part-0.parquet")
        return
    with _open_text(folder / "part-0.csv", source.text) as file:
        if names := _names_to_write(like, source):
            _writer(file, source.text).writerow(names)


def _names_to_write(path: Path, source: Source) -> list[str] | None:
    return header(path, source) if source.text.column_names is None else None


def _open_text(path: Path, text: Text) -> TextIO:
    path.parent.mkdir(exist_ok=True)
    return path.open("a", encoding=text.encoding, errors="replace", newline="")


def _writer(file: TextIO, text: Text) -> Any:
    """A writer of Python's module ``csv``."""
    if text.quote is None:
        return csv.writer(
            file, delimiter=text.separator, quoting=csv.QUOTE_NONE, lineterminator="\n"
        )
    return csv.writer(file, delimiter=text.separator, quotechar=text.quote, lineterminator="\n")
