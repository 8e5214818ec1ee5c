"""Opening a run: everything is pinned, the same inputs are the same run, gaps are refused."""

import shutil
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalog
from deliveries.receive import DeliveryMissing, DeliveryUnfit, describe_delivery
from errors import BadData
from jobs import open_run
from jobs.open_run import DaysMissing, NightTooFar, ReasonMissing, scoring_params_sha256
from jobs.registry import ModelDoesNotFit, copy_history, open_registry
from ledger import RulesChanged, delivery_id, entries
from models.bundle_hash import BundleRefused
from models.git import git
from models.registry import VersionUnknown
from models.store import BundleDiffers
from params import read_params
from records import RunRecord
from sealed import RecordOutdated
from tests.features.visits import deliver as deliver_activity
from tests.jobs.challengers import register_challenger
from tests.records import intake
from tests.warehouse.nights import a_run, predictions
from warehouse import HistoryDiffers, Overtaken, audit_head, check_audit, connect, publish

PARAMS = read_params()
NIGHT = date(2026, 4, 8)
HISTORY = [NIGHT - timedelta(days=n) for n in range(7, 0, -1)]


def deliver(settings, day=NIGHT, lines=3) -> str:
    """Put down a delivery and return its id."""
    folder = catalog.incoming_folder(settings.data_root, day)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"quantity": list(range(lines))}), folder / "part-0.parquet")
    return delivery_id(describe_delivery(folder, "parquet"))


def accept(settings, *days: date) -> None:
    """Let the lake have an accepted delivery of each day."""
    for day in days:
        deliver_activity(settings.data_root, day, [], f"delivery-of-{day}")


def forget(settings, day: date) -> None:
    """Let the delivery of that day never have been taken in."""
    shutil.rmtree(settings.data_root / f"lake/intakes/known_on={day}")


def promote(settings, version="v1.0.0") -> None:
    open_registry(settings, PARAMS).promote(version, actor="ada", reason="test")


@pytest.fixture
def ready(deployed):
    """A deployment with a week of history, the night's delivery, and a champion."""
    accept(deployed, *HISTORY)
    deliver(deployed)
    promote(deployed)
    return deployed


def opened(settings, **options) -> RunRecord:
    facts = open_run.run(settings, PARAMS, NIGHT, **options)
    return RunRecord.read(settings.data_root, NIGHT, facts["run_id"])


def test_a_run_pins_its_deliveries_its_model_and_its_reason(ready):
    facts = open_run.run(ready, PARAMS, NIGHT, reason="the usual")
    record = RunRecord.read(ready.data_root, NIGHT, facts["run_id"])

    assert facts == {
        "score_date": "2026-04-08",
        "run_id": record.run_id,
        "model_version": "v1.0.0",
        "is_new": True,
        "deliveries": 8,
        "challenger": None,
        "challenger_refused": None,
        "engine": "embedded",
    }
    night_files = describe_delivery(catalog.incoming_folder(ready.data_root, NIGHT), "parquet")
    assert record.intakes == {
        **{day: intake(f"delivery-of-{day}") for day in HISTORY},
        NIGHT: intake(delivery_id(night_files)),
    }
    [entry] = entries(ready.data_root, NIGHT)
    assert record.files == entry.files == night_files
    assert record.pinned_params == PARAMS
    champion = open_registry(ready, PARAMS).resolve("champion")
    assert (record.model_name, record.model_version) == ("repurchase", "v1.0.0")
    assert record.bundle_sha256 == champion.bundle_sha256
    assert (ready.data_root / "bundles" / champion.bundle_sha256 / "model.ubj").exists()
    assert (record.source, record.reason) == ("generated", "the usual")
    assert record.previous_run_id is None


def test_opening_again_gives_the_same_run_with_its_record_unchanged(ready):
    first = opened(ready, reason="first")
    facts = open_run.run(ready, PARAMS, NIGHT, reason="second")
    assert facts["is_new"] is False
    assert RunRecord.read(ready.data_root, NIGHT, facts["run_id"]) == first


