"""Delivered rows as they are, cell by cell, in the one form that every engine reads alike.

Engines differ in how they read a damaged line, write a number as text or find out which file a row
is from. So every file is read here, by one reader, and what the engine gets is text.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, ROUND_UP, Context, Decimal
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
from ledger import DeliveredFile, delivery_id
from params import Source, Text
from records import Delivery

MALFORMED = "_malformed_line"

BATCH_ROWS = 65_536
BATCH_BYTES = 1 << 25
ROWS_OF_A_FILE = 500_000

# What engines read differently: a power of ten behind the digits, as some writers shorten numbers,
# and more decimals than any of our types holds.
DECIMALS = 30
UNUSUAL_NUMBER = rf"[eE]|\.[0-9]{{{DECIMALS + 1},}}$"
MEASURED = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")

# A number beyond it is no amount, and writing it out would take pages.
LARGEST_EXPONENT = 40
DIGITS = Context(prec=100)
WHOLE_NUMBER = r"^\+?(-?)0*([0-9]+)(?:\.0*)?$"

# What lies behind the decimals that are kept would be dropped, so it must be nothing, or no larger
# than the distance between two doubles, as in 0.30000000000000004.
PRICE_DECIMALS = 6
NOISE_OF_A_DOUBLE = Decimal(2) ** -51

# Control characters, formats (zero width, writing direction), private use, other line ends, what
# was no text before (U+FFFD), and the code points that are no characters.
STRANGE = (
    r"[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\x{FFFD}\x{FDD0}-\x{FDEF}\x{FFFE}\x{FFFF}"
    + "".join(rf"\x{{{plane:X}FFFE}}\x{{{plane:X}FFFF}}" for plane in range(1, 17))
    + "]"
)
# Whole numbers beyond which a float of this width has no neighbour one apart.
EXACT_IN = {"float": 2**24, "double": 2**53}

# A time of day alone would be read as today's, so the date is asked for.
ISO_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]"
    r"(:[0-5][0-9](\.[0-9]{1,9})?)?$"
)
TIME_AND_ZONE = (
    r"^(?P<time>.*[0-9]:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?)"
    r" ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
)
FARTHEST_ZONE = timedelta(hours=14)
# The letters of Spark's patterns that stand for a zone, outside quoted text.
PATTERN_ZONE = re.compile(r"[VXxZ]")
QUOTED = re.compile(r"'[^']*'")
# The names that every engine knows, and nothing else that one of them takes for a zone.
NAMED_ZONE = r"(UTC|GMT|[A-Z][A-Za-z]+(/[A-Z][A-Za-z_]+)+)(\]| |$)"

IDS = ("invoice_id", "product_id", "customer_id", "country")
NUMBERS = ("quantity", "unit_price")

SCHEMA = pa.schema(
    [
        ("known_on", pa.date32()),
        ("source_file", pa.string()),
        ("source_line", pa.int64()),
        *((name, pa.string()) for name in (*IDS, *NUMBERS, "invoice_issuer")),
        # One of the three is given: as text with its distance from UTC in minutes, if it has one;
        # as an instant; or as a time of the source's zone.
        ("invoiced_at_text", pa.string()),
        ("invoiced_at_offset", pa.int64()),
        ("invoiced_at_instant", pa.timestamp("us", "UTC")),
        ("invoiced_at_local", pa.timestamp("us")),
        ("malformed", pa.string()),
        *((f"unusable_{name}", pa.string()) for name in IDS),
        *((f"inexact_{name}", pa.string()) for name in NUMBERS),
        ("raw", pa.map_(pa.string(), pa.string())),
    ]
)
"""What is written. Ids are usable, numbers are plain decimal text without exponent; what is none is
null. ``malformed``, ``unusable_*`` and ``inexact_*`` say what is wrong, null if nothing is. ``raw``
holds every column of the row by the source's name, as text."""

