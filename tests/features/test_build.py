"""Features of customers: windows, two clocks, exactness, and whatever the order of rows."""

import random
from datetime import date, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql.connect.expressions import Expression, UnresolvedFunction

from features.build import FEATURE_NAMES, FEATURES, build_features
from features.windows import gathered
from tests.features.visits import AS_OF, activity, expected_features, visit

WINDOWS = (7, 30, 90, 365)
AS_OFS = [AS_OF - timedelta(91), AS_OF - timedelta(30), AS_OF]

days_ago = st.one_of(
    st.integers(-5, 800),
    # What happens at the edge of a window is most of what can go wrong.
    st.sampled_from([0, 1, 6, 7, 29, 30, 89, 90, 333, 334, 363, 364, 365, 366]),
)
visits = st.builds(
    visit,
    days_ago=days_ago,
    country=st.sampled_from(["France", "Germany", "Åland"]),
    invoices=st.sets(st.sampled_from("12345"), max_size=3),
    products=st.sets(st.sampled_from(["tea", "jam", "bun", "pie"]), min_size=1),
    micros=st.integers(0, 10**12),
    return_micros=st.one_of(st.just(0), st.integers(1, 10**12)),
)
# Below 0: what is told before it happens, which nobody should.
delays = st.one_of(st.just(0), st.integers(-5, 100))


@st.composite
def populations(draw):
    """Some customers, each with some visits, a few of them known late or told twice."""
    return [
        one | {"customer_id": f"c{number}", "known_on": one["activity_on"] + timedelta(delay)}
        for number, own in enumerate(
            draw(st.lists(st.lists(st.tuples(visits, delays), max_size=12), min_size=20))
        )
        for one, delay in own
    ]


def by_key(rows) -> dict:
    """What was collected, by as-of date and customer."""
    return {
        (row.as_of, row.customer_id): {name: row[name] for name in FEATURE_NAMES} for row in rows
    }


@pytest.mark.parametrize("active_days", [365, 60])
def test_features_are_those_of_a_slow_and_plain_count(spark, active_days):
    # Every example is a Spark job, so a failing one is shown as it is and not made smaller.
    @settings(max_examples=4, deadline=None, phases=[Phase.generate])
    @given(populations())
    def check(rows):
        got = build_features(activity(spark, rows), AS_OFS, active_days).collect()
        assert by_key(got) == expected_features(rows, AS_OFS, active_days)

    check()


def test_a_window_of_30_days_holds_day_29_and_not_day_30(described):
    rows = [
        visit(f"{place} {days}", days_ago, return_micros=1_000_000)
        for days in WINDOWS
        for place, days_ago in {"last of": days - 1, "just before": days}.items()
    ]
    got = described(*rows, active_days=1000)
    for days in WINDOWS:
        for subject, inside in {
            "purchase_days": 1,
            "invoices": 1,
            "products": 1,
            "spend": 10,
            "returned": 1,
        }.items():
            column = f"{subject}_{days}d"
            assert got[f"last of {days}"][column] == inside, column
            assert got[f"just before {days}"][column] == 0, column


def test_the_population_is_who_bought_in_the_last_365_days(described):
    got = described(
        visit("today", 0),
        visit("a year ago", 364),
        visit("longer ago", 365),
        visit("only sent back", 1, invoices=(), return_micros=5),
        visit("bought long ago, sent back now", 500),
        visit("bought long ago, sent back now", 1, invoices=(), return_micros=5),
    )
    assert sorted(got) == ["a year ago", "today"]


def test_what_happens_after_the_as_of_date_or_becomes_known_after_it_changes_nothing(described):
    tomorrow = AS_OF + timedelta(1)
    past = [visit(days_ago=3), visit(days_ago=40, return_micros=7)]
    future = [
        visit(on=tomorrow, country="Åland", products=("pie",)),
        # Put into the folder of an earlier day by mistake.
        visit(on=tomorrow, known_on=AS_OF),
        visit(days_ago=2, known_on=tomorrow),
        visit(days_ago=400, known_on=tomorrow),
        visit("bob", days_ago=1, known_on=tomorrow),
        visit("eve", on=tomorrow),
    ]
    assert described(*past, *future) == described(*past)


def test_a_late_row_counts_on_its_own_day_from_the_day_it_is_known(described):
    late = visit(days_ago=20, known_on=AS_OF - timedelta(2), products=("jam",))
    before = described(visit(days_ago=50), late, as_of=AS_OF - timedelta(3))
    after = described(visit(days_ago=50), late)
    assert (before["ada"].recency_days, after["ada"].recency_days) == (47, 20)
    assert after["ada"].purchase_days_30d == 1


def test_a_day_that_two_deliveries_tell_of_is_one_day_and_its_lines_add_up(described):
    first = visit(days_ago=9, invoices=("1",), products=("tea", "jam"))
    rest = visit(days_ago=9, invoices=("1",), products=("tea",), known_on=AS_OF - timedelta(5))
    ada = described(first, rest)["ada"]
    assert (ada.purchase_days_30d, ada.invoices_30d, ada.products_30d) == (1, 1, 2)
    assert ada.spend_30d == 20
    assert ada.gap_mean_days is None


