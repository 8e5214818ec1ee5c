"""Delivered rows as they are, cell by cell, in the one form that every engine reads alike.

Engines differ in how they read a damaged line, write a number as text or find out which file a row
is from. So every file is read here, by one reader, and what the engine gets is text.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deliveries.contract import (
    DeliveryTooLarge,
    SourceColumn,
    check_contract,
    file_columns,
    shown_name,
)
from deliveries.delimited import Malformed, read_rows
from deliveries.files import DeliveryUnreadable
from deliveries.values import (
    PRICE_DECIMALS,
    TIMES,
    as_micros,
    by_value,
    exact_numbers,
    given_texts,
    read_ids,
    read_numbers,
    read_sums,
    read_times,
)
from lake import value_sha256
from ledger import DeliveredFile, delivery_id
from params import Source, Text
from records import Delivery

MALFORMED = "_malformed_line"

# Between the values of a row, and in front of what stands for such a sign in a value.
SEPARATOR, ESCAPE = "\x1f", "\x1b"

BATCH_ROWS = 65_536
BATCH_BYTES = 1 << 25
ROWS_OF_A_FILE = 500_000

MEASURED = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")

IDS = ("invoice_id", "product_id", "customer_id", "country")
NUMBERS = ("quantity", "unit_price", "amount")

SOMETIMES_NULL = (
    *(*IDS, *NUMBERS, "invoice_issuer", "malformed", "unusable_carried", "row_text"),
    *(f"unusable_{name}" for name in IDS),
    *(f"inexact_{name}" for name in NUMBERS),
)
"""Texts that are null of all rows of a source that has no such column, or nothing wrong."""

SCHEMA = pa.schema(
    [
        ("known_on", pa.date32()),
        ("source_file", pa.string()),
        ("source_line", pa.int64()),
        *((name, pa.string()) for name in (*IDS, *NUMBERS, "invoice_issuer")),
        *TIMES,
        ("malformed", pa.string()),
        *((f"unusable_{name}", pa.string()) for name in IDS),
        *((f"inexact_{name}", pa.string()) for name in NUMBERS),
        ("carried", pa.map_(pa.string(), pa.string())),
        ("unusable_carried", pa.string()),
        ("raw", pa.map_(pa.string(), pa.string())),
        ("row_text", pa.string()),
    ]
)
"""What is written. Ids are usable, numbers are plain decimal text without exponent; what is none is
null. ``malformed``, ``unusable_*`` and ``inexact_*`` say what is wrong, null if nothing is. ``raw``
holds every column of the row by the source's name, as text, ``carried`` those that the source
carries by our name: numbers as numbers are, all else as ids are. ``row_text`` is one text for the
whole row, the same for rows that say the same in the same columns; null where the source names the
columns that tell its lines apart."""

SPARK_SCHEMA = ", ".join(
    f"{name} {kind}"
    for name, kind in [
        *(("known_on", "date"), ("source_file", "string"), ("source_line", "bigint")),
        *((name, "string") for name in (*IDS, *NUMBERS, "invoice_issuer", "invoiced_at_text")),
        *(("invoiced_at_offset", "bigint"), ("invoiced_at_instant", "timestamp")),
        *(("invoiced_at_local", "timestamp_ntz"), ("malformed", "string")),
        *((f"unusable_{name}", "string") for name in IDS),
        *((f"inexact_{name}", "string") for name in NUMBERS),
        *(("carried", "map<string, string>"), ("unusable_carried", "string")),
        *(("raw", "map<string, string>"), ("row_text", "string")),
    ]
)
"""The same as Spark DDL."""


class DeliveredCells:
    """The cells of deliveries in a temporary folder below ``root``, while the block lasts.

    Every file is read once, in bounded memory. The pass that counts its rows is the pass that
    writes them.
    """

    def __init__(self, root: Path) -> None:
        (root / "lake").mkdir(parents=True, exist_ok=True)
        self._workspace = tempfile.TemporaryDirectory(prefix=".cells.", dir=root / "lake")
        self._files = _Files(Path(self._workspace.name))

    def __enter__(self) -> "DeliveredCells":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        self._workspace.cleanup()

    def open_delivery(
        self, folder: Path, day: date, intake: str, files: Sequence[DeliveredFile], source: Source
    ) -> Delivery:
        """Read one delivery to its end; of one that cannot be used, nothing is kept.

        Args:
            folder: Where its copy is.
            intake: The id of what it becomes.

        Raises:
            DeliveryTooLarge: If it exceeds one of ``source.limits``; says which.
            ContractBroken: If a column is missing or of another kind.
            DeliveryUnreadable: If a file cannot be read to its end; names file and line.
        """
        most = source.limits.delivery_bytes
        if (found := sum(file.bytes for file in files)) > most:
            raise DeliveryTooLarge(folder, f"{found:,} bytes", "delivery_bytes", most)
        findings = check_contract(folder, files, source)
        rows = self._files.write_whole(_cells_of(folder, day, files, source))
        return Delivery(day, delivery_id(files), intake, folder, list(files), rows, findings)

    def finish(self) -> Path:
        """The folder, its files whole; nothing more is read into it."""
        self._files.close()
        return Path(self._workspace.name)


def _cells_of(
    folder: Path, day: date, files: Sequence[DeliveredFile], source: Source
) -> Iterator[pa.Table]:
    read = _csv_batches if source.format == "csv" else _parquet_batches
    rows, most = 0, source.limits.delivery_rows
    for file in files:
        path, rows_before = folder / file.name, rows
        for cells in read(path, file_columns(path, source), source):
            rows += cells.num_rows
            if rows > most:
                raise DeliveryTooLarge(folder, f"more than {most:,} rows", "delivery_rows", most)
            yield _with_origin(cells, day, file.name)
        if file.rows is not None and rows - rows_before != file.rows:
            raise DeliveryUnreadable(
                path, f"its footer promises {file.rows:,} rows, {rows - rows_before:,} are there"
            )


def has_rows(path: Path, source: Source) -> bool:
    """Whether the reader finds a row in a file: days without trade may all have the same file."""
    read = _csv_batches if source.format == "csv" else _parquet_batches
    return any(cells.num_rows for cells in read(path, file_columns(path, source), source))


class _Files:
    """Files of a bounded number of rows; at least one, and small deliveries share it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._number, self._rows = folder, 0, 0
        self._writer = self._next()

    def close(self) -> None:
        self._writer.close()

    def write_whole(self, tables: Iterator[pa.Table]) -> int:
        """Write all of ``tables``, or nothing if one cannot be made; their rows."""
        small, rows = [], 0
        for table in tables:
            small.append(table)
            rows += table.num_rows
            if rows >= BATCH_ROWS:
                return self._write_large(chain(small, tables))
        for table in small:
            self._write(table)
        return rows

    def _write_large(self, tables: Iterator[pa.Table]) -> int:
        """The same, in files of their own, which go if a table cannot be made."""
        self._roll()
        first, rows = self._number, 0
        try:
            for table in tables:
                self._write(table)
                rows += table.num_rows
        except BaseException:
            self._roll()
            for number in range(first, self._number):
                self._path(number).unlink()
            raise
        return rows

    def _write(self, table: pa.Table) -> None:
        if self._rows >= ROWS_OF_A_FILE:
            self._roll()
        self._writer.write_table(table)
        self._rows += table.num_rows

    def _roll(self) -> None:
        self._writer.close()
        self._number, self._rows = self._number + 1, 0
        self._writer = self._next()

    def _next(self) -> pq.ParquetWriter:
        return pq.ParquetWriter(self._path(self._number), SCHEMA, compression="lz4")

    def _path(self, number: int) -> Path:
        return self._folder / f"cells-{number:05}.parquet"


