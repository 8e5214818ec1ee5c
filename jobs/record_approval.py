"""Write down who let a version that has passed the gate score customers, or refused, and why.

Adds a line to the warehouse's audit log, and to the version's card.
"""

import argparse

import warehouse
from jobs.entry import job_parser, start
from jobs.registry import open_registry
from params import Params, read_params
from settings import Settings

PARSER = job_parser(
    __doc__,
    "--version v1.2.0 --answer Approve --approval person --actor ana --reason 'clearly better'",
)
PARSER.add_argument("--version", required=True, help="the version, such as v1.2.0")
PARSER.add_argument("--answer", required=True, choices=("Approve", "Reject"))
PARSER.add_argument("--approval", required=True, choices=("automatic", "person"))
PARSER.add_argument("--actor", required=True, help="who answered, or asked for the training")
PARSER.add_argument("--reason", required=True, help="why")


def run(
    settings: Settings,
    params: Params,
    *,
    version: str,
    answer: str,
    approval: str,
    actor: str,
    reason: str,
) -> dict:
    """Record the answer; the facts say whether it was an approval.

    Raises:
        VersionUnknown: If there is no such version.
    """
    from jobs.model_pages import refresh_cards

    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    state = open_registry(settings, params).read()
    state.resolve(version)
    is_approved = answer == "Approve"
    details = {"version": version, "approval": approval, "actor": actor, "reason": reason}
    with warehouse.writing(engine) as connection:
        event = "challenger_approved" if is_approved else "challenger_rejected"
        warehouse.append_audit(connection, event, details)
    refresh_cards(settings.data_root, state, warehouse.approval_answers(engine))
    return {"approved": is_approved, "actor": actor, "reason": reason}


def main(arguments: argparse.Namespace) -> dict:
    """Record what the command line says."""
    return run(Settings(), read_params(), **vars(arguments))


if __name__ == "__main__":
    start(PARSER, main)
