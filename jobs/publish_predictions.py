"""Let readers see the scores of a run: all of them at once, or none.

Reads the run's predictions, with a challenger the scores of both models, and what was recorded
about it; writes the warehouse. Running it again changes nothing. It is refused when readers see
something else of the night than when the run was opened, unless --instead-of names it.
"""

import argparse
import logging
import time

import sqlalchemy as sa

import warehouse
from jobs.entry import run_name, run_parser, start
from jobs.publishing import checked_files, describe, keep_published, published_facts
from lake import read_batches
from records import Pointer, RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)
PARSER.add_argument(
    "--instead-of",
    type=run_name,
    metavar="RUN",
    help="publish although readers see this other run since the run was opened",
)
PARSER.add_argument("--dry-run", action="store_true", help="say what would be published")

log = logging.getLogger("jobs.publish_predictions")


def run(
    settings: Settings, record: RunRecord, dry_run: bool = False, instead_of: str | None = None
) -> dict:
    """Do the job; what tests call.

    Returns:
        ``outcome`` (published, unchanged or dry_run), ``replaces`` (the run that was current
        when this one was opened) and counts.

    Raises:
        PieceMissing, PieceAltered: If the predictions are not as score_customers wrote them.
        FileNotFoundError: If an earlier job of the run has not finished; names it.
        What `warehouse.publish` raises.
    """
    started = time.perf_counter()
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    replaces = record.replaces
    if instead_of is not None:
        replaces = named_pointer(engine, record, instead_of)
    root = settings.data_root
    described = describe(root, record)
    scoring = StageRecord.read(root, record, "score_customers")
    files = checked_files(root, record, scoring, "predictions")
    arms = [] if record.challenger is None else checked_files(root, record, scoring, "arm_scores")

    if dry_run:
        outcome = "dry_run"
        log.info("would publish %s", described)
    else:
        outcome = warehouse.publish(
            engine,
            described,
            read_batches(files),
            replaces=replaces,
            arm_scores=read_batches(arms),
        )

    facts = published_facts(described, outcome, replaces)
    if not dry_run:
        keep_published(root, record, scoring, facts, seconds=time.perf_counter() - started)
    return facts


def named_pointer(engine: sa.Engine, record: RunRecord, instead_of: str) -> Pointer:
    """What readers see of the night, which must be the run that somebody has named."""
    pointer = warehouse.pointer_of(engine, record.score_date)
    if pointer is None or pointer.run_id != instead_of:
        raise warehouse.Overtaken(
            f"readers see run {pointer and pointer.run_id} of {record.score_date}, not "
            f"{instead_of}. Nothing was changed; look at both runs and name the one they see."
        )
    return pointer


def main(arguments: argparse.Namespace) -> dict:
    """Publish the run of the command line."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, record, arguments.dry_run, arguments.instead_of)


if __name__ == "__main__":
    start(PARSER, main)
