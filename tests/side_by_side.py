"""All tests in three processes: those that mostly wait for a scheduler beside those that compute.

    python -m tests.side_by_side

The output of all but the last is kept, and shown when that one has ended.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from settings import PROJECT_ROOT

Arguments = Sequence[str]
"""What pytest is called with."""

WAITING = ("tests/e2e",)
JOBS = ("tests/jobs",)
THE_REST = ("tests", *(f"--ignore={folder}" for folder in (*WAITING, *JOBS)))

PATIENCE_SECONDS = 60
"""How long tests that are interrupted may take to stop what they have started."""


def run(*parts: Arguments) -> int:
    """Run pytest with each of the arguments, all at once; 0 if all are green, else 1."""
    started = time.monotonic()
    *beside, last = parts
    colour = "yes" if sys.stdout.isatty() else "no"
    with contextlib.ExitStack() as running:
        kept = [
            running.enter_context(
                tempfile.NamedTemporaryFile("w+", encoding="utf-8", prefix="pytest-")
            )
            for _ in beside
        ]
        processes = [
            running.enter_context(_pytest([*arguments, f"--color={colour}"], output.fileno()))
            for arguments, output in zip(beside, kept, strict=True)
        ]
        processes.append(running.enter_context(_pytest(last, None)))
        processes[-1].wait()
        for arguments, output, process in zip(beside, kept, processes, strict=False):
            print(f"\n{' '.join(arguments)}, run beside these:", flush=True)
            _follow(Path(output.name), process)
    red = [
        " ".join(arguments)
        for arguments, process in zip(parts, processes, strict=True)
        if process.returncode
    ]
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"{'red: ' + ' and '.join(red) if red else 'all green'}, {minutes} min {seconds:02} s")
    return 1 if red else 0


@contextlib.contextmanager
def _pytest(arguments: Arguments, output: int | None) -> Iterator[subprocess.Popen]:
    """A pytest that is interrupted when the block is left early, and with it all it has started."""
    # Where it exists, setpriv interrupts the tests when we are killed.
    setpriv = shutil.which("setpriv")
    leash = [setpriv, "--pdeathsig", "INT"] if setpriv else []
    process = subprocess.Popen(
        [*leash, sys.executable, "-m", "pytest", *arguments],
        cwd=PROJECT_ROOT,
        stdout=output,
        stderr=output and subprocess.STDOUT,
        # Ctrl-C is for us; one interrupt is enough for the tests to end in good order.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _follow(path: Path, process: subprocess.Popen) -> None:
    """Print what is in the file, and what comes, until the process has ended."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        has_ended = False
        while not has_ended:
            has_ended = process.poll() is not None
            print(lines.read(), end="", flush=True)
            time.sleep(0.2)


def _listen(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    for word in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(word, handler)


def _stop(number: int, _: object) -> None:
    """Leave, once: a second Ctrl-C must not leave half of it running."""
    _listen(signal.SIG_IGN)
    sys.exit(128 + number)


def main(*parts: Arguments) -> None:
    """Run the parts, and exit as they did, or by the signal that ended them."""
    _listen(_stop)
    sys.exit(run(*parts))


if __name__ == "__main__":
    main(WAITING, THE_REST, JOBS)
