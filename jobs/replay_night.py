"""Compute a published night again from what it has pinned, and compare.

The night's own jobs run beside the lake, on links to everything that the night could see, with its
code, bundle and parameters; nothing is written to the lake, the reports or the warehouse. What
comes out is held bit for bit against what is recorded and published: 0 of N differ, or the
customers, the columns and the first stage where the two part. With --customer, one customer is
compared, and shown.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

import catalog
import warehouse
from errors import BadData
from features.build import features_sha256
from jobs.entry import night_parser, run_name, start
from jobs.pinned import night_code_sha256, published_record
from jobs.registry import open_registry
from jobs.sorted_rows import KEY, Comparison, compare_sorted
from lake import Piece, PieceAltered, PieceMissing, check_pieces, read_batches, value_sha256
from ledger import RULES_DIGITS, intake_rules, rules_of
from models.bundle_hash import BundleRefused, bundle_sha256
from models.git import git, shown
from models.store import fetch_bundle
from records import ActivityRecord, IntakeRecord, RunRecord, StageRecord
from settings import PROJECT_ROOT, Settings

PARSER = night_parser(__doc__)
PARSER.add_argument(
    "--run-id", type=run_name, help="a published run; default the one that readers see"
)
PARSER.add_argument("--customer", help="compare only this customer, and show both sides")

JOBS = ("validate_delivery", "summarise_activity", "build_features", "score_customers")

LINE_ORDER = catalog.TRANSACTIONS.columns

COLUMNS_SHOWN = 5

SERVER = re.compile(r"SCORING_\w+_URL")

FIND_OUT = (
    "Nothing was changed. See first whether the lake still is what was recorded: {audit} --deep. "
    "If it is, this machine computes otherwise: compare its libraries and its engine with those of "
    "that night."
)

log = logging.getLogger("jobs.replay_night")


class NightDiffers(BadData):
    """Computed again, the night does not come out as it was published."""


class NotReplayable(BadData):
    """The night cannot be computed again: its code, its model or its inputs cannot be had."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the night, recorded and computed again: rows that are sorted by customer.

    ``differing_counts`` are sentences about what does not add up to the same.
    """

    name: str
    recorded: list[Iterator[pa.RecordBatch]]
    computed: list[Iterator[pa.RecordBatch]]
    order: Sequence[str] = ()
    differing_counts: tuple[str, ...] = ()


class RunJob(Protocol):
    """Runs one job of the night, by name, on the data ``beside`` the lake."""

    def __call__(self, job: str, record: RunRecord, *, code: Path, beside: Path) -> None: ...


def run(
    settings: Settings,
    score_date: date,
    run_id: str | None = None,
    customer: str | None = None,
    run_job: RunJob | None = None,
) -> dict:
    """Do the job; the facts are how many were compared, with which code, and that none differs.

    Args:
        settings: Where the lake and the warehouse are.
        score_date: The night.
        run_id: A published run of it; null: the one that readers see.
        customer: The only one who is compared; null: all.
        run_job: How a job is run; null: as in a night, in a process of its own.

    Raises:
        NotPublished: If there is no such run to compare with.
        NotReplayable: If something that the night was made of cannot be had; says what.
        NightDiffers: If a row differs; names the first stage, columns and customers.
    """
    root = settings.data_root
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    record = published_record(settings, engine, score_date, run_id)
    with tempfile.TemporaryDirectory(prefix=".replay.", dir=root) as folder:
        beside = Path(folder) / "data"
        code = code_of(settings, record, Path(folder) / "code")
        lay_out(settings, record, beside)
        for job in JOBS:
            (run_job or run_in_process)(job, record, code=code, beside=beside)
        compared = compare(engine, root, beside, record, customer)
        seen = {} if customer is None else show_customer(root, beside, record, customer)

    published = compared["warehouse"].customers
    if customer is not None and not published:
        raise NotReplayable(
            f"customer {customer} has no score in run {record.run_id} of {score_date}, neither "
            "published nor computed again."
        )
    facts = {
        "score_date": str(score_date),
        "run_id": record.run_id,
        "code": "this checkout" if code == PROJECT_ROOT else record.code_version,
        "customers": published,
        "stages": {name: one.customers for name, one in compared.items()},
        **seen,
    }
    parted = [name for name, one in compared.items() if one.differ or one.examples]
    if parted:
        raise NightDiffers(describe(record, compared, parted))
    print(f"0 of {published} differ", flush=True)
    return facts


def describe(record: RunRecord, compared: dict[str, Comparison], parted: list[str]) -> str:
    """What differs, in a sentence for each stage, the first one first."""
    last = compared["warehouse"]
    sentences = [
        f"{last.differ} of {last.customers} differ: computed again, run {record.run_id} of "
        f"{record.score_date} is not what was published. They part at: {parted[0]}."
    ]
    for name in parted:
        one = compared[name]
        columns = ", ".join(f"{each} ({n})" for each, n in one.columns.most_common(COLUMNS_SHOWN))
        more = len(one.columns) - COLUMNS_SHOWN
        among = f" in {columns}{f' and {more} more columns' if more > 0 else ''}" if columns else ""
        sentences.append(
            f"{name}: {one.differ} of {one.customers} customers{among}; {'; '.join(one.examples)}."
        )
    return " ".join([*sentences, FIND_OUT.format(audit=record.command("audit_night"))])


# ------------------------------------------------------------------------- the night's own code


def code_of(settings: Settings, record: RunRecord, folder: Path) -> Path:
    """A checkout that computes as the night did: this one if it does, else a clone of its commit.

    Raises:
        NotReplayable: If that commit is not known, or cannot be had.
    """
    changed = changed_code(record)
    if not changed:
        return PROJECT_ROOT
    commit, named = record.code_version, f"run {record.run_id} of {record.score_date}"
    if commit == "unknown" or commit.endswith("-dirty"):
        raise NotReplayable(
            f"{named} was computed by other code than this checkout's ({', '.join(changed)}), and "
            f"its commit is recorded as {commit}: what was not committed cannot be had again. "
            "Replay it in the checkout that computed it; deploy only what is committed."
        )
    try:
        git("clone", "--quiet", "--no-checkout", settings.code_url, str(folder))
        git("checkout", "--quiet", "--detach", commit, folder=folder)
    except subprocess.CalledProcessError as error:
        raise NotReplayable(
            f"{named} was computed by other code than this checkout's ({', '.join(changed)}), and "
            f"its commit {commit} cannot be had from {shown(settings.code_url)}: "
            f"{error.stderr.strip()}. Fetch it there, or name a repository that has it: "
            "SCORING_CODE_URL."
        ) from None
    log.info("the code of the night is commit %s (changed since: %s)", commit, ", ".join(changed))
    return folder


def changed_code(record: RunRecord) -> list[str]:
    """Which parts of the code mean something else today than on that night; none: empty."""
    rules = value_sha256(intake_rules(record.pinned_params, record.source))[:RULES_DIGITS]
    same = {
        "how deliveries are read": rules == rules_of(record.intake),
        "features": record.features_sha256 == features_sha256(),
        "scoring": record.code_sha256 == night_code_sha256(),
    }
    return [name for name, is_same in same.items() if not is_same]


def run_in_process(job: str, record: RunRecord, *, code: Path, beside: Path) -> None:
    """Run one job of the night, in the checkout ``code`` and on the data ``beside`` the lake.

    Raises:
        NotReplayable: If it does not end well; says why in its words.
    """
    # Whatever this deployment uses, a job finds no warehouse but one that is not there.
    ours = {name: value for name, value in os.environ.items() if not SERVER.fullmatch(name)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"jobs.{job}"),
            *(f"--score-date={record.score_date}", f"--run-id={record.run_id}"),
        ],
        cwd=code,
        env=ours | {"SCORING_DATA_ROOT": str(beside), "PYTHONPATH": str(code)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="backslashreplace",
    )
    if done.returncode:
        raise NotReplayable(
            f"run {record.run_id} of {record.score_date} was published, but now its job {job} "
            f"fails (exit code {done.returncode}): {_error(done)} Nothing was changed. What is not "
            f"as it was: {record.command('audit_night')} --deep"
        )
    log.info("%s: %s", job, done.stdout.strip().rpartition("\n")[2][:200])


def _error(done: subprocess.CompletedProcess) -> str:
    """What a job that failed said last."""
    try:
        return json.loads(done.stdout.strip().rpartition("\n")[2])["error"]
    except (ValueError, LookupError, TypeError):
        return done.stderr.strip().rpartition("\n")[2]


# ------------------------------------------------------------------------ what the night could see


def lay_out(settings: Settings, record: RunRecord, beside: Path) -> None:
    """A data root that holds the run's record, and links to all but what the run itself has made.

    Raises:
        NotReplayable: If a bundle that the run has pinned cannot be had.
    """
    root, day = settings.data_root, record.score_date
    own = {f"known_on={day}", f"score_date={day}"}
    (beside / "lake").mkdir(parents=True)
    for name in ("received", "ledger"):
        (beside / "lake" / name).symlink_to(root / "lake" / name)
    for path in (root / "lake").iterdir():
        if path.name not in ("received", "ledger") and not path.name.startswith("."):
            _link(path, beside / "lake" / path.name, own)
    record.write(beside)
    accepted = IntakeRecord.find(root, day, record.intake)
    if accepted is not None and accepted.accepted_because:
        # Without its lines: they are split again, and stay accepted.
        accepted.write(beside)

    (beside / "bundles").mkdir()
    pinned = {record.model_version: record.bundle_sha256}
    if record.challenger is not None:
        pinned[record.challenger.version] = record.challenger.bundle_sha256
    for version, sha256 in pinned.items():
        _have_bundle(settings, record, version, sha256, beside / "bundles")


def _link(source: Path, target: Path, own: set[str]) -> None:
    """Links to the partitions of a dataset, those of the night itself left out."""
    if "=" in source.name or not source.is_dir():
        target.symlink_to(source)
        return
    target.mkdir()
    for path in source.iterdir():
        if path.name not in own:
            _link(path, target / path.name, own)


def _have_bundle(
    settings: Settings, record: RunRecord, version: str, sha256: str, folder: Path
) -> None:
    here = settings.data_root / "bundles" / sha256
    try:
        if bundle_sha256(here) == sha256:
            (folder / sha256).symlink_to(here)
            return
    except BundleRefused:
        pass
    try:
        registry = open_registry(settings, record.pinned_params).read()
        fetch_bundle(registry.resolve(version), settings.model_store_url, folder)
    except Exception as error:
        raise NotReplayable(
            f"the bundle of {version}, which run {record.run_id} of {record.score_date} has "
            f"pinned, is not in {here.parent} and cannot be fetched: {error}"
        ) from error
    if not (folder / sha256).exists():
        raise NotReplayable(
            f"run {record.run_id} of {record.score_date} has pinned bundle {sha256[:12]} as "
            f"{version}, but that version is registered with another one today. Restore "
            f"{here} or the registry from a backup."
        )


# ------------------------------------------------------------------------------------- comparing


def compare(
    engine: sa.Engine, root: Path, beside: Path, record: RunRecord, customer: str | None
) -> dict[str, Comparison]:
    """Every stage of the night, as recorded and as computed again, in their order."""
    compared = {}
    for stage in stages(engine, root, beside, record, customer):
        recorded, computed = (
            [_only(each, customer) for each in side] for side in (stage.recorded, stage.computed)
        )
        found = compare_sorted(recorded, computed, stage.order)
        found.examples[:0] = stage.differing_counts
        compared[stage.name] = found
        log.info("%s: %d of %d customers differ", stage.name, found.differ, found.customers)
    return compared


def stages(
    engine: sa.Engine, root: Path, beside: Path, record: RunRecord, customer: str | None
) -> Iterator[Stage]:
    """What is compared, one after the other; a stage whose files are lost says so and has none."""
    both = root, beside
    stage = partial(_stage, root, beside)
    day, intake = record.score_date, record.intake
    was, now = (IntakeRecord.read(each, known_on=day, intake=intake) for each in both)
    lines = catalog.TRANSACTIONS.name
    yield stage(
        "lines",
        was.pieces[lines],
        now.pieces[lines],
        order=[*LINE_ORDER, *record.pinned_params.source(record.source).carry],
        counts=tuple(
            f"{name}: {getattr(was, name)}, now {getattr(now, name)}"
            for name in ("delivered", "accepted", "quarantined", "excluded")
            if getattr(was, name) != getattr(now, name)
        ),
    )
    before, after = (
        ActivityRecord.read(each, known_on=day, intake=intake).activity for each in both
    )
    yield stage("activity", before, after, order=(KEY, "activity_on"))
    before, after = (
        StageRecord.read(each, record, "build_features").pieces["features"] for each in both
    )
    yield stage("features", before, after)
    recorded, scored = (StageRecord.read(each, record, "score_customers").pieces for each in both)
    for name in scored:
        yield stage(name, recorded[name], scored[name])
    if "arm_scores" in scored:
        yield _published(engine, beside, record, scored, "arm_scores", customer)
    yield _published(engine, beside, record, scored, "predictions", customer)


def _stage(
    root: Path,
    beside: Path,
    name: str,
    was: Piece,
    now: Piece,
    order: Sequence[str] = (),
    counts: tuple[str, ...] = (),
) -> Stage:
    computed = [beside / file.path for file in now.files]
    try:
        recorded = check_pieces(root, [was], "It cannot be compared.")
    except (PieceMissing, PieceAltered) as error:
        return Stage(name, [], [], differing_counts=(*counts, str(error)))

    def rows(paths: Sequence[Path]) -> list[Iterator[pa.RecordBatch]]:
        # Files of lines are sorted each by itself; of one customer's rows the order is ours.
        return [read_batches([path]) for path in paths] if order else [read_batches(paths)]

    return Stage(name, rows(recorded), rows(computed), order, counts)


def _published(
    engine: sa.Engine,
    beside: Path,
    record: RunRecord,
    scored: dict[str, Piece],
    table: str,
    customer: str | None,
) -> Stage:
    computed = [beside / file.path for file in scored[table].files]
    rows = warehouse.published_rows(engine, record.run_id, table, customer)
    name = "warehouse" if table == "predictions" else f"warehouse.{table}"
    return Stage(name, [rows], [read_batches(computed)])


def _only(batches: Iterator[pa.RecordBatch], customer: str | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch if customer is None else batch.filter(pc.equal(batch[KEY], customer))


def show_customer(root: Path, beside: Path, record: RunRecord, customer: str) -> dict:
    """The customer's features and prediction, as recorded and as computed again; JSON-able."""
    shown_rows: dict[str, dict] = {}
    for side, folder in (("recorded", root), ("computed", beside)):
        for stage, name in (("build_features", "features"), ("score_customers", "predictions")):
            piece = StageRecord.read(folder, record, stage).pieces[name]
            paths = [folder / file.path for file in piece.files]
            rows = [
                row
                for batch in _only(read_batches(filter(Path.exists, paths)), customer)
                for row in batch.to_pylist()
            ]
            shown_rows.setdefault(side, {})[name] = rows[0] if rows else None
    return shown_rows


def main(arguments: argparse.Namespace) -> dict:
    """Replay the night of the command line."""
    return run(Settings(), arguments.score_date, arguments.run_id, arguments.customer)


if __name__ == "__main__":
    start(PARSER, main)
