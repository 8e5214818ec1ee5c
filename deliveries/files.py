"""Opening a delivered file: its footer, or its header."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from errors import BadData


class DeliveryUnreadable(BadData):
    """A delivered file cannot be read: it is cut off, damaged, or not of the stated format."""

    def __init__(self, path: Path, cause: object) -> None:
        self.path = path
        super().__init__(
            f"{path} cannot be read ({cause}). Ask upstream to deliver it again, then clear the "
            "task."
        )


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file with its footer read.

    Raises:
        DeliveryUnreadable: If the footer is damaged or absent.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error


def csv_header(path: Path) -> list[str]:
    """The column names in the first line of a CSV file (UTF-8, comma, quotes doubled).

    Raises:
        DeliveryUnreadable: If there is no such line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeliveryUnreadable(path, error) from error
    except StopIteration:
        raise DeliveryUnreadable(path, "it is empty, not even a header") from None


def csv_rows(path: Path) -> int:
    """How many rows a CSV file has beside its header; a quoted value may hold line breaks.

    Raises:
        DeliveryUnreadable: If it is not UTF-8 to its end, or no CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return sum(1 for row in csv.reader(file) if row) - 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise DeliveryUnreadable(path, error) from error
