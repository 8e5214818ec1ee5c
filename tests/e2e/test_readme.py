"""README "Your own data": its commands by the letter, from a table of one's own to a scored night.

What the pipeline has counted is held against what pandas counts in the table itself.
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
import pytest
import sqlalchemy as sa

from deliveries.generator import Shop, days_between
from params import read_params
from settings import PROJECT_ROOT, Settings
from tests.e2e.conftest import commands_below
from warehouse import connect
from warehouse.tables import PREDICTIONS, SCORING_RUNS

pytestmark = pytest.mark.e2e

FIRST, NIGHT = date(2025, 10, 1), date(2026, 3, 5)
TRAINED_UNTIL = NIGHT - timedelta(days=1)
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


def till_export() -> pd.DataFrame:
    """A table of five months: some lines come twice, some without pieces or without a card."""
    shop = Shop(CUSTOMERS, 1, read_params().source("generated"))
    days = pa.concat_tables(map(shop.delivery, days_between(FIRST, NIGHT)))
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


def correct(params_file: Path, **values: str) -> None:
    """Write other values behind the last key of each name."""
    text = params_file.read_text(encoding="utf-8")
    for key, value in values.items():
        before, name, behind = text.rpartition(f" {key}: ")
        text = before + name + re.sub("^[^ \n]+", value, behind)
    params_file.write_text(text, encoding="utf-8")


def pandas_count(lines: pd.DataFrame) -> dict[str, int]:
    """What becomes of lines, each with what all others of its day are compared by."""
    is_broken = lines["pieces"].isna() | lines.duplicated()
    is_excluded = lines["loyalty_card"].isna() & ~is_broken
    quarantined, excluded = int(is_broken.sum()), int(is_excluded.sum())
    return {
        "delivered": len(lines),
        "accepted": len(lines) - quarantined - excluded,
        "quarantined": quarantined,
        "excluded": excluded,
    }


def test_the_commands_of_the_readme_lead_from_a_table_to_a_night_that_adds_up(top):
    """The table is short: what describe says about that is done, and one night is left to it."""
    code, table = clone(top / "code"), till_export()
    table.to_csv(code / "till.csv", index=False, sep=";", date_format="%d.%m.%Y %H:%M:%S")
    # Told that it is started by another, make says where it works.
    foreign = ("SCORING_", "MAKE", "MFLAGS")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(foreign)
    }

    def run(command: str) -> tuple[str, str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=code, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr[-9000:]}"
        return done.stdout, done.stderr

    describe, run_all = map(str.strip, commands_below("README.md", "Your own data"))
    facts, said = run(describe)
    assert json.loads(facts)["written"] == len(table)
    [shorter] = re.findall(r"Set training.history_days in params.yaml to (\d+)", said)
    correct(code / "params.yaml", training_until=f'"{TRAINED_UNTIL}"', history_days=shorter)
    results = [json.loads(line) for line in run(run_all)[0].splitlines() if line[:1] == "{"]

    day = table["sold_at"].dt.date
    [history] = [one for one in results if "deliveries" in one]
    counted = {
        name: sum(count.values()) if isinstance(count := history[name], dict) else count
        for name in pandas_count(table)
    }
    assert counted == pandas_count(table[day <= TRAINED_UNTIL])

    settings = Settings(source="till_export", data_root=code / "data/till_export")
    with connect(settings.warehouse_url).connect() as warehouse:
        [run_of_night] = warehouse.execute(sa.select(SCORING_RUNS)).mappings()
        scored = warehouse.scalars(sa.select(PREDICTIONS.c.customer_id)).all()
    assert run_of_night["score_date"] == NIGHT
    assert {name: run_of_night[name] for name in counted} == pandas_count(table[day == NIGHT])
    bought = table[(table["pieces"] > 0) & table["loyalty_card"].notna()]["loyalty_card"]
    assert sorted(scored) == sorted(bought.unique())
    assert run_of_night["population"] == len(scored)
