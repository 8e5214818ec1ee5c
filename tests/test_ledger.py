"""What was known when: the list of a day grows at its end, and a night sees what stood in it."""

import multiprocessing
import random
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

import catalog
import ledger
from errors import BadData
from lake import RecordDamaged, file_sha256
from ledger import (
    READING_CODE,
    DeliveredFile,
    Entry,
    Known,
    RulesChanged,
    entries,
    first_night,
    intake_id,
    intake_rules,
    known,
    known_by,
    pin_rules,
    receive,
)
from meaning import source_meaning
from params import Params, read_params
from records import ActivityRecord
from settings import PROJECT_ROOT
from tests.features.visits import deliver as deliver_activity
from tests.harm import one_byte_flipped
from tests.records import edit_record, intake, put_entry, run_record, todays_rules

DAY = date(2026, 4, 1)
PARAMS = read_params()
RULES = intake().rpartition("-")[2]


def day(number: int) -> date:
    return DAY + timedelta(number)


def came(root: Path, content: str, night: date = DAY, known_on: date = DAY, **options) -> Entry:
    """A delivery of this content was copied, and is put on the list of its day."""
    copy = root / catalog.RECEIVED.format(known_on=known_on) / f"{content}-{random.random()}"  # noqa: S311
    copy.mkdir(parents=True)
    (copy / "part-0.csv").write_text(content)
    sha256 = file_sha256(copy / "part-0.csv")
    file = DeliveredFile(name="part-0.csv", bytes=len(content), sha256=sha256, rows=None)
    return receive(root, known_on, [file], copy, night, "test", **options)


def opened(root: Path, *nights: date) -> None:
    for night in nights:
        run_record(night).write(root)


# --- the list of a day -------------------------------------------------------------------------


def test_the_list_of_a_day_is_numbered_and_only_grows(tmp_path):
    first, second = came(tmp_path, "a"), came(tmp_path, "b")
    files = {path: path.read_bytes() for path in (tmp_path / "lake/ledger").rglob("*.json")}

    came(tmp_path, "c")

    assert [entry.number for entry in entries(tmp_path, DAY)] == [1, 2, 3]
    assert entries(tmp_path, DAY)[:2] == [first, second]
    assert all(path.read_bytes() == content for path, content in files.items())
    assert ledger.days(tmp_path) == [DAY]


def test_taking_the_last_one_again_adds_nothing(tmp_path):
    first = came(tmp_path, "a")
    assert came(tmp_path, "a", night=day(5)) == first
    assert entries(tmp_path, DAY) == [first]


def test_what_came_back_after_another_is_on_the_list_again(tmp_path):
    for content in "aba":
        came(tmp_path, content)
    first, second, third = entries(tmp_path, DAY)
    assert first.delivery_id == third.delivery_id != second.delivery_id


@pytest.mark.parametrize("harm", [Path.unlink, one_byte_flipped])
def test_a_delivery_whose_copy_is_not_whole_gets_another_and_the_same_nights(tmp_path, harm):
    first = came(tmp_path, "a")
    opened(tmp_path, DAY)
    harm(tmp_path / first.folder / "part-0.csv")

    again = came(tmp_path, "a", night=day(9))

    assert again.folder != first.folder
    assert (again.number, again.known_from) == (2, first.known_from)


def test_an_entry_that_is_not_what_was_written_is_named_with_what_to_do(tmp_path):
    came(tmp_path, "a")
    [path] = (tmp_path / f"lake/ledger/known_on={DAY}").iterdir()
    edit_record(path, ("known_from",), str(day(1)), is_sealed_again=False)
    said = rf"{path} was changed .* nobody knows what came for {DAY}.*backup"
    with pytest.raises(RecordDamaged, match=said):
        entries(tmp_path, DAY)


def test_the_list_goes_on_after_its_last_number_also_when_one_before_was_removed(tmp_path):
    for content in "abc":
        came(tmp_path, content)
    (tmp_path / catalog.LEDGER_ENTRY.format(known_on=DAY, number=2)).unlink()
    assert came(tmp_path, "d").number == 4


def receive_some(root: Path, contents: str, barrier) -> None:
    barrier.wait()
    for content in contents:
        came(root, content)


def test_many_processes_at_once_leave_a_list_without_gap_or_loss(tmp_path):
    fork = multiprocessing.get_context("fork")
    shares = ["abcdefgh", "ijklmnop", "qrstuvwx", "12345678"]
    barrier = fork.Barrier(len(shares))
    processes = [
        fork.Process(target=receive_some, args=(tmp_path, share, barrier)) for share in shares
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)

    found = entries(tmp_path, DAY)
    assert [process.exitcode for process in processes] == [0] * len(shares)
    assert [entry.number for entry in found] == list(range(1, 33))
    assert len({entry.delivery_id for entry in found}) == 32


# --- the first night that knows a delivery ------------------------------------------------------


def test_the_first_delivery_of_a_day_is_known_from_its_day_if_no_night_was_opened(tmp_path):
    assert came(tmp_path, "a", night=day(30)).known_from == DAY


