"""Scoring a night: everyone gets a score, the same on any cluster, and one can tell where from."""

import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalog
from chunks import Chunk
from expectations.features import unscorable
from features.build import CATEGORICAL, FEATURE_NAMES
from jobs import build_bundle, evaluate_model, score_customers, train_model
from lake import read_json, read_pieces, write_json
from models import batches
from models.apply import score
from models.arms import bucket, bucket_column
from models.batches import batch_scorer, pair_scorer
from models.bundle import read_bundle
from models.bundle_hash import BundleRefused, bundle_sha256
from models.control import control_column, is_control
from models.season import SEASON, moved
from params import read_params
from records import Challenger, RunRecord, StageRecord
from settings import Settings
from tests.harm import HARMS
from tests.records import finish, put_dataset, run_record
from tests.seasons import with_season
from tests.warehouse.nights import predictions as published_predictions

NIGHT = date(2026, 8, 1)
PARAMS = read_params()
PARAMS = PARAMS.model_copy(
    update={
        "training": PARAMS.training.model_copy(
            update={"holdout_count": 1, "bootstrap_rounds": 50, "calibration_count": 2}
        ),
        "model": PARAMS.model.model_copy(update={"max_rounds": 20}),
        "decision": PARAMS.decision.model_copy(update={"control_share": 0.2}),
    }
)


def customers(count: int, seed: int) -> dict[str, np.ndarray]:
    """Plausible features; what a test is about it changes."""
    random = np.random.default_rng(seed)
    features = {name: random.integers(0, 8, count).astype(float) for name in FEATURE_NAMES}
    between = [name for name in FEATURE_NAMES if "_share" in name or "_trend" in name]
    features |= {name: random.random(count) for name in between}
    features["recency_days"] = random.integers(0, 300, count).astype(float)
    features["tenure_days"] = features["recency_days"] + random.integers(0, 300, count)
    features["country"] = random.choice(["Norway", "Spain"], count)
    return {"customer_id": np.array([f"c{i:04}" for i in range(count)]), **features}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A bundle made by the real jobs: those whose last purchase is neither new nor old buy."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    parts = []
    for i in range(5):
        rows = customers(400, seed=i)
        often = (rows["recency_days"] > 100) & (rows["recency_days"] < 200)
        label = np.random.default_rng(i).random(400) < np.where(often, 0.9, 0.1)
        as_of = pa.array([date(2026, 1, 1) + timedelta(days=30 * i)] * 400, pa.date32())
        parts.append(pa.table({"as_of": as_of, **rows, "label": label.astype("int32")}))
    training_set = artifacts / "training_set"
    training_set.mkdir()
    pq.write_table(pa.concat_tables(parts), training_set / "training_set.parquet")
    for name in ("golden_activity.parquet", "golden_features.parquet"):
        pq.write_table(parts[0].slice(0, 3), training_set / name)
    write_json(training_set / "left_out.json", {})
    write_json(training_set / SEASON, {})
    window = {"source": "generated", "training_until": "2026-05-31"}
    write_json(artifacts / "training_window.json", window)
    train_model.run(PARAMS, artifacts)
    evaluate_model.run(PARAMS, artifacts)
    build_bundle.run(PARAMS, artifacts)
    return artifacts / "bundle"


def open_run(
    spark,
    settings,
    bundle,
    rows: dict,
    run_id: str,
    night=NIGHT,
    files=1,
    previous_run_id=None,
    challenger: tuple[Path, int] | None = None,
) -> RunRecord:
    """Open a run of the night over the given customers, whose features lie in ``files`` files.

    A challenger is the folder of its bundle and its percent.
    """
    sha256 = put_bundle(settings, bundle)
    tried = None
    if challenger is not None:
        folder, percent = challenger
        tried = Challenger(
            version="v1.1.0", bundle_sha256=put_bundle(settings, folder), percent=percent
        )
    record = run_record(
        night,
        run_id=run_id,
        bundle_sha256=sha256,
        challenger=tried,
        previous_run_id=previous_run_id,
    )
    record.write(settings.data_root)
    types = {name: pa.string() for name in ("customer_id", *CATEGORICAL)}
    table = pa.table({name: pa.array(rows[name], types.get(name, pa.float64())) for name in rows})
    parts = [table.take(part) for part in np.array_split(np.arange(table.num_rows), files)]
    described = put_dataset(settings.data_root, record, catalog.FEATURES_LAYOUT, *parts)
    features = unscorable(spark, read_pieces(spark, settings.data_root, [described]))
    rejected = features.where("not is_scorable").select("customer_id").collect()
    names = pa.table({"customer_id": pa.array([row.customer_id for row in rejected], pa.string())})
    pieces = {
        "features": described,
        "unscorable": put_dataset(settings.data_root, record, catalog.UNSCORABLE.layout, names),
    }
    finish(settings.data_root, record, "build_features", **pieces)
    return record


