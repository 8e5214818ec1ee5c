"""What a program costs: CPU seconds and memory of the whole process tree, starts included."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType


def measure(
    module: str,
    arguments: Sequence[str],
    python: str = sys.executable,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    cores: int | None = None,
    beside: Sequence[int] = (),
    log: Path | None = None,
) -> dict:
    """Run a module with these arguments; what it printed last, its cost and its peak memory.

    Args:
        python: What runs it.
        environment: Variables beside those of this process.
        cores: How many it may use; all by default.
        beside: Processes that work for it without being below it, such as those of a cluster. What
            they have spent before is not counted.
        log: Gets what it says beside its result; by default the terminal does.
    """
    words = [python, "-m", module, *arguments]
    before = _spent(beside)
    started = time.monotonic()
    ours = {**os.environ, **environment}
    with open(log or "/dev/stderr", "a") as output:
        process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=output, text=True, env=ours
        )
    if cores is not None:
        # Before it has threads, which would keep what they began with.
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:cores])
    peak, spent, over = [0], {}, threading.Event()

    def watch() -> None:
        # Java is no child that is waited for, so its time is read while it lives.
        while not over.wait(0.1):
            family = _families([process.pid, *beside])
            peak[0] = max(peak[0], sum(map(_resident, family)))
            spent.update((pid, seconds) for pid in family if (seconds := _cpu_seconds(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = process.communicate()
    over.set()
    watcher.join()
    wall = time.monotonic() - started
    result = json.loads(said.splitlines()[-1]) if process.returncode == 0 else {"failed": True}
    cpu = sum(seconds - before.get(pid, 0) for pid, seconds in spent.items())
    return result | {"cpu": cpu, "wall": wall, "peak": peak[0]}


def _spent(roots: Sequence[int]) -> dict[int, float]:
    return {pid: _cpu_seconds(pid) for pid in _families(roots)}


def _families(roots: Sequence[int]) -> list[int]:
    """These processes and all below them, from one look at all there are."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found = list(roots)
    for pid in found:
        found += children.get(pid, [])
    return found


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
