"""Airflow on one machine: its PostgreSQL, its three processes, and nights run through it.

    python -m local.airflow ui
    python -m local.airflow nights --from 2026-04-01 --until 2026-04-03 [--may-retrain]

Everything it keeps is below ``<data_root>/airflow`` (closed to other users: it holds generated
secrets) and ``<data_root>/postgres``. It listens on the loopback address only.
"""

import argparse
import base64
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
from rich.console import Console

from lake import read_json, write_json
from local import postgres
from params import read_params
from settings import PROJECT_ROOT, Settings

USER = "admin"
USUAL_PORT = 8080
DASHBOARD_PORT = 8085
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
PATIENCE_SECONDS = 120
"""A busy machine may answer, and beat its heart, as late as this."""
NIGHT_STARTS_AT_HOUR = 2
LOGIN_SECONDS = 600

console = Console(stderr=True, highlight=False)


class AirflowFailed(RuntimeError):
    """Airflow did not start, or a part of it died; the message holds the end of its log."""


class RunFailed(RuntimeError):
    """A run ended red; the message names the task and holds the end of its log.

    If no task failed, it holds the states of all.
    """


# ------------------------------------------------------------------------------- its address


@dataclass(frozen=True, slots=True)
class Client:
    """A running Airflow's REST API.

    ``check`` raises when a part of it has died; it knows only if this process started it.
    """

    url: str
    password: str
    check: Callable[[], None] = lambda: None

    def call(self, method: str, path: str, body: dict | None = None, **query: object) -> dict:
        """The answer to one request below ``/api/v2``.

        Raises:
            httpx.HTTPStatusError: If it was refused; its note holds the answer.
            AirflowFailed: If there is no answer.
        """
        try:
            answer = httpx.request(
                method,
                f"{self.url}/api/v2{path}",
                json=body,
                params=query,
                headers=self.headers(),
                timeout=PATIENCE_SECONDS,
            )
        except httpx.TransportError as error:
            self.check()
            raise AirflowFailed(f"Airflow at {self.url} does not answer: {error}") from error
        try:
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            error.add_note(answer.text)
            raise
        return answer.json() if answer.content else {}

    def headers(self) -> dict[str, str]:
        """A login of the last minutes, as headers of a request."""
        token = _token(self.url, self.password, int(time.time() // LOGIN_SECONDS))
        return {"Authorization": f"Bearer {token}"}

    def health(self) -> dict[str, str]:
        """The state of each component; empty while there is no answer."""
        try:
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10)
            states = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return {}
        return {name: state["status"] for name, state in states.items() if state["status"]}

    def trigger(
        self, dag_id: str, run_id: str | None, conf: dict, logical_date: datetime | None = None
    ) -> str:
        """Ask for a run with these fields of the form; its id."""
        body = {
            "dag_run_id": run_id,
            "logical_date": logical_date and logical_date.isoformat(),
            "conf": conf,
        }
        return self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]

    def run(self, dag_id: str, run_id: str) -> dict:
        """What Airflow knows about one run."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict]:
        """The tasks of one run, by task id."""
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {task["task_id"]: task for task in answer["task_instances"]}

    def log(self, dag_id: str, run_id: str, task: dict) -> list[str]:
        """The lines that the latest try of a task has written."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task['task_id']}/logs"
        answer = self.call("GET", f"{path}/{task['try_number']}", full_content=True)
        return [line["event"] for line in answer["content"] if "event" in line]

    def pause(self, dag_id: str, is_paused: bool) -> bool:
        """Pause or unpause; whether it was paused before."""
        before = self.call("GET", f"/dags/{dag_id}")["is_paused"]
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": is_paused})
        return before


@functools.lru_cache(maxsize=8)
def _token(url: str, password: str, period: int) -> str:  # noqa: ARG001
    """The token of a login, once a period."""
    login = {"username": USER, "password": password}
    answer = httpx.post(f"{url}/auth/token", json=login, timeout=PATIENCE_SECONDS)
    return answer.raise_for_status().json()["access_token"]