def put_bundle(settings, bundle: Path) -> str:
    """Let the deployment have it; returns its hash."""
    sha256 = bundle_sha256(bundle)
    target = settings.data_root / "bundles" / sha256
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(bundle)
    return sha256


def predictions(settings, record, dataset=catalog.PREDICTIONS) -> pa.Table:
    """All rows, in the order of the files."""
    piece = StageRecord.read(settings.data_root, record, "score_customers").pieces[dataset.name]
    files = [settings.data_root / file.path for file in piece.files]
    rows = pa.concat_tables(pq.read_table(file) for file in files).combine_chunks()
    # Whether a column could hold nulls is the engine's guess.
    return rows.cast(pa.schema([field.with_nullable(True) for field in rows.schema]))


@dataclass
class Night:
    """A night that has been scored; tests look at it and change nothing."""

    settings: Settings
    customers: dict[str, np.ndarray]
    record: RunRecord
    facts: dict

    @property
    def predictions(self) -> pd.DataFrame:
        return predictions(self.settings, self.record).to_pandas()


@pytest.fixture(scope="module")
def night(spark, bundle, tmp_path_factory) -> Night:
    """300 customers, number 7 without a recency and so not scorable."""
    settings = Settings(data_root=tmp_path_factory.mktemp("night"))
    rows = customers(300, seed=9)
    rows["recency_days"][7] = np.nan
    record = open_run(spark, settings, bundle, rows, run_id="r1")
    facts = score_customers.run(spark, settings, PARAMS, record)
    return Night(settings, rows, record, facts)


def test_everyone_gets_the_score_of_the_bundle_in_the_order_of_their_ids(night, bundle):
    found = predictions(night.settings, night.record).to_pylist()
    judged = read_bundle(bundle, night.record.bundle_sha256)
    expected = score(pa.table(night.customers), judged, reasons=3).to_pylist()
    for i, row in enumerate(found):
        assert row["customer_id"] == night.customers["customer_id"][i]
        if i != 7:
            assert row.items() >= (expected[i] | {"status": "scored"}).items()
    assert len(found) == 300


@pytest.fixture(scope="module")
def seasonal(bundle, tmp_path_factory) -> Path:
    """The same model, with three times the odds on this night."""
    return with_season(bundle, tmp_path_factory.mktemp("season") / "bundle", NIGHT)


def test_a_season_moves_every_probability_and_leaves_places_decisions_and_reasons_alone(
    spark, night, seasonal
):
    record = open_run(spark, night.settings, seasonal, night.customers, run_id="seasonal")
    facts = score_customers.run(spark, night.settings, PARAMS, record)
    assert facts["season_step"] == pytest.approx(math.log(3), abs=0.01)
    before = night.predictions
    after = predictions(night.settings, record).to_pandas()
    assert after["status"].tolist() == before["status"].tolist()
    expected = moved(before["probability"].to_numpy(), facts["season_step"])
    assert after["probability"].to_numpy() == pytest.approx(expected, abs=1e-12)
    same = ["customer_id", "decile", "is_contacted", *score_customers.REASONS]
    pd.testing.assert_frame_equal(after[same], before[same])

    threshold = moved(night.facts["threshold"], facts["season_step"])
    assert facts["threshold"] == pytest.approx(threshold, abs=1e-11)
    assert facts["threshold_version"] == night.facts["threshold_version"]
    assert night.facts["season_step"] == 0.0


def test_each_of_two_models_is_moved_by_its_own_season(spark, night, bundle, seasonal):
    record = open_run(
        spark,
        *(night.settings, bundle, night.customers),
        run_id="of two",
        challenger=(seasonal, 50),
    )
    facts = score_customers.run(spark, night.settings, PARAMS, record)
    both = predictions(night.settings, record, catalog.ARM_SCORES).to_pandas()
    step = facts["challenger"]["season_step"]
    assert (facts["season_step"], step) == (0.0, pytest.approx(math.log(3), abs=0.01))
    expected = moved(both["champion_probability"].to_numpy(), step)
    assert both["challenger_probability"].to_numpy() == pytest.approx(expected, abs=1e-12)
    contacted = both["champion_is_contacted"].tolist()
    assert both["challenger_is_contacted"].tolist() == contacted
    assert any(contacted)
    assert facts["challenger"]["unfit"] == []


