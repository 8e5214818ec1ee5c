"""How files are put down: whole or not at all, so that a killed job leaves nothing half-written.

The lake is a POSIX folder (local disk, NFS, a mounted volume) that every Spark worker sees.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    If the block raises, ``path`` keeps what it held. Two processes may do this at once; the
    last one wins whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides the folder from Spark's partition discovery.
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    fresh = workspace / "new"
    try:
        yield fresh
        if path.exists():
            path.rename(workspace / "old")
        fresh.rename(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as sorted, indented JSON; readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, path)


def read_json(path: Path) -> dict:
    """The object in the JSON file at ``path``.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: object) -> str:
    """SHA-256 of a JSON-able value in canonical form (sorted keys, no blanks), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
