"""Let a registered model score from the next night on.

Reads the registry and the model's bundle; writes a promotion into the registry and copies the
registry's history into the warehouse. The model that is champion already stays it.
"""

import getpass

from jobs.entry import job_parser, start
from jobs.registry import promote, promotion_facts
from params import Params, read_params
from settings import Settings

PARSER = job_parser(__doc__, '--version v1.2.0 --reason "it won the gate"')
PARSER.add_argument("--version", required=True, help="the version to promote, such as v1.2.0")
PARSER.add_argument("--reason", required=True, help="why; kept with the promotion")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")


def run(settings: Settings, params: Params, *, version: str, reason: str, actor: str) -> dict:
    """Promote; the facts are the version and the number and predecessor of its promotion.

    Raises:
        What `jobs.registry.promote` raises.
    """
    promotion = promote(settings, params, version=version, reason=reason, actor=actor)
    return promotion_facts(promotion)


def main(arguments) -> dict:
    """Start the job from the command line."""
    return run(
        Settings(),
        read_params(),
        version=arguments.version,
        reason=arguments.reason,
        actor=arguments.actor or getpass.getuser(),
    )


if __name__ == "__main__":
    start(PARSER, main)
