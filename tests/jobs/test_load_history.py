"""Taking in what the lake lacks: good days among bad, what was refused, lost, or read otherwise."""

import shutil
from datetime import date, timedelta

import pytest

import catalog
from expectations.refusal import DeliveryRefused
from jobs import load_history
from lake import is_whole
from ledger import entries, intake_rules, known_by, pin_rules
from params import Params, read_params
from records import ActivityRecord, IntakeRecord, RefusalRecord
from settings import Settings
from tests.harm import HARMS
from tests.jobs.test_validate_delivery import INCOMING, deliver, good_rows, lake_files, row
from tests.records import edit_record, run_record

PARAMS = read_params()
DAYS = [date(2026, 4, 1) + timedelta(number) for number in range(3)]
FIRST, SECOND, LAST = DAYS


def load(spark, settings: Settings, params: Params = PARAMS, **options) -> dict:
    return load_history.run(spark, settings, params, LAST, **options)


def standing(settings: Settings, night=LAST, params: Params = PARAMS) -> dict[date, IntakeRecord]:
    """What stands for each day in a night."""
    rules = pin_rules(settings.data_root, intake_rules(params, settings.source))
    found = known_by(settings.data_root, rules, night=night, until=night)
    return {day: IntakeRecord.read(settings.data_root, day, name) for day, name in found.items()}


def redeliver(settings: Settings, day: date, rows: list[dict]) -> None:
    shutil.rmtree(catalog.incoming_folder(settings.data_root, day))
    deliver(settings, day, rows)


def with_validation(**values) -> Params:
    limits = PARAMS.validation.model_copy(update=values)
    return PARAMS.model_copy(update={"validation": limits})


def with_source(**values) -> Params:
    source = PARAMS.source("generated").model_copy(update=values)
    return PARAMS.model_copy(update={"sources": {**PARAMS.sources, "generated": source}})


# --- one bad day among good ones ----------------------------------------------------------------


def cut_off(settings: Settings) -> None:
    path = catalog.incoming_folder(settings.data_root, SECOND) / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def damaged_inside(settings: Settings) -> None:
    path = catalog.incoming_folder(settings.data_root, SECOND) / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)


def a_link(settings: Settings) -> None:
    folder = catalog.incoming_folder(settings.data_root, SECOND)
    (folder / "part-1.parquet").symlink_to("/etc/hostname")


def still_uploading(settings: Settings) -> None:
    (catalog.incoming_folder(settings.data_root, SECOND) / "part-1.parquet.tmp").touch()


def without_a_column(settings: Settings) -> None:
    shutil.rmtree(catalog.incoming_folder(settings.data_root, SECOND))
    deliver(settings, SECOND, good_rows(5, SECOND), INCOMING.remove(0))


def full_of_broken_rows(settings: Settings) -> None:
    redeliver(settings, SECOND, [*good_rows(5, SECOND), row(quantity=0)])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut_off, r"part-0\.parquet cannot be read"),
        (damaged_inside, r"part-0\.parquet cannot be read"),
        (a_link, "'part-1.parquet' is a link"),
        (still_uploading, "is not whole"),
        (without_a_column, "column 'invoice' .* is missing"),
        (full_of_broken_rows, r"1 of 6 rows .* break row rules, .*\n  quantity_not_zero: 1 rows"),
    ],
)
def test_a_day_that_cannot_be_taken_is_named_and_the_others_are_taken_in(
    spark, settings, harm, said
):
    for day in DAYS:
        deliver(settings, day, good_rows(50, day))
    harm(settings)

    for _ in range(2):
        with pytest.raises(DeliveryRefused, match=rf"^2026-04-02 refused: .*{said}"):
            load(spark, settings)
        assert list(standing(settings)) == [FIRST, LAST]

    redeliver(settings, SECOND, good_rows(7, SECOND))
    assert load(spark, settings)["deliveries"] == 3


# --- what was refused ---------------------------------------------------------------------------


@pytest.fixture
def refused(spark, settings):
    """A day of which one row in six is broken was refused."""
    deliver(settings, FIRST, good_rows(5))
    deliver(settings, SECOND, [*good_rows(5, SECOND), row(quantity=0)])
    with pytest.raises(DeliveryRefused):
        load(spark, settings)
    return settings


def test_what_was_refused_stays_refused_without_being_read_again(spark, refused):
    before = lake_files(refused)
    with pytest.raises(DeliveryRefused, match=r"1 of 6 rows(.|\n)*--accept-refused 2026-04-02"):
        load(spark, refused)
    assert lake_files(refused) == before


