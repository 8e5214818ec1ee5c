"""Fixtures that every folder of tests shares."""

import os
from pathlib import Path

import pytest

from settings import PROJECT_ROOT, Settings


@pytest.fixture(scope="session")
def spark():
    """One Spark session for all tests; jobs never stop the session they are given."""
    from jobs.session import spark_session

    session = spark_session(Settings(spark_master="local[2]"), "tests")
    yield session
    session.stop()


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
