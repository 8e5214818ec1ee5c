"""What dead jobs have left is removed after a day; nothing else ever is."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from jobs import build_features, sweep_lake
from jobs.audit_night import check_chain
from jobs.pinned import published_record
from lake import RecordDamaged
from tests.jobs.published.conftest import CLOCKS_CHANGE, NIGHT, PARAMS

LEFT_OVERS = (
    "lake/.kept.ab12cd34/rows/part-0.parquet",
    "lake/.cells.ab12cd34/part-0.parquet",
    "lake/.written.ab12cd34/rows/day=2026-03-28/part-0.parquet",
    ".replay.ab12cd34/data/lake/x",
    f"lake/intakes/known_on={NIGHT}/.3f2a9c0011223344-ab12cd34.json.x_1y2z3a",
    f"lake/features/score_date={NIGHT}/run_id=0123456789abcdef/0123456789ab/part-00000.parquet",
    f"lake/received/known_on={NIGHT}/0123456789ab/part-0.parquet",
    f"reports/{NIGHT}/x/.data_docs.ab12cd34/new/index.html",
    "bundles/.0123.ab12cd34/new/bundle.json",
    "sessions/build_features_0123.json",
)


def leave(root: Path, name: str) -> None:
    """A left-over with something in it."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def age(folder: Path, days: float) -> None:
    """Make all below a folder so much older."""
    for path in [folder, *folder.rglob("*")]:
        then = path.lstat().st_mtime - days * 24 * 3600
        os.utime(path, (then, then), follow_symlinks=False)


def test_left_overs_go_after_a_day_and_all_that_a_record_names_stays(shop, contents):
    before = contents(shop.root)
    for name in LEFT_OVERS:
        leave(shop.root, name)
    assert sweep_lake.run(shop.settings) == {
        "removed": 0,
        "bytes": 0,
        "too_young": len(LEFT_OVERS),
    }
    age(shop.root, days=1.1)

    facts = sweep_lake.run(shop.settings)

    assert facts["removed"] == len(LEFT_OVERS)
    assert contents(shop.root) == before
    assert sweep_lake.run(shop.settings)["removed"] == 0
    for night in (NIGHT, CLOCKS_CHANGE):
        record = published_record(shop.settings, shop.warehouse, night)
        check_chain(shop.root, shop.warehouse, record, is_deep=True)


@pytest.mark.parametrize("name", LEFT_OVERS)
def test_what_was_written_within_the_day_stays_whatever_is_old_around_it(shop, name):
    leave(shop.root, name)
    age(shop.root, days=3)
    path = shop.root / name
    os.utime(path, (time.time(), time.time()))
    assert sweep_lake.run(shop.settings)["removed"] == 0
    assert path.exists()


def test_an_attempt_stays_for_a_day_after_a_newer_one_took_its_place(shop):
    record = published_record(shop.settings, shop.warehouse, NIGHT)
    folder = shop.root / f"lake/features/score_date={NIGHT}/run_id={record.run_id}"
    [old] = folder.iterdir()
    age(shop.root, days=3)
    build_features.run(shop.spark, shop.settings, PARAMS, record)
    assert sweep_lake.run(shop.settings)["removed"] == 0
    assert old.exists()
    age(shop.root, days=1.1)
    # The features, and who cannot be scored from them.
    assert sweep_lake.run(shop.settings)["removed"] == 2
    assert not old.exists()


def test_an_older_run_and_a_corrected_delivery_keep_their_files(shop, contents):
    night = CLOCKS_CHANGE + timedelta(days=1)
    shop.deliver(night)
    old = shop.publish(night)
    shop.deliver(night, seed=2)
    assert shop.publish(night).run_id != old.run_id
    age(shop.root, days=3)
    before = contents(shop.root / "lake")
    assert sweep_lake.run(shop.settings)["removed"] == 0
    assert contents(shop.root / "lake") == before


def test_nothing_goes_while_a_record_cannot_be_read(shop, contents):
    leave(shop.root, LEFT_OVERS[0])
    record = published_record(shop.settings, shop.warehouse, NIGHT)
    path = shop.root / f"lake/runs/score_date={NIGHT}/{record.run_id}.stages/build_features.json"
    path.write_text(path.read_text()[:50])
    age(shop.root, days=3)
    before = contents(shop.root)
    with pytest.raises(RecordDamaged, match=str(path)):
        sweep_lake.run(shop.settings)
    assert contents(shop.root) == before


def test_a_replay_that_was_killed_is_swept_and_what_it_linked_to_stays(shop, contents):
    before = contents(shop.root)
    overlay = shop.root / ".replay.ab12cd34/data/lake"
    overlay.mkdir(parents=True)
    (overlay / "received").symlink_to(shop.root / "lake/received")
    age(shop.root, days=3)
    assert sweep_lake.run(shop.settings)["removed"] == 1
    assert contents(shop.root) == before