def test_a_new_delivery_of_the_night_is_another_run(ready):
    first = opened(ready)
    deliver(ready, lines=4)
    assert opened(ready).run_id != first.run_id


def test_a_redelivery_of_an_earlier_day_is_known_from_the_next_night(ready):
    tomorrow = NIGHT + timedelta(days=1)
    first = opened(ready)
    deliver_activity(ready.data_root, HISTORY[0], [], "redelivered", known_from=tomorrow)
    deliver_activity(ready.data_root, NIGHT, [], delivery_id(first.files))
    assert opened(ready) == first

    deliver(ready, tomorrow)
    facts = open_run.run(ready, PARAMS, tomorrow)
    later = RunRecord.read(ready.data_root, tomorrow, facts["run_id"])
    assert later.intakes[HISTORY[0]] == intake("redelivered")
    assert later.intakes.items() >= {day: first.intakes[day] for day in HISTORY[1:]}.items()


def test_deliveries_after_the_night_are_not_used(ready):
    first = opened(ready)
    accept(ready, NIGHT + timedelta(days=1))
    assert opened(ready) == first


def test_the_delivery_of_the_night_is_copied_and_what_upstream_does_then_changes_nothing(ready):
    folder = catalog.incoming_folder(ready.data_root, NIGHT)
    delivered = (folder / "part-0.parquet").read_bytes()
    record = opened(ready)
    (folder / "part-0.parquet").write_bytes(b"something else")

    [entry] = entries(ready.data_root, NIGHT)
    [copied] = (ready.data_root / entry.folder).iterdir()
    assert copied.read_bytes() == delivered
    shutil.rmtree(folder)
    assert opened(ready) == record
    assert len(entries(ready.data_root, NIGHT)) == 1


def test_a_delivery_that_must_not_be_read_stops_the_night_and_leaves_nothing(ready, tmp_path):
    private = tmp_path / "private"
    private.write_text("nobody may read this")
    folder = catalog.incoming_folder(ready.data_root, NIGHT)
    (folder / "part-1.parquet").symlink_to(private)
    with pytest.raises(DeliveryUnfit, match=r"part-1\.parquet' is a link"):
        opened(ready)
    assert entries(ready.data_root, NIGHT) == []
    assert not (ready.data_root / "lake/runs").exists()


def test_days_taken_in_under_other_rules_stop_the_night(ready):
    other = changed_source(largest_quantity=1)
    with pytest.raises(RulesChanged, match=r"7 days .*generated\.largest_quantity.*2026-04-07"):
        open_run.run(ready, other, NIGHT)


def test_the_run_current_on_the_newest_night_before_is_pinned(ready):
    for days_before in (3, 1, 0):
        earlier = a_run(f"run-{days_before}", score_date=NIGHT - timedelta(days=days_before))
        batches = [predictions("ada", "bob")]
        publish(connect(ready.warehouse_url), earlier, batches, replaces=None)
    assert opened(ready).previous_run_id == "run-1"


def test_a_version_may_be_asked_for_instead_of_the_champion(ready):
    promote(ready, "v1.1.0")
    assert opened(ready, model="v1.0.0", reason="to compare").model_version == "v1.0.0"


def test_a_day_without_delivery_is_named_and_stops_the_night(ready):
    forget(ready, HISTORY[2])
    with pytest.raises(DaysMissing, match=rf"\(1\): {HISTORY[2]}\. .*--accept-missing-days"):
        opened(ready)
    assert issubclass(DaysMissing, BadData)


