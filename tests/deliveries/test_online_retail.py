"""Online Retail II by day: nothing lost, nothing twice, and refused when that cannot be said."""

from collections import Counter
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import catalog
from deliveries.online_retail import FilesUnfit, OverlapDiffers
from jobs import split_deliveries
from params import read_params


@pytest.fixture
def settings(settings):
    """A deployment that reads Online Retail II."""
    return settings.model_copy(update={"source": "online_retail_ii"})


@pytest.fixture
def year_files(tmp_path):
    """``year_files(first=[...], second=[...])`` writes a file each; returns their folder.

    A line is ``(time, invoice)``; the time is text, or None.
    """

    def write(**years: list[tuple[str | None, str]]) -> Path:
        folder = tmp_path / "years"
        folder.mkdir()
        for name, lines in years.items():
            times = [time and datetime.fromisoformat(time) for time, _ in lines]
            columns = {
                "Invoice": pa.array([invoice for _, invoice in lines], pa.string()),
                "InvoiceDate": pa.array(times, pa.timestamp("us")),
                "Customer ID": pa.nulls(len(lines), pa.int64()),
            }
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        return folder

    return write


@pytest.fixture
def split(settings):
    """``split(folder, until)`` does the job."""
    return lambda folder, until=None: split_deliveries.run(settings, read_params(), folder, until)


@pytest.fixture
def delivered(settings):
    """``delivered(day)`` is what was laid out for that day."""
    return lambda day: pq.read_table(
        catalog.incoming_folder(settings.data_root, date.fromisoformat(day)) / "part-0.parquet"
    )


EVE = ("2010-11-30T18:00", "1")
OVERLAP = [("2010-12-01T08:00", "2"), ("2010-12-01T08:00", "2"), ("2010-12-01T09:00", "3")]
LATER = ("2010-12-03T10:00", "4")


def test_takes_a_day_that_two_files_share_from_the_first(year_files, split, delivered, caplog):
    caplog.set_level("INFO")
    # The order of the lines may differ, their number may not.
    facts = split(year_files(first=[EVE, *OVERLAP], second=[*OVERLAP[::-1], LATER]))

    assert facts == {
        "first": date(2010, 11, 30),
        "last": date(2010, 12, 3),
        "days_written": 4,
        "days_left_alone": 0,
        "lines_in": 8,
        "lines_out": 5,
        "overlap_days": 1,
        "overlap_lines_dropped": 3,
        "lines_after_until": 0,
    }
    assert delivered("2010-12-01")["Invoice"].to_pylist() == ["2", "2", "3"]
    assert delivered("2010-12-03")["Invoice"].to_pylist() == ["4"]
    assert "1 days with trade (2010-12-01 to 2010-12-01) are in two files" in caplog.text
    assert "taken from first.parquet, and 3 lines were dropped" in caplog.text


def test_a_day_without_trade_is_an_empty_file_with_its_columns(year_files, split, delivered):
    split(year_files(first=[EVE, LATER]))
    assert delivered("2010-12-02").num_rows == 0
    assert delivered("2010-12-02").schema == delivered("2010-12-03").schema


@pytest.mark.parametrize(
    "other",
    [
        OVERLAP[1:],
        [*OVERLAP[1:], OVERLAP[2]],
        [*OVERLAP[:2], ("2010-12-01T09:01", "3")],
    ],
)
def test_refuses_two_files_that_differ_on_a_day(year_files, split, other):
    files = year_files(first=OVERLAP, second=other)
    with pytest.raises(
        OverlapDiffers, match=r"first\.parquet and second\.parquet both hold 2010-12-01"
    ):
        split(files)


def test_stops_after_the_last_day_asked_for(year_files, split, settings):
    facts = split(year_files(first=[EVE, *OVERLAP, LATER]), date(2010, 11, 30))
    assert (facts["lines_in"], facts["lines_out"], facts["lines_after_until"]) == (1, 1, 4)
    folders = (settings.data_root / "incoming/transactions").iterdir()
    assert [folder.name for folder in folders] == ["2010-11-30"]


def test_days_that_are_there_are_left_alone(year_files, split, delivered):
    files = year_files(first=[EVE, LATER])
    split(files, date(2010, 11, 30))
    facts = split(files)
    assert (facts["days_written"], facts["days_left_alone"]) == (3, 1)
    assert delivered("2010-11-30").num_rows == 1


def test_refuses_lines_without_a_day(year_files, split):
    with pytest.raises(FilesUnfit, match="1 lines without 'InvoiceDate'"):
        split(year_files(first=[EVE, (None, "9")]))


def test_refuses_files_of_another_source(year_files, settings):
    other = settings.model_copy(update={"source": "generated"})
    with pytest.raises(FilesUnfit, match=r"no column 'invoiced_at'.*SCORING_SOURCE"):
        split_deliveries.run(other, read_params(), year_files(first=[EVE]))


def test_refuses_a_folder_without_files(tmp_path, split):
    with pytest.raises(FilesUnfit, match=r"no \.parquet files"):
        split(tmp_path)


def test_refuses_an_end_before_the_beginning(year_files, split):
    with pytest.raises(FilesUnfit, match="begin on 2010-11-30"):
        split(year_files(first=[EVE]), date(2010, 1, 1))


def test_says_when_a_file_is_not_one_it_was_tried_with(year_files, split, caplog):
    split(year_files(first=[EVE]))
    assert "first.parquet (sha256 " in caplog.text


@pytest.mark.real_data
def test_the_real_files_are_laid_out_line_for_line(online_retail, split, settings, caplog):
    facts = split(online_retail)
    assert facts == {
        "first": date(2009, 12, 1),
        "last": date(2011, 12, 9),
        "days_written": 739,
        "days_left_alone": 0,
        "lines_in": 1_067_371,
        "lines_out": 1_044_848,
        "overlap_days": 8,
        "overlap_lines_dropped": 22_523,
        "lines_after_until": 0,
    }
    assert "is not one of the files this was tried with" not in caplog.text

    folders = sorted((settings.data_root / "incoming/transactions").iterdir())
    rows = [pq.read_metadata(folder / "part-0.parquet").num_rows for folder in folders]
    assert sum(rows) == 1_044_848
    assert sum(count > 0 for count in rows) == 604
    assert Counter(len(list(folder.iterdir())) for folder in folders) == {1: 739}
