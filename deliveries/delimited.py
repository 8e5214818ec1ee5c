"""The rows of a delimited text file, read strictly: what is malformed is said, never guessed.

Python's own reader is used where a line has quotes. It is tolerant, even when strict, so what it
takes is checked again here.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from deliveries.files import DeliveryUnreadable
from params import Limits, Source, Text

BATCH_ROWS = 65_536
BATCH_CHARACTERS = 1 << 25
READ_CHARACTERS = 1 << 20
CELLS_OF_A_LINE = 16
SHOWN = 60

# Stands for bytes that are no text in the file's encoding; a text never holds it.
MARK = "\udcff"
UNFIT = re.compile(f"[\r\0{MARK}]")


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is no row: the whole line as delivered, and what is wrong with it."""

    line: str
    problem: str


@dataclass(slots=True)
class Rows:
    """Rows of a file in their order, malformed ones included, each with the number of its line."""

    numbers: list[int] = field(default_factory=list)
    rows: list[list[str] | Malformed] = field(default_factory=list)


def header(path: Path, source: Source) -> list[str]:
    """The names of a file's columns: those of its first line, or those the source gives.

    Raises:
        DeliveryUnreadable: If there is no such line, or it is malformed.
    """
    if source.text.column_names is not None:
        return source.text.column_names
    for number, row in _Reader(path, source).records():
        if isinstance(row, Malformed):
            raise DeliveryUnreadable(path, f"its header, line {number}: {row.problem}")
        return row
    raise DeliveryUnreadable(path, "it is empty, not even a header")


def read_rows(path: Path, source: Source, width: int) -> Iterator[Rows]:
    """The rows below the header, a batch at a time; empty lines are none.

    Args:
        width: The number of columns. A line with fewer or more values is malformed.

    Raises:
        DeliveryUnreadable: If a quote swallows line ends, or a line or a value is too long. Names
            the line.
    """
    limit = source.limits.cell_characters
    records = _Reader(path, source).records(width)
    if source.text.column_names is None:
        next(records, None)

    batch, characters = Rows(), 0
    for number, row in records:
        if not isinstance(row, Malformed):
            length = sum(map(len, row))
            if length > limit and max(map(len, row)) > limit:
                raise DeliveryUnreadable(path, _too_long(number, row, limit))
            characters += length
        batch.numbers.append(number)
        batch.rows.append(row)
        if len(batch.rows) >= BATCH_ROWS or characters > BATCH_CHARACTERS:
            yield batch
            batch, characters = Rows(), 0
    if batch.rows:
        yield batch


