"""Let an earlier model score again from the next night on.

Reads the registry and the model's bundle; writes a promotion of the earlier version into the
registry, which also ends what is being tried, and copies the registry's history into the warehouse.
Scores that are published stay: roll_back_predictions takes those from readers.
"""

import getpass

from jobs.entry import job_parser, start
from jobs.registry import copy_history, open_registry, promote, promotion_facts
from params import Params, read_params
from settings import Settings

PARSER = job_parser(__doc__, '--reason "complaints from the call centre"')
PARSER.add_argument("--version", help="the version to go back to; default the champion before")
PARSER.add_argument("--reason", required=True, help="why; kept with the promotion")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")
PARSER.add_argument("--token", help="names the attempt: again with the same one does nothing more")


def run(
    settings: Settings,
    params: Params,
    *,
    version: str | None,
    reason: str,
    actor: str,
    token: str | None = None,
) -> dict:
    """Go back; the facts are those of promote_model.

    Without a version it goes back to the champion that the present one first took over from: doing
    it twice goes back twice, unless both have the same token. A version that is champion already
    stays it.

    Raises:
        VersionUnknown: If there is no such version, or none before the present champion.
        BundleRefused: If its bundle cannot score here, so that no night would.
    """
    registry = open_registry(settings, params)
    state = registry.read()
    for promotion in state.promotions:
        if token is not None and promotion.token == token:
            copy_history(settings, registry)
            return promotion_facts(promotion)

    wanted = version or state.champion_before().version
    promotion = promote(
        settings,
        params,
        version=wanted,
        reason=f"roll-back: {reason}",
        actor=actor,
        token=token,
    )
    return promotion_facts(promotion)


def main(arguments) -> dict:
    """Start the job from the command line."""
    return run(
        Settings(),
        read_params(),
        version=arguments.version,
        reason=arguments.reason,
        actor=arguments.actor or getpass.getuser(),
        token=arguments.token,
    )


if __name__ == "__main__":
    start(PARSER, main)