def test_nobody_misses_the_delivery_of_a_closed_weekday_but_one_that_came(ready):
    """It has come when it lies there, and also when it was received and refused."""
    forget(ready, HISTORY[2])
    shut = PARAMS.source(ready.source).model_copy(
        update={"closed_weekdays": [f"{HISTORY[2]:%A}".lower()]}
    )
    params = PARAMS.model_copy(update={"sources": {ready.source: shut}})
    with pytest.raises(DaysMissing, match=rf"\(1\): {HISTORY[2]}\."):
        open_run.run(ready, params, NIGHT)
    shutil.rmtree(ready.data_root / f"lake/ledger/known_on={HISTORY[2]}")
    assert open_run.run(ready, params, NIGHT)["deliveries"] == len(HISTORY)
    deliver(ready, HISTORY[2])
    with pytest.raises(DaysMissing, match=rf"\(1\): {HISTORY[2]}\."):
        open_run.run(ready, params, NIGHT, reason="another")


def test_the_night_before_may_not_be_missing_either(ready):
    forget(ready, HISTORY[-1])
    with pytest.raises(DaysMissing, match=str(HISTORY[-1])):
        opened(ready)


def test_missing_days_may_be_accepted(ready):
    forget(ready, HISTORY[2])
    assert HISTORY[2] not in opened(ready, accept_missing_days=True).intakes


def test_many_missing_days_are_counted_not_listed(ready):
    accept(ready, HISTORY[0] - timedelta(days=30))
    with pytest.raises(DaysMissing, match=r"\(29\): 2026-03-03, .*, 2026-03-12 and 19 more\."):
        opened(ready)


def test_a_lake_without_history_says_how_to_take_it_in(deployed):
    deliver(deployed)
    promote(deployed)
    with pytest.raises(DaysMissing, match="load_history --until 2026-04-07"):
        opened(deployed, accept_missing_days=True)


def test_a_night_without_delivery_is_not_opened(ready):
    shutil.rmtree(catalog.incoming_folder(ready.data_root, NIGHT))
    with pytest.raises(DeliveryMissing):
        opened(ready)


def test_without_champion_nothing_is_opened(deployed):
    accept(deployed, *HISTORY)
    deliver(deployed)
    with pytest.raises(VersionUnknown, match="promote_model"):
        opened(deployed)


def test_a_model_that_reads_other_features_stops_the_night(ready):
    with pytest.raises(ModelDoesNotFit, match=r"v1\.1\.0 .*does not know \['tenure_days'\]"):
        opened(ready, model="v1.1.0", reason="to see")


def test_a_bundle_that_does_not_load_here_stops_the_night(ready, monkeypatch):
    monkeypatch.setattr("xgboost.__version__", "2.1.4")
    with pytest.raises(BundleRefused, match="xgboost"):
        opened(ready)


