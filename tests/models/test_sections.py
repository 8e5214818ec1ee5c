"""Tests of what people read, as text."""

from models.sections import SCREEN, Points, Section, Table, sections_text


def text(*blocks) -> str:
    return sections_text("Title", [Section("Section", list(blocks))])


def test_a_table_too_wide_for_the_screen_gives_way_in_its_widest_column():
    written = text(Table(["name", "value"], [["n" * 200, "7"]]))
    assert max(map(len, written.splitlines())) == SCREEN
    assert "n…     7\n" in written


def test_a_long_narrow_table_is_set_in_two_columns_in_its_own_order():
    rows = [[f"row {number}", str(number)] for number in range(13)]
    lines = text(Table(["name", "value"], rows)).splitlines()
    assert lines[4].split() == ["name", "value", "name", "value"]
    assert lines[5].split() == ["row", "0", "0", "row", "7", "7"]
    assert lines[11].split() == ["row", "6", "6"]


def test_what_was_delivered_cannot_speak_to_the_terminal():
    written = text("\x1b[2J", Points(["\x1b]0;pwned\x07"]), Table(["a"], [["b\nc"]]))
    assert "\x1b" not in written
    assert "\x07" not in written
    assert "b\\nc" in written
