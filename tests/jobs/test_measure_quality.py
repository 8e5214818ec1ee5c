"""The quality of a night, over all rows of a real (small) lake."""

import shutil
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import catalog
import warehouse
from jobs import measure_quality
from models.bundle import read_bundle
from models.bundle_hash import bundle_sha256
from monitoring.quality import ColumnStats
from params import read_params
from records import IntakeRecord, RunRecord, StageRecord
from tests.harm import HARMS
from tests.records import finish, intake, put_dataset, put_intake, put_piece, run_record
from tests.warehouse.nights import a_run, predictions
from warehouse.tables import QUALITY

PARAMS = read_params()
NIGHT = date(2026, 4, 1)
WEEK = timedelta(weeks=1)
LINES = pa.schema(
    [
        *[(name, pa.string()) for name in ("invoice_id", "product_id", "customer_id")],
        ("quantity_micros", pa.int64()),
        ("unit_price_micros", pa.int64()),
        ("invoiced_at", pa.timestamp("us", tz="UTC")),
        ("country", pa.string()),
        ("known_on", pa.date32()),
        ("line_key", pa.string()),
    ]
)


def put_lines(root, day: date, customers: list[str | None], quantity: int = 3) -> None:
    """A delivery of one line for each customer; those without one are excluded."""
    pieces = {}
    for dataset, is_ours in ((catalog.TRANSACTIONS, True), (catalog.EXCLUDED_TRANSACTIONS, False)):
        chosen = [name for name in customers if (name is not None) == is_ours]
        count = len(chosen)
        rows = {
            "invoice_id": [f"i{n}" for n in range(count)],
            "product_id": ["p"] * count,
            "customer_id": chosen,
            "quantity_micros": [1_000_000 * (quantity + n % 3) for n in range(count)],
            "unit_price_micros": [1_000_000 + n for n in range(count)],
            "invoiced_at": [None] * count,
            "country": ["Norway" if n % 4 else "Spain" for n in range(count)],
            "known_on": [day] * count,
            "line_key": [None] * count,
        }
        schema = LINES if is_ours else LINES.append(pa.field("rule", pa.string()))
        if not is_ours:
            rows["rule"] = ["no_customer"] * count
        folder = dataset.partition(root, known_on=day, intake=intake())
        pieces[dataset.name] = put_piece(root, folder, pa.table(rows, schema=schema))
    put_intake(
        root,
        day,
        pieces=pieces,
        delivered=len(customers) + 5,
        accepted=len(customers) - customers.count(None),
        quarantined={"price_is_positive": 5},
        excluded={"no_customer": customers.count(None)},
    )


@pytest.fixture
def a_night(deployed, model_shop):
    """A published night over these lines and the customers of the model's reference, changed."""

    def night(customers: list[str | None], quantity: int = 3, **changed) -> RunRecord:
        root = deployed.data_root
        sha256 = bundle_sha256(model_shop / "fitting")
        folder = root / "bundles" / sha256
        shutil.copytree(model_shop / "fitting", folder)
        put_lines(root, NIGHT - WEEK, [*(["ada"] * 900), *([None] * 100)])
        put_lines(root, NIGHT, customers, quantity)
        values = a_run(score_date=NIGHT, bundle_sha256=sha256)
        record = run_record(
            NIGHT,
            run_id=values.run_id,
            bundle_sha256=sha256,
            intakes={NIGHT - WEEK: intake(), NIGHT: intake()},
        )
        bundle = read_bundle(folder, sha256)
        features = pq.read_table(folder / "reference.parquet").select(bundle.feature_names)
        for name, value in changed.items():
            column = pa.array([value] * len(features), features.schema.field(name).type)
            features = features.set_column(features.column_names.index(name), name, column)
        described = put_dataset(root, record, catalog.FEATURES_LAYOUT, features)
        finish(root, record, "build_features", features=described)
        warehouse.publish(
            warehouse.connect(deployed.warehouse_url),
            values,
            [predictions("ada", "bob")],
            replaces=None,
        )
        facts = {"population": 200, "contacted": 40, "fallback": {"previous": 0, "default": 2}}
        for stage in ("publish_predictions", "score_customers"):
            finish(root, record, stage, facts)
        return record

    return night


def test_a_usual_night_is_usual_and_every_column_has_its_rows(spark, deployed, a_night):
    record = a_night([*(["ada"] * 880), *([None] * 120)])

    facts = measure_quality.run(spark, deployed, PARAMS, record)

    assert facts == {"verdict": "usual", "incidents": []}
    assert StageRecord.read(deployed.data_root, record, "measure_quality").facts == facts
    with warehouse.connect(deployed.warehouse_url).connect() as connection:
        rows = {
            (row.dataset, row.column_name, row.measure): row
            for row in connection.execute(sa.select(QUALITY))
        }
    assert rows["transactions", "customer_id", "missing_share"].value == 0.12
    assert rows["transactions", "quantity", "median"].value == 4.0
    assert rows["transactions", "quantity", "type"].detail == "bigint"
    assert rows["transactions", "*", "quarantined_share"].value == 5 / 1005
    assert rows["predictions", "*", "default_share"].value == 0.01
    histogram = rows["features", "recency_days", "histogram"].detail
    assert '"customers": [' in histogram
    # Again, and there is nothing twice.
    assert measure_quality.run(spark, deployed, PARAMS, record) == facts


