"""Tests of nights computed again as known now: through the real jobs, over a small shop."""

import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from rich.console import Console

import catalog
import warehouse
from jobs import audit_night, load_history, open_run, restate, show_nights
from jobs.pinned import NotPublished
from jobs.restate import NothingToRestate, Restatement
from ledger import delivery_of, entries
from models.sections import SCREEN, Section, sections_text
from records import Pointer, RunRecord
from settings import PROJECT_ROOT, Settings
from tests.jobs.small_shop import (
    FIRST,
    NIGHTS,
    PARAMS,
    bought,
    deliver,
    open_night,
    run_night,
    score_night,
)
from warehouse import Overtaken

CORRECTED = NIGHTS[1]


def correct(spark, settings) -> None:
    """2 April again: ben came back after weeks, c00 bought nothing, and gus is new."""
    lines = [bought("ben"), bought("gus")]
    others = [f"c{number:02}" for number in range(1, 40)]
    deliver(settings.data_root, CORRECTED, *lines, others=others)
    load_history.run(spark, settings, PARAMS, NIGHTS[-1])


@dataclass(frozen=True)
class Restated:
    """A shop with a correction, and what was computed about it."""

    settings: Settings
    restatement: Restatement
    sections: list[Section]


@pytest.fixture(scope="module")
def computed(tmp_path_factory, shop_folder, spark) -> Restated:
    """Not to be changed."""
    root = tmp_path_factory.mktemp("restated") / "data"
    shutil.copytree(shop_folder, root)
    settings = Settings(data_root=root)
    correct(spark, settings)

    def compute_night(night: date, reason: str, *, todays_rules: bool) -> str:
        """The first as the command does, the others in this process, which costs a tenth."""
        if night == CORRECTED:
            return restate.run_in_processes(night, reason, todays_rules=todays_rules)
        record = open_night(settings, night, reason=f"restatement: {reason}", as_known_now=True)
        return score_night(spark, settings, record).run_id

    reason = "corrected <2 April>"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SCORING_DATA_ROOT", str(root))
        found = restate.compute(settings, NIGHTS[0], NIGHTS[-1], reason, run_night=compute_night)
    return Restated(settings, *found)


@pytest.fixture
def restated(tmp_path, computed) -> Settings:
    """A copy of it."""
    shutil.copytree(computed.settings.data_root, tmp_path / "data")
    return Settings(data_root=tmp_path / "data")


def shown(settings) -> dict[date, str]:
    return warehouse.current_runs(warehouse.connect(settings.warehouse_url), NIGHTS[0], NIGHTS[-1])


def pointers(settings) -> dict[date, Pointer]:
    engine = warehouse.connect(settings.warehouse_url)
    return {night: warehouse.pointer_of(engine, night) for night in NIGHTS}


def switch(settings) -> dict:
    return restate.apply(settings, NIGHTS[0], NIGHTS[-1], reason="corrected", actor="ada")


def scores(settings, night: date, run_id: str) -> dict[str, tuple[float, bool]]:
    rows = restate.read_scores(
        settings.data_root, RunRecord.read(settings.data_root, night, run_id)
    ).to_pylist()
    return {row["customer_id"]: (row["probability"], row["is_contacted"]) for row in rows}


def test_only_nights_that_used_the_corrected_day_are_computed(computed):
    found = computed.restatement
    assert [each.score_date for each in found.nights] == NIGHTS[1:]
    assert all(each.learnt == {CORRECTED: "corrected"} for each in found.nights)
    assert found.unchanged == [NIGHTS[0]]


def test_nobody_sees_them_yet(computed, shop_folder):
    assert shown(computed.settings) == shown(Settings(data_root=shop_folder))
    engine = warehouse.connect(computed.settings.warehouse_url)
    for each in computed.restatement.nights:
        assert warehouse.score_of(engine, each.run_id, "ada") is None


def test_they_use_what_stands_today_with_the_models_and_parameters_of_their_night(computed):
    root = computed.settings.data_root
    newest = entries(root, CORRECTED)[-1].delivery_id
    for each in computed.restatement.nights:
        before, now = (
            RunRecord.read(root, each.score_date, run_id)
            for run_id in (each.replaces.run_id, each.run_id)
        )
        assert delivery_of(before.intakes[CORRECTED]) != newest
        assert delivery_of(now.intakes[CORRECTED]) == newest
        same = {"model_version", "bundle_sha256", "challenger", "params", "params_sha256"}
        assert now.model_dump(include=same) == before.model_dump(include=same)
        assert now.reason == "restatement: corrected <2 April>"


