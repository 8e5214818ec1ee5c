"""Nights run through Airflow, one after the other, while somebody watches."""

import contextlib
import time
from collections.abc import Sequence
from datetime import date, timedelta

from errors import WrongInput
from local.airflow.client import AirflowFailed, Client, insist_on_health
from local.airflow.console import console
from params import Params, read_params
from schedule import has_night, start_of_night
from settings import Settings


class RunFailed(RuntimeError):
    """A run ended red; the message names the task and holds the end of its log.

    If no task failed, it holds the states of all.
    """


def nights_between(settings: Settings, params: Params, first: date, last: date) -> list[date]:
    """The nights there are from one day to another: not those of closed weekdays, unless
    something was delivered for them.

    Raises:
        WrongInput: If there is none.
    """
    source = params.source(settings.source)
    every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    nights = [day for day in every if has_night(source, settings.data_root, day)]
    if not nights:
        raise WrongInput(
            f"{', '.join(map(str, every))}: {settings.source} never trades on that weekday "
            "(closed_weekdays in params.yaml) and nothing was delivered, so there is no night."
        )
    return nights


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
    dated = start_of_night(read_params().source(Settings().source), night)
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
                console.print(f"{night}  waits for {before}: one run at a time", soft_wrap=True)
                said = before
            insist_on_health(client)
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
                key = (task["task_id"], task["state"])
                if task["state"] == "up_for_reschedule" and key not in shown:
                    shown.add(key)
                    for line in _last_said(client.log(dag_id, run_id, task)):
                        console.print(f"{title}  {line}", markup=False, soft_wrap=True)
            busy = [
                f"{name} awaits a person's answer" if task["state"] == "awaiting_input" else name
                for name, task in tasks.items()
                if task["state"] in ("running", "awaiting_input")
            ]
            status.update(f"{title}  {', '.join(busy) or 'waiting'} ...")
            if state in ("success", "failed"):
                break
            insist_on_health(client)
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


def _last_said(log: list[str]) -> list[str]:
    """What a job that waits has said when it looked last, and its task after it.

    >>> _last_said(["$ python -m jobs.look", "nothing is there", "waits until 8", "Rescheduling"])
    ['nothing is there', 'waits until 8']
    """
    looks = [number for number, line in enumerate(log) if line.startswith("$ python -m jobs.")]
    return log[max(looks, default=-1) + 1 :][:2]


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
