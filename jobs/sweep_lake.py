"""Remove what dead jobs have left: files and folders that no record names, older than a day.

What a record of the lake names is never touched, whatever code wrote the record, and nothing that
is younger than a day, or has a younger attempt beside it: a job may be at work on it. So it may run
at any time, beside any job. Each thing removed is logged.
"""

import argparse
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.entry import job_parser, start
from sealed import read_sealed
from settings import Settings

PARSER = job_parser(__doc__)
PARSER.add_argument("--dry-run", action="store_true", help="say what would be removed")

DAY_SECONDS = 24 * 3600

RECORDS = ("intakes", "ledger", "rules", "runs")
"""The folders of the lake that hold records; all others hold what records name. Rules name
nothing."""

WORKSPACE = re.compile(r"\.(kept|cells|written|replay|training_set)\.\w+")
"""Temporary folders of jobs: in the lake, or beside it."""

UNFINISHED = re.compile(r"\.[^/]+\.\w{8}")
"""What becomes a record or a page when it is finished (``lake.write_json``, ``lake.replacing``)."""

ATTEMPT = re.compile(r"[0-9a-f]{12}")
"""The folder of one attempt at writing (``lake.attempt``)."""

UNREADABLE = "Nobody knows which files it names, so nothing was removed. Restore it from a backup."

log = logging.getLogger("jobs.sweep_lake")


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Something that no record names."""

    path: Path
    bytes: int
    age_seconds: float


def run(settings: Settings, *, is_dry: bool = False) -> dict:
    """Do the job; the facts are how much was removed, and how much is too young yet.

    Raises:
        RecordDamaged: If a record is not what was written; then nothing is removed.
    """
    root = settings.data_root
    # Listed before the records are read: what is written meanwhile is not in the list.
    found = list(left_overs(root))
    named = named_folders(root)
    unnamed = [one for one in found if one.path not in named]
    old = [one for one in unnamed if one.age_seconds > DAY_SECONDS]
    for one in old:
        log.info(
            "%s %s (%d bytes, %.1f days old, named by no record)",
            "would remove" if is_dry else "removing",
            one.path.relative_to(root),
            one.bytes,
            one.age_seconds / DAY_SECONDS,
        )
        if not is_dry:
            _remove(one.path)
    return {
        "removed": 0 if is_dry else len(old),
        "bytes": sum(one.bytes for one in old),
        "too_young": len(unnamed) - len(old),
    }


def left_overs(root: Path) -> Iterator[LeftOver]:
    """All that could be a left-over, whether a record names it or not."""
    now = _now(root)
    for path in _candidates(root):
        # Something may have been finished, or removed by its job, since it was listed.
        with suppress(FileNotFoundError):
            times, size = _walk(path)
            if ATTEMPT.fullmatch(path.name):
                # A job that reads an attempt may have begun before a newer one took its place.
                times.append(path.parent.stat().st_mtime)
            yield LeftOver(path, size, now - max(times))


def _candidates(root: Path) -> Iterator[Path]:
    for folder in (root, root / "lake"):
        yield from (path for path in _children(folder) if WORKSPACE.fullmatch(path.name))
    yield from (path for path in _children(root / "bundles") if UNFINISHED.fullmatch(path.name))
    yield from (path for path in _children(root / "sessions") if path.suffix == ".json")
    for name in RECORDS:
        for parent, _, files in os.walk(root / "lake" / name):
            yield from (Path(parent, file) for file in files if UNFINISHED.fullmatch(file))
    for parent, folders, files in os.walk(root / "reports"):
        inside = [name for name in (*folders, *files) if UNFINISHED.fullmatch(name)]
        yield from (Path(parent, name) for name in inside)
        folders[:] = [name for name in folders if name not in inside]
    for dataset in _children(root / "lake"):
        if dataset.name not in RECORDS and not dataset.name.startswith("."):
            for parent, folders, _ in os.walk(dataset):
                attempts = [name for name in folders if ATTEMPT.fullmatch(name)]
                yield from (Path(parent, name) for name in attempts)
                folders[:] = [name for name in folders if name not in attempts]


def named_folders(root: Path) -> set[Path]:
    """The folders of all files that a record names.

    Raises:
        RecordDamaged: If a record is not what was written.
    """
    named: set[Path] = set()
    for name in ("intakes", "ledger", "runs"):
        for path in (root / "lake" / name).rglob("*.json"):
            if path.name.startswith("."):
                continue
            record = read_sealed(path, UNREADABLE)
            named |= {root / folder for folder in _folders(record)}
    return named


def _folders(value: object) -> Iterator[str]:
    """The folders that a record names, wherever it names them."""
    if isinstance(value, list):
        for one in value:
            yield from _folders(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "path" and isinstance(one, str):
                yield str(Path(one).parent)
            elif key == "folder" and isinstance(one, str):
                yield one
            else:
                yield from _folders(one)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _walk(path: Path) -> tuple[list[float], int]:
    """When each thing in it was last written, and the size of all; links are not followed."""
    states = [path.lstat()]
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                states.append(Path(folder, name).lstat())
    return [state.st_mtime for state in states], sum(state.st_size for state in states)


def _now(root: Path) -> float:
    """The time by the clock that stamps the files, which may be another machine's."""
    with tempfile.NamedTemporaryFile(prefix=".now.", dir=root) as file:
        return os.stat(file.name).st_mtime


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def main(arguments: argparse.Namespace) -> dict:
    """Sweep the lake of this deployment."""
    return run(Settings(), is_dry=arguments.dry_run)


if __name__ == "__main__":
    start(PARSER, main)