class _Reader:
    """One pass over a file. The reader of quoted lines draws the lines that a value runs over."""

    def __init__(self, path: Path, source: Source) -> None:
        self._path, self._text, self._limits = path, source.text, source.limits
        self._number = 0
        self._lines = self._numbered(_lines(path, source.text, source.limits))
        self._drawn: list[str] = []
        self._next_line: str | None = None
        quote = source.text.quote
        self._quoted = quote and csv.reader(
            _Drawn(self._draw), delimiter=source.text.separator, quotechar=quote, strict=True
        )
        self._well_formed = quote and _well_formed(source.text)

    def records(self, width: int | None = None) -> Iterator[tuple[int, list[str] | Malformed]]:
        """Each row with the number of the line it begins in.

        Args:
            width: The number of values a row has; by default any.
        """
        quote, separator = self._text.quote, self._text.separator
        for line in self._lines:
            if not line:
                continue
            number = self._number
            if UNFIT.search(line):
                yield number, Malformed(_shown(line), _unfit(line, self._text))
                continue
            row = line.split(separator) if not quote or quote not in line else self._row_of(line)
            if width is not None and not isinstance(row, Malformed) and len(row) != width:
                problem = f"{len(row)} value(s) instead of {width}"
                if len(self._drawn) > 1:
                    self._swallowed(number, problem)
                row = Malformed(line, problem)
            self._drawn.clear()
            yield number, row

    def _row_of(self, line: str) -> list[str] | Malformed:
        """The row that begins with ``line``, which has a quote, and may run over several lines."""
        number, self._next_line = self._number, line
        try:
            row = next(self._quoted)
        except csv.Error as error:
            if "field larger" in str(error):
                limit = self._limits.cell_characters
                self._refuse(number, f"a value is longer than {limit:,} characters")
            is_open = "unexpected end" in str(error)
            problem = (
                "a quote is never closed" if is_open else "there is text behind a closing quote"
            )
            if len(self._drawn) > 1:
                self._swallowed(number, problem)
            return Malformed(line, problem)

        # What the reader takes though it should not leaves a quote in a value.
        if any(self._text.quote in value for value in row):
            whole = "".join(self._drawn).removesuffix("\n")
            if not self._well_formed.fullmatch(whole):
                problem = "a quote opens inside a value"
                if len(self._drawn) > 1:
                    self._swallowed(number, problem)
                return Malformed(line, problem)
        if len(self._drawn) > 1:
            self._must_be_one_row(number, row)
            whole = "".join(self._drawn).removesuffix("\n")
            if UNFIT.search(whole):
                return Malformed(_shown(whole), _unfit(whole, self._text))
        return row

    def _draw(self) -> str:
        """The line at hand, then those that follow it, as long as a quote is open."""
        most = self._limits.lines_of_a_value
        if self._next_line is not None:
            line, self._next_line = self._next_line, None
        elif len(self._drawn) < most:
            line = next(self._lines)
        elif most == 1:
            raise StopIteration
        else:
            number = self._number - most + 1
            self._swallowed(number, f"a quoted value runs over more than {most} lines")
        self._drawn.append(line + "\n")
        return self._drawn[-1]

    def _must_be_one_row(self, number: int, row: list[str]) -> None:
        """Raise if a quoted value holds so many separators that whole lines lie in it."""
        for value in row:
            line_ends = value.count("\n")
            if line_ends and value.count(self._text.separator) >= line_ends * (len(row) - 1) > 0:
                self._swallowed(number, f"a quoted value holds {line_ends} whole line(s)")

    def _swallowed(self, number: int, problem: str) -> NoReturn:
        self._refuse(
            number,
            f"{problem}, so lines {number} to {self._number} cannot be told apart. A quote that "
            f"should be doubled, or not be there? It begins {''.join(self._drawn)[:SHOWN]!r}",
        )

    def _refuse(self, number: int, problem: str) -> NoReturn:
        raise DeliveryUnreadable(self._path, f"line {number}: {problem}")

    def _numbered(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            self._number += 1
            yield line


class _Drawn:
    """An iterator that may go on after its end, as a generator may not."""

    def __init__(self, draw: Callable[[], str]) -> None:
        self._draw = draw

    def __iter__(self) -> "_Drawn":
        return self

    def __next__(self) -> str:
        return self._draw()


def _lines(path: Path, text: Text, limits: Limits) -> Iterator[str]:
    """The lines without their ends (LF or CRLF); a carriage return left in one stands alone."""
    codecs.register_error("mark", lambda error: (MARK, error.end))
    longest = CELLS_OF_A_LINE * limits.cell_characters
    with path.open(encoding=text.encoding, errors="mark", newline="\n") as file:
        rest, number = file.read(1).removeprefix("\ufeff"), 1
        while block := file.read(READ_CHARACTERS):
            lines = (rest + block).replace("\r\n", "\n").split("\n")
            rest = lines.pop()
            yield from lines
            number += len(lines)
            if len(rest) > longest:
                raise DeliveryUnreadable(
                    path, f"line {number}: it is longer than {longest:,} characters"
                )
        if rest:
            yield rest.removesuffix("\r") if "\r" not in rest[:-1] else rest


def _well_formed(text: Text) -> re.Pattern[str]:
    separator, quote = re.escape(text.separator), re.escape(text.quote)
    value = rf"(?:{quote}(?>[^{quote}]|{quote}{quote})*+{quote}|[^{quote}{separator}]*+)"
    return re.compile(rf"{value}(?:{separator}{value})*+", re.DOTALL)


def _unfit(line: str, text: Text) -> str:
    place = UNFIT.search(line).start()
    found = {
        "\r": "a carriage return without a line feed",
        "\0": "a NUL character",
        MARK: f"bytes that are not {text.encoding}",
    }[line[place]]
    return f"{found} at character {place + 1}"


def _shown(line: str) -> str:
    return line.replace(MARK, "\ufffd")


def _too_long(number: int, row: list[str], limit: int) -> str:
    position, length = max(enumerate(map(len, row), start=1), key=lambda pair: pair[1])
    return f"line {number}: value {position} has {length:,} characters, {limit:,} are allowed"
