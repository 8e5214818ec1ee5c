"""Bundles that know a season."""

import shutil
from datetime import date
from pathlib import Path

from lake import read_json, write_json
from models.season import SEASON, YEAR


def with_season(bundle: Path, folder: Path, night: date) -> Path:
    """The same model in ``folder``; a year before ``night`` the odds of the outcome were three
    times those of a year before the dates that it was calibrated on."""
    shutil.copytree(bundle, folder)
    calibrated_on = read_json(folder / "bundle.json")["calibrated_on"]
    came_true = {date.fromisoformat(day): 250 for day in calibrated_on} | {night: 500}
    counts = {
        str(day - YEAR): {"customers": 1000, "came_true": count} for day, count in came_true.items()
    }
    write_json(folder / SEASON, counts)
    return folder
