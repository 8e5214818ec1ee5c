"""The gate of a first model is real: what does not beat the baselines becomes no bundle."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs import build_bundle, evaluate_model, train_model
from lake import read_json, write_json
from models.apply import score
from models.bundle import read_bundle
from params import Params, read_params


def params() -> Params:
    ours = read_params()
    return ours.model_copy(
        update={
            "training": ours.training.model_copy(
                update={"holdout_count": 1, "calibration_count": 2, "bootstrap_rounds": 50}
            ),
            "model": ours.model.model_copy(update={"max_rounds": 30}),
        }
    )


def write_inputs(artifacts, shuffled: bool) -> None:
    """Those buy whose last purchase is neither new nor old; or, shuffled, anybody."""
    random = np.random.default_rng(2)
    parts = []
    for i in range(5):
        recency = random.integers(0, 300, 500).astype(float)
        label = random.random(500) < np.where((recency > 100) & (recency < 200), 0.9, 0.1)
        parts.append(
            pa.table(
                {
                    "as_of": pa.array([date(2026, 1, 1) + timedelta(30 * i)] * 500, pa.date32()),
                    "customer_id": [f"c{n:03}" for n in range(500)],
                    "recency_days": recency,
                    "country": ["Norway", "Spain"] * 250,
                    "label": (random.permutation(label) if shuffled else label).astype("int32"),
                }
            )
        )
    folder = artifacts / "training_set"
    folder.mkdir(parents=True)
    pq.write_table(pa.concat_tables(parts), folder / "training_set.parquet")
    for name in ("golden_activity.parquet", "golden_features.parquet"):
        pq.write_table(parts[0].slice(0, 3), folder / name)
    window = {"source": "generated", "training_until": "2026-05-31"}
    write_json(artifacts / "training_window.json", window)
    write_json(folder / "left_out.json", {"2025-12-02": "12 of 365 days of deliveries"})


def train(artifacts) -> dict:
    train_model.run(params(), artifacts)
    evaluate_model.run(params(), artifacts)
    return build_bundle.run(params(), artifacts)


def test_a_model_that_knows_more_than_the_baselines_becomes_a_bundle(tmp_path):
    write_inputs(tmp_path, shuffled=False)
    facts = train(tmp_path)
    description = read_json(tmp_path / "bundle" / "bundle.json")
    assert description["threshold"] == facts["threshold"]
    assert description["origin"]["as_of"]["holdout"] == ["2026-05-01"]
    assert description["origin"]["training_until"] == "2026-05-31"
    assert description["origin"]["as_of"]["live"][-1] == "2026-05-01"
    card = (tmp_path / "bundle" / "model_card.md").read_text()
    assert "Left out, neither teaching nor judging: 2025-12-02, too little history." in card


def test_the_live_fit_has_learnt_what_happened_last_and_the_judged_one_has_not(tmp_path):
    """On the newest date everybody does the opposite."""
    write_inputs(tmp_path, shuffled=False)
    path = tmp_path / "training_set" / "training_set.parquet"
    rows = pq.read_table(path)
    newest = pc.equal(rows["as_of"], pc.max(rows["as_of"]))
    turned = pc.if_else(newest, pc.subtract(pa.scalar(1, pa.int32()), rows["label"]), rows["label"])
    pq.write_table(rows.set_column(rows.column_names.index("label"), "label", turned), path)
    facts = train(tmp_path)
    bundle = read_bundle(tmp_path / "bundle", facts["bundle_sha256"])
    often = pa.table({"recency_days": [150.0], "country": ["Norway"]})
    judged, live = (
        score(often, fit, reasons=0)["probability"][0].as_py() for fit in (bundle.judged, bundle)
    )
    assert judged > 0.85
    assert live < judged - 0.1
    assert bundle.judged.learnt_on[-1] == date(2026, 4, 1)


def test_the_bundle_of_a_model_of_shuffled_labels_says_that_it_is_no_better(tmp_path):
    write_inputs(tmp_path, shuffled=True)
    train(tmp_path)
    assert read_json(tmp_path / "bundle" / "metrics.json")["is_better"] is False


def test_parameters_that_only_scoring_reads_do_not_change_the_hash():
    ours = params()
    scoring = ours.scoring.model_copy(update={"reasons": not ours.scoring.reasons})
    decision = ours.decision.model_copy(update={"contact_share": 0.5})
    before = build_bundle.training_params_sha256(ours, "generated")
    for changed, equal in (({"scoring": scoring}, True), ({"decision": decision}, False)):
        after = build_bundle.training_params_sha256(ours.model_copy(update=changed), "generated")
        assert (after == before) is equal
