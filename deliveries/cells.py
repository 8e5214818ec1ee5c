"""Delivered rows as they are, cell by cell, in the one form that every engine reads alike.

Engines differ in how they read a damaged line, write a number as text or find out which file a row
is from. So every file is read here, by one reader, and what the engine gets is text.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_DOWN, Context, Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deliveries.contract import ContractBroken, SourceColumn, contract_differences, file_columns
from deliveries.files import DeliveryUnreadable
from deliveries.receive import data_files
from params import Source

MALFORMED = "_malformed_line"

BATCH_ROWS = 65_536
ROWS_OF_A_FILE = 500_000

# What engines read differently: a power of ten behind the digits, as some writers shorten numbers,
# and more decimals than any of our types holds.
DECIMALS = 30
UNUSUAL_NUMBER = (
    r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,4}\s*$"
    rf"|^\s*[+-]?[0-9]*\.[0-9]{{{DECIMALS + 1},}}\s*$"
)
# A number beyond it is no amount, and writing it out would take pages.
LARGEST_EXPONENT = 40
DIGITS = Context(prec=100)

TEXTS = ("invoice_id", "product_id", "customer_id", "quantity", "unit_price", "country")

SCHEMA = pa.schema(
    [
        ("known_on", pa.date32()),
        ("source_file", pa.string()),
        *((name, pa.string()) for name in TEXTS),
        # One of the three is given: as text, as an instant, or as a time of the source's zone.
        ("invoiced_at_text", pa.string()),
        ("invoiced_at_instant", pa.timestamp("us", "UTC")),
        ("invoiced_at_local", pa.timestamp("us")),
        ("raw", pa.map_(pa.string(), pa.string())),
    ]
)
"""What ``write_cells`` writes. Numbers are plain decimal text, without exponent; what is no number
is as delivered. ``raw`` holds every readable column of the row by the source's name, as text."""

SPARK_SCHEMA = (
    "known_on date, source_file string, "
    + "".join(f"{name} string, " for name in TEXTS)
    + "invoiced_at_text string, invoiced_at_instant timestamp, "
    "invoiced_at_local timestamp_ntz, raw map<string, string>"
)
"""The same as Spark DDL."""


def write_cells(folders: Mapping[date, Path], source: Source, into: Path) -> None:
    """Read the files of deliveries and write their rows to ``into``, an existing folder.

    Memory is bounded by a batch of rows, whatever the size of a delivery.

    Args:
        folders: Each day with the folder of its delivery.

    Raises:
        ValueError: If there are no folders.
        DeliveryMissing: If a folder is absent or not whole.
        DeliveryUnreadable: If a file cannot be read to its end.
        ContractBroken: If a column is missing or of another kind.
    """
    if not folders:
        raise ValueError("there are no deliveries to read")
    with _Files(into) as files:
        for day, folder in sorted(folders.items()):
            for path in data_files(folder, source.format):
                columns = file_columns(path, source.format)
                if differences := contract_differences(columns, source):
                    raise ContractBroken(folder, {path.name: differences})
                read = _csv_batches if source.format == "csv" else _parquet_batches
                for cells in read(path, columns, source):
                    files.write(_with_origin(cells, day, path.name))


