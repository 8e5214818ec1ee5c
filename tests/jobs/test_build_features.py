"""The job that describes the population of a night."""

from datetime import timedelta

import pyarrow.parquet as pq
import pytest

import catalog
from features.build import FEATURE_NAMES
from features.golden import FEATURES_FILE, FeaturesDiffer, write_golden
from jobs import build_features
from params import read_params
from records import RunRecord, StageRecord
from tests.features.visits import AS_OF, activity, deliver, expected_features, visit
from tests.jobs.records import a_record

BUNDLE = "b" * 64
EARLIER = AS_OF - timedelta(10)


def run_of(deliveries) -> RunRecord:
    """A run of the night with these deliveries."""
    return a_record(score_date=AS_OF, deliveries=deliveries)


@pytest.fixture
def golden(spark, settings):
    """The folder of the pinned bundle, with recorded customers."""
    folder = settings.data_root / "bundles" / BUNDLE
    folder.mkdir(parents=True)
    write_golden(activity(spark, [visit("eve"), visit("bob", 3)]), folder, AS_OF, 365)
    return folder


@pytest.mark.usefixtures("golden")
def test_the_features_are_those_of_the_pinned_deliveries_each_time_it_runs(spark, settings):
    root = settings.data_root
    pinned = [visit(f"c{n:02}", on=EARLIER, micros=n * 10**6) for n in (3, 1, 2, 0)]
    pinned_today = [visit("c02", on=AS_OF, products=("pie", "jam"))]
    deliver(root, EARLIER, pinned, "00aa")
    deliver(root, EARLIER, [visit("corrected", on=EARLIER)], "00bb")
    deliver(root, EARLIER + timedelta(1), [visit("taken in later")], "00cc")
    deliver(root, AS_OF, pinned_today, "00dd")
    record = run_of({EARLIER: "00aa", AS_OF: "00dd"})

    facts = build_features.run(spark, settings, read_params(), record)

    rows = pq.read_table(root / catalog.FEATURES_LAYOUT.format(**record.key)).to_pylist()
    expected = expected_features(pinned + pinned_today, [AS_OF], 365)
    assert [row["customer_id"] for row in rows] == ["c00", "c01", "c02", "c03"]
    assert {
        (AS_OF, row["customer_id"]): {name: row[name] for name in FEATURE_NAMES} for row in rows
    } == expected
    assert (facts["population"], facts["golden"]) == (4, 2)
    assert StageRecord.read(root, record, "build_features").facts == facts
    docs = root / catalog.REPORTS.format(**record.key) / "data_docs/features/index.html"
    assert docs.exists()

    build_features.run(spark, settings, read_params(), record)
    assert pq.read_table(root / catalog.FEATURES_LAYOUT.format(**record.key)).to_pylist() == rows


def test_code_that_makes_other_features_than_training_stops_the_night(spark, settings, golden):
    recorded = pq.read_table(golden / FEATURES_FILE)
    pq.write_table(recorded.slice(1), golden / FEATURES_FILE)
    deliver(settings.data_root, AS_OF, [visit()])
    record = run_of({AS_OF: "00aa"})

    with pytest.raises(FeaturesDiffer):
        build_features.run(spark, settings, read_params(), record)

    assert not (settings.data_root / catalog.FEATURES_LAYOUT.format(**record.key)).exists()


@pytest.mark.usefixtures("golden")
def test_a_pinned_delivery_without_activity_is_named(spark, settings):
    deliver(settings.data_root, AS_OF, [visit()])
    record = run_of({EARLIER: "00ee", AS_OF: "00aa"})
    with pytest.raises(FileNotFoundError, match=f"known_on={EARLIER}/delivery_id=00ee"):
        build_features.run(spark, settings, read_params(), record)
