"""README "Your own data": its commands by the letter, on a table of one's own, in a new clone.

The nights themselves are not run here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa

from deliveries.generator import Shop, days_between
from local.run import nights_to_run
from params import read_params
from settings import PROJECT_ROOT, Settings

FIRST, LAST = date(2025, 1, 1), date(2026, 4, 15)
CUSTOMERS = 400
NAMES = {
    "invoice": "receipt_no",
    "product": "sku",
    "customer": "loyalty_card",
    "quantity": "pieces",
    "unit_price": "price",
    "invoiced_at": "sold_at",
    "country": "store_country",
}


def commands() -> list[str]:
    """What the section shows as commands."""
    text = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## Your own data\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"^ *```\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def till_export() -> pd.DataFrame:
    """A table of sixteen months."""
    shop = Shop(CUSTOMERS, 1, read_params().source("generated"))
    days = pa.concat_tables(map(shop.delivery, days_between(FIRST, LAST)))
    return days.to_pandas().rename(columns=NAMES)[list(NAMES.values())]


def clone(folder: Path) -> Path:
    """This project as it is now, with a history of one commit and this environment."""
    listed = ("ls-files", "--cached", "--others", "--exclude-standard")
    for name in _git(*listed, at=PROJECT_ROOT).splitlines():
        if (PROJECT_ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT_ROOT / name, folder / name)
    # An environment that make takes for ready, so that it is not set up again.
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / ".ready").unlink(missing_ok=True)
    (folder / ".venv" / ".ready").touch()
    _git("init", "--quiet", at=folder)
    _git("add", "--all", at=folder)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    _git(*identity, "commit", "--quiet", "--message", "All", at=folder)
    return folder


def _git(*arguments: str, at: Path) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=at, check=True, capture_output=True, text=True
    ).stdout


def test_the_commands_of_the_readme_lead_from_a_table_to_what_is_to_be_run(tmp_path):
    code = clone(tmp_path / "code")
    table = till_export()
    table.to_csv(code / "till.csv", index=False, sep=";", date_format="%d.%m.%Y %H:%M:%S")
    # Told that it is started by another, make says where it works.
    foreign = ("SCORING_", "MAKE", "MFLAGS")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(foreign)
    }

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=code, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
        return done.stdout

    describe, run_all = commands()
    assert json.loads(run(describe))["written"] == len(table)
    assert run(f"{run_all} --dry-run").split() == ["python", "-m", "local.run"]
    settings = Settings(source="till_export", data_root=code / "data/till_export")
    nights = nights_to_run(settings, read_params(code / "params.yaml"), 3)
    assert nights == [LAST - timedelta(days=n) for n in (2, 1, 0)]
