"""The JSON records that tie a night together: what came in, and what a run is made of.

A record pins by value, and names pieces of the lake by the hashes of their files, so that there is
a way back from a score to the delivered bytes. Each is sealed (``sealed.py``).
"""

import logging
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import catalog
from errors import what_is_wrong
from lake import Piece, RecordDamaged, value_sha256
from ledger import DeliveredFile, made_again_by
from params import FIRST_QUESTION, Params, Question
from sealed import RecordOutdated, Sealed, seal_of
from settings import PROJECT_ROOT

log = logging.getLogger(__name__)


class _Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _OfIntake(Sealed):
    """A record of one intake; ``LAYOUT`` is where in the lake it lies."""

    LAYOUT: ClassVar[str]

    known_on: date
    intake: str

    @classmethod
    def path(cls, root: Path, known_on: date, intake: str) -> Path:
        """The file of the record of that intake."""
        return root / cls.LAYOUT.format(known_on=known_on, intake=intake)

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The record in a file, if it is there and can be used.

        For jobs that make what they do not find; a damaged record is a warning.
        """
        try:
            return cls.take(path, "It counts as not there.")
        except FileNotFoundError:
            return None
        except (RecordDamaged, RecordOutdated) as error:
            log.warning("%s", error)
            return None

    @classmethod
    def find(cls, root: Path, known_on: date, intake: str) -> Self | None:
        """The record of that intake, if it is there and can be used; see ``at``."""
        return cls.at(cls.path(root, known_on, intake))

    @classmethod
    def _read(cls, root: Path, known_on: date, intake: str) -> Self:
        return cls.take(cls.path(root, known_on, intake), made_again_by(known_on))

    def write(self, root: Path) -> None:
        """Put the record into the lake; from now on what it says counts."""
        self.put(self.path(root, self.known_on, self.intake))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that keeps the contract, about to be taken in.

    ``folder`` holds its copy. ``rows`` is counted without Spark; ``findings`` are sentences about
    what was tolerated.
    """

    known_on: date
    delivery_id: str
    intake: str
    folder: Path
    files: list[DeliveredFile]
    rows: int
    findings: list[str]


class IntakeRecord(_OfIntake):
    """What was found in one delivery under certain rules, and the pieces that its lines became.

    ``quarantined`` counts rows by the first rule they break, ``excluded`` by the rule that
    excludes them; ``delivered`` is their sum and ``accepted``. ``of_the_day`` counts the lines that
    are dated on the day of the delivery, ``late`` those dated before it. ``findings`` are sentences
    about what was tolerated (a new column, a thin day). ``pieces`` are named by their dataset.
    ``repairs`` is the intake whose quarantined rows came back with this one. ``accepted_despite``
    lists why the delivery would be refused, if a person took it all the same,
    and ``accepted_because`` is the reason they gave.
    """

    LAYOUT = catalog.INTAKE_RECORD

    delivery_id: str
    source: str
    delivered: int
    accepted: int
    quarantined: dict[str, int]
    excluded: dict[str, int]
    of_the_day: int
    late: int
    findings: list[str]
    pieces: dict[str, Piece]
    repairs: str | None = None
    accepted_despite: list[str] = Field(default_factory=list)
    accepted_because: str | None = None

    @classmethod
    def read(cls, root: Path, known_on: date, intake: str) -> "IntakeRecord":
        """The record of that intake.

        Raises:
            FileNotFoundError: If the delivery was never validated, or was refused.
            RecordDamaged, RecordOutdated: If the record cannot be used.
        """
        path = cls.path(root, known_on, intake)
        if not path.exists():
            raise FileNotFoundError(
                f"the delivery of {known_on} was not taken in as {intake} (no {path}). Run "
                "validate_delivery for its run, or python -m jobs.load_history --until "
                f"{known_on}"
            )
        return cls._read(root, known_on, intake)


class RefusalRecord(_OfIntake):
    """Why a delivery must not be used. ``quarantined`` are the rows at fault, null where none could
    be read. ``judged_by`` is the hash of the limits it was held to."""

    LAYOUT = catalog.REFUSAL_RECORD

    delivery_id: str
    reasons: list[str]
    judged_by: str
    quarantined: Piece | None = None


class ActivityRecord(_OfIntake):
    """The piece of activity that an intake became, and the hash of the lines it was made from.

    ``known_from`` is the first night that may use it.
    """

    LAYOUT = catalog.ACTIVITY_RECORD

    known_from: date
    transactions_sha256: str
    activity: Piece

    @classmethod
    def read(cls, root: Path, known_on: date, intake: str) -> "ActivityRecord":
        """The record of that activity.

        Raises:
            FileNotFoundError: If the intake was not summarised.
            RecordDamaged, RecordOutdated: If the record cannot be used.
        """
        path = cls.path(root, known_on, intake)
        if not path.exists():
            raise FileNotFoundError(
                f"intake {intake} of {known_on} has no activity (no {path}). Make it again: "
                f"python -m jobs.load_history --until {known_on}"
            )
        return cls._read(root, known_on, intake)


