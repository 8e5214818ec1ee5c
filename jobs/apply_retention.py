"""Drop the scores of old nights, and of runs that readers no longer see, as params.yaml says.

Of a run that is dropped, its rows of the warehouse and its features and predictions in the lake are
removed. What is known about it stays (its counts, what was measured of it, its records and pages),
as do deliveries and activity, which trainings and later nights need. What readers see of the newest
nights stays as long as something is still to be measured of it or compared with it, the run before
the oldest night that stays, since a replay of that needs it, and all of nights under audit
(`retention.keep_nights`). With --dry-run it only says what it would drop.

Killed anywhere, run it again. On PostgreSQL it works as a user in scoring_remover.
"""

import argparse
import getpass
import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from pathlib import Path

import catalog
import warehouse
from jobs.entry import job_parser, run_name, start
from params import Params, read_params
from records import RunRecord
from sealed import RecordOutdated
from settings import Settings

PARSER = job_parser(__doc__, "--dry-run")
PARSER.add_argument("--dry-run", action="store_true", help="say what would be dropped")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")

LAYOUTS = (
    catalog.FEATURES_LAYOUT,
    *(one.layout for one in (catalog.UNSCORABLE, catalog.PREDICTIONS, catalog.ARM_SCORES)),
)
"""What is removed of a run in the lake."""

log = logging.getLogger("jobs.apply_retention")


def run(settings: Settings, params: Params, *, actor: str, is_dry: bool = False) -> dict:
    """Do the job; the facts are what was dropped, or would be, and which nights that concerns.

    Raises:
        MayNotDrop: If the user of the warehouse may not delete scores.
        RecordDamaged: If the record of a run that stays is; then nothing is dropped.
    """
    root = settings.data_root
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    if not is_dry:
        warehouse.check_may_drop(engine)
    runs = warehouse.stored_runs(engine)
    chosen = dict(warehouse.runs_to_drop(runs, params.retention, needed_days(params)))
    fallbacks = fallen_back_on(root, (one for one in runs if one not in chosen))

    dropped = []
    for stored, reason in chosen.items():
        if stored.run_id in fallbacks:
            continue
        shown = "readers see it" if stored.is_current else "readers do not see it"
        log.info(
            "%s run %s of %s, %d customers, %s: %s",
            *("would drop" if is_dry else "dropping", stored.run_id, stored.score_date),
            *(stored.customers, shown, reason),
        )
        if is_dry or warehouse.drop_run(engine, stored, actor=actor, reason=reason):
            dropped.append(stored)

    # Those of a job that was killed, too.
    gone = {stored.run_id: stored.score_date for stored in dropped}
    gone |= warehouse.dropped_nights(engine)
    freed = sum(remove(root, score_date, name, is_dry=is_dry) for name, score_date in gone.items())
    nights = sorted({stored.score_date for stored in dropped if stored.is_current})
    if nights:
        log.warning(
            "%d nights from %s to %s %s no longer be shown, explained, audited or replayed",
            *(len(nights), nights[0], nights[-1], "could" if is_dry else "can"),
        )
    return {
        "is_dry": is_dry,
        "runs": len(dropped),
        "customers": sum(stored.customers for stored in dropped),
        "bytes": freed,
        "nights": [str(night) for night in nights],
    }


def needed_days(params: Params) -> int:
    """The age in days up to which a night may still be measured or compared with."""
    until_measured = params.training.horizon_days + params.performance.catch_up_nights
    return max(until_measured, 7 * params.drift.weekday_nights)


def fallen_back_on(root: Path, runs: Iterable[warehouse.StoredRun]) -> set[str]:
    """The runs whose scores a replay of ``runs`` needs, for customers who could not be scored."""
    found = set()
    for one in runs:
        try:
            record = RunRecord.read(root, one.score_date, one.run_id)
        except (FileNotFoundError, RecordOutdated):
            continue  # It cannot be replayed in any case.
        if record.previous_run_id is not None:
            found.add(record.previous_run_id)
    return found


def remove(root: Path, score_date: date, run_id: str, *, is_dry: bool) -> int:
    """Remove what the lake holds of the rows of a run; the bytes."""
    size = 0
    for layout in LAYOUTS:
        folder = root / layout.format(score_date=score_date, run_id=run_name(run_id))
        size += sum(path.stat().st_size for path in files_below(folder))
        if not is_dry and folder.exists():
            shutil.rmtree(folder)
            with suppress(OSError):
                folder.parent.rmdir()  # Unless the night has other runs.
    return size


def files_below(folder: Path) -> Iterable[Path]:
    """All files in a folder, however deep."""
    return (path for path in folder.rglob("*") if path.is_file())


def main(arguments: argparse.Namespace) -> dict:
    """Apply the retention of params.yaml to this deployment."""
    actor = arguments.actor or getpass.getuser()
    return run(Settings(), read_params(), actor=actor, is_dry=arguments.dry_run)


if __name__ == "__main__":
    start(PARSER, main)
