"""Take rows back that were repaired after quarantine, as a delivery of their own for their day.

Reads a CSV file as show_quarantine writes it, with the values corrected; extra columns are left
alone. Writes lines, activity and records beside those of the delivery that is repaired. Nights from
now on use the rows; nights that were opened before do not.
"""

import argparse
from datetime import date
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.receive import copy_file
from jobs.engine import EMBEDDED
from jobs.entry import add_day, existing, job_parser, start
from jobs.repairs import standing_intake, take_repair
from jobs.session import job_session
from lake import attempt
from ledger import delivery_of, intake_rules, pin_rules, receive
from params import Params, read_params
from records import ActivityRecord
from settings import Settings

PARSER = job_parser(__doc__, "--day 2026-04-02 --file rows.csv")
add_day(PARSER, "--day", required=True, help="of the delivery")
PARSER.add_argument("--file", type=existing, required=True, help="the repaired rows, as CSV")


def run(spark: SparkSession, settings: Settings, params: Params, day: date, file: Path) -> dict:
    """Take the rows back; the facts are counts, and the first night that uses them.

    The same file again changes nothing.

    Raises:
        What ``jobs.repairs.take_repair`` raises.
    """
    root = settings.data_root
    rules = pin_rules(root, intake_rules(params, settings.source))
    repaired = standing_intake(root, rules, day)
    copy = root / catalog.RECEIVED.format(known_on=day) / attempt()
    entry = receive(
        root,
        day,
        [copy_file(file, copy)],
        copy,
        night=day,
        taken_by="return_repaired",
        repairs=delivery_of(repaired.intake),
    )
    record = take_repair(spark, root, params, settings.source, rules, entry)
    return {
        "day": str(day),
        "repairs": entry.repairs,
        "returned": record.delivered,
        "accepted": record.accepted,
        "excluded": record.excluded,
        "quarantined": record.quarantined,
        "known_from": str(ActivityRecord.read(root, day, record.intake).known_from),
    }


def main(arguments: argparse.Namespace) -> dict:
    """Do the job in a session of its own; what comes back is little."""
    settings, params = Settings(), read_params()
    with job_session(settings, f"return_repaired {arguments.day}", EMBEDDED) as spark:
        return run(spark, settings, params, arguments.day, arguments.file)


if __name__ == "__main__":
    start(PARSER, main)