def test_who_cannot_be_scored_and_has_no_history_gets_the_prior(night, bundle):
    row = predictions(night.settings, night.record).to_pylist()[7]
    assert row["probability"] == read_bundle(bundle, night.record.bundle_sha256).base_rate
    assert row["status"] == "default"
    assert (row["reason_1"], row["reason_2"], row["reason_3"]) == (None, None, None)


def test_who_cannot_be_scored_is_whom_build_features_has_named(spark, settings, bundle):
    record = open_run(spark, settings, bundle, customers(50, seed=9), run_id="r1")
    described = StageRecord.read(settings.data_root, record, "build_features").pieces["features"]
    named = pa.table({"customer_id": ["c0003"]})
    unscorable = put_dataset(settings.data_root, record, catalog.UNSCORABLE.layout, named)
    pieces = {"features": described, "unscorable": unscorable}
    finish(settings.data_root, record, "build_features", **pieces)
    score_customers.run(spark, settings, PARAMS, record)
    found = predictions(settings, record).to_pylist()
    fallbacks = [row["customer_id"] for row in found if row["status"] != "scored"]
    assert fallbacks == ["c0003"]
    stage = StageRecord.read(settings.data_root, record, "score_customers")
    assert stage.inputs == {name: piece.sha256 for name, piece in pieces.items()}


def test_the_facts_add_up_and_are_kept(night):
    facts, root = night.facts, night.settings.data_root
    assert (facts["population"], facts["scored"]) == (300, 299)
    assert facts["fallback"] == {"previous": 0, "default": 1}
    assert sum(facts["score_histogram"]) == 300
    stage = StageRecord.read(root, night.record, "score_customers")
    assert stage.facts == facts
    built = StageRecord.read(root, night.record, "build_features").pieces
    assert built.keys() == {"features", "unscorable"}
    assert stage.inputs == {name: piece.sha256 for name, piece in built.items()}


def test_deciles_are_tenths_of_the_night_and_the_first_is_the_likeliest(night):
    found = night.predictions
    assert (found["decile"].min(), found["decile"].max()) == (1, 10)
    assert not found.groupby("probability")["decile"].nunique().gt(1).any()
    best = found.groupby("decile")["probability"].agg(["min", "max"])
    assert (best["min"].to_numpy()[:-1] > best["max"].to_numpy()[1:]).all()
    # Equal scores share a decile, the better one, so every tenth is reached or passed.
    for decile in range(1, 11):
        assert (found["decile"] <= decile).sum() >= 30 * decile


def test_those_are_contacted_whose_probability_reaches_the_threshold_but_the_control(night, bundle):
    threshold = read_bundle(bundle, night.record.bundle_sha256).threshold
    found = night.predictions
    control = is_control(found["customer_id"], PARAMS.decision.control_share)
    likely = found["probability"] >= threshold
    assert (found["is_control"] == control).all()
    assert (found["is_contacted"] == likely & ~control).all()
    assert (likely & control).any()
    assert night.facts["contacted"] == found["is_contacted"].sum() > 0


def test_files_and_batches_change_no_bit(spark, night, settings, bundle):
    reversed_rows = {name: column[::-1] for name, column in night.customers.items()}
    record = open_run(spark, settings, bundle, reversed_rows, run_id="many", files=23)
    scoring = PARAMS.scoring.model_copy(update={"batch_rows": 3})
    score_customers.run(spark, settings, PARAMS.model_copy(update={"scoring": scoring}), record)
    assert predictions(settings, record) == predictions(night.settings, night.record)


def test_who_cannot_be_scored_keeps_the_previous_score_but_not_a_previous_prior(
    spark, night, bundle
):
    rows = customers(310, seed=6)
    for i in (3, 7, 305):
        rows["recency_days"][i] = np.nan
    record = open_run(
        spark,
        *(night.settings, bundle, rows),
        run_id="r2",
        night=NIGHT + timedelta(days=1),
        previous_run_id="r1",
    )
    facts = score_customers.run(spark, night.settings, PARAMS, record)

    found = predictions(night.settings, record).to_pylist()
    before = night.predictions["probability"]
    assert (found[3]["status"], found[3]["probability"]) == ("previous", before[3])
    # 7 was a fallback the night before, 305 was not there.
    assert [found[i]["status"] for i in (4, 7, 305)] == ["scored", "default", "default"]
    assert facts["fallback"] == {"previous": 1, "default": 2}