def test_a_refused_delivery_may_be_taken_by_a_person_whose_reason_is_kept(spark, refused):
    assert load(spark, refused, accepted={SECOND: "upstream cannot mend it"})["deliveries"] == 2

    taken = standing(refused)[SECOND]
    assert (taken.accepted, taken.quarantined) == (5, {"quantity_not_zero": 1})
    assert taken.accepted_because == "upstream cannot mend it"
    assert "1 of 6 rows (16.67%) break row rules" in taken.accepted_despite[0]
    # A day that needs no reason keeps none, and later nobody has to ask again.
    assert standing(refused)[FIRST].accepted_because is None
    assert load(spark, refused)["deliveries"] == 2


def test_the_command_asks_for_a_reason(capsys):
    arguments = ["--until", "2026-04-03", "--accept-refused", "2026-04-02"]
    with pytest.raises(SystemExit):
        load_history.main(load_history.PARSER.parse_args(arguments))
    assert "--accept-refused asks for --reason" in capsys.readouterr().err


def test_other_limits_judge_a_refused_delivery_again(spark, refused):
    lenient = with_validation(quarantine_budget_share=0.2)
    assert load(spark, refused, lenient)["deliveries"] == 2
    assert standing(refused, params=lenient)[SECOND].accepted_despite == []


def test_stricter_limits_refuse_it_again_and_say_by_which(spark, refused):
    strict = with_validation(quarantine_budget_share=0.1)
    before = RefusalRecord.find(refused.data_root, SECOND, intake_of(refused, SECOND))
    with pytest.raises(DeliveryRefused, match=r"more than the budget of 10\.00%"):
        load(spark, refused, strict)
    after = RefusalRecord.find(refused.data_root, SECOND, intake_of(refused, SECOND))
    assert after.judged_by != before.judged_by


def intake_of(settings: Settings, day: date) -> str:
    rules = pin_rules(settings.data_root, intake_rules(PARAMS, settings.source))
    return f"{entries(settings.data_root, day)[-1].delivery_id}-{rules}"


def test_a_redelivery_that_is_refused_leaves_the_one_before_standing(spark, settings):
    deliver(settings, FIRST, good_rows(5))
    load(spark, settings)
    good = standing(settings)[FIRST]
    redeliver(settings, FIRST, [*good_rows(5), row(quantity=0)])

    with pytest.raises(DeliveryRefused):
        load(spark, settings)

    assert standing(settings, night=LAST + timedelta(1)) == {FIRST: good}
    redeliver(settings, FIRST, good_rows(6))
    load(spark, settings)
    assert standing(settings) == {FIRST: good}
    assert standing(settings, night=LAST + timedelta(1))[FIRST].accepted == 6
    assert [entry.number for entry in entries(settings.data_root, FIRST)] == [1, 2, 3]


# --- what came when -----------------------------------------------------------------------------


def test_a_redelivery_after_nights_were_opened_changes_none_of_them(spark, settings):
    for day in DAYS[:2]:
        deliver(settings, day, good_rows(5, day))
    load(spark, settings)
    run_record(SECOND).write(settings.data_root)
    seen = standing(settings, night=SECOND)

    redeliver(settings, FIRST, good_rows(9))
    load(spark, settings)

    assert standing(settings, night=SECOND) == seen
    night_after = LAST + timedelta(1)
    assert standing(settings, night=night_after)[FIRST].accepted == 9
    assert standing(settings, night=LAST)[FIRST].accepted == 5


# --- what was lost, altered, or read otherwise --------------------------------------------------

PIECES = [
    catalog.TRANSACTIONS,
    catalog.EXCLUDED_TRANSACTIONS,
    catalog.QUARANTINED_TRANSACTIONS,
    catalog.ACTIVITY,
]


def pieces_of(settings: Settings, day: date) -> dict:
    taken = standing(settings)[day]
    activity = ActivityRecord.read(settings.data_root, day, taken.intake).activity
    return taken.pieces | {catalog.ACTIVITY.name: activity}


@pytest.fixture
def loaded(spark, settings):
    """Two days, each with lines of every kind."""
    odd = [row(invoice="copy")] * 2 + [row(invoice="guest", customer=None)]
    for day in DAYS[:2]:
        deliver(settings, day, good_rows(50, day) + odd)
    load(spark, settings)
    # From now on the copy is all there is.
    shutil.rmtree(settings.data_root / "incoming")
    return settings


