"""The gate: who may score beside the champion, on rows that neither has seen, and why not."""

import json
import math
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from markupsafe import escape
from sklearn.metrics import log_loss

from models.apply import score
from models.bundle import Bundle, Judged
from models.calibration import Calibration
from models.control import is_control
from models.fit import Recipe, fit_model, rows_of
from models.gate import (
    REFUSED_SHARE,
    GateVerdict,
    gate_page,
    judge_challenger,
    judge_slices,
    rows_unseen,
)
from models.golden import GoldenRun
from models.judge import judge_rows
from models.metrics import XGBOOST
from models.packing import contact_threshold
from models.season import YEAR, Season, moved
from models.split import Split, split_by_time
from params import FIRST_QUESTION, Question, read_params
from tests.models.conftest import AS_OF

PARAMS = read_params()
PARAMS = PARAMS.model_copy(
    update={
        "gate": PARAMS.gate.model_copy(update={"rounds": 60, "group_columns": ["country"]}),
    }
)
SPLIT = split_by_time(AS_OF, horizon_days=30, holdout_count=2)
GOLDEN = GoldenRun(seconds=3.0, mebibytes=300.0, error=None)


def fitted(training_set: pa.Table, rounds: int, split: Split = SPLIT) -> Bundle:
    """A model of at most ``rounds`` trees, as read from its bundle; one fit stands for both."""
    grown = PARAMS.model.model_copy(update={"max_rounds": rounds})
    model = fit_model(training_set, split.fit, XGBOOST, Recipe(2, None, grown, seed=1))
    holdout = rows_of(training_set, split.holdout)
    probability = score(holdout, model, reasons=0)["probability"].to_numpy()
    threshold = contact_threshold(probability, 0.2)
    return Bundle(
        folder=Path("nowhere"),
        sha256="a" * 64,
        model_name="repurchase",
        question=FIRST_QUESTION,
        schema=model.schema,
        estimator=model.estimator,
        calibration=model.calibration,
        base_rate=0.3,
        threshold=threshold,
        threshold_version="12345678",
        contact_share=0.2,
        season=Season(),
        judged=Judged(
            model.schema, model.estimator, model.calibration, threshold, Season(), split.fit
        ),
    )


def calibrated(bundle: Bundle, calibration: Calibration) -> Bundle:
    """The bundle with another calibration of both fits."""
    judged = replace(bundle.judged, calibration=calibration)
    return replace(bundle, calibration=calibration, judged=judged)


def taught(bundle: Bundle, *days: date) -> Bundle:
    """The bundle with a judged fit that has learnt on these dates."""
    return replace(bundle, judged=replace(bundle.judged, learnt_on=days))


@pytest.fixture(scope="module")
def rows(small_training_set) -> pa.Table:
    return rows_of(small_training_set, SPLIT.holdout)


@pytest.fixture(scope="module")
def strong(small_training_set) -> Bundle:
    return fitted(small_training_set, rounds=80)


@pytest.fixture(scope="module")
def weak(small_training_set) -> Bundle:
    return fitted(small_training_set, rounds=2)


def judged(challenger, champion, rows, golden=GOLDEN, params=PARAMS) -> GateVerdict:
    return judge_challenger(challenger, champion, rows, golden, params)


def broken(verdict: GateVerdict) -> list[str]:
    """The conditions that do not hold."""
    return [condition.name for condition in verdict.conditions if not condition.is_met]


def test_a_challenger_that_knows_more_passes(strong, weak, rows):
    verdict = judged(strong, weak, rows)
    assert broken(verdict) == []
    assert verdict.is_passed
    difference = verdict.metrics["difference"]["log_loss"]
    assert difference["high"] < 0
    assert verdict.metrics["holdout"]["rows"] == rows.num_rows
    assert "clearly better in log loss and PR AUC" in verdict.reasons[0]


def test_the_way_back_is_shut(strong, weak, rows):
    assert broken(judged(weak, strong, rows))[:2] == ["clearly better", "nowhere clearly worse"]


def test_a_tie_keeps_the_champion(strong, rows):
    verdict = judged(strong, strong, rows)
    assert broken(verdict) == ["clearly better"]
    assert "no clear improvement, so the champion stays" in verdict.reasons[0]


