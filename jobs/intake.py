"""What jobs share that take deliveries in: the copy, and what is held against it."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import catalog
from deliveries.cells import has_rows
from deliveries.receive import copy_delivery, describe_delivery
from errors import BadData
from lake import (
    PieceAltered,
    PieceMissing,
    attempt,
    file_sha256,
    is_whole,
)
from ledger import (
    DeliveredFile,
    Entry,
    days,
    deliveries_for,
    delivery_id,
    delivery_of,
    entries,
    has_copy,
    receive,
    was_taken,
)
from params import Source
from records import IntakeRecord, RunRecord

log = logging.getLogger(__name__)

RECEIVE_AGAIN = (
    "Have the day delivered again; the same files give the same delivery. Then clear the run from "
    "its first task."
)


def delivered_days(root: Path, until: date) -> set[date]:
    """The days up to ``until`` for which there is something in incoming/transactions."""
    found = set()
    for path in catalog.incoming_folder(root, until).parent.glob("????-??-??"):
        try:
            found.add(date.fromisoformat(path.name))
        except ValueError:
            log.warning("%s is left alone: its name is no day", path)
    return {day for day in found if day <= until}


def receive_delivery(
    root: Path,
    format: str,
    known_on: date,
    *,
    night: date,
    taken_by: str,
    is_reopened: bool = False,
) -> Entry:
    """Copy what lies in incoming for a day, unless it is the delivery that came last for it.

    Args:
        night: The first night that could use it.
        is_reopened: Whether that night is being opened with it now.

    Raises:
        DeliveryMissing, DeliveryUnfit: If it is not there whole, or must not be read.
    """
    folder = catalog.incoming_folder(root, known_on)
    earlier = deliveries_for(root, known_on)
    if earlier and has_copy(root, earlier[-1]):
        if not folder.exists() and not folder.is_symlink():
            return earlier[-1]
        # Mostly it is there already, and then nothing has to be written.
        if delivery_id(describe_delivery(folder, format)) == earlier[-1].delivery_id:
            return earlier[-1]
    copy = root / catalog.RECEIVED.format(known_on=known_on) / attempt()
    files = copy_delivery(folder, format, copy)
    entry = receive(root, known_on, files, copy, night, taken_by, is_reopened=is_reopened)
    if root / entry.folder != copy:
        shutil.rmtree(copy)
    return entry


class DeliveryRepeated(BadData):
    """The same content was delivered for another day, or twice for one."""


def contents_taken(root: Path) -> dict[str, date]:
    """The hashes of all files that stand in the lake, each with the day it was delivered for."""
    contents: dict[str, date] = {}
    for day in days(root):
        taken = [entry for entry in deliveries_for(root, day) if was_taken(root, entry)]
        contents |= {file.sha256: day for entry in taken[-1:] for file in entry.files}
    return contents


def check_not_repeated(
    known_on: date,
    files: Sequence[DeliveredFile],
    folder: Path,
    contents: Mapping[str, date],
    source: Source,
) -> None:
    """Raise DeliveryRepeated if a file with rows is there twice, or was there for another day.

    Args:
        folder: Where the copies are.
        contents: The day for which each hash of a file was delivered.
    """
    first_of: dict[str, DeliveredFile] = {}
    for file in files:
        first = first_of.setdefault(file.sha256, file)
        if first != file and has_rows(folder / file.name, source):
            raise DeliveryRepeated(
                f"{file.name} of {known_on} holds what {first.name} does, byte for byte: its lines "
                "would count twice. Put the delivery down again with one of the two."
            )
        other = contents.get(file.sha256, known_on)
        if other != known_on and has_rows(folder / file.name, source):
            raise DeliveryRepeated(
                f"{file.name} of {known_on} holds what was delivered for {other}, byte for byte: "
                f"its lines would count twice. Ask upstream for the delivery of {known_on}."
            )


LINES = (catalog.TRANSACTIONS, catalog.EXCLUDED_TRANSACTIONS, catalog.QUARANTINED_TRANSACTIONS)


def say_what_is_absent(source: Source) -> None:
    """Log, before deliveries are taken in, which columns the source does without."""
    if absent := source.columns.absent:
        log.info("the source has no %s: no rule and no feature is over it", " and no ".join(absent))


def is_taken(root: Path, record: IntakeRecord) -> bool:
    """Whether the lake has all lines of an intake as they were written, with today's columns."""
    return all(is_whole(root, record.pieces[each.name], each) for each in LINES)


def check_copy_of(root: Path, record: RunRecord) -> Path:
    """The folder with the copy of the delivery of a run's own day; see ``check_copy``."""
    day, name = record.score_date, delivery_of(record.intake)
    came = [entry for entry in entries(root, day) if entry.delivery_id == name]
    if not came:
        raise PieceMissing(f"the ledger of {day} has no delivery {name}. {RECEIVE_AGAIN}")
    return check_copy(root, came[-1].folder, record.files)


def check_copy(root: Path, folder: str, files: Sequence[DeliveredFile]) -> Path:
    """The folder with the copy of a delivery, each file held against what was received.

    Raises:
        PieceMissing, PieceAltered: If it is not what was received; names the first file.
    """
    for file in files:
        path = root / folder / file.name
        if not path.is_file():
            raise PieceMissing(f"{path}, the copy of a delivered file, is gone. {RECEIVE_AGAIN}")
        if file_sha256(path) != file.sha256:
            raise PieceAltered(
                f"{path} is not what was received: its bytes have changed. {RECEIVE_AGAIN}"
            )
    return root / folder
