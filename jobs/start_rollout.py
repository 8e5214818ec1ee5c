"""Try a registered model beside the champion, or stop trying.

Reads the registry and the model's bundle; writes a move of the challenger into the registry and
copies the registry's history into the warehouse. It begins with the first step of `rollout` in
params.yaml (shadow); advance_rollout takes it on from there, night by night.
"""

import getpass

from jobs.entry import job_parser, start
from jobs.registry import (
    check_question,
    check_usable,
    copy_history,
    open_registry,
    usable_bundle,
)
from models.registry import CHAMPION
from params import Params, read_params
from settings import Settings
from warehouse import check_migrated, connect

PARSER = job_parser(__doc__, '--version v1.2.0 --reason "try it again"')
WHAT = PARSER.add_mutually_exclusive_group(required=True)
WHAT.add_argument("--version", help="the version to try, such as v1.2.0")
WHAT.add_argument("--withdraw", action="store_true", help="stop trying what is being tried")
PARSER.add_argument("--reason", required=True, help="why; kept with the move")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")


def run(settings: Settings, params: Params, version: str, *, reason: str, actor: str) -> dict:
    """Begin to try ``version``; the facts are what is tried now and the number of the move.

    A version that is being tried stays at the percent it has reached.

    Raises:
        VersionUnknown: If there is no such version, or no champion to try it beside.
        RolloutBlocked: If it is the champion, or another version is being tried.
        OtherQuestion: If it answers another question than the champion.
        BundleRefused, ModelDoesNotFit, StoreUnavailable, BundleDiffers: If it cannot score here.
    """
    check_migrated(connect(settings.warehouse_url))
    registry = open_registry(settings, params)
    state = registry.read()
    wanted = state.resolve(version)
    question = usable_bundle(settings, state.resolve(CHAMPION)).question
    bundle = check_usable(settings, wanted, params.source(settings.source))
    check_question(bundle, question, wanted.version)

    move = state.challenge
    if move is None or move.version != wanted.version:
        percent = params.rollout.percents[0]
        move = registry.challenge(wanted.version, percent, actor=actor, reason=reason, seen=state)

    copy_history(settings, registry)
    return {"version": move.version, "percent": move.percent, "number": move.number}


def withdraw(settings: Settings, params: Params, *, reason: str, actor: str) -> dict:
    """Stop trying the challenger; the facts are what was tried, or null."""
    check_migrated(connect(settings.warehouse_url))
    registry = open_registry(settings, params)

    move = registry.withdraw(actor=actor, reason=reason)

    copy_history(settings, registry)
    return {"withdrawn": move and move.previous}


def main(arguments) -> dict:
    """Start the job from the command line."""
    actor = arguments.actor or getpass.getuser()
    if arguments.withdraw:
        return withdraw(Settings(), read_params(), reason=arguments.reason, actor=actor)
    return run(Settings(), read_params(), arguments.version, reason=arguments.reason, actor=actor)


if __name__ == "__main__":
    start(PARSER, main)
