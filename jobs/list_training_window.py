"""List the activity that training may look at: every file with its size, hash and rows.

Reads the lake up to the source's training_until and the warehouse's `quality`, writes
artifacts/training_window.json: the files, and the days that must not teach, because nothing was
delivered or what was delivered was wrong. The list is what is kept with a model; the lake itself is
never copied. Started by DVC.
"""

import argparse
import logging
from collections.abc import Collection
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq

import catalog
import warehouse
from errors import BadData
from jobs.entry import job_parser, start
from lake import file_sha256, write_json
from params import Params, read_params
from records import current_deliveries
from settings import Settings

PARSER = job_parser(__doc__)

log = logging.getLogger(__name__)


class HistoryEndsEarly(BadData):
    """The lake does not reach the end of the training window, so labels would be wrong."""


def run(settings: Settings, params: Params, artifacts: Path) -> dict:
    """Write ``artifacts/training_window.json``; the facts are its totals and the wrong days.

    Paths in it are relative to ``data_root``, so that it is the same on every machine.

    Raises:
        HistoryEndsEarly: If the last day of the window was not delivered.
        FileNotFoundError: If a delivery of the window has no activity; names it.
    """
    root, until = settings.data_root, params.source(settings.source).training_until
    deliveries = current_deliveries(root, until)
    if until not in deliveries:
        raise HistoryEndsEarly(
            f"training of {settings.source} looks at deliveries up to {until}, but the lake in "
            f"{root} ends on {max(deliveries, default='no day at all')}: customers would "
            "count as gone only because nothing was delivered. Load the days up to there (python "
            f"-m jobs.load_history --until {until}) or set training_until in params.yaml earlier."
        )
    wrong = wrong_days(settings, deliveries)
    for day, what in wrong.items():
        log.warning("%s must not teach: %s", day, what)

    files = [
        entry
        for day, delivery_id in deliveries.items()
        for entry in describe_partition(root, day, delivery_id)
    ]

    window = {
        "source": settings.source,
        "training_until": str(until),
        "wrong_days": {str(day): what for day, what in wrong.items()},
        "files": files,
    }
    write_json(artifacts / "training_window.json", window)
    return {
        "training_until": str(until),
        "deliveries": len(deliveries),
        "rows": sum(entry["rows"] for entry in files),
        "wrong_days": window["wrong_days"],
    }


def wrong_days(settings: Settings, deliveries: Collection[date]) -> dict[date, str]:
    """The days that must not teach, ascending, and why: no delivery, or an incident in its lines.

    Incidents of features are not looked at: they follow from those of lines, or say that the
    champion does not know what training would teach.
    """
    first, last = min(deliveries), max(deliveries)
    days = [first + timedelta(n) for n in range((last - first).days)]
    wrong = {day: "no delivery" for day in days if day not in deliveries}
    engine = warehouse.connect(settings.warehouse_url)
    # Before the first night there is no warehouse yet, and no incident.
    if warehouse.has_tables(engine):
        for night, found in warehouse.incidents(engine, first, last).items():
            if columns := sorted(column for dataset, column in found if dataset == "transactions"):
                wrong[night] = f"incident in {', '.join(columns)}"
    return dict(sorted(wrong.items()))


def describe_partition(root: Path, known_on: date, delivery_id: str) -> list[dict]:
    """The files of one partition of activity, sorted: path below ``root``, size, hash, rows."""
    partition = catalog.ACTIVITY.partition(root, known_on=known_on, delivery_id=delivery_id)
    if not partition.exists():
        raise FileNotFoundError(
            f"delivery {delivery_id} of {known_on} has no activity at {partition}. Make it again: "
            f"python -m jobs.load_history --until {known_on}"
        )
    return [
        {
            "path": str(file.relative_to(root)),
            "known_on": str(known_on),
            "bytes": file.stat().st_size,
            "sha256": file_sha256(file),
            "rows": pq.read_metadata(file).num_rows,
        }
        for file in sorted(partition.glob("*.parquet"))
    ]


def main(_arguments: argparse.Namespace) -> dict:
    """Write into the current folder, where DVC looks for it."""
    return run(Settings(), read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
