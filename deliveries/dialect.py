"""How text files that nobody has described are written: encoding, separator, header, numbers."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deliveries.table import TableUnfit
from deliveries.values import read_numbers
from params import Text

SPOTS = 8
SPOT_BYTES = 1 << 16

SEPARATORS = (",", ";", "\t", "|")
ALIKE_SHARE = 0.9
"""The least share of lines with as many values as the first, for a separator to be one."""

NUMBER_SHARE = 0.95
"""The least share of a column's values that are numbers, for it to hold numbers."""

NUMBER_MARKS = (
    *((".", None), (",", None)),
    *((".", ","), (",", "."), (",", " "), (".", "'"), (".", " ")),
)
"""Marks of decimals and of thousands, the likelier ones first."""

LIKE_A_NUMBER = r"^[+-]?[0-9.,]?[0-9][0-9.,' ]*-?$"
LIKE_A_VALUE = rf"{LIKE_A_NUMBER}|^[0-9]{{1,4}}[-/.][0-9]{{1,2}}[-/.][0-9]{{1,4}}\b"


def look_at_text(
    files: Sequence[Path], questions: dict[str, str]
) -> tuple[dict[str, object], dict[str, pa.Array]]:
    """Fields of ``Text``, and a sample of the rows by column. Adds to ``questions``.

    Raises:
        TableUnfit: If there is no table in the files.
    """
    encoding = _encoding(files, questions)
    lines = [line for path in files for line in _lines(path, encoding)]
    if not lines:
        raise TableUnfit(f"{files[0]} is empty.")
    separator = _separator(lines, files[0])
    first, *others = csv.reader(lines, delimiter=separator)
    text: dict[str, object] = {"encoding": encoding, "separator": separator}
    names = first
    if any(re.search(LIKE_A_VALUE, value) for value in first):
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        others = [first, *others]
        text["column_names"] = names
        questions["text.column_names"] = "the first line looks like a row; what are they called?"
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise TableUnfit(f"{files[0]} has several columns called {twice[0]!r}; rename them.")
    # Each file has a header of its own.
    rows = [row for row in others if len(row) == len(names) and row != names]
    if not rows:
        raise TableUnfit(f"{files[0]} has a header and no rows.")
    columns = (pa.array(column, pa.string()) for column in zip(*rows, strict=True))
    return text, dict(zip(names, columns, strict=True))


def _encoding(files: Sequence[Path], questions: dict[str, str]) -> str:
    with files[0].open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    if all(_is_text(path, "utf-8") for path in files):
        return "utf-8"
    # latin-1 knows every byte, so it comes last.
    encoding = "cp1252" if all(_is_text(path, "cp1252") for path in files) else "latin-1"
    questions["text.encoding"] = "it is not utf-8; are accented letters right?"
    return encoding


def _is_text(path: Path, encoding: str) -> bool:
    try:
        with path.open(encoding=encoding) as file:
            while file.read(1 << 22):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _lines(path: Path, encoding: str) -> list[str]:
    """Whole lines from all over a file, the first one first; empty ones left out."""
    size = path.stat().st_size
    if size <= SPOTS * SPOT_BYTES:
        starts, length = range(1), size
    else:
        starts, length = range(0, size, size // SPOTS), SPOT_BYTES
    lines: list[str] = []
    with path.open("rb") as file:
        if encoding == "utf-16":
            encoding = "utf-16-le" if file.read(2) == b"\xff\xfe" else "utf-16-be"
        for start in starts:
            file.seek(start - start % 2)
            text = file.read(length).decode(encoding, errors="ignore").removeprefix("\ufeff")
            some = text.replace("\r\n", "\n").split("\n")
            lines += some[start > 0 : None if file.tell() >= size else -1]
    return [line for line in lines if line.strip()]


def _separator(lines: Sequence[str], path: Path) -> str:
    widths = {}
    for separator in SEPARATORS:
        first, *others = (len(row) for row in csv.reader(lines, delimiter=separator))
        if first > 1 and sum(other == first for other in others) >= ALIKE_SHARE * len(others):
            widths[separator] = first
    if not widths:
        raise TableUnfit(
            f"{path} has no columns between commas, semicolons, tabs or bars; its first line is "
            f"{lines[0][:80]!r}. Write it as CSV or Parquet first, such as with pandas.read_fwf."
        )
    return max(widths, key=widths.__getitem__)


def number_marks(columns: Iterable[pa.Array], questions: dict[str, str]) -> dict[str, object]:
    """Fields of ``Text`` that say how numbers are written. Adds to ``questions``."""
    alike = [
        texts
        for texts in columns
        if len(texts)
        and pc.mean(pc.match_substring_regex(texts, LIKE_A_NUMBER)).as_py() >= NUMBER_SHARE
    ]
    if not alike:
        return {}
    texts = pc.unique(pa.concat_arrays(alike))
    behind = {"trailing_minus": True} if pc.any(pc.ends_with(texts, "-")).as_py() else {}
    marks = [
        {"decimal_mark": decimal, "thousands_mark": thousands} | behind
        for decimal, thousands in NUMBER_MARKS
    ]
    best = max(
        marks, key=lambda one: len(read_numbers(texts, Text.model_validate(one)).drop_null())
    )
    with_comma = texts.filter(pc.match_substring(texts, ","))
    is_of_three = pc.all(pc.match_substring_regex(with_comma, "^[^,]*,[0-9]{3}$")).as_py()
    if best["decimal_mark"] == "," and best["thousands_mark"] is None and is_of_three:
        questions["text.decimal_mark"] = "or does the comma stand between thousands?"
    usual = Text().model_dump()
    return {name: mark for name, mark in best.items() if mark != usual[name]}
