"""Bundles: the same inputs give the same bytes, and what does not fit is refused in time."""

import json
import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake import read_json, write_json
from models.apply import score
from models.bundle import read_bundle, read_holdout
from models.bundle_hash import BundleRefused, bundle_sha256
from models.fit import Recipe, fit_model, rows_of
from models.judge import judge
from models.metrics import JUDGED, KINDS, LIVE, XGBOOST
from models.packing import Origin, contact_threshold, threshold_version, write_bundle
from models.season import SEASON
from models.split import split_by_time
from params import FIRST_QUESTION, read_params
from tests.models.conftest import AS_OF

PARAMS = read_params()
PARAMS = PARAMS.model_copy(
    update={
        "model": PARAMS.model.model_copy(update={"max_rounds": 30}),
        "drift": PARAMS.drift.model_copy(update={"sample_rows": 500}),
    }
)


HOLDOUT = split_by_time(AS_OF, 30, 2).holdout


def write(training_set: pa.Table, folder: Path, kind: str = XGBOOST) -> Path:
    """A bundle of the training set, made from the beginning."""
    split = split_by_time(training_set["as_of"].unique().to_pylist(), 30, 2)
    recipe = Recipe(2, None, PARAMS.model, seed=1)
    judged, live = (fit_model(training_set, days, kind, recipe) for days in (split.fit, split.live))
    holdout = rows_of(training_set, split.holdout)
    predictions = holdout.select(["as_of", "customer_id", "label", "country"]).to_pandas()
    probability = score(holdout, judged, reasons=0)["probability"].to_numpy()
    scored = dict.fromkeys(KINDS, 0.4) | {kind: probability}
    predictions = predictions.assign(
        **{f"{fit}{name}": p for fit in (JUDGED, LIVE) for name, p in scored.items()}
    )
    golden = folder.with_name(f"{folder.name}-golden")
    golden.mkdir()
    for name in ("golden_activity.parquet", "golden_features.parquet"):
        pq.write_table(pa.table({"customer_id": ["c1"]}), golden / name)
    write_json(golden / SEASON, {})
    folder.mkdir()
    write_bundle(
        folder,
        live,
        judged,
        holdout,
        predictions,
        golden,
        judge(predictions, rounds=5, seed=1),
        Origin(
            source="generated",
            training_until="2026-07-31",
            as_of={part: [str(day) for day in days] for part, days in asdict(split).items()},
            rows={"fit": 10, "holdout": 10, "live": 20},
            left_out={"2025-12-06": "12 of 365 days of deliveries"},
            training_set_sha256="a" * 64,
            features_sha256="b" * 64,
            params_sha256="c" * 64,
        ),
        {"power": {}, "deaf": [], "fading": []},
        PARAMS,
    )
    return folder


@pytest.fixture(scope="module")
def original(small_training_set, tmp_path_factory) -> Path:
    return write(small_training_set, tmp_path_factory.mktemp("bundles") / "original")


