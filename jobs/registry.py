"""What the jobs about the model registry share: open it, register, promote, check a version.

Jobs that only move a tag start fast, so what reads a bundle is imported where it is needed.
"""

import json
import logging
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from models.bundle_hash import bundle_sha256
from models.git import GitFailed, git
from models.registry import CHAMPION, ModelVersion, Promotion, Registry, Trained
from models.store import download_bundle, fetch_bundle
from params import Params, Question, Source
from records import AuditAnchor
from settings import Settings
from warehouse import (
    WarehouseAway,
    approval_answers,
    audit_head,
    check_migrated,
    check_version,
    connect,
    record_challenge,
    record_promotion,
    record_version,
)

if TYPE_CHECKING:
    from models.bundle import Bundle

log = logging.getLogger("jobs.registry")

BUNDLE = "artifacts/bundle"
"""Where dvc.yaml puts the bundle."""


class NotCommitted(RuntimeError):
    """The checkout is not what its commit says, so the commit cannot stand for the bundle."""


class OtherQuestion(RuntimeError):
    """The model answers another question than the champion."""


class ModelDoesNotFit(RuntimeError):
    """The model was trained on other features than this code computes."""


def open_registry(settings: Settings, params: Params) -> Registry:
    """The registry of this deployment's model."""
    mirror = settings.data_root / "registry-mirror.git"

    def newest_line() -> AuditAnchor | None:
        try:
            return audit_head(connect(settings.warehouse_url))
        # A model must be taken back though the warehouse is away.
        except WarehouseAway as error:
            log.warning("the tag keeps no copy of the audit log: %s", error)
            return None

    return Registry(settings.registry_url, params.model.name, mirror, newest_line)


def copy_history(settings: Settings, registry: Registry) -> None:
    """Copy what the registry holds into the warehouse, and onto the cards of the versions; what is
    there already is not added."""
    from jobs.model_pages import refresh_cards

    engine = connect(settings.warehouse_url)
    state = registry.read()
    for version in state.versions:
        record_version(engine, version)
    for promotion in state.promotions:
        record_promotion(engine, promotion)
    for challenge in state.challenges:
        record_challenge(engine, challenge)
    refresh_cards(settings.data_root, state, approval_answers(engine))


def register_commit(
    settings: Settings,
    params: Params,
    repository: Path,
    *,
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


def version_facts(version: ModelVersion) -> dict:
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
    except GitFailed as error:
        raise NotCommitted(
            f"the last commit of {repository} holds no {name} ({error.stderr.strip()}). Run dvc "
            "repro and commit it, or let jobs.retrain_model train in a clean clone."
        ) from None


def promote(
    settings: Settings,
    params: Params,
    *,
    version: str,
    reason: str,
    actor: str,
    token: str | None = None,
) -> Promotion:
    """Make a version the champion; nothing happens if it is.

    ``token`` names the attempt in the promotion, so that a retry finds what it did.

    Raises:
        VersionUnknown: If there is no such version.
        BundleRefused: If its bundle cannot score here, so that no night would.
    """
    check_migrated(connect(settings.warehouse_url))
    registry = open_registry(settings, params)
    wanted = registry.resolve(version)
    usable_bundle(settings, wanted)
    promotion = registry.promote(wanted.version, actor=actor, reason=reason, token=token)
    copy_history(settings, registry)
    return promotion


def promotion_facts(promotion: Promotion) -> dict:
    """What promoting and rolling back print."""
    return {CHAMPION: promotion.version, "number": promotion.number, "previous": promotion.previous}


def usable_bundle(settings: Settings, version: ModelVersion) -> "Bundle":
    """The version's bundle, fetched if it is not here yet, and checked.

    Raises:
        StoreUnavailable, BundleDiffers: If the bundle cannot be had.
        BundleRefused: If it cannot score here.
    """
    from models.bundle import read_bundle

    folder = fetch_bundle(version, settings.model_store_url, settings.data_root / "bundles")
    return read_bundle(folder, version.bundle_sha256)


def check_usable(settings: Settings, version: ModelVersion, source: Source) -> "Bundle":
    """The version's bundle, which can score the features of the source.

    Raises:
        HistoryDiffers: If the version's tag was moved since it was registered.
        StoreUnavailable, BundleDiffers: If the bundle cannot be had.
        BundleRefused, ModelDoesNotFit: If it cannot score here.
    """
    check_version(connect(settings.warehouse_url), version)
    bundle = usable_bundle(settings, version)
    check_features(bundle, version.version, source)
    return bundle


def check_question(bundle: "Bundle", question: Question, version: str) -> None:
    """Raise OtherQuestion unless the model answers this question.

    Raises:
        OtherQuestion: Names both.
    """
    if bundle.question != question:
        raise OtherQuestion(
            f"{version} answers {bundle.question.name}, the champion {question.name}: scores of "
            "the two cannot stand in one list. To ask the new question from the next night on, "
            f"promote it: python -m jobs.promote_model --version {version} --reason ..."
        )


def check_features(bundle: "Bundle", version: str, source: Source) -> None:
    """Raise ModelDoesNotFit unless the model reads exactly the features of the source.

    Raises:
        ModelDoesNotFit: Names the differences.
    """
    from features.build import names_of

    reads, computed = set(bundle.feature_names), set(names_of(source))
    if reads != computed:
        raise ModelDoesNotFit(
            f"model {version} reads {sorted(reads - computed) or 'nothing'} that features/ does "
            "not compute of the source's columns, and does not know "
            f"{sorted(computed - reads) or 'nothing'} that it does. Train with this code and "
            "mapping: python -m jobs.retrain_model --help. Or score with those of its tag."
        )
