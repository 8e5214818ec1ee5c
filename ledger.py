"""What was known when: every delivery that came for a day, and the nights in which it stands.

A day has an append-only, numbered list of the deliveries that came for it. The one that stands for
the day in a night is the last of those known by then that was taken in under today's rules. It is
derived, so no job can put an old delivery back by running late.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import catalog
from errors import BadData
from lake import RESTORE, RecordDamaged, file_sha256, read_json, value_sha256, write_json
from meaning import code_sha256
from params import Params
from sealed import Sealed, read_sealed
from settings import PROJECT_ROOT

RULES_DIGITS = 8

READING_CODE = (
    "amounts.py",
    "business_day.py",
    "deliveries/cells.py",
    "deliveries/contract.py",
    "deliveries/delimited.py",
    "deliveries/lines.py",
    "deliveries/values.py",
    "expectations/repeats.py",
    "expectations/split.py",
    "expectations/transactions.py",
    "features/activity.py",
)
"""The code that decides what becomes of a delivered row."""

NOT_RULES = {"training_until", "closed_days", "closed_weekdays", "overlapping_files", "currency"}
"""Entries of a source that change no row."""


class DeliveredFile(BaseModel):
    """One file of a delivery; ``rows`` is what its footer says, null for text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    bytes: int
    sha256: str
    rows: int | None


class Entry(Sealed):
    """A delivery that came for a day; ``folder`` holds its copy, relative to the data root.

    ``known_from`` is the first night that may use it. ``received_at`` is for people only.
    ``repairs`` names the delivery whose quarantined rows come back with it, and is null for others.
    """

    number: int
    known_on: date
    delivery_id: str
    known_from: date
    taken_by: str
    received_at: datetime
    folder: str
    files: list[DeliveredFile]
    repairs: str | None = None

    @property
    def rows(self) -> int | None:
        """What the footers say, null if one file is text."""
        counts = [file.rows for file in self.files if file.rows is not None]
        return sum(counts) if len(counts) == len(self.files) else None


@dataclass(frozen=True, slots=True)
class Known:
    """A delivery that was taken in, and the nights for which it stands for its day.

    These are the nights from ``known_from`` on, and before ``known_until`` unless that is null. One
    that ``is_repair`` stands beside the delivery it repairs, as long as that one does.
    """

    known_on: date
    delivery_id: str
    intake: str
    known_from: date
    known_until: date | None
    is_repair: bool = False

    def stands_in(self, night: date) -> bool:
        """Whether a night of that score date uses it."""
        return self.known_from <= night and (self.known_until is None or night < self.known_until)


class RulesChanged(BadData):
    """Days of the lake were taken in under other rules than today's."""


def delivery_id(files: Iterable[DeliveredFile]) -> str:
    """The identity of a delivery: 16 hex digits of the hash of its files' names and contents."""
    return value_sha256(sorted((file.name, file.sha256) for file in files))[:16]


# ------------------------------------------------------------------------------------ deliveries


def entries(root: Path, known_on: date) -> list[Entry]:
    """Every delivery that came for that day, the first one first.

    Raises:
        RecordDamaged, RecordOutdated: If an entry cannot be used.
    """
    folder = (root / catalog.LEDGER_ENTRY.format(known_on=known_on, number=0)).parent
    remedy = (
        f"Without it nobody knows what came for {known_on}, and when. Restore it from a backup; if "
        "there is none, remove the file and have the day delivered again, for nights from then on."
    )
    return [Entry.take(path, remedy) for path in sorted(folder.glob("[0-9]*.json"))]


def deliveries_for(root: Path, known_on: date) -> list[Entry]:
    """Every delivery of that whole day, the first one first: repaired rows are none."""
    return [entry for entry in entries(root, known_on) if entry.repairs is None]


def days(root: Path) -> list[date]:
    """The days for which a delivery came, sorted."""
    folders = (root / "lake/ledger").glob("known_on=*")
    return sorted(date.fromisoformat(path.name.removeprefix("known_on=")) for path in folders)


