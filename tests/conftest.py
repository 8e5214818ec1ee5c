"""Fixtures that every folder of tests shares."""

import gc
import importlib
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

from settings import PROJECT_ROOT, Settings

# A busy machine is not a bug.
hypothesis.settings.register_profile("any_machine", deadline=None)
hypothesis.settings.load_profile("any_machine")


GOLDEN = PROJECT_ROOT / "tests/golden"


def pytest_addoption(parser):
    parser.addoption("--rewrite-golden", action="store_true", help="accept what is there now")


def pytest_configure(config):
    # Before a test imports XGBoost or scikit-learn: their threads are to wait without spinning.
    importlib.import_module("models")
    # Airflow reads these when it is first imported, and puts its files there.
    config.airflow_home = tempfile.mkdtemp(prefix="airflow-")
    os.environ["AIRFLOW_HOME"] = config.airflow_home
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] = "False"


def pytest_collection_finish():
    # What was imported stays; to look for garbage in it again and again took a tenth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_unconfigure(config):
    shutil.rmtree(config.airflow_home, ignore_errors=True)


@pytest.fixture
def golden(request):
    """Compares a text with the file of that name in tests/golden, or at that path; or writes it."""

    def compare(name: str | Path, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--rewrite-golden"):
            path.write_text(text, encoding="utf-8")
        accepted = path.read_text(encoding="utf-8") if path.exists() else ""
        assert text == accepted, f"{path} differs; read the difference, then: make golden"

    return compare


@pytest.fixture(scope="session")
def spark():
    """One session of the embedded engine for all tests; jobs never stop the session they get."""
    from jobs.session import EMBEDDED, session

    with session(Settings(), "tests", EMBEDDED) as spark:
        yield spark


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A deployment of its own in a temporary folder."""
    return Settings(data_root=tmp_path)


@pytest.fixture(scope="session")
def online_retail() -> Path:
    """The folder with Online Retail II, or a skip that says where it was looked for."""
    default = PROJECT_ROOT.parent / "shared/data/online_retail_ii"
    folder = Path(os.environ.get("SCORING_TEST_ONLINE_RETAIL", default))
    if not (folder / "year_2010_2011.parquet").exists():
        pytest.skip(
            f"Online Retail II is not at {folder}; set SCORING_TEST_ONLINE_RETAIL to its folder"
        )
    return folder
