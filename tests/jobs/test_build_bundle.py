"""From a training set to a bundle: the simplest kind that is not clearly beaten, of any shop."""

import math
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs import build_bundle, evaluate_model, train_model
from lake import read_json, write_json
from models.apply import score
from models.bundle import read_bundle, read_holdout
from models.bundle_hash import bundle_sha256
from models.fit import FittedModel
from models.gate import judge_challenger
from models.golden import GoldenRun
from models.metrics import JUDGED, KINDS, LIVE
from models.season import SEASON, YEAR, moved
from params import Params, read_params


def params() -> Params:
    ours = read_params()
    return ours.model_copy(
        update={
            "training": ours.training.model_copy(
                update={"holdout_count": 1, "calibration_count": 2, "bootstrap_rounds": 50}
            ),
            "model": ours.model.model_copy(update={"max_rounds": 30}),
            "drift": ours.drift.model_copy(update={"placebo_nights": 50}),
        }
    )


def hump(recency: np.ndarray, _spend: np.ndarray) -> np.ndarray:
    """Those buy whose last purchase is neither new nor old, which only trees can say."""
    return np.where((recency > 100) & (recency < 200), 0.9, 0.1)


def falling(recency: np.ndarray, _spend: np.ndarray) -> np.ndarray:
    """The longer ago the last purchase, the fewer buy: all is said by a table of recency."""
    return np.where(recency < 60, 0.6, np.where(recency < 150, 0.3, 0.05))


def spending(recency: np.ndarray, spend: np.ndarray) -> np.ndarray:
    """Those buy who have spent much, and lately: a line says it."""
    return 1 / (1 + np.exp(0.9 * np.log1p(recency) - 1.5 * np.log1p(spend)))


def nothing(recency: np.ndarray, _spend: np.ndarray) -> np.ndarray:
    """Nobody knows who buys."""
    return np.full(len(recency), 0.3)


def certain(recency: np.ndarray, _spend: np.ndarray) -> np.ndarray:
    """All buy again within 100 days of their last purchase, and nobody later."""
    return (recency < 100).astype(float)


