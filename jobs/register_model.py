"""Give the bundle of a commit its version number.

Reads dvc.lock and params.yaml of the commit that this checkout is at, and the bundle from the
model store; writes a version tag into the registry and copies its history into the warehouse.
retrain_model does all of it. For a bundle trained by hand: dvc repro, git commit dvc.lock,
dvc push, then this.
"""

import getpass
import json
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

import yaml

from jobs.entry import job_parser, start
from jobs.model_pages import refresh_cards
from models.bundle import bundle_sha256
from models.registry import ModelVersion, Registry, Trained, download_bundle, git
from params import Params, read_params
from settings import PROJECT_ROOT, Settings
from warehouse import (
    check_migrated,
    connect,
    record_challenge,
    record_promotion,
    record_version,
)

BUNDLE = "artifacts/bundle"
"""Where dvc.yaml puts the bundle."""

PARSER = job_parser(__doc__)
PARSER.add_argument("--reason", required=True, help="why there is this version; kept with it")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")


class NotCommitted(RuntimeError):
    """The checkout is not what its commit says, so the commit cannot stand for the bundle."""


def open_registry(settings: Settings, params: Params) -> Registry:
    """The registry of this deployment's model."""
    mirror = settings.data_root / "registry-mirror.git"
    return Registry(settings.registry_url, params.model.name, mirror)


def copy_history(settings: Settings, registry: Registry) -> None:
    """Copy what the registry holds into the warehouse, and onto the cards of the versions; what is
    there already is not added."""
    engine = connect(settings.warehouse_url)
    state = registry.read()
    for version in state.versions:
        record_version(engine, version)
    for promotion in state.promotions:
        record_promotion(engine, promotion)
    for challenge in state.challenges:
        record_challenge(engine, challenge)
    refresh_cards(settings.data_root, state)


def run(
    settings: Settings,
    params: Params,
    repository: Path,
    reason: str,
    actor: str,
    token: str | None = None,
    asked_at: datetime | None = None,
) -> ModelVersion:
    """Register the commit that ``repository`` is at.

    What is hashed and registered is what the model store returns, so a bundle that was not
    pushed, or not whole, gets no version.

    Raises:
        NotCommitted: If dvc.lock or params.yaml are not as committed.
        StoreUnavailable: If the model store lacks the bundle.
    """
    check_migrated(connect(settings.warehouse_url))
    commit = git("rev-parse", "HEAD", folder=repository).strip()
    lock = _committed(repository, "dvc.lock")
    training_until = _committed(repository, "params.yaml")["sources"][settings.source][
        "training_until"
    ]
    outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    [bundle_md5] = [out["md5"] for out in outs if out["path"] == BUNDLE]

    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        download_bundle(bundle_md5, settings.model_store_url, bundle)
        trained = Trained(
            bundle_sha256=bundle_sha256(bundle),
            bundle_md5=bundle_md5,
            training_until=training_until,
            source=settings.source,
            metrics=json.loads((bundle / "metrics.json").read_text(encoding="utf-8"))["model"],
            reason=reason,
            actor=actor,
            token=token,
            asked_at=asked_at,
        )

    registry = open_registry(settings, params)
    registry.create()
    version = registry.register(repository, commit, trained)

    copy_history(settings, registry)
    return version


def facts(version: ModelVersion) -> dict:
    """What registering and retraining print."""
    return version.model_dump(mode="json", include={"version", "bundle_sha256", "metrics"})


def _committed(repository: Path, name: str) -> dict:
    """The YAML file ``name`` as it is in the checkout's commit."""
    if git("status", "--porcelain", "--", name, folder=repository):
        raise NotCommitted(
            f"{repository / name} differs from its last commit, so that commit does not say how "
            f"the bundle was made. Commit it, or let jobs.retrain_model train in a clean clone."
        )
    try:
        return yaml.safe_load(git("show", f"HEAD:{name}", folder=repository))
    except subprocess.CalledProcessError as error:
        raise NotCommitted(
            f"the last commit of {repository} holds no {name} ({error.stderr.strip()}). Run dvc "
            "repro and commit it, or let jobs.retrain_model train in a clean clone."
        ) from None


def main(arguments) -> dict:
    """Start the job from the command line."""
    actor = arguments.actor or getpass.getuser()
    return facts(run(Settings(), read_params(), PROJECT_ROOT, arguments.reason, actor))


if __name__ == "__main__":
    start(PARSER, main)
