"""Text files are read strictly: what is no row is said, and nothing is swallowed."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deliveries import delimited
from deliveries.delimited import Malformed, header, read_rows
from deliveries.files import DeliveryUnreadable


@pytest.fixture
def rows_of(tmp_path, csv_source):
    """``rows_of(content, **dialect)``: each row by the number of its line, or what is wrong."""

    def read(content: bytes | str, lines_of_a_value=20, cell_characters=1_000, **dialect) -> dict:
        path = tmp_path / "part-0.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        limits = csv_source.limits.model_copy(
            update={"lines_of_a_value": lines_of_a_value, "cell_characters": cell_characters}
        )
        text = csv_source.text.model_copy(update=dialect)
        source = csv_source.model_copy(update={"text": text, "limits": limits})
        found = {}
        for batch in read_rows(path, source, len(header(path, source))):
            values = list(zip(*batch.columns, strict=True))
            for position, number in enumerate(batch.numbers):
                found[number] = batch.malformed.get(position, values[position])
        return found

    return read


def malformed(line: str, problem: str) -> Malformed:
    return Malformed(line, problem)


def test_every_row_has_the_number_of_its_line(rows_of):
    text = 'a,b\n1,2\n\n"3\n4",5\r\n6,7'
    assert rows_of(text) == {2: ("1", "2"), 4: ("3\n4", "5"), 6: ("6", "7")}


# A block is read at once if nothing in it is odd, the first line by line.
@pytest.mark.parametrize("block", [3, 1 << 18])
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,2", "2 value(s) instead of 3"),
        ("1,2,3,4", "4 value(s) instead of 3"),
        (" ", "1 value(s) instead of 3"),
        ('1,6" plate,3', "a quote opens inside a value"),
        ('1, "2",3', "a quote opens inside a value"),
        ('1,2"",3', "a quote opens inside a value"),
        ('1,"2"x,3', "there is text behind a closing quote"),
        ('1,"2" ,3', "there is text behind a closing quote"),
        ("1,2\r,3", "a carriage return without a line feed at character 4"),
        ('1,"2\r",3', "a carriage return without a line feed at character 5"),
        ("1,2,3\r\r", "a carriage return without a line feed at character 6"),
        ("1,\0,3", "a NUL character at character 3"),
    ],
)
def test_a_malformed_line_is_kept_whole_and_its_neighbours_are_read(
    monkeypatch, rows_of, line, problem, block
):
    monkeypatch.setattr(delimited, "READ_CHARACTERS", block)
    found = rows_of(f'a,b,c\n1,"2",3\n{line}\n4,"5",6\n')
    assert found == {
        2: ("1", "2", "3"),
        3: malformed(line.removesuffix("\r"), problem),
        4: ("4", "5", "6"),
    }


def test_bytes_that_are_no_text_make_their_line_malformed(rows_of):
    found = rows_of(b"a,b\n1,caf\xe9\n2,x\n")
    assert found == {
        2: malformed("1,caf\ufffd", "bytes that are not utf-8 at character 6"),
        3: ("2", "x"),
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('a,b,c\n1,"2,3\n4,5,6\n', r"line 2: a quote is never closed, so lines 2 to 3 cannot"),
        (
            'a,b,c\n1,"2,3\n4,"5",6\n',
            r"line 2: there is text behind a closing quote, so lines 2 to 3",
        ),
        ('a,b,c\n1,"2,3\n4,5,6\n7,8",9\n', r"line 2: a quoted value holds 2 whole line\(s\)"),
        ('a,b,c\n1,"2\n4,5"\n', r"line 2: 2 value\(s\) instead of 3, so lines 2 to 3"),
        (
            'a,b,c\n1,"2' + "\n" * 30 + '",3\n',
            r"line 2: a quoted value runs over more than 20 lines",
        ),
    ],
)
def test_a_quote_that_swallows_line_ends_makes_the_file_unreadable(rows_of, text, sentence):
    with pytest.raises(DeliveryUnreadable, match=sentence):
        rows_of(text)


def test_one_stray_quote_among_many_lines_is_never_read_over(rows_of):
    lines = [f'{number},"tea, green",3' for number in range(400)]
    lines[133] = '133,"tea, green,3'
    with pytest.raises(DeliveryUnreadable, match="line 135: there is text behind a closing quote"):
        rows_of("\n".join(["a,b,c", *lines]))


def test_where_no_value_runs_over_a_line_end_an_open_quote_is_one_malformed_line(rows_of):
    found = rows_of('a,b\n1,"2\n3,"4"\n5,"6\n7,8\n', lines_of_a_value=1)
    assert found == {
        2: malformed('1,"2', "a quote is never closed"),
        3: ("3", "4"),
        4: malformed('5,"6', "a quote is never closed"),
        5: ("7", "8"),
    }


def test_an_open_quote_on_the_last_line_swallows_nothing(rows_of):
    assert rows_of('a,b\n1,2\n3,"4') == {
        2: ("1", "2"),
        3: malformed('3,"4', "a quote is never closed"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ufeffa,b\n1,2", {2: ("1", "2")}),
        ("a,b", {}),
        ("a,b\n", {}),
        ("\n\r\na,b\n1,2", {4: ("1", "2")}),
        ("a,b\r\n1,2\n3,4\r\n", {2: ("1", "2"), 3: ("3", "4")}),
        ("a,b\n,\n", {2: ("", "")}),
    ],
)
def test_byte_order_mark_line_ends_and_empty_lines(rows_of, text, expected):
    assert rows_of(text) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty, not even a header"),
        (b"\n\n", "it is empty, not even a header"),
        (b"\x1f\x8b\x08\x00", "its header, line 1: bytes that are not utf-8"),
        ("a,b\n1,2\n".encode("utf-16"), "its header, line 1: bytes that are not utf-8"),
        (b"a,b\r1,2\r", "its header, line 1: a carriage return without a line feed"),
        (b'a,"b\n1,2\n', "line 1: a quote is never closed, so lines 1 to 2"),
        (b"a,b\n1," + b"x" * 1_001, "line 2: a value has 1,001 characters, 1,000 are allowed"),
        (b'a,b\n1,"' + b"x" * 1_001 + b'"', "line 2: a value has 1,001 characters"),
        (b"a,b\n1," + b"x" * 10_000_000, "line 2: it is longer than 16,000 characters"),
    ],
)
def test_what_no_line_can_be_told_of_is_unreadable(rows_of, content, sentence):
    with pytest.raises(DeliveryUnreadable, match=sentence):
        rows_of(content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_the_encoding_is_the_sources(rows_of, encoding):
    found = rows_of("a;b\nMünchen;2\n".encode(encoding), encoding=encoding, separator=";")
    assert found == {2: ("München", "2")}


def test_other_quotes_none_at_all_and_names_that_are_not_in_the_file(rows_of):
    assert rows_of("a\tb\n1\t'2\t3'\n", separator="\t", quote="'") == {2: ("1", "2\t3")}
    assert rows_of('a|b\n1|6" plate\n', separator="|", quote=None) == {2: ("1", '6" plate')}
    assert rows_of("1,2\n3,4\n", column_names=["a", "b"]) == {1: ("1", "2"), 2: ("3", "4")}
    assert rows_of("", column_names=["a", "b"]) == {}


PIECES = st.sampled_from(["1", "tea", '"tea"', '"a, b"', '"9"" plate"', "", '"', 'x"', "\r", "\0"])
LINES = st.lists(st.lists(PIECES, max_size=4).map(",".join), max_size=12)


same_source = settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@same_source
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), characters=st.integers(1, 60))
def test_how_a_file_is_cut_into_blocks_changes_nothing(
    tmp_path_factory, csv_source, lines, end, characters
):
    path = tmp_path_factory.getbasetemp() / "blocks.csv"
    path.write_bytes(end.join(["a,b,c", *lines]).encode())

    def read(at_a_time: int) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delimited, "READ_CHARACTERS", at_a_time)
            try:
                batches = list(read_rows(path, csv_source, 3))
            except DeliveryUnreadable as error:
                return str(error)
        return [(one.numbers, one.columns, one.malformed) for one in batches]

    assert read(characters) == read(1 << 18)


@same_source
@given(lines=LINES)
def test_no_line_is_lost_or_read_twice(tmp_path_factory, csv_source, lines):
    path = tmp_path_factory.getbasetemp() / "lines.csv"
    path.write_bytes("\n".join(["a,b,c", *lines]).encode())
    one_line = csv_source.limits.model_copy(update={"lines_of_a_value": 1})
    source = csv_source.model_copy(update={"limits": one_line})

    numbers = [number for batch in read_rows(path, source, 3) for number in batch.numbers]

    assert numbers == [
        number
        for number, line in enumerate(lines, start=2)
        # A carriage return before a line feed is part of the line's end.
        if line.removesuffix("\r")
    ]