def receive(
    root: Path,
    known_on: date,
    files: list[DeliveredFile],
    folder: Path,
    night: date,
    taken_by: str,
    *,
    is_reopened: bool = False,
    repairs: str | None = None,
) -> Entry:
    """Put a delivery that was copied to ``folder`` on the list of its day; the last one stays last.

    Args:
        night: The first night that could use the delivery.
        taken_by: Which job, for people.
        is_reopened: Whether ``night`` itself is being opened with it now.
        repairs: The delivery whose quarantined rows come back with it.

    Returns:
        The new entry; or the last one, if it is this delivery and its copy is still whole.
    """
    name = delivery_id(files)
    while True:
        came = entries(root, known_on)
        earlier = [one for one in came if one.repairs == repairs]
        if earlier and earlier[-1].delivery_id == name and has_copy(root, earlier[-1]):
            return earlier[-1]
        entry = Entry(
            number=came[-1].number + 1 if came else 1,
            known_on=known_on,
            delivery_id=name,
            known_from=_known_from(root, known_on, name, came, night, is_reopened),
            taken_by=taken_by,
            received_at=datetime.now(UTC),
            folder=str(folder.relative_to(root)),
            files=files,
            repairs=repairs,
        )
        path = root / catalog.LEDGER_ENTRY.format(known_on=known_on, number=entry.number)
        try:
            entry.put(path, is_new=True)
        except FileExistsError:
            continue  # Another job was quicker.
        return entry


def has_copy(root: Path, entry: Entry) -> bool:
    """Whether the lake still holds all files of a delivery as they were received."""
    copies = [(root / entry.folder / file.name, file.sha256) for file in entry.files]
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in copies)


def made_again_by(known_on: date) -> str:
    """What to do about what was made of a delivery and is lost or damaged."""
    return f"Make it again: python -m jobs.load_history --until {known_on}"


def first_night(root: Path, known_on: date, delivery: str, own_night: date | None) -> date:
    """The first night that may use a delivery which is being taken in now.

    It is the one that was told when the delivery came, unless nights were opened without it since:
    it may have been refused, and accepted later. Taken in again, it keeps its first night, also
    where its records are lost and only runs tell who has used it.

    Args:
        own_night: The night that takes it in, which has pinned it; null if none does.

    Raises:
        RecordDamaged: If the record of a run cannot be used that could have pinned it.
    """
    came = [one.known_from for one in entries(root, known_on) if one.delivery_id == delivery]
    told = came[-1] if came else known_on
    before = []
    for path in records_of(root, catalog.ACTIVITY_RECORD, known_on, delivery):
        with suppress(RecordDamaged):
            # Older code kept no night of its own: the one that was told was so.
            before.append(read_sealed(path, RESTORE).get("known_from", str(told)))
    if before:
        return date.fromisoformat(min(before))
    opened = sorted(day for day in _opened_nights(root) if told <= day != own_night)
    knew = [day for day in opened if _has_pinned(root, day, known_on, delivery)]
    without = [day for day in opened if not knew or day < knew[0]]
    return max([told, *(day + timedelta(days=1) for day in without)])


def _has_pinned(root: Path, night: date, known_on: date, delivery: str) -> bool:
    """Whether a run of that night uses the delivery."""
    remedy = "It says which deliveries that night knew. Restore it from a backup."
    for path in root.glob(catalog.RUN_RECORD.format(score_date=night, run_id="*")):
        run = read_sealed(path, remedy)
        day = str(known_on)
        pinned = [run["intakes"].get(day, ""), *run.get("repairs", {}).get(day, ())]
        if delivery in map(delivery_of, pinned):
            return True
    return False


def _known_from(
    root: Path, known_on: date, name: str, earlier: list[Entry], night: date, is_reopened: bool
) -> date:
    if earlier and earlier[-1].delivery_id == name:
        return earlier[-1].known_from  # Only its copy was lost.
    opened = [day for day in _opened_nights(root) if day >= known_on]
    others = [day for day in opened if not (is_reopened and day == night)]
    if not earlier and not others:
        return known_on
    first = max([night, *(day + timedelta(days=1) for day in others)])
    return max([first, *(entry.known_from for entry in earlier)])


