"""The two jobs that turn a window of the lake into rows to learn from."""

import hashlib
import json
import os
import random
import subprocess
import sys
from datetime import date, timedelta

import pyarrow.parquet as pq
import pytest
import yaml

import warehouse
from features.build import FEATURE_NAMES
from features.golden import check_golden
from jobs import build_training_set, list_training_window
from jobs.list_training_window import HistoryEndsEarly
from lake import PieceAltered, PieceMissing
from models.as_of import as_of_dates
from models.split import TooFewDates
from params import Params, read_params
from settings import PROJECT_ROOT
from tests.features.visits import deliver, expected_features, visit
from tests.warehouse.nights import a_run, predictions
from warehouse.tables import QUALITY

FIRST = date(2026, 1, 1)
UNTIL = date(2026, 2, 9)
ACTIVE_DAYS = 30
HORIZON_DAYS = 5


@pytest.fixture
def params() -> Params:
    """Three as-of dates, five days apart, until ``UNTIL``."""
    values = read_params().model_dump(mode="json")
    values["sources"]["generated"]["training_until"] = str(UNTIL)
    values["population"]["active_days"] = ACTIVE_DAYS
    values["training"] |= {
        "question": {"outcome": "purchase", "horizon_days": HORIZON_DAYS},
        "history_days": 25,
        "as_of_count": 3,
        "as_of_step_days": 5,
        "holdout_count": 1,
    }
    return Params.model_validate(values)


def visits_of(day: date) -> list[dict]:
    """What is delivered on a day; customer c0 buys every day, c9 every tenth, c30 never again.

    Some of it had happened two days before.
    """
    n = (day - FIRST).days
    own = [
        visit(f"c{gap}", on=day, micros=n * 333_333 + gap, products=(str(n % 7), "tea"))
        for gap in range(1, 12)
        if n % gap == 0
    ]
    late = [visit("c20", on=day - timedelta(2), known_on=day)] if n % 6 == 0 else []
    return [*own, *late, *([visit("c30", on=day)] if n == 10 else [])]


@pytest.fixture
def lake(settings):
    """A lake with a delivery for each day from ``FIRST`` to a week beyond ``UNTIL``."""
    for n in range((UNTIL - FIRST).days + 8):
        day = FIRST + timedelta(n)
        deliver(settings.data_root, day, visits_of(day))
    return settings.data_root


def known_visits() -> list[dict]:
    """All that was delivered in the training window."""
    return [one for n in range((UNTIL - FIRST).days + 1) for one in visits_of(FIRST + timedelta(n))]


def files_of(artifacts) -> list[dict]:
    return json.loads((artifacts / "training_window.json").read_text())["files"]


def test_the_window_lists_each_delivery_known_by_its_end_with_the_nights_it_stood_in(
    settings, lake, params, tmp_path
):
    corrected_from = FIRST + timedelta(20)
    corrected = deliver(lake, FIRST, visits_of(FIRST), "00bb", known_from=corrected_from)
    deliver(lake, FIRST + timedelta(1), [], "too late", known_from=UNTIL + timedelta(1))

    facts = list_training_window.run(settings, params, tmp_path)

    days = [FIRST + timedelta(n) for n in range((UNTIL - FIRST).days + 1)]
    files = files_of(tmp_path)
    assert [entry["known_on"] for entry in files] == [str(day) for day in [FIRST, *days]]
    assert files[1] == {
        "path": str(corrected.relative_to(lake)),
        "known_on": str(FIRST),
        "known_from": str(corrected_from),
        "known_until": None,
        "bytes": corrected.stat().st_size,
        "sha256": hashlib.sha256(corrected.read_bytes()).hexdigest(),
        "rows": len(visits_of(FIRST)),
    }
    assert [(entry["known_from"], entry["known_until"]) for entry in (files[0], *files[2:])] == [
        (None, str(corrected_from)),
        (None, str(UNTIL + timedelta(1))),
        *[(None, None)] * (len(days) - 2),
    ]
    assert facts["rows"] == len(known_visits()) + len(visits_of(FIRST))
    assert facts["deliveries"] == len(days)
    assert facts["wrong_days"] == {}


