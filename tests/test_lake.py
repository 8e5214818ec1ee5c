"""Folders are replaced whole, and partitions of many deliveries put down by one Spark job."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from catalog import Dataset
from lake import replacing, write_deliveries

DAYS = {date(2026, 4, 1): "aa", date(2026, 4, 2): "bb", date(2026, 4, 3): "cc"}
NAMES = Dataset("names", "name string, size int", "lake/names/known_on={known_on}/id={delivery_id}")


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


def test_each_delivery_gets_its_rows_sorted_and_an_empty_one_an_empty_file(frame, tmp_path):
    rows = write_deliveries(frame.repartition(1), NAMES, tmp_path, DAYS, order=["name"])

    assert list(rows.values()) == [4, 1, 0]
    found = {
        str(path.relative_to(tmp_path / "lake/names")): pq.ParquetFile(path).read().to_pylist()
        for path in tmp_path.rglob("*.parquet")
    }
    assert found == {
        "known_on=2026-04-01/id=aa/part-00000.parquet": [
            {"name": name, "size": 1} for name in "abcd"
        ],
        "known_on=2026-04-02/id=bb/part-00000.parquet": [{"name": "z", "size": 2}],
        "known_on=2026-04-03/id=cc/part-00000.parquet": [],
    }
    assert [path.name for path in (tmp_path / "lake").iterdir()] == ["names"]


def test_a_day_that_lies_in_several_partitions_is_sorted_within_each_file(spark, tmp_path):
    columns = ("'c' as name", "cast(id as int) as size", "date'2026-04-01' as known_on")
    frame = spark.range(50_000).selectExpr(*columns).repartition(3, "size")
    rows = write_deliveries(frame, NAMES, tmp_path, DAYS, order=["name", "size"])

    assert list(rows.values()) == [50_000, 0, 0]
    files = sorted((tmp_path / "lake/names/known_on=2026-04-01/id=aa").iterdir())
    assert files
    for file in files:
        sizes = pq.ParquetFile(file).read()["size"].to_pylist()
        assert sizes == sorted(sizes)


def test_columns_of_another_type_and_days_without_a_delivery_are_refused(frame, tmp_path):
    retyped = frame.withColumn("size", frame["size"].cast("bigint"))
    with pytest.raises(TypeError, match=r"wrong or absent: \['size'\]"):
        write_deliveries(retyped, NAMES, tmp_path, DAYS, order=["name"])

    with pytest.raises(ValueError, match=r"rows of \['2026-04-02'\]"):
        write_deliveries(frame, NAMES, tmp_path, {date(2026, 4, 1): "aa"}, order=["name"])
    assert list(tmp_path.rglob("*.parquet")) == []
