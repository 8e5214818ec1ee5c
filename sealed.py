"""Records of the lake: JSON files that hold the hash of what they say and of where they lie.

A record that was changed or cut, or put in the place of another, says so when it is read next. Its
place is the name of its file and folder, so a lake can be moved. A seal is no signature: who writes
a record again seals it again. What was published is therefore also kept in the warehouse, with the
seal of its run (``jobs/audit_night.py`` compares them).
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from errors import BadData, what_is_wrong
from lake import RecordDamaged, read_json, value_sha256, write_json

SEAL = "seal"


class RecordOutdated(BadData):
    """A record was written by other code, which kept more or less."""


class Sealed(BaseModel):
    """A record with a file of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def put(self, path: Path, *, is_new: bool = False) -> None:
        """Write the record, sealed.

        Raises:
            FileExistsError: With ``is_new``, if the file is there; it keeps what it holds.
        """
        write_json(path, sealed(self.model_dump(mode="json"), path), is_new=is_new)

    @classmethod
    def take(cls, path: Path, remedy: str) -> Self:
        """The record in a file.

        Args:
            remedy: What to do about a record that is damaged.

        Raises:
            FileNotFoundError: If there is no such file.
            RecordDamaged: If it is not what was written.
            RecordOutdated: If it is what other code wrote.
        """
        content = read_sealed(path, remedy)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            fields = "; ".join(what_is_wrong(error))
            raise RecordOutdated(
                f"{path} was written by other code, which kept other fields ({fields}). {remedy}"
            ) from None


def sealed(content: dict, path: Path) -> dict:
    """What the record in a file says, with its seal."""
    return content | {SEAL: _seal(content, path)}


def read_sealed(path: Path, remedy: str) -> dict:
    """What the record in a file says, without its seal, which fits.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordDamaged: If it is not what was written.
    """
    return _opened(path, remedy)[0]


def seal_of(path: Path, remedy: str) -> str:
    """The seal of the record in a file, which fits.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordDamaged: If it is not what was written.
    """
    return _opened(path, remedy)[1]


def _opened(path: Path, remedy: str) -> tuple[dict, str]:
    content = read_json(path, remedy)
    seal = content.pop(SEAL, None)
    if seal is None:
        raise RecordDamaged(
            f"{path} has no seal: it was changed by hand, or written by code from before seals. "
            f"{remedy}"
        )
    if seal != _seal(content, path):
        raise RecordDamaged(
            f"{path} was changed after it was written, or belongs elsewhere: its seal does not fit "
            f"what it says. {remedy}"
        )
    return content, seal


def _seal(content: dict, path: Path) -> str:
    return value_sha256([path.parent.name, path.name, content])