def test_each_is_judged_with_the_level_of_its_own_season(strong, rows):
    """On the newest date the champion's odds are three times what they should be."""
    newest = max(SPLIT.holdout)
    levels = {day - YEAR: 0.0 for day in (*SPLIT.fit, *SPLIT.holdout)} | {
        newest - YEAR: math.log(3)
    }
    season = Season(levels, SPLIT.fit)
    wrong = replace(strong, judged=replace(strong.judged, season=season))
    verdict = judged(strong, wrong, rows)
    assert verdict.metrics["difference"]["log_loss"]["high"] < 0
    assert verdict.is_passed

    probability = score(rows, strong.judged, reasons=0)["probability"].to_numpy()
    is_newest = np.array([day == newest for day in rows["as_of"].to_pylist()])
    expected = np.where(is_newest, moved(probability, math.log(3)), probability)
    found = verdict.metrics["champion"]["log_loss"]["value"]
    assert found == pytest.approx(log_loss(rows["label"].to_numpy(), expected), abs=1e-5)


@pytest.fixture(scope="module")
def misled(small_training_set, rows) -> Bundle:
    """A champion that takes those who spend much for those who buy, and contacts half of all."""
    spends = pc.greater(small_training_set["spend_365d"], 100.0).cast(pa.int32())
    at = small_training_set.column_names.index("label")
    bundle = fitted(small_training_set.set_column(at, "label", spends), rounds=20)
    bundle = calibrated(bundle, Calibration(0.4, 0.5))
    probability = score(rows, bundle.judged, reasons=0)["probability"].to_numpy()
    threshold = contact_threshold(probability, 0.5)
    judged = replace(bundle.judged, threshold=threshold)
    return replace(bundle, threshold=threshold, judged=judged)


def contacted_by(champion: Bundle, rows: pa.Table, control_share: float) -> pa.Table:
    """The rows as they come out when whom the champion would contact is contacted, and buys."""
    probability = score(rows, champion.judged, reasons=0)["probability"].to_numpy()
    held_back = is_control(rows["customer_id"].to_pylist(), control_share)
    bought = (probability >= champion.judged.threshold) & ~held_back
    label = np.where(bought, 1, rows["label"].to_numpy())
    at = rows.column_names.index("label")
    return rows.set_column(at, "label", pa.array(label, rows["label"].type))


def with_control(share: float, least: int = 20):
    decision = PARAMS.decision.model_copy(update={"control_share": share})
    performance = PARAMS.performance.model_copy(update={"min_control_buyers": least})
    return PARAMS.model_copy(update={"decision": decision, "performance": performance})


def test_where_a_contact_helps_a_better_challenger_wins_on_the_control_only(strong, misled, rows):
    assert judged(strong, misled, rows).is_passed

    nobody_held_back = judged(
        strong, misled, contacted_by(misled, rows, 0), params=with_control(0.0)
    )
    assert not nobody_held_back.is_by_control
    assert broken(nobody_held_back)[:2] == ["clearly better", "nowhere clearly worse"]

    some_held_back = judged(
        strong, misled, contacted_by(misled, rows, 0.3), params=with_control(0.3)
    )
    assert some_held_back.is_by_control
    assert some_held_back.metrics["holdout"]["rows"] < rows.num_rows / 2
    assert broken(some_held_back) == []
    # What would change is of interest for everybody.
    newest = pc.equal(rows["as_of"], SPLIT.holdout[-1])
    assert some_held_back.change.flips[0].customers == rows.filter(newest).num_rows


def test_a_control_of_too_few_buyers_judges_nobody(strong, weak, rows):
    verdict = judged(strong, weak, rows, params=with_control(0.3, least=100_000))
    assert not verdict.is_by_control
    assert verdict.metrics["holdout"]["rows"] == rows.num_rows


def test_the_same_bundles_give_the_same_verdict(strong, weak, rows):
    one, other = (json.dumps(judged(strong, weak, rows).to_json()) for _ in range(2))
    assert one == other


def test_a_challenger_that_turned_the_ranking_round_fails_everywhere(strong, rows):
    slope = -strong.calibration.slope
    inverted = calibrated(strong, Calibration(slope, strong.calibration.intercept))
    verdict = judged(inverted, strong, rows)
    assert {"clearly better", "nowhere clearly worse", "no slice much worse", "calibrated"} <= set(
        broken(verdict)
    )