def _with_origin(cells: pa.Table, day: date, name: str) -> pa.Table:
    days = pa.repeat(pa.scalar(day, pa.date32()), cells.num_rows)
    names = pa.repeat(pa.scalar(name, pa.string()), cells.num_rows)
    whole = cells.add_column(0, "known_on", days).add_column(1, "source_file", names)
    return whole.select(SCHEMA.names).cast(SCHEMA)


# ------------------------------------------------------------------------------------- Parquet


def _parquet_batches(
    path: Path, columns: Sequence[SourceColumn], source: Source
) -> Iterator[pa.Table]:
    # A value that is repeated a million times is held, and measured, once.
    texts = [column.name for column in columns if column.type_name in MEASURED]
    try:
        with pq.ParquetFile(path, coerce_int96_timestamp_unit="us", read_dictionary=texts) as file:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
            widest = max((one.total_byte_size // max(one.num_rows, 1) for one in groups), default=0)
            first = 1
            for batch in file.iter_batches(max(1, min(BATCH_ROWS, BATCH_BYTES // (widest + 1)))):
                values = [
                    _whole_text(path, column, one, source)
                    for column, one in zip(columns, batch.columns, strict=True)
                ]
                lines = pa.array(np.arange(first, first + batch.num_rows), pa.int64())
                first += batch.num_rows
                yield _cells(values, columns, lines, source, Text())
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error


def _whole_text(path: Path, column: SourceColumn, values: pa.Array, source: Source) -> pa.Array:
    """The values, none of them longer than allowed, and text that is none marked as such."""
    is_encoded = pa.types.is_dictionary(values.type)
    distinct = values.dictionary if is_encoded else values
    if column.type_name not in MEASURED:
        return values.dictionary_decode() if is_encoded else values
    if "view" in column.type_name:
        distinct = distinct.cast(pa.large_binary())
    limit = source.limits.cell_characters
    # No character takes more than four bytes.
    _check_length(path, column, pc.max(pc.binary_length(distinct)), 4 * limit, "bytes")
    if column.kind == "text":
        try:
            distinct = distinct.cast(pa.string())
            distinct.validate(full=True)
        except pa.ArrowInvalid:
            as_bytes = distinct.cast(pa.large_binary()).to_pylist()
            distinct = pa.array(
                [None if one is None else one.decode(errors="replace") for one in as_bytes],
                pa.string(),
            )
        _check_length(path, column, pc.max(pc.utf8_length(distinct)), limit, "characters")
    return distinct.take(values.indices) if is_encoded else distinct


def _check_length(
    path: Path, column: SourceColumn, longest: pa.Scalar, limit: int, unit: str
) -> None:
    if (found := longest.as_py() or 0) > limit:
        name = shown_name(column.name)
        raise DeliveryUnreadable(
            path, f"column {name}: a value has {found:,} {unit}, {limit:,} are allowed"
        )


# ----------------------------------------------------------------------------------------- CSV


def _csv_batches(path: Path, columns: Sequence[SourceColumn], source: Source) -> Iterator[pa.Table]:
    width = len(columns)
    for batch in read_rows(path, source, width):
        texts = [pa.array(column, pa.string()) for column in batch.columns]
        lines = pa.array(batch.numbers, pa.int64())
        cells = _cells(texts, columns, lines, source, source.text)
        yield _with_malformed(cells, batch.malformed, source) if batch.malformed else cells


def _with_malformed(cells: pa.Table, malformed: dict[int, Malformed], source: Source) -> pa.Table:
    """The cells, with what is wrong with malformed lines, and the whole line in ``raw``."""
    rows = cells.num_rows
    is_malformed = pa.array([number in malformed for number in range(rows)])
    problems = pa.array([one.problem for one in malformed.values()], pa.string())
    whole = pa.array([[(MALFORMED, one.line)] for one in malformed.values()], cells["raw"].type)
    # Taken from both, one behind the other: a map has no replacement by mask.
    order = np.arange(rows)
    order[list(malformed)] = rows + np.arange(len(malformed))
    raw = pa.concat_arrays([*cells["raw"].chunks, whole]).take(pa.array(order))
    said = pc.replace_with_mask(pa.nulls(rows, pa.string()), is_malformed, problems)
    changed = {"malformed": said, "raw": raw}
    if source.duplicates == "all columns":
        lines = pa.array([one.line for one in malformed.values()], pa.string())
        text = cells["row_text"].combine_chunks()
        changed["row_text"] = pc.replace_with_mask(
            text, is_malformed, _row_text([MALFORMED], [lines])
        )
    for name, column in changed.items():
        cells = cells.set_column(cells.column_names.index(name), name, column)
    return cells


# ------------------------------------------------------------------------------ cell by cell


def _cells(
    values: Sequence[pa.Array],
    columns: Sequence[SourceColumn],
    lines: pa.Array,
    source: Source,
    dialect: Text,
) -> pa.Table:
    texts = [_as_text(one) for one in values]
    position_of = {column.name: position for position, column in enumerate(columns)}
    rows = len(lines)
    found: dict[str, pa.Array] = {
        **{name: pa.nulls(rows, pa.string()) for name in SOMETIMES_NULL},
        "source_line": lines,
        "raw": _map(raw_names(columns), texts, rows),
    }
    if source.duplicates == "all columns":
        found["row_text"] = _row_text(raw_names(columns), texts)
    kinds = source.ids.model_dump()
    for name, theirs in source.columns.given.items():
        position = position_of[theirs]
        if name == "invoiced_at":
            found |= read_times(values[position], texts[position], columns[position].kind, source)
        elif name in NUMBERS:
            numbers = by_value(
                texts[position], lambda some: read_numbers(given_texts(some, source), dialect)
            )
            decimals = source.quantity_decimals if name == "quantity" else PRICE_DECIMALS
            found[name], found[f"inexact_{name}"] = exact_numbers(numbers, decimals)
        else:
            found[name], found[f"unusable_{name}"] = read_ids(
                values[position], texts[position], kinds.get(name, "text"), source, dialect
            )
    if source.invoices_issued_by is not None:
        issuers = texts[position_of[source.invoices_issued_by]]
        found["invoice_issuer"] = by_value(issuers, lambda some: given_texts(some, source))
    found |= _carried(values, texts, position_of, source, dialect)
    return pa.table(found)


def _carried(
    values: Sequence[pa.Array],
    texts: Sequence[pa.Array],
    position_of: Mapping[str, int],
    source: Source,
    dialect: Text,
) -> dict[str, pa.Array]:
    """What the source carries, and the first thing that is wrong with it."""
    kept, problems = [], pa.nulls(len(texts[0]), pa.string())
    for name, one in source.carry.items():
        position = position_of[one.column]
        if one.keep == "sum":
            read, wrong = read_sums(texts[position], source, dialect)
        else:
            read, wrong = read_ids(values[position], texts[position], "text", source, dialect)
        kept.append(read)
        named = pc.binary_join_element_wise(name, wrong, ": ")
        problems = pc.coalesce(problems, named)
    carried = pa.nulls(len(problems), SCHEMA.field("carried").type)
    if kept:
        carried = _map(list(source.carry), kept, len(problems))
    return {"carried": carried, "unusable_carried": problems}


# ------------------------------------------------------------------------------------- as text


def _as_text(values: pa.Array) -> pa.Array:
    """Each value as text; a float as the shortest decimal text that names it."""
    type_ = values.type
    if pa.types.is_float32(type_) or pa.types.is_float64(type_):
        return _floats_as_text(values)
    if pa.types.is_timestamp(type_):
        return _times_as_text(values)
    if pa.types.is_boolean(type_):
        return pc.if_else(values, "true", "false")
    if (
        pa.types.is_integer(type_)
        or pa.types.is_decimal(type_)
        or pa.types.is_date(type_)
        or pa.types.is_null(type_)
        or pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
    ):
        return values.cast(pa.string())
    # Lists, structures, bytes and the like, which nobody but a person looks at.
    shown = [None if one is None else repr(one) for one in values.to_pylist()]
    return pa.array(shown, pa.string())


def _floats_as_text(values: pa.Array) -> pa.Array:
    # A short float has a shorter text than the double nearest to it; "1.0" and "1" are the same.
    texts = values.cast(pa.string())
    names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    for theirs, ours in names.items():
        texts = pc.if_else(pc.equal(texts, theirs), ours, texts)
    return texts


def _times_as_text(values: pa.Array) -> pa.Array:
    """As a person writes it: to the second, fractions only where there are some, and with the zone
    if it has one."""
    texts = as_micros(values).cast(pa.timestamp("us")).cast(pa.string())
    shown = pc.replace_substring_regex(texts, r"\.?0*$", "Z" if values.type.tz else "")
    # What no calendar holds is shown as its number.
    return pc.coalesce(shown, values.cast(pa.int64()).cast(pa.string()))


def raw_names(columns: Sequence[SourceColumn]) -> list[str]:
    """The names under which ``raw`` holds the columns: printable, and each there once.

    >>> raw_names([SourceColumn(name, "text", "text") for name in ("a", "b", "", "b", "b\\n")])
    ['a', 'b', 'column 3', 'b (2)', 'b\\\\n']
    """
    seen: Counter[str] = Counter()
    names = []
    for position, column in enumerate(columns, start=1):
        name = shown_name(column.name) if column.name else f"column {position}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def _row_text(names: Sequence[str], texts: Sequence[pa.Array]) -> pa.Array:
    """The values of each row in the order of their names, behind a hash of all names."""
    order = sorted(range(len(names)), key=lambda position: names[position])
    columns = pa.scalar(value_sha256([names[position] for position in order])[:16])
    marked = [_marked(texts[position]) for position in order]
    return pc.binary_join_element_wise(columns, *marked, SEPARATOR)


def _marked(texts: pa.Array) -> pa.Array:
    """Texts without the separator, from which the text, or that there was none, can be told."""
    for sign, name in ((ESCAPE, "e"), (SEPARATOR, "s")):
        if pc.any(pc.match_substring(texts, sign)).as_py():
            texts = pc.replace_substring(texts, sign, ESCAPE + name)
    return pc.fill_null(texts, f"{ESCAPE}-")


def _map(names: Sequence[str], texts: Sequence[pa.Array], rows: int) -> pa.Array:
    """One map a row: ``names`` to the row's values."""
    width = len(names)
    keys = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    # Row by row, out of one column after the other.
    columns = pa.concat_arrays(texts)
    order = np.arange(width * rows).reshape(width, rows).T.ravel()
    offsets = pa.array(np.arange(0, rows * width + 1, width), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, columns.take(pa.array(order)))