def test_few_customers_are_scored_without_java_also_when_their_activity_is_long(
    spark, settings, bundle
):
    record = open_run(spark, settings, bundle, customers(20, seed=8), run_id="r1")
    # So much activity that the night's other jobs get Apache Spark.
    record = record.model_copy(update={"engine": "local[*]"})
    record.write(settings.data_root)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "jobs.score_customers",
            "--score-date",
            str(NIGHT),
            "--run-id",
            "r1",
        ],
        env=os.environ | {"SCORING_DATA_ROOT": str(settings.data_root), "SCORING_SPARK": "auto"},
        check=True,
        capture_output=True,
    )
    engine = StageRecord.read(settings.data_root, record, "score_customers").engine
    assert engine.startswith("Sail")


def test_a_damaged_bundle_stops_the_night_before_anything_is_written(spark, settings, bundle):
    record = open_run(spark, settings, bundle, customers(20, seed=8), run_id="r1")
    link = settings.data_root / "bundles" / record.bundle_sha256
    link.unlink()
    link.mkdir()
    (link / "model.ubj").write_bytes(b"not a model")
    with pytest.raises(BundleRefused, match=record.bundle_sha256):
        score_customers.run(spark, settings, PARAMS, record)
    assert not catalog.PREDICTIONS.partition(settings.data_root, **record.key).exists()


def test_a_previous_run_that_the_lake_no_longer_has_is_named(spark, settings, bundle):
    rows = customers(20, seed=8)
    record = open_run(spark, settings, bundle, rows, run_id="r1", previous_run_id="gone")
    with pytest.raises(FileNotFoundError, match="no record of run gone"):
        score_customers.run(spark, settings, PARAMS, record)


@pytest.mark.parametrize(("harm", "error"), HARMS)
def test_features_that_are_not_as_they_were_written_are_not_scored(
    spark, settings, bundle, harm, error
):
    record = open_run(spark, settings, bundle, customers(20, seed=8), run_id="r1", files=2)
    described = StageRecord.read(settings.data_root, record, "build_features").pieces["features"]
    harm(settings.data_root / described.files[1].path)

    with pytest.raises(error, match=rf"^1 of 2 files.*{described.files[1].path}.*build_features"):
        score_customers.run(spark, settings, PARAMS, record)

    assert not (settings.data_root / "lake/predictions").exists()


@pytest.mark.parametrize(("harm", "error"), HARMS)
def test_previous_scores_that_are_not_as_they_were_written_are_not_kept(
    spark, settings, bundle, harm, error
):
    rows = customers(20, seed=8)
    before = open_run(spark, settings, bundle, rows, run_id="r1")
    scored = put_dataset(
        settings.data_root,
        before,
        catalog.PREDICTIONS_LAYOUT,
        published_predictions(*rows["customer_id"]),
    )
    finish(settings.data_root, before, "score_customers", predictions=scored)
    record = open_run(
        spark,
        *(settings, bundle, rows),
        run_id="r2",
        night=NIGHT + timedelta(days=1),
        previous_run_id="r1",
    )
    path = settings.data_root / scored.files[0].path
    harm(path)

    with pytest.raises(error, match=rf"{path}.*{before.command('score_customers')}.*earlier night"):
        score_customers.run(spark, settings, PARAMS, record)
    assert not catalog.PREDICTIONS.partition(settings.data_root, **record.key).exists()


def test_workers_read_the_features_and_the_model_once(
    spark, settings, bundle, tmp_path, monkeypatch
):
    reads = Counter()

    def counted(function: Callable) -> Callable:
        def call(*arguments):
            reads[function.__name__] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(batches, "read_bundle", counted(batches.read_bundle))
    monkeypatch.setattr(Chunk, "read", counted(Chunk.read))
    # No other test has read this one.
    own = with_slope(bundle, tmp_path / "bundle", 0.7)
    record = open_run(spark, settings, own, customers(50, seed=3), run_id="counted", files=7)
    score_customers.run(spark, settings, PARAMS, record)
    assert reads == {"read_bundle": 1, "read": 7}


