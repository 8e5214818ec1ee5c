"""Let readers see an earlier run of a night again.

Moves one pointer in the warehouse, with a line in its audit log; needs nothing else. Both runs
stay, and publishing the one that was left is refused until it is named here.
"""

import getpass
from datetime import date

import warehouse
from jobs.entry import night_parser, run_name, start
from settings import Settings

PARSER = night_parser(__doc__, '--reason "wrong delivery"')
PARSER.add_argument(
    "--run-id", type=run_name, help="the run to show; default the one published before"
)
PARSER.add_argument("--reason", required=True, help="why; kept in the audit log")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")
PARSER.add_argument("--token", help="names the attempt: again with the same one does nothing more")


def run(
    settings: Settings,
    score_date: date,
    *,
    reason: str,
    actor: str,
    run_id: str | None = None,
    token: str | None = None,
) -> dict:
    """Go back; the facts are the run that readers see now and the one they saw before.

    Raises:
        NothingToRollBack: If there is no such run; names those there are.
        WarehouseAway: If the warehouse cannot be reached.
    """
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)

    moved = warehouse.roll_back(
        engine, score_date, actor=actor, reason=reason, run_id=run_id, token=token
    )

    return {
        "score_date": str(score_date),
        "run_id": moved.run_id,
        "instead_of": moved.instead_of,
    }


def main(arguments) -> dict:
    """Start the job from the command line."""
    actor = arguments.actor or getpass.getuser()
    return run(
        Settings(),
        arguments.score_date,
        reason=arguments.reason,
        actor=actor,
        run_id=arguments.run_id,
        token=arguments.token,
    )


if __name__ == "__main__":
    start(PARSER, main)