def write_inputs(
    artifacts, chance=hump, customers: int = 500, season: dict[str, dict] | None = None
) -> None:
    """A training set in which ``chance`` says who buys."""
    random = np.random.default_rng(2)
    parts = []
    for i in range(5):
        day = pa.array([date(2026, 1, 1) + timedelta(30 * i)] * customers, pa.date32())
        recency = random.integers(0, 300, customers).astype(float)
        spend = np.round(random.lognormal(2, 1.5, customers), 2)
        parts.append(
            pa.table(
                {
                    "as_of": day,
                    "customer_id": [f"c{n:03}" for n in range(customers)],
                    "recency_days": recency,
                    "spend_365d": spend,
                    "country": random.choice(["Norway", "Spain"], customers),
                    "label": (random.random(customers) < chance(recency, spend)).astype("int32"),
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
    write_json(folder / SEASON, season or {})


def train(artifacts) -> dict:
    train_model.run(params(), artifacts)
    evaluate_model.run(params(), artifacts)
    return build_bundle.run(params(), artifacts)


def test_trees_that_know_more_become_a_bundle(tmp_path):
    write_inputs(tmp_path)
    facts = train(tmp_path)
    description = read_json(tmp_path / "bundle" / "bundle.json")
    assert description["kind"] == facts["kind"] == "xgboost"
    assert description["threshold"] == facts["threshold"]
    assert description["origin"]["as_of"]["holdout"] == ["2026-05-01"]
    assert description["origin"]["training_until"] == "2026-05-31"
    assert description["origin"]["as_of"]["live"][-1] == "2026-05-01"
    card = (tmp_path / "bundle" / "model_card.md").read_text()
    assert "Left out, neither teaching nor judging: 2025-12-02, too little history." in card


def seasons() -> dict[str, dict[str, int]]:
    """A year before the dates of training: a quarter bought, then more every 30 days."""
    days = [date(2026, 1, 1) + timedelta(30 * n) - YEAR for n in range(17)]
    return {
        str(day): {"customers": 4000, "came_true": 1000 + 100 * n} for n, day in enumerate(days)
    }


def test_a_season_is_in_the_bundle_and_on_its_card_and_moves_what_is_judged(tmp_path):
    write_inputs(tmp_path / "plain")
    write_inputs(tmp_path / "seasonal", season=seasons())
    train(tmp_path / "plain")
    train(tmp_path / "seasonal")
    folder = tmp_path / "seasonal" / "bundle"
    bundle = read_bundle(folder, bundle_sha256(folder))
    assert bundle.season.calibrated_on == tuple(
        date.fromisoformat(day) for day in read_json(folder / "bundle.json")["calibrated_on"]
    )

    steps = read_json(folder / "bundle.json")["season"]
    assert next(iter(steps)) == "2026-06-01"
    assert list(steps.values()) == sorted(steps.values())
    assert list(steps)[-1] == "2027-04-01"
    assert bundle.season.step(date(2026, 6, 1)) == steps["2026-06-01"] > 0
    card = (folder / "model_card.md").read_text()
    assert f"| 2026-12-01 | {math.exp(steps['2026-12-01']):.2f} |" in card
    plain = (tmp_path / "plain" / "bundle" / "model_card.md").read_text()
    assert "Probabilities have the level of the newest weeks all year round" in plain

    kind = f"{JUDGED}{bundle.kind}"
    before, after = (
        pq.read_table(tmp_path / name / "model" / "holdout_predictions.parquet")[kind].to_numpy()
        for name in ("plain", "seasonal")
    )
    step = bundle.judged.season.step(date(2026, 5, 1))
    assert step > 0
    assert after == pytest.approx(moved(before, step), abs=1e-12)

    before, after = (
        pq.read_table(tmp_path / name / "model" / "unseen_predictions.parquet")
        for name in ("plain", "seasonal")
    )
    kind = f"{LIVE}{bundle.kind}"
    expected = bundle.season.move(before[kind].to_numpy(), before["as_of"])
    assert after[kind].to_numpy() == pytest.approx(expected, abs=1e-12)
    assert after[kind].to_numpy().mean() < before[kind].to_numpy().mean()


def test_the_live_fit_has_learnt_what_happened_last_and_the_judged_one_has_not(tmp_path):
    """On the newest date everybody does the opposite."""
    write_inputs(tmp_path)
    path = tmp_path / "training_set" / "training_set.parquet"
    rows = pq.read_table(path)
    newest = pc.equal(rows["as_of"], pc.max(rows["as_of"]))
    turned = pc.if_else(newest, pc.subtract(pa.scalar(1, pa.int32()), rows["label"]), rows["label"])
    pq.write_table(rows.set_column(rows.column_names.index("label"), "label", turned), path)
    train_model.run(params(), tmp_path)
    fits = [FittedModel.read(tmp_path / "model" / "xgboost" / fit) for fit in ("judged", "live")]
    often = pa.table({"recency_days": [150.0], "spend_365d": [8.0], "country": ["Norway"]})
    judged, live = (score(often, fit, reasons=0)["probability"][0].as_py() for fit in fits)
    assert judged > 0.85
    assert live < judged - 0.1


def test_an_estimate_reaches_as_far_as_the_dates_of_the_training_lie_apart(tmp_path):
    """More buy on every other date, which no feature says; the newest date is like the first."""
    write_inputs(tmp_path)
    path = tmp_path / "training_set" / "training_set.parquet"
    rows = pq.read_table(path).to_pandas()
    odd = rows["as_of"].isin(sorted(rows["as_of"].unique())[1::2])
    rows.loc[odd & (rows["spend_365d"] > 10), "label"] = 1
    pq.write_table(pa.Table.from_pandas(rows, pq.read_schema(path)), path)
    train(tmp_path)
    bias = read_json(tmp_path / "bundle" / "estimate.json")
    shares = rows.groupby("as_of")["label"].mean()
    assert bias["reach"]["buyer_share"] == pytest.approx(1.96 * shares.std(), rel=0.2)


@pytest.mark.parametrize(
    ("chance", "kind"), [(falling, "recency"), (nothing, "recency"), (spending, "logistic")]
)
def test_the_simplest_kind_that_is_not_clearly_beaten_becomes_a_bundle_like_any_other(
    tmp_path, caplog, chance, kind
):
    write_inputs(tmp_path, chance)
    with caplog.at_level("INFO"):
        facts = train(tmp_path)
    assert facts["kind"] == kind
    assert f"Chosen: {KINDS[kind]}" in " ".join(caplog.text.split())

    folder = tmp_path / "bundle"
    assert {"model.json", "judged.json"} < {path.name for path in folder.iterdir()}
    assert not list(folder.glob("*.ubj"))
    bundle = read_bundle(folder, facts["bundle_sha256"])
    rows = read_holdout(folder)
    live, judged = (score(rows, fit, reasons=3) for fit in (bundle, bundle.judged))
    assert live != judged
    assert all(live["reason_1"].is_valid())
    card = " ".join((folder / "model_card.md").read_text().split())
    assert f"The model, {KINDS[kind]}, was fitted twice" in card
    assert f"Chosen: {KINDS[kind]}, the simplest" in card
    assert read_json(folder / "bundle.json")["hears"]["power"]["recency_days"]

    again = tmp_path / "again"
    again.mkdir()
    write_inputs(again, chance)
    assert train(again)["bundle_sha256"] == facts["bundle_sha256"]


def test_a_tiny_shop_with_few_buyers_gets_a_model_that_can_score(tmp_path):
    write_inputs(tmp_path, lambda recency, _: np.where(recency < 90, 0.15, 0.02), customers=60)
    facts = train(tmp_path)
    bundle = read_bundle(tmp_path / "bundle", facts["bundle_sha256"])
    rows = read_holdout(bundle.folder)
    scores = score(rows, bundle, reasons=1)["probability"].to_numpy()
    assert len(set(scores)) > 1
    golden = GoldenRun(seconds=1.0, mebibytes=100.0, error=None)
    verdict = judge_challenger(bundle, None, rows, golden, params())
    assert verdict.is_passed, verdict.reasons


def test_a_shop_that_can_be_predicted_wholly_gets_a_model_that_is_never_certain(tmp_path):
    write_inputs(tmp_path, certain)
    facts = train(tmp_path)
    bundle = read_bundle(tmp_path / "bundle", facts["bundle_sha256"])
    rows = read_holdout(bundle.folder)
    scores = score(rows, bundle, reasons=0)["probability"].to_numpy()
    assert 0.0001 < scores.min() < scores.max() < 0.9999
    assert ((scores > 0.5) == rows["label"].to_numpy()).all()


def test_where_nobody_knows_who_buys_no_model_turns_the_order_around(tmp_path):
    """By chance customers kept apart behave against what the others have taught."""
    write_inputs(tmp_path, nothing, customers=150)
    train_model.run(params(), tmp_path)
    slopes = {
        (kind, fit): FittedModel.read(tmp_path / "model" / kind / fit).calibration.slope
        for kind in KINDS
        for fit in ("judged", "live")
    }
    assert min(slopes.values()) == 0


def test_parameters_that_only_scoring_reads_do_not_change_the_hash():
    ours = params()
    scoring = ours.scoring.model_copy(update={"reasons": not ours.scoring.reasons})
    decision = ours.decision.model_copy(update={"contact_share": 0.5})
    before = build_bundle.training_params_sha256(ours, "generated")
    for changed, equal in (({"scoring": scoring}, True), ({"decision": decision}, False)):
        after = build_bundle.training_params_sha256(ours.model_copy(update=changed), "generated")
        assert (after == before) is equal