def test_many_as_of_dates_at_once_are_each_one_alone(spark):
    rows = [visit(f"c{n % 9}", n * 7 % 400, micros=n, products=(str(n % 5),)) for n in range(120)]
    together = build_features(activity(spark, rows), AS_OFS, 365).collect()
    alone = [
        row for day in AS_OFS for row in build_features(activity(spark, rows), [day], 365).collect()
    ]
    assert by_key(together) == by_key(alone)
    assert len(together) == len(alone) > 20


def test_partitions_and_the_order_of_rows_change_no_bit(spark):
    chance = random.Random(3)  # noqa: S311
    rows = [
        visit(
            f"c{chance.randrange(40)}",
            chance.randrange(500),
            country=chance.choice(["France", "Germany"]),
            micros=chance.randrange(10**13),
            return_micros=chance.randrange(10**13),
            products=(str(chance.randrange(30)),),
        )
        for _ in range(600)
    ]
    bits = set()
    shuffles = spark.conf.get("spark.sql.shuffle.partitions")
    try:
        for partitions in (1, 2, 7, 64):
            spark.conf.set("spark.sql.shuffle.partitions", partitions)
            chance.shuffle(rows)
            shuffled = activity(spark, rows).repartition(partitions)
            built = build_features(shuffled, [AS_OF], 365).orderBy("customer_id").toPandas()
            bits.add(built.to_csv(float_format=float.hex))
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", shuffles)
    assert len(bits) == 1


def test_three_times_ten_pence_is_thirty_pence(described):
    rows = [visit(days_ago=n, micros=100_000, return_micros=100_000) for n in range(3)]
    ada = described(*rows)["ada"]
    assert (ada.spend_30d, ada.returned_30d) == (0.3, 0.3)  # 0.1 + 0.1 + 0.1 is not


def test_nothing_is_summed_or_averaged_as_a_floating_number():
    inexact = {"avg", "mean", "median", "stddev", "stddev_samp", "variance", "var_samp"}
    asked = [call for column in gathered({}) for call in calls(column._expr)]
    asked += [call for feature in FEATURES for call in calls(feature()._expr)]
    assert not inexact & {call._name for call in asked}
    sums = [call for call in asked if call._name in {"sum", "try_sum"}]
    assert {summed._data_type for call in sums for summed in call._args} == {"decimal(20,0)"}


def calls(expression) -> list:
    """The function calls in an expression, at any depth."""
    found = [expression] if isinstance(expression, UnresolvedFunction) else []
    parts = list(vars(expression).values()) if isinstance(expression, Expression) else expression
    for part in parts:
        if isinstance(part, (Expression, list, tuple)):
            found += calls(part)
    return found


def test_the_country_is_that_of_the_latest_purchase_and_the_first_by_alphabet(described):
    got = described(
        visit("moved", 9, country="France"),
        visit("moved", 2, country="Germany"),
        visit("sent back from abroad", 9, country="France"),
        visit("sent back from abroad", 2, country="Spain", invoices=(), return_micros=5),
        visit("in two at once", 2, country="Spain"),
        visit("in two at once", 2, country="Germany", known_on=AS_OF),
    )
    assert {customer: row.country for customer, row in got.items()} == {
        "moved": "Germany",
        "sent back from abroad": "France",
        "in two at once": "Germany",
    }


def test_one_purchase_leaves_the_rhythm_unknown_and_three_make_it_known(described):
    got = described(visit("new", 5), *[visit("regular", days) for days in (15, 25, 45)])
    new, regular = got["new"], got["regular"]
    assert new.gap_mean_days is new.gap_std_days is new.gap_longest_days is None
    assert new.overdue_ratio is None
    assert (regular.gap_mean_days, regular.gap_longest_days, regular.overdue_ratio) == (15, 20, 1)
    assert regular.gap_std_days == 50**0.5


def test_a_year_ago_means_the_same_weekdays_of_the_coming_30_days(described):
    got = described(
        visit("tomorrow", on=AS_OF + timedelta(1) - timedelta(weeks=52)),
        visit("in 30 days", on=AS_OF + timedelta(30) - timedelta(weeks=52)),
        visit("today", on=AS_OF - timedelta(weeks=52)),
        visit("in 31 days", on=AS_OF + timedelta(31) - timedelta(weeks=52)),
    )
    assert {customer: row.purchase_days_year_ago_30d for customer, row in got.items()} == {
        "tomorrow": 1,
        "in 30 days": 1,
        "today": 0,
        "in 31 days": 0,
    }


def test_a_saturday_and_a_sunday_are_the_weekend(described):
    week = [visit(on=date(2026, 2, 16) + timedelta(n)) for n in range(7)]
    assert described(*week)["ada"].weekend_share_365d == 2 / 7


def test_days_at_the_limit_add_up_to_more_than_one_of_them_holds(described):
    most = 2**63 - 1
    days = [visit(days_ago=n, micros=most, return_micros=most) for n in range(365)]
    ada = described(*days)["ada"]
    assert ada.spend_365d == ada.returned_365d == float(365 * most) / 1_000_000
    assert (ada.returned_share_365d, ada.spend_trend_30d) == (1.0, 0.0)
