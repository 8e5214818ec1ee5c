"""What is an incident of the data, and what is just another day."""

import json

import pytest

from monitoring.quality import ColumnStats, Usual, judge_features, judge_lines, shares
from params import Quality

RULES = Quality(missing_margin=0.05, out_of_range_share=0.01)


def a_day(missing=10, median=3.0, low=1.0, **countries) -> dict[str, ColumnStats]:
    """A thousand lines of a hundred invoices."""
    return {
        "customer_id": ColumnStats(1000, missing, "string", invoices=100),
        "quantity": ColumnStats(
            *(1000, 0, "int"), median=median, low=low, high=median * 2, invoices=100
        ),
        "country": ColumnStats(
            *(1000, 0, "string"), categories=countries or {"Norway": 1000}, invoices=100
        ),
    }


def incidents(findings) -> dict[str, str]:
    return {f"{f.column} {f.measure}": f.sentence for f in findings if f.verdict == "incident"}


def test_a_day_like_the_same_weekdays_before_is_usual():
    before = [a_day(missing=5), a_day(missing=20, median=4.0)]
    assert incidents(judge_lines(a_day(missing=60), before, RULES)) == {}


@pytest.mark.parametrize(
    ("tonight", "what"),
    [
        (a_day(missing=181), "customer_id missing_share"),
        (a_day(median=3000.0), "quantity median"),
        (a_day(median=0.5), "quantity median"),
        (a_day(**{"Norway": 860, "": 140}), "country new_category_share"),
        (a_day(Spain=1000), "country vanished_categories"),
        (a_day(median=3.0, low=6.0), "quantity varies"),
    ],
)
def test_what_is_far_from_the_weekdays_before_is_an_incident(tonight, what):
    before = [a_day(missing=5), a_day(missing=20, median=4.0)]
    assert what in incidents(judge_lines(tonight, before, RULES))


def test_one_country_only_is_an_incident_where_chance_cannot_be_the_cause():
    mixed = a_day(Norway=800, Spain=200)
    assert "country varies" in incidents(judge_lines(a_day(Norway=1000), [mixed], RULES))
    hardly_mixed = a_day(Norway=990, Spain=10)
    assert incidents(judge_lines(a_day(Norway=1000), [hardly_mixed], RULES)) == {}


def test_new_countries_are_no_incident_where_the_weeks_before_had_as_many():
    weeks = [a_day(Norway=800, Spain=200), a_day(Norway=850, Italy=150), a_day(Norway=1000)]
    tonight = a_day(Norway=800, France=100, Japan=100)
    assert incidents(judge_lines(tonight, weeks, RULES)) == {}
    assert "country new_category_share" in incidents(judge_lines(tonight, weeks[2:], RULES))


def test_the_sentence_names_column_shares_and_next_step():
    found = incidents(judge_lines(a_day(missing=600), [a_day(missing=20)], RULES))
    assert found["customer_id missing_share"] == (
        "transactions.customer_id: 600 of 1000 rows (60.0%) have no value; on this weekday before: "
        "2.0% to 2.0%. Ask upstream, and have the day delivered again"
    )


def test_a_marker_for_nothing_that_became_a_value_is_an_incident():
    before = [a_day(missing=250), a_day(missing=400)]
    assert incidents(judge_lines(a_day(missing=200), before, RULES)) == {}
    found = incidents(judge_lines(a_day(missing=0), before, RULES))
    assert found["customer_id missing_share"] == (
        "transactions.customer_id: 0 of 1000 rows (0.0%) have no value; on this weekday before: "
        "25.0% to 40.0%. Does upstream write something new for nothing (null_markers in "
        "params.yaml)? Ask, and have the day delivered again"
    )


def test_a_feature_that_was_often_missing_and_no_longer_is_is_an_incident():
    usual = USUAL | {"spend": Usual(0.9, 0.0, 100.0, least_missing_share=0.8)}
    assert incidents(judge_features(customers(missing=660), usual, RULES)) == {}
    assert "spend missing_share" in incidents(judge_features(customers(missing=640), usual, RULES))