@pytest.mark.parametrize("reasons", [0, 1, 3])
def test_a_batch_has_as_many_reasons_as_asked_for(bundle, reasons):
    rows = pa.table({**customers(30, seed=7), "is_scorable": [True] * 29 + [False]})
    scorer = batch_scorer(bundle, bundle_sha256(bundle), NIGHT, reasons)
    [scored] = scorer(iter(rows.to_batches()))
    for rank in (1, 2, 3):
        assert scored[f"reason_{rank}"].null_count == (1 if rank <= reasons else 30)
    assert scored["probability"].null_count == 1


def with_slope(bundle: Path, folder: Path, factor: float) -> Path:
    """The same model with its calibrated log-odds stretched: 0 is one score for all, -1 inverts."""
    shutil.copytree(bundle, folder)
    model = read_bundle(bundle, bundle_sha256(bundle))
    slope = model.calibration.slope * factor
    model = replace(model, calibration=replace(model.calibration, slope=slope))
    golden = pq.read_table(folder / "golden_rows.parquet").drop_columns("probability")
    expected = score(golden, model, reasons=0)["probability"]
    pq.write_table(golden.append_column("probability", expected), folder / "golden_rows.parquet")
    description = read_json(folder / "bundle.json")
    description["calibration"]["slope"] = slope
    # The same customers lie above it as above the champion's, unless the order is another.
    threshold, start = description["threshold"], model.calibration.intercept
    moved = start + factor * (np.log(threshold / (1 - threshold)) - start)
    changed = {"threshold": 1 / (1 + np.exp(-moved)), "threshold_version": f"slope{factor}"}
    write_json(folder / "bundle.json", description | changed)
    return folder


@pytest.fixture(scope="module")
def tried_on(spark, bundle, night, tmp_path_factory):
    """Scores the night again with a challenger (its slope, its percent); facts and record."""

    def run(factor: float, percent: int, run_id: str, batch_rows=65536, **options):
        folder = with_slope(bundle, tmp_path_factory.mktemp("challenger") / "bundle", factor)
        record = open_run(
            spark,
            *(night.settings, bundle, night.customers),
            run_id=run_id,
            challenger=(folder, percent),
            **options,
        )
        scoring = PARAMS.scoring.model_copy(update={"batch_rows": batch_rows})
        params = PARAMS.model_copy(update={"scoring": scoring})
        return score_customers.run(spark, night.settings, params, record), record, folder

    return run


def test_the_challenger_serves_its_share_and_leaves_everybody_else_alone(night, tried_on):
    facts, record, folder = tried_on(0.9, 20, "served")

    before = night.predictions
    after = predictions(night.settings, record).to_pandas()
    both = predictions(night.settings, record, catalog.ARM_SCORES).to_pandas()
    in_share = np.array([bucket(name, "v1.1.0") < 20 for name in before["customer_id"]])
    in_share[7] = False  # cannot be scored
    assert 30 < in_share.sum() < 90
    pd.testing.assert_frame_equal(after[~in_share], before[~in_share], check_exact=True)

    served, tried = after[in_share], read_bundle(folder, bundle_sha256(folder))
    expected = score(pa.table(night.customers), tried, reasons=3).to_pandas()
    for name in ("probability", "reason_1", "reason_2", "reason_3"):
        assert served[name].tolist() == expected[name][in_share].tolist()
    assert set(served["arm"]) == {"challenger"}
    assert set(served["status"]) == {"scored"}
    contacted = (served["probability"] >= tried.threshold) & ~served["is_control"]
    assert served["is_contacted"].tolist() == contacted.tolist()
    assert (served["is_control"] & (served["probability"] >= tried.threshold)).any()
    # A decile is the place among everybody; another slope changes nobody's place but 7's.
    assert (served["decile"] == before["decile"][in_share]).mean() > 0.9

    assert both["customer_id"].tolist() == before["customer_id"].tolist()
    assert both["champion_probability"].tolist() == before["probability"].tolist()
    assert both["champion_is_contacted"].tolist() == before["is_contacted"].tolist()
    everybody = expected["probability"].where(before["status"] == "scored", tried.base_rate)
    assert both["challenger_probability"].tolist() == everybody.tolist()
    assert not both.isna().any(axis=None)

    found = facts["challenger"]
    assert (found["served"], found["percent"], found["unfit"]) == (in_share.sum(), 20, [])
    assert found["threshold_version"] == "slope0.9"
    assert sum(map(sum, found["seen"]["deciles"])) == 299
    assert facts["population"] == 300
    assert facts["contacted"] == after["is_contacted"].sum()


