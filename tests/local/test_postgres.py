"""Tests of local/postgres.py, each with a server of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import sqlalchemy as sa

from local import postgres
from settings import PROJECT_ROOT

as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be kept from it")


@pytest.fixture
def folder():
    """A folder with a short path that every user reaches; its server is stopped and removed."""
    top = Path(tempfile.mkdtemp(prefix="pg-"))
    top.chmod(0o755)
    folder = top / "db"
    yield folder
    postgres.stop(folder)
    for server in top.rglob("server"):
        shutil.rmtree(server.resolve(), ignore_errors=True)
    shutil.rmtree(top)


def answer(url: str, sql: str):
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return connection.scalar(sa.text(sql))


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.e2e
def test_a_second_start_finds_the_server_and_its_data(folder):
    database = postgres.create_database(postgres.start(folder), "wares")
    begun = answer(database, "select pg_postmaster_start_time()")

    again = postgres.create_database(postgres.start(folder), "wares")

    assert again == database
    assert answer(again, "select pg_postmaster_start_time()") == begun


@pytest.mark.e2e
def test_data_survive_stop_and_start(folder):
    url = postgres.start(folder)
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("create table kept as select 7 as n"))

    postgres.stop(folder)
    postgres.stop(folder)
    with pytest.raises(sa.exc.OperationalError):
        answer(url, "select 1")

    assert answer(postgres.start(folder), "select n from kept") == 7


@pytest.mark.e2e
def test_the_server_outlives_the_process_that_started_it(folder):
    done = run_python(
        f"from pathlib import Path; from local import postgres;"
        f"print(postgres.start(Path({str(folder)!r})))"
    )

    assert answer(done.stdout.strip(), "select 1") == 1


@pytest.mark.e2e
def test_a_path_too_long_for_a_socket_moves_the_data(folder, caplog):
    long = folder.parent / ("x" * 100)
    try:
        assert answer(postgres.start(long), "select 1") == 1
        assert (long / "server").readlink().parent == postgres.ELSEWHERE
        assert "too long for a socket" in caplog.text
    finally:
        postgres.stop(long)


@pytest.mark.e2e
@as_root_only
def test_below_a_closed_folder_root_gets_a_server_and_the_folder_stays_closed(folder):
    """Neither the data nor the Python environment can be reached by the server's user."""
    closed = folder.parent / "closed"
    packages = Path(find_spec(postgres.PACKAGE).origin).parents[1]
    for part in (postgres.PROGRAMS.parent, postgres.LIBRARIES):
        shutil.copytree(packages / part, closed / part, symlinks=True)
    (closed / postgres.PACKAGE / "__init__.py").touch()
    closed.chmod(0o700)
    place = closed / "db"

    done = run_python(
        "import logging; from pathlib import Path; from local import postgres;"
        f"logging.basicConfig(); print(postgres.start(Path({str(place)!r})));"
        f"postgres.stop(Path({str(place)!r}));  print(postgres.start(Path({str(place)!r})))",
        PYTHONPATH=f"{closed}:{PROJECT_ROOT}",
    )

    try:
        [url, same] = done.stdout.split()
        assert answer(same, "select 1") == 1
        assert url == same
        assert f"closed to user {postgres.USER_FOR_ROOT}" in done.stderr
        assert closed.stat().st_mode & 0o777 == 0o700
        assert list((place / "server").resolve().glob("programs-*"))
    finally:
        postgres.stop(place)


@pytest.mark.e2e
@as_root_only
def test_a_user_other_than_root_starts_it_as_himself(folder):
    done = run_python(
        "import getpass, os, pwd; from pathlib import Path; import psycopg, sqlalchemy as sa;"
        "from local import postgres; user = pwd.getpwnam('daemon');"
        "os.setgroups([]); os.setgid(user.pw_gid);"
        f"os.chown({str(folder.parent)!r}, user.pw_uid, -1); os.setuid(user.pw_uid);"
        "os.environ['LOGNAME'] = 'daemon';"
        f"url = postgres.start(Path({str(folder)!r}));"
        "print(sa.create_engine(url).connect().scalar(sa.text('select system_user')))"
    )

    assert done.stdout.strip() == "peer:daemon", done.stderr


@pytest.mark.e2e
@as_root_only
def test_other_users_of_the_machine_are_not_let_in(folder):
    url = postgres.start(folder)
    os.chmod((folder / "server").resolve(), 0o755)  # noqa: S103 - the door is open on purpose
    done = run_python(
        "import os, psycopg, sqlalchemy as sa;"
        f"engine = sa.create_engine({url!r}); engine.dialect; os.setgid(1); os.setuid(1);"
        "engine.connect()"
    )

    assert "Peer authentication failed" in done.stderr


@pytest.mark.e2e
def test_a_database_may_have_any_name(folder):
    url = postgres.create_database(postgres.start(folder), 'odd "näme":x/?&%')

    assert answer(url, "select current_database()") == 'odd "näme":x/?&%'


@pytest.mark.e2e
def test_data_that_are_gone_are_not_replaced_silently(folder, tmp_path):
    folder.mkdir()
    (folder / "server").symlink_to(tmp_path / "gone")

    with pytest.raises(postgres.ServerFailed, match="Remove the link"):
        postgres.start(folder)


def test_make_clean_removes_data_that_had_to_live_elsewhere(tmp_path):
    elsewhere, home = tmp_path / "elsewhere", tmp_path / "code/data/generated/postgres"
    for path in (elsewhere, home):
        path.mkdir(parents=True)
    (home / "server").symlink_to(elsewhere)
    command = ["make", "--file", PROJECT_ROOT / "Makefile", "clean"]
    subprocess.run(command, cwd=tmp_path / "code", check=True, capture_output=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["code"]