class Challenger(_Part):
    """The version that scores beside the champion.

    ``percent`` of the customers get its score, chosen by a hash of their id; at 0 nobody does.
    """

    version: str
    bundle_sha256: str
    percent: int


class Pointer(_Part):
    """What readers see of a night: a run, and the line of the audit log that put it there.

    The line tells two moments apart at which readers saw the same run.
    """

    run_id: str
    audit_number: int


class AuditAnchor(_Part):
    """The newest line of the audit log at some moment: a copy that is kept outside the warehouse.

    The line's hash covers all lines before it. ``number`` is 0 when there was none.
    """

    number: int
    sha256: str


class RunRecord(Sealed):
    """The inputs of one run, pinned when it was opened; nothing is resolved a second time.

    ``intakes`` maps each day to the intake used, the score date's own included; ``repairs`` to the
    intakes of rows that came back from quarantine, where there are any. ``files`` are those of the
    score date's delivery; the ledger says where their copy is. ``params`` is the whole of
    params.yaml as it was, by value; ``params_sha256`` covers what changes scores, ``code_sha256``
    the code that computes them.
    ``question`` is what the champion's scores answer, and so those of a challenger beside it.
    ``previous_run_id`` is the run that was current before this night, for fallback scores.
    ``replaces`` is what readers saw of the night when the run was opened, null if nothing:
    publishing is refused when they see something else by then. ``audit`` is the newest line of
    the audit log then.
    ``is_champion`` is false for a version that was asked for by name and was not the champion.
    ``engine`` is what computes the night (see ``jobs/session.py``); engines give the same bits, so
    it is no part of the run's id.
    """

    run_id: str
    score_date: date
    source: str
    intakes: dict[date, str]
    repairs: dict[date, list[str]] = Field(default_factory=dict)
    files: list[DeliveredFile]
    params: dict
    question: Question = FIRST_QUESTION
    model_name: str
    model_version: str
    bundle_sha256: str
    challenger: Challenger | None = None
    features_sha256: str
    code_sha256: str
    params_sha256: str
    code_version: str
    previous_run_id: str | None
    replaces: Pointer | None = None
    audit: AuditAnchor | None = None
    is_champion: bool = True
    reason: str
    engine: str = "local[*]"

    @property
    def key(self) -> dict[str, date | str]:
        """The partition key of everything the run writes."""
        return {"score_date": self.score_date, "run_id": self.run_id}

    @property
    def all_intakes(self) -> list[tuple[date, str]]:
        """Every intake whose activity the run looks at, with its day."""
        repairs = [(day, name) for day, names in self.repairs.items() for name in names]
        return [*self.intakes.items(), *repairs]

    def named_intakes(self, day: date) -> str:
        """The intakes of a day as the warehouse keeps them, repairs behind a plus."""
        return "+".join([self.intakes[day], *self.repairs.get(day, [])])

    @property
    def intake(self) -> str:
        """The intake of the score date's own delivery."""
        return self.intakes[self.score_date]

    @property
    def pinned_params(self) -> Params:
        """The parameters that the run was opened with; no job of it reads params.yaml.

        Raises:
            RecordOutdated: If today's code has other parameters than the run was opened with.
        """
        try:
            return Params.model_validate(self.params)
        except ValidationError as error:
            found = "; ".join(what_is_wrong(error))
            raise RecordOutdated(
                f"run {self.run_id} of {self.score_date} was opened with parameters that this code "
                f"does not know ({found}). Open the night again: python -m jobs.open_run "
                f"--score-date {self.score_date}"
            ) from error

    def command(self, job: str) -> str:
        """What does a job of this run again."""
        return f"python -m jobs.{job} --score-date {self.score_date} --run-id {self.run_id}"

    def write(self, root: Path) -> None:
        """Put the record into the lake."""
        self.put(root / catalog.RUN_RECORD.format(**self.key))

    def seal(self, root: Path) -> str:
        """The seal of the record as the lake holds it.

        Raises:
            FileNotFoundError: If it is gone.
            RecordDamaged: If it is not what was written.
        """
        return seal_of(root / catalog.RUN_RECORD.format(**self.key), _opened_again(self.score_date))

    @classmethod
    def read(cls, root: Path, score_date: date, run_id: str) -> "RunRecord":
        """The record of that run.

        Raises:
            FileNotFoundError: If no such run was opened.
            RecordDamaged, RecordOutdated: If the record cannot be used.
        """
        path = root / catalog.RUN_RECORD.format(score_date=score_date, run_id=run_id)
        if not path.exists():
            raise FileNotFoundError(
                f"no run {run_id} of {score_date} was opened (looked for {path}). "
                f"Open one: python -m jobs.open_run --score-date {score_date}"
            )
        return cls.take(path, _opened_again(score_date))

    @classmethod
    def find(cls, root: Path, run_id: str) -> "RunRecord":
        """The record of that run, whatever its night.

        Raises:
            FileNotFoundError: If no such run was opened.
        """
        paths = sorted(root.glob(catalog.RUN_RECORD.format(score_date="*", run_id=run_id)))
        if not paths:
            raise FileNotFoundError(
                f"the lake has no record of run {run_id} any more. Restore lake/runs, or publish a "
                "run of an earlier night and open this one again."
            )
        score_date = date.fromisoformat(paths[0].parent.name.removeprefix("score_date="))
        return cls.read(root, score_date, run_id)