def test_nothing_in_the_window_depends_on_the_machine(settings, lake, params, tmp_path):
    list_training_window.run(settings, params, tmp_path)
    assert str(lake) not in (tmp_path / "training_window.json").read_text()


def test_a_lake_that_ends_before_the_window_would_give_wrong_labels(settings, params, tmp_path):
    deliver(settings.data_root, UNTIL - timedelta(1), [visit(on=FIRST)])
    with pytest.raises(HistoryEndsEarly, match=r"up to 2026-02-09.* ends on 2026-02-08.*--until"):
        list_training_window.run(settings, params, tmp_path)


def test_a_day_without_delivery_is_said(settings, params, tmp_path):
    for day in (UNTIL - timedelta(2), UNTIL):
        deliver(settings.data_root, day, [])
    facts = list_training_window.run(settings, params, tmp_path)
    assert facts["wrong_days"] == {str(UNTIL - timedelta(1)): "no delivery"}


def test_a_closed_weekday_without_delivery_may_teach_and_end_the_window(settings, params, tmp_path):
    for day in (UNTIL - timedelta(3), UNTIL - timedelta(1)):
        deliver(settings.data_root, day, [])
    closed = [f"{UNTIL - timedelta(n):%A}".lower() for n in (2, 0)]
    shut = params.source(settings.source).model_copy(update={"closed_weekdays": closed})
    params = params.model_copy(update={"sources": {settings.source: shut}})
    assert list_training_window.run(settings, params, tmp_path)["wrong_days"] == {}


def an_incident(settings, night: date, dataset: str, column: str) -> None:
    """A published night whose data had one."""
    warehouse.migrate(settings.warehouse_url)
    engine = warehouse.connect(settings.warehouse_url)
    values = a_run(f"run-{night}", score_date=night)
    warehouse.publish(engine, values, [predictions("ada", "bob")], replaces=None)
    row = {"dataset": dataset, "column_name": column, "measure": "missing_share"}
    row |= {"run_id": f"run-{night}", "verdict": "incident", "detail": "60 % have no value"}
    with warehouse.writing(engine) as connection:
        connection.execute(QUALITY.insert().values(row))


@pytest.mark.usefixtures("lake")
def test_dates_and_labels_that_an_incident_touches_do_not_teach_and_are_named(
    spark, settings, params, tmp_path
):
    """The storm lies in the horizon of one date and five days before the next."""
    an_incident(settings, UNTIL - timedelta(12), "transactions", "customer_id")
    params = with_training(params, wrong_day_reach=2, history_days=15, as_of_count=4)
    window = list_training_window.run(settings, params, tmp_path)
    storm = str(UNTIL - timedelta(12))
    assert window["wrong_days"] == {storm: "incident in customer_id"}
    facts = build_training_set.run(spark, settings, params, tmp_path)
    assert facts["left_out"] == {
        str(UNTIL - timedelta(15)): f"{storm}: incident in customer_id",
    }
    table = pq.read_table(tmp_path / "training_set/training_set.parquet")
    assert UNTIL - timedelta(15) not in table["as_of"].to_pylist()


@pytest.mark.usefixtures("lake")
def test_an_incident_of_features_alone_is_not_one_of_the_lines_that_teach(
    settings, params, tmp_path
):
    an_incident(settings, UNTIL - timedelta(12), "features", "country")
    assert list_training_window.run(settings, params, tmp_path)["wrong_days"] == {}


@pytest.mark.usefixtures("lake")
def test_asking_for_incidents_makes_no_warehouse(settings, params, tmp_path):
    list_training_window.run(settings, params, tmp_path)
    assert not (settings.data_root / "warehouse.db").exists()


def test_the_last_as_of_date_has_just_had_all_its_horizon(params):
    days = as_of_dates(UNTIL, params.training)
    assert days == [UNTIL - timedelta(15), UNTIL - timedelta(10), UNTIL - timedelta(5)]


@pytest.fixture
def _scattered(spark):
    """Rows stay in many partitions, which Spark would else put together, for they are few."""
    key = "spark.sql.adaptive.coalescePartitions.enabled"
    spark.conf.set(key, "false")
    yield
    spark.conf.unset(key)