def test_a_feature_that_ever_fewer_lack_as_the_shop_is_known_for_longer_may_go_on_so():
    """So did the gaps between purchases in Online Retail II: from 55 % to 42 % within the training
    set, then to 35 %."""
    usual = USUAL | {"spend": Usual(0.55, 0.0, 100.0, least_missing_share=0.42)}
    assert incidents(judge_features(customers(missing=350), usual, RULES)) == {}
    assert "spend missing_share" in incidents(judge_features(customers(missing=200), usual, RULES))


def test_a_first_week_has_nothing_to_be_compared_with():
    findings = judge_lines(a_day(missing=999, median=9000.0, low=18000.0), [], RULES)
    assert {finding.verdict for finding in findings} == {"informs"}


USUAL = {
    "spend": Usual(missing_share=0.1, low=0.0, high=100.0),
    "country": Usual(
        missing_share=0.0,
        low=None,
        high=None,
        categories={"Norway": 0.7, "Spain": 0.25, "Fiji": 0.05},
    ),
}


def customers(missing=100, beyond=0, low=1.0, high=90.0, **countries) -> dict[str, ColumnStats]:
    """A thousand customers."""
    return {
        "spend": ColumnStats(
            *(1000, missing, "double"),
            low=low,
            high=high,
            beyond=beyond,
            edges=[10.0, 50.0],
            histogram=[100, 500],
        ),
        "country": ColumnStats(
            1000, 0, "string", categories=countries or {"Norway": 700, "Spain": 300}
        ),
    }


def test_a_few_large_invoices_without_a_customer_are_no_incident_and_many_are():
    def a_small_day(missing):
        return {"customer_id": ColumnStats(700, missing, "string", invoices=70)}

    before = [a_small_day(75), a_small_day(40)]
    assert incidents(judge_lines(a_small_day(140), before, RULES)) == {}
    assert incidents(judge_lines(a_small_day(250), before, RULES))


def test_a_day_of_a_handful_of_invoices_is_no_incident_whatever_is_in_them():
    def a_day_of(invoices, **categories):
        return {
            "quantity": ColumnStats(
                100, 0, "int", median=900.0, low=1, high=900, invoices=invoices
            ),
            "country": ColumnStats(100, 0, "string", categories=categories, invoices=invoices),
        }

    before = [a_day(Norway=700, Spain=300)]
    assert incidents(judge_lines(a_day_of(4, Norway=100), before, RULES)) == {}
    assert set(incidents(judge_lines(a_day_of(90, Norway=100), before, RULES))) == {
        "quantity median",
        "country varies",
        "country vanished_categories",
    }


def test_what_counts_the_days_a_shop_was_closed_may_be_the_same_for_everybody():
    nothing = customers(low=0.0, high=0.0)
    assert "spend varies" in incidents(judge_features(nothing, USUAL, RULES))
    assert incidents(judge_features(nothing, USUAL, RULES, unchanged_columns={"spend"})) == {}


@pytest.mark.parametrize(
    ("tonight", "what"),
    [
        (customers(missing=151), "spend missing_share"),
        (customers(beyond=11), "spend out_of_range_share"),
        (customers(low=7.0, high=7.0), "spend varies"),
        (customers(low=None, high=None, missing=1000), "spend varies"),
        (customers(Norway=500, Spain=300, Atlantis=200), "country new_category_share"),
        (customers(Norway=1000), "country vanished_categories"),
    ],
)
def test_features_unlike_what_the_model_learnt_from_are_an_incident(tonight, what):
    assert what in incidents(judge_features(tonight, USUAL, RULES))


@pytest.mark.parametrize(
    "tonight",
    [customers(), customers(missing=150, beyond=10), customers(Norway=660, Spain=300, Atlantis=40)],
)
def test_features_within_the_margins_are_usual(tonight):
    assert incidents(judge_features(tonight, USUAL, RULES)) == {}


def test_everybody_may_grow_older_by_the_whole_range_of_before():
    assert USUAL["spend"].reach() == (-100.0, 200.0)


def test_the_histogram_and_shares_that_others_judge_inform():
    [histogram] = [f for f in judge_features(customers(), USUAL, RULES) if f.measure == "histogram"]
    assert json.loads(histogram.detail) == {"up_to": [10.0, 50.0], "customers": [100, 500]}
    [share] = shares("transactions", 200, {"quarantined": 3})
    assert (share.measure, share.value, share.verdict) == ("quarantined_share", 0.015, "informs")
