"""A deliverer of small tables, and the source that they follow."""

import csv
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from deliveries.cells import DeliveredCells
from deliveries.lines import read_lines
from deliveries.receive import describe_delivery
from params import Source, read_params

DAY = date(2026, 4, 1)

TYPES = {
    "invoice": pa.string(),
    "product": pa.string(),
    "customer": pa.string(),
    "quantity": pa.int32(),
    "unit_price": pa.float64(),
    "invoiced_at": pa.timestamp("us"),
    "country": pa.string(),
}


@pytest.fixture
def source() -> Source:
    """The generated source, as params.yaml has it."""
    return read_params().source("generated")


@pytest.fixture
def csv_source(source) -> Source:
    """The same table as CSV, its times as text."""
    return source.model_copy(update={"format": "csv", "timestamp_format": "dd/MM/yyyy HH:mm"})


def line(**values) -> dict:
    """A delivered row; a test names only the values it is about."""
    return {
        "invoice": "500001",
        "product": "85123A",
        "customer": "17850",
        "quantity": 6,
        "unit_price": 2.55,
        "invoiced_at": datetime.fromisoformat("2026-04-01T08:26"),
        "country": "United Kingdom",
    } | values


def write_parquet(folder: Path, lines: Sequence[dict], name="part-0.parquet", **types) -> Path:
    """Write lines as a file of a delivery; returns its folder."""
    columns = {key: type_ for key, type_ in (TYPES | types).items() if type_ is not None}
    table = pa.table(
        {key: pa.array([row.get(key) for row in lines], columns[key]) for key in columns}
    )
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name)
    return folder


def write_csv(folder: Path, lines: Sequence[dict], name="part-0.csv") -> Path:
    """The same as text, quoted where it must be."""
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(TYPES), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return folder


@pytest.fixture
def deliver(tmp_path):
    """``deliver(line(...), ..., day=, name=, **types)`` writes a file; returns its folder.

    A type given by column name replaces the usual one; None leaves the column out.
    """

    def write(*lines: dict, day: date = DAY, name: str = "part-0.parquet", **types) -> Path:
        return write_parquet(tmp_path / str(day), lines, name, **types)

    return write


@pytest.fixture
def deliver_text(tmp_path):
    """``deliver_text("header\\nrow\\n")`` writes a CSV file; returns its folder."""

    def write(text: str | bytes, day: date = DAY, name: str = "part-0.csv") -> Path:
        folder = tmp_path / str(day)
        folder.mkdir(exist_ok=True)
        content = text.encode() if isinstance(text, str) else text
        (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def read(spark, tmp_path):
    """``read(source, folder, ...)`` gives the lines of these deliveries as rows, times in UTC."""

    def collect(source: Source, *folders: Path) -> list:
        with DeliveredCells(tmp_path) as cells:
            for folder in folders:
                day = date.fromisoformat(folder.name)
                files = describe_delivery(folder, source.format)
                cells.open_delivery(folder, day, f"d-{day}", files, source)
            lines = read_lines(spark, cells.finish(), source)
            # Without a zone, Python shows what Spark holds, whatever the machine's zone.
            local = lines.invoiced_at.cast("timestamp_ntz")
            return lines.withColumn("invoiced_at", local).collect()

    return collect