@pytest.mark.usefixtures("lake", "_scattered")
def test_rows_are_the_active_customers_of_each_date_with_what_came_after(
    spark, settings, params, tmp_path
):
    list_training_window.run(settings, params, tmp_path)
    facts = build_training_set.run(spark, settings, params, tmp_path)

    table = pq.read_table(tmp_path / "training_set/training_set.parquet")
    rows = table.to_pylist()
    days = as_of_dates(UNTIL, params.training)
    expected = expected_features(known_visits(), days, ACTIVE_DAYS)
    keys = [(row["as_of"], row["customer_id"]) for row in rows]
    assert table.column_names == ["as_of", "customer_id", *FEATURE_NAMES, "label"]
    assert keys == sorted(expected)
    assert {
        key: {name: row[name] for name in FEATURE_NAMES}
        for key, row in zip(keys, rows, strict=True)
    } == expected
    bought = {(one["customer_id"], one["activity_on"]) for one in known_visits()}
    assert {key: row["label"] for key, row in zip(keys, rows, strict=True)} == {
        (day, customer): int(
            any((customer, day + timedelta(n)) in bought for n in range(1, HORIZON_DAYS + 1))
        )
        for day, customer in expected
    }
    assert {row["label"] for row in rows} == {0, 1}
    assert facts["as_of"][str(days[0])] == {
        "rows": sum(key[0] == days[0] for key in keys),
        "buyers": sum(row["label"] for row in rows if row["as_of"] == days[0]),
    }
    assert facts["left_out"] == {}
    assert check_golden(spark, tmp_path / "training_set") == sum(key[0] == days[-1] for key in keys)


def test_the_same_window_gives_the_same_bytes_in_another_process_on_another_engine(
    spark, settings, lake, params, tmp_path
):
    here, there = tmp_path / "here", tmp_path / "there"
    list_training_window.run(settings, params, here)
    list_training_window.run(settings, params, there / "artifacts")
    build_training_set.run(spark, settings, params, here)
    (there / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    program = (
        "from pathlib import Path\n"
        "from jobs.build_training_set import run\n"
        "from jobs.session import session\n"
        "from params import read_params\n"
        "from settings import Settings\n"
        "with session(Settings(), 'again', 'local[1]') as spark:\n"
        "    run(spark, Settings(), read_params(Path('params.yaml')), Path('artifacts'))\n"
    )
    (there / "again.py").write_text(program)
    place = {
        "PYTHONPATH": str(PROJECT_ROOT),
        "SCORING_DATA_ROOT": str(lake),
    }
    subprocess.run(
        [sys.executable, "again.py"], cwd=there, env=os.environ | place, check=True, timeout=300
    )

    def hashes(folder):
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(folder.iterdir())
        }

    assert hashes(here / "training_set") == hashes(there / "artifacts/training_set")
    assert list(hashes(here / "training_set")) == [
        "golden_activity.parquet",
        "golden_features.parquet",
        "left_out.json",
        "season.json",
        "training_set.parquet",
    ]


@pytest.mark.parametrize("harm", ["a flipped byte", "a byte more", "gone"])
def test_a_file_that_is_not_as_listed_is_named(spark, settings, lake, params, tmp_path, harm):
    list_training_window.run(settings, params, tmp_path)
    path = lake / files_of(tmp_path)[4]["path"]
    content = path.read_bytes()
    path.unlink()
    if harm == "a flipped byte":
        path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    elif harm == "a byte more":
        path.write_bytes(content + b"0")

    error = PieceMissing if harm == "gone" else PieceAltered
    with pytest.raises(error, match=rf"^1 of \d+ files of the lake are .*{path}.*list_training"):
        build_training_set.run(spark, settings, params, tmp_path)
    assert not (tmp_path / "training_set").exists()


def test_what_was_delivered_after_the_window_was_listed_is_not_looked_at(
    spark, settings, lake, params, tmp_path
):
    list_training_window.run(settings, params, tmp_path)
    deliver(lake, FIRST - timedelta(1), [visit("stranger", on=UNTIL - timedelta(6))])
    build_training_set.run(spark, settings, params, tmp_path)
    customers = pq.read_table(tmp_path / "training_set/training_set.parquet")["customer_id"]
    assert "stranger" not in customers.to_pylist()


def with_training(params: Params, **changes) -> Params:
    return params.model_copy(update={"training": params.training.model_copy(update=changes)})


