"""A delivered file that is damaged is named, wherever the damage is, and is bad data."""

import pytest

from deliveries.contract import open_delivery
from deliveries.files import DeliveryUnreadable
from deliveries.lines import read_lines
from deliveries.receive import describe_delivery
from errors import BadData
from tests.deliveries.conftest import DAY, line

HEADER = b"invoice,product,customer,quantity,unit_price,invoiced_at,country\n"
ROW = b"500001,85123A,17850,6,2.55,01/04/2026 08:26,%s\n"


@pytest.fixture
def open_and_read(spark, source, tmp_path):
    """What a job does with the copy of a delivery: held to the contract, then read to its end."""

    def run(folder, source=source) -> int:
        files = describe_delivery(folder, source.format)
        rows = open_delivery(folder, DAY, "d1-r1", files, source).rows
        with read_lines(spark, {DAY: folder}, source, tmp_path) as lines:
            assert lines.count() == rows
        return rows

    return run


def test_a_file_that_is_cut_off_is_unreadable(deliver, open_and_read):
    folder = deliver(line())
    path = folder / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DeliveryUnreadable, match=r"2026-04-01/part-0.parquet cannot be read"):
        open_and_read(folder)
    assert issubclass(DeliveryUnreadable, BadData)


def test_damage_that_the_footer_does_not_show_is_found(deliver, open_and_read):
    folder = deliver(*[line(invoice=f"{number:06}") for number in range(1000)])
    assert open_and_read(folder) == 1000
    path = folder / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(DeliveryUnreadable, match=r"part-0\.parquet"):
        open_and_read(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEADER.replace(b"country", b"caf\xe9"),
        HEADER + ROW % b"caf\xe9",
        HEADER + ROW % b"France" * 100_000 + ROW % b"caf\xe9",
        b"\x1f\x8b\x08\x00",
    ],
    ids=["empty", "header not utf-8", "not utf-8", "far down", "packed"],
)
def test_a_csv_file_without_header_or_not_in_utf_8_is_unreadable(
    tmp_path, open_and_read, csv_source, content
):
    (tmp_path / "2026-04-01").mkdir()
    (tmp_path / "2026-04-01/part-0.csv").write_bytes(content)
    with pytest.raises(DeliveryUnreadable, match=r"2026-04-01/part-0\.csv cannot be read"):
        open_and_read(tmp_path / "2026-04-01", csv_source)


def test_rows_of_a_csv_file_are_counted_without_spark(tmp_path, csv_source):
    row = '\n1,85123A,ada,2,2.5,2026-04-01 12:00,"two\nlines"\n\n2,x,bob,1,1,2026-04-01,F\n'
    (tmp_path / "part-0.csv").write_bytes(HEADER.rstrip() + row.encode())
    files = describe_delivery(tmp_path, "csv")
    assert open_delivery(tmp_path, DAY, "d1-r1", files, csv_source).rows == 2
