"""Let a registered model score from the next night on.

Reads the registry and the model's bundle; writes a promotion into the registry and copies the
registry's history into the warehouse. The model that is champion already stays it. A first champion
must clearly beat both baselines.
"""

import getpass

from jobs.entry import job_parser, start
from jobs.register_model import copy_history, open_registry
from lake import read_json
from models.bundle import read_bundle
from models.judge import require_better
from models.registry import CHAMPION, Promotion, fetch_bundle
from params import Params, read_params
from settings import Settings
from warehouse import check_migrated, connect

PARSER = job_parser(__doc__)
PARSER.add_argument("--version", required=True, help="the version to promote, such as v1.2.0")
PARSER.add_argument("--reason", required=True, help="why; kept with the promotion")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")


def run(
    settings: Settings,
    params: Params,
    version: str,
    reason: str,
    actor: str,
    token: str | None = None,
) -> dict:
    """Promote; the facts are the version and the number and predecessor of its promotion.

    ``token`` names the attempt in the promotion, so that a retry finds what it did.

    Raises:
        VersionUnknown: If there is no such version.
        BundleRefused: If its bundle cannot score here, so that no night would.
        ModelNotBetter: If it would be the first champion and does not beat both baselines.
    """
    check_migrated(connect(settings.warehouse_url))
    registry = open_registry(settings, params)
    wanted = registry.resolve(version)
    bundle = fetch_bundle(wanted, settings.model_store_url, settings.data_root / "bundles")
    read_bundle(bundle, wanted.bundle_sha256)
    if not registry.read().promotions:
        require_better(read_json(bundle / "metrics.json"))

    promotion = registry.promote(wanted.version, actor, reason, token=token)

    copy_history(settings, registry)
    return facts(promotion)


def facts(promotion: Promotion) -> dict:
    """What promoting and rolling back print."""
    return {CHAMPION: promotion.version, "number": promotion.number, "previous": promotion.previous}


def main(arguments) -> dict:
    """Start the job from the command line."""
    actor = arguments.actor or getpass.getuser()
    return run(Settings(), read_params(), arguments.version, arguments.reason, actor)


if __name__ == "__main__":
    start(PARSER, main)
