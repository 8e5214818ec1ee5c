"""Registered models for the tests of jobs, made once with the real git and the real DVC."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from features.build import FEATURE_NAMES
from jobs.build_bundle import quiet_thresholds
from lake import write_json
from models.apply import score
from models.bundle_hash import bundle_sha256
from models.fit import Recipe, fit_model, rows_of
from models.git import git
from models.judge import judge
from models.metrics import JUDGED, KINDS, LIVE, XGBOOST
from models.packing import Origin, write_bundle
from models.registry import Registry, Trained
from models.season import SEASON
from models.split import split_by_time
from monitoring.drift import DRIFT_THRESHOLDS
from monitoring.performance import ESTIMATE_BIAS
from params import FIRST_QUESTION, Question, read_params
from settings import Settings
from warehouse import migrate

PARAMS = read_params()

FITTED = tempfile.TemporaryDirectory(prefix="fitted-")
"""Goes when the process ends."""


def write_model(
    folder: Path,
    feature_names: tuple[str, ...],
    *,
    kind: str = XGBOOST,
    question: Question = FIRST_QUESTION,
) -> None:
    """A bundle of a small model of that kind which reads ``feature_names``."""
    shutil.copytree(fitted(feature_names, kind, question), folder)


@cache
def fitted(feature_names: tuple[str, ...], kind: str, question: Question) -> Path:
    """The same one; made once for all tests, because the thresholds of its drift take a second."""
    folder = Path(tempfile.mkdtemp(dir=FITTED.name)) / "bundle"
    training = PARAMS.training.model_copy(update={"question": question})
    random = np.random.default_rng(0)
    dates = [date(2026, 1, 5) + timedelta(days=30 * n) for n in range(5)]
    parts = []
    for as_of in dates:
        rows = {name: random.integers(0, 50, 200).astype(float) for name in feature_names}
        rows["country"] = random.choice(["Norway", "Spain"], 200)
        label = (random.random(200) < np.where(rows["recency_days"] < 20, 0.8, 0.2)).astype("int32")
        ids = [f"c{n:04}" for n in range(200)]
        key = {"as_of": pa.array([as_of] * 200, pa.date32()), "customer_id": ids}
        parts.append(pa.table({**key, **rows, "label": label}))
    training_set = pa.concat_tables(parts)

    split = split_by_time(dates, horizon_days=30, holdout_count=1)
    recipe = Recipe(2, None, PARAMS.model.model_copy(update={"max_rounds": 3}), seed=1)
    judged, live = (fit_model(training_set, days, kind, recipe) for days in (split.fit, split.live))
    holdout = rows_of(training_set, split.holdout)
    predictions = holdout.select(["as_of", "customer_id", "label", "country"]).to_pandas()
    probability = score(holdout, judged, reasons=0)["probability"].to_numpy()
    # The others give everybody the same score, so this kind is chosen.
    scored = dict.fromkeys(KINDS, 0.5) | {kind: probability}
    predictions = predictions.assign(
        **{f"{fit}{name}": p for fit in (JUDGED, LIVE) for name, p in scored.items()}
    )
    golden = folder.with_name("golden")
    golden.mkdir()
    for name in ("golden_activity.parquet", "golden_features.parquet"):
        pq.write_table(holdout.slice(0, 3), golden / name)
    write_json(golden / SEASON, {})
    folder.mkdir()
    write_bundle(
        folder,
        live,
        judged,
        holdout,
        predictions,
        golden,
        judge(predictions, rounds=5, seed=1),
        Origin(
            source="generated",
            training_until="2026-03-31",
            as_of={part: [str(day) for day in days] for part, days in asdict(split).items()},
            rows={"fit": 0, "holdout": 0, "live": 0},
            left_out={},
            training_set_sha256="a" * 64,
            features_sha256="b" * 64,
            params_sha256="c" * 64,
        ),
        {"power": {}, "deaf": [], "fading": []},
        PARAMS.model_copy(update={"training": training}),
    )
    write_json(folder / ESTIMATE_BIAS, {"value": {}, "reach": {}})
    few = PARAMS.drift.model_copy(update={"placebo_nights": 50})
    thresholds = quiet_thresholds(training_set, live, PARAMS.model_copy(update={"drift": few}))
    write_json(folder / DRIFT_THRESHOLDS, thresholds.as_dict())
    return folder


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory) -> Path:
    """A SQLite file with all tables."""
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def model_shop(tmp_path_factory) -> Path:
    """A folder with ``registry.git`` and ``model-store``; nothing in it is champion.

    v1.0.0 reads what features/ computes, v1.1.0 one feature less.
    """
    folder = tmp_path_factory.mktemp("model-shop")
    write_model(folder / "fitting", FEATURE_NAMES)
    write_model(folder / "narrow", tuple(n for n in FEATURE_NAMES if n != "tenure_days"))
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", str(folder / "model-store"))
    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Train", folder=folder / "code")
    register(folder, folder / "registry.git", "fitting", "narrow")
    return folder


def register(folder: Path, registry_url: Path, *names: str) -> None:
    """Push the bundles in ``folder`` to its store and register them as the next versions."""
    run_dvc(folder, "add", *names)
    run_dvc(folder, "push")
    commit = git("rev-parse", "HEAD", folder=folder / "code").strip()
    registry = Registry(str(registry_url), PARAMS.model.name, folder / "mirror.git")
    registry.create()
    for name in names:
        [out] = yaml.safe_load((folder / f"{name}.dvc").read_text())["outs"]
        trained = Trained(
            bundle_sha256=bundle_sha256(folder / name),
            bundle_md5=out["md5"],
            training_until=date(2026, 3, 31),
            source="generated",
            metrics={},
            reason="test",
            actor="ada",
            token=None,
        )
        registry.register(folder / "code", commit, trained)


def run_dvc(folder: Path, *arguments: str) -> None:
    dvc = Path(sys.executable).parent / "dvc"
    ours = {"DVC_SITE_CACHE_DIR": str(folder / "site"), "DVC_NO_ANALYTICS": "true"}
    subprocess.run([dvc, *arguments, "--quiet"], cwd=folder, env=os.environ | ours, check=True)


@pytest.fixture
def deployed(tmp_path, model_shop, empty_warehouse) -> Settings:
    """A deployment with two registered models, none promoted, and an empty warehouse."""
    return deploy(tmp_path, model_shop, empty_warehouse)


def deploy(folder: Path, model_shop: Path, empty_warehouse: Path) -> Settings:
    """Such a deployment in a folder."""
    root = folder / "data"
    root.mkdir()
    shutil.copy(empty_warehouse, root)
    shutil.copytree(model_shop / "registry.git", root / "registry.git")
    return Settings(data_root=root, model_store_url=str(model_shop / "model-store"))


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory, spark, empty_warehouse) -> Path:
    """A deployment with three published nights; not to be changed."""
    from tests.jobs.small_shop import build_shop

    folder = tmp_path_factory.mktemp("small-shop")
    root = folder / "data"
    root.mkdir()
    shutil.copy(empty_warehouse, root)
    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Train", folder=folder / "code")
    build_shop(spark, Settings(data_root=root), folder)
    return root


@pytest.fixture
def shop(tmp_path, shop_folder) -> Settings:
    """A copy of it."""
    root = tmp_path / "data"
    shutil.copytree(shop_folder, root)
    return Settings(data_root=root)