def _opened_nights(root: Path) -> list[date]:
    folders = {path.parent.name for path in (root / "lake/runs").glob("score_date=*/*.json")}
    return [date.fromisoformat(name.removeprefix("score_date=")) for name in folders]


# ----------------------------------------------------------------------------------------- rules


def intake_rules(params: Params, source: str) -> dict[str, object]:
    """Everything by which a delivered row is read, judged and summarised, by name."""
    mapping = params.source(source).model_dump(mode="json", exclude=NOT_RULES)
    columns = {f"columns.{name}": theirs for name, theirs in mapping.pop("columns").items()}
    code = code_sha256(PROJECT_ROOT / path for path in READING_CODE)
    return {
        "validation.overlap_days": params.validation.overlap_days,
        **{f"sources.{source}.{name}": value for name, value in (mapping | columns).items()},
        "code": code,
    }


def pin_rules(root: Path, rules: Mapping[str, object]) -> str:
    """The short name of rules, which are kept in the lake under it."""
    name = value_sha256(rules)[:RULES_DIGITS]
    path = root / catalog.RULES.format(rules=name)
    if not path.exists():
        write_json(path, dict(rules))
    return name


def read_rules(root: Path, name: str) -> dict:
    """The rules that are kept under a short name.

    Raises:
        FileNotFoundError: If there are none.
        RecordDamaged: If they are not those that were kept.
    """
    path = root / catalog.RULES.format(rules=name)
    rules = read_json(path)
    if value_sha256(rules)[:RULES_DIGITS] != name:
        raise RecordDamaged(f"{path} does not hold the rules of that name. {RESTORE}")
    return rules


def intake_id(delivery: str, rules: str) -> str:
    """The identity of a delivery taken in under rules: both names, joined."""
    return f"{delivery}-{rules}"


def delivery_of(intake: str) -> str:
    """The delivery that an intake is of.

    >>> delivery_of(intake_id("3f2a9c0011223344", "ab12cd34"))
    '3f2a9c0011223344'
    """
    return intake.rpartition("-")[0]


def rules_of(intake: str) -> str:
    """The short name of the rules that an intake was taken in under.

    >>> rules_of(intake_id("3f2a9c0011223344", "ab12cd34"))
    'ab12cd34'
    """
    return intake.rpartition("-")[2]


def records_of(root: Path, layout: str, known_on: date, delivery: str) -> list[Path]:
    """The records of a delivery under whatever rules, sorted by the rules' names.

    Args:
        layout: Where records of that kind lie, from the catalog.
    """
    return sorted(root.glob(layout.format(known_on=known_on, intake=intake_id(delivery, "*"))))


# ------------------------------------------------------------------------------- what was known


def was_taken(root: Path, entry: Entry) -> bool:
    """Whether a delivery was taken in, under whatever rules."""
    return bool(_other_rules(root, entry.known_on, entry.delivery_id))


def known(root: Path, rules: str, until: date | None = None, *, strict: bool = True) -> list[Known]:
    """Every delivery of days up to ``until`` that was taken in under these rules, by day.

    Args:
        strict: False leaves out days that were taken in under other rules only, and those whose
            record is damaged.

    Raises:
        RulesChanged: If a day was taken in under other rules only; says how many and which rules.
        RecordDamaged: If the record of a day is not what was written.
    """
    found: list[Known] = []
    outdated: dict[date, str] = {}
    for day in days(root):
        if until is not None and day > until:
            break
        taken: list[Entry] = []
        repairs: list[Entry] = []
        for entry in entries(root, day):
            intake = intake_id(entry.delivery_id, rules)
            record = root / catalog.ACTIVITY_RECORD.format(known_on=day, intake=intake)
            if taken_from := _taken_from(record, is_needed=strict):
                known_from = max(entry.known_from, taken_from)
                entry = entry.model_copy(update={"known_from": known_from})
                (repairs if entry.repairs else taken).append(entry)
            elif other := _other_rules(root, day, entry.delivery_id):
                outdated[day] = other
        for position, entry in enumerate(taken):
            better = taken[position + 1].known_from if position + 1 < len(taken) else None
            intake = intake_id(entry.delivery_id, rules)
            found.append(Known(day, entry.delivery_id, intake, entry.known_from, better))
            for repair in repairs:
                if repair.repairs == entry.delivery_id:
                    intake = intake_id(repair.delivery_id, rules)
                    known_from = max(repair.known_from, entry.known_from)
                    name = repair.delivery_id
                    found.append(Known(day, name, intake, known_from, better, is_repair=True))
    if outdated and strict:
        raise RulesChanged(_rules_changed(root, rules, outdated))
    return found


