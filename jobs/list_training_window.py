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

import warehouse
from errors import BadData
from jobs.entry import job_parser, start
from lake import check_pieces, write_json
from ledger import Known, intake_rules, known, pin_rules
from params import Params, Source, read_params
from records import ActivityRecord
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
        RulesChanged: If days of the window were taken in under other rules.
        PieceMissing, PieceAltered: If a file of the lake is not as it was written.
    """
    root, source = settings.data_root, params.source(settings.source)
    until = source.training_until
    rules = pin_rules(root, intake_rules(params, settings.source))
    # Labels are final on the last day of the window; what came later is not looked at, nor what
    # was known better from the same night on.
    deliveries = [
        one
        for one in known(root, rules, until)
        if one.known_from <= until and one.stands_in(one.known_from)
    ]
    present = {one.known_on for one in deliveries}
    if source.trading_day(until) not in present:
        raise HistoryEndsEarly(
            f"training of {settings.source} looks at deliveries up to {until}, but the lake in "
            f"{root} ends on {max(present, default='no day at all')}: customers would "
            "count as gone only because nothing was delivered. Load the days up to there (python "
            f"-m jobs.load_history --until {until}) or set training_until in params.yaml earlier."
        )
    wrong = wrong_days(settings, source, present)
    for day, what in wrong.items():
        log.warning("%s must not teach: %s", day, what)

    files = [entry for one in deliveries for entry in describe_piece(root, one)]

    window = {
        "source": settings.source,
        "training_until": str(until),
        "wrong_days": {str(day): what for day, what in wrong.items()},
        "files": files,
    }
    write_json(artifacts / "training_window.json", window)
    return {
        "training_until": str(until),
        "deliveries": len(present),
        "rows": sum(entry["rows"] for entry in files),
        "wrong_days": window["wrong_days"],
    }


def wrong_days(settings: Settings, source: Source, deliveries: Collection[date]) -> dict[date, str]:
    """The days that must not teach, ascending, and why: no delivery, or an incident in its lines.

    Incidents of features are not looked at: they follow from those of lines, or say that the
    champion does not know what training would teach.
    """
    first, last = min(deliveries), max(deliveries)
    days = [first + timedelta(n) for n in range((last - first).days)]
    expected = filter(source.trades_on, days)
    wrong = {day: "no delivery" for day in expected if day not in deliveries}
    engine = warehouse.connect(settings.warehouse_url)
    # Before the first night there is no warehouse yet, and no incident.
    if warehouse.has_tables(engine):
        for night, found in warehouse.incidents(engine, first, last).items():
            if columns := sorted(column for dataset, column in found if dataset == "transactions"):
                wrong[night] = f"incident in {', '.join(columns)}"
    return dict(sorted(wrong.items()))


def describe_piece(root: Path, delivery: Known) -> list[dict]:
    """The files of the activity of one delivery, and the nights in which it was known.

    ``known_from`` is null if it came on time, ``known_until`` if it still stands.
    """
    is_on_time = delivery.known_from == delivery.known_on
    interval = {
        "known_from": None if is_on_time else str(delivery.known_from),
        "known_until": delivery.known_until and str(delivery.known_until),
    }
    piece = ActivityRecord.read(root, delivery.known_on, delivery.intake).activity
    check_pieces(root, [piece])
    return [
        {"known_on": str(delivery.known_on), **interval, **file.model_dump()}
        for file in piece.files
    ]


def main(_arguments: argparse.Namespace) -> dict:
    """Write into the current folder, where DVC looks for it."""
    return run(Settings(), read_params(), Path("artifacts"))


if __name__ == "__main__":
    start(PARSER, main)
