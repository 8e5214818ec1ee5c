"""How files of the lake are spoilt. A file is replaced and never changed in place: it is linked."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from benchmarks.faults.shop import NIGHT, NIGHTS


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change of one file; ``kept`` is what it was."""

    name: str
    path: Path
    kept: Path

    def undo(self) -> None:
        """Put the file back, as from a backup."""
        self.path.unlink(missing_ok=True)
        shutil.copy2(self.kept, self.path)


def targets(root: Path, run_id: str) -> dict[str, list[Path]]:
    """The files that a night rests on, by what they are; as far as they are there."""
    lake = root / "lake"
    before = NIGHTS[NIGHTS.index(NIGHT) - 1]
    night, run = f"known_on={NIGHT}", f"score_date={NIGHT}"
    patterns = {
        "copy of the delivery": f"received/{night}/*/*",
        "accepted lines": f"transactions/{night}/**/*.parquet",
        "excluded lines": f"excluded/transactions/{night}/**/*.parquet",
        "quarantined lines": f"quarantine/transactions/{night}/**/*.parquet",
        "activity of the day": f"activity/{night}/**/*.parquet",
        "activity of another day": "activity/known_on=*/**/*.parquet",
        "features": f"features/{run}/**/*.parquet",
        "customers that cannot be scored": f"unscorable/{run}/**/*.parquet",
        "predictions": f"predictions/{run}/**/*.parquet",
        "predictions of the night before": f"predictions/score_date={before}/**/*.parquet",
        "record of the run": f"runs/{run}/{run_id}.json",
        "record of a job": f"runs/{run}/{run_id}.stages/*.json",
        "record of the intake": f"intakes/{night}/*.json",
        "record of another intake": "intakes/*/*.json",
        "ledger": "ledger/*/*.json",
    }
    found = {
        name: [path for path in sorted(lake.glob(pattern)) if path.is_file()]
        for name, pattern in patterns.items()
    }
    found["bundle"] = [path for path in sorted((root / "bundles").rglob("*")) if path.is_file()]
    return {name: paths for name, paths in found.items() if paths}


THERE_BEFORE = {
    "copy of the delivery": "validate_delivery",
    "accepted lines": "summarise_activity",
    "excluded lines": "summarise_activity",
    "quarantined lines": "summarise_activity",
    "activity of the day": "build_features",
    "activity of another day": "validate_delivery",
    "features": "score_customers",
    "customers that cannot be scored": "score_customers",
    "predictions": "publish_predictions",
    "predictions of the night before": "validate_delivery",
    "record of the run": "validate_delivery",
    "record of a job": "summarise_activity",
    "record of the intake": "summarise_activity",
    "record of another intake": "validate_delivery",
    "ledger": "validate_delivery",
    "bundle": "validate_delivery",
}
"""What there is to change, and the first job before which it is there."""


def mutate(root: Path, backups: Path, run_id: str, what: str, random: Random) -> Mutation:
    """Change one file that the night rests on, of those that are called so."""
    found = targets(root, run_id)
    path = random.choice(found[what])
    ways = list(WAYS)
    if path.suffix == ".parquet":
        ways.append("a row dropped")
    if path.suffix == ".json":
        ways.append("a value changed")
    others = [other for other in found[what] if other != path]
    if others:
        ways.append("another one's content")
    way = random.choice(ways)
    backups.mkdir()
    kept = backups / path.name
    shutil.copy2(path, kept)
    if way == "another one's content":
        replace(path, random.choice(others).read_bytes())
    elif way == "a row dropped":
        a_row_dropped(path)
    elif way == "a value changed":
        way = a_value_changed(path, random)
    else:
        WAYS[way](path, random)
    return Mutation(f"{what}, {path.relative_to(root)}: {way}", path, kept)


def replace(path: Path, content: bytes) -> None:
    """Give a file another content; what is linked to it keeps the old one."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def a_bit_flipped(path: Path, random: Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    replace(path, bytes(content))


def truncated(path: Path, random: Random) -> None:
    content = path.read_bytes()
    replace(path, content[: random.randrange(max(1, len(content)))])


def emptied(path: Path, _: Random) -> None:
    replace(path, b"")


def gone(path: Path, _: Random) -> None:
    path.unlink()


WAYS: dict[str, Callable[[Path, Random], None]] = {
    "a bit flipped": a_bit_flipped,
    "truncated": truncated,
    "emptied": emptied,
    "gone": gone,
}


def a_row_dropped(path: Path) -> None:
    """The same file without its last row; what has none is written again."""
    rows = pq.read_table(path)
    fresh = path.with_name(f".{path.name}.fresh")
    pq.write_table(rows.slice(0, max(0, rows.num_rows - 1)), fresh)
    os.replace(fresh, path)


def a_value_changed(path: Path, random: Random) -> str:
    """One value of a record becomes another of its type; says which."""
    value = json.loads(path.read_text())
    places = list(_places(value))
    holder, key, name = random.choice(places)
    holder[key] = _another(holder[key])
    replace(path, json.dumps(value, indent=2, sort_keys=True).encode())
    return f"{name} changed to {holder[key]!r:.60}"


def _places(value, name: str = ""):
    """Every value in a record that holds no others: its holder, its key, its name."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in list(pairs):
        if isinstance(each, dict | list):
            yield from _places(each, f"{name}.{key}")
        else:
            yield value, key, f"{name}.{key}"


def _another(value):
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return value[:-1] + ("0" if value[-1:] != "0" else "1")
