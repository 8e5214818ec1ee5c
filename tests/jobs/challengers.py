"""A third version that can score, for tests of what happens beside the champion."""

import shutil
from pathlib import Path

from jobs.registry import open_registry
from models.bundle_hash import bundle_sha256
from models.registry import Trained
from params import read_params
from settings import Settings

PARAMS = read_params()


def register_challenger(settings: Settings, model_shop: Path) -> str:
    """Register v1.2.0, which scores as v1.0.0 does; its bundle is in this deployment's cache."""
    fresh = settings.data_root / "bundles" / "fresh"
    shutil.copytree(model_shop / "fitting", fresh)
    (fresh / "model_card.md").write_text("Another model.")
    sha256 = bundle_sha256(fresh)
    fresh.rename(fresh.with_name(sha256))
    registry = open_registry(settings, PARAMS)
    first = registry.resolve("v1.0.0")
    trained = Trained(
        **first.model_dump(exclude={"name", "version", "commit", "bundle_sha256"}),
        bundle_sha256=sha256,
    )
    return registry.register(registry.mirror, first.commit, trained).version
