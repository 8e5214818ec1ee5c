"""How a delivery is found and copied, and what is never followed, opened or shown."""

import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import deliveries.receive
from deliveries.receive import (
    LONGEST_NAME,
    DeliveryMissing,
    DeliveryUnfit,
    copy_delivery,
    data_files,
    describe_delivery,
)
from errors import BadData
from lake import file_sha256
from ledger import DeliveredFile, delivery_id
from tests.deliveries.conftest import line

PRIVATE = "what nobody may read"


def test_lists_files_by_name_with_size_hash_and_rows(deliver):
    deliver(line(), line(), name="b.parquet")
    folder = deliver(line(), name="a.parquet")
    path = folder / "a.parquet"
    first, second = describe_delivery(folder, "parquet")
    assert first == DeliveredFile(
        name="a.parquet", bytes=path.stat().st_size, sha256=file_sha256(path), rows=1
    )
    assert (second.name, second.rows) == ("b.parquet", 2)


def test_an_empty_file_is_a_delivery(deliver):
    assert [file.rows for file in describe_delivery(deliver(), "parquet")] == [0]


def test_rows_that_no_footer_tells_are_not_counted(deliver, deliver_text):
    assert describe_delivery(deliver_text("invoice\n500001\n"), "csv")[0].rows is None
    folder = deliver(line(), day=line()["invoiced_at"].date() + timedelta(1))
    path = folder / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert describe_delivery(folder, "parquet")[0].rows is None


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


@pytest.mark.parametrize("name", ["part-1.parquet.tmp", "part-1.csv", "uploading/"])
def test_a_folder_with_anything_else_in_it_is_not_whole(deliver, name):
    folder = deliver(line())
    if name.endswith("/"):
        (folder / name).mkdir()
    else:
        (folder / name).touch()
    with pytest.raises(DeliveryMissing, match=name.rstrip("/")):
        data_files(folder, "parquet")


# --- what must not be read ---------------------------------------------------------------------


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def link_to_nothing(path: Path, _: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def hidden_target(path: Path, secret: Path) -> None:
    (path.parent / "_inside").write_text(secret.read_text())
    path.symlink_to("_inside")


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path, _: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def device(path: Path, _: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero, which has no end
    except PermissionError:
        pytest.skip("only root may make a device")


def folder_named_as_a_file(path: Path, _: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (link, "'part-1.parquet' is a link"),
        (link_to_nothing, "'part-1.parquet' is a link"),
        (hidden_target, "'part-1.parquet' is a link"),
        (pipe, "'part-1.parquet' is not a regular file"),
        (listening_socket, "'part-1.parquet' is not a regular file"),
        (device, "'part-1.parquet' is not a regular file"),
        (folder_named_as_a_file, "'part-1.parquet' is a folder"),
    ],
)
def test_what_is_no_regular_file_is_refused_unopened(
    deliver, tmp_path, tmp_path_factory, put, said
):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text(PRIVATE)
    folder = deliver(line())
    put(folder / "part-1.parquet", secret)

    with pytest.raises(DeliveryUnfit, match=said) as refused:
        copy_delivery(folder, "parquet", tmp_path / "copy")

    assert PRIVATE not in str(refused.value)
    assert str(secret) not in str(refused.value)
    assert list((tmp_path / "copy").iterdir()) == []
    assert issubclass(DeliveryUnfit, BadData)


def test_a_delivery_that_is_a_link_to_a_folder_is_refused(deliver, tmp_path):
    elsewhere = deliver(line())
    folder = tmp_path / "2026-04-02"
    folder.symlink_to(elsewhere)
    with pytest.raises(DeliveryUnfit, match="2026-04-02 is a link"):
        copy_delivery(folder, "parquet", tmp_path / "copy")


@pytest.mark.parametrize("late", [link, pipe, listening_socket])
def test_what_takes_the_place_of_a_file_after_the_listing_is_not_opened(
    deliver, tmp_path, tmp_path_factory, monkeypatch, late
):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text(PRIVATE)
    folder = deliver(line())
    listed = data_files(folder, "parquet")
    (folder / "part-0.parquet").unlink()
    late(folder / "part-0.parquet", secret)
    monkeypatch.setattr(deliveries.receive, "data_files", lambda *_: listed)

    with pytest.raises(DeliveryUnfit, match=r"part-0\.parquet is not a regular file"):
        copy_delivery(folder, "parquet", tmp_path / "copy")

    assert PRIVATE.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "copy").iterdir())


