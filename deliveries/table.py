"""One big table, in one file or several, as a batch of rows at a time with the day of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from deliveries.contract import SourceColumn, contract_differences, file_columns
from deliveries.day_of_trade import days_of_trade
from deliveries.delimited import read_rows
from deliveries.files import DeliveryUnreadable, open_parquet
from errors import BadData
from params import Source

BATCH_ROWS = 131_072

SUFFIXES = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".txt", ".tsv")}


class TableUnfit(BadData):
    """A table is not there, or cannot be read as the source says."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a file: ``days`` is NaT where no day can be read, ``hashes`` are equal for equal
    rows. The columns are those of the file; a malformed line has none, and stands in ``malformed``
    by its position."""

    days: np.ndarray
    hashes: np.ndarray
    columns: list[list[str | None]] | pa.Table
    malformed: dict[int, str]

    def texts(self, position: int) -> pa.Array:
        """One column as text."""
        if isinstance(self.columns, list):
            return pa.array(self.columns[position], pa.string())
        return as_text(self.columns.column(position).combine_chunks())


def table_files(path: Path) -> tuple[str, list[Path]]:
    """The format of a table and its files, sorted by name.

    Raises:
        TableUnfit: If there are none, or of both formats.
    """
    if not path.exists():
        raise TableUnfit(f"there is no {path}.")
    every = sorted(path.iterdir()) if path.is_dir() else [path]
    found = {
        format: [file for file in every if file.suffix.lower() in suffixes and file.is_file()]
        for format, suffixes in SUFFIXES.items()
    }
    formats = [format for format, files in found.items() if files]
    if len(formats) != 1:
        endings = ", ".join(sum(SUFFIXES.values(), ()))
        what = "files of two formats" if formats else f"no file that ends in {endings}"
        raise TableUnfit(f"{path} holds {what}; name the files of one table.")
    return formats[0], found[formats[0]]


def check_readable(files: Sequence[Path], source: Source) -> None:
    """Raise unless every file has the columns that the source names.

    Raises:
        TableUnfit: If not; names the file and what differs.
    """
    for path in files:
        differences = contract_differences(file_columns(path, source), source)
        if differences:
            raise TableUnfit(
                f"{path} is not the table that the source describes: {'; '.join(differences)}. "
                "Change its entry in params.yaml, or name the table of that source."
            )


def read_batches(path: Path, source: Source) -> Iterator[Batch]:
    """The rows of a file in their order.

    Raises:
        DeliveryUnreadable: If it cannot be read to its end.
    """
    columns = file_columns(path, source)
    [position] = [n for n, one in enumerate(columns) if one.name == source.columns.invoiced_at]
    read = _text_batches if source.format == "csv" else _parquet_batches
    yield from read(path, source, columns, position)


def _text_batches(
    path: Path, source: Source, columns: Sequence[SourceColumn], position: int
) -> Iterator[Batch]:
    for rows in read_rows(path, source, len(columns)):
        times = pa.array(rows.columns[position], pa.string())
        hashes = np.fromiter(map(hash, zip(*rows.columns, strict=True)), np.int64)
        malformed = {number: one.line for number, one in rows.malformed.items()}
        for number, line in malformed.items():
            hashes[number] = hash(line)
        yield Batch(days_of_trade(times, times, "text", source), hashes, rows.columns, malformed)


def _parquet_batches(
    path: Path, source: Source, columns: Sequence[SourceColumn], position: int
) -> Iterator[Batch]:
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                rows = pa.Table.from_batches([batch]).replace_schema_metadata()
                times = rows.column(position).combine_chunks()
                days = days_of_trade(times, as_text(times), columns[position].kind, source)
                yield Batch(days, _hashes(rows), rows, {})
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error


def _hashes(rows: pa.Table) -> np.ndarray:
    flat = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
    values = rows.select(flat).to_pandas(integer_object_nulls=True)
    return pd.util.hash_pandas_object(values, index=False).to_numpy().view(np.int64)


def as_text(values: pa.Array) -> pa.Array:
    """Values of a Parquet file as text, where they have one; else null."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        return values.cast(pa.string())
    except pa.ArrowException:
        return pa.nulls(len(values), pa.string())