@pytest.mark.parametrize("harm", [harm for harm, _ in HARMS[:3]])
@pytest.mark.parametrize("dataset", PIECES, ids=lambda dataset: dataset.name)
def test_a_piece_that_is_lost_or_altered_is_mended_by_one_command(spark, loaded, dataset, harm):
    root = loaded.data_root
    before = {day: pieces_of(loaded, day) for day in DAYS[:2]}
    [file] = before[SECOND][dataset.name].files
    content = (root / file.path).read_bytes()
    harm(root / file.path)

    assert load(spark, loaded)["deliveries"] == 2

    assert pieces_of(loaded, FIRST) == before[FIRST]
    mended = pieces_of(loaded, SECOND)
    assert all(is_whole(root, mended[each.name], each) for each in PIECES)
    [again] = mended[dataset.name].files
    assert (root / again.path).read_bytes() == content
    assert load_history.find_lacking(loaded, PARAMS, LAST).pending == {}


def test_under_other_rules_all_days_are_taken_in_again_from_the_copies(spark, loaded):
    before = standing(loaded)
    other = with_source(countries=["France", "Norway"])

    assert load(spark, loaded, other)["deliveries"] == 2

    again = standing(loaded, params=other)
    assert {day: one.delivery_id for day, one in again.items()} == {
        day: one.delivery_id for day, one in before.items()
    }
    assert {one.intake for one in again.values()}.isdisjoint(one.intake for one in before.values())
    # Those that an old run has pinned are as they were.
    assert standing(loaded) == before
    for day in DAYS[:2]:
        assert all(is_whole(loaded.data_root, pieces_of(loaded, day)[p.name], p) for p in PIECES)


def test_under_other_rules_an_earlier_delivery_of_a_day_is_taken_in_again_too(spark, settings):
    deliver(settings, FIRST, good_rows(5))
    load(spark, settings)
    run_record(FIRST).write(settings.data_root)
    redeliver(settings, FIRST, good_rows(9))
    load(spark, settings)
    other = with_source(countries=["France"])

    load(spark, settings, other)

    for params in (PARAMS, other):
        assert standing(settings, FIRST, params)[FIRST].accepted == 5
        assert standing(settings, LAST + timedelta(1), params)[FIRST].accepted == 9


def test_a_copy_that_is_gone_is_named_when_it_is_needed(spark, loaded):
    [entry] = entries(loaded.data_root, FIRST)
    shutil.rmtree(loaded.data_root / entry.folder)
    assert load(spark, loaded)["deliveries"] == 2
    with pytest.raises(Exception, match="the copy of a delivered file, is gone"):
        load(spark, loaded, with_source(countries=["France"]))


def test_a_delivery_that_is_accepted_late_is_not_told_to_nights_that_did_without_it(spark, refused):
    run_record(LAST).write(refused.data_root)
    assert SECOND not in standing(refused, night=LAST)

    load(spark, refused, accepted={SECOND: "upstream cannot mend it"})

    assert SECOND not in standing(refused, night=LAST)
    assert SECOND in standing(refused, night=LAST + timedelta(1))


def test_days_taken_in_by_code_that_kept_no_first_night_are_taken_in_again(spark, loaded):
    run_record(LAST).write(loaded.data_root)
    for day, record in standing(loaded).items():
        path = ActivityRecord.path(loaded.data_root, day, record.intake)
        edit_record(path, ("known_from",), None)

    other = with_source(countries=["France", "Norway"])
    assert load(spark, loaded, other)["deliveries"] == 2

    # The nights that used them still know them.
    assert list(standing(loaded, night=LAST, params=other)) == DAYS[:2]


def test_a_history_in_portions_is_taken_in_as_at_once(spark, settings, tmp_path, monkeypatch):
    at_once, in_portions = settings, settings.model_copy(update={"data_root": tmp_path / "other"})
    for day in DAYS:
        rows = good_rows(10, day)
        # Two of the lines came the day before, too.
        late = good_rows(10, day - timedelta(1))[:2] if day > FIRST else []
        for shop in (at_once, in_portions):
            deliver(shop, day, [*rows, *late])
    totals = load(spark, at_once)
    monkeypatch.setattr(load_history, "PORTION_ROWS", 15)

    assert load(spark, in_portions) == totals
    assert totals["quarantined"] == {"delivered_before": 4}
    assert contents(in_portions) == contents(at_once)
    pages = (in_portions.data_root / "reports/history").iterdir()
    assert {page.name for page in pages} == {str(day) for day in DAYS}


def contents(settings: Settings) -> dict:
    """The hashes of what stands for each day."""
    return {
        (day, name): [file.sha256 for file in piece.files]
        for day, record in standing(settings).items()
        for name, piece in record.pieces.items()
    }
