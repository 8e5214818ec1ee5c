"""Tests of two models in one run, of taking predictions back, and of who put a score there."""

import threading
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from alembic import command

import warehouse
from tests.warehouse.nights import NIGHT, a_challenged_run, a_run, arm_scores, predictions, shown
from tests.warehouse.test_publish import count, read
from warehouse import tables
from warehouse.content import columns_to_hash, sha256_as_published
from warehouse.migrate import migration_config

SERVED = predictions("ada", "bob", arm=["champion", "challenger"], probability=[0.5, 0.25])
BOTH = arm_scores("ada", "bob")


def publish(engine, run, batch=None, arms=(), replaces=None):
    batch = predictions("ada", "bob") if batch is None else batch
    if isinstance(replaces, str):
        replaces = shown(engine, replaces)
    return warehouse.publish(engine, run, iter([batch]), replaces=replaces, arm_scores=arms)


def publish_both(engine, run=None, batch=SERVED, arms=BOTH, replaces=None):
    return publish(engine, run or a_challenged_run(), batch, iter([arms]), replaces)


def test_the_scores_of_both_models_are_published_with_the_run(engine):
    assert publish_both(engine) == "published"

    c = tables.LATEST_PREDICTIONS.c
    served = read(
        engine,
        sa.select(c.customer_id, c.arm, c.model_version, c.threshold_version).order_by(
            c.customer_id
        ),
    )
    assert served == [
        ("ada", "champion", "v1.0.0", "aa11"),
        ("bob", "challenger", "v1.1.0", "bb22"),
    ]
    both = read(engine, "select customer_id, challenger_probability, run_id from arm_scores")
    assert sorted(both) == [("ada", 0.25, "run-1"), ("bob", 0.25, "run-1")]
    [pinned] = read(
        engine,
        "select challenger_version, challenger_percent, challenger_bundle_sha256 from scoring_runs",
    )
    assert pinned == ("v1.1.0", 5, "d" * 64)


def test_publishing_both_again_changes_nothing_but_other_scores_are_refused(engine):
    publish_both(engine)

    assert publish_both(engine, replaces="run-1") == "unchanged"
    with pytest.raises(warehouse.RunDiffers):
        publish_both(engine, arms=arm_scores("ada", "bob", challenger_probability=[0.25, 0.26]))

    assert count(engine, tables.ARM_SCORES) == 2


@pytest.mark.parametrize(
    ("run", "batch", "arms"),
    [
        (a_challenged_run(), SERVED, arm_scores("ada")),
        (a_challenged_run(), SERVED, arm_scores()),
        (a_challenged_run(challenger_served=0), SERVED, BOTH),
        (a_challenged_run(challenger_served=2), SERVED, BOTH),
        (a_run(), SERVED, arm_scores()),
    ],
    ids=["one row", "no rows", "more served", "fewer served", "served by nobody"],
)
def test_arms_that_are_not_as_counted_are_not_published(engine, run, batch, arms):
    with pytest.raises(warehouse.CountsDiffer, match="run score_customers again"):
        publish_both(engine, run, batch, arms)

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (arm_scores("bob", "ada"), "the arm scores of run run-1 are not in the order"),
        (BOTH.drop_columns("champion_probability"), "no column champion_probability"),
        (arm_scores("ada", "bob", challenger_probability=1.5), r"(?i)constraint"),
        (arm_scores("ada", "bob", challenger_is_contacted=None), r"(?i)constraint"),
    ],
    ids=["order", "column", "probability", "null"],
)
def test_arms_that_break_their_form_are_not_published(engine, arms, message):
    with pytest.raises(Exception, match=message):
        publish_both(engine, arms=arms)

    assert all(count(engine, table) == 0 for table in tables.METADATA.sorted_tables)


def later(run_id: str, hours: int, **changes):
    return a_run(run_id, published_at=a_run().published_at + timedelta(hours=hours), **changes)


