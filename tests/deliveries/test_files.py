"""How a delivery is found, checked for damage and named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliveries.files import (
    DeliveryMissing,
    DeliveryUnreadable,
    data_files,
    delivered_files,
    delivery_id,
)
from lake import file_sha256
from records import DeliveredFile
from tests.deliveries.conftest import line


def test_lists_files_by_name_with_size_hash_and_rows(deliver):
    deliver(line(), line(), name="b.parquet")
    folder = deliver(line(), name="a.parquet")
    path = folder / "a.parquet"
    first, second = delivered_files(folder, "parquet")
    assert first == DeliveredFile(
        name="a.parquet", bytes=path.stat().st_size, sha256=file_sha256(path), rows=1
    )
    assert (second.name, second.rows) == ("b.parquet", 2)


def test_an_empty_file_is_a_delivery(deliver):
    assert [file.rows for file in delivered_files(deliver(), "parquet")] == [0]


def test_ignores_what_is_hidden(deliver):
    folder = deliver(line())
    for name in ("_SUCCESS", ".part-0.parquet.crc"):
        (folder / name).touch()
    assert [path.name for path in data_files(folder, "parquet")] == ["part-0.parquet"]


def test_a_folder_that_is_absent_or_empty_is_awaited(tmp_path):
    with pytest.raises(DeliveryMissing, match="no such folder yet"):
        data_files(tmp_path / "2026-04-01", "parquet")
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(DeliveryMissing, match=r"has no \.parquet file"):
        data_files(tmp_path, "parquet")


@pytest.mark.parametrize("name", ["part-1.parquet.tmp", "part-1.csv", "folder.parquet/"])
def test_a_folder_with_anything_else_in_it_is_not_whole(deliver, name):
    folder = deliver(line())
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).touch()
    with pytest.raises(DeliveryMissing, match=name.rstrip("/")):
        data_files(folder, "parquet")


def test_a_file_that_is_cut_off_is_unreadable(deliver):
    folder = deliver(line())
    path = folder / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DeliveryUnreadable, match=r"2026-04-01/part-0.parquet cannot be read"):
        delivered_files(folder, "parquet")


def test_damage_that_the_footer_does_not_show_is_found(deliver):
    folder = deliver(*[line(invoice=f"{number:06}") for number in range(1000)])
    path = folder / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)
    with pytest.raises(DeliveryUnreadable, match=r"part-0\.parquet"):
        delivered_files(folder, "parquet")


def test_csv_rows_are_not_counted(deliver_text):
    assert delivered_files(deliver_text("invoice\n500001\n"), "csv")[0].rows is None


FILES = st.lists(
    st.builds(DeliveredFile, name=st.text(), bytes=st.just(1), sha256=st.text(), rows=st.none()),
    min_size=1,
    max_size=5,
    unique_by=lambda file: file.name,
)


@given(files=FILES, data=st.data())
def test_the_id_of_a_delivery_does_not_depend_on_the_order_of_its_files(files, data):
    assert delivery_id(data.draw(st.permutations(files))) == delivery_id(files)


@given(files=FILES)
def test_the_id_of_a_delivery_changes_with_any_name_or_content(files):
    first, *rest = files
    others = [
        rest,
        [first.model_copy(update={"name": first.name + "x"}), *rest],
        [first.model_copy(update={"sha256": first.sha256 + "0"}), *rest],
    ]
    ids = {delivery_id(files), *(delivery_id(other) for other in others)}
    assert len(ids) == 4
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in ids)


def test_the_id_of_a_delivery_changes_with_its_bytes(deliver):
    before = delivery_id(delivered_files(deliver(line()), "parquet"))
    again = delivery_id(delivered_files(deliver(line()), "parquet"))
    after = delivery_id(delivered_files(deliver(line(quantity=7)), "parquet"))
    assert before == again != after
