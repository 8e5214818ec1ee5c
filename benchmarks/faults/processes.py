"""Jobs as processes of their own that can be killed, held or starved at a chosen moment.

A job is forked from this process, which has imported all of them, and then runs as
``python -m jobs.<name>`` does: in a session of its own, with its own arguments and exit code. What
is saved is two seconds of imports, and a moment drawn at random falls into the work of the job.
"""

import ctypes
import json
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from settings import PROJECT_ROOT

PATIENCE_SECONDS = 300

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

CHANGES = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}
"""What Python reports of a process that changes folders."""

OURS = ("jobs", "warehouse", "lake", "ledger", "records", "models", "monitoring", "deliveries")

Prepare = Callable[[], None]


@dataclass(slots=True)
class Job:
    """A job that was started: its process, and where its output goes."""

    name: str
    pid: int
    output: Path
    started: float = field(default_factory=time.monotonic)
    code: int | None = None
    seconds: float | None = None

    def kill(self) -> None:
        """End the job and all that it has started, as the kernel does when memory runs out."""
        if self.code is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()

    def has_ended(self) -> bool:
        """Whether it has ended by itself; does not wait."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._ended(status)
        return self.code is not None

    def _ended(self, status: int) -> None:
        self.code = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.started

    def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.has_ended():
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise TimeoutError(f"{self.name} took more than {PATIENCE_SECONDS} s: {self.said}")
            time.sleep(0.005)
        return self.code

    def is_held(self) -> bool:
        """Wait until it holds itself (see ``hold_at``); False if it has ended before."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return True
        self._ended(status)
        return False

    def java(self, *words: str) -> list[int]:
        """The Java processes that it has started, if their command lines hold these words."""
        return [pid for pid in processes_of(self.pid) if is_java(pid, *words)]

    def go_on(self) -> None:
        """Let it go on after it has held itself."""
        os.killpg(self.pid, signal.SIGCONT)

    @property
    def result(self) -> dict:
        """The last line of its output."""
        return json.loads(self.output.read_text().splitlines()[-1])

    @property
    def said(self) -> str:
        """Why it failed, in its own words."""
        try:
            return self.result["error"]
        except (OSError, ValueError, LookupError, TypeError):
            log = self.output.with_suffix(".log")
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            return lines[-1] if lines else "it said nothing"


def start(
    name: str, arguments: list[str], environment: dict[str, str], folder: Path, *prepare: Prepare
) -> Job:
    """Start ``python -m jobs.<name>`` with these arguments; output and log go to ``folder``.

    Args:
        prepare: Called in the new process before the job begins.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.{time.monotonic_ns()}.out"
    pid = os.fork()
    if pid == 0:
        _become(name, arguments, environment, output, prepare)
    return Job(name, pid, output)


def _become(
    name: str,
    arguments: list[str],
    environment: dict[str, str],
    output: Path,
    prepare: tuple[Prepare, ...],
) -> NoReturn:
    code = 1
    try:
        os.setsid()
        die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, path in ((1, output), (2, output.with_suffix(".log"))):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.environ.update(environment)
        os.chdir(PROJECT_ROOT)
        sys.argv = [f"jobs/{name}.py", *arguments]
        for each in prepare:
            each()
        runpy.run_module(f"jobs.{name}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        # On a full disk this fails; whatever happens, this process must not go on as its parent.
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os._exit(code or 1)
        os._exit(code)


def die_with_parent() -> None:
    """Let the kernel end this process when the one that forked it ends."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def processes_of(group: int) -> list[int]:
    """The processes of a group, and of a session of that number."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if group in (int(fields[2]), int(fields[3])):
                found.append(int(path.parent.name))
    return found


def is_java(pid: int, *words: str) -> bool:
    """Whether it is a Java process, with these words in its command line."""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return command[0].endswith("java") and all(
            any(word in argument for argument in command) for word in words
        )
    return False


# ------------------------------------------------------------------------ steps of a job


def on_steps(act: Callable[[int], None]) -> Prepare:
    """Call ``act`` with the number of each step, just before it is done.

    A step is whatever changes a file or a folder from Python, and every statement and commit.
    """

    def prepare() -> None:
        number = 0
        is_busy = False

        def step(*_: object, **__: object) -> None:
            nonlocal number, is_busy
            if is_busy:
                return
            is_busy = True
            number += 1
            act(number)
            is_busy = False

        def audit(event: str, arguments: tuple) -> None:
            if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
                if not str(arguments[0]).startswith(("/dev", "/proc")):
                    step()
            elif event in CHANGES:
                step()

        sys.addaudithook(audit)
        sa.event.listen(sa.Engine, "before_cursor_execute", step)
        sa.event.listen(sa.Engine, "commit", step)

    return prepare


def kill_at(moment: int) -> Prepare:
    """Let the job be killed, with all that it has started, just before that step."""

    def act(number: int) -> None:
        if number == moment:
            os.killpg(os.getpid(), signal.SIGKILL)

    return on_steps(act)


def hold_at(moment: int) -> Prepare:
    """Let the job hold itself just before that step, until somebody lets it go on."""

    def act(number: int) -> None:
        if number == moment:
            os.kill(os.getpid(), signal.SIGSTOP)

    return on_steps(act)


def count_steps(path: Path) -> Prepare:
    """Keep the number of steps so far in a file."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    return on_steps(lambda number: os.pwrite(handle, f"{number:8}".encode(), 0) and None)


# ------------------------------------------------------------------------ what a job is denied


def files_up_to(size: int) -> Prepare:
    """Let no file grow beyond ``size`` bytes, by a limit of the kernel (RLIMIT_FSIZE)."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def clock_off_by(shift: timedelta) -> Prepare:
    """Let our own modules see another time."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + shift

    def prepare() -> None:
        # Modules were imported before the fork; the job's own is imported after it.
        import datetime as standard

        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in OURS and getattr(module, "datetime", None) is datetime:
                module.datetime = Shifted
        standard.datetime = Shifted
        real = time.time
        time.time = lambda: real() + shift.total_seconds()

    return prepare
