"""Tests of the screen that says why a customer has the score they have."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

import warehouse
from jobs import explain_score, load_history, score_customers
from jobs.explain_score import NothingToExplain, explain
from lake import rows_where
from models.bundle_hash import bundle_sha256
from models.sections import SCREEN, sections_page, sections_text
from records import RunRecord, StageRecord
from settings import PROJECT_ROOT
from tests.jobs.small_shop import NIGHTS, PARAMS, bought, deliver, run_night
from tests.records import finish
from tests.seasons import with_season

NEWEST = NIGHTS[-1]


def screen(settings, customer, night=NEWEST, **options) -> str:
    explanation = explain(settings, customer, night, **options)
    return sections_text(explanation.title, explanation.sections)


def joined(text: str) -> str:
    """Without the ends of lines, so that a sentence can be looked for."""
    return " ".join(text.split())


def test_the_screen_reads_as_accepted(shop, golden):
    text = screen(shop, "ada")
    record = RunRecord.read(
        shop.data_root, NEWEST, warehouse.current_run(warehouse.connect(shop.warehouse_url), NEWEST)
    )
    before = warehouse.current_run(warehouse.connect(shop.warehouse_url), NIGHTS[1])
    # What changes with every line of code stands as its name.
    for name, value in {
        "<run>": record.run_id,
        "<the run before>": before,
        "<features>": record.features_sha256[:12],
        "<code>": record.code_sha256[:12],
        "<params>": record.params_sha256[:12],
        "<bundle>": record.bundle_sha256[:12],
        "<rules>": record.intake.rpartition("-")[2],
        "<commit>": record.code_version,
    }.items():
        text = text.replace(value, name)
    golden("explain_score.txt", text)


@pytest.mark.parametrize("customer", ["ada", "ben", "finn", "cleo", "dora", "eve"])
def test_no_line_is_wider_than_a_terminal(shop_settings, customer):
    assert max(map(len, screen(shop_settings, customer).splitlines())) <= SCREEN


@pytest.fixture(scope="module")
def shop_settings(shop_folder):
    """The shop itself: explaining changes nothing in it."""
    from settings import Settings

    return Settings(data_root=shop_folder)


def test_what_the_windows_hold_is_what_the_features_say(shop_settings):
    seen = explain(shop_settings, "ada", NEWEST)
    [section] = [each for each in seen.sections if each.title.startswith("What the windows")]
    table = section.blocks[0]
    root = shop_settings.data_root
    record = RunRecord.read(root, NEWEST, seen.run_id)
    piece = StageRecord.read(root, record, "build_features").pieces["features"]
    [features] = rows_where(root, [piece], "customer_id", "ada").to_pylist()
    for days, row in zip((7, 30, 90, 365), table.rows, strict=False):
        expected = [f"{features[f'{name}_{days}d']:.0f}" for name in ("purchase_days", "invoices")]
        assert row[1:3] == expected
        assert row[4] == f"{features[f'products_{days}d']:.0f}"
        assert row[5] == f"{features[f'spend_{days}d']:.2f}"
        assert row[6] == f"{features[f'returned_{days}d']:.2f}"
    assert "3.50" in table.rows[0]


def test_a_score_that_is_not_what_the_model_says_is_shouted_at(shop):
    engine = warehouse.connect(shop.warehouse_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text("update predictions set probability = 0.123456 where customer_id = 'ada'")
        )
    assert "NOT the score, 0.123456" in joined(screen(shop, "ada"))


def test_a_score_moved_by_the_season_adds_up_and_says_by_how_much(spark, shop):
    root = shop.data_root
    engine = warehouse.connect(shop.warehouse_url)
    record = RunRecord.read(root, NEWEST, warehouse.current_run(engine, NEWEST))
    champion = root / "bundles" / record.bundle_sha256
    seasonal = with_season(champion, root / "bundles" / "seasonal", NEWEST)
    sha256 = bundle_sha256(seasonal)
    seasonal.rename(root / "bundles" / sha256)
    again = record.model_copy(update={"run_id": "seasonal", "bundle_sha256": sha256})
    again.write(root)
    built = StageRecord.read(root, record, "build_features")
    finish(root, again, "build_features", **built.pieces)
    score_customers.run(spark, shop, PARAMS, again)
    text = joined(screen(shop, "ada", run_id="seasonal"))
    assert "NOT the score" not in text
    assert "of which +1.0973 for the season" in text
    assert "season, of the log-odds: +0.0000 -> +1.0973" in text


def test_a_version_that_was_asked_for_by_name_is_not_shown_as_the_champion(shop):
    run_id = warehouse.current_run(warehouse.connect(shop.warehouse_url), NEWEST)
    record = RunRecord.read(shop.data_root, NEWEST, run_id)
    record.model_copy(update={"is_champion": False}).write(shop.data_root)
    shown = joined(screen(shop, "ada"))
    assert "by a version asked for by name, not the champion: repurchase v1.0.0" in shown


def test_the_first_night_has_none_to_compare_with(shop_settings):
    text = joined(screen(shop_settings, "ada", NIGHTS[0]))
    assert "No night before this one is published." in text


def test_a_customer_of_whom_nothing_has_changed_is_told_so(shop_settings, monkeypatch):
    # No two nights are alike, as a day has passed; so the night is compared with itself.
    monkeypatch.setattr(warehouse, "run_before", warehouse.current_run)
    text = joined(screen(shop_settings, "ada"))
    assert ": +0.000000. - Nothing: the same values, model and rules." in text


def test_a_changed_model_and_rule_are_named(shop_settings):
    engine = warehouse.connect(shop_settings.warehouse_url)
    run_id = warehouse.current_run(engine, NEWEST)
    seen = explain_score.look(
        shop_settings, engine, RunRecord.read(shop_settings.data_root, NEWEST, run_id), "ada"
    )
    score = replace(seen.score, model_version="v1.1.0", arm="challenger")
    record = seen.record.model_copy(update={"params_sha256": "f" * 64})
    later = replace(seen, record=record, season_step=0.25)
    before = explain_score.rules_used(seen, seen.score)
    assert explain_score.rules_changed(before, explain_score.rules_used(later, score)) == [
        "model: champion v1.0.0 -> challenger v1.1.0",
        "season, of the log-odds: +0.0000 -> +0.2500",
        f"parameters: {seen.record.params_sha256[:12]} -> {'f' * 12}",
    ]


def test_who_has_not_bought_for_long_is_not_active(shop_settings):
    text = joined(screen(shop_settings, "finn"))
    assert "Not active: the last purchase known to run" in text
    assert "was on 2025-03-01, 398 days before. Scored is who bought within 365 days." in text


def test_who_only_sent_things_back_never_bought(shop_settings):
    text = joined(screen(shop_settings, "cleo"))
    assert "Never bought: run" in text
    assert "only returns, on 1 days, the newest on 2026-03-10." in text


def test_who_has_only_excluded_lines_is_told_the_rule(shop_settings):
    text = joined(screen(shop_settings, "dora"))
    assert "was accepted: 1 excluded (not_merchandise)." in text
    assert "2026-03-14: not_merchandise (excluded): invoice 0314-dora, 1 x POST at 2.50" in text


def test_who_has_only_quarantined_lines_is_told_the_delivery_its_file_and_the_rule(shop_settings):
    text = joined(screen(shop_settings, "eve"))
    assert "was accepted: 1 quarantined (quantity_not_zero)." in text
    assert "2026-03-20, part-0.parquet: quantity_not_zero (quarantined): invoice 0320-eve" in text


def test_unused_lines_of_who_has_a_score_are_shown_too(shop_settings):
    text = joined(screen(shop_settings, "ada"))
    assert "2026-03-20: not_merchandise (excluded): invoice a3, 1 x POST at 2.50" in text


def test_who_was_delivered_later_is_not_known_yet(shop, spark):
    late = date(2026, 3, 25)
    deliver(shop.data_root, late, bought("greta"))
    load_history.run(spark, shop, PARAMS, NEWEST)
    text = joined(screen(shop, "greta"))
    assert f"Not known yet: run {explain(shop, 'greta', NEWEST).run_id} has no line" in text
    assert f"The first is of {late}, in the delivery of {late}, which nights know from" in text


def test_an_unknown_customer_is_a_sentence(shop_settings):
    with pytest.raises(
        NothingToExplain, match=r"'Ada' is in the 43 deliveries .* letter by letter"
    ):
        explain(shop_settings, "Ada", NEWEST)


def test_an_unpublished_night_is_a_sentence(shop_settings):
    with pytest.raises(NothingToExplain, match=r"no run of 2026-04-09 is published.* 2026-04-03"):
        explain(shop_settings, "ada", NEWEST + timedelta(days=6))


def test_a_run_that_nobody_opened_is_a_sentence(shop_settings):
    with pytest.raises(NothingToExplain, match="no run 00 of 2026-04-03 was opened"):
        explain(shop_settings, "ada", NEWEST, "00")


def test_a_run_that_readers_do_not_see_is_explained_and_says_so(shop, spark):
    deliver(shop.data_root, NEWEST, bought("ada", quantity=7))
    first = explain(shop, "ada", NEWEST).run_id
    second = run_night(spark, shop, NEWEST).run_id
    text = joined(screen(shop, "ada", run_id=first))
    assert f"in run {first}, which readers do not see: they see run {second}." in text


def test_an_altered_piece_is_a_sentence(shop):
    root = shop.data_root
    explanation = explain(shop, "ada", NEWEST)
    record = RunRecord.read(root, NEWEST, explanation.run_id)
    [file] = StageRecord.read(root, record, "build_features").pieces["features"].files
    (root / file.path).write_bytes(b"PAR1")
    with pytest.raises(NothingToExplain, match="not what was written"):
        explain(shop, "ada", NEWEST)


def test_what_was_delivered_arrives_escaped_in_the_page(shop, spark):
    nasty = "<script>alert(1)</script>"
    deliver(shop.data_root, NEWEST, bought("ada", invoice=nasty, product="cup"))
    run_night(spark, shop, NEWEST)
    explanation = explain(shop, "ada", NEWEST)
    assert nasty in joined(sections_text(explanation.title, explanation.sections))
    page = sections_page(explanation.title, explanation.sections)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_command_writes_a_page_that_only_its_owner_reads(shop, tmp_path):
    page = tmp_path / "ada.html"
    done = command(shop, "--customer=ada", f"--score-date={NEWEST}", f"--html={page}")
    assert done.returncode == 0, done.stderr
    assert page.stat().st_mode & 0o777 == 0o600
    assert "Customer ada on the night of 2026-04-03" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--customer=nobody", "--score-date=2026-04-03"], 20, "no line of customer 'nobody'"),
        (["--customer=ada", "--score-date=2026-04-31"], 2, "'2026-04-31' is no date"),
    ],
)
def test_the_command_shows_no_traceback(shop_settings, arguments, code, said):
    done = command(shop_settings, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def command(settings, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jobs.explain_score", *arguments],
        cwd=PROJECT_ROOT,
        env={"SCORING_DATA_ROOT": str(settings.data_root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_what_is_shown_of_a_run_without_readers_comes_from_the_lake(shop):
    engine = warehouse.connect(shop.warehouse_url)
    run_id = warehouse.current_run(engine, NEWEST)
    record = RunRecord.read(shop.data_root, NEWEST, run_id)
    published = warehouse.score_of(engine, run_id, "ada")
    assert explain_score.unpublished_score(shop.data_root, record, "ada") == published
