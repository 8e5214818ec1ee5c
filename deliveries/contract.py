"""What upstream promised: the columns of its table, and of what kind each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from deliveries.files import csv_header, csv_rows, open_parquet
from errors import BadData
from ledger import DeliveredFile, delivery_id
from params import Source
from records import Delivery

NAMES_SHOWN = 10
FILES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column as a file has it.

    ``kind`` is text, integer, float, decimal, zoned or naive (timestamps), empty (nothing but
    nulls, so nothing is known of it), other, or nested (no single value, so it is left out).
    ``type_name`` is the file's own word for it.
    """

    name: str
    kind: str
    type_name: str


KINDS = {
    "text": frozenset({"text", "integer", "float"}),
    "country": frozenset({"text"}),
    "number": frozenset({"integer", "float", "decimal"}),
    "time": frozenset({"zoned", "naive"}),
}
"""What each kind of canonical column may be read from: ids may be numbers, and a number may be of
any width, for writers of Parquet choose the width (and make floats of integers with gaps)."""

CANONICAL_KINDS = {
    "invoice_id": "text",
    "product_id": "text",
    "customer_id": "text",
    "quantity": "number",
    "unit_price": "number",
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


def file_columns(path: Path, format: str) -> tuple[SourceColumn, ...]:
    """The columns of one file, in its order; those of a CSV file are all text.

    Raises:
        DeliveryUnreadable: If the footer or the header cannot be read.
    """
    if format == "csv":
        return tuple(SourceColumn(name, "text", "text") for name in csv_header(path))

    parquet = open_parquet(path)
    int96 = {
        parquet.schema.column(index).path
        for index in range(len(parquet.schema))
        if parquet.schema.column(index).physical_type == "INT96"
    }
    return tuple(
        # The oldest Parquet timestamps carry no zone by name, but are UTC by custom.
        SourceColumn(field.name, "zoned", "int96") if field.name in int96 else _arrow_column(field)
        for field in parquet.schema_arrow
    )


def contract_differences(columns: Sequence[SourceColumn], source: Source) -> list[str]:
    """How these columns break the contract, as clauses; empty if they keep it."""
    found = {column.name: column for column in columns}
    folded = [column.name.casefold() for column in columns]
    twice = sorted({column.name for column in columns if folded.count(column.name.casefold()) > 1})

    differences = [f"column {name!r} is there twice (letter case aside)" for name in twice]
    for canonical, name in source.columns.model_dump().items():
        if name not in found:
            differences.append(
                f"column {name!r} (our {canonical}) is missing among {sorted(found)[:NAMES_SHOWN]}"
            )
        elif not _is_readable(found[name], CANONICAL_KINDS[canonical], source):
            differences.append(
                f"column {name!r} (our {canonical}) is {found[name].type_name}, "
                f"where {_expected(CANONICAL_KINDS[canonical], source)} was agreed"
            )
    return differences


def check_contract(folder: Path, files: Sequence[DeliveredFile], source: Source) -> list[str]:
    """Compare each file's own columns with the contract; sentences about new columns, tolerated.

    Raises:
        ContractBroken: If a column of ``source.columns`` is missing, of another kind, or there
            twice; names file, column and types.
        DeliveryUnreadable: If a footer or header cannot be read.
    """
    columns = {file.name: file_columns(folder / file.name, source.format) for file in files}

    differences = {name: contract_differences(found, source) for name, found in columns.items()}
    broken = {name: clauses for name, clauses in differences.items() if clauses}
    if broken:
        raise ContractBroken(folder, broken)

    agreed = set(source.columns.model_dump().values())
    new = {column.name: column for found in columns.values() for column in found}
    return [
        f"new column {name!r} ({new[name].type_name}) in "
        f"{sum(any(c.name == name for c in found) for found in columns.values())} of "
        f"{len(columns)} file(s); it is not used."
        for name in sorted(set(new) - agreed)
    ]


def open_delivery(
    folder: Path, day: date, intake: str, files: list[DeliveredFile], source: Source
) -> Delivery:
    """The delivery whose copy is in ``folder``, if it keeps the contract.

    Raises:
        ContractBroken: If a column is gone or of another kind.
    """
    findings = check_contract(folder, files, source)
    rows = sum(csv_rows(folder / file.name) if file.rows is None else file.rows for file in files)
    return Delivery(day, delivery_id(files), intake, folder, files, rows, findings)


def _is_readable(column: SourceColumn, kind: str, source: Source) -> bool:
    if source.format == "csv" or column.kind == "empty":
        return True
    is_written_time = kind == "time" and source.timestamp_format and column.kind == "text"
    return column.kind in KINDS[kind] or bool(is_written_time)


def _expected(kind: str, source: Source) -> str:
    if kind == "time" and source.timestamp_format:
        return f"a timestamp, or text like {source.timestamp_format}"
    return {
        "text": "text or a whole number",
        "country": "text",
        "number": "a number",
        "time": "a timestamp",
    }[kind]


def _arrow_column(field: pa.Field) -> SourceColumn:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return SourceColumn(field.name, _kind(type_), str(type_))


def _kind(type_: pa.DataType) -> str:
    kinds = {
        "integer": pa.types.is_integer,
        "float": lambda one: pa.types.is_float32(one) or pa.types.is_float64(one),
        "text": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one),
        "decimal": pa.types.is_decimal,
        "empty": pa.types.is_null,
        "other": lambda one: pa.types.is_boolean(one) or pa.types.is_date32(one),
    }
    if pa.types.is_timestamp(type_):
        return "zoned" if type_.tz else "naive"
    return next((kind for kind, holds in kinds.items() if holds(type_)), "nested")
