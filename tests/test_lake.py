"""Pieces are what was written or are not read; pages are replaced whole."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import Dataset
from lake import (
    Piece,
    PieceAltered,
    PieceMissing,
    RecordDamaged,
    check_pieces,
    file_sha256,
    is_whole,
    may_hold,
    read_json,
    read_pieces,
    replacing,
    write_deliveries,
    write_json,
    write_sorted,
)
from tests.records import put_piece

DAYS = {date(2026, 4, 1): "aa", date(2026, 4, 2): "bb", date(2026, 4, 3): "cc"}
NAMES = Dataset("names", "name string, size int", "lake/names/known_on={known_on}/id={intake}")


def replace_with(folder: Path, *names: str) -> None:
    with replacing(folder) as fresh:
        fresh.mkdir()
        for name in names:
            (fresh / name).touch(exist_ok=False)


def test_a_folder_takes_the_place_of_the_one_before(tmp_path):
    replace_with(tmp_path / "page", "old")
    replace_with(tmp_path / "page", "new")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "page",
        "page/new",
    ]


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    replace_with(tmp_path / "page", "old")
    with pytest.raises(FileExistsError):
        replace_with(tmp_path / "page", "new", "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["page", "old"]


def test_many_may_replace_one_folder_at_once(tmp_path):
    def replace_often(name: str) -> None:
        for _ in range(100):
            replace_with(tmp_path / "page", name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replace_often, "abcd"))

    [page] = tmp_path.iterdir()
    assert len(list(page.iterdir())) == 1


@pytest.fixture
def frame(spark):
    rows = [(date(2026, 4, 1), name, 1, None) for name in "dbca"] + [(date(2026, 4, 2), "z", 2, 1)]
    return spark.createDataFrame(rows, "known_on date, name string, size int, not_ours int")


def rows_of(root: Path, piece: Piece) -> list[list[dict]]:
    """The rows of each file of the piece."""
    return [pq.ParquetFile(root / file.path).read().to_pylist() for file in piece.files]


def test_each_delivery_gets_its_rows_sorted_and_an_empty_one_an_empty_file(frame, tmp_path):
    pieces = write_deliveries(frame.repartition(1), NAMES, tmp_path, DAYS, order=["name"])

    assert {day: rows_of(tmp_path, piece) for day, piece in pieces.items()} == {
        date(2026, 4, 1): [[{"name": name, "size": 1} for name in "abcd"]],
        date(2026, 4, 2): [[{"name": "z", "size": 2}]],
        date(2026, 4, 3): [[]],
    }
    for day, piece in pieces.items():
        [file] = piece.files
        path = tmp_path / file.path
        assert path.match(f"lake/names/known_on={day}/id={DAYS[day]}/*/part-00000.parquet")
        assert (file.bytes, file.sha256) == (path.stat().st_size, file_sha256(path))
        assert file.rows == len(rows_of(tmp_path, piece)[0])
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    assert [path.name for path in (tmp_path / "lake").iterdir()] == ["names"]


def test_writing_again_leaves_the_piece_before_as_it_was(frame, tmp_path):
    first = write_deliveries(frame.repartition(1), NAMES, tmp_path, DAYS, order=["name"])
    again = write_deliveries(frame.repartition(1), NAMES, tmp_path, DAYS, order=["name"])

    paths = {file.path for piece in (*first.values(), *again.values()) for file in piece.files}
    assert len(paths) == 6
    assert check_pieces(tmp_path, [*first.values(), *again.values()])


def test_a_day_that_lies_in_several_partitions_is_sorted_within_each_file(spark, tmp_path):
    columns = ("'c' as name", "cast(id as int) as size", "date'2026-04-01' as known_on")
    frame = spark.range(50_000).selectExpr(*columns).repartition(3, "size")
    pieces = write_deliveries(frame, NAMES, tmp_path, DAYS, order=["name", "size"])

    assert [piece.rows for piece in pieces.values()] == [50_000, 0, 0]
    files = rows_of(tmp_path, pieces[date(2026, 4, 1)])
    assert files
    for rows in files:
        sizes = [row["size"] for row in rows]
        assert sizes == sorted(sizes)


def test_columns_of_another_type_and_days_without_a_delivery_are_refused(frame, tmp_path):
    retyped = frame.withColumn("size", frame["size"].cast("bigint"))
    with pytest.raises(TypeError, match=r"wrong or absent: \['size'\]"):
        write_deliveries(retyped, NAMES, tmp_path, DAYS, order=["name"])

    with pytest.raises(ValueError, match=r"rows of \['2026-04-02'\]"):
        write_deliveries(frame, NAMES, tmp_path, {date(2026, 4, 1): "aa"}, order=["name"])
    assert list(tmp_path.rglob("*.parquet")) == []


# --- a piece is what was written, or the job stops ----------------------------------------------

TABLE = pa.table({"name": [f"n{n:03}" for n in range(300)], "size": pa.array(range(300), "int32")})


@pytest.fixture
def piece(tmp_path) -> Piece:
    """A piece of two files."""
    return put_piece(tmp_path, tmp_path / "lake/names", TABLE.slice(0, 200), TABLE.slice(200))


def test_a_whole_piece_is_read_in_the_order_of_its_files(spark, tmp_path, piece):
    (tmp_path / piece.files[0].path).with_name("part-00009.parquet").write_bytes(b"not ours")
    assert read_pieces(spark, tmp_path, [piece], NAMES).count() == 300
    assert [path.name for path in check_pieces(tmp_path, [piece])] == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert is_whole(tmp_path, piece, NAMES)


def test_the_identity_of_a_piece_is_its_content_and_not_its_place(tmp_path, piece):
    same = put_piece(tmp_path, tmp_path / "elsewhere", TABLE.slice(0, 200), TABLE.slice(200))
    turned = Piece(files=piece.files[::-1])
    assert same.sha256 == piece.sha256 != turned.sha256


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_any_change_of_any_file_of_a_piece_is_noticed(tmp_path, piece, data):
    path = tmp_path / data.draw(st.sampled_from(piece.files)).path
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    some = data.draw(st.binary(min_size=1, max_size=20))
    changed = data.draw(
        st.sampled_from(
            [
                whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :],
                whole[:at],
                whole[at + 1 :],
                whole + some,
                whole[:at] + some + whole[at:],
                None,
            ]
        )
    )
    path.unlink()
    if changed is not None:
        path.write_bytes(changed)
    try:
        with pytest.raises((PieceMissing, PieceAltered), match=rf"^1 of 2 files.*{path}.*again"):
            check_pieces(tmp_path, [piece], "Do it again.")
        assert not is_whole(tmp_path, piece, NAMES)
    finally:
        path.write_bytes(whole)
    assert check_pieces(tmp_path, [piece])


def test_lost_and_altered_files_are_counted_over_all_pieces(tmp_path, piece):
    other = put_piece(tmp_path, tmp_path / "lake/names", TABLE, TABLE)
    for file in other.files:
        (tmp_path / file.path).unlink()
    (tmp_path / piece.files[0].path).write_bytes(b"")
    with pytest.raises(PieceMissing, match=rf"2 of 4 files .* gone.*{other.files[0].path}"):
        check_pieces(tmp_path, [piece, other])


def test_a_file_that_lacks_a_column_of_today_is_not_whole(spark, tmp_path):
    older = put_piece(tmp_path, tmp_path / "lake/names", TABLE.select(["name"]))
    assert not is_whole(tmp_path, older, NAMES)
    with pytest.raises(PieceAltered, match=r"lacks the columns \['size'\] of names.*load_history"):
        read_pieces(spark, tmp_path, [older], NAMES)


def test_the_files_of_a_piece_say_which_dates_it_can_hold(spark, tmp_path):
    columns = ["array('a') as names", "date_add(date '2026-04-01', cast(id as int)) as on"]
    days = spark.range(10).selectExpr(*columns)
    piece = write_sorted(days, tmp_path / "days", tmp_path, ["on"])

    def holds(first: int, last: int, piece: Piece = piece) -> bool:
        return may_hold(tmp_path, piece, "on", date(2026, 4, first), date(2026, 4, last))

    assert [holds(1, 1), holds(10, 20), holds(11, 20)] == [True, True, False]
    empty = write_sorted(days.limit(0), tmp_path / "none", tmp_path, ["on"])
    assert not holds(1, 30, empty)
    (tmp_path / piece.files[0].path).unlink()
    assert holds(11, 20)


def test_no_piece_is_not_the_same_as_an_empty_one(spark, tmp_path):
    with pytest.raises(PieceMissing, match="no piece of the lake to read"):
        read_pieces(spark, tmp_path, [], NAMES)
    empty = put_piece(tmp_path, tmp_path / "lake/names", TABLE.slice(0, 0))
    assert read_pieces(spark, tmp_path, [empty], NAMES).count() == 0


# --- records ------------------------------------------------------------------------------------


def test_a_file_that_must_be_new_is_written_by_one_of_many(tmp_path):
    path = tmp_path / "entry.json"

    def write(number: int) -> int | None:
        try:
            write_json(path, {"by": number}, is_new=True)
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        [winner] = [one for one in pool.map(write, range(40)) if one is not None]
    assert read_json(path) == {"by": winner}
    assert [one.name for one in tmp_path.iterdir()] == ["entry.json"]


@pytest.mark.parametrize("content", [b"", b'{"rows": 1', b"\xff\xfe", b"[1]"])
def test_a_record_that_is_not_whole_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RecordDamaged, match=r"record.json is not (whole|what).*backup"):
        read_json(path)
