"""The model card: what people read, word by word, and nothing of it run or misread."""

import pytest

from models.card import Approval, card_page, card_sections, model_card
from models.metrics import KINDS, PAIRS
from params import FIRST_QUESTION


def metric(value: float, spread: float = 0.01) -> dict:
    return {"value": value, "low": value - spread, "high": value + spread}


def metrics() -> dict:
    names = ("roc_auc", "pr_auc", "log_loss", "brier", "top_decile_precision", "top_decile_lift")
    entry = {name: metric(0.5 + i / 10) for i, name in enumerate(names)}
    predictor = entry | {"expected_calibration_error": {"value": 0.0123}}
    size = {"rows": 12345, "customers": 6789, "buyers": 2469, "base_rate": 0.2}
    group = {
        "rows": 900,
        "base_rate": 0.21,
        "mean_probability": 0.205,
        "contacted_share": 0.19,
        "recall": 0.44,
        "precision": None,
        "expected_calibration_error": 0.02,
        "roc_auc": metric(0.75),
    }
    nothing = {"value": None, "low": None, "high": None}
    return {
        "holdout": size,
        **dict.fromkeys(["model", *KINDS], predictor),
        "live": {"model": predictor, **dict.fromkeys(PAIRS, entry)},
        "alike": [],
        "chosen": "xgboost",
        "slices": {
            "country: Norway": {"holdout": size, "model": predictor},
            "country: all others": {"holdout": size, "model": predictor | {"roc_auc": nothing}},
        },
        "groups": {"country": {"too_few": 3, "groups": {"Norway": group}}},
        "control": {"customers": 136, "buyers": 40, "model": {"roc_auc": metric(0.71, 0.08)}},
        "calibration_curve": [{"predicted": 0.1, "observed": 0.12, "rows": 6000}],
    }


def description(country: str = "Norway") -> dict:
    return {
        "kind": "xgboost",
        "model_name": "repurchase",
        "owner": "the shop",
        "question": FIRST_QUESTION.model_dump(),
        "threshold": 0.45678,
        "threshold_version": "12345678",
        "contact_share": 0.2,
        "rounds": 42,
        "hears": {
            "power": {
                "recency_days": {"shift_0.5": 1.0, "constant": 1.0, "shift_0.2": 0.25},
                "gap": {"shift_0.5": None, "missing": 0.85},
                "mean_probability": {"raised_0.1": 0.4, "raised_0.25": 1.0},
            },
            "deaf": ["gap"],
            "fading": ["tenure_days"],
        },
        "second_fit": {"moved_share": 0.0213, "mean_change": 0.0084},
        "origin": {
            "source": "generated",
            "training_until": "2026-03-31",
            "as_of": {
                "fit": ["2025-10-02", "2025-11-01", "2025-12-31"],
                "holdout": ["2026-01-30", "2026-03-01"],
                "live": ["2025-10-02", "2025-11-01", "2025-12-31", "2026-01-30", "2026-03-01"],
            },
            "rows": {"fit": 20000, "holdout": 12345, "live": 32345},
            "left_out": {
                "2025-08-03": "310 of 365 days of deliveries",
                "2025-09-02": "340 of 365 days of deliveries",
                "2025-12-01": "2025-12-04 and 2 more days: no delivery",
            },
            "training_set_sha256": "a" * 64,
            "features_sha256": "b" * 64,
            "params_sha256": "c" * 64,
        },
        "libraries": {"numpy": "2.0.0", "xgboost": "3.2.0"},
        "schema": [
            {"name": "recency_days", "kind": "number", "low": 0, "high": 364, "missing_share": 0},
            {"name": "gap", "kind": "number", "low": None, "high": None, "missing_share": 1},
            {
                "name": "country",
                "kind": "category",
                "categories": [country, "Spain", "France", "Italy"],
                "missing_share": 0.015,
            },
        ],
    }


def test_the_card_reads_like_this(golden):
    golden("model_card.md", model_card(description(), metrics()))


def test_the_card_says_up_to_when_either_fit_has_learnt():
    [limits] = [s for s in card_sections(description(), metrics()) if s.title == "Limits"]
    [sentence] = [s for s in limits.blocks[0].sentences if "judged fit" in s]
    assert "The live fit has learnt what happened up to 2026-03-31" in sentence
    assert "the judged one up to 2026-01-30" in sentence


def test_without_a_control_the_card_says_what_may_be_the_contacts_doing():
    card = model_card(description(), metrics() | {"control": None})
    assert "part of these figures is the contacts' doing" in " ".join(card.split())


def test_a_name_from_a_delivery_cannot_break_a_table_or_become_markup():
    card = model_card(description(country="a|b\n<script>*x*"), metrics())
    assert r"a\|b \<script>\*x\*" in card
    [row] = [line for line in card.splitlines() if line.startswith("| country | 4")]
    assert row.replace(r"\|", "").count("|") == 4


def test_the_page_says_all_that_the_card_says_and_who_approved():
    approvals = [Approval("2026-04-01 03:10", "champion (number 2)", "ada", "<i>drift</i> & loss")]
    evil = description(country="<script>alert(1)</script>")
    page = card_page("v1.2.0", evil, metrics(), approvals, "passed")
    for section in card_sections(evil, metrics()):
        assert f"<h2>{section.title}</h2>" in page
    assert "<td>ada</td><td>&lt;i&gt;drift&lt;/i&gt; &amp; loss</td>" in page
    assert "Owner: the shop" in page
    assert "<script" not in page
    assert "http" not in page


@pytest.mark.parametrize("groups", [{}, {"country": {"too_few": 7, "groups": {}}}])
def test_without_groups_large_enough_the_card_says_so(groups):
    card = model_card(description(), metrics() | {"groups": groups})
    assert ("No group columns" in card) or ("7 more values of country" in card)


def test_where_no_kind_tells_customers_apart_the_card_says_so_instead_of_a_choice():
    card = model_card(description(), metrics() | {"alike": list(KINDS)})
    assert "No kind tells customers apart" in card
    assert "Chosen:" not in card
