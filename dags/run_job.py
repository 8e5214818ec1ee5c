"""The one way a task starts a job: ``python -m jobs.<name> --flag=value ...``, with no shell.

What runs at night is what one runs by hand: the command is the first line of the task's log, ready
to be copied. A job's last line of output is JSON and becomes the task's result (XCom), or says why
there is none. Its exit code decides what Airflow does: 0 done; 20 the data is bad, so the task
fails at once; 75 (only where a task waits) not yet; anything else is a fault, and the task is tried
again.
"""

import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException

PROJECT_ROOT = Path(__file__).resolve().parents[1]

BAD_DATA_EXIT = 20
NOT_YET_EXIT = 75

KILLED = (
    " It was killed, or ran out of memory: SCORING_SPARK_EMBEDDED_MEMORY and "
    "SCORING_SPARK_DRIVER_MEMORY say how much it may take (docs/runbook.md#engines)."
)

LOGGED = re.compile(r"[0-9-]{10} [0-9:,]{8,12} (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
"""The beginning of a line of a job's log."""

GRACE_SECONDS = 20
"""How long a job that is told to stop may take before it is killed."""


def duration(variable: str, seconds: int) -> timedelta:
    """The duration in an environment variable, in seconds; ``seconds`` when it is not set.

    Only for how patient Airflow is (retries, polling, deadline), never for what a job computes.
    """
    return timedelta(seconds=float(os.environ.get(variable, seconds)))


def job_command(name: str, arguments: list[str]) -> list[str]:
    """The command line of a job; an argument that is empty is a flag that was not asked for."""
    return [sys.executable, "-m", f"jobs.{name}", *filter(None, arguments)]


@dataclass(slots=True)
class JobProcess:
    """A started job, in a session of its own so that it can be stopped with all its children."""

    process: subprocess.Popen
    result_line: str = ""
    last_log_line: str = ""
    readers: list[Thread] = field(default_factory=list)

    @classmethod
    def start(cls, command: list[str], log: Callable[[int, str], None]) -> "JobProcess":
        """Start ``command``; every line it writes goes to ``log``, with its level."""
        # Where it exists, setpriv lets the job end with the worker that started it. Spark's Java
        # process ends by itself when the job does.
        setpriv = shutil.which("setpriv")
        leash = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
        # Airflow's own settings hold its secrets; no job needs them.
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))
        }
        process = subprocess.Popen(
            [*leash, *command],
            cwd=PROJECT_ROOT,
            env=environment | {"PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        job = cls(process)
        job.readers = [
            Thread(target=job._read, args=(name, log), daemon=True)
            for name in ("result_line", "last_log_line")
        ]
        for reader in job.readers:
            reader.start()
        return job

    def _read(self, name: str, log: Callable[[int, str], None]) -> None:
        stream = self.process.stdout if name == "result_line" else self.process.stderr
        level = logging.INFO
        for line in stream or ():
            if line.strip():
                # A message of several lines has its level in the first. Airflow shows it, and a
                # time, by itself.
                if found := LOGGED.match(line):
                    level = logging.getLevelNamesMapping()[found["level"]]
                    line = line[found.end() :]
                setattr(self, name, line.rstrip())
                log(level, line.rstrip())

    @property
    def error(self) -> str:
        """Why it failed, in its own words; where it had no time for them, its last line of log."""
        try:
            return json.loads(self.result_line)["error"]
        except (ValueError, LookupError, TypeError):
            return self.last_log_line

    def wait(self) -> int:
        """Wait for the job to end; its exit code.

        If the process that supervises this task dies, Airflow will start the task elsewhere, so
        the job is stopped.
        """
        supervisor = os.getppid()
        for reader in self.readers:
            while reader.is_alive():
                reader.join(timeout=2)
                if os.getppid() != supervisor:
                    self.stop()
        return self.process.wait()

    def stop(self) -> None:
        """Stop the job and everything it started; kill what does not end by itself."""
        for patience, word in ((GRACE_SECONDS, signal.SIGTERM), (5, signal.SIGKILL)):
            try:
                os.killpg(self.process.pid, word)
                self.process.wait(timeout=patience)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


class FieldUnknown(AirflowFailException):
    """The run was given a field that the form of its DAG does not have."""

    heading = "field_unknown"
    """Where the runbook says what to do; else it is where it tells of the task."""


class _StartsJob:
    """What a task and a sensor that start a job have in common."""

    job: str
    arguments: list[str]
    dag: Any
    log: Any
    running: JobProcess | None = None

    def pre_execute(self, context) -> None:
        """Refuse a run that was given a field which the form does not have.

        Airflow itself takes any field, so a slip (``scoredate``) would run the default.

        Raises:
            FieldUnknown: Names the field, and those there are.
        """
        form = sorted(self.dag.params)
        if unknown := sorted(set(context["dag_run"].conf or ()) - set(form)):
            raise FieldUnknown(
                f"the form of {self.dag.dag_id} has no field {', '.join(unknown)}, only "
                f"{', '.join(form)}. Nothing was done; trigger it again."
            )

    def run(self) -> JobProcess:
        """Run the job to its end.

        Raises:
            AirflowFailException: If the data is bad.
        """
        command = job_command(self.job, self.arguments)
        self.log.info("$ %s", shlex.join(["python", *command[1:]]))
        self.running = JobProcess.start(
            command, lambda level, line: self.log.log(level, "%s", line)
        )
        if self.running.wait() == BAD_DATA_EXIT:
            raise AirflowFailException(f"{self.job}: {self.running.error}")
        return self.running

    def result(self, ended: JobProcess) -> dict:
        """What the job printed last.

        Raises:
            RuntimeError: If it did not end well; Airflow tries it again.
        """
        if exit_code := ended.process.returncode:
            how = f"exit code {exit_code}" if exit_code > 0 else signal.Signals(-exit_code).name
            hint = KILLED if how in ("SIGKILL", "SIGABRT") else ""
            raise RuntimeError(f"{self.job} failed ({how}): {ended.error}{hint}")
        return json.loads(ended.result_line)

    def on_kill(self) -> None:
        """Stop the job when the task is stopped: cleared, marked, or over its time."""
        if self.running:
            self.running.stop()


class JobOperator(_StartsJob, BaseOperator):
    """Runs a job once.

    Args:
        job: The module in ``jobs/``; also the task id.
        arguments: Its flags as ``--flag=value``, each a template. Values are never seen by a
            shell, and cannot be taken for another flag.
        only_if: A template; the task is skipped when it renders to anything but ``True``.
    """

    template_fields = ("arguments", "only_if")
    ui_color = "#eef3fb"

    def __init__(self, *, job: str, arguments: list[str], only_if: str = "True", **kwargs) -> None:
        super().__init__(task_id=job, **kwargs)
        self.job = job
        self.arguments = arguments
        self.only_if = only_if

    def execute(self, context) -> dict:  # noqa: ARG002
        """Run the job; its result is the task's."""
        if self.only_if != "True":
            raise AirflowSkipException(f"{self.job} was not asked for by this run.")
        return self.result(self.run())


class JobSensor(_StartsJob, BaseSensorOperator):
    """Runs a job again and again until it has what it waits for; holds no slot in between."""

    template_fields = ("arguments",)
    ui_color = "#f6f1e7"

    def __init__(self, *, job: str, arguments: list[str], **kwargs) -> None:
        super().__init__(task_id=job, mode="reschedule", **kwargs)
        self.job = job
        self.arguments = arguments

    def execute(self, context) -> dict:
        """Look once.

        Raises:
            AirflowSensorTimeout: When the deadline has passed; says what was waited for.
        """
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            patience = timedelta(seconds=self.timeout)
            said = self.running.last_log_line if self.running else "it had not looked yet"
            raise AirflowSensorTimeout(
                f"{self.job} gave up after {patience} (h:mm:ss): {said}"
            ) from None

    def poke(self, context) -> PokeReturnValue:
        """Ask the job."""
        ended = self.run()
        if ended.process.returncode == NOT_YET_EXIT:
            began = context["ti"].get_first_reschedule_date(context) or datetime.now(UTC)
            self.log.info(
                "waits until %s UTC, and looks every %s (h:mm:ss)",
                f"{began.astimezone(UTC) + timedelta(seconds=self.timeout):%Y-%m-%d %H:%M}",
                timedelta(seconds=self.poke_interval),
            )
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self.result(ended))


def run_job(job: str, *arguments: str, **options) -> JobOperator:
    """A task that runs ``jobs/<job>.py``; options go to the operator."""
    return JobOperator(job=job, arguments=list(arguments), **options)
