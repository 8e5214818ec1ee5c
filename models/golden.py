"""Load a bundle and score its golden rows in a fresh process, as a scoring worker does."""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from models.bundle import read_bundle

# How much longer than its CPU time a process may be there: others want the processor too.
WAITED = 10


@dataclass(frozen=True, slots=True)
class GoldenRun:
    """What it took, from the start of the process to its end.

    ``seconds`` are of CPU time: a busy machine makes no model slow. ``mebibytes`` is the most
    memory it held; null, with an ``error``, when it did not finish.
    """

    seconds: float
    mebibytes: float | None
    error: str | None


def run_golden_rows(folder: Path, sha256: str, seconds: float) -> GoldenRun:
    """Read the bundle in a new process with this process's Python.

    Reading a bundle scores its golden rows and refuses it if they score differently. It is ended
    after WAITED times ``seconds``, should it hang.
    """
    command = [sys.executable, "-m", "models.golden", str(folder.resolve()), sha256]
    root = Path(__file__).resolve().parent.parent
    before = _cpu_seconds_of_children()
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=WAITED * seconds
        )
    except subprocess.TimeoutExpired:
        return GoldenRun(seconds, None, f"not finished after {WAITED * seconds:g} seconds")
    took = _cpu_seconds_of_children() - before
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return GoldenRun(took, None, said[-1] if said else f"ended with {done.returncode}")
    return GoldenRun(took, json.loads(done.stdout.splitlines()[-1])["mebibytes"], None)


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_mebibytes() -> float:
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # What the kernel tells getrusage() begins with the size of the process that started us.
        [peak] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(folder: str, sha256: str) -> None:
    """Read the bundle and print the memory that took."""
    read_bundle(Path(folder), sha256)
    print(json.dumps({"mebibytes": peak_mebibytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