class StageRecord(Sealed):
    """What one job of a run took and found; ``facts`` are counts and names, JSON-able.

    ``inputs`` holds the hash of everything the job read from the lake, ``pieces`` what it wrote.
    ``engine`` is the name and version of what computed it, null where none was needed.
    """

    stage: str
    seconds: float
    facts: dict
    inputs: dict[str, str] = Field(default_factory=dict)
    pieces: dict[str, Piece] = Field(default_factory=dict)
    engine: str | None = None

    def write(self, root: Path, run: RunRecord) -> None:
        """Put the record beside the run's."""
        self.put(_stage_path(root, run, self.stage))

    @classmethod
    def read(cls, root: Path, run: RunRecord, stage: str) -> "StageRecord":
        """The record of that job.

        Raises:
            FileNotFoundError: If the job has not finished; names the job to run.
            RecordDamaged, RecordOutdated: If the record cannot be used.
        """
        path = _stage_path(root, run, stage)
        if not path.exists():
            raise FileNotFoundError(
                f"{stage} has not finished for run {run.run_id} of {run.score_date} "
                f"(no {path}). Run it first: {run.command(stage)}"
            )
        return cls.take(path, f"Do the job again: {run.command(stage)}")


def _opened_again(score_date: date) -> str:
    return (
        "Restore it from a backup. If readers do not see the run, the file can be removed and the "
        f"night opened again: python -m jobs.open_run --score-date {score_date}"
    )


@dataclass(slots=True)
class Stage:
    """What a job of a run has found so far; as in ``StageRecord``."""

    facts: dict = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    pieces: dict[str, Piece] = field(default_factory=dict)


@contextmanager
def recorded(root: Path, run: RunRecord, stage: str, engine: str | None = None) -> Iterator[Stage]:
    """Time a job of a run; what it found is put on record when the block ends well."""
    started, found = time.perf_counter(), Stage()
    yield found
    seconds = time.perf_counter() - started
    StageRecord(
        stage=stage,
        seconds=seconds,
        facts=found.facts,
        inputs=found.inputs,
        pieces=found.pieces,
        engine=engine,
    ).write(root, run)


def _stage_path(root: Path, run: RunRecord, stage: str) -> Path:
    return root / catalog.STAGE_RECORD.format(**run.key, stage=stage)


def run_id(
    score_date: date,
    *,
    question: str,
    intakes: Mapping[date, str],
    features_sha256: str,
    code_sha256: str,
    params_sha256: str,
    bundle_sha256: str,
    challenger: Challenger | None = None,
    repairs: Mapping[date, Sequence[str]] | None = None,
) -> str:
    """The identity of a run: 16 hex digits of the hash of its inputs.

    >>> run_id(
    ...     date(2026, 4, 1), question="purchase_within_30d",
    ...     intakes={date(2026, 4, 1): "aa"}, features_sha256="f", code_sha256="c",
    ...     params_sha256="p", bundle_sha256="b",
    ... )
    '07f2241964d94aaa'
    """
    inputs = {
        "score_date": str(score_date),
        "question": question,
        "intakes": {str(day): name for day, name in intakes.items()},
        "features": features_sha256,
        "code": code_sha256,
        "params": params_sha256,
        "bundle": bundle_sha256,
    }
    if challenger is not None:
        inputs["challenger"] = challenger.model_dump()
    if repairs:
        inputs["repairs"] = {str(day): list(names) for day, names in repairs.items()}
    return value_sha256(inputs)[:16]


def code_version() -> str:
    """The git commit of this checkout, with ``-dirty`` when tracked files differ from it."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"
