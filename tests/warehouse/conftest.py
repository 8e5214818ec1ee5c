"""A warehouse of each kind: every test that asks for `engine` runs on both."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database on the server, a copy of ``template``."""
    name = f"test_{uuid4().hex}"
    with sa.create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"create database {name} template {template}"))
        yield postgres.create_database(server, name)
        connection.execute(sa.text(f"drop database {name} with (force)"))


@pytest.fixture(scope="session")
def migrated_database(server) -> str:
    """The name of a database with all tables, to be copied."""
    warehouse.migrate(postgres.create_database(server, "migrated"))
    return "migrated"


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory) -> Path:
    """A SQLite file with all tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "warehouse.db"
    warehouse.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.e2e)])
def backend(request) -> str:
    """The kind of the warehouse."""
    return request.param


@pytest.fixture
def empty_url(request, backend, tmp_path) -> Iterator[str]:
    """The URL of a database without tables."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/warehouse.db"
        return
    with database(request.getfixturevalue("server")) as url:
        yield url


@pytest.fixture
def url(request, backend, tmp_path) -> Iterator[str]:
    """The URL of a warehouse that is up to date and empty."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path)
        yield f"sqlite:///{tmp_path}/warehouse.db"
        return
    template = request.getfixturevalue("migrated_database")
    with database(request.getfixturevalue("server"), template) as url:
        yield url


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
