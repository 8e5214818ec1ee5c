"""What upstream promised: the columns of its table, and of what kind each is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from deliveries.delimited import header
from deliveries.files import open_parquet
from errors import BadData
from ledger import DeliveredFile
from params import Source

NAMES_SHOWN = 10
CHARACTERS_SHOWN = 100
FILES_SHOWN = 5
SEPARATORS = (";", ",", "\t", "|")


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column as a file has it.

    ``kind`` is text, integer, float, decimal, zoned or naive (timestamps), date, empty (nothing
    but nulls, so nothing is known of it), or other.
    ``type_name`` is the file's own word for it.
    """

    name: str
    kind: str
    type_name: str


KINDS = {
    "text": frozenset({"text", "integer", "float", "decimal"}),
    "country": frozenset({"text"}),
    "number": frozenset({"integer", "float", "decimal"}),
    "time": frozenset({"zoned", "naive", "date"}),
}
"""What each kind of canonical column may be read from: ids may be numbers, and a number may be of
any width, for writers of Parquet choose the width (and make floats of integers with gaps)."""

CANONICAL_KINDS = {
    "invoice_id": "text",
    "product_id": "text",
    "customer_id": "text",
    "quantity": "number",
    "unit_price": "number",
    "amount": "number",
    "invoiced_at": "time",
    "country": "country",
}


class ContractBroken(BadData):
    """A delivered table is not as agreed: a column is gone, of another kind, or there twice."""

    def __init__(self, folder: Path, broken: dict[str, list[str]]) -> None:
        shown = list(broken.items())[:FILES_SHOWN]
        lines = [f"{name}: {'; '.join(differences)}." for name, differences in shown]
        if len(broken) > len(shown):
            lines.append(f"... and {len(broken) - len(shown)} more files.")
        super().__init__(
            f"the delivery {folder} breaks the contract in {len(broken)} file(s). "
            + " ".join(lines)
            + " Ask upstream to deliver it as agreed; if the change is meant, change "
            "`sources` in params.yaml."
        )


class DeliveryTooLarge(BadData):
    """A delivery exceeds one of the limits of its source."""

    def __init__(self, path: Path, found: str, limit: str, most: int) -> None:
        super().__init__(
            f"{path} has {found}, {most:,} are allowed. If that is right, raise limits.{limit} of "
            "the source in params.yaml; else ask upstream to deliver it again."
        )


def shown_name(name: str) -> str:
    """A column's name as a person can read it: printable, and not too long.

    >>> shown_name("Customer ID"), shown_name("a\\0b"), shown_name("x" * 1_000)[-4:]
    ('Customer ID', 'a\\\\x00b', 'xxx…')
    """
    printable = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)
    is_long = len(printable) > CHARACTERS_SHOWN
    return printable[:CHARACTERS_SHOWN] + "…" if is_long else printable


def file_columns(path: Path, source: Source) -> tuple[SourceColumn, ...]:
    """The columns of one file, in its order; those of a CSV file are all text.

    Raises:
        DeliveryUnreadable: If the footer or the header cannot be read.
        DeliveryTooLarge: If there are too many, or one has too long a name.
    """
    if source.format == "csv":
        columns = tuple(SourceColumn(name, "text", "text") for name in header(path, source))
    else:
        columns = _parquet_columns(path)
    limits = source.limits
    if len(columns) > limits.columns:
        raise DeliveryTooLarge(path, f"{len(columns):,} columns", "columns", limits.columns)
    longest = max((column.name for column in columns), key=len, default="")
    if len(longest) > limits.column_name_characters:
        raise DeliveryTooLarge(
            path,
            f"a column whose name has {len(longest):,} characters ({shown_name(longest)})",
            "column_name_characters",
            limits.column_name_characters,
        )
    return columns


def contract_differences(columns: Sequence[SourceColumn], source: Source) -> list[str]:
    """How these columns break the contract, as clauses; empty if they keep it.

    Columns that nobody uses may be called anything, as another but for its letter case too.
    """
    found = {column.name: column for column in columns}
    times = Counter(column.name for column in columns)
    ours_of = {name: ours for ours, name in source.columns.given.items()}

    differences = []
    for name in source.columns_used:
        ours = ours_of.get(name)
        called = f"column {shown_name(name)!r}" + (f" (our {ours})" if ours else "")
        if name not in found:
            differences.append(f"{called} is missing among {_names(found)}{_guess(name, found)}")
        elif times[name] > 1:
            differences.append(f"{called} is there {times[name]} times")
        elif ours and not _is_readable(found[name], CANONICAL_KINDS[ours], source):
            differences.append(
                f"{called} is {found[name].type_name}, "
                f"where {_expected(CANONICAL_KINDS[ours], source)} was agreed"
            )
    if differences and source.format == "csv":
        differences.extend(_doubts(columns, source))
    return differences