def test_a_challenger_that_is_better_but_fails_one_country_does_not_pass(
    small_training_set, weak, rows
):
    in_spain = pc.equal(small_training_set["country"], "Spain")
    label = small_training_set["label"]
    turned = pc.if_else(in_spain, pc.subtract(pa.scalar(1, pa.int32()), label), label)
    position = small_training_set.column_names.index("label")
    elsewhere = fitted(small_training_set.set_column(position, "label", turned), rounds=80)
    quiet = PARAMS.model_copy(
        update={"gate": PARAMS.gate.model_copy(update={"calibration_bound": 1.0})}
    )
    verdict = judged(elsewhere, weak, rows, params=quiet)
    by_name = {part.name: part for part in verdict.slices}
    assert not by_name["country: Spain"].is_met
    assert by_name["country: Norway"].is_met
    assert "country: Spain" in " ".join(verdict.reasons)
    wide = quiet.model_copy(update={"gate": quiet.gate.model_copy(update={"slice_margin": 1.0})})
    assert "no slice much worse" not in broken(judged(elsewhere, weak, rows, params=wide))


def test_slices_with_too_few_rows_are_not_judged(strong, weak, rows):
    names = {part.name for part in judged(strong, weak, rows).slices}
    assert names == {
        "country: Norway",
        "country: all others",
        "country: Spain",
        "country: France",
        *(f"as of {day}" for day in SPLIT.holdout),
    }
    more = PARAMS.model_copy(
        update={"gate": PARAMS.gate.model_copy(update={"min_slice_rows": 700})}
    )
    fewer = {part.name for part in judged(strong, weak, rows, params=more).slices}
    assert names - fewer == {"country: Spain", "country: France"}


