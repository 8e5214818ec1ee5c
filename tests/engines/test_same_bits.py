"""Whatever the project asks an engine, both give the same bits."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import catalog
from chunks import cut, kept_chunks
from deliveries.cells import DeliveredCells
from deliveries.lines import read_lines
from deliveries.receive import describe_delivery
from expectations.features import unscorable
from expectations.future import hours_ahead
from expectations.repeats import mark_repeated
from expectations.split import Layout, split_lines
from features.activity import summarise_activity
from features.build import build_features
from features.labels import count_outcomes, known_after, label_outcomes
from jobs import measure_performance, measure_quality, score_customers
from lake import write_deliveries, write_sorted
from models.arms import bucket_column
from models.deciles import decile, mid_decile, tenths
from params import Carried, Columns, IdKinds, Question, Text, read_params
from tests.deliveries.conftest import DAY, line, write_csv, write_parquet
from tests.engines.conftest import rows
from tests.expectations.conftest import DELIVERED, good_line
from tests.expectations.test_split import dirty_lines
from tests.features.test_build import AS_OFS, visits
from tests.features.visits import activity
from tests.records import intake, put_intake

SOURCE = read_params().source("generated")

# What differs is shown as it was found; to look for the smallest case takes minutes.
few = settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)

texts = st.text(max_size=8) | st.sampled_from(
    ["a\0", "\u200b", "x" * 65, "e\u0301", "", " ", "\u00a0a\t", "ß", "NULL", "'", '"', "a,b"]
)
# A malformed line may leave the rest of a value that runs over several, which refuses the file.
one_line_texts = texts.map(lambda text: text.replace("\n", " "))
numbers = (
    st.floats(width=64)
    | st.sampled_from([0.0000005, -0.0000005, 2.675, 1e-9, 1e22, -0.0, 17850.0, 1 / 3])
    | st.integers(-(2**63), 2**63 - 1).map(float)
)
number_texts = (
    st.sampled_from(["6", " -6 ", "12.0", "2.5", "six", "1e2", "1,5", "5-", "+5", ".5", "5.", "-0"])
    | st.sampled_from(["0x1F", "1_000", "NaN", "1.234,50", "1e-99", "0.1234567"])
    | st.sampled_from(["\uff11", "Infinity", "1e-9", "1e300", "0.30000000000000004"])
    | st.decimals(allow_nan=True, places=9).map(str)
    | st.floats(width=64).map(str)
)
time_texts = st.sampled_from(
    [
        "2026-07-15 12:00",
        "2026-07-15T12:00:00.5Z",
        "2026-07-15T12:00:00-04:00",
        "2026-07-15 12:00+02",
        "2026-07-15 12:00 -0330",
        "2026-07-15 12:00 UTC",
        "2026-07-15 12:00 Europe/Berlin",
        "2026-07-15 12:00 CET",
        "2026-07-15 12:00+25:00",
        "0001-01-01 00:00+02:00",
        "0000-01-01 00:00",
        "9999-12-31 23:59Z",
        "10000-01-01 00:00",
        "2026-07-15 24:00",
        "2026-02-31 10:00",
        "2026-03-29 01:30",
        "2026-10-25 01:30:00.123456789",
        "1899-12-31T23:59",
        "2026-07-15",
        "12:00",
        "yesterday",
        "",
    ]
)
# Beyond 2099 an engine need not know when clocks change; such a line is quarantined anyhow.
times = st.datetimes(datetime(1900, 1, 1), datetime(2099, 1, 1))  # noqa: DTZ001


@few
@given(
    st.lists(
        st.builds(
            line,
            invoice=texts,
            customer=st.none() | numbers,
            quantity=st.none() | numbers,
            unit_price=st.none() | numbers,
            invoiced_at=st.none() | times,
            country=st.none() | texts,
        ),
        min_size=100,
        max_size=200,
    )
)
@pytest.mark.parametrize("type_", [pa.timestamp("us"), pa.timestamp("ns"), pa.date32()])
def test_delivered_parquet(same, tmp_path_factory, type_, delivered):
    floats = {"customer": pa.float64(), "quantity": pa.float64(), "invoiced_at": type_}
    folder = write_parquet(tmp_path_factory.mktemp("delivered") / str(DAY), delivered, **floats)
    same(lambda spark: lines_of(spark, folder, SOURCE))


@few
@given(
    st.lists(
        st.builds(
            line,
            invoice=one_line_texts,
            customer=one_line_texts | number_texts,
            quantity=number_texts,
            unit_price=number_texts,
            invoiced_at=time_texts,
            country=one_line_texts,
        ),
        min_size=100,
        max_size=200,
    )
)
@pytest.mark.parametrize(
    ("pattern", "ids", "text"),
    [
        (None, IdKinds(), Text()),
        ("yyyy-MM-dd HH:mm", IdKinds(customer_id="number"), Text(trailing_minus=True)),
        ("yyyy-MM-dd HH:mm VV", IdKinds(), Text(decimal_mark=",", thousands_mark=".")),
        ("yyyy-MM-dd'T'HH:mm:ssXXX", IdKinds(invoice_id="number"), Text()),
    ],
)
def test_delivered_text(same, tmp_path_factory, pattern, ids, text, delivered):
    source = SOURCE.model_copy(
        update={"format": "csv", "timestamp_format": pattern, "ids": ids, "text": text}
    )
    folder = write_csv(tmp_path_factory.mktemp("delivered") / str(DAY), delivered)
    same(lambda spark: lines_of(spark, folder, source))


@few
@given(
    st.lists(
        st.builds(
            line,
            customer=st.sampled_from(["ada", "bob"]),
            quantity=number_texts,
            unit_price=number_texts,
            invoiced_at=st.sampled_from([f"{DAY} 09:00", f"{DAY + timedelta(1)} 01:30"]),
            country=one_line_texts,
        ),
        min_size=100,
        max_size=200,
    )
)
def test_amounts_and_what_is_carried_beside_them(same, tmp_path_factory, delivered):
    source = SOURCE.model_copy(
        update={
            "format": "csv",
            "timezone": "America/New_York",
            "columns": Columns(
                customer_id="customer", invoiced_at="invoiced_at", amount="unit_price"
            ),
            "carry": {
                "pieces": Carried(column="quantity", keep="sum"),
                "places": Carried(column="country", keep="values"),
            },
            "not_merchandise": None,
        }
    )
    folder = write_csv(tmp_path_factory.mktemp("delivered") / str(DAY), delivered)

    def ask(spark):
        with DeliveredCells(folder.parent) as cells:
            files = describe_delivery(folder, source.format)
            cells.open_delivery(folder, DAY, "d1-r1", files, source)
            lines = read_lines(spark, cells.finish(), source)
            tagged = split_lines(spark, lines, source)
            accepted = tagged.where("outcome = 'accepted'")
            days = summarise_activity(accepted, source.timezone, time(0), source.carry)
            return rows(lines), rows(days), hours_ahead(tagged, source)

    same(ask)


def lines_of(spark, folder, source) -> list:
    with DeliveredCells(folder.parent) as cells:
        cells.open_delivery(folder, DAY, "d1-r1", describe_delivery(folder, source.format), source)
        return rows(read_lines(spark, cells.finish(), source))


@few
@given(st.lists(dirty_lines, min_size=150, max_size=200))
@pytest.mark.parametrize(
    ("layout", "rules"),
    [
        (Layout(), {"day_ends_at": time(4), "duplicates": ["invoice_id", "customer_id"]}),
        (Layout(3, 2), {"invoices_restart_daily": True, "invoices_issued_by": "shop"}),
    ],
)
def test_the_split_of_a_delivery(same, layout, rules, dirty):
    strict = SOURCE.model_copy(update={"countries": ["France", "United Kingdom"]} | rules)
    built = [good_line(**one, source_line=number) for number, one in enumerate(dirty)]

    def ask(spark):
        lines = spark.createDataFrame(built, DELIVERED)
        tagged = split_lines(spark, lines, strict, layout)
        came = tagged.where("outcome = 'accepted' and quantity_micros > 0")
        have_keys = isinstance(strict.duplicates, list)
        marked = mark_repeated(tagged, came, 7, have_keys=have_keys, are_repaired=True)
        return rows(tagged), rows(marked)

    same(ask)


@few
@given(
    st.lists(
        st.tuples(
            st.sampled_from("1234"),
            st.sampled_from(["tea", "jam"]),
            st.sampled_from(["ada", "bob", "Åsa"]),
            st.integers(-20_000_000_000, 20_000_000_000),
            st.integers(0, 5_000_000_000),
            st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
            st.sampled_from(["France", "Åland"]),
            st.just(DAY),
        ),
        min_size=100,
        max_size=300,
    )
)
@pytest.mark.parametrize(
    ("zone", "ends_at"),
    [
        ("Europe/London", time(0)),
        ("America/New_York", time(4)),
        ("Australia/Lord_Howe", time(11, 59, 59)),
    ],
)
def test_activity(same, zone, ends_at, lines):
    same(
        lambda spark: rows(
            summarise_activity(spark.createDataFrame(lines, catalog.LINE), zone, ends_at),
        )
    )


customers = st.sampled_from([f"c{n}" for n in range(20)])
histories = st.lists(
    # Some of them near what 64 bits hold.
    st.tuples(visits, customers, st.sampled_from([1, 9_000_000])).map(
        lambda one: (
            one[0] | {"customer_id": one[1], "purchase_micros": one[0]["purchase_micros"] * one[2]}
        )
    ),
    min_size=100,
    max_size=300,
)


QUESTIONS = [
    Question(outcome="purchase", horizon_days=30),
    Question(outcome="spend", least_amount=20, horizon_days=30),
    Question(outcome="return", horizon_days=60),
]


@few
@given(histories)
def test_features_and_labels(same, history):
    def ask(spark):
        frame = activity(spark, history)
        described = build_features(frame, AS_OFS, 365)
        return (
            rows(described),
            *[rows(label_outcomes(frame, AS_OFS, question)) for question in QUESTIONS],
            *[rows(known_after(frame, AS_OFS[0], question)) for question in QUESTIONS],
            *[rows(count_outcomes(frame, AS_OFS, 365, question)) for question in QUESTIONS],
            rows(unscorable(spark, described.drop("as_of"))),
        )

    same(ask)


def test_rows_that_workers_read_and_write_by_chunks(same, tmp_path):
    path = tmp_path / "scores.parquet"
    scores = pa.array([0.1 + n / 7 for n in range(100)])
    pq.write_table(pa.table({"number": range(100), "score": scores}), path, row_group_size=30)

    def ask(spark):
        chunks = cut([path], rows=30)
        with kept_chunks(spark, tmp_path, chunks, iter, "number bigint, score double", 7) as kept:
            return rows(kept)

    assert len(same(ask)) == 100


probabilities = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.5, 1.0])


@few
@given(st.lists(probabilities, min_size=50, max_size=200))
def test_deciles_and_shares_of_a_challenger(same, scores):
    def ask(spark):
        data = [(f"c{n:03}", score) for n, score in enumerate(scores)]
        frame = spark.createDataFrame(data, "customer_id string, p double")
        cuts = tenths(frame, "p")
        # However few scores are looked at one by one.
        with patch("models.deciles.FEW", 1):
            assert tenths(frame, "p") == cuts
        return cuts, rows(
            frame.select("*", decile("p", cuts), mid_decile("p", cuts), bucket_column("v1.1.0"))
        )

    same(ask)


@few
@given(
    st.lists(
        st.tuples(
            st.none() | probabilities,
            st.none() | probabilities,
            st.none() | probabilities,
            st.sampled_from(["Norway", "Spain", None]),
            st.none() | st.integers(0, 900),
            st.booleans(),
        ),
        min_size=50,
        max_size=200,
    )
)
def test_predictions_of_two_models_and_their_performance(same, customers):
    data = [(f"c{n:03}", *one) for n, one in enumerate(customers)]
    schema = (
        "customer_id string, probability double, challenger_probability double, "
        "previous_probability double, country string, tenure_days int, bought boolean"
    )

    def ask(spark):
        frame = spark.createDataFrame(data, schema)
        scores = score_customers.fill_gaps(
            frame.drop("previous_probability"),
            frame.select("customer_id", "previous_probability"),
            0.25,
        )
        slices = frame.select(
            "customer_id",
            frame["country"].alias("country_slice"),
            measure_performance.tenure_band().alias("tenure_slice"),
            frame["bought"].cast("int").alias("bought"),
        )
        judged = scores.selectExpr(
            *("customer_id", "probability", "probability > 0.5 is_contacted", "status"),
            "crc32(customer_id) % 3 = 0 is_control",
            *("probability > 0.4 would_contact", "probability < 0.9 is_served"),
        ).withColumn("decile", decile("probability", tenths(scores, "probability")))
        cells = measure_performance.histogram(judged.join(slices, "customer_id", "left"))
        return rows(scores.select("customer_id", "probability", "status")), cells.to_csv(
            float_format=float.hex
        )

    same(ask)


def test_what_is_seen_of_the_lines_of_a_day(same, tmp_path):
    days = {DAY - timedelta(days=7): "d1", DAY: "d2"}
    delivered = [
        (str(n), "tea", None if n % 5 == 0 else f"c{n % 40}", n % 7 - 2, n * 333_333, None,
         "France" if n % 3 else None, day, None)
        for day in days for n in range(200)
    ]  # fmt: skip

    def ask(spark):
        root = tmp_path / spark.session_id
        frame = spark.createDataFrame(delivered, catalog.KEPT_LINE)
        ours = frame.where("customer_id is not null")
        excluded = frame.where("customer_id is null").selectExpr("*", "'no_customer' as rule")
        both = ((catalog.TRANSACTIONS, ours), (catalog.EXCLUDED_TRANSACTIONS, excluded))
        pieces = {
            dataset.name: write_deliveries(rows, dataset, root, days, ["invoice_id"])
            for dataset, rows in both
        }
        for day, delivery in days.items():
            of_day = {name: by_day[day] for name, by_day in pieces.items()}
            put_intake(root, day, delivery, of_day)
        return measure_quality.describe_lines(
            spark,
            root,
            {day: intake(delivery) for day, delivery in days.items()},
            SOURCE.columns.given,
        )

    found = same(ask)
    assert found[DAY]["country"].missing == 67


def test_files_are_sorted_over_all_their_parts(same, tmp_path):
    """An engine may deal rows out to several files, and the order is lost where nobody looks."""
    import pyarrow.parquet as pq

    def ask(spark):
        folder = tmp_path / spark.session_id
        frame = spark.range(300_000).selectExpr("sha2(cast(id as string), 256) as name", "id")
        piece = write_sorted(frame, folder, tmp_path, ["name"])
        assert piece.rows == 300_000
        files = [tmp_path / file.path for file in piece.files]
        names = [name for file in files for name in pq.read_table(file)["name"].to_pylist()]
        assert names == sorted(names)
        return names[:3]

    same(ask)


def test_a_day_beyond_what_64_bits_hold_stops_both(spark, apache):
    large = [("1", "tea", "ada", 20_000_000_000, 2**62, datetime(2026, 4, 1), "France", DAY)] * 3  # noqa: DTZ001
    for engine in (spark, apache):
        lines = engine.createDataFrame(large, catalog.LINE)
        with pytest.raises(Exception, match=r"CAST_OVERFLOW|out of range Int64"):
            summarise_activity(lines, "Europe/London", time(0)).collect()


def test_dates_and_decimals_come_back_as_they_went(same):
    values = [(date(1900, 1, 1), Decimal("0.123456")), (date(2199, 12, 31), Decimal("-1"))]
    same(lambda spark: rows(spark.createDataFrame(values, "day date, amount decimal(24,6)")))