@pytest.mark.usefixtures("lake")
def test_dates_whose_windows_begin_before_the_lake_are_left_out_and_named(
    spark, settings, params, tmp_path
):
    list_training_window.run(settings, params, tmp_path)
    facts = build_training_set.run(
        spark, settings, with_training(params, history_days=30), tmp_path
    )
    without = {str(UNTIL - timedelta(15)): "25 of 30 days of deliveries"}
    assert facts["left_out"] == without
    assert list(facts["as_of"]) == [str(UNTIL - timedelta(10)), str(UNTIL - timedelta(5))]
    assert json.loads((tmp_path / "training_set/left_out.json").read_text()) == without


def counts_of(artifacts) -> dict[str, dict[str, int]]:
    return json.loads((artifacts / "training_set/season.json").read_text())


@pytest.mark.usefixtures("lake")
def test_the_season_is_counted_on_the_dates_with_half_of_the_days_in_which_one_is_active(
    spark, settings, params, tmp_path
):
    """Of twelve who buy every n-th day, and of one who stops, by the definition of the label."""
    list_training_window.run(settings, params, tmp_path)
    build_training_set.run(spark, settings, params, tmp_path)
    first = FIRST + timedelta(ACTIVE_DAYS // 2 - 1)
    dates = [UNTIL - timedelta(days) for days in (25, 20, 15, 10, 5)]
    assert dates[0] >= first > dates[0] - timedelta(5)
    bought = {(one["customer_id"], one["activity_on"]) for one in known_visits()}
    expected = {}
    for day in dates:
        active = {name for name, on in bought if day - timedelta(ACTIVE_DAYS) < on <= day}
        buyers = {name for name, on in bought if day < on <= day + timedelta(HORIZON_DAYS)}
        expected[str(day)] = {"customers": len(active), "came_true": len(active & buyers)}
    assert counts_of(tmp_path) == expected


@pytest.mark.usefixtures("lake")
def test_where_no_prior_is_asked_for_no_season_is_counted(spark, settings, params, tmp_path):
    list_training_window.run(settings, params, tmp_path)
    build_training_set.run(spark, settings, with_training(params, seasonal_prior=False), tmp_path)
    assert counts_of(tmp_path) == {}


@pytest.mark.usefixtures("lake")
def test_a_date_whose_outcome_an_incident_spoils_is_not_counted(spark, settings, params, tmp_path):
    an_incident(settings, UNTIL - timedelta(18), "transactions", "customer_id")
    list_training_window.run(settings, params, tmp_path)
    build_training_set.run(spark, settings, with_training(params, wrong_day_reach=1), tmp_path)
    counted = [str(UNTIL - timedelta(days)) for days in (25, 15, 10, 5)]
    assert list(counts_of(tmp_path)) == counted


@pytest.mark.usefixtures("lake")
def test_too_few_dates_are_refused_before_anything_is_computed(settings, params, tmp_path):
    list_training_window.run(settings, params, tmp_path)
    with pytest.raises(TooFewDates, match=r"1 as-of dates .*2 dates were left out.*history_days"):
        build_training_set.run(None, settings, with_training(params, history_days=33), tmp_path)


@pytest.mark.usefixtures("lake")
def test_of_many_customers_a_bounded_sample_is_drawn_another_one_for_each_date(
    spark, settings, params, tmp_path
):
    list_training_window.run(settings, params, tmp_path)
    build_training_set.run(spark, settings, params, tmp_path)
    path = tmp_path / "training_set/training_set.parquet"
    everybody = pq.read_table(path).to_pylist()
    build_training_set.run(spark, settings, with_training(params, rows_per_date=6), tmp_path)
    drawn = pq.read_table(path).to_pylist()

    assert all(row in everybody for row in drawn)
    by_date = {}
    for row in drawn:
        by_date.setdefault(row["as_of"], set()).add(row["customer_id"])
    assert len(set(map(frozenset, by_date.values()))) == 3
    assert 0.2 < len(drawn) / len(everybody) < 0.8
    build_training_set.run(
        spark, settings, with_training(params, rows_per_date=6, seed=2), tmp_path
    )
    assert pq.read_table(path).to_pylist() != drawn


def features_and_labels(spark, settings, params, artifacts) -> dict[tuple[date, str], dict]:
    """The training set of this window, by as-of date and customer."""
    list_training_window.run(settings, params, artifacts)
    build_training_set.run(spark, settings, params, artifacts)
    rows = pq.read_table(artifacts / "training_set/training_set.parquet").to_pylist()
    return {(row["as_of"], row["customer_id"]): row for row in rows}


def test_a_correction_is_seen_only_by_the_dates_whose_nights_could_have_seen_it(
    spark, settings, lake, params, tmp_path
):
    first, second, third = as_of_dates(UNTIL, params.training)
    corrected_day = first - timedelta(3)
    before = features_and_labels(spark, settings, params, tmp_path / "before")
    corrected = [one for one in visits_of(corrected_day) if one["customer_id"] != "c1"]
    dear = visit("c1", on=corrected_day, micros=99_000_000)
    deliver(lake, corrected_day, [*corrected, dear], "00bb", known_from=second)

    after = features_and_labels(spark, settings, params, tmp_path / "after")

    assert {key: row for key, row in after.items() if key[0] < second} == {
        key: row for key, row in before.items() if key[0] < second
    }
    for day in (second, third):
        added = after[day, "c1"]["spend_30d"] - before[day, "c1"]["spend_30d"]
        [was] = [one for one in visits_of(corrected_day) if one["customer_id"] == "c1"]
        assert added == pytest.approx(99 - was["purchase_micros"] / 1e6)


def test_labels_are_those_known_on_the_last_day_of_the_window(
    spark, settings, lake, params, tmp_path
):
    last = as_of_dates(UNTIL, params.training)[-1]
    bought_on = UNTIL - timedelta(1)
    strangers = [visit("c30", on=bought_on)]
    assert last + timedelta(HORIZON_DAYS) >= bought_on
    assert features_and_labels(spark, settings, params, tmp_path)[last, "c30"]["label"] == 0

    deliver(lake, bought_on, [*visits_of(bought_on), *strangers], "00bb", known_from=UNTIL)
    deliver(lake, bought_on, [], "00cc", known_from=UNTIL + timedelta(1))

    assert features_and_labels(spark, settings, params, tmp_path)[last, "c30"]["label"] == 1


def standing(told: list[tuple[int, int, list[dict]]], night: date) -> list[dict]:
    """Plain: the visits of the delivery that stands for each day in a night."""
    last = {}
    for day, known_from, visits in told:
        if FIRST + timedelta(known_from) <= night:
            last[day] = visits
    return [one for visits in last.values() for one in visits]


@pytest.mark.parametrize("seed", range(3))
def test_a_training_row_is_what_a_night_of_its_date_saw_whatever_came_when(
    spark, settings, params, tmp_path, seed
):
    """Two clocks against plain Python: days late, corrected once or twice, or not at all."""
    chance = random.Random(seed)  # noqa: S311
    told: list[tuple[int, int, list[dict]]] = []
    length = (UNTIL - FIRST).days
    for n in range(length + 1):
        day = FIRST + timedelta(n)
        known_from = min(n + chance.choice([0, 0, 0, 4, 9]), length)
        for number in range(chance.choice([1, 1, 2, 3])):
            names = [f"c{chance.randrange(12)}" for _ in range(4)]
            visits = [
                visit(name, on=day, known_on=day, micros=chance.randrange(10**9))
                for name in dict.fromkeys(names)
            ]
            told.append((n, known_from, visits))
            deliver(settings.data_root, day, visits, f"d{number}", FIRST + timedelta(known_from))
            known_from += chance.randrange(15)

    rows = features_and_labels(spark, settings, params, tmp_path)

    days = as_of_dates(UNTIL, params.training)
    expected = {}
    for day in days:
        expected |= expected_features(standing(told, day), [day], ACTIVE_DAYS)
    assert {key: {name: row[name] for name in FEATURE_NAMES} for key, row in rows.items()} == (
        expected
    )
    bought = {(one["customer_id"], one["activity_on"]) for one in standing(told, UNTIL)}
    assert {key: row["label"] for key, row in rows.items()} == {
        (day, name): int(
            any((name, day + timedelta(n)) in bought for n in range(1, HORIZON_DAYS + 1))
        )
        for day, name in expected
    }
    assert len({len(standing(told, day)) for day in days}) > 1
