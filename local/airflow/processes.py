"""Airflow's processes on this machine: started together, stopped together.

Everything they keep is below ``<data_root>/airflow`` (closed to other users: it holds generated
secrets) and ``<data_root>/postgres``. They listen on the loopback address only.
"""

import base64
import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from lake import read_json, write_json
from local import postgres
from local.airflow.client import USER, AirflowFailed, Client
from local.airflow.console import console
from local.signals import undisturbed
from settings import PROJECT_ROOT, Settings

USUAL_PORT = 8080
DAGS = {"nightly_scoring", "retraining", "roll_back_model", "roll_back_predictions"}
COMPONENTS = {
    "api-server": ["api-server"],
    # It would serve logs on all addresses; on one machine the API server reads the files.
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    # Holds the questions that a person has not answered yet.
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
START_SECONDS = 240
STOP_SECONDS = 20


@contextlib.contextmanager
def running(
    settings: Settings, port: int | None = None, environment: dict[str, str] | None = None
) -> Iterator[Client]:
    """Airflow with this deployment's jobs; stopped when the block ends, with all it started.

    If another process runs it already, that one is used and left running.

    Args:
        settings: The deployment; its jobs get the same.
        port: Of the UI and the API; default 8080, or a free one when that is taken.
        environment: More variables, for Airflow and for the jobs.

    Raises:
        AirflowFailed: If it does not come up.
    """
    home = _home(settings)
    with _alone(home) as is_alone:
        if not is_alone:
            yield _attach(home)
            return

        secret = secrets_of(home)
        url = f"http://127.0.0.1:{port or free_port(USUAL_PORT)}"
        processes: dict[str, subprocess.Popen] = {}
        client = Client(url, secret["password"], lambda: _check(processes, home))
        try:
            console.print(f"Starting Airflow; its logs are in {home / 'logs'}", style="dim")
            with console.status("Starting Airflow: PostgreSQL ...") as status:
                variables = _environment(settings, url) | (environment or {})
                status.update("Starting Airflow: its tables ...")
                _migrate(home, variables)
                for name in COMPONENTS:
                    processes[name] = _start(name, home, variables)
                _await_health(client, home, status)
                status.update("Starting Airflow: its DAGs ...")
                _await_dags(client, home)
            write_json(home / "address.json", {"url": url})
            yield client
        finally:
            with undisturbed(), console.status("Stopping Airflow ..."):
                (home / "address.json").unlink(missing_ok=True)
                _stop(processes)
                postgres.stop(settings.data_root / "postgres")


def run_cli(settings: Settings, words: Sequence[str]) -> tuple[int, Client | None]:
    """Run Airflow's own command line on the tables of this deployment.

    Returns:
        Its exit code, and the Airflow that runs on these tables, if one does. Without one the
        tables are there for the time of the command.
    """
    home = _home(settings)
    with _alone(home) as is_alone:
        client = None if is_alone else _attach(home)
        url = client.url if client else f"http://127.0.0.1:{USUAL_PORT}"
        try:
            variables = _environment(settings, url)
            if is_alone:
                _migrate(home, variables)
            command = [sys.executable, "-m", "airflow", *words]
            return subprocess.run(command, env=variables, cwd=PROJECT_ROOT).returncode, client
        finally:
            if is_alone:
                with undisturbed():
                    postgres.stop(settings.data_root / "postgres")


def _home(settings: Settings) -> Path:
    """The folder of Airflow's own files, closed to other users."""
    home = settings.data_root / "airflow"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    (home / "logs").mkdir(exist_ok=True)
    return home


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[bool]:
    """Whether no other process runs this Airflow; then none can until the block ends."""
    with (home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _attach(home: Path) -> Client:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (home / "address.json").exists():
            return Client(read_json(home / "address.json")["url"], secrets_of(home)["password"])
        time.sleep(0.5)
    raise AirflowFailed(f"another process holds {home}/.lock, but its Airflow does not come up")


def secrets_of(home: Path) -> dict[str, str]:
    """The secrets of this deployment, made once. They are there only when the login is."""
    path = home / "secrets.json"
    if not path.exists():
        made = {
            "password": secrets.token_urlsafe(12),
            "jwt": secrets.token_urlsafe(64),
            "session": secrets.token_urlsafe(64),
            "fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        write_json(home / "passwords.json", {USER: made["password"]}, mode=0o600)
        write_json(path, made, mode=0o600)
    return read_json(path)


def free_port(wanted: int | None = None) -> int:
    """``wanted`` when nobody listens there, else any free port of the loopback address.

    It lies below the ports that a system gives to whoever asks for any, so that nobody is given it
    before it is used.
    """
    while True:
        port = wanted or 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                wanted = None
            else:
                return port


def _environment(settings: Settings, url: str) -> dict[str, str]:
    """The environment of Airflow's processes, and so of the jobs they start.

    It names a database, so PostgreSQL is started if it does not run.
    """
    home = settings.data_root / "airflow"
    secret = secrets_of(home)
    server = postgres.start(settings.data_root / "postgres")
    database = postgres.create_database(server, "airflow")
    airflow = {
        "API__HOST": "127.0.0.1",
        "API__PORT": url.rpartition(":")[2],
        "API__BASE_URL": url,
        "API__SECRET_KEY": secret["session"],
        "API_AUTH__JWT_SECRET": secret["jwt"],
        "CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "CORE__FERNET_KEY": secret["fernet"],
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "4",
        "CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        # A file that was changed is read at once; the others need not be read each half minute.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        # A task whose worker was killed is noticed after a minute instead of five.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
        # Between two tasks a second is much: a night has fifteen.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        # The end of a task is noticed at its next heartbeat; by default that is 5 s.
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW__")},
        **{f"AIRFLOW__{key}": value for key, value in airflow.items()},
        **{f"SCORING_{name.upper()}": str(value) for name, value in settings},
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(PROJECT_ROOT),
    }


def _migrate(home: Path, variables: dict[str, str]) -> None:
    log = home / "logs/migrate.log"
    with log.open("w") as output:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=variables,
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise AirflowFailed(f"airflow db migrate failed; the end of {log}:\n{_tail(log)}")


def _start(
    name: str, home: Path, variables: dict[str, str], command: Sequence[str] = ()
) -> subprocess.Popen:
    # Where it exists, setpriv ends the component when we are killed.
    setpriv = shutil.which("setpriv")
    leash = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    with (home / f"logs/{name}.log").open("w") as output:
        return subprocess.Popen(
            [*leash, sys.executable, "-m", *(command or ("airflow", *COMPONENTS[name]))],
            env=variables,
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us; we stop the components in good order.
            start_new_session=True,
        )


def _check(processes: dict[str, subprocess.Popen], home: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            log = home / f"logs/{name}.log"
            raise AirflowFailed(
                f"Airflow's {name} ended with exit code {process.returncode}; "
                f"the end of {log}:\n{_tail(log)}"
            )


def _await_health(client: Client, home: Path, status) -> None:
    wanted = {"metadatabase", "scheduler", "dag_processor", "triggerer"}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        client.check()
        health = client.health()
        missing = sorted(name for name in wanted if health.get(name) != "healthy")
        if not missing:
            return
        awaited = ", ".join(missing) if health else "api_server"
        status.update(f"Starting Airflow: awaiting {awaited} ...")
        time.sleep(0.5)
    raise AirflowFailed(f"Airflow was not healthy after {START_SECONDS} s; its logs: {home}/logs")


def _await_dags(client: Client, home: Path) -> None:
    client.call(
        "PATCH",
        "/pools",
        {
            "actions": [
                {
                    "action": "create",
                    "action_on_existence": "skip",
                    "entities": [
                        {"name": "spark", "slots": 1, "description": "Jobs that start Spark"}
                    ],
                }
            ]
        },
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        client.check()
        if {dag["dag_id"] for dag in client.call("GET", "/dags")["dags"]} >= DAGS:
            return
        errors = client.call("GET", "/importErrors")["import_errors"]
        if errors:
            raise AirflowFailed("\n".join(error["stack_trace"] for error in errors))
        time.sleep(0.5)
    raise AirflowFailed(f"the DAGs did not appear; see {home}/logs/dag-processor.log")


def _stop(processes: dict[str, subprocess.Popen]) -> None:
    started = _descendants(processes)
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
    started |= _descendants(processes)
    for process in processes.values():
        process.kill()
        process.wait()
    # Workers, and the jobs that they run, each in a group of its own.
    for one in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(started, timeout=STOP_SECONDS)


def _descendants(processes: dict[str, subprocess.Popen]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in processes.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= set(psutil.Process(process.pid).children(recursive=True))
    return found


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def dashboard(settings: Settings, url: str) -> Iterator[None]:
    """Evidently's own UI over the nights; it has no login, so only this machine reaches it."""
    workspace = settings.data_root / "evidently"
    workspace.mkdir(exist_ok=True)
    port = url.rpartition(":")[2]
    command = ["evidently.cli", "ui", "--workspace", str(workspace), "--port", port]
    variables = {**os.environ, "DO_NOT_TRACK": "1"}
    process = _start("dashboard", settings.data_root / "airflow", variables, command)
    try:
        yield
    finally:
        with undisturbed():
            _stop({"dashboard": process})
