"""A night of scoring for the benchmarks: a shop with features and a full-sized model, and the job.

    python -m benchmarks.scoring --folder data/scoring --rows 1000000 --compute "embedded, reasons"

Makes a shop of that many customers in ``folder`` (kept for the next time) with a model of 34
features, and scores it the way the job does: reading, checking, fallbacks from the night before,
deciles, sorted files.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import catalog
from features.build import FEATURE_NAMES
from lake import describe_piece, read_json, write_json
from models.metrics import XGBOOST
from params import read_params
from records import RunRecord, StageRecord
from settings import Settings

BEFORE, TONIGHT = date(2026, 7, 31), date(2026, 8, 1)
FILES = 8


def customers(first: int, count: int) -> dict[str, np.ndarray]:
    """Features that keep every promise; whose last purchase is neither new nor old will buy."""
    random = np.random.default_rng(first)
    features = {name: random.integers(0, 8, count).astype(float) for name in FEATURE_NAMES}
    between = [name for name in FEATURE_NAMES if "_share" in name or "_trend" in name]
    features |= {name: random.random(count) for name in between}
    features["recency_days"] = random.integers(0, 300, count).astype(float)
    features["tenure_days"] = features["recency_days"] + random.integers(0, 300, count)
    for subject in ("purchase_days", "invoices", "products", "spend", "returned"):
        windows = [f"{subject}_{days}d" for days in (7, 30, 90, 365)]
        for shorter, longer in pairwise(windows):
            features[longer] = features[shorter] + features[longer]
    features["country"] = random.choice(["Norway", "Spain"], count)
    ids = [f"c{number:08}" for number in range(first, first + count)]
    return {"customer_id": np.array(ids), **features}


def make_bundle(folder: Path, record_customers: Callable[[Path], None] | None = None) -> Path:
    """A bundle of a full-sized model, by the real jobs.

    Args:
        record_customers: Writes those whose features every night must find again into a folder.
    """
    from jobs import build_bundle, evaluate_model, train_model

    parts = []
    for number in range(8):
        rows = customers(number * 4000, 4000)
        random = np.random.default_rng(number)
        odds = (
            np.sin(rows["recency_days"] / 40) + 0.2 * rows["spend_30d"] - rows["invoices_90d"] / 9
        )
        label = random.random(4000) < 1 / (1 + np.exp(-odds))
        as_of = pa.array([date(2026, 1, 1) + timedelta(days=30 * number)] * 4000, pa.date32())
        parts.append(pa.table({"as_of": as_of, **rows, "label": label.astype("int32")}))
    training_set = folder / "training_set"
    training_set.mkdir(parents=True)
    pq.write_table(pa.concat_tables(parts), training_set / "training_set.parquet")
    if record_customers is None:
        for name in ("golden_activity.parquet", "golden_features.parquet"):
            pq.write_table(parts[0].slice(0, 3), training_set / name)
    else:
        record_customers(training_set)
    write_json(training_set / "left_out.json", {})
    window = {"source": "generated", "training_until": "2026-07-31"}
    write_json(folder / "training_window.json", window)
    params = read_params()
    few = params.training.model_copy(update={"as_of_count": 8, "bootstrap_rounds": 20})
    quick = params.drift.model_copy(update={"placebo_nights": 20})
    params = params.model_copy(update={"training": few, "drift": quick})
    for job in (train_model, evaluate_model, build_bundle):
        job.run(params, folder)
    if (kind := read_json(folder / "bundle" / "bundle.json")["kind"]) != XGBOOST:
        raise RuntimeError(f"trees were to be measured, but the training chose {kind}")
    return folder / "bundle"


def run_record(night: date, run_id: str, bundle_sha256: str, previous: str | None) -> RunRecord:
    """A run as far as scoring looks at it."""
    return RunRecord(
        run_id=run_id,
        score_date=night,
        source="generated",
        intakes={},
        files=[],
        params=read_params().model_dump(mode="json"),
        model_name="repurchase",
        model_version="v1.0.0",
        bundle_sha256=bundle_sha256,
        features_sha256="f",
        code_sha256="a",
        params_sha256="p",
        code_version="c",
        previous_run_id=previous,
        reason="benchmark",
    )


def make_shop(root: Path, rows: int) -> None:
    """Two nights of the same customers, the first one scored already, unless they are there."""
    from models.bundle_hash import bundle_sha256

    if (root / "ready").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    bundle = make_bundle(root / "artifacts")
    sha256 = bundle_sha256(bundle)
    shutil.copytree(bundle, root / "bundles" / sha256)
    for night, run_id, previous in ((BEFORE, "before", None), (TONIGHT, "tonight", "before")):
        record = run_record(night, run_id, sha256, previous)
        record.write(root)
        folder = root / catalog.FEATURES_LAYOUT.format(**record.key)
        folder.mkdir(parents=True)
        paths = []
        for number, part in enumerate(np.array_split(np.arange(rows), FILES)):
            paths.append(folder / f"part-{number:05}.parquet")
            pq.write_table(pa.table(customers(int(part[0]), len(part))), paths[-1])
        features = describe_piece(root, paths)
        place = catalog.UNSCORABLE.partition(root, **record.key)
        place.mkdir(parents=True)
        pq.write_table(pa.table({"customer_id": pa.array([], pa.string())}), place / "none.parquet")
        pieces = {
            "features": features,
            "unscorable": describe_piece(root, [place / "none.parquet"]),
        }
        described = StageRecord(stage="build_features", seconds=0, facts={}, pieces=pieces)
        described.write(root, record)
    compute(root, BEFORE, "before", "embedded", reasons=False)
    (root / "ready").touch()


def compute(root: Path, night: date, run_id: str, engine: str, *, reasons: bool) -> None:
    """One run of the job, as the command line starts it."""
    from jobs import score_customers
    from jobs.session import job_session
    from jobs.sizes import population_rows

    settings = Settings(data_root=root, spark_embedded_memory="8g")
    params = read_params()
    scoring = params.scoring.model_copy(update={"reasons": reasons})
    params = params.model_copy(update={"scoring": scoring})
    record = RunRecord.read(root, night, run_id)
    rows = population_rows(settings, record)
    with job_session(settings, "score_customers", engine, rows) as spark:
        facts = score_customers.run(spark, settings, params, record)
    print(json.dumps({"rows": facts["population"]}), flush=True)


def main() -> None:
    """Score once, one way: an engine, or an engine and ``, reasons``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--compute", required=True, metavar="WAY")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    make_shop(root, arguments.rows)
    engine, _, reasons = arguments.compute.partition(", ")
    compute(root, TONIGHT, "tonight", engine, reasons=bool(reasons))


if __name__ == "__main__":
    main()
