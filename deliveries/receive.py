"""A delivery is copied while it is hashed, and everything is read from the copy.

What upstream does to its folder afterwards, or meanwhile, changes nothing.
"""

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from errors import BadData
from ledger import DeliveredFile

READ_BYTES = 1 << 20

LONGEST_NAME = 200
BAD_IN_NAMES = set(':*?[]{}\\<>|"')

NAMES_SHOWN = 5


class DeliveryMissing(Exception):
    """The delivery is not there, or not whole yet; waiting may mend it."""


class DeliveryUnfit(BadData):
    """A delivery holds something that must not be read: a link, a device, a name out of the way."""


def data_files(folder: Path, format: str) -> list[Path]:
    """The files of the delivery in ``folder``, sorted by name.

    Upstream writes elsewhere and renames the folder into place, so a folder that is there with
    at least one data file is whole. Entries whose name starts with ``_`` or ``.`` are not data.

    Raises:
        DeliveryMissing: If the folder is absent, has no ``.{format}`` file, or holds anything
            that is neither such a file nor hidden: an upload that has not ended, or another format.
        DeliveryUnfit: If the folder or an entry is a link, or an entry is no regular file or has a
            name that some reader does not take.
    """
    if folder.is_symlink():
        raise DeliveryUnfit(
            f"{folder} is a link. Links are not followed: a delivery is a folder of regular files. "
            "Have it put down as one."
        )
    if not folder.is_dir():
        raise DeliveryMissing(f"no delivery at {folder}: there is no such folder yet.")

    entries = sorted(
        (entry for entry in os.scandir(folder) if entry.name[0] not in "_."),
        key=lambda entry: entry.name,
    )
    unfit = [reason for entry in entries if (reason := _unfit(entry, format))]
    if unfit:
        more = f" and {len(unfit) - NAMES_SHOWN} more" if len(unfit) > NAMES_SHOWN else ""
        raise DeliveryUnfit(
            f"the delivery at {folder} holds what cannot be taken ({len(unfit)}): "
            f"{'; '.join(unfit[:NAMES_SHOWN])}{more}. Nothing of it was read. Have it delivered "
            "again as regular files with plain names."
        )
    others = [entry.name for entry in entries if not _is_data(entry, format)]
    if others:
        raise DeliveryMissing(
            f"the delivery at {folder} is not whole, or not {format}: beside its .{format} files "
            f"it holds {others[:NAMES_SHOWN]}. Wait for the upload to end; name what is not data "
            "with a leading underscore."
        )
    if not entries:
        raise DeliveryMissing(
            f"no delivery at {folder}: the folder has no .{format} file. A day without trade is "
            "delivered as a file without rows."
        )
    return [Path(entry.path) for entry in entries]


def copy_delivery(folder: Path, format: str, into: Path) -> list[DeliveredFile]:
    """Copy the files of a delivery to ``into``, a folder that is made, and describe the copies.

    Raises:
        DeliveryMissing: If a file is changed or replaced meanwhile; see also ``data_files``.
        DeliveryUnfit: See ``data_files``.
    """
    into.mkdir(parents=True)
    return _read_all(folder, format, into)


def copy_file(path: Path, into: Path) -> DeliveredFile:
    """Copy one text file to ``into``, a folder that is made, under the same name.

    Raises:
        DeliveryMissing: If it is not there.
        DeliveryUnfit: If it is a link or no regular file.
    """
    if path.is_symlink():
        raise DeliveryUnfit(f"{path} is a link, which is not followed. Name the file itself.")
    into.mkdir(parents=True)
    return _read(path, "csv", into / path.name)


def describe_delivery(folder: Path, format: str) -> list[DeliveredFile]:
    """The files of a delivery as they are now, every byte read once, nothing copied.

    Raises:
        What ``copy_delivery`` raises.
    """
    return _read_all(folder, format, None)


def _read_all(folder: Path, format: str, into: Path | None) -> list[DeliveredFile]:
    before = _state(data_files(folder, format))
    files = [_read(path, format, into and into / path.name) for path in before]
    try:
        after = _state(data_files(folder, format))
    except DeliveryMissing:
        after = {}
    if after != before:
        changed = sorted(
            path.name for path in before | after if before.get(path) != after.get(path)
        )
        raise DeliveryMissing(
            f"the delivery at {folder} changed while it was read ({changed[:NAMES_SHOWN]}): the "
            "upload has not ended. Nothing of it is used. It is read again when the task is tried "
            "again; upstream should write elsewhere and move the folder into place."
        )
    return files


def _state(paths: Sequence[Path]) -> dict[Path, tuple[int, ...]]:
    try:
        stats = {path: path.lstat() for path in paths}
    except FileNotFoundError:
        return {}
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns) for path, one in stats.items()}


def _read(path: Path, format: str, copy: Path | None) -> DeliveredFile:
    digest, size = hashlib.sha256(), 0
    try:
        # Neither a link nor a pipe that was put there since the folder was listed.
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DeliveryMissing(f"{path} was taken away while it was read; try again.") from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        # A link or a socket.
        raise DeliveryUnfit(_not_regular(path)) from None
    with open(source, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise DeliveryUnfit(_not_regular(path))
        target = copy.open("xb") if copy else None
        while block := file.read(READ_BYTES):
            digest.update(block)
            size += len(block)
            if target:
                target.write(block)
        if target:
            target.flush()
            os.fsync(target.fileno())
            target.close()
    rows = _footer_rows(copy or path) if format == "parquet" else None
    return DeliveredFile(name=path.name, bytes=size, sha256=digest.hexdigest(), rows=rows)


def _not_regular(path: Path) -> str:
    return f"{path} is not a regular file. Have it delivered again as one."


def _footer_rows(path: Path) -> int | None:
    """What the footer says; null where it cannot be read, which is found when rows are read."""
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        return None


def _is_data(entry: os.DirEntry, format: str) -> bool:
    return entry.name.endswith(f".{format}") and entry.is_file(follow_symlinks=False)


def _unfit(entry: os.DirEntry, format: str) -> str | None:
    """Why the entry must not be read, if so."""
    shown = ascii(entry.name)[:LONGEST_NAME]
    if entry.is_symlink():
        return f"{shown} is a link"
    if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
        return f"{shown} is not a regular file"
    if entry.is_dir(follow_symlinks=False) and entry.name.endswith(f".{format}"):
        return f"{shown} is a folder"
    if len(os.fsencode(entry.name)) > LONGEST_NAME:
        return f"{shown} is longer than {LONGEST_NAME} bytes"
    bad = [one for one in entry.name if one in BAD_IN_NAMES or _is_unprintable(one)]
    if bad or entry.name != entry.name.strip():
        return f"{shown} has characters that some readers do not take: {''.join(bad)!a}"
    return None


def _is_unprintable(character: str) -> bool:
    """Controls, invalid bytes, invisible marks, and line or paragraph ends."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