def test_the_difference_is_that_of_the_two_runs(computed):
    for each in computed.restatement.nights:
        old, new = (
            scores(computed.settings, each.score_date, run_id)
            for run_id in (each.replaces.run_id, each.run_id)
        )
        found = restate.difference(computed.settings.data_root, each)
        both = old.keys() & new.keys()
        assert found.customers == (len(old), len(new))
        assert (found.new, found.gone) == (len(new.keys() - old.keys()), 0)
        assert found.new == 1
        assert found.rescored == sum(old[name][0] != new[name][0] for name in both) > 0
        assert found.newly_contacted == sum(not old[name][1] and new[name][1] for name in both)
        assert found.newly_contacted >= 1
        assert found.no_longer_contacted == sum(old[name][1] and not new[name][1] for name in both)
        assert found.mean[1] == pytest.approx(sum(p for p, _ in new.values()) / len(new))
        assert found.largest == max(abs(old[name][0] - new[name][0]) for name in both)


def test_the_screen_and_the_page_say_what_readers_would_see_otherwise(computed):
    text = sections_text(restate.title_of(computed.restatement), computed.sections)
    assert max(map(len, text.splitlines())) <= SCREEN
    assert f"{'2026-04-02':<10}{'43':>11}{'1':>5}{'0':>6}{'1':>10}{'1':>10}{'0':>10}\n" in text
    assert "2026-04-03: 2026-04-02 corrected; run" in " ".join(text.split())
    assert "Nobody sees this yet." in text
    page = computed.settings.data_root / catalog.RESTATEMENT_REPORT.format(
        first=NIGHTS[0], last=NIGHTS[-1]
    )
    html = (page / "index.html").read_text()
    assert "corrected &lt;2 April&gt;" in html
    assert "<2 April>" not in html


def test_applying_switches_all_nights_and_says_how_to_undo_it(restated):
    before = shown(restated)
    facts = switch(restated)
    assert facts["switched"] == 2
    now = {date.fromisoformat(night): run_id for night, run_id in facts["nights"].items()}
    assert shown(restated) == before | now
    assert facts["undo"][0].startswith(
        f"python -m jobs.roll_back_predictions --score-date {CORRECTED} "
        f"--run-id {before[CORRECTED]}"
    )
    engine = warehouse.connect(restated.warehouse_url)
    assert warehouse.score_of(engine, shown(restated)[CORRECTED], "gus") is not None
    assert switch(restated)["switched"] == 0


def test_the_nights_go_on_being_judged_by_what_readers_had(restated):
    before = shown(restated)
    switch(restated)
    engine = warehouse.connect(restated.warehouse_url)
    assert warehouse.judged_runs(engine, NIGHTS[0], NIGHTS[-1]) == before


def test_a_restated_night_passes_its_audit_and_its_certificate_is_the_first_runs(restated):
    first = shown(restated)[CORRECTED]
    switch(restated)
    root, engine = restated.data_root, warehouse.connect(restated.warehouse_url)
    record = RunRecord.read(root, CORRECTED, shown(restated)[CORRECTED])
    assert audit_night.check_chain(root, engine, record, is_deep=False)["published_rows"] == 43
    assert f"as run {first} did" in audit_night.why_not_certified(engine, record)
    assert audit_night.why_not_certified(engine, RunRecord.read(root, CORRECTED, first)) is None


def test_applying_is_refused_when_a_night_was_published_meanwhile(restated, spark):
    root, night = restated.data_root, NIGHTS[-1]
    deliver(root, night, bought("ada", quantity=5))
    other = run_night(spark, restated, night).run_id
    before = shown(restated)
    assert before[night] == other
    with pytest.raises(Overtaken, match=other):
        switch(restated)
    assert shown(restated) == before