@pytest.mark.parametrize(
    "name",
    [
        b"a:b.parquet",
        b"line\nbreak.parquet",
        b"not-utf-8-\xff.parquet",
        b"star*.parquet",
        b"question?.parquet",
        b"back\\slash.parquet",
        b" blank-before.parquet",
        "right-to-left-\u202e.parquet".encode(),
        "line-\u2028-separator.parquet".encode(),
        b"x" * (LONGEST_NAME + 1 - len(".parquet")) + b".parquet",
    ],
)
def test_names_that_some_reader_does_not_take_are_refused_and_shown_on_one_line(deliver, name):
    folder = deliver(line())
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).touch()
    with pytest.raises(DeliveryUnfit, match="holds what cannot be taken") as refused:
        data_files(folder, "parquet")
    assert str(refused.value).isprintable()
    str(refused.value).encode()


def test_names_of_any_language_are_taken(deliver):
    names = ["åpning-1.parquet", "売上.parquet", "two words (1) = 100%.parquet"]
    for name in names:
        folder = deliver(line(), name=name)
    assert {path.name for path in data_files(folder, "parquet")} == set(names)


def test_of_many_unfit_files_a_few_are_shown_and_all_are_counted(deliver):
    folder = deliver(line())
    for number in range(40):
        (folder / f"link-{number:02}.parquet").symlink_to("part-0.parquet")
    with pytest.raises(DeliveryUnfit, match=r"\(40\): 'link-00.*'link-04\.parquet' .* and 35 more"):
        data_files(folder, "parquet")


# --- the copy ----------------------------------------------------------------------------------


def test_the_copy_has_the_same_bytes_and_nothing_else(deliver, tmp_path):
    deliver(line(), name="b.parquet")
    folder = deliver(line(), line(), name="a.parquet")
    (folder / "_SUCCESS").touch()

    files = copy_delivery(folder, "parquet", tmp_path / "copy")

    assert files == describe_delivery(folder, "parquet")
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {
        name: (folder / name).read_bytes() for name in ("a.parquet", "b.parquet")
    }


def grow(folder: Path) -> None:
    with (folder / "part-0.parquet").open("ab") as file:
        file.write(b"more")


def replace_by_as_much(folder: Path) -> None:
    path = folder / "part-0.parquet"
    fresh = path.with_name("_fresh")
    fresh.write_bytes(path.read_bytes()[::-1])
    fresh.rename(path)


def add_a_file(folder: Path) -> None:
    (folder / "part-9.parquet").write_bytes((folder / "part-0.parquet").read_bytes())


def remove_a_file(folder: Path) -> None:
    (folder / "part-1.parquet").unlink()


def begin_an_upload(folder: Path) -> None:
    (folder / "part-9.parquet.tmp").touch()


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    "change", [grow, replace_by_as_much, add_a_file, remove_a_file, begin_an_upload, move_away]
)
def test_a_delivery_that_changes_while_it_is_copied_is_awaited(
    deliver, tmp_path, monkeypatch, change
):
    deliver(line(), name="part-1.parquet")
    folder = deliver(line())
    real, changes = deliveries.receive._read, [change]

    def read(*arguments):
        described = real(*arguments)
        if changes:
            changes.pop()(folder)
        return described

    monkeypatch.setattr(deliveries.receive, "_read", read)
    with pytest.raises(DeliveryMissing, match=r"(changed|taken away) while it was read"):
        copy_delivery(folder, "parquet", tmp_path / "copy")

    if folder.exists() and change is not begin_an_upload:
        assert copy_delivery(folder, "parquet", tmp_path / "again")


# --- the identity ------------------------------------------------------------------------------

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
    before = delivery_id(describe_delivery(deliver(line()), "parquet"))
    again = delivery_id(describe_delivery(deliver(line()), "parquet"))
    after = delivery_id(describe_delivery(deliver(line(quantity=7)), "parquet"))
    assert before == again != after