def test_lost_customers_another_unit_and_a_hollow_feature_are_incidents(spark, deployed, a_night):
    record = a_night([*(["ada"] * 400), *([None] * 600)], quantity=3000, recency_days=None)

    facts = measure_quality.run(spark, deployed, PARAMS, record)

    assert facts["verdict"] == "incident"
    told = "\n".join(facts["incidents"])
    assert "transactions.customer_id: 600 of 1000 rows (60.0%) have no value" in told
    assert "transactions.quantity: the median is 3001" in told
    assert "features.recency_days: 100.0% of the customers have no value" in told
    assert warehouse.incident_nights(warehouse.connect(deployed.warehouse_url), NIGHT, NIGHT) == {
        NIGHT
    }


def test_a_marker_for_nothing_that_became_a_customer_is_an_incident(spark, deployed, a_night):
    facts = measure_quality.run(spark, deployed, PARAMS, a_night(["ada"] * 1000))
    assert [each.partition("(")[0] for each in facts["incidents"]] == [
        "transactions.customer_id: 0 of 1000 rows "
    ]


def test_wrong_data_are_not_usual_a_week_later(spark, deployed, a_night):
    record = a_night([*(["ada"] * 400), *([None] * 600)])
    assert measure_quality.run(spark, deployed, PARAMS, record)["incidents"]
    engine = warehouse.connect(deployed.warehouse_url)
    a_week_later = record.model_copy(
        update={
            "score_date": NIGHT + WEEK,
            "intakes": record.intakes | {NIGHT + WEEK: intake()},
        }
    )
    wrong = warehouse.incidents(engine, NIGHT, NIGHT)[NIGHT]
    assert wrong == {("transactions", "customer_id")}
    given = PARAMS.source("generated").columns.given
    root = deployed.data_root
    lines = measure_quality.describe_lines(spark, root, {NIGHT: intake()}, given)[NIGHT]
    usual = measure_quality.usual_columns(lines, wrong)
    assert set(lines) - set(usual) == {"customer_id"}
    assert a_week_later.score_date - WEEK in warehouse.weekdays_before(a_week_later.score_date, 4)


def test_weeks_of_a_wrong_column_silence_no_check_of_another(spark, deployed, a_night):
    """Every earlier night had a new country; tonight prices are given in another unit."""
    record = a_night([*(["ada"] * 880), *([None] * 120)], quantity=3000)
    earlier = a_run("earlier", score_date=NIGHT - WEEK)
    engine = warehouse.connect(deployed.warehouse_url)
    warehouse.publish(engine, earlier, [predictions("ada", "bob")], replaces=None)
    row = {"dataset": "transactions", "column_name": "country", "measure": "new_category_share"}
    row |= {"run_id": "earlier", "verdict": "incident", "detail": "Atlantis"}
    with warehouse.writing(engine) as connection:
        connection.execute(QUALITY.insert().values(row))
    facts = measure_quality.run(spark, deployed, PARAMS, record)
    assert [each.partition(":")[0] for each in facts["incidents"]] == ["transactions.quantity"]


@pytest.mark.parametrize(
    ("quiet_days", "still"),
    [(None, set()), (6.0, set()), (7.0, {"spend_7d"}), (40.0, {"spend_7d", "trend_30d"})],
)
def test_windows_in_which_nobody_bought_anything_are_still(quiet_days, still):
    names = ("recency_days", "spend_7d", "trend_30d", "gap_mean_days")
    stats = {name: ColumnStats(10, 0, "double", low=quiet_days) for name in names}
    assert measure_quality.unchanged_columns(stats) == still


def test_common_categories_are_known_with_the_share_they_had(model_shop):
    folder = model_shop / "fitting"
    had = measure_quality.usual(read_bundle(folder, bundle_sha256(folder)))["country"].categories
    assert sum(had.values()) == pytest.approx(1, abs=0.05)
    assert max(had.values()) == had["Norway"]


def test_a_run_that_was_not_published_is_refused_with_the_next_step(spark, deployed, a_night):
    record = a_night(["ada"] * 10)
    other = record.model_copy(update={"run_id": "other"})
    with pytest.raises(FileNotFoundError, match=r"jobs\.publish_predictions"):
        measure_quality.run(spark, deployed, PARAMS, other)


@pytest.mark.parametrize(("harm", "error"), HARMS)
@pytest.mark.parametrize("read", ["lines", "features"])
def test_pieces_that_are_not_as_they_were_written_are_not_measured(
    spark, deployed, a_night, read, harm, error
):
    record, root = a_night(["ada"] * 10), deployed.data_root
    if read == "lines":
        pieces, again = IntakeRecord.read(root, NIGHT, intake()).pieces, "jobs.load_history"
        piece = pieces[catalog.TRANSACTIONS.name]
    else:
        again = record.command("build_features")
        piece = StageRecord.read(root, record, "build_features").pieces["features"]
    harm(root / piece.files[0].path)
    with pytest.raises(error, match=rf"{piece.files[0].path}.*{again}"):
        measure_quality.run(spark, deployed, PARAMS, record)