class _Files:
    """Files of a bounded number of rows, numbered in the order of writing; at least one."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number, self._rows = folder, 0, 0
        self._writer = self._next()

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, table: pa.Table) -> None:
        if self._rows >= ROWS_OF_A_FILE:
            self._writer.close()
            self._number, self._rows = self._number + 1, 0
            self._writer = self._next()
        self._writer.write_table(table)
        self._rows += table.num_rows

    def _next(self) -> pq.ParquetWriter:
        path = self._folder / f"cells-{self._number:05}.parquet"
        return pq.ParquetWriter(path, SCHEMA, compression="lz4")


def _with_origin(cells: pa.Table, day: date, name: str) -> pa.Table:
    days = pa.repeat(pa.scalar(day, pa.date32()), cells.num_rows)
    names = pa.repeat(pa.scalar(name, pa.string()), cells.num_rows)
    whole = cells.add_column(0, "known_on", days).add_column(1, "source_file", names)
    return whole.select(SCHEMA.names).cast(SCHEMA)


# ------------------------------------------------------------------------------------- Parquet


def _parquet_batches(
    path: Path, columns: Sequence[SourceColumn], source: Source
) -> Iterator[pa.Table]:
    readable = [column for column in columns if column.kind != "nested"]
    try:
        with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
            for batch in file.iter_batches(BATCH_ROWS):
                table = pa.Table.from_batches([batch])
                yield _cells([table[column.name] for column in readable], readable, source)
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error


def _cells(
    values: Sequence[pa.ChunkedArray], columns: Sequence[SourceColumn], source: Source
) -> pa.Table:
    arrays = [_one_array(one) for one in values]
    texts = [_as_text(one) for one in arrays]
    by_name = {column.name: position for position, column in enumerate(columns)}
    rows = len(texts[0])
    found: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name, theirs in source.columns.model_dump().items():
        position = by_name[theirs]
        if name == "invoiced_at":
            found |= _times(arrays[position], texts[position], columns[position].kind)
        elif name in ("quantity", "unit_price"):
            found[name] = _plain_numbers(texts[position])
        else:
            found[name] = _as_id(arrays[position], texts[position])
    found["raw"] = _map([column.name for column in columns], texts, rows)
    return pa.table(found)


def _one_array(values: pa.ChunkedArray) -> pa.Array:
    whole = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _as_id(values: pa.Array, texts: pa.Array) -> pa.Array:
    """The text of an id: a number without its empty fraction (17850.0 is 17850), no NaN."""
    if pa.types.is_floating(values.type):
        texts = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.string()), texts)
    elif not pa.types.is_decimal(values.type):
        return texts
    return pc.replace_substring_regex(texts, r"^(-?\d+)\.0*$", r"\1")


def _as_text(values: pa.Array) -> pa.Array:
    """Each value as text; a float as the shortest decimal text that names it."""
    type_ = values.type
    if pa.types.is_floating(type_):
        return _floats_as_text(values)
    if pa.types.is_timestamp(type_):
        return _times_as_text(values)
    if pa.types.is_boolean(type_):
        return pc.if_else(values, "true", "false")
    return values.cast(pa.string())


def _floats_as_text(values: pa.Array) -> pa.Array:
    # A short float has a shorter text than the double nearest to it; "1.0" and "1" are the same.
    texts = _plain_numbers(values.cast(pa.string()))
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    for theirs, ours in names.items():
        texts = pc.if_else(pc.equal(texts, theirs), ours, texts)
    return texts


def _plain_numbers(texts: pa.Array) -> pa.Array:
    """Numbers with an exponent, or very many decimals, written out; other texts as they are."""
    unusual = pc.fill_null(pc.match_substring_regex(texts, UNUSUAL_NUMBER), False)
    if not pc.any(unusual).as_py():
        return texts
    written = [_written_out(text) for text in pc.filter(texts, unusual).to_pylist()]
    return pc.replace_with_mask(texts, unusual, pa.array(written, pa.string()))


def _written_out(text: str) -> str:
    """The number without an exponent, cut off (which rounds no half) after ``DECIMALS`` decimals.

    >>> _written_out("1e2"), _written_out("-2.5E-7"), _written_out("1e300"), _written_out("1e-99")
    ('100', '-0.00000025', '1e300', '0.000000000000000000000000000000')
    """
    number = Decimal(text.strip())
    if number.adjusted() > LARGEST_EXPONENT:
        return text
    if -number.as_tuple().exponent > DECIMALS:
        number = number.quantize(Decimal(1).scaleb(-DECIMALS), ROUND_DOWN, DIGITS)
    return f"{number:f}"


def _times_as_text(values: pa.Array) -> pa.Array:
    """As a person writes it: to the second, and fractions only where there are some."""
    texts = _micros(values).cast(pa.timestamp("us")).cast(pa.string())
    return pc.replace_substring_regex(texts, r"\.?0*$", "")


def _micros(values: pa.Array) -> pa.Array:
    """Timestamps in millionths of a second, cut off downwards, in UTC if they have a zone."""
    target = pa.timestamp("us", "UTC") if values.type.tz else pa.timestamp("us")
    if values.type.unit == "ns":
        # Cast, it would be cut off towards 1970.
        numbers = values.cast(pa.int64())
        rest = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 1000), 1000))
        floored = pc.subtract(
            pc.divide(numbers, 1000), pc.if_else(pc.less(rest, 0), 1, 0).cast(pa.int64())
        )
        return floored.cast(target)
    return values.cast(target)


def _times(values: pa.Array, texts: pa.Array, kind: str) -> dict[str, pa.Array]:
    nothing = {
        name: pa.nulls(len(texts), SCHEMA.field(name).type)
        for name in ("invoiced_at_text", "invoiced_at_instant", "invoiced_at_local")
    }
    if kind not in ("zoned", "naive"):
        return nothing | {"invoiced_at_text": texts}
    name = "invoiced_at_instant" if kind == "zoned" else "invoiced_at_local"
    return nothing | {name: _micros(values)}


def _map(names: Sequence[str], texts: Sequence[pa.Array], rows: int) -> pa.Array:
    """One map a row: ``names`` to the row's values."""
    width = len(names)
    keys = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    # Row by row, out of one column after the other.
    columns = pa.concat_arrays([text.cast(pa.string()) for text in texts])
    order = np.arange(width * rows).reshape(width, rows).T.ravel()
    offsets = pa.array(np.arange(0, rows * width + 1, width), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, columns.take(pa.array(order)))


# ----------------------------------------------------------------------------------------- CSV


def _csv_batches(path: Path, columns: Sequence[SourceColumn], source: Source) -> Iterator[pa.Table]:
    names = [column.name for column in columns]
    rows: list[list[str] | str] = []
    for row in _csv_rows(path, len(names)):
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            yield _csv_cells(rows, names, source)
            rows = []
    if rows:
        yield _csv_cells(rows, names, source)


def _csv_rows(path: Path, width: int) -> Iterator[list[str] | str]:
    """The values of each line after the header; the whole line where they are too few or many."""
    consumed: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            consumed.append(line)
            yield line

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(lines())
            next(reader)
            consumed.clear()
            for values in reader:
                line = "".join(consumed).rstrip("\r\n")
                consumed.clear()
                if values:
                    yield values if len(values) == width else line
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeliveryUnreadable(path, error) from error


def _csv_cells(rows: list[list[str] | str], names: Sequence[str], source: Source) -> pa.Table:
    """Cells of well-formed lines in their order; of a malformed one only ``raw``."""
    width = len(names)
    is_whole = [isinstance(row, list) for row in rows]
    values = [row if whole else [None] * width for row, whole in zip(rows, is_whole, strict=True)]
    columns = [SourceColumn(name, "text", "text") for name in names]
    by_column = zip(*values, strict=True)
    texts = [pa.chunked_array([pa.array(column, pa.string())]) for column in by_column]
    table = _cells(texts, columns, source)
    if all(is_whole):
        return table
    raw = [
        list(zip(names, row, strict=True)) if whole else [(MALFORMED, row)]
        for row, whole in zip(rows, is_whole, strict=True)
    ]
    position = table.column_names.index("raw")
    return table.set_column(position, "raw", pa.array(raw, SCHEMA.field("raw").type))