def test_the_delivery_of_the_night_that_is_being_opened_is_known_in_it(tmp_path):
    opened(tmp_path, day(-1))
    assert came(tmp_path, "a", night=DAY).known_from == DAY


def test_a_delivery_that_comes_after_its_night_is_known_from_the_night_that_takes_it(tmp_path):
    opened(tmp_path, DAY, day(1))
    assert came(tmp_path, "a", night=day(2)).known_from == day(2)


def test_a_delivery_never_becomes_known_in_a_night_that_was_opened_without_it(tmp_path):
    opened(tmp_path, DAY, day(1), day(2))
    assert came(tmp_path, "a", night=day(1)).known_from == day(3)


def test_a_redelivery_is_known_from_the_next_night(tmp_path):
    came(tmp_path, "a")
    opened(tmp_path, DAY)
    assert came(tmp_path, "b", night=day(1)).known_from == day(1)


def test_a_redelivery_of_the_night_itself_is_known_when_that_night_is_opened_again(tmp_path):
    came(tmp_path, "a")
    opened(tmp_path, DAY)
    assert came(tmp_path, "b", night=DAY, is_reopened=True).known_from == DAY


def test_a_night_opened_again_when_later_ones_were_opened_is_not_told_of_what_they_lacked(tmp_path):
    came(tmp_path, "a")
    opened(tmp_path, DAY, day(1))
    assert came(tmp_path, "b", night=DAY, is_reopened=True).known_from == day(2)


def test_a_delivery_whose_records_are_lost_keeps_the_nights_that_have_pinned_it(tmp_path):
    pin_rules(tmp_path, todays_rules())
    entry = came(tmp_path, "a")
    take_in(tmp_path, entry)
    pinned = {DAY: intake_id(entry.delivery_id, RULES)}
    run_record(day(1), intakes=pinned).write(tmp_path)
    opened(tmp_path, day(2))
    [lost] = (tmp_path / f"lake/intakes/known_on={DAY}").iterdir()

    for harm in (one_byte_flipped, Path.unlink):
        harm(lost)
        assert first_night(tmp_path, DAY, entry.delivery_id, own_night=None) == DAY
        assert known(tmp_path, RULES, strict=False) == []


def test_what_is_known_never_goes_back(tmp_path):
    came(tmp_path, "a")
    opened(tmp_path, DAY)
    came(tmp_path, "b", night=day(7))
    assert came(tmp_path, "c", night=day(3)).known_from == day(7)


def test_nights_before_the_day_of_a_delivery_have_no_say(tmp_path):
    opened(tmp_path, day(-3), day(-1))
    assert came(tmp_path, "a", night=day(4)).known_from == DAY


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_when_no_opened_night_ever_sees_another_delivery(tmp_path, seed):
    """Nights are opened in order; at random deliveries of any day come, again and late."""
    chance = random.Random(seed)  # noqa: S311
    pin_rules(tmp_path, todays_rules())
    seen: dict[date, dict[date, str]] = {}
    for number in range(12):
        night = day(number)
        for _ in range(chance.randrange(3)):
            late = day(chance.randrange(number + 1))
            if late < night:
                take_in(tmp_path, came(tmp_path, str(chance.randrange(5)), night, late))
        if chance.random() < 0.8:
            content = str(chance.randrange(5))
            take_in(tmp_path, came(tmp_path, content, night, night, is_reopened=True))
            opened(tmp_path, night)
            seen[night] = known_by(tmp_path, RULES, night=night, until=night)
            assert night in seen[night]
        for earlier, was in seen.items():
            assert known_by(tmp_path, RULES, night=earlier, until=earlier) == was


def take_in(root: Path, entry: Entry) -> None:
    """Let nights use the delivery."""
    name = intake_id(entry.delivery_id, RULES)
    piece = {"files": []}
    ActivityRecord(
        known_on=entry.known_on,
        intake=name,
        known_from=first_night(root, entry.known_on, entry.delivery_id, own_night=None),
        transactions_sha256="t",
        activity=piece,
    ).write(root)


# --- what stands in a night --------------------------------------------------------------------


def standing(root: Path, night: date) -> dict[date, str]:
    found = known_by(root, RULES, night=night, until=night)
    return {known_on: ledger.delivery_of(name) for known_on, name in found.items()}


def test_a_correction_stands_from_its_first_night_and_the_one_before_until_then(tmp_path):
    deliver_activity(tmp_path, DAY, [], "first")
    deliver_activity(tmp_path, DAY, [], "second", known_from=day(3))

    assert [standing(tmp_path, day(n)) for n in (-1, 0, 2, 3, 9)] == [
        {},
        {DAY: "first"},
        {DAY: "first"},
        {DAY: "second"},
        {DAY: "second"},
    ]
    assert known(tmp_path, RULES) == [
        Known(DAY, "first", intake("first"), DAY, day(3)),
        Known(DAY, "second", intake("second"), day(3), None),
    ]