# ------------------------------------------------------------------------- starting, stopping


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
    home = settings.data_root / "airflow"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    with (home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _attach(home)
            return

        secret = _secrets(home)
        url = f"http://127.0.0.1:{port or _free_port(USUAL_PORT)}"
        processes: dict[str, subprocess.Popen] = {}
        client = Client(url, secret["password"], lambda: _check(processes, home))
        try:
            console.print(f"Starting Airflow; its logs are in {home / 'logs'}", style="dim")
            with console.status("Starting Airflow: PostgreSQL ...") as status:
                server = postgres.start(settings.data_root / "postgres")
                database = postgres.create_database(server, "airflow")
                variables = _environment(settings, url, database, secret) | (environment or {})
                (home / "logs").mkdir(exist_ok=True)
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
            with _undisturbed(), console.status("Stopping Airflow ..."):
                (home / "address.json").unlink(missing_ok=True)
                _stop(processes)
                postgres.stop(settings.data_root / "postgres")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Deaf to Ctrl-C and its like: a second one must not leave half of it running."""
    words = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(word, signal.SIG_IGN) for word in words]
    try:
        yield
    finally:
        for word, handler in zip(words, before, strict=True):
            signal.signal(word, handler)


def _attach(home: Path) -> Client:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if (home / "address.json").exists():
            return Client(read_json(home / "address.json")["url"], _secrets(home)["password"])
        time.sleep(0.5)
    raise AirflowFailed(f"another process holds {home}/.lock, but its Airflow does not come up")


def _secrets(home: Path) -> dict[str, str]:
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


def _free_port(wanted: int = 0) -> int:
    """``wanted`` when nobody listens there, else any free port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return _free_port()
        return probe.getsockname()[1]


def _environment(
    settings: Settings, url: str, database: str, secret: dict[str, str]
) -> dict[str, str]:
    """The environment of Airflow's processes, and so of the jobs they start."""
    home = settings.data_root / "airflow"
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
        "DATABASE__SQL_ALCHEMY_CONN": database,
        "DATABASE__SQL_ALCHEMY_CONN_ASYNC": database,
        # A task whose worker was killed is noticed after a minute instead of five.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
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
    for process in processes.values():
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        # Its workers, too: they are in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


# ---------------------------------------------------------------------------------- its nights


def run_nights(client: Client, nights: Sequence[date], form: dict | None = None) -> None:
    """Run these nights through ``nightly_scoring``, one after the other, showing each task.

    A night that has a run already is run again in it, with the form it was begun with. The DAG
    is unpaused for the time.

    Args:
        client: A running Airflow.
        nights: Score dates.
        form: Fields of the form beside the score date. Retraining is not asked for unless
            ``may_retrain`` says so: these are past nights. Then the night after one that asked
            begins when the training has ended, however it did.

    Raises:
        RunFailed: At the first night that ends red; later ones are not begun.
    """
    form = {"may_retrain": False, **(form or {})}
    dags = ["nightly_scoring", *(["retraining"] if form["may_retrain"] else [])]
    was_paused = {dag_id: client.pause(dag_id, False) for dag_id in dags}
    try:
        for night in nights:
            run_id = _begin(client, night, {**form, "score_date": str(night)})
            _await_turn(client, night, run_id)
            _follow(client, "nightly_scoring", run_id, str(night))
            if form["may_retrain"]:
                _await_retraining(client, night)
    finally:
        with contextlib.suppress(AirflowFailed):
            for dag_id, is_paused in was_paused.items():
                client.pause(dag_id, is_paused)


def _begin(client: Client, night: date, fields: dict) -> str:
    """Ask for the run that describes ``night``; its id.

    It gets the logical date that the schedule would have given it, so that it stands for that
    scheduled run in Airflow and no backfill runs the night a second time.
    """
    zone = ZoneInfo(read_params().business.timezone)
    morning = night + timedelta(days=1)
    dated = datetime(morning.year, morning.month, morning.day, NIGHT_STARTS_AT_HOUR, tzinfo=zone)
    runs = client.call(
        "GET",
        "/dags/nightly_scoring/dagRuns",
        logical_date_gte=dated.isoformat(),
        logical_date_lte=dated.isoformat(),
    )["dag_runs"]
    if not runs:
        return client.trigger("nightly_scoring", f"night__{night}", fields, dated)
    [known] = runs
    if known["state"] in ("success", "failed"):
        path = f"/dags/nightly_scoring/dagRuns/{known['dag_run_id']}/clear"
        client.call("POST", path, {"dry_run": False})
    return known["dag_run_id"]


def _await_turn(client: Client, night: date, run_id: str) -> None:
    """Wait until the run has begun; say which run it waits for, as there is one at a time."""
    said = ""
    with console.status(f"{night}  waiting for its turn ..."):
        while client.run("nightly_scoring", run_id)["state"] == "queued":
            runs = client.call("GET", "/dags/nightly_scoring/dagRuns", state="running")["dag_runs"]
            others = (run["dag_run_id"] for run in runs if run["dag_run_id"] != run_id)
            before = ", ".join(others)
            if before and before != said:
                console.print(f"{night}  waits for {before}: one run at a time")
                said = before
            _insist_on_health(client)
            time.sleep(1)


def _await_retraining(client: Client, night: date) -> None:
    """Wait for the training that is under way, if there is one; a red one is told, not raised."""
    runs = client.call("GET", "/dags/retraining/dagRuns", state=["queued", "running"])["dag_runs"]
    for run in runs:
        try:
            _follow(client, "retraining", run["dag_run_id"], f"{night}  retraining")
        except RunFailed as failed:
            console.print(str(failed), style="red", markup=False)


def _follow(client: Client, dag_id: str, run_id: str, title: str) -> None:
    """Show the tasks of a run until it has ended.

    Raises:
        RunFailed: If it ended red.
    """
    started = time.monotonic()
    shown: set[tuple] = set()
    with console.status(f"{title} ...") as status:
        while True:
            state = client.run(dag_id, run_id)["state"]
            tasks = client.tasks(dag_id, run_id)
            for task in tasks.values():
                _show(title, task, shown)
            busy = [
                f"{name} awaits a person's answer" if task["state"] == "awaiting_input" else name
                for name, task in tasks.items()
                if task["state"] in ("running", "awaiting_input")
            ]
            status.update(f"{title}  {', '.join(busy) or 'waiting'} ...")
            if state in ("success", "failed"):
                break
            _insist_on_health(client)
            time.sleep(1)

    if state == "failed":
        red = next((task for task in tasks.values() if task["state"] == "failed"), None)
        if red is None:
            states = [f"{name} {task['state'] or 'not begun'}" for name, task in tasks.items()]
            raise RunFailed(
                f"{dag_id} run {run_id} failed, but none of its tasks did: {', '.join(states)}. "
                "Was it marked as failed by hand, or did it run out of time? Look at it and clear "
                f"it: {client.url}/dags/{dag_id}/runs/{run_id}"
            )
        end = "\n".join(client.log(dag_id, run_id, red)[-30:])
        raise RunFailed(f"{dag_id} run {run_id} failed in {red['task_id']}:\n{end}")
    console.print(f"{title}  [green]green[/] after {time.monotonic() - started:.0f} s")


def _show(title: str, task: dict, shown: set[tuple]) -> None:
    """Print a line when a task has ended or is to be tried again; once per try."""
    colours = {"success": "green", "failed": "red", "up_for_retry": "yellow"}
    key = (task["task_id"], task["try_number"], task["state"])
    if task["state"] in colours and key not in shown:
        shown.add(key)
        took = f"{task['duration'] or 0:5.0f} s"
        console.print(
            f"{title}  [{colours[task['state']]}]{task['state']:12}[/] {took}  {task['task_id']}"
        )


def _insist_on_health(client: Client) -> None:
    """Nothing, when it is healthy, or soon is again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.health().get("scheduler") != "healthy":
        client.check()
        if time.monotonic() > deadline:
            raise AirflowFailed(
                f"Airflow at {client.url} has not been healthy for {PATIENCE_SECONDS} s: "
                f"{client.health() or 'it does not answer'}"
            )
        time.sleep(1)


# ------------------------------------------------------------------------------- command line


def main() -> None:
    """Parse the command line; show the UI, or run nights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ui = commands.add_parser("ui", help="run in the foreground until Ctrl-C")
    ui.add_argument("--port", type=int)
    past = commands.add_parser("nights", help="run past nights through nightly_scoring")
    past.add_argument("--from", dest="first", type=date.fromisoformat, required=True)
    past.add_argument("--until", type=date.fromisoformat, required=True)
    past.add_argument(
        "--may-retrain",
        action="store_true",
        help="let them ask for retraining, as nights on the schedule do, and wait for it",
    )
    arguments = parser.parse_args()

    # As with Ctrl-C, so that what was started is stopped.
    for word in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(word, lambda number, _: sys.exit(128 + number))
    try:
        if arguments.command == "ui":
            _show_ui(arguments.port)
        else:
            days = (arguments.until - arguments.first).days + 1
            with running(Settings()) as client:
                nights = [arguments.first + timedelta(days=n) for n in range(days)]
                run_nights(client, nights, {"may_retrain": arguments.may_retrain})
    except (AirflowFailed, RunFailed) as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _show_ui(port: int | None) -> None:
    settings = Settings()
    dashboard = f"http://127.0.0.1:{_free_port(DASHBOARD_PORT)}"
    with (
        running(settings, port, {"SCORING_EVIDENTLY_URL": dashboard}) as client,
        _dashboard(settings, dashboard),
    ):
        console.print(f"Airflow    {client.url}\nuser       {USER}\npassword   {client.password}")
        console.print(f"Dashboard  {dashboard} (also in Airflow's side bar)")
        console.print("Ctrl-C stops both.", style="dim")
        while True:
            time.sleep(5)
            _insist_on_health(client)


@contextlib.contextmanager
def _dashboard(settings: Settings, url: str) -> Iterator[None]:
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
        with _undisturbed():
            _stop({"dashboard": process})


if __name__ == "__main__":
    main()
