"""How many rows a job looks at, counted as rows of activity: by that its engine is chosen."""

from collections.abc import Iterable

from ledger import DeliveredFile
from records import RunRecord, StageRecord
from settings import Settings

BYTES_OF_A_LINE = 60

# A line with its payload takes as much memory as so many rows of activity.
ROWS_OF_A_LINE = 2.5


def lines_of(files: Iterable[DeliveredFile]) -> int:
    """About how many lines are to be read: those of Parquet are known, those of text guessed."""
    return sum(file.bytes // BYTES_OF_A_LINE if file.rows is None else file.rows for file in files)


def rows_of(lines: int) -> int:
    """The rows of activity that take as much memory as so many lines."""
    return round(ROWS_OF_A_LINE * lines)


def delivered_rows(_settings: Settings, record: RunRecord) -> int:
    """Those of the run's own delivery."""
    return rows_of(lines_of(record.files))


def population_rows(settings: Settings, record: RunRecord) -> int:
    """How many customers the run describes."""
    return StageRecord.read(settings.data_root, record, "build_features").pieces["features"].rows
