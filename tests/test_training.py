"""Training as a user starts it: `dvc repro` in a checkout, over a small lake."""

import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import yaml

from lake import read_json
from models.bundle import read_bundle
from models.bundle_hash import bundle_sha256
from settings import PROJECT_ROOT
from tests.records import put_activity

UNTIL = date(2026, 3, 31)
CUSTOMERS = 500
DELIVERIES = 16
STAGES = [
    "list_training_window",
    "build_training_set",
    "train_model",
    "evaluate_model",
    "build_bundle",
]


def write_lake(root: Path) -> None:
    """Customers who come back after a middling purchase, but rarely after a cheap or a dear one:
    a hump, which neither recency nor a line can say. All of 30 days is delivered on the last of
    them, the others' deliveries are empty.
    """
    random = np.random.default_rng(0)
    first = UNTIL - timedelta(days=30 * DELIVERIES - 1)
    chance = np.full(CUSTOMERS, 0.5)
    for delivery in range(DELIVERIES):
        begins = first + timedelta(days=30 * delivery)
        buys = np.flatnonzero(random.random(CUSTOMERS) < chance)
        amount = random.choice([1, 10, 100], len(buys))
        chance[:] = 0.4
        chance[buys] = np.where(amount == 10, 0.95, 0.1)

        days = [begins + timedelta(days=int(day)) for day in random.integers(0, 30, len(buys))]
        ones = np.ones(len(buys), dtype="int64")
        known_on = begins + timedelta(days=29)
        table = pa.table(
            {
                "customer_id": [f"c{customer:04}" for customer in buys],
                "activity_on": pa.array(days, pa.date32()),
                "country": np.where(buys < CUSTOMERS * 0.8, "Norway", "Spain"),
                "purchase_invoice_ids": [[f"{customer}-{delivery}"] for customer in buys],
                "purchase_product_ids": [["p1"] for _ in buys],
                "purchase_lines": ones,
                "purchase_quantity_micros": ones,
                "purchase_micros": amount * 1_000_000,
                "return_lines": ones * 0,
                "return_quantity_micros": ones * 0,
                "return_micros": ones * 0,
                "known_on": pa.array([known_on] * len(buys), pa.date32()),
            }
        )
        for day in range(30):
            known_on = begins + timedelta(days=day)
            put_activity(root, known_on, table if day == 29 else table.slice(0, 0))


class Checkout:
    """A copy of this project, as it is now, with a git history and a DVC cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_root = folder / "code", folder / "data"
        files = self._git("ls-files", "--cached", "--others", "--exclude-standard", at=PROJECT_ROOT)
        for name in files.splitlines():
            # A file that git knows may have been removed since.
            if (PROJECT_ROOT / name).is_file() and not name.startswith(("artifacts/", "dvc.lock")):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(PROJECT_ROOT / name, self.folder / name)

        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        params["sources"]["generated"]["training_until"] = str(UNTIL)
        params["training"] |= {"as_of_count": 5, "as_of_step_days": 30, "history_days": 300}
        params["training"] |= {"holdout_count": 1, "calibration_count": 2, "bootstrap_rounds": 50}
        params["model"] |= {"max_rounds": 50, "max_depth": 4, "learning_rate": 0.2}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

        self._git("init", "--quiet", at=self.folder)
        self._git("add", "--all", at=self.folder)
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        self._git(*identity, "commit", "--quiet", "--message", "All", at=self.folder)

    def _git(self, *arguments: str, at: Path) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=at, check=True, capture_output=True, text=True
        ).stdout

    def repro(self, engine: str = "embedded") -> str:
        """What `dvc repro` says; fails with it if a stage fails."""
        return self.dvc("repro", engine=engine)

    def dvc(self, *command: str, engine: str = "embedded") -> str:
        """What DVC says; fails with it if it fails."""
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
            "DVC_SITE_CACHE_DIR": str(self.data_root / "dvc-site-cache"),
            "SCORING_SOURCE": "generated",
            "SCORING_DATA_ROOT": str(self.data_root),
            "SCORING_SPARK": engine,
        }
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    @property
    def lock(self) -> str:
        return (self.folder / "dvc.lock").read_text()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """Trained once."""
    checkout = Checkout(tmp_path_factory.mktemp("training"))
    write_lake(checkout.data_root)
    said = checkout.repro()
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in said] == STAGES
    return checkout


def test_what_is_trained_is_a_bundle_of_trees_that_have_beaten_the_simpler_kinds(checkout):
    folder = checkout.folder / "artifacts" / "bundle"
    bundle = read_bundle(folder, bundle_sha256(folder))
    assert bundle.model_name == "repurchase"
    drift = read_json(folder / "drift.json")
    assert drift["seasonal"] == ["purchase_days_year_ago_30d"]
    assert drift["seen_on"] == read_json(folder / "bundle.json")["origin"]["as_of"]["live"]
    assert bundle.kind == read_json(folder / "metrics.json")["chosen"] == "xgboost"
    assert {path.name for path in folder.iterdir()} == {
        "bundle.json",
        "golden_activity.parquet",
        "golden_features.parquet",
        "golden_rows.parquet",
        "drift.json",
        "estimate.json",
        "holdout.parquet",
        "judged.ubj",
        "metrics.json",
        "model.ubj",
        "model_card.md",
        "reference.parquet",
        "season.json",
    }


def test_a_second_repro_lists_the_lake_and_has_nothing_else_to_do(checkout):
    before = checkout.lock
    said = checkout.repro()
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in said] == STAGES[:1]
    assert checkout.lock == before


def test_plots_are_pictures_that_a_page_shows_without_a_network(checkout):
    page = Path(checkout.dvc("plots", "show").split()[-1].removeprefix("file://"))
    html = page.read_text()
    assert "http" not in html
    shown = [page.parent / path for path in re.findall('<img src="([^"]+)">', html)]
    roots = [ElementTree.parse(path).getroot() for path in shown]  # noqa: S314
    texts = [" ".join(root.itertext()) for root in roots]
    assert ["Calibration" in text for text in sorted(texts, key=len)] == [True, False]
    assert all(name in max(texts, key=len) for name in ("Lift", "recency table", "XGBoost"))


def test_training_again_from_nothing_on_another_engine_gives_the_same_bundle(checkout):
    bundle = bundle_sha256(checkout.folder / "artifacts" / "bundle")
    lock = checkout.lock
    shutil.rmtree(checkout.folder / "artifacts")
    shutil.rmtree(checkout.folder / ".dvc" / "cache")
    (checkout.folder / "dvc.lock").unlink()
    said = checkout.repro("local[2]")
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in said] == STAGES
    assert bundle_sha256(checkout.folder / "artifacts" / "bundle") == bundle
    assert checkout.lock == lock