def test_files_and_batches_change_no_bit_of_two_models(night, tried_on):
    _, record, _ = tried_on(0.9, 20, "whole")
    _, other, _ = tried_on(0.9, 20, "in pieces", batch_rows=7, files=11)
    for dataset in (catalog.PREDICTIONS, catalog.ARM_SCORES):
        pieces = predictions(night.settings, other, dataset)
        assert pieces == predictions(night.settings, record, dataset)


@pytest.mark.parametrize("percent", [0, 5])
@pytest.mark.parametrize(
    ("factor", "why"), [(0.0, "the same score"), (-1.0, "rank correlation of -")]
)
def test_a_poisoned_challenger_touches_nobody(night, tried_on, factor, why, percent):
    facts, record, _ = tried_on(factor, percent, f"poisoned-{factor}-{percent}")

    assert predictions(night.settings, record) == predictions(night.settings, night.record)
    found = facts["challenger"]
    assert (found["served"], found["percent"]) == (0, 0)
    assert why in " ".join(found["unfit"])
    assert predictions(night.settings, record, catalog.ARM_SCORES).num_rows == 300


def test_in_shadow_readers_get_what_they_would_have_got_without(night, tried_on):
    facts, record, _ = tried_on(0.9, 0, "shadow")
    assert predictions(night.settings, record) == predictions(night.settings, night.record)
    assert (facts["challenger"]["served"], facts["challenger"]["unfit"]) == (0, [])


def test_a_fallback_keeps_what_the_champion_said_not_the_challenger(spark, night, bundle, tried_on):
    facts, tried, _ = tried_on(0.9, 100, "wholly")
    assert facts["challenger"]["served"] > 290
    said = predictions(night.settings, tried, catalog.ARM_SCORES).to_pylist()[3]
    assert said["champion_probability"] != said["challenger_probability"]
    rows = customers(300, seed=6)
    rows["recency_days"][3] = np.nan
    record = open_run(
        spark,
        *(night.settings, bundle, rows),
        run_id="after",
        night=NIGHT + timedelta(days=1),
        previous_run_id="wholly",
    )
    score_customers.run(spark, night.settings, PARAMS, record)
    found = predictions(night.settings, record).to_pylist()[3]
    assert (found["status"], found["probability"]) == ("previous", said["champion_probability"])


def test_a_challenger_that_fails_while_scoring_scores_nobody_and_the_champion_everybody(bundle):
    trusted = (bundle, bundle_sha256(bundle))
    rows = pa.table(
        {**customers(30, seed=7), "is_scorable": [True] * 30, "in_share": [True] * 30}
    ).to_batches()
    [alone] = batch_scorer(*trusted, NIGHT, 3)(iter(rows))
    [paired] = pair_scorer(trusted, (bundle, "not its hash"), NIGHT, 3)(iter(rows))
    for name in alone.schema.names:
        assert paired[name] == alone[name]
    for name in ("probability", "reason_1", "reason_3"):
        assert paired[f"challenger_{name}"].null_count == 30


def test_a_challenger_that_cannot_be_loaded_is_tried_once_not_with_every_batch(
    bundle, tmp_path, caplog
):
    absent = (tmp_path / "absent", "its hash")
    trusted = (bundle, bundle_sha256(bundle))
    rows = pa.table(
        {**customers(30, seed=7), "is_scorable": [True] * 30, "in_share": [True] * 30}
    ).to_batches(max_chunksize=10)
    for _ in range(2):
        for paired in pair_scorer(trusted, absent, NIGHT, 3)(iter(rows)):
            assert paired["challenger_probability"].null_count == 10
    assert caplog.text.count("cannot be loaded") == 1
    assert "BundleRefused" in caplog.text


def test_spark_puts_a_customer_where_python_does(spark):
    names = [*(f"c{n}" for n in range(300)), "", " ", "Ünï", "名", "a:b", "'\\"]
    rows = spark.createDataFrame([(name,) for name in names], "customer_id string")
    control = control_column(0.3).alias("is_control")
    found = rows.select("customer_id", bucket_column("v1.1.0").alias("bucket"), control).collect()
    assert {row.customer_id: row.bucket for row in found} == {
        name: bucket(name, "v1.1.0") for name in names
    }
    assert [row.is_control for row in found] == is_control(names, 0.3).tolist()