def roll_back(engine, **options):
    return warehouse.roll_back(engine, NIGHT, actor="ada", reason="wrong prices", **options)


@pytest.fixture
def three_runs(engine):
    """Three runs of the night, each published over the one before."""
    publish(engine, later("run-1", 0))
    publish(engine, later("run-2", 1), replaces="run-1")
    publish(engine, later("run-3", 2), replaces="run-2")
    return engine


def test_rolling_back_goes_from_run_to_run_and_deletes_nothing(three_runs):
    assert roll_back(three_runs) == warehouse.RollBack("run-2", instead_of="run-3")
    assert roll_back(three_runs) == warehouse.RollBack("run-1", instead_of="run-2")
    assert warehouse.current_run(three_runs, NIGHT) == "run-1"
    assert count(three_runs, tables.PREDICTIONS) == 6

    with pytest.raises(warehouse.NothingToRollBack, match="run-3, run-2, run-1"):
        roll_back(three_runs)

    events = read(three_runs, sa.select(tables.AUDIT_LOG.c.event, tables.AUDIT_LOG.c.details))
    event, details = events[3]
    assert event == "predictions_rolled_back"
    assert details == {
        "run_id": "run-2",
        "score_date": "2026-04-01",
        "instead_of": "run-3",
        "by": "ada",
        "reason": "wrong prices",
        "token": None,
    }
    assert warehouse.check_audit(three_runs) == 5


def test_a_run_that_was_left_is_not_gone_back_to_unless_it_is_named(three_runs):
    roll_back(three_runs)
    publish(three_runs, later("run-4", 3), replaces="run-2")

    assert roll_back(three_runs).run_id == "run-2"
    assert roll_back(three_runs, run_id="run-3").run_id == "run-3"
    assert roll_back(three_runs, run_id="run-3").instead_of == "run-3"
    assert len(read(three_runs, "select event from audit_log")) == 7


def test_a_retry_of_publishing_does_not_undo_a_roll_back(three_runs):
    roll_back(three_runs)

    with pytest.raises(warehouse.Overtaken) as refusal:
        publish(three_runs, later("run-3", 9), replaces="run-2")
    assert "run-2, which the night was rolled back to from run run-3" in str(refusal.value)
    assert "by ada (wrong prices)" in str(refusal.value)
    assert "roll_back_predictions --score-date 2026-04-01 --run-id run-3" in str(refusal.value)
    publish(three_runs, later("run-4", 3), replaces="run-2")
    with pytest.raises(warehouse.Overtaken, match="run-4, which was published"):
        publish(three_runs, later("run-3", 9), replaces="run-4")
    assert warehouse.current_run(three_runs, NIGHT) == "run-4"

    roll_back(three_runs, run_id="run-3")
    assert publish(three_runs, later("run-3", 9), replaces="run-3") == "unchanged"


def test_a_run_opened_before_a_roll_back_does_not_follow_on_it_though_readers_see_the_same(engine):
    publish(engine, later("run-1", 0))
    opened = shown(engine, "run-1")
    publish(engine, later("run-2", 1), replaces="run-1")
    roll_back(engine)
    assert warehouse.current_run(engine, NIGHT) == opened.run_id

    with pytest.raises(warehouse.Overtaken, match=r"rolled back to from run run-2 by ada"):
        publish(engine, later("run-3", 2), replaces=opened)


def test_the_order_of_runs_is_the_databases_whatever_the_clocks_of_machines_say(engine):
    publish(engine, later("first", hours=5))
    publish(engine, later("second", hours=-300), replaces="first")
    publish(engine, later("third", hours=2), replaces="second")

    assert [roll_back(engine).run_id, roll_back(engine).run_id] == ["second", "first"]


FIRST, SECOND = ({"token": f"click-{number}"} for number in (1, 2))