def test_a_bundle_changed_in_the_store_stops_the_night(ready, model_shop, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(model_shop / "model-store", store)
    spoilt = ready.model_copy(update={"model_store_url": str(store)})
    model = (model_shop / "fitting" / "model.ubj").read_bytes()
    [path] = [p for p in store.rglob("*") if p.is_file() and p.read_bytes() == model]
    path.chmod(0o644)
    path.write_bytes(b"!" + model[1:])
    with pytest.raises(BundleDiffers):
        opened(spoilt)
    assert not (ready.data_root / "lake" / "runs").exists()


def try_out(settings, version="v1.2.0", percent=5) -> None:
    open_registry(settings, PARAMS).challenge(version, percent, actor="ada", reason="test")


@pytest.fixture
def tried(ready, model_shop):
    """The same, with v1.2.0 tried on 5 % of the customers."""
    register_challenger(ready, model_shop)
    try_out(ready)
    return ready


def publish_run(settings, record: RunRecord) -> None:
    run = a_run(record.run_id, score_date=record.score_date)
    publish(connect(settings.warehouse_url), run, [predictions("ada", "bob")], replaces=None)


def test_the_challenger_is_pinned_with_its_bundle_and_its_share(tried):
    facts = open_run.run(tried, PARAMS, NIGHT)
    record = RunRecord.read(tried.data_root, NIGHT, facts["run_id"])

    challenger = open_registry(tried, PARAMS).resolve("v1.2.0")
    assert record.challenger.model_dump() == {
        "version": "v1.2.0",
        "bundle_sha256": challenger.bundle_sha256,
        "percent": 5,
    }
    assert facts["challenger"] == {"version": "v1.2.0", "percent": 5}
    assert record.model_version == "v1.0.0"
    assert opened(tried) == record


def test_another_share_is_another_run_and_so_is_none(tried):
    with_five = opened(tried)
    try_out(tried, percent=20)
    with_twenty = opened(tried)
    open_registry(tried, PARAMS).withdraw(actor="ada", reason="test")
    assert len({with_five.run_id, with_twenty.run_id, opened(tried).run_id}) == 3
    assert opened(tried).challenger is None


@pytest.mark.parametrize("reason", [None, ""])
def test_a_version_that_is_not_the_champion_scores_a_night_only_for_a_reason(ready, reason):
    promote(ready, "v1.1.0")
    with pytest.raises(ReasonMissing, match=r"v1\.0\.0 is not the champion, which is v1\.1\.0"):
        opened(ready, model="v1.0.0", reason=reason)
    assert not opened(ready, model="v1.0.0", reason="to compare").is_champion


def test_a_model_asked_for_by_name_scores_alone(tried):
    assert opened(tried, model="v1.0.0").challenger is None


def test_a_challenger_that_cannot_score_does_not_stop_the_night(ready):
    try_out(ready, "v1.1.0")
    facts = open_run.run(ready, PARAMS, NIGHT)
    assert facts["challenger"] is None
    assert facts["challenger_refused"].startswith("challenger v1.1.0 cannot score: ")
    assert "tenure_days" in facts["challenger_refused"]
    assert RunRecord.read(ready.data_root, NIGHT, facts["run_id"]).challenger is None


def test_a_challenger_whose_bundle_is_gone_does_not_stop_the_night(tried, tmp_path):
    without = opened(tried, model="v1.0.0")
    lost = tried.model_copy(update={"model_store_url": str(tmp_path / "nothing")})
    shutil.rmtree(tried.data_root / "bundles" / opened(tried).challenger.bundle_sha256)
    assert "model store" in open_run.run(lost, PARAMS, NIGHT)["challenger_refused"]
    assert opened(lost).run_id == without.run_id


def test_a_night_that_is_published_keeps_the_share_it_was_published_with(tried):
    first = opened(tried)
    publish_run(tried, first)
    try_out(tried, percent=20)
    assert opened(tried) == first

    open_registry(tried, PARAMS).withdraw(actor="ada", reason="poisoned")
    assert opened(tried).challenger is None


def test_a_night_published_before_the_challenge_stays_as_it_was(ready, model_shop):
    first = opened(ready)
    publish_run(ready, first)
    register_challenger(ready, model_shop)
    try_out(ready)
    assert opened(ready) == first


def test_a_past_night_that_was_never_published_is_not_for_the_challenger(tried):
    later = a_run("later", score_date=NIGHT + timedelta(days=1))
    publish(connect(tried.warehouse_url), later, [predictions("ada", "bob")], replaces=None)
    assert opened(tried).challenger is None


def changed(section: str, **values):
    part = getattr(PARAMS, section)
    return PARAMS.model_copy(update={section: part.model_copy(update=values)})


def changed_source(**values):
    source = PARAMS.sources["generated"].model_copy(update=values)
    return PARAMS.model_copy(update={"sources": {**PARAMS.sources, "generated": source}})


@pytest.mark.parametrize(
    "params",
    [
        changed("validation", quarantine_budget_share=0.9),
        changed("population", active_days=90),
        changed("scoring", reasons=False),
        changed("decision", control_share=0.1),
        changed_source(timezone="Europe/Berlin"),
        changed_source(largest_quantity=1),
        changed_source(countries=["Norway"]),
    ],
    ids=["validation", "population", "scoring", "control", "zone", "quantity", "countries"],
)
def test_a_parameter_that_changes_a_score_is_another_run(params):
    assert scoring_params_sha256(params, "generated") != scoring_params_sha256(PARAMS, "generated")


@pytest.mark.parametrize(
    "params",
    [
        changed("training", seed=1),
        changed("model", max_depth=9),
        changed("decision", contact_share=0.5),
        changed("drift", min_rows=1),
        changed_source(training_until=date(2030, 1, 1)),
        PARAMS.model_copy(update={"sources": {"generated": PARAMS.sources["generated"]}}),
    ],
    ids=["training", "model", "decision", "drift", "training_until", "other sources"],
)
def test_a_parameter_that_changes_no_score_is_the_same_run(params):
    assert scoring_params_sha256(params, "generated") == scoring_params_sha256(PARAMS, "generated")


@pytest.mark.parametrize("check", ["min_rank_correlation", "max_contacted_factor"])
def test_the_checks_of_a_challenger_count_only_when_there_is_one(check):
    other = changed("rollout", **{check: 9.0})
    for is_challenged in (True, False):
        same = scoring_params_sha256(other, "generated", is_challenged) == scoring_params_sha256(
            PARAMS, "generated", is_challenged
        )
        assert same is not is_challenged
    steps = changed("rollout", min_nights=99)
    assert scoring_params_sha256(steps, "generated", True) == scoring_params_sha256(
        PARAMS, "generated", True
    )


def test_every_section_of_the_parameters_is_in_or_out_of_the_hash_on_purpose():
    judged = {"sources", "validation", "population", "scoring"}
    judged |= {"training", "model", "decision", "drift"}
    judged |= {"quality", "performance", "retraining", "gate", "rollout", "retention"}
    assert set(type(PARAMS).model_fields) == judged


# --- a night that is published ------------------------------------------------------------------


def new_code(monkeypatch) -> None:
    for name in ("features_sha256", "night_code_sha256"):
        monkeypatch.setattr(open_run, name, lambda: "0" * 64)


@pytest.mark.parametrize(
    "params",
    [
        changed("population", active_days=90),
        changed_source(timezone="Europe/Berlin"),
        changed_source(largest_quantity=1),
    ],
    ids=["a parameter", "the zone", "a rule of reading"],
)
def test_a_published_night_opens_as_the_run_it_is_whatever_code_and_parameters_are_by_now(
    ready, monkeypatch, params
):
    first = opened(ready)
    publish_run(ready, first)
    new_code(monkeypatch)

    facts = open_run.run(ready, params, NIGHT)

    assert (facts["run_id"], facts["is_new"]) == (first.run_id, False)
    assert RunRecord.read(ready.data_root, NIGHT, first.run_id).pinned_params == PARAMS


def test_a_published_night_is_computed_anew_if_a_restatement_is_asked_for(ready, monkeypatch):
    first = opened(ready)
    publish_run(ready, first)
    assert open_run.run(ready, PARAMS, NIGHT, restate=True)["run_id"] == first.run_id

    params = changed("population", active_days=90)
    by_parameters = open_run.run(ready, params, NIGHT, restate=True)
    new_code(monkeypatch)
    by_code = open_run.run(ready, PARAMS, NIGHT, restate=True)

    assert by_parameters["is_new"]
    assert by_code["is_new"]
    restated = RunRecord.read(ready.data_root, NIGHT, by_parameters["run_id"])
    assert (restated.pinned_params, restated.intakes) == (params, first.intakes)
    # Nobody asks for it a second time.
    assert opened(ready) == first


def test_a_night_that_is_not_published_opens_with_the_parameters_of_today(ready):
    first = opened(ready)
    params = changed("population", active_days=90)
    facts = open_run.run(ready, params, NIGHT)
    assert facts["run_id"] != first.run_id
    assert RunRecord.read(ready.data_root, NIGHT, facts["run_id"]).pinned_params == params


def test_a_published_night_with_another_delivery_or_another_model_is_another_run(ready):
    first = opened(ready)
    publish_run(ready, first)
    promote(ready, "v1.1.0")
    assert opened(ready, model="v1.0.0", reason="to compare") == first
    deliver(ready, lines=4)
    second = opened(ready, model="v1.0.0", reason="to compare")
    assert second.run_id != first.run_id
    assert second.intakes.items() >= {day: first.intakes[day] for day in HISTORY}.items()


def test_a_published_run_whose_record_is_gone_is_opened_anew(ready):
    first = opened(ready)
    publish_run(ready, first)
    (ready.data_root / catalog.RUN_RECORD.format(**first.key)).unlink()
    assert open_run.run(ready, PARAMS, NIGHT)["is_new"]


def test_parameters_that_later_code_does_not_know_are_said_with_the_command_to_run(ready):
    record = opened(ready)
    older = record.model_copy(update={"params": record.params | {"gone_since": 1}})
    with pytest.raises(RecordOutdated, match=r"gone_since(.|\n)*jobs\.open_run --score-date 2026-"):
        older.pinned_params  # noqa: B018


# --- what a run remembers of the warehouse and the registry --------------------------------------


def test_a_run_keeps_what_readers_saw_when_it_was_first_opened(ready):
    """Cleared from the first task on, a failed run must not undo what was published since."""
    failed = opened(ready)
    deliver(ready, lines=4)
    corrected = opened(ready)
    engine = connect(ready.warehouse_url)
    run = a_run(corrected.run_id, score_date=NIGHT)
    publish(engine, run, [predictions("ada", "bob")], replaces=corrected.replaces)
    deliver(ready, lines=3)

    cleared = opened(ready)

    assert cleared == failed
    assert cleared.replaces is None
    late = a_run(cleared.run_id, score_date=NIGHT)
    with pytest.raises(Overtaken, match=f"run {corrected.run_id}, which was published"):
        publish(engine, late, [predictions("ada", "bob")], replaces=cleared.replaces)
    deliver(ready, lines=5)
    assert opened(ready).replaces.run_id == corrected.run_id


def test_the_head_of_the_audit_log_is_kept_with_the_run_and_with_each_new_tag(ready):
    copy_history(ready, open_registry(ready, PARAMS))
    record = opened(ready)
    promote(ready, "v1.1.0")
    state = open_registry(ready, PARAMS).read()

    warehouse = connect(ready.warehouse_url)
    assert record.audit == audit_head(warehouse)
    assert record.audit.number > 0
    assert state.promotions[-1].audit == record.audit
    anchors = {"the run": record.audit, **state.anchors()}
    assert list(anchors)[-1] == "promotion 2 of repurchase in the registry"
    assert check_audit(warehouse, anchors) == record.audit.number


def test_a_version_whose_tag_was_moved_stops_the_night(ready, model_shop):
    copy_history(ready, open_registry(ready, PARAMS))
    opened(ready)
    code = model_shop / "code"
    identity = ("-c", "user.name=mallory", "-c", "user.email=mallory@localhost")
    message = git("--git-dir", ready.registry_url, "tag", "-l", "--format=%(contents)", "*@v1.0.0")
    later = ("commit-tree", "-m", "other code", "HEAD^{tree}")
    other = git(*identity, *later, folder=code).strip()
    git(*identity, "tag", "-f", "-a", "repurchase@v1.0.0", "-m", message, other, folder=code)
    moved = "+refs/tags/repurchase@v1.0.0"
    git("push", "--quiet", ready.registry_url, moved, folder=code)

    with pytest.raises(HistoryDiffers, match=r"repurchase v1\.0\.0 .* other commit .* was moved"):
        opened(ready)


def test_a_night_in_the_far_future_is_not_opened(ready):
    far = date(9998, 4, 8)
    deliver(ready, far)
    with pytest.raises(NightTooFar, match=r"9998-04-08 .* 366 days after 2026-04-07"):
        open_run.run(ready, PARAMS, far, accept_missing_days=True)
    assert issubclass(NightTooFar, BadData)
