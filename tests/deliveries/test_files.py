"""A delivered file that is damaged is named, wherever the damage is, and is bad data."""

import pytest

from deliveries.cells import DeliveredCells
from deliveries.files import DeliveryUnreadable
from deliveries.receive import describe_delivery
from errors import BadData
from tests.deliveries.conftest import DAY, line

HEADER = b"invoice,product,customer,quantity,unit_price,invoiced_at,country\n"
ROW = b"500001,85123A,17850,6,2.55,01/04/2026 08:26,%s\n"


@pytest.fixture
def count(source, tmp_path):
    """``count(folder)`` reads a delivery to its end, as a job reads its copy; the rows."""

    def open_whole(folder, source=source) -> int:
        files = describe_delivery(folder, source.format)
        with DeliveredCells(tmp_path) as cells:
            return cells.open_delivery(folder, DAY, "d1-r1", files, source).rows

    return open_whole


def test_a_file_that_is_cut_off_is_unreadable(deliver, count):
    folder = deliver(line())
    path = folder / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DeliveryUnreadable, match=r"2026-04-01/part-0.parquet cannot be read"):
        count(folder)
    assert issubclass(DeliveryUnreadable, BadData)


def test_damage_that_the_footer_does_not_show_is_found(deliver, count):
    folder = deliver(*[line(invoice=f"{number:06}") for number in range(1000)])
    assert count(folder) == 1000
    path = folder / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(DeliveryUnreadable, match=r"part-0\.parquet"):
        count(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEADER.replace(b"country", b"caf\xe9"),
        b"\x1f\x8b\x08\x00",
    ],
    ids=["empty", "header not utf-8", "packed"],
)
def test_a_csv_file_without_a_header_in_utf_8_is_unreadable(tmp_path, count, csv_source, content):
    (tmp_path / "2026-04-01").mkdir()
    (tmp_path / "2026-04-01/part-0.csv").write_bytes(content)
    with pytest.raises(DeliveryUnreadable, match=r"2026-04-01/part-0\.csv cannot be read"):
        count(tmp_path / "2026-04-01", csv_source)


@pytest.mark.parametrize("before", [0, 10_000], ids=["at once", "far down"])
def test_a_row_that_is_not_utf_8_is_malformed_and_no_other(deliver_text, read, csv_source, before):
    content = HEADER + ROW % b"France" * before + ROW % b"caf\xe9" + ROW % b"France"
    lines = read(csv_source, deliver_text(content))
    assert len(lines) == before + 2
    [(number, problem)] = [(one.source_line, one.malformed) for one in lines if one.malformed]
    assert (number, problem[:27]) == (before + 2, "bytes that are not utf-8 at")


def test_rows_of_a_csv_file_are_counted_without_spark(tmp_path, count, csv_source):
    row = '\n1,85123A,ada,2,2.5,2026-04-01 12:00,"two\nlines"\n\n2,x,bob,1,1,2026-04-01,F\n'
    (tmp_path / "part-0.csv").write_bytes(HEADER.rstrip() + row.encode())
    assert count(tmp_path, csv_source) == 2
