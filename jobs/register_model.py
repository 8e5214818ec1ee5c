"""Give the bundle of a commit its version number.

Reads dvc.lock and params.yaml of the commit that this checkout is at, and the bundle from the
model store; writes a version tag into the registry and copies its history into the warehouse.
retrain_model does all of it. For a bundle trained by hand: dvc repro, git commit dvc.lock,
dvc push, then this.
"""

import getpass

from jobs.entry import job_parser, start
from jobs.registry import register_commit, version_facts
from params import read_params
from settings import PROJECT_ROOT, Settings

PARSER = job_parser(__doc__, '--reason "first model"')
PARSER.add_argument("--reason", required=True, help="why there is this version; kept with it")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")


def main(arguments) -> dict:
    """Start the job from the command line."""
    version = register_commit(
        Settings(),
        read_params(),
        PROJECT_ROOT,
        reason=arguments.reason,
        actor=arguments.actor or getpass.getuser(),
    )
    return version_facts(version)


if __name__ == "__main__":
    start(PARSER, main)
