"""Opening a delivered file."""

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
