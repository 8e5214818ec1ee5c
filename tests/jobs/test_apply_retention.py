"""Old scores go from the warehouse and the lake, what is known about them stays."""

import logging
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

import warehouse
from jobs import apply_retention
from jobs.apply_retention import LAYOUTS
from jobs.pinned import published_record
from params import Params, Retention, read_params
from tests.records import run_record
from tests.warehouse.nights import a_run, predictions

NEWEST = date(2026, 4, 1)
OLD, OLDER = NEWEST - timedelta(days=100), NEWEST - timedelta(days=200)
RUNS = {"older": OLDER, "superseded": OLD, "old": OLD, "newest": NEWEST}


def params(**rules) -> Params:
    return read_params().model_copy(update={"retention": Retention(**rules)})


OLD_NIGHTS_GO = params(night_days=90)


@pytest.fixture
def shop(settings, empty_warehouse):
    """Three nights, one of them with two runs; each run has ten bytes of each dataset."""
    shutil.copy(empty_warehouse, settings.data_root)
    engine = warehouse.connect(settings.warehouse_url)
    for name, night in RUNS.items():
        before = warehouse.pointer_of(engine, night)
        run = a_run(name, score_date=night)
        warehouse.publish(engine, run, [predictions("ada", "bob")], replaces=before)
        leave(settings.data_root, name, night)
    return settings


def leave(root: Path, name: str, night: date) -> None:
    for layout in LAYOUTS:
        folder = root / layout.format(score_date=night, run_id=name) / "0123456789ab"
        folder.mkdir(parents=True)
        (folder / "part-00000.parquet").write_bytes(b"0123456789")
    run_record(night, run_id=name).write(root)


def apply(settings, rules: Params = OLD_NIGHTS_GO, **options) -> dict:
    return apply_retention.run(settings, rules, actor="ada", **options)


def left(settings) -> dict[str, set[str]]:
    """The runs whose scores are in the warehouse, and those of which something is in the lake."""
    root, engine = settings.data_root, warehouse.connect(settings.warehouse_url)
    in_lake = {
        name
        for name, night in RUNS.items()
        for layout in LAYOUTS
        if (root / layout.format(score_date=night, run_id=name)).exists()
    }
    in_warehouse = {run.run_id for run in warehouse.stored_runs(engine)}
    assert {name for name in RUNS if any(warehouse.published_rows(engine, name))} == in_warehouse
    return {"warehouse": in_warehouse, "lake": in_lake}


def only(*names: str) -> dict[str, set[str]]:
    return {"warehouse": set(names), "lake": set(names)}


def test_nothing_goes_with_the_parameters_as_they_come(shop):
    assert apply(shop, read_params())["runs"] == 0
    assert left(shop) == only(*RUNS)


def test_old_nights_go_with_all_their_runs_and_their_records_stay(shop, caplog):
    caplog.set_level(logging.INFO)
    assert apply(shop) == {
        "is_dry": False,
        "runs": 3,
        "customers": 6,
        "bytes": 120,
        "nights": [str(OLDER), str(OLD)],
    }
    assert left(shop) == only("newest")
    assert len(list(shop.data_root.glob("lake/runs/*/*.json"))) == len(RUNS)
    assert (
        f"dropping run old of {OLD}, 2 customers, readers see it: the night is 100" in caplog.text
    )
    assert f"2 nights from {OLDER} to {OLD} can no longer be shown, explained" in caplog.text
    assert apply(shop)["runs"] == 0


def test_a_dry_run_says_what_would_go_and_changes_nothing(shop, caplog):
    caplog.set_level(logging.INFO)
    told = apply(shop, is_dry=True)
    assert left(shop) == only(*RUNS)
    assert "would drop run older" in caplog.text
    assert {**told, "is_dry": False} == apply(shop)


def test_a_night_that_is_still_to_be_measured_stays(shop):
    rules = params(night_days=1)
    question = rules.training.question.model_copy(update={"horizon_days": 200 - 1})
    slow = rules.training.model_copy(update={"question": question})
    assert rules.performance.catch_up_nights >= 1
    apply(shop, rules.model_copy(update={"training": slow}))
    assert left(shop) == only("newest", "old", "superseded", "older")


def test_the_run_on_which_a_night_that_stays_falls_back_stays_for_its_replay(shop):
    run_record(NEWEST, run_id="newest", previous_run_id="old").write(shop.data_root)
    run_record(OLD, run_id="old", previous_run_id="older").write(shop.data_root)
    assert apply(shop)["nights"] == [str(OLDER)]
    assert left(shop) == only("newest", "old")
    assert apply(shop)["runs"] == 0


def test_a_dropped_night_cannot_be_replayed_or_audited_and_says_why(shop):
    apply(shop)
    engine = warehouse.connect(shop.warehouse_url)
    with pytest.raises(warehouse.RunDropped, match=r"run old of .* were dropped on .* by ada"):
        published_record(shop, engine, OLD)


# Three runs are dropped, then nine folders removed.
@pytest.mark.parametrize("step", [0, 1, 2, 3, 4, 8, 11])
def test_killed_anywhere_it_can_be_run_again(shop, monkeypatch, step):
    """A step is a run that is dropped, or a folder that is removed; one is left half removed."""
    steps = iter(range(step))

    def until_killed(work):
        def do(*arguments, **options):
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return work(*arguments, **options)

        return do

    def half_removed(folder: Path) -> None:
        for path in folder.glob("*/*"):
            path.unlink()
        whole(folder)

    whole = until_killed(shutil.rmtree)
    monkeypatch.setattr(warehouse, "drop_run", until_killed(warehouse.drop_run))
    monkeypatch.setattr(apply_retention.shutil, "rmtree", half_removed)
    with pytest.raises(KeyboardInterrupt):
        apply(shop)
    monkeypatch.undo()

    apply(shop)

    assert left(shop) == only("newest")
    assert apply(shop) == {"is_dry": False, "runs": 0, "customers": 0, "bytes": 0, "nights": []}
    assert warehouse.check_audit(warehouse.connect(shop.warehouse_url)) == len(RUNS) + 3