@pytest.fixture
def bundle_folder(original, tmp_path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def edit(folder: Path, **changes) -> str:
    """Change the description; the hash of what came out."""
    description = read_json(folder / "bundle.json")
    write_json(folder / "bundle.json", description | changes)
    return bundle_sha256(folder)


def test_the_same_inputs_give_the_same_bytes(small_training_set, original, tmp_path):
    again = write(small_training_set, tmp_path / "again")
    assert bundle_sha256(again) == bundle_sha256(original)


def test_the_hash_follows_contents_and_names(bundle_folder, original):
    assert bundle_sha256(bundle_folder) == bundle_sha256(original)
    (bundle_folder / "metrics.json").rename(bundle_folder / "metric.json")
    assert bundle_sha256(bundle_folder) != bundle_sha256(original)


def test_a_bundle_reads_back_and_scores_as_it_was_judged(small_training_set, original):
    bundle = read_bundle(original, bundle_sha256(original))
    assert bundle.feature_names == (
        "recency_days",
        "purchase_count_365d",
        "spend_365d",
        "gap_mean_days",
        "country",
    )
    assert bundle.categories == {"country": ("Norway", "Spain", "France")}
    assert (bundle.model_name, bundle.question) == ("repurchase", FIRST_QUESTION)
    newest = rows_of(small_training_set, [max(small_training_set["as_of"].to_pylist())])
    reference = pd.read_parquet(original / "reference.parquet")
    assert len(reference) == 500
    scored = score(reference, bundle, reasons=0)["probability"].to_numpy()
    assert scored.tolist() == reference["probability"].tolist()
    assert set(scored) <= set(score(newest, bundle, reasons=0)["probability"].to_pylist())


def test_the_judged_fit_reads_back_as_it_was_judged_and_is_not_the_one_that_scores(
    small_training_set, original
):
    bundle = read_bundle(original, bundle_sha256(original))
    assert bundle.judged.learnt_on == tuple(AS_OF[:5])
    assert bundle.judged.unseen_from(30) == AS_OF[5]
    holdout = rows_of(small_training_set, HOLDOUT)
    judged, live = (
        score(holdout, fit, reasons=0)["probability"].to_numpy() for fit in (bundle.judged, bundle)
    )
    assert (judged >= bundle.judged.threshold).mean() == pytest.approx(0.2, abs=0.001)
    newest = (holdout["as_of"].to_numpy() == np.datetime64(HOLDOUT[-1])).astype(bool)
    assert (live[newest] >= bundle.threshold).mean() == pytest.approx(0.2, abs=0.001)
    assert np.abs(judged - live).max() > 0.01
    moved = read_json(original / "bundle.json")["second_fit"]
    assert 0 < moved["moved_share"] < 0.2
    assert moved["mean_change"] == pytest.approx(np.abs(judged - live)[newest].mean(), abs=1e-5)


def test_a_judged_fit_that_scores_differently_is_refused_too(bundle_folder):
    judged = read_json(bundle_folder / "bundle.json")["judged"]
    judged["calibration"]["intercept"] += 1e-9
    sha256 = edit(bundle_folder, judged=judged)
    with pytest.raises(BundleRefused, match="judged_probability"):
        read_bundle(bundle_folder, sha256)


def test_a_bundle_of_older_code_says_what_to_do(bundle_folder):
    description = read_json(bundle_folder / "bundle.json")
    del description["kind"]
    write_json(bundle_folder / "bundle.json", description)
    with pytest.raises(BundleRefused, match=r"what kind of model.*Train it anew"):
        read_bundle(bundle_folder, bundle_sha256(bundle_folder))


@pytest.mark.parametrize("position", [0, 100, -1])
def test_one_flipped_byte_is_refused_before_xgboost_sees_it(bundle_folder, position, monkeypatch):
    expected = bundle_sha256(bundle_folder)
    model = bundle_folder / "model.ubj"
    damaged = bytearray(model.read_bytes())
    damaged[position] ^= 0x01
    model.write_bytes(damaged)
    # Loading it could end the process; reaching this call is the failure.
    monkeypatch.setattr(
        "models.bundle.read_estimator", lambda _, path: pytest.fail(f"loaded {path}")
    )
    with pytest.raises(BundleRefused, match=f"not {expected}.*open_run fetches the bundle again"):
        read_bundle(bundle_folder, expected)


@pytest.mark.parametrize("name", ["model_card.md", "golden_rows.parquet", "bundle.json"])
def test_a_lost_or_added_file_is_refused(bundle_folder, name):
    expected = bundle_sha256(bundle_folder)
    (bundle_folder / "extra").touch()
    with pytest.raises(BundleRefused, match="lost or added"):
        read_bundle(bundle_folder, expected)
    (bundle_folder / "extra").unlink()
    (bundle_folder / name).unlink()
    with pytest.raises(BundleRefused, match="lost or added"):
        read_bundle(bundle_folder, expected)


def test_an_absent_bundle_is_refused(tmp_path):
    with pytest.raises(BundleRefused, match="no bundle in"):
        read_bundle(tmp_path / "nowhere", "0" * 64)


@pytest.mark.parametrize("trained_with", ["3.1.9", "3.2.1", "3.3.0", "4.0.0", "2.1.4"])
def test_a_model_of_another_or_a_newer_xgboost_is_refused(bundle_folder, trained_with, monkeypatch):
    monkeypatch.setattr("models.bundle.xgboost.__version__", "3.2.0")
    sha256 = edit(bundle_folder, libraries={"xgboost": trained_with})
    with pytest.raises(BundleRefused, match=f"trained with xgboost {trained_with}, here is 3.2.0"):
        read_bundle(bundle_folder, sha256)


def test_a_patch_newer_than_the_trainer_may_score(bundle_folder, monkeypatch):
    monkeypatch.setattr("models.bundle.xgboost.__version__", "3.2.7")
    assert read_bundle(bundle_folder, edit(bundle_folder, libraries={"xgboost": "3.2.0"}))


def test_a_bundle_that_scores_differently_than_when_it_was_made_is_refused(bundle_folder):
    calibration = read_json(bundle_folder / "bundle.json")["calibration"]
    calibration["intercept"] += 1e-9
    sha256 = edit(bundle_folder, calibration=calibration)
    with pytest.raises(BundleRefused, match="golden rows"):
        read_bundle(bundle_folder, sha256)


def test_golden_rows_reach_from_the_lowest_score_to_the_highest(original, small_training_set):
    golden = pq.read_table(original / "golden_rows.parquet")
    bundle = read_bundle(original, bundle_sha256(original))
    newest = rows_of(small_training_set, [max(small_training_set["as_of"].to_pylist())])
    everybody = score(newest, bundle, reasons=0)["probability"].to_numpy()
    assert golden.num_rows == 32
    assert golden["probability"][0].as_py() == everybody.min()
    assert golden["probability"][31].as_py() == everybody.max()


def test_a_bundle_holds_nobodys_identity(original):
    for name in ("golden_rows.parquet", "reference.parquet"):
        assert "customer_id" not in pq.read_schema(original / name).names
    assert read_holdout(original)["customer_id"].type == pa.int32()


def test_a_bundle_carries_the_rows_it_was_judged_on(original, small_training_set):
    holdout, whole = read_holdout(original), rows_of(small_training_set, HOLDOUT)
    assert holdout.column_names == whole.column_names
    assert holdout.drop_columns(["customer_id"]).equals(whole.drop_columns(["customer_id"]))
    pairs = zip(whole["customer_id"].to_pylist(), holdout["customer_id"].to_pylist(), strict=True)
    assert len(set(pairs)) == len(set(holdout["customer_id"].to_pylist())) == 1500


def test_of_many_rows_to_judge_on_a_sample_is_carried(small_training_set, tmp_path, monkeypatch):
    monkeypatch.setattr("models.packing.HOLDOUT_ROWS", 700)
    one, other = (write(small_training_set, tmp_path / name) for name in ("one", "other"))
    assert read_holdout(one).num_rows == 700
    assert bundle_sha256(one) == bundle_sha256(other)


def test_a_bundle_of_older_code_says_that_it_cannot_be_judged(bundle_folder):
    (bundle_folder / "holdout.parquet").unlink()
    with pytest.raises(BundleRefused, match=r"no rows to judge it on.*Retrain it"):
        read_holdout(bundle_folder)


def test_the_best_share_of_the_holdout_reaches_the_threshold():
    probabilities = np.random.default_rng(0).random(1000)
    threshold = contact_threshold(probabilities, 0.2)
    assert (probabilities >= threshold).sum() == 200


def test_the_threshold_is_of_somebody_even_in_a_tiny_holdout():
    assert contact_threshold(np.array([0.1, 0.7]), 0.2) == 0.7


def test_another_contact_share_is_another_threshold_version(bundle_folder):
    before = read_json(bundle_folder / "bundle.json")
    assert threshold_version(before["threshold"], 0.2) == before["threshold_version"]
    assert threshold_version(before["threshold"], 0.3) != before["threshold_version"]


def test_the_model_card_tells_what_a_reader_must_know(original):
    card = (original / "model_card.md").read_text()
    for part in (
        "## Purpose",
        "## Data",
        "within the next 30 days",
        "country: Norway",
        "## Limits",
    ):
        assert part in card
    assert "nan" not in card.lower()
    assert json.loads((original / "metrics.json").read_text())["holdout"]["rows"] == 3000
    assert str(date(2026, 7, 31)) in card