def test_a_roll_back_undoes_it_and_no_retry_undoes_the_roll_back(restated):
    before = shown(restated)
    switch(restated)
    engine = warehouse.connect(restated.warehouse_url)
    for night in NIGHTS[1:]:
        warehouse.roll_back(engine, night, actor="ben", reason="it was right before")
    assert shown(restated) == before
    with pytest.raises(Overtaken, match="it was right before"):
        switch(restated)
    assert shown(restated) == before


def test_a_lost_file_of_a_restated_run_is_not_switched_to(restated):
    root, before = restated.data_root, shown(restated)
    [run] = [each for each in read(root).nights if each.score_date == NIGHTS[-1]]
    piece = root / f"lake/predictions/score_date={run.score_date}/run_id={run.run_id}"
    shutil.rmtree(piece)
    with pytest.raises(FileNotFoundError, match=r"Make them again: .*score_customers"):
        switch(restated)
    assert shown(restated) == before


def read(root: Path) -> Restatement:
    path = root / catalog.RESTATEMENT.format(first=NIGHTS[0], last=NIGHTS[-1])
    return Restatement.take(path, "")


def test_a_late_day_changes_every_night_after_it(shop, spark):
    late = FIRST - timedelta(days=1)
    deliver(shop.data_root, late)
    load_history.run(spark, shop, PARAMS, NIGHTS[-1])
    changed = restate.changed_nights(shop, pointers(shop), todays_rules=False)
    assert changed == {night: {late: "late"} for night in NIGHTS}


def test_other_parameters_are_a_reason_only_where_they_are_asked_for(shop, monkeypatch):
    stricter = PARAMS.validation.model_copy(update={"quarantine_budget_share": 0.04})
    changed = PARAMS.model_copy(update={"validation": stricter})
    monkeypatch.setattr(restate, "read_params", lambda: changed)
    assert restate.changed_nights(shop, pointers(shop), todays_rules=False) == {}
    found = restate.changed_nights(shop, pointers(shop), todays_rules=True)
    assert found == {night: {} for night in NIGHTS}


def test_a_night_opens_as_known_now_only_when_that_is_asked_for(restated):
    before = shown(restated)[CORRECTED]
    # What lies in incoming is the correction; without it, the night is what it was.
    shutil.rmtree(catalog.incoming_folder(restated.data_root, CORRECTED))
    later = NIGHTS[-1]
    assert open_run.run(restated, PARAMS, later)["run_id"] == shown(restated)[later]
    facts = open_run.run(restated, PARAMS, CORRECTED, as_known_now=True)
    assert facts["run_id"] != before
    assert facts["run_id"] in {each.run_id for each in read(restated.data_root).nights}


def test_a_night_that_was_never_published_has_nothing_to_be_known_better(shop):
    with pytest.raises(NotPublished, match="2026-04-09 is not published"):
        open_run.run(shop, PARAMS, date(2026, 4, 9), as_known_now=True)


def test_the_nights_that_came_out_without_a_correction_are_listed(restated):
    text = " ".join(summary(restated).split())
    assert "Published without what came later" in text
    assert "2026-04-02 0 1 2026-04-02 corrected 2026-04-03 0 1 2026-04-02 corrected" in text
    assert "python -m jobs.restate --from 2026-04-02 --until 2026-04-03 --reason" in text
    switch(restated)
    assert "Published without" not in summary(restated)


def summary(settings) -> str:
    output = io.StringIO()
    show_nights.show_nights(Console(file=output, width=show_nights.WIDEST), settings, 10)
    return output.getvalue()


def test_applying_what_was_never_looked_at_is_refused(shop):
    with pytest.raises(NothingToRestate, match="See first what it would change"):
        switch(shop)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from=2026-05-01", "--until=2026-05-02"], 20, "no night from 2026-05-01 to"),
        (["--from=2026-04-03", "--until=2026-04-02"], 2, "--until 2026-04-02 comes before"),
        (["--from=2026-04-01", "--until=soon"], 2, "'soon' is no date"),
        (["--from=2026-04-01", "--until=2026-04-03"], 0, ""),
    ],
)
def test_the_command_shows_no_traceback(shop, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.restate", *arguments, "--reason=test"],
        cwd=PROJECT_ROOT,
        env={"SCORING_DATA_ROOT": str(shop.data_root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert ("Nothing to restate" in done.stdout) == (code == 0)
