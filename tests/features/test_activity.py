"""Lines become one exact row per customer and business day."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

import catalog
from features.activity import ON_TIME, is_known, read_activity, summarise_activity, with_interval
from features.build import build_features
from lake import PieceAltered, PieceMissing
from tests.features.visits import visit
from tests.records import put_piece

MIDNIGHT = time(0)

LINE_FIELDS = tuple(part.split()[0] for part in catalog.LINE.split(", "))


def line(
    customer_id="ada",
    at="2026-02-27T12:00:00",
    *,
    invoice_id="1",
    product_id="tea",
    quantity=1,
    unit_price_micros=2_500_000,
    country="France",
    known_on=date(2026, 2, 28),
) -> tuple:
    """An accepted line; ``at`` is UTC."""
    at = at if isinstance(at, datetime) else datetime.fromisoformat(at).replace(tzinfo=UTC)
    values = locals() | {"invoiced_at": at, "quantity_micros": round(quantity * 1_000_000)}
    return tuple(values[field] for field in LINE_FIELDS)


@pytest.fixture
def summarise(spark):
    """A function: the rows of activity of these lines, by customer and then by day."""

    def run(*lines, timezone="Europe/London", day_ends_at=MIDNIGHT):
        frame = spark.createDataFrame(lines, catalog.LINE)
        return (
            summarise_activity(frame, timezone, day_ends_at)
            .orderBy("customer_id", "activity_on")
            .collect()
        )

    return run


@pytest.mark.parametrize(
    ("timezone", "days"),
    [
        (
            "Europe/London",
            {
                "2026-06-30T22:59:59": "2026-06-30",
                "2026-06-30T23:30:00": "2026-07-01",
                "2026-01-31T23:30:00": "2026-01-31",
                # The clocks go forward on 29 March, and back on 25 October.
                "2026-03-28T23:59:59": "2026-03-28",
                "2026-03-29T00:59:59": "2026-03-29",
                "2026-03-29T23:00:00": "2026-03-30",
                "2026-10-24T23:00:00": "2026-10-25",
                "2026-10-25T23:59:59": "2026-10-25",
            },
        ),
        (
            "America/New_York",
            {
                "2026-07-01T03:59:59": "2026-06-30",
                "2026-07-01T04:00:00": "2026-07-01",
                "2026-01-01T04:59:59": "2025-12-31",
                # Forward on 8 March, back on 1 November.
                "2026-03-09T03:59:59": "2026-03-08",
                "2026-11-02T04:59:59": "2026-11-01",
            },
        ),
    ],
)
def test_a_day_ends_at_midnight_of_the_business_zone(summarise, timezone, days):
    rows = summarise(*[line(customer_id=at, at=at) for at in days], timezone=timezone)
    assert {row.customer_id: str(row.activity_on) for row in rows} == days


def test_a_day_may_end_after_midnight_so_that_a_night_out_is_one_day(summarise):
    days = {
        "2026-07-01T02:59:59": "2026-06-30",  # 03:59:59 on the clock in London
        "2026-07-01T03:00:00": "2026-07-01",
        "2026-01-02T03:59:59": "2026-01-01",
        # Clocks go forward at one and back at two; a day ends when they show four.
        "2026-03-29T02:59:59": "2026-03-28",
        "2026-03-29T03:00:00": "2026-03-29",
        "2026-10-25T03:59:59": "2026-10-24",
        "2026-10-25T04:00:00": "2026-10-25",
    }
    rows = summarise(*[line(customer_id=at, at=at) for at in days], day_ends_at=time(4))
    assert {row.customer_id: str(row.activity_on) for row in rows} == days


def test_any_instant_belongs_to_the_day_that_python_says(spark):
    instants = st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001

    @settings(max_examples=3, deadline=None, phases=[Phase.generate])
    @given(st.lists(instants, min_size=50, max_size=100))
    def check(instants):
        lines = [line(f"{n:03}", at) for n, at in enumerate(instants)]
        frame = spark.createDataFrame(lines, catalog.LINE)
        for zone in ("Europe/London", "America/New_York", "Australia/Lord_Howe"):
            rows = summarise_activity(frame, zone, MIDNIGHT).orderBy("customer_id").collect()
            expected = [at.astimezone(ZoneInfo(zone)).date() for at in instants]
            assert [row.activity_on for row in rows] == expected

    check()


def test_purchases_and_returns_are_summed_apart_and_both_are_positive(summarise):
    [row] = summarise(
        line(quantity=3, product_id="tea"),
        line(quantity=2, product_id="jam", unit_price_micros=1),
        line(quantity=-1, product_id="bun", invoice_id="C9"),
    )
    assert (row.purchase_lines, row.purchase_micros) == (2, 7_500_002)
    assert (row.return_lines, row.return_micros) == (1, 2_500_000)
    assert (row.purchase_quantity_micros, row.return_quantity_micros) == (5_000_000, 1_000_000)
    assert (row.purchase_invoice_ids, row.purchase_product_ids) == (["1"], ["jam", "tea"])


def test_a_day_of_returns_only_has_no_nulls(summarise):
    [row] = summarise(line(quantity=-2))
    assert None not in row
    assert (row.purchase_lines, row.purchase_micros, row.purchase_product_ids) == (0, 0, [])


def test_amounts_beyond_32_bits_are_exact(summarise):
    [row] = summarise(line(quantity=80_995, unit_price_micros=60_000_000_001))
    assert row.purchase_micros == 80_995 * 60_000_000_001


def test_the_amount_of_weighed_goods_is_rounded_once_for_each_line_away_from_zero(summarise):
    half = line(quantity=0.5, unit_price_micros=3)
    [row] = summarise(half, half, line(quantity=-0.5, unit_price_micros=3))
    assert (row.purchase_micros, row.return_micros) == (4, 2)
    assert (row.purchase_quantity_micros, row.return_quantity_micros) == (1_000_000, 500_000)


def test_the_country_of_a_day_is_where_something_was_bought(summarise):
    [row] = summarise(
        line(country="Austria", quantity=-1), line(country="Spain"), line(country="Malta")
    )
    assert row.country == "Malta"


def test_the_columns_are_those_of_the_catalog(spark):
    lines = spark.createDataFrame([line()], catalog.LINE)
    promised = StructType.fromDDL(catalog.ACTIVITY.schema)
    got = summarise_activity(lines, "Europe/London", MIDNIGHT).schema
    assert [(field.name, field.dataType.simpleString()) for field in got] == [
        (field.name, field.dataType.simpleString()) for field in promised
    ]


def test_two_deliveries_summarised_apart_give_the_features_of_both_together(spark):
    lines = [
        line(f"c{n % 5}", f"2026-02-{n % 9 + 1:02}T12:00:00", invoice_id=str(n % 7),
             product_id=str(n % 11), quantity=n % 4 - 1 or 6, unit_price_micros=n * 333_333)
        for n in range(1, 120)
    ]  # fmt: skip
    as_of = [date(2026, 2, 28)]

    def summary(some):
        frame = spark.createDataFrame(some, catalog.LINE)
        return summarise_activity(frame, "Europe/London", MIDNIGHT)

    apart = summary(lines[::2]).unionByName(summary(lines[1::2]))
    together = summary(lines)
    assert apart.count() > together.count()
    one, other = (
        build_features(with_interval(rows), as_of, 365).orderBy("customer_id").collect()
        for rows in (apart, together)
    )
    assert one == other


def test_deliveries_of_other_days_summarised_at_once_are_kept_apart(spark):
    lines = spark.createDataFrame([line(), line()], catalog.LINE)
    told = lines.withColumn("known_on", F.explode(F.lit([date(2026, 2, 27), date(2026, 3, 1)])))
    rows = summarise_activity(told, "Europe/London", MIDNIGHT).collect()
    assert {(row.known_on.day, row.purchase_lines) for row in rows} == {(27, 2), (1, 2)}


@pytest.fixture
def put(spark, tmp_path):
    """``put(day)`` is the piece of the activity of one line known on that day of March."""

    def write(day: int, without: str | None = None):
        lines = spark.createDataFrame([line(known_on=date(2026, 3, day))], catalog.LINE)
        table = summarise_activity(lines, "Europe/London", MIDNIGHT).toArrow()
        table = table.drop_columns([without] if without else [])
        folder = catalog.ACTIVITY.partition(tmp_path, known_on=f"2026-03-0{day}", intake="ab-01")
        return put_piece(tmp_path, folder, table)

    return write


def test_exactly_the_pieces_asked_for_are_read_with_the_nights_that_knew_them(spark, tmp_path, put):
    _, other, late, replaced = put(1), put(1), put(2), put(3)
    second, ninth = date(2026, 3, 5), date(2026, 3, 9)
    rows = read_activity(
        spark, tmp_path, [(other, ON_TIME), (late, (second, None)), (replaced, (None, ninth))]
    ).collect()
    assert sorted((row.known_on.day, row.known_from, row.known_until) for row in rows) == [
        (1, date(2026, 3, 1), None),
        (2, second, None),
        (3, date(2026, 3, 3), ninth),
    ]


def test_activity_that_is_not_in_the_lake_is_named(spark, tmp_path, put):
    there, gone = put(1), put(2)
    (tmp_path / gone.files[0].path).unlink()
    with pytest.raises(PieceMissing, match=r"1 of 2 .*known_on=2026-03-02.*load_history"):
        read_activity(spark, tmp_path, [(there, ON_TIME), (gone, ON_TIME)])
    with pytest.raises(PieceMissing, match="no activity to read"):
        read_activity(spark, tmp_path, [])


def test_activity_that_lacks_a_column_is_named_and_never_read_as_nulls(spark, tmp_path, put):
    piece = put(1, without="return_micros")
    with pytest.raises(PieceAltered, match=r"known_on=2026-03-01.*return_micros.*load_history"):
        read_activity(spark, tmp_path, [(piece, ON_TIME)])


DAYS = st.dates(date(2026, 3, 1), date(2026, 3, 12))


def test_a_night_knows_the_delivery_that_stands_in_it_as_plain_python_says(spark):
    """Two clocks: the day a delivery is for, and the nights in which it is the last word."""

    @settings(max_examples=5, deadline=None, phases=[Phase.generate])
    @given(st.lists(st.tuples(DAYS, st.none() | DAYS, st.none() | DAYS), min_size=30))
    def check(told):
        rows = [
            (str(n), known_on, known_from or known_on, known_until)
            for n, (known_on, known_from, known_until) in enumerate(told)
        ]
        frame = spark.createDataFrame(
            rows, "name string, known_on date, known_from date, known_until date"
        )
        nights = [date(2026, 3, day) for day in range(1, 13)]
        by_night = frame.withColumn("night", F.explode(F.lit(nights))).where(
            is_known(F.col("night"))
        )
        assert {(row.night, row["name"]) for row in by_night.collect()} == {
            (night, name)
            for night in nights
            for name, _, known_from, known_until in rows
            if known_from <= night and not (known_until and known_until <= night)
        }

    check()


def test_with_no_interval_told_a_delivery_is_known_from_its_day(spark):
    rows = [tuple(visit(known_on=date(2026, 3, day)).values()) for day in (1, 2)]
    frame = spark.createDataFrame(rows, catalog.ACTIVITY.schema)
    known = with_interval(frame).where(is_known(F.lit(date(2026, 3, 1)))).collect()
    assert [row.known_on.day for row in known] == [1]