SPARK_SCHEMA = ", ".join(
    f"{name} {kind}"
    for name, kind in [
        *(("known_on", "date"), ("source_file", "string"), ("source_line", "bigint")),
        *((name, "string") for name in (*IDS, *NUMBERS, "invoice_issuer", "invoiced_at_text")),
        *(("invoiced_at_offset", "bigint"), ("invoiced_at_instant", "timestamp")),
        *(("invoiced_at_local", "timestamp_ntz"), ("malformed", "string")),
        *((f"unusable_{name}", "string") for name in IDS),
        *((f"inexact_{name}", "string") for name in NUMBERS),
        ("raw", "map<string, string>"),
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
        yield _with_malformed(cells, batch.malformed) if batch.malformed else cells


def _with_malformed(cells: pa.Table, malformed: dict[int, Malformed]) -> pa.Table:
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
    for name, column in (("malformed", said), ("raw", raw)):
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
        "source_line": lines,
        "malformed": pa.nulls(rows, pa.string()),
        "invoice_issuer": pa.nulls(rows, pa.string()),
        "raw": _map(raw_names(columns), texts, rows),
    }
    kinds = source.ids.model_dump()
    for name, theirs in source.columns.model_dump().items():
        position = position_of[theirs]
        if name == "invoiced_at":
            found |= _times(values[position], texts[position], columns[position].kind, source)
        elif name in NUMBERS:
            numbers = _by_value(
                texts[position], lambda some: _numbers(_given(some, source), dialect)
            )
            decimals = source.quantity_decimals if name == "quantity" else PRICE_DECIMALS
            found[name], found[f"inexact_{name}"] = _exact(numbers, decimals)
        else:
            found[name], found[f"unusable_{name}"] = _ids(
                values[position], texts[position], kinds.get(name, "text"), source, dialect
            )
    if source.invoices_issued_by is not None:
        issuers = texts[position_of[source.invoices_issued_by]]
        found["invoice_issuer"] = _by_value(issuers, lambda some: _given(some, source))
    return pa.table(found)


def _by_value(texts: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """``function`` of each text, computed once for each distinct one."""
    encoded = texts.dictionary_encode()
    return function(encoded.dictionary).take(encoded.indices)


def _given(texts: pa.Array, source: Source) -> pa.Array:
    """The texts without blanks around them; null where nothing is left, or a marker for null."""
    trimmed = pc.utf8_trim_whitespace(texts)
    nothing = pc.is_in(trimmed, value_set=pa.array(["", *source.null_markers]))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), trimmed)


def _ids(
    values: pa.Array, texts: pa.Array, kind: str, source: Source, dialect: Text
) -> tuple[pa.Array, pa.Array]:
    """Ids, in the form NFC, and what is wrong with those that are not usable, which are null."""
    encoded = texts.dictionary_encode()
    given = _given(encoded.dictionary, source)
    ids = pc.utf8_normalize(given, form="NFC")
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        ids = _plain_numbers(ids)
        # Writers make floats of whole numbers with gaps: 17850.0 is 17850.
        ids = pc.replace_substring_regex(ids, r"^(-?[0-9]+)\.0*$", r"\1")
    if kind == "number":
        ids = _numbers(ids, dialect)
        is_whole = pc.match_substring_regex(ids, WHOLE_NUMBER)
        ids = pc.if_else(is_whole, pc.replace_substring_regex(ids, WHOLE_NUMBER, r"\1\2"), None)
        ids = pc.if_else(pc.equal(ids, "-0"), "0", ids)

    limit = source.limits.id_characters
    problems = pa.nulls(len(given), pa.string())
    for is_wrong, problem in (
        (pc.and_(pc.is_valid(given), pc.is_null(ids)), "it is no whole number"),
        (pc.greater(pc.utf8_length(ids), limit), f"it has more than {limit} characters"),
        (pc.match_substring_regex(given, STRANGE), "it holds a character that no id has"),
    ):
        problems = pc.if_else(pc.fill_null(is_wrong, False), problem, problems)
    ids, problems = ids.take(encoded.indices), problems.take(encoded.indices)

    if (most := EXACT_IN.get(str(values.type))) is not None:
        ids = pc.if_else(pc.is_nan(values), None, ids)
        problems = pc.if_else(pc.is_nan(values), None, problems)
        is_vague = pc.greater(pc.abs(values), pa.scalar(float(most), values.type))
        vague = f"beyond {most:,} a {values.type} does not hold every whole number"
        problems = pc.if_else(pc.and_not(is_vague, pc.is_nan(values)), vague, problems)
    return pc.if_else(pc.is_valid(problems), pa.scalar(None, pa.string()), ids), problems