def test_a_retry_of_a_roll_back_does_not_go_back_twice(three_runs):
    first = roll_back(three_runs, **FIRST)
    assert roll_back(three_runs, **FIRST) == first
    assert warehouse.current_run(three_runs, NIGHT) == "run-2"
    assert roll_back(three_runs, **SECOND).run_id == "run-1"


def test_a_roll_back_of_one_night_leaves_the_others(three_runs):
    publish(three_runs, later("other", 0, score_date=date(2026, 4, 2)))
    roll_back(three_runs)
    assert warehouse.current_run(three_runs, date(2026, 4, 2)) == "other"


@pytest.mark.parametrize("run_id", ["other", "never"])
def test_a_run_of_another_night_or_none_cannot_be_gone_back_to(three_runs, run_id):
    publish(three_runs, later("other", 0, score_date=date(2026, 4, 2)))
    with pytest.raises(warehouse.NothingToRollBack, match=f"no run {run_id}"):
        roll_back(three_runs, run_id=run_id)
    assert warehouse.current_run(three_runs, NIGHT) == "run-3"


def test_a_night_that_was_never_published_cannot_be_rolled_back(engine):
    with pytest.raises(warehouse.NothingToRollBack, match="shows run none"):
        roll_back(engine)


def test_roll_backs_at_the_same_time_as_publishing_leave_one_pointer_and_a_whole_log(three_runs):
    def publish_later():
        for attempt in range(5):
            run = later(f"new-{attempt}", 5 + attempt)
            try:
                publish(three_runs, run, replaces=warehouse.pointer_of(three_runs, NIGHT))
            except warehouse.Overtaken:
                continue

    def go_back():
        for _ in range(2):
            roll_back(three_runs)

    threads = [threading.Thread(target=work) for work in (publish_later, go_back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    details = [row[0] for row in read(three_runs, sa.select(tables.AUDIT_LOG.c.details))]
    assert warehouse.check_audit(three_runs) == len(details)
    assert [line["instead_of"] for line in details[1:]] == [line["run_id"] for line in details[:-1]]
    assert warehouse.current_run(three_runs, NIGHT) == details[-1]["run_id"]


def test_rows_from_before_there_were_challengers_keep_their_values(empty_url):
    engine = warehouse.connect(empty_url)
    row = {"run_id": "run-1", "score_date": "2026-04-01", "published_at": "2026-04-02T03:00:00Z"}
    texts = ("source", "model_name", "model_version", "threshold_version", "bundle_sha256")
    texts += ("features_sha256", "params_sha256", "code_version", "predictions_sha256")
    texts += ("reason", "published_by")
    row |= dict.fromkeys(texts, "x") | {"deliveries": "{}", "stage_seconds": "{}"}
    row |= {"delivered": 1, "accepted": 1, "quarantined": 0, "excluded": 0}
    row |= {"population": 2, "scored": 2, "fallback": 0}
    with warehouse.writing(engine) as connection:
        command.upgrade(migration_config(connection), "0001")
        for statement in (
            f"insert into scoring_runs ({', '.join(row)}) values (:{', :'.join(row)})",  # noqa: S608
            "insert into predictions (customer_id, run_id, probability, decile, is_contacted, "
            "reason_1, status) values ('ada', 'run-1', 0.5, 3, true, 'why', 'scored'), "
            "('bob', 'run-1', 0.25, 7, false, null, 'default')",
            "insert into current_runs values ('2026-04-01', 'run-1', '2026-04-02T03:00:00Z')",
            "insert into audit_log values "
            "(1, '2026-04-02T03:00:00Z', 'run_published', '{\"run_id\"\\:\"run-1\"}', '0', 'a'), "
            "(2, '2026-04-02T04:00:00Z', 'run_made_current', '{\"run_id\"\\:\"run-1\"}', 'a', 'b')",
            "insert into drift values ('run-1', 'spend', 'number', 'psi', 0.1, 0.2, 'steady', '')",
            "insert into promotions values "
            "('repurchase', 1, 'v1.0.0', null, 'first', 'ada', '2026-04-01T00:00:00Z')",
        ):
            connection.execute(sa.text(statement), row)

    warehouse.migrate(empty_url)

    served = read(
        engine,
        "select customer_id, probability, decile, is_contacted, reason_1, status, arm, "
        "model_version, is_control, question from current_predictions order by customer_id",
    )
    asked = "purchase_within_30d"
    assert served == [
        ("ada", 0.5, 3, True, "why", "scored", "champion", "x", False, asked),
        ("bob", 0.25, 7, False, None, "default", "champion", "x", False, asked),
    ]
    assert read(engine, "select challenger_version, challenger_percent from scoring_runs") == [
        (None, None)
    ]
    [(hashed,)] = read(engine, sa.select(tables.SCORING_RUNS.c.hashed_columns))
    # What was hashed then; a column that was added since says nothing of those runs.
    assert hashed == hashed_at_first()
    numbers = "select r.audit_number, c.audit_number from scoring_runs r, current_runs c"
    assert read(engine, numbers) == [(1, 2)]
    assert read(engine, "select stage, number, version, percent from promotions") == [
        ("champion", 1, "v1.0.0", 100)
    ]
    assert read(engine, "select against, column_name, value from drift") == [
        ("reference", "spend", 0.1)
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_readers_do_not_see_the_scores_of_both_models_and_writers_can_take_back(connect_as, engine):
    reader, writer = connect_as("reader"), connect_as("writer")
    publish(writer, a_run())
    late = a_challenged_run("run-2", published_at=a_run().published_at + timedelta(hours=1))
    publish_both(writer, late, replaces="run-1")

    assert len(read(reader, "select * from latest_predictions")) == 2
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        read(reader, "select * from arm_scores")
    roll_back(writer)
    assert warehouse.current_run(engine, NIGHT) == "run-1"


def a_move(**changes) -> SimpleNamespace:
    values = {
        "name": "repurchase",
        "number": 1,
        "version": "v1.1.0",
        "percent": 5,
        "against": 1,
        "previous": None,
        "reason": "won the gate",
        "actor": "bob",
        "at": datetime(2026, 4, 1, 13, tzinfo=UTC),
    }
    return SimpleNamespace(**values | changes)


def test_moves_of_the_challenger_are_recorded_once_beside_the_champions(engine):
    warehouse.record_challenge(engine, a_move())
    warehouse.record_challenge(engine, a_move())
    withdrawn = a_move(number=2, version=None, percent=None, previous="v1.1.0", reason="unfit")
    warehouse.record_challenge(engine, withdrawn)

    c = tables.PROMOTIONS.c
    moves = read(engine, sa.select(c.stage, c.number, c.version, c.percent, c.previous))
    assert moves == [
        ("challenger", 1, "v1.1.0", 5, None),
        ("challenger", 2, None, None, "v1.1.0"),
    ]
    events = read(engine, sa.select(tables.AUDIT_LOG.c.event, tables.AUDIT_LOG.c.details))
    assert [event for event, _ in events] == ["challenger_placed", "challenger_withdrawn"]
    assert events[0][1]["against"] == 1
    with pytest.raises(warehouse.HistoryDiffers, match="percent"):
        warehouse.record_challenge(engine, a_move(percent=20))


def a_promotion(number: int, version: str, at: datetime, actor="ada") -> SimpleNamespace:
    values = {"name": "repurchase", "number": number, "version": version, "previous": None}
    return SimpleNamespace(**values, reason="better", actor=actor, at=at)


def who_scored(engine, customer_id: str) -> dict:
    with engine.connect() as connection:
        question = {"customer_id": customer_id, "score_date": str(NIGHT)}
        return dict(connection.execute(sa.text(warehouse.WHO_SCORED), question).mappings().one())


def test_one_query_tells_which_model_scored_a_customer_and_who_put_it_there(engine):
    published = a_run().published_at
    before, after = published - timedelta(days=1), published + timedelta(days=1)
    warehouse.record_promotion(engine, a_promotion(1, "v1.0.0", before))
    warehouse.record_challenge(engine, a_move(number=1, percent=0, at=before, actor="carl"))
    warehouse.record_challenge(engine, a_move(number=2, percent=5, at=before))
    publish_both(engine)
    # What came later says nothing about that night.
    warehouse.record_challenge(engine, a_move(number=3, percent=20, at=after, actor="dora"))
    warehouse.record_promotion(engine, a_promotion(2, "v1.1.0", after, actor="dora"))
    warehouse.record_promotion(engine, a_promotion(3, "v1.0.0", after, actor="dora"))

    ada, bob = who_scored(engine, "ada"), who_scored(engine, "bob")

    assert (ada["arm"], ada["model_version"], ada["percent"]) == ("champion", "v1.0.0", 100)
    assert (ada["move"], ada["put_there_by"]) == (1, "ada")
    assert (bob["arm"], bob["model_version"], bob["percent"]) == ("challenger", "v1.1.0", 5)
    assert (bob["move"], bob["put_there_by"]) == (2, "bob")
    assert bob["put_there_because"] == "won the gate"
    assert bob["shown_by_event"] == "run_published"
    assert '"by":"tests"' in bob["shown_details"]

    publish(engine, later("run-2", 1), replaces="run-1")
    roll_back(engine)
    again = who_scored(engine, "ada")
    assert (again["move"], again["shown_by_event"]) == (1, "predictions_rolled_back")
    assert '"by":"ada"' in again["shown_details"]


def test_a_version_that_was_asked_for_by_name_was_put_there_by_nobody(engine):
    publish(engine, a_run())
    ada = who_scored(engine, "ada")
    assert (ada["model_version"], ada["move"], ada["put_there_by"]) == ("v1.0.0", None, None)
    assert ada["shown_by_event"] == "run_published"


def test_the_hash_of_a_night_without_challenger_is_the_same_on_every_database(engine):
    batch = predictions("ada", "bob", probability=[0.25, 1.0], reason_1=["x", None], decile=[9, 1])
    publish(engine, a_run(), batch)
    [(sha256,)] = read(engine, "select predictions_sha256 from scoring_runs")
    assert sha256 == "d4a24e8410974d6d92aa0f499ffbaa1bbd19e330bd400afedf4c8645d10c0804"


def hashed_at_first() -> dict[str, list[str]]:
    """The columns that a night was hashed over before there were challengers."""
    today = columns_to_hash(is_challenged=False)["predictions"]
    return {"predictions": [name for name in today if name not in ("is_control", "question")]}


def test_a_night_of_before_keeps_its_hash():
    batch = predictions("ada", "bob", probability=[0.25, 1.0], reason_1=["x", None], decile=[9, 1])
    sha256 = sha256_as_published("run-1", [batch], [], hashed_at_first())
    assert sha256 == "513a1318a8b877dd46a4e49831c97258bfff2a997d2e86dc6b20d12b70c6e1e7"


def test_what_was_asked_is_part_of_what_was_published(engine):
    for number, name in enumerate(("purchase_within_30d", "return_within_30d")):
        run = a_run(f"run-{number}", score_date=NIGHT + timedelta(days=number), question=name)
        publish(engine, run, predictions("ada", "bob", question=name))
    hashes = read(engine, "select distinct predictions_sha256 from scoring_runs")
    assert len(hashes) == 2


def test_whose_score_it_is_is_part_of_what_was_published(engine):
    for number, arms in enumerate((["champion", "challenger"], ["challenger", "champion"])):
        run = a_challenged_run(f"run-{number}", score_date=NIGHT + timedelta(days=number))
        publish_both(engine, run, predictions("ada", "bob", arm=arms))
    hashes = read(engine, "select distinct predictions_sha256 from scoring_runs")
    assert len(hashes) == 2
