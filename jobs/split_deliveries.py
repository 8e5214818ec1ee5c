"""Lay Online Retail II out as daily deliveries, one folder per calendar day.

Reads the Parquet files of a folder; writes incoming/transactions/<day>/part-0.parquet in their own
columns, without rows for a day without trade, for "nothing was sold" is not "nothing came". Days
that are in two files are taken from the first, if both say the same. Days that are already there
are left alone.
"""

import argparse
import logging
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

import catalog
from deliveries.online_retail import TRIED, DayLines, Span, split_by_day, survey
from jobs.entry import job_parser, start
from lake import file_sha256, replacing
from params import Params, read_params
from settings import Settings

log = logging.getLogger(__name__)

PARSER = job_parser(__doc__)
PARSER.add_argument("--from-files", type=Path, required=True, help="folder with the Parquet files")
PARSER.add_argument("--until", type=date.fromisoformat, help="last day to lay out, inclusive")


def run(settings: Settings, params: Params, folder: Path, until: date | None = None) -> dict:
    """Do the job; what tests call.

    Raises:
        FilesUnfit: If the files cannot be laid out by day.
        OverlapDiffers: If two files hold different lines for a day; earlier days stay written.
        RuntimeError: If lines in are not lines out and lines dropped.
    """
    files = sorted(folder.glob("*.parquet"))
    time_column = params.source(settings.source).columns.invoiced_at
    span = survey(files, time_column, until)
    _compare_with_tried(files)

    lines_out, left_alone = 0, 0
    overlap: list[DayLines] = []
    days = split_by_day(files, time_column, span)
    for day in track(days, "splitting", _days(span), console=Console(stderr=True)):
        target = catalog.incoming_folder(settings.data_root, day.day)
        if target.exists():
            left_alone += 1
        else:
            with replacing(target) as fresh:
                fresh.mkdir()
                pq.write_table(day.lines, fresh / "part-0.parquet")
        lines_out += day.lines.num_rows
        overlap += [day] if day.dropped else []

    dropped = sum(day.dropped for day in overlap)
    facts = {
        "first": span.first,
        "last": span.last,
        "days_written": _days(span) - left_alone,
        "days_left_alone": left_alone,
        "lines_in": span.rows,
        "lines_out": lines_out,
        "overlap_days": len(overlap),
        "overlap_lines_dropped": dropped,
        "lines_after_until": span.rows_after,
    }
    if span.rows != lines_out + dropped:
        raise RuntimeError(f"lines in are not lines out and lines dropped: {facts}")
    _say(facts, overlap)
    return facts


def main(arguments: argparse.Namespace) -> dict:
    """Start the job from the command line."""
    return run(Settings(), read_params(), arguments.from_files, arguments.until)


def _days(span: Span) -> int:
    return (span.last - span.first).days + 1


def _compare_with_tried(files: list[Path]) -> None:
    for path in files:
        digest = file_sha256(path)
        if TRIED.get(path.name) != digest:
            log.warning(
                "%s (sha256 %s) is not one of the files this was tried with; going on", path, digest
            )


def _say(facts: dict, overlap: list[DayLines]) -> None:
    if overlap:
        log.info(
            "%d days with trade (%s to %s) are in two files, %s lines that say the same in both: "
            "they are taken from %s, and %s lines were dropped",
            len(overlap),
            overlap[0].day,
            overlap[-1].day,
            f"{sum(day.lines.num_rows for day in overlap):,}",
            ", ".join(sorted({day.taken_from.name for day in overlap if day.taken_from})),
            f"{facts['overlap_lines_dropped']:,}",
        )
    log.info(
        "%s lines in = %s lines out + %s dropped; %d days written, %d were already there and "
        "left alone; %s lines after %s not laid out",
        f"{facts['lines_in']:,}",
        f"{facts['lines_out']:,}",
        f"{facts['overlap_lines_dropped']:,}",
        facts["days_written"],
        facts["days_left_alone"],
        f"{facts['lines_after_until']:,}",
        facts["last"],
    )


if __name__ == "__main__":
    start(PARSER, main)