def _numbers(texts: pa.Array, dialect: Text) -> pa.Array:
    """Numbers as plain decimal text; null where a text is no number of this dialect."""
    mark, thousands = re.escape(dialect.decimal_mark), dialect.thousands_mark
    digits = r"[0-9]+"
    if thousands:
        digits = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+)"
    shape = rf"(?:{digits}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]{{1,4}})?"
    is_number = pc.match_substring_regex(texts, rf"^[+-]?{shape}$")
    if dialect.trailing_minus:
        is_behind = pc.match_substring_regex(texts, rf"^{shape} ?-$")
        moved = pc.replace_substring_regex(texts, r"^(.*?) ?-$", r"-\1")
        texts = pc.if_else(is_behind, moved, texts)
        is_number = pc.or_(is_number, is_behind)
    numbers = pc.if_else(is_number, texts, pa.scalar(None, pa.string()))
    if thousands:
        numbers = pc.replace_substring(numbers, thousands, "")
    if dialect.decimal_mark != ".":
        numbers = pc.replace_substring(numbers, dialect.decimal_mark, ".")
    return _plain_numbers(numbers)


def _plain_numbers(numbers: pa.Array) -> pa.Array:
    """Numbers with an exponent, or very many decimals, written out; others as they are."""
    unusual = pc.fill_null(pc.match_substring_regex(numbers, UNUSUAL_NUMBER), False)
    if not pc.any(unusual).as_py():
        return numbers
    written = [_written_out(text) for text in pc.filter(numbers, unusual).to_pylist()]
    return pc.replace_with_mask(numbers, unusual, pa.array(written, pa.string()))


def _written_out(text: str) -> str | None:
    """The number without an exponent, with at most ``DECIMALS`` decimals; null if it is too large.

    The last decimal is rounded up, so that a fraction too small to be shown is still one.

    >>> _written_out("1e2"), _written_out("-2.5E-7"), _written_out("1e300"), _written_out("1e-99")
    ('100', '-0.00000025', None, '0.000000000000000000000000000001')
    """
    number = Decimal(text)
    if number.adjusted() > LARGEST_EXPONENT:
        return None
    if -number.as_tuple().exponent > DECIMALS:
        number = number.quantize(Decimal(1).scaleb(-DECIMALS), ROUND_UP, DIGITS)
    return f"{number:f}"


def _exact(numbers: pa.Array, decimals: int) -> tuple[pa.Array, pa.Array]:
    """Numbers of so many decimals, and those that have more, which are null among the first."""
    encoded = numbers.dictionary_encode()
    has_more = rf"\.[0-9]{{{decimals}}}[0-9]*[1-9]"
    inexact = pc.fill_null(pc.match_substring_regex(encoded.dictionary, has_more), False)
    nothing = pa.nulls(len(numbers), pa.string())
    if not pc.any(inexact).as_py():
        return numbers, nothing
    long = pc.filter(encoded.dictionary, inexact).to_pylist()
    kept = pa.array([_without_noise(text, decimals) for text in long], pa.string())
    exact = pc.replace_with_mask(encoded.dictionary, inexact, kept)
    dropped = pc.if_else(pc.and_(inexact, pc.is_null(exact)), encoded.dictionary, None)
    return exact.take(encoded.indices), dropped.take(encoded.indices)


def _without_noise(text: str, decimals: int) -> str | None:
    """The number in so many decimals, if nothing but the noise of a double lies behind them.

    >>> _without_noise("0.30000000000000004", 6), _without_noise("0.000000001", 6)
    ('0.300000', None)
    """
    number = Decimal(text)
    rounded = number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, DIGITS)
    is_noise = abs(number - rounded) <= abs(number) * NOISE_OF_A_DOUBLE
    return f"{rounded:f}" if is_noise else None


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
    texts = _micros(values).cast(pa.timestamp("us")).cast(pa.string())
    shown = pc.replace_substring_regex(texts, r"\.?0*$", "Z" if values.type.tz else "")
    # What no calendar holds is shown as its number.
    return pc.coalesce(shown, values.cast(pa.int64()).cast(pa.string()))


UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799


def _micros(values: pa.Array) -> pa.Array:
    """Timestamps in millionths of a second, cut off downwards, in UTC if they have a zone.

    Null outside the years 1 to 9999.
    """
    target = pa.timestamp("us", "UTC") if values.type.tz else pa.timestamp("us")
    if values.type.unit == "ns":
        # Cast, it would be cut off towards 1970.
        numbers = values.cast(pa.int64())
        rest = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 1000), 1000))
        floored = pc.subtract(
            pc.divide(numbers, 1000), pc.if_else(pc.less(rest, 0), 1, 0).cast(pa.int64())
        )
        return floored.cast(target)
    unit, numbers = UNITS[values.type.unit], values.cast(pa.int64())
    is_dated = pc.and_(
        pc.greater_equal(numbers, FIRST_SECOND * unit), pc.less(numbers, (LAST_SECOND + 1) * unit)
    )
    return pc.if_else(is_dated, values, pa.scalar(None, values.type)).cast(target)


def _times(values: pa.Array, texts: pa.Array, kind: str, source: Source) -> dict[str, pa.Array]:
    """Times in the one of three columns that they belong in."""
    found = {
        name: pa.nulls(len(values), SCHEMA.field(name).type)
        for name in (
            "invoiced_at_text",
            "invoiced_at_offset",
            "invoiced_at_instant",
            "invoiced_at_local",
        )
    }
    if kind in ("zoned", "naive"):
        name = "invoiced_at_instant" if kind == "zoned" else "invoiced_at_local"
        return found | {name: _micros(values)}
    encoded = texts.dictionary_encode()
    given = _given(encoded.dictionary, source)
    if not names_zone(source.timestamp_format):
        given, offsets = _without_zone(given)
        found["invoiced_at_offset"] = offsets.take(encoded.indices)
    for is_asked, shape in (
        (source.timestamp_format is None, ISO_TIME),
        ("V" in QUOTED.sub("", source.timestamp_format or ""), NAMED_ZONE),
    ):
        if is_asked:
            is_right = pc.match_substring_regex(given, shape)
            given = pc.if_else(is_right, given, pa.scalar(None, pa.string()))
    return found | {"invoiced_at_text": given.take(encoded.indices)}


def names_zone(pattern: str | None) -> bool:
    """Whether one of Spark's patterns for timestamps holds the zone.

    >>> names_zone("dd.MM.yyyy 'at Oz' HH:mm"), names_zone("yyyy-MM-dd HH:mmXXX"), names_zone(None)
    (False, True, False)
    """
    return bool(pattern and PATTERN_ZONE.search(QUOTED.sub("", pattern)))


def _without_zone(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The texts without a zone behind the time, and its minutes ahead of UTC, null without one."""
    parts = pc.extract_regex(texts, TIME_AND_ZONE)
    zones = pc.struct_field(parts, "zone").dictionary_encode()
    minutes = pa.array([_minutes(zone) for zone in zones.dictionary.to_pylist()], pa.int64())
    offsets = minutes.take(zones.indices)
    # Where the distance is none that a zone has, the text stays as it is, which nobody can read.
    return pc.if_else(pc.is_valid(offsets), pc.struct_field(parts, "time"), texts), offsets


def _minutes(zone: str | None) -> int | None:
    """The distance from UTC in minutes; null if no zone is that far away.

    >>> [_minutes(zone) for zone in ("Z", "+02", "-0330", "+05:45", "+15:00", "+01:75")]
    [0, 120, -210, 345, None, None]
    """
    if zone is None:
        return None
    if zone in ("Z", "UTC", "GMT"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].removeprefix(":") or 0)
    distance = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or distance > FARTHEST_ZONE:
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


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


def _map(names: Sequence[str], texts: Sequence[pa.Array], rows: int) -> pa.Array:
    """One map a row: ``names`` to the row's values."""
    width = len(names)
    keys = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    # Row by row, out of one column after the other.
    columns = pa.concat_arrays(texts)
    order = np.arange(width * rows).reshape(width, rows).T.ravel()
    offsets = pa.array(np.arange(0, rows * width + 1, width), pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, columns.take(pa.array(order)))
