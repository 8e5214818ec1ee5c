"""What the warehouse gives back of a published run is what was published, on each database."""

from dataclasses import replace

import pyarrow as pa

import warehouse
from tests.warehouse.nights import a_run, predictions

# In the order of their bytes, which is no language's.
CUSTOMERS = ("B", "Z-1", "a", "z", "Ä", "ß", "é", "🂡")


def publish(engine, run, batches, **options) -> None:
    warehouse.publish(engine, run, batches, replaces=None, **options)


def test_the_rows_come_back_in_the_order_and_with_the_hash_they_were_published_with(engine):
    batch = predictions(
        *CUSTOMERS, probability=[n / 10 for n in range(8)], is_contacted=[True, False] * 4
    )
    publish(engine, a_run(population=8), [batch])
    publish(
        engine,
        a_run("another", population=1, score_date=a_run().score_date.replace(day=2)),
        [predictions("B", decile=9)],
    )

    rows = list(warehouse.published_rows(engine, "run-1"))

    assert [row for part in rows for row in part.to_pylist()] == batch.to_pylist()
    published = warehouse.published_run(engine, "run-1")
    recorded, columns = published["predictions_sha256"], published["hashed_columns"]
    assert warehouse.sha256_as_published("run-1", rows, [], columns) == recorded
    assert warehouse.logged_sha256(engine, "run-1") == recorded
    one = list(warehouse.published_rows(engine, "run-1", customer_id="Ä"))
    assert [part.to_pylist() for part in one] == [[batch.to_pylist()[4]]]


def test_the_scores_of_both_models_are_part_of_what_comes_back(engine):
    run = replace(
        a_run(population=2),
        challenger_version="v1.1.0",
        challenger_threshold_version="bb22",
        challenger_bundle_sha256="d" * 64,
        challenger_percent=0,
    )
    arms = pa.record_batch(
        {
            "customer_id": ["a", "b"],
            "champion_probability": [0.5, 0.5],
            "champion_is_contacted": [False, False],
            "challenger_probability": [0.25, 0.75],
            "challenger_is_contacted": [False, True],
        }
    )
    publish(engine, run, [predictions("a", "b")], arm_scores=[arms])

    published = warehouse.published_run(engine, "run-1")
    found = warehouse.sha256_as_published(
        "run-1",
        warehouse.published_rows(engine, "run-1"),
        warehouse.published_rows(engine, "run-1", "arm_scores"),
        published["hashed_columns"],
    )
    assert found == published["predictions_sha256"]
    [batch] = warehouse.published_rows(engine, "run-1", "arm_scores")
    assert batch.to_pylist() == arms.to_pylist()


def test_a_run_that_was_never_published_is_none(engine):
    assert warehouse.published_run(engine, "run-1") is None
    assert warehouse.logged_sha256(engine, "run-1") is None


def test_rules_come_back_by_kind(engine):
    publish(engine, a_run(population=1), [predictions("a")])
    assert warehouse.published_rules(engine, "run-1") == {
        "quarantined": {"price_is_positive": 2},
        "excluded": {"customer_is_known": 1},
    }
