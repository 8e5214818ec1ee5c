"""A warehouse of each kind: every test that asks for `engine` runs on both."""

import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

import warehouse
from local import postgres


@pytest.fixture(scope="session")
def server() -> str:
    """The URL of a PostgreSQL started for these tests."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    url = postgres.start(folder)
    with sa.create_engine(url, isolation_level="AUTOCOMMIT").connect() as connection:
        # Nothing here has to survive the machine.
        connection.execute(sa.text("alter system set fsync = off"))
        connection.execute(sa.text("select pg_reload_conf()"))
    yield url
    postgres.stop(folder)
    shutil.rmtree((folder / "server").resolve())
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.e2e)])
def empty_url(request, tmp_path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/warehouse.db"
        return
    server, name = request.getfixturevalue("server"), f"test_{uuid4().hex}"
    yield postgres.create_database(server, name)
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"drop database {name} with (force)"))


@pytest.fixture
def url(empty_url) -> str:
    """The URL of a warehouse that is up to date and empty."""
    warehouse.migrate(empty_url)
    return empty_url


@pytest.fixture
def engine(url):
    """The warehouse at `url`."""
    return warehouse.connect(url)


@pytest.fixture
def connect_as(url):
    """Connects to the warehouse on PostgreSQL as a user with the rights of one group alone."""

    def connect(group: str) -> sa.Engine:
        separator = "&" if "?" in url else "?"
        return warehouse.connect(f"{url}{separator}options=-c%20role%3Dscoring_{group}")

    return connect
