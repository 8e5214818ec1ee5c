"""What a program costs: CPU seconds and memory of the whole process tree, starts included."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def measure(module: str, arguments: list[str], python: str = sys.executable) -> dict:
    """Run a module with these arguments; what it printed last, its cost and its peak memory."""
    started = time.monotonic()
    process = subprocess.Popen(
        [python, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    )
    peak, spent, over = [0], {}, threading.Event()

    def watch() -> None:
        # Java is no child that is waited for, so its time is read while it lives.
        while not over.wait(0.1):
            family = _family(process.pid)
            peak[0] = max(peak[0], sum(map(_resident, family)))
            spent.update((pid, seconds) for pid in family if (seconds := _cpu_seconds(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = process.communicate()
    over.set()
    watcher.join()
    result = json.loads(said.splitlines()[-1]) if process.returncode == 0 else {"failed": True}
    wall = time.monotonic() - started
    return result | {"cpu": sum(spent.values()), "wall": wall, "peak": peak[0]}


def _family(pid: int) -> list[int]:
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += _family(int(path.parent.name))
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
