"""A small shop with a model and two published nights, made once by the real jobs."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from deliveries.faults import Faults
from features.activity import ON_TIME, read_activity
from features.build import FEATURE_NAMES
from features.golden import write_golden
from jobs import (
    build_features,
    generate_deliveries,
    load_history,
    open_run,
    publish_predictions,
    score_customers,
    summarise_activity,
    validate_delivery,
)
from ledger import intake_rules, known_by, pin_rules
from models.bundle_hash import bundle_sha256
from models.git import git
from models.registry import Registry, Trained
from params import read_params
from records import ActivityRecord, RunRecord
from settings import Settings
from tests.jobs.conftest import write_model
from warehouse import connect, migrate

PARAMS = read_params()
FIRST, HISTORY_ENDS = date(2026, 1, 15), date(2026, 3, 27)
NIGHT = date(2026, 3, 28)
CLOCKS_CHANGE = date(2026, 3, 29)
VERSION = "v1.0.0"
CUSTOMERS = 1000


@dataclass(frozen=True)
class Shop:
    """A deployment, and the engine that computes its nights in the tests' own process."""

    spark: object
    settings: Settings

    @property
    def root(self) -> Path:
        """The data root."""
        return self.settings.data_root

    @property
    def warehouse(self) -> sa.Engine:
        """The warehouse."""
        return connect(self.settings.warehouse_url)

    def deliver(self, day: date, faults: Faults | None = None, seed: int = 1) -> None:
        """Put down the delivery of a day, in place of one that is there."""
        shutil.rmtree(self.root / f"incoming/transactions/{day}", ignore_errors=True)
        make_days(self.settings, day, day, seed, faults or Faults(()))

    def load(self, until: date, **options) -> None:
        """Take in what is delivered."""
        load_history.run(self.spark, self.settings, PARAMS, until, **options)

    def open(self, night: date) -> RunRecord:
        """Open a run of the night."""
        opened = open_run.run(self.settings, PARAMS, night, model=VERSION, reason="test")
        return RunRecord.read(self.root, night, opened["run_id"])

    def publish(self, night: date) -> RunRecord:
        """Run a night up to its publishing."""
        record = self.open(night)
        for job in (validate_delivery, summarise_activity, build_features, score_customers):
            job.run(self.spark, self.settings, PARAMS, record)
        publish_predictions.run(self.settings, record)
        return record


def make_days(settings: Settings, first: date, until: date, seed: int, faults: Faults) -> None:
    """Put down deliveries of a generated shop."""
    generate_deliveries.run(
        settings,
        PARAMS,
        first=first,
        until=until,
        customers=CUSTOMERS,
        seed=seed,
        faults=faults,
    )


def deploy_model(shop: Shop, folder: Path) -> None:
    """Register a small model, whose recorded customers are some of this shop, as v1.0.0."""
    write_model(folder / "model", FEATURE_NAMES)
    rules = pin_rules(shop.root, intake_rules(PARAMS, "generated"))
    intakes = known_by(shop.root, rules, HISTORY_ENDS, HISTORY_ENDS)
    pieces = [
        (ActivityRecord.read(shop.root, day, name).activity, ON_TIME)
        for day, name in intakes.items()
    ]
    activity = read_activity(shop.spark, shop.root, pieces)
    write_golden(activity, folder / "model", date(2026, 3, 20), PARAMS.population.active_days)
    sha256 = bundle_sha256(folder / "model")
    shutil.copytree(folder / "model", shop.root / "bundles" / sha256)

    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Train", folder=folder / "code")
    registry = Registry(shop.settings.registry_url, PARAMS.model.name, folder / "mirror.git")
    registry.create()
    trained = Trained(
        bundle_sha256=sha256,
        bundle_md5="0" * 32 + ".dir",
        training_until=date(2026, 3, 27),
        source="generated",
        metrics={},
        reason="test",
        actor="ada",
        token=None,
    )
    commit = git("rev-parse", "HEAD", folder=folder / "code").strip()
    registry.register(folder / "code", commit, trained)


@pytest.fixture(scope="session")
def published_shop(tmp_path_factory, spark) -> Path:
    """The data root of a shop with the nights of 28 and 29 March 2026; clocks change on the 29th,
    at 01:00, and orders are placed around both its midnights."""
    folder = tmp_path_factory.mktemp("published")
    shop = Shop(spark, Settings(data_root=folder / "data"))
    migrate(shop.settings.warehouse_url)
    make_days(shop.settings, FIRST, CLOCKS_CHANGE, 1, Faults(()))
    shop.load(HISTORY_ENDS)
    deploy_model(shop, folder)
    shop.publish(NIGHT)
    shop.publish(CLOCKS_CHANGE)
    return shop.root


@pytest.fixture
def shop(tmp_path, published_shop, spark) -> Shop:
    """A copy of that shop."""
    shutil.copytree(published_shop, tmp_path / "data")
    return Shop(spark, Settings(data_root=tmp_path / "data"))


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    return read