def check_contract(folder: Path, files: Sequence[DeliveredFile], source: Source) -> list[str]:
    """Compare each file's own columns with the contract; sentences about new columns, tolerated.

    Raises:
        ContractBroken: If a column that is used is missing, of another kind, or there twice;
            names file, column and types.
        DeliveryUnreadable: If a footer or header cannot be read.
        DeliveryTooLarge: If there are too many columns, or one has too long a name.
    """
    columns = {file.name: file_columns(folder / file.name, source) for file in files}

    differences = {name: contract_differences(found, source) for name, found in columns.items()}
    broken = {name: clauses for name, clauses in differences.items() if clauses}
    if broken:
        raise ContractBroken(folder, broken)

    used = set(source.columns_used)
    new = {c.name: c for found in columns.values() for c in found if c.name not in used}
    files_with = Counter(name for found in columns.values() for name in {c.name for c in found})
    findings = [
        f"new column {shown_name(name)!r} ({new[name].type_name}) in {files_with[name]} of "
        f"{len(columns)} file(s); it is not used."
        for name in sorted(new)[:NAMES_SHOWN]
    ]
    if len(new) > NAMES_SHOWN:
        findings.append(f"... and {len(new) - NAMES_SHOWN:,} more new columns, not used.")
    return findings


def _names(found: dict[str, SourceColumn]) -> str:
    shown = [shown_name(name) for name in sorted(found)[:NAMES_SHOWN]]
    return f"{shown}" + (
        f" and {len(found) - len(shown):,} more" if len(found) > len(shown) else ""
    )


def _guess(name: str, found: dict[str, SourceColumn]) -> str:
    """A column that may be meant: the same but for letter case and blanks."""
    folded = name.strip().casefold()
    like = next((one for one in found if one.strip().casefold() == folded), None)
    return "" if like is None else f" (is it {shown_name(like)!r}?)"


def _doubts(columns: Sequence[SourceColumn], source: Source) -> list[str]:
    """What may be wrong with the way a text file is read, as questions."""
    names, text = [column.name for column in columns], source.text
    doubts = []
    if len(names) == 1:
        counts = {one: names[0].count(one) for one in SEPARATORS if one != text.separator}
        likely = max(counts, key=counts.__getitem__)
        if counts[likely]:
            doubts.append(f"there is one column only; is the separator {likely!r}?")
    elif not set(names) & set(source.columns_used):
        doubts.append(
            "no name fits; has the file no header (column_names), or another encoding than "
            f"{text.encoding}?"
        )
    return doubts


def _is_readable(column: SourceColumn, kind: str, source: Source) -> bool:
    if source.format == "csv" or column.kind == "empty":
        return True
    is_written_time = kind == "time" and source.timestamp_format and column.kind == "text"
    return column.kind in KINDS[kind] or bool(is_written_time)


def _expected(kind: str, source: Source) -> str:
    if kind == "time" and source.timestamp_format:
        return f"a timestamp, a date, or text like {source.timestamp_format}"
    return {
        "text": "text or a whole number",
        "country": "text",
        "number": "a number",
        "time": "a timestamp or a date",
    }[kind]


def _parquet_columns(path: Path) -> tuple[SourceColumn, ...]:
    parquet = open_parquet(path)
    # The oldest timestamps of Parquet carry no zone by name, but are UTC by custom.
    int96 = {
        parquet.schema.column(index).path
        for index in range(len(parquet.schema))
        if parquet.schema.column(index).physical_type == "INT96"
    }
    return tuple(
        SourceColumn(field.name, "zoned", "int96") if field.name in int96 else _arrow_column(field)
        for field in parquet.schema_arrow
    )


def _arrow_column(field: pa.Field) -> SourceColumn:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return SourceColumn(field.name, _kind(type_), str(type_))


def _kind(type_: pa.DataType) -> str:
    kinds = {
        "integer": pa.types.is_integer,
        "float": lambda one: pa.types.is_float32(one) or pa.types.is_float64(one),
        "text": lambda one: (
            pa.types.is_string(one) or pa.types.is_large_string(one) or pa.types.is_string_view(one)
        ),
        "decimal": pa.types.is_decimal,
        "date": pa.types.is_date,
        "empty": pa.types.is_null,
    }
    if pa.types.is_timestamp(type_):
        return "zoned" if type_.tz else "naive"
    return next((kind for kind, holds in kinds.items() if holds(type_)), "other")