def test_a_delivery_that_was_refused_leaves_the_one_before_standing(tmp_path):
    deliver_activity(tmp_path, DAY, [], "good")
    put_entry(tmp_path, DAY, "refused", day(1))
    assert standing(tmp_path, day(5)) == {DAY: "good"}
    deliver_activity(tmp_path, DAY, [], "better", known_from=day(2))
    assert standing(tmp_path, day(1)) == {DAY: "good"}
    assert standing(tmp_path, day(2)) == {DAY: "better"}


def test_a_day_of_which_nothing_was_taken_in_is_not_known(tmp_path):
    put_entry(tmp_path, DAY, "refused")
    assert standing(tmp_path, day(5)) == {}


def test_a_delivery_that_came_back_stands_again(tmp_path):
    deliver_activity(tmp_path, DAY, [], "a")
    deliver_activity(tmp_path, DAY, [], "b", known_from=day(1))
    put_entry(tmp_path, DAY, "a", day(2))
    assert [standing(tmp_path, day(n))[DAY] for n in range(4)] == ["a", "b", "a", "a"]


# --- rules -------------------------------------------------------------------------------------


def changed(**values: object) -> Params:
    """Parameters with another entry of the source."""
    made = PARAMS.model_dump(mode="json")
    made["sources"]["generated"] |= values
    return Params.model_validate(made)


def renamed_customer() -> dict:
    columns = PARAMS.source("generated").columns.model_dump(mode="json")
    return columns | {"customer_id": "client"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"timezone": "Europe/Oslo"}, "sources.generated.timezone"),
        ({"columns": renamed_customer()}, "sources.generated.columns.customer_id"),
        ({"largest_quantity": 7}, "sources.generated.largest_quantity"),
        (
            {"timezone": "Europe/Berlin", "largest_quantity": 7},
            "sources.generated.largest_quantity, sources.generated.timezone",
        ),
    ],
)
def test_days_under_other_rules_stop_the_night_which_names_what_changed(tmp_path, values, named):
    for number in range(3):
        deliver_activity(tmp_path, day(number), [])
    rules = pin_rules(tmp_path, intake_rules(changed(**values), "generated"))

    with pytest.raises(RulesChanged) as stopped:
        known_by(tmp_path, rules, night=day(5), until=day(5))

    said = str(stopped.value)
    assert said.startswith("3 days of the lake, 2026-04-01 to 2026-04-03, were taken in under")
    assert f"Changed since: {named}. " in said
    assert said.endswith("python -m jobs.load_history --until 2026-04-03")
    assert issubclass(RulesChanged, BadData)
    assert known_by(tmp_path, rules, night=day(5), until=day(5), strict=False) == {}
    # The old intakes stay, for old runs.
    assert len(known_by(tmp_path, RULES, night=day(5), until=day(5))) == 3


@pytest.mark.parametrize(
    "values",
    [{"training_until": "2030-01-01"}, {"closed_days": ["2026-12-25"]}, {"currency": "NOK"}],
)
def test_what_changes_no_row_is_no_rule(values):
    assert intake_rules(changed(**values), "generated") == todays_rules()


def test_another_source_of_the_same_deployment_is_no_rule():
    only = PARAMS.model_copy(update={"sources": {"generated": PARAMS.source("generated")}})
    assert intake_rules(only, "generated") == todays_rules()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A copy of the code that reads deliveries, in the place of ours."""
    folder = tmp_path / "checkout"
    for name in READING_CODE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT_ROOT / name, folder / name)
    monkeypatch.setattr("meaning.PROJECT_ROOT", folder)
    monkeypatch.setattr("ledger.PROJECT_ROOT", folder)
    return folder


@pytest.mark.parametrize("name", READING_CODE)
def test_code_that_reads_counts_by_what_it_means(checkout, name):
    assert intake_rules(PARAMS, "generated") == todays_rules()
    path = checkout / name
    source = path.read_text()
    path.write_text(f'"""Another docstring."""\n\n# A comment.\n{source}\n\n')
    assert intake_rules(PARAMS, "generated") == todays_rules()

    path.write_text(f"{source}\nANOTHER = 1\n")
    other = intake_rules(PARAMS, "generated")
    assert {key for key in other if other[key] != todays_rules()[key]} == {"code"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1 + 1", "x  =  (1 + 1)  # two"),
        ('def f():\n    "Docs."\n    return 1', "def f():\n    return 1"),
        ('class A:\n    "Docs."', "class A:\n    pass"),
        ('x: int = 1\n"""Of x."""', "x: int = 1"),
    ],
)
def test_layout_comments_and_docstrings_mean_nothing(one, other):
    assert source_meaning(one) == source_meaning(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 2"),
        ("x = 'a'", "x = 'b'"),
        ("f('a')", "f('b')"),
        ("x = 1", "y = 1"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
    ],
)
def test_another_statement_value_or_name_means_something_else(one, other):
    assert source_meaning(one) != source_meaning(other)
