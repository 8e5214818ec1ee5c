"""The job that describes the population of a night."""

from datetime import timedelta

import pyarrow.parquet as pq
import pytest

import catalog
from features.build import FEATURE_NAMES
from features.golden import FEATURES_FILE, FeaturesDiffer, write_golden
from jobs import build_features
from lake import value_sha256
from models.bundle_hash import BundleRefused, bundle_sha256
from params import read_params
from records import ActivityRecord, RunRecord, StageRecord
from tests.features.visits import AS_OF, activity, deliver, expected_features, visit
from tests.harm import HARMS, emptied, one_byte_flipped
from tests.records import intake, run_record

EARLIER = AS_OF - timedelta(10)


def run_of(root, deliveries) -> RunRecord:
    """A run of the night with these deliveries, by the only bundle that there is."""
    pinned = {day: intake(delivery) for day, delivery in deliveries.items()}
    [bundle] = (root / "bundles").iterdir()
    return run_record(AS_OF, bundle_sha256=bundle.name, intakes=pinned)


def features_of(root, record) -> list[dict]:
    """The rows that the run's record names."""
    piece = StageRecord.read(root, record, "build_features").pieces["features"]
    return pq.read_table([root / file.path for file in piece.files]).to_pylist()


@pytest.fixture
def golden(spark, settings):
    """The folder of the pinned bundle, with recorded customers."""
    folder = settings.data_root / "bundles/new"
    folder.mkdir(parents=True)
    write_golden(activity(spark, [visit("eve"), visit("bob", 3)]), folder, AS_OF, 365)
    return folder.rename(folder.with_name(bundle_sha256(folder)))


@pytest.mark.usefixtures("golden")
def test_the_features_are_those_of_the_pinned_deliveries_each_time_it_runs(spark, settings):
    root = settings.data_root
    pinned = [visit(f"c{n:02}", on=EARLIER, micros=n * 10**6) for n in (3, 1, 2, 0)]
    pinned_today = [visit("c02", on=AS_OF, products=("pie", "jam"))]
    deliver(root, EARLIER, pinned, "00aa")
    deliver(root, EARLIER, [visit("corrected", on=EARLIER)], "00bb", known_from=AS_OF)
    deliver(root, EARLIER + timedelta(1), [visit("taken in later")], "00cc")
    deliver(root, AS_OF, pinned_today, "00dd")
    record = run_of(root, {EARLIER: "00aa", AS_OF: "00dd"})

    facts = build_features.run(spark, settings, read_params(), record)

    rows = features_of(root, record)
    expected = expected_features(pinned + pinned_today, [AS_OF], 365)
    assert [row["customer_id"] for row in rows] == ["c00", "c01", "c02", "c03"]
    assert {
        (AS_OF, row["customer_id"]): {name: row[name] for name in FEATURE_NAMES} for row in rows
    } == expected
    assert (facts["population"], facts["golden"]) == (4, 2)
    stage = StageRecord.read(root, record, "build_features")
    assert stage.facts == facts
    read = {
        f"{day} {name}": ActivityRecord.read(root, day, name).activity.sha256
        for day, name in record.intakes.items()
    }
    assert stage.inputs == {"activity": value_sha256(read)}
    docs = root / catalog.REPORTS.format(**record.key) / "data_docs/features/index.html"
    assert docs.exists()

    build_features.run(spark, settings, read_params(), record)
    assert features_of(root, record) == rows


@pytest.mark.usefixtures("golden")
def test_who_cannot_be_scored_is_put_down_beside_the_features(spark, settings):
    root = settings.data_root
    # A customer who spends more than anybody can is one that no model has seen.
    odd = visit("odd", on=AS_OF, micros=2 * 10**18)
    deliver(root, AS_OF, [*(visit(f"c{n:02}", on=AS_OF) for n in range(40)), odd], "00aa")
    record = run_of(root, {AS_OF: "00aa"})
    build_features.run(spark, settings, read_params(), record)
    piece = StageRecord.read(root, record, "build_features").pieces["unscorable"]
    named = pq.read_table([root / file.path for file in piece.files]).to_pylist()
    assert [row["customer_id"] for row in named] == ["odd"]
    assert "is_scorable" not in features_of(root, record)[0]


def test_code_that_makes_other_features_than_training_stops_the_night(spark, settings, golden):
    recorded = pq.read_table(golden / FEATURES_FILE)
    pq.write_table(recorded.slice(1), golden / FEATURES_FILE)
    golden.rename(golden.with_name(bundle_sha256(golden)))
    root = settings.data_root
    deliver(root, AS_OF, [visit()], "00aa")
    record = run_of(root, {AS_OF: "00aa"})

    with pytest.raises(FeaturesDiffer):
        build_features.run(spark, settings, read_params(), record)

    assert not (root / catalog.FEATURES_LAYOUT.format(**record.key)).exists()


@pytest.mark.parametrize("harm", [emptied, one_byte_flipped])
def test_recorded_customers_that_are_not_what_was_registered_stop_the_night(
    spark, settings, golden, harm
):
    record = run_of(settings.data_root, {AS_OF: "00aa"})
    harm(golden / FEATURES_FILE)
    with pytest.raises(BundleRefused, match=rf"{golden} .*clear the night from open_run on"):
        build_features.run(spark, settings, read_params(), record)


@pytest.mark.usefixtures("golden")
def test_a_pinned_delivery_without_activity_is_named(spark, settings):
    root = settings.data_root
    deliver(root, AS_OF, [visit()], "00aa")
    record = run_of(root, {EARLIER: "00ee", AS_OF: "00aa"})
    with pytest.raises(FileNotFoundError, match=f"{intake('00ee')} of {EARLIER} has no activity"):
        build_features.run(spark, settings, read_params(), record)


@pytest.mark.usefixtures("golden")
@pytest.mark.parametrize(("harm", "error"), HARMS)
def test_activity_that_is_not_as_it_was_written_makes_no_features(spark, settings, harm, error):
    root = settings.data_root
    earlier = deliver(root, EARLIER, [visit(on=EARLIER), visit("bob", on=EARLIER)])
    deliver(root, AS_OF, [visit()])
    record = run_of(root, {EARLIER: "d1", AS_OF: "d1"})
    harm(earlier)

    with pytest.raises(error, match=rf"^1 of 2 files.*{earlier}\. .*jobs\.load_history"):
        build_features.run(spark, settings, read_params(), record)

    assert not (root / "lake/features").exists()
