"""A record of the lake that is not what was written says so when it is read, and what to do."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import catalog
import ledger
from errors import BadData
from lake import RecordDamaged, write_json
from records import ActivityRecord, IntakeRecord, RefusalRecord, RunRecord, StageRecord
from sealed import SEAL, RecordOutdated, Sealed, read_sealed, sealed
from tests.harm import emptied, truncated
from tests.records import edit_record, finish, intake, put_entry, put_intake, run_record

DAY = date(2026, 4, 1)
RUN = run_record(DAY, reason="test")
NAMED = {"known_on": DAY, "intake": intake()}

Reader = Callable[[Path], object]


def leave_all(root: Path) -> dict[str, tuple[Path, Reader, str]]:
    """A record of each kind: its file, how it is read, and what its reader is told to do."""
    RUN.write(root)
    finish(root, RUN, "build_features", {"population": 3, "share": 0.1, "by_rule": {"ä": 1}})
    put_entry(root, DAY)
    put_intake(root, DAY)
    ActivityRecord(**NAMED, known_from=DAY, transactions_sha256="t", activity={"files": ()}).write(
        root
    )
    RefusalRecord(**NAMED, delivery_id="d1", reasons=["thin"], judged_by="x").write(root)
    again = f"jobs.load_history --until {DAY}"
    return {
        "run": (
            root / catalog.RUN_RECORD.format(**RUN.key),
            lambda root: RunRecord.read(root, DAY, RUN.run_id),
            f"jobs.open_run --score-date {DAY}",
        ),
        "stage": (
            root / catalog.STAGE_RECORD.format(**RUN.key, stage="build_features"),
            lambda root: StageRecord.read(root, RUN, "build_features"),
            RUN.command("build_features"),
        ),
        "entry": (
            root / catalog.LEDGER_ENTRY.format(known_on=DAY, number=1),
            lambda root: ledger.entries(root, DAY)[0],
            "backup",
        ),
        "intake": (
            IntakeRecord.path(root, **NAMED),
            lambda root: IntakeRecord.read(root, **NAMED),
            again,
        ),
        "activity": (
            ActivityRecord.path(root, **NAMED),
            lambda root: ActivityRecord.read(root, **NAMED),
            again,
        ),
    }


KINDS = ("run", "stage", "entry", "intake", "activity")


def unsealed(path: Path) -> None:
    content = json.loads(path.read_text())
    del content[SEAL]
    write_json(path, content)


def a_value_changed(path: Path) -> None:
    edit_record(path, (next(iter(read_sealed(path, ""))),), "another", is_sealed_again=False)


def of_another(path: Path) -> None:
    """What is sealed for the folder beside it, as a copy by mistake leaves it."""
    beside = path.parent.with_name("another") / path.name
    write_json(path, sealed(read_sealed(path, ""), beside))


HARMS = [emptied, truncated, unsealed, a_value_changed, of_another]


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_read_as_it_was_written(tmp_path, kind):
    _, read, _ = leave_all(tmp_path)[kind]
    assert isinstance(read(tmp_path), Sealed)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_is_not_what_was_written_is_named_with_what_to_do(tmp_path, kind, harm):
    path, read, next_step = leave_all(tmp_path)[kind]
    if harm is truncated:
        path.write_text(path.read_text().rstrip())  # The last byte is a line's end.
    harm(path)
    with pytest.raises(RecordDamaged, match=rf"^{path} .*{next_step}"):
        read(tmp_path)
    # A retry would find the same.
    assert issubclass(RecordDamaged, BadData)


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("run", "source"),
        ("stage", "seconds"),
        ("entry", "folder"),
        ("intake", "source"),
        ("activity", "known_from"),
    ],
)
def test_a_record_that_other_code_wrote_is_told_in_one_line_with_the_field(tmp_path, kind, missing):
    path, read, next_step = leave_all(tmp_path)[kind]
    edit_record(path, (missing,), None)
    with pytest.raises(RecordOutdated, match=rf"^{path} .*{missing} is missing.*{next_step}"):
        read(tmp_path)


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("kind", [IntakeRecord, ActivityRecord, RefusalRecord])
def test_what_is_made_again_when_it_is_not_there_is_also_when_it_is_damaged(
    tmp_path, kind, harm, caplog
):
    leave_all(tmp_path)
    path = kind.path(tmp_path, **NAMED)
    if harm is truncated:
        path.write_text(path.read_text().rstrip())
    assert kind.find(tmp_path, **NAMED) is not None
    harm(path)
    assert kind.find(tmp_path, **NAMED) is None
    assert str(path) in caplog.text


def test_rules_are_held_against_their_name(tmp_path):
    name = ledger.pin_rules(tmp_path, {"business.timezone": "Europe/Berlin"})
    assert ledger.read_rules(tmp_path, name) == {"business.timezone": "Europe/Berlin"}
    path = tmp_path / catalog.RULES.format(rules=name)
    edit_record(path, ("business.timezone",), "Asia/Tokyo")
    with pytest.raises(RecordDamaged, match=str(path)):
        ledger.read_rules(tmp_path, name)
