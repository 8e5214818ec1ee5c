"""A published night computed again from what it pinned, beside the lake.

By the command where that is the point, otherwise with the jobs in the tests' own process.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from deliveries.faults import Fault, Faults
from errors import BadData
from jobs import replay_night
from jobs.pinned import published_record
from jobs.replay_night import NightDiffers, NotReplayable, code_of
from lake import describe_piece
from models.git import git
from records import StageRecord
from settings import PROJECT_ROOT, Settings
from tests.jobs.published.conftest import CLOCKS_CHANGE, NIGHT

CORRECTED = NIGHT - timedelta(days=8)


def replay(shop, night, *arguments: str, code: Path = PROJECT_ROOT, **settings: str):
    """What the command ends with."""
    return subprocess.run(
        [sys.executable, "-m", "jobs.replay_night", f"--score-date={night}", *arguments],
        cwd=code,
        env=os.environ
        | {"SCORING_DATA_ROOT": str(shop.root), "PYTHONPATH": str(code)}
        | {f"SCORING_{name}": value for name, value in settings.items()},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def replay_here(shop):
    """What the job says, its jobs run in this process."""

    def run_job(job, record, *, code, beside):
        assert code == PROJECT_ROOT
        importlib.import_module(f"jobs.{job}").run(
            shop.spark, Settings(data_root=beside), record.pinned_params, record
        )

    def replay(night, run_id=None, customer=None) -> dict:
        return replay_night.run(shop.settings, night, run_id, customer, run_job)

    return replay


def test_a_night_of_a_clock_change_comes_out_the_same_and_nothing_is_written(
    shop, replay_here, contents, capsys
):
    before = contents(shop.root)

    population = replay_here(CLOCKS_CHANGE)["customers"]

    assert capsys.readouterr().out == f"0 of {population} differ\n"
    assert population > 100
    assert contents(shop.root) == before


def test_after_corrections_both_runs_of_a_night_come_out_as_each_was_published(shop, replay_here):
    old = published_record(shop.settings, shop.warehouse, CLOCKS_CHANGE)
    shop.deliver(CLOCKS_CHANGE, seed=2)
    shop.deliver(CORRECTED, seed=2)
    shop.load(CLOCKS_CHANGE - timedelta(days=1))
    new = shop.publish(CLOCKS_CHANGE)
    assert new.intake != old.intake
    row = shop.warehouse.connect().scalar(
        sa.text("select min(customer_id) from predictions where run_id = :run"),
        {"run": old.run_id},
    )

    facts = replay_here(CLOCKS_CHANGE, old.run_id, row)

    assert (facts["run_id"], facts["customers"]) == (old.run_id, 1)
    assert facts["computed"] == facts["recorded"]
    assert facts["computed"]["predictions"]["customer_id"] == row

    assert replay_here(CLOCKS_CHANGE)["run_id"] == new.run_id


def test_a_delivery_that_was_accepted_in_spite_of_a_refusal_comes_out_the_same(shop, replay_here):
    night = CLOCKS_CHANGE + timedelta(days=1)
    shop.deliver(night, Faults((Fault.parse(f"nulls:{night}:0.5"),)))
    with pytest.raises(BadData, match="refused"):
        shop.publish(night)
    shop.load(night, accepted={night: "better than nothing"})
    published = shop.publish(night)

    assert replay_here(night)["run_id"] == published.run_id


def test_what_differs_is_named_with_columns_customers_and_the_first_stage(shop, replay_here):
    record = published_record(shop.settings, shop.warehouse, NIGHT)
    stage = StageRecord.read(shop.root, record, "build_features")
    path = shop.root / stage.pieces["features"].files[0].path
    rows = pq.read_table(path)
    is_third = pa.array([row == 2 for row in range(rows.num_rows)])
    changed = pc.if_else(is_third, -7.0, rows["recency_days"])
    position = rows.column_names.index("recency_days")
    pq.write_table(rows.set_column(position, "recency_days", changed), path)
    pieces = {"features": describe_piece(shop.root, [path])}
    stage.model_copy(update={"pieces": pieces}).write(shop.root, record)
    with shop.warehouse.begin() as connection:
        connection.execute(
            sa.text(
                "update predictions set decile = 11 - decile where customer_id = "
                "(select min(customer_id) from predictions) and run_id = :run"
            ),
            {"run": record.run_id},
        )

    with pytest.raises(NightDiffers) as raised:
        replay_here(NIGHT)

    error = str(raised.value)
    assert error.startswith("1 of ")
    assert "They part at: features." in error
    assert f"recency_days of customer {rows['customer_id'][2]}: -7.0, now " in error
    assert "warehouse: 1 of" in error
    assert "in decile (1)" in error


def test_a_night_of_other_code_is_computed_by_a_clean_clone_of_its_commit(shop, tmp_path):
    record = published_record(shop.settings, shop.warehouse, NIGHT)
    code = tmp_path / "code"
    tracked = git("ls-files", "--cached", "--others", "--exclude-standard", folder=PROJECT_ROOT)
    for name in tracked.splitlines():
        if (PROJECT_ROOT / name).is_file():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT_ROOT / name, code / name)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git("init", "--quiet", folder=code)
    git("add", "--all", folder=code)
    git(*identity, "commit", "--quiet", "-m", "The code of that night", folder=code)
    commit = git("rev-parse", "--short=12", "HEAD", folder=code).strip()
    record.model_copy(update={"code_version": commit}).write(shop.root)

    frequency = code / "features/frequency.py"
    frequency.write_text(frequency.read_text().replace("purchase_days(90)", "purchase_days(89)"))
    git(*identity, "commit", "--quiet", "--all", "-m", "Another feature", folder=code)

    done = replay(shop, NIGHT, code=code, CODE_URL=str(code))

    assert done.returncode == 0, done.stdout
    sentence, facts = done.stdout.splitlines()
    assert sentence.startswith("0 of ")
    assert json.loads(facts)["code"] == commit


@pytest.mark.parametrize(
    ("commit", "words"),
    [("0123456789ab-dirty", "not committed"), ("0123456789ab", "cannot be had")],
)
def test_code_that_cannot_be_had_again_is_named(shop, tmp_path, commit, words):
    record = published_record(shop.settings, shop.warehouse, NIGHT)
    other = record.model_copy(update={"features_sha256": "0" * 64, "code_version": commit})
    with pytest.raises(NotReplayable, match=rf"\(features\).* {words}"):
        code_of(shop.settings, other, tmp_path / "clone")


def test_a_night_that_is_not_published_is_named_without_a_traceback(shop):
    done = replay(shop, NIGHT - timedelta(days=1))
    assert done.returncode == 20
    assert "nothing is published of 2026-03-27" in done.stdout
    assert "Traceback" not in done.stderr
