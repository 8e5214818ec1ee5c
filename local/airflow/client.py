"""A running Airflow, as its REST API has it."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import httpx

USER = "admin"
PATIENCE_SECONDS = 120
"""A busy machine may answer, and beat its heart, as late as this."""
LOGIN_SECONDS = 600
TRIES = 4
"""Of a request that Airflow's database rolls back each time."""


class AirflowFailed(RuntimeError):
    """Airflow did not start, or a part of it died; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Client:
    """A running Airflow's REST API.

    ``check`` raises when a part of it has died; it knows only if this process started it.
    """

    url: str
    password: str
    check: Callable[[], None] = lambda: None

    def call(
        self, method: str, path: str, body: dict | None = None, **query: str | bool | list[str]
    ) -> dict:
        """The answer to one request below ``/api/v2``.

        Airflow's scheduler and its API lock a run and its tasks in opposite orders. Where they meet
        the database undoes what one of the two has done; ours is asked for again.

        Raises:
            httpx.HTTPStatusError: If it was refused; its note holds the answer.
            AirflowFailed: If there is no answer.
        """
        for tries_left in reversed(range(TRIES)):
            answer = self._request(method, path, body, query)
            if not (tries_left and _was_undone(answer)):
                break
            time.sleep(1)
        try:
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            error.add_note(answer.text)
            raise
        return answer.json() if answer.content else {}

    def _request(self, method: str, path: str, body: dict | None, query: dict) -> httpx.Response:
        try:
            return _http().request(
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

    def headers(self) -> dict[str, str]:
        """A login of the last minutes, as headers of a request."""
        token = _token(self.url, self.password, int(time.time() // LOGIN_SECONDS))
        return {"Authorization": f"Bearer {token}"}

    def health(self) -> dict[str, str]:
        """The state of each component; empty while there is no answer."""
        try:
            answer = _http().get(f"{self.url}/api/v2/monitor/health", timeout=10)
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


@functools.cache
def _http() -> httpx.Client:
    """Makes a connection for each request; to make a client for each takes 18 ms of the processor,
    because it reads all certificates there are."""
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))


def _was_undone(answer: httpx.Response) -> bool:
    """Whether the database has rolled the request back; Airflow then names no other cause."""
    return answer.status_code == 500 and '"Database error"' in answer.text


@functools.lru_cache(maxsize=8)
def _token(url: str, password: str, period: int) -> str:  # noqa: ARG001
    """The token of a login, once a period."""
    login = {"username": USER, "password": password}
    answer = _http().post(f"{url}/auth/token", json=login, timeout=PATIENCE_SECONDS)
    return answer.raise_for_status().json()["access_token"]


def insist_on_health(client: Client) -> None:
    """Return when Airflow is healthy, or soon is again.

    Raises:
        AirflowFailed: If it is not for two minutes, or a part of it died.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.health().get("scheduler") != "healthy":
        client.check()
        if time.monotonic() > deadline:
            raise AirflowFailed(
                f"Airflow at {client.url} has not been healthy for {PATIENCE_SECONDS} s: "
                f"{client.health() or 'it does not answer'}"
            )
        time.sleep(1)
