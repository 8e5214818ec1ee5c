"""The files of one delivery: found, read through once, and named by their content."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from errors import BadData
from lake import file_sha256, value_sha256
from records import DeliveredFile


class DeliveryMissing(Exception):
    """The delivery is not there, or not whole yet; waiting may mend it."""


class DeliveryUnreadable(BadData):
    """A delivered file cannot be read: it is cut off, damaged, or not of the stated format."""

    def __init__(self, path: Path, cause: object) -> None:
        super().__init__(
            f"{path} cannot be read ({cause}). Ask upstream to deliver it again, then clear the "
            "task."
        )


def data_files(folder: Path, format: str) -> list[Path]:
    """The files of the delivery in ``folder``, sorted by name.

    Upstream writes elsewhere and renames the folder into place, so a folder that is there with
    at least one data file is whole. Entries whose name starts with ``_`` or ``.`` are not data.

    Raises:
        DeliveryMissing: If the folder is absent, has no ``.{format}`` file, or holds anything
            that is neither such a file nor hidden: an upload that has not ended, or another format.
    """
    if not folder.is_dir():
        raise DeliveryMissing(f"no delivery at {folder}: there is no such folder yet.")

    entries = sorted(path for path in folder.iterdir() if path.name[0] not in "_.")
    others = [path.name for path in entries if path.suffix != f".{format}" or not path.is_file()]
    if others:
        raise DeliveryMissing(
            f"the delivery at {folder} is not whole, or not {format}: beside its .{format} files "
            f"it holds {others[:5]}. Wait for the upload to end; name what is not data with a "
            "leading underscore."
        )
    if not entries:
        raise DeliveryMissing(
            f"no delivery at {folder}: the folder has no .{format} file. A day without trade is "
            "delivered as a file without rows."
        )
    return entries


def delivered_files(folder: Path, format: str) -> list[DeliveredFile]:
    """What is in the delivery, every byte read once; sorted by name.

    ``rows`` comes from the Parquet footer and is None for CSV, whose rows are counted when they are
    read.

    Raises:
        DeliveryMissing: See ``data_files``.
        DeliveryUnreadable: If a file is damaged; names it.
    """
    return [
        DeliveredFile(
            name=path.name,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
            rows=_read_through(path, format),
        )
        for path in data_files(folder, format)
    ]


def delivery_id(files: Sequence[DeliveredFile]) -> str:
    """The identity of a delivery: 16 hex digits of the hash of its files' names and contents."""
    return value_sha256(sorted((file.name, file.sha256) for file in files))[:16]


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file with its footer read.

    Raises:
        DeliveryUnreadable: If the footer is damaged or absent.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error


def _read_through(path: Path, format: str) -> int | None:
    if format == "csv":
        return None

    # Damage in the middle of a file does not show in its footer.
    parquet = open_parquet(path)
    try:
        rows = sum(batch.num_rows for batch in parquet.iter_batches())
    except (pa.ArrowException, OSError) as error:
        raise DeliveryUnreadable(path, error) from error
    return rows