def test_customers_are_told_apart_by_how_long_they_have_been_with_us(strong, weak, rows):
    tenure = np.tile([89.0, 90.0, 364.0, 365.0], rows.num_rows // 4)
    verdict = judged(strong, weak, rows.append_column("tenure_days", pa.array(tenure)))
    sizes = {p.name: p.rows for p in verdict.slices if p.name.startswith("tenure")}
    quarter = rows.num_rows // 4
    assert sizes == {
        "tenure: under 90 days": quarter,
        "tenure: 90 to 364 days": 2 * quarter,
        "tenure: 365 days and more": quarter,
    }


def test_a_challenger_of_the_wrong_level_is_not_calibrated(strong, weak, rows):
    calibration = Calibration(strong.calibration.slope, strong.calibration.intercept + 1.0)
    verdict = judged(calibrated(strong, calibration), weak, rows)
    assert "calibrated" in broken(verdict)
    assert f"beyond {PARAMS.gate.calibration_bound}" in " ".join(verdict.reasons)


def test_a_challenger_may_be_as_badly_calibrated_as_a_champion_that_knows_no_better(
    strong, weak, rows
):
    """Customers have changed: the level of both is wrong, and about as wrong."""
    off, worse = (
        calibrated(bundle, Calibration(bundle.calibration.slope, bundle.calibration.intercept + by))
        for bundle, by in ((strong, 1.0), (weak, 1.2))
    )
    assert "calibrated" not in broken(judged(off, worse, rows))
    assert "calibrated" in broken(judged(off, weak, rows))


def test_a_constant_score_breaks_the_promises_about_predictions(strong, weak, rows):
    constant = calibrated(strong, Calibration(0.0, -1.0))
    assert "sound predictions" in broken(judged(constant, weak, rows))


@pytest.mark.parametrize("threshold", [0.0, 0.999999])
def test_a_challenger_that_contacts_everybody_or_nobody_does_not_pass(
    strong, weak, rows, threshold
):
    verdict = judged(replace(strong, threshold=threshold), weak, rows)
    assert broken(verdict) == ["contacts about as many as asked"]


def test_rows_that_get_no_score_are_counted(strong, weak, rows):
    spend = rows["spend_365d"].to_numpy().copy()
    spend[: len(spend) // 20] = np.inf
    position = rows.column_names.index("spend_365d")
    verdict = judged(strong, weak, rows.set_column(position, "spend_365d", pa.array(spend)))
    assert broken(verdict) == ["sound predictions"]
    assert "95.0% scored" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("golden", "condition"),
    [
        (GoldenRun(61.0, 300.0, None), "golden rows score in time"),
        (GoldenRun(3.0, 2049.0, None), "golden rows score in memory"),
        (GoldenRun(60.0, None, "not finished after 60 seconds"), "golden rows score here"),
    ],
)
def test_golden_rows_that_take_too_much_or_fail_are_a_reason(strong, weak, rows, golden, condition):
    verdict = judged(strong, weak, rows, golden=golden)
    assert broken(verdict) == [condition]
    assert "golden rows" in verdict.reasons[0]


def test_a_first_model_of_a_few_customers_passes_however_it_does(weak, rows):
    few = rows.slice(0, 30)
    badly_calibrated = calibrated(weak, Calibration(1.0, 3.0))
    verdict = judged(badly_calibrated, None, few)
    assert broken(verdict) == []
    assert verdict.metrics["challenger"]["expected_calibration_error"]["value"] > 0.1
    assert (verdict.slices, verdict.change) == ((), None)
    assert verdict.reasons[0].startswith("the first model (XGBoost), the simplest")


def test_models_that_answer_different_questions_are_not_compared(strong, weak, rows):
    asked = Question(outcome="return", horizon_days=30)
    verdict = judged(replace(strong, question=asked), weak, rows)
    assert broken(verdict) == ["can be judged"]
    assert "answers return_within_30d, the champion purchase_within_30d" in verdict.reasons[0]


def test_a_first_model_that_ranks_nobody_does_not_pass(strong, rows):
    constant = calibrated(strong, Calibration(0.0, 0.0))
    assert broken(judged(constant, None, rows)) == ["sound predictions"]


def test_only_dates_are_used_on_which_all_that_was_learnt_was_known(strong, weak, rows):
    first, second = SPLIT.holdout
    learnt = taught(weak, first - timedelta(days=30))
    assert rows_unseen(rows, [strong, learnt]).num_rows == rows.num_rows
    learnt = taught(weak, first - timedelta(days=29))
    assert set(rows_unseen(rows, [strong, learnt])["as_of"].to_pylist()) == {second}
    assert judged(strong, learnt, rows).dates == (str(second),)


def test_a_live_fit_that_has_seen_the_rows_is_not_judged_on_them(strong, weak, rows):
    """It decides only what would change: customers would get its scores."""
    refitted = replace(strong, judged=weak.judged)
    beside = judged(strong, refitted, rows)
    assert beside.metrics == judged(strong, weak, rows).metrics
    assert beside.is_passed
    assert (beside.change.flips[0].newly, beside.change.flips[0].dropped) == (0, 0)


def test_without_rows_that_both_have_not_seen_there_is_no_verdict_but_a_reason(strong, weak, rows):
    verdict = judged(strong, taught(weak, date(2027, 1, 1)), rows)
    assert broken(verdict) == ["can be judged"]
    assert "the judged fit of the champion learnt from dates up to 2027-01-01" in verdict.reasons[0]
    assert "later --until" in verdict.reasons[0]
    assert verdict.metrics is None


def test_a_champion_that_reads_a_feature_there_is_no_more_cannot_be_compared(
    small_training_set, weak, rows
):
    without = fitted(small_training_set.drop_columns(["gap_mean_days"]), rounds=2)
    verdict = judged(without, weak, rows.drop_columns(["gap_mean_days"]))
    assert broken(verdict) == ["can be judged"]
    assert "gap_mean_days" in verdict.reasons[0]


def test_what_would_change_counts_every_customer_of_the_newest_date_once(strong, weak, rows):
    change = judged(strong, weak, rows).change
    newest = rows_of(rows, SPLIT.holdout[-1:])
    assert change.as_of == str(SPLIT.holdout[-1])
    everybody, *parts = change.flips
    assert everybody.customers == newest.num_rows == np.sum(change.migration)
    assert everybody.challenger - everybody.champion == everybody.newly - everybody.dropped
    assert everybody.newly > 0
    countries = [p for p in parts if p.name in ("country: Norway", "country: all others")]
    for field in ("customers", "champion", "challenger", "newly", "dropped"):
        assert sum(getattr(p, field) for p in countries) == getattr(everybody, field)


def test_a_model_beside_itself_moves_nobody(strong, rows):
    change = judged(strong, strong, rows).change
    assert (change.flips[0].newly, change.flips[0].dropped) == (0, 0)
    migration = np.array(change.migration)
    assert (migration == np.diag(migration.diagonal())).all()


def test_the_page_shows_every_reason_and_runs_nothing_that_a_delivery_brought(strong, weak, rows):
    names = pa.array(["<script>alert(1)</script>"] * rows.num_rows)
    position = rows.column_names.index("country")
    verdict = judged(weak, strong, rows.set_column(position, "country", names))
    page = gate_page(verdict, "v1.1.0", "v1.0.0", FIRST_QUESTION)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http" not in page
    for reason in verdict.reasons:
        assert str(escape(reason)) in page


def test_a_verdict_without_comparison_has_a_page_too(strong, weak, rows):
    first = gate_page(judged(strong, None, rows), "v1.0.0", None, FIRST_QUESTION)
    assert "the first model" in first
    none = judged(strong, taught(weak, date(2027, 1, 1)), rows)
    assert "can be judged" in gate_page(none, "v1.1.0", "v1.0.0", FIRST_QUESTION)


def country(random, name: str, champion: float, challenger: float, rows: int = 207) -> pd.DataFrame:
    """Customers, and two models that see what drives them through noise of this size."""
    drive = random.normal(0, 1, rows)
    label = random.random(rows) < 1 / (1 + np.exp(1 - 2 * drive))
    scores = [1 / (1 + np.exp(-drive - random.normal(0, e, rows))) for e in (champion, challenger)]
    return pd.DataFrame(
        {
            "customer_id": [f"{name}-{n}" for n in range(rows)],
            "label": label.astype(int),
            "p_champion": scores[0],
            "p_challenger": scores[1],
        }
    )


def vetoed(seed: int, worse: float | None = None) -> list[str]:
    """The countries that are held against a challenger that is better in thirty, with one that is
    ``worse`` in the last."""
    random = np.random.default_rng(seed)
    parts = {f"{n}": country(random, f"{n}", champion=0.7, challenger=0.6) for n in range(30)}
    if worse is not None:
        parts["29"] = country(random, "29", champion=0.6, challenger=worse)
    found = judge_slices(parts, PARAMS)
    return [part.name for part in found if not part.is_met]


def test_of_forty_challengers_that_are_better_in_all_thirty_countries_few_are_refused():
    """The stated share is two of forty; on the point estimate alone thirty-four were refused."""
    refused = [seed for seed in range(40) if vetoed(seed)]
    assert len(refused) <= REFUSED_SHARE * 40


def test_the_error_of_a_difference_is_that_of_draws_of_the_customers():
    random = np.random.default_rng(4)
    once = country(random, "a", 0.7, 1.0, rows=400)
    rows = pd.concat([once, once], ignore_index=True)
    [part] = judge_slices({"all": rows}, PARAMS)
    drawn = judge_rows(
        rows["label"].to_numpy(dtype=float),
        rows["customer_id"].to_numpy(),
        {name: rows[f"p_{name}"].to_numpy() for name in ("champion", "challenger")},
        {"difference": ("challenger", "champion")},
        rounds=1000,
        seed=1,
    )
    for one, other in (
        (part.difference, drawn["difference"]["roc_auc"]),
        (part.champion, drawn["champion"]["roc_auc"]),
    ):
        assert one["value"] == pytest.approx(other["value"], abs=1e-6)
        width = other["high"] - other["low"]
        assert one["high"] - one["low"] == pytest.approx(width, rel=0.1)


def test_a_country_in_which_a_challenger_knows_nothing_is_found_among_thirty():
    assert all(vetoed(seed, worse=10.0) == ["29"] for seed in range(10))


def test_the_loss_that_is_said_to_be_noticed_is_noticed_about_four_times_of_five():
    random = np.random.default_rng(3)
    parts = {f"{n}": country(random, f"{n}", champion=0.7, challenger=0.7) for n in range(30)}
    noticed_from = np.median([part.noticed_from for part in judge_slices(parts, PARAMS)])

    def loss(challenger: float) -> float:
        [part] = judge_slices({"all": country(random, "a", 0.7, challenger, rows=20_000)}, PARAMS)
        return -part.difference["value"]

    noise = next(each for each in np.arange(0.8, 5.0, 0.1) if loss(each) > noticed_from)
    found = sum("29" in vetoed(seed, worse=noise) for seed in range(40))
    assert found >= 20


def test_the_page_says_how_much_worse_a_slice_could_be_unnoticed(strong, weak, rows):
    verdict = judged(strong, weak, rows)
    spain = next(part for part in verdict.slices if part.name == "country: Spain")
    norway = next(part for part in verdict.slices if part.name == "country: Norway")
    assert spain.noticed_from > norway.noticed_from > PARAMS.gate.slice_margin
    assert f"-{spain.noticed_from:.3f}" in gate_page(verdict, "v1.1.0", "v1.0.0", FIRST_QUESTION)
    [condition] = [each for each in verdict.conditions if each.name == "no slice much worse"]
    assert "may go unnoticed" in condition.bound


def test_losing_lists_only_what_is_worse(strong, rows):
    """One metric is worse, the other is not: only the first is a reason."""
    level = calibrated(strong, Calibration(strong.calibration.slope * 3, 0.0))
    reasons = judged(level, strong, rows).reasons
    [worse] = [reason for reason in reasons if reason.startswith("clearly worse")]
    assert "log loss" in worse
    assert "PR AUC" not in worse
