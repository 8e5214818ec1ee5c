"""The two JSON records that tie a night together: what was delivered, and what a run is made of."""

import subprocess
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import catalog
from lake import read_json, value_sha256, write_json
from settings import PROJECT_ROOT


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeliveredFile(_Record):
    """One file of a delivery; ``name`` is relative to the delivery's folder."""

    name: str
    bytes: int
    sha256: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that keeps the contract.

    ``rows`` is counted without Spark; ``findings`` are sentences about what was tolerated.
    """

    known_on: date
    delivery_id: str
    files: list[DeliveredFile]
    rows: int
    findings: list[str]


class DeliveryRecord(_Record):
    """What was found in one delivery.

    ``quarantined`` counts rows by the first rule they break, ``excluded`` by the rule that
    excludes them; ``delivered`` is their sum and ``accepted``. ``findings`` are sentences about
    what was tolerated (a new column, a thin day).
    """

    known_on: date
    delivery_id: str
    source: str
    files: list[DeliveredFile]
    delivered: int
    accepted: int
    quarantined: dict[str, int]
    excluded: dict[str, int]
    findings: list[str]

    def write(self, root: Path) -> None:
        """Put the record into the lake."""
        key = {"known_on": self.known_on, "delivery_id": self.delivery_id}
        write_json(root / catalog.DELIVERY_RECORD.format(**key), self.model_dump(mode="json"))

    @staticmethod
    def exists(root: Path, known_on: date, delivery_id: str) -> bool:
        """Whether that delivery has been taken in already."""
        path = catalog.DELIVERY_RECORD.format(known_on=known_on, delivery_id=delivery_id)
        return (root / path).exists()

    @classmethod
    def read(cls, root: Path, known_on: date, delivery_id: str) -> "DeliveryRecord":
        """The record of that delivery.

        Raises:
            FileNotFoundError: If it was never validated, or was refused.
        """
        path = catalog.DELIVERY_RECORD.format(known_on=known_on, delivery_id=delivery_id)
        return cls.model_validate(read_json(root / path))


class Challenger(_Record):
    """The version that scores beside the champion.

    ``percent`` of the customers get its score, chosen by a hash of their id; at 0 nobody does.
    """

    version: str
    bundle_sha256: str
    percent: int


class Pointer(_Record):
    """What readers see of a night: a run, and the line of the audit log that put it there.

    The line tells two moments apart at which readers saw the same run.
    """

    run_id: str
    audit_number: int


class AuditAnchor(_Record):
    """The newest line of the audit log at some moment: a copy that is kept outside the warehouse.

    The line's hash covers all lines before it. ``number`` is 0 when there was none.
    """

    number: int
    sha256: str


class RunRecord(_Record):
    """The inputs of one run, pinned when it was opened; nothing is resolved a second time.

    ``deliveries`` maps each day (known on) to the delivery used, the score date's own included.
    ``previous_run_id`` is the run that was current before this night, for fallback scores.
    ``replaces`` is what readers saw of the night when the run was opened, null if nothing:
    publishing is refused when they see something else by then. ``audit`` is the newest line of
    the audit log then.
    ``engine`` is what computes the night (see ``jobs/session.py``); engines give the same bits, so
    it is no part of the run's id.
    """

    run_id: str
    score_date: date
    source: str
    deliveries: dict[date, str]
    model_name: str
    model_version: str
    bundle_sha256: str
    challenger: Challenger | None = None
    features_sha256: str
    params_sha256: str
    code_version: str
    previous_run_id: str | None
    replaces: Pointer | None = None
    audit: AuditAnchor | None = None
    reason: str
    engine: str = "local[*]"

    @property
    def key(self) -> dict[str, date | str]:
        """The partition key of everything the run writes."""
        return {"score_date": self.score_date, "run_id": self.run_id}

    def write(self, root: Path) -> None:
        """Put the record into the lake."""
        write_json(root / catalog.RUN_RECORD.format(**self.key), self.model_dump(mode="json"))

    @classmethod
    def read(cls, root: Path, score_date: date, run_id: str) -> "RunRecord":
        """The record of that run.

        Raises:
            FileNotFoundError: If no such run was opened.
        """
        path = root / catalog.RUN_RECORD.format(score_date=score_date, run_id=run_id)
        if not path.exists():
            raise FileNotFoundError(
                f"no run {run_id} of {score_date} was opened (looked for {path}). "
                f"Open one: python -m jobs.open_run --score-date {score_date}"
            )
        return cls.model_validate(read_json(path))


class StageRecord(_Record):
    """What one job of a run took and found; ``facts`` are counts and names, JSON-able.

    ``engine`` is the name and version of what computed it, null where none was needed.
    """

    stage: str
    seconds: float
    facts: dict
    engine: str | None = None

    def write(self, root: Path, run: RunRecord) -> None:
        """Put the record beside the run's."""
        write_json(_stage_path(root, run, self.stage), self.model_dump(mode="json"))

    @classmethod
    def read(cls, root: Path, run: RunRecord, stage: str) -> "StageRecord":
        """The record of that job.

        Raises:
            FileNotFoundError: If the job has not finished; names the job to run.
        """
        path = _stage_path(root, run, stage)
        if not path.exists():
            raise FileNotFoundError(
                f"{stage} has not finished for run {run.run_id} of {run.score_date} "
                f"(no {path}). Run it first: python -m jobs.{stage} "
                f"--score-date {run.score_date} --run-id {run.run_id}"
            )
        return cls.model_validate(read_json(path))


def _stage_path(root: Path, run: RunRecord, stage: str) -> Path:
    return root / catalog.STAGE_RECORD.format(**run.key, stage=stage)


def run_id(
    score_date: date,
    deliveries: dict[date, str],
    features_sha256: str,
    params_sha256: str,
    bundle_sha256: str,
    challenger: Challenger | None = None,
) -> str:
    """The identity of a run: 16 hex digits of the hash of its inputs.

    >>> run_id(date(2026, 4, 1), {date(2026, 4, 1): "aa"}, "f", "p", "b")
    '20bf91009b8d11ce'
    """
    inputs = {
        "score_date": str(score_date),
        "deliveries": {str(day): name for day, name in deliveries.items()},
        "features": features_sha256,
        "params": params_sha256,
        "bundle": bundle_sha256,
    }
    if challenger is not None:
        inputs["challenger"] = challenger.model_dump()
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


def current_deliveries(root: Path, until: date) -> dict[date, str]:
    """For each day up to ``until``, the delivery that stands for it (the latest one accepted)."""
    pointers = (root / "lake/deliveries").glob("known_on=*/current.json")
    current = {
        date.fromisoformat(path.parent.name.removeprefix("known_on=")): read_json(path)[
            "delivery_id"
        ]
        for path in pointers
    }
    return {day: current[day] for day in sorted(current) if day <= until}


def make_current(root: Path, known_on: date, delivery_id: str) -> None:
    """Let later runs use this delivery for its day; runs already opened keep theirs."""
    path = root / f"lake/deliveries/known_on={known_on}/current.json"
    write_json(path, {"delivery_id": delivery_id})