def _taken_from(path: Path, *, is_needed: bool) -> date | None:
    """The first night that the record of an activity tells; null if there is no such record.

    With ``is_needed`` a damaged one raises RecordDamaged, else it is as if it were not there.
    """
    known_on = date.fromisoformat(path.parent.name.removeprefix("known_on="))
    try:
        told = read_sealed(path, made_again_by(known_on)).get("known_from")
    except FileNotFoundError:
        return None
    except RecordDamaged:
        if is_needed:
            raise
        return None
    return told and date.fromisoformat(told)


def known_by(
    root: Path, rules: str, night: date, until: date, *, strict: bool = True
) -> dict[date, str]:
    """For each day up to ``until`` the intake that stands for it in a night."""
    found = known(root, rules, until, strict=strict)
    return {one.known_on: one.intake for one in found if one.stands_in(night) and not one.is_repair}


def repairs_by(root: Path, rules: str, night: date, until: date) -> dict[date, list[str]]:
    """For each day up to ``until`` with repaired rows that a night knows, their intakes."""
    repairs: dict[date, list[str]] = {}
    for one in known(root, rules, until):
        if one.stands_in(night) and one.is_repair:
            repairs.setdefault(one.known_on, []).append(one.intake)
    return repairs


def standing(root: Path) -> dict[date, str]:
    """For each day the delivery that stands for it by all that is known now, whatever the rules;
    its repairs behind a plus."""
    found = {}
    for day in days(root):
        taken = [entry for entry in entries(root, day) if was_taken(root, entry)]
        whole = [entry.delivery_id for entry in taken if not entry.repairs]
        if whole:
            repairs = [entry.delivery_id for entry in taken if entry.repairs == whole[-1]]
            found[day] = "+".join([whole[-1], *repairs])
    return found


def learnt_since(
    intakes: Mapping[date, str], standing: Mapping[date, str], night: date
) -> dict[date, str]:
    """The days up to a night of which something else stands now than the night used.

    Args:
        intakes: What the night used, by day; repairs behind a plus.

    Returns:
        ``late`` for a day that the night did not have, ``corrected`` for one that it had otherwise.

    >>> first, second = date(2026, 3, 1), date(2026, 3, 2)
    >>> learnt_since({first: "aa-r1"}, {first: "aa", second: "bb"}, night=second)
    {datetime.date(2026, 3, 2): 'late'}
    >>> learnt_since({first: "aa-r1"}, {first: "aa+cc", second: "bb"}, night=first)
    {datetime.date(2026, 3, 1): 'corrected'}
    """
    used = {
        day: "+".join(delivery_of(intake) for intake in named.split("+"))
        for day, named in intakes.items()
    }
    return {
        day: "corrected" if day in used else "late"
        for day, delivery in standing.items()
        if day <= night and used.get(day) != delivery
    }


def _other_rules(root: Path, day: date, delivery: str) -> str | None:
    """Other rules under which the delivery was taken in, if there are any."""
    paths = records_of(root, catalog.ACTIVITY_RECORD, day, delivery)
    return rules_of(paths[-1].name.split(".")[0]) if paths else None


def _rules_changed(root: Path, rules: str, outdated: Mapping[date, str]) -> str:
    now, changed = read_rules(root, rules), set()
    for other in set(outdated.values()):
        before = read_rules(root, other)
        changed |= {name for name in now | before if now.get(name) != before.get(name)}
    return (
        f"{len(outdated)} days of the lake, {min(outdated)} to {max(outdated)}, were taken in "
        f"under other rules than today's. Changed since: {', '.join(sorted(changed))}. Put the "
        "rules back, or take the days in again, which reads what was received then: python -m "
        f"jobs.load_history --until {max(outdated)}"
    )
