"""The rows of a delimited text file, read strictly: what is malformed is said, never guessed.

Python's own reader is used where a line has quotes. It is tolerant, even when strict, so what it
takes is checked again here.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from deliveries.files import DeliveryUnreadable
from params import Limits, Source, Text

BATCH_ROWS = 65_536
BATCH_CHARACTERS = 1 << 25
READ_CHARACTERS = 1 << 18
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
    """Rows of a file in their order: the number of the line each begins in, and every column.

    A malformed line has no values; it is in ``malformed`` by its position among the rows.
    """

    numbers: list[int]
    columns: list[list[str | None]]
    malformed: dict[int, Malformed] = field(default_factory=dict)

    @classmethod
    def none(cls, width: int) -> "Rows":
        return cls([], [[] for _ in range(width)])

    def add(self, numbers: Iterable[int], values: Iterable[Sequence[str | None]]) -> None:
        self.numbers.extend(numbers)
        for column, more in zip(self.columns, zip(*values, strict=True), strict=False):
            column.extend(more)


def header(path: Path, source: Source) -> list[str]:
    """The names of a file's columns: those of its first line, or those the source gives.

    Raises:
        DeliveryUnreadable: If there is no such line, or it is malformed.
    """
    if source.text.column_names is not None:
        return source.text.column_names
    _, names = _Reader(path, source).header()
    return names


def read_rows(path: Path, source: Source, width: int) -> Iterator[Rows]:
    """The rows below the header, a batch at a time; empty lines are none.

    Args:
        width: The number of columns. A line with fewer or more values is malformed.

    Raises:
        DeliveryUnreadable: If a quote swallows line ends, or a line or a value is too long. Names
            the line.
    """
    reader = _Reader(path, source)
    if source.text.column_names is None:
        reader.header()
    batch, read = Rows.none(width), 0
    while reader.read_into(batch):
        if len(batch.numbers) >= BATCH_ROWS or reader.characters - read > BATCH_CHARACTERS:
            yield batch
            batch, read = Rows.none(width), reader.characters
    if batch.numbers:
        yield batch


class _Reader:
    """One pass over a file, a block of lines at a time.

    A block in which nothing is odd is read as a whole. Any other is read line by line, where the
    reader of quoted lines draws the lines that a value runs over, from the next block too.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self._path, self._text, self._limits = path, source.text, source.limits
        self._blocks = _blocks(path, source.text, source.limits)
        self._lines: Iterator[str] = iter(())
        self._number = self._width = self.characters = 0
        self._drawn: list[str] = []
        self._next_line: str | None = None
        # Of a source without quotes, no line is asked for them.
        self._quote = source.text.quote or '"'
        self._quoted = self._csv(_Drawn(self._draw))
        self._well_formed = _well_formed(source.text.separator, self._quote)

    def header(self) -> tuple[int, list[str]]:
        """The first row, and the number of its line."""
        for line in iter(self._line, None):
            if not line:
                continue
            number, row = self._number, self._row(line)
            if isinstance(row, Malformed):
                raise DeliveryUnreadable(self._path, f"its header, line {number}: {row.problem}")
            return number, row
        raise DeliveryUnreadable(self._path, "it is empty, not even a header")

    def read_into(self, rows: Rows) -> bool:
        """Add the rows that follow to ``rows``; false at the end of the file.

        A line with more or fewer values than there are columns is malformed.
        """
        self._width = len(rows.columns)
        if self._line_by_line(rows):
            return True
        block = self._block()
        if block is None:
            return False
        if not self._at_once(block, rows):
            self._lines = iter(block)
        return True

    def _at_once(self, block: list[str], rows: Rows) -> bool:
        """Add the rows of a block, if each line is one and nothing has to be looked at twice."""
        whole = "\n".join(block)
        if UNFIT.search(whole) or max(map(len, block)) > self._limits.cell_characters:
            return False
        quote, separator = self._text.quote, self._text.separator
        if not quote or quote not in whole:
            values = [line.split(separator) for line in block if line]
        else:
            try:
                values = [row for row in self._csv(block) if row]
            except csv.Error:
                return False
            # What that reader takes though it should not leaves a quote in a value.
            if quote in "".join(map("".join, values)):
                return False
        first = self._number + 1
        numbers = [number for number, line in enumerate(block, first) if line]
        if len(values) != len(numbers) or not {self._width}.issuperset(map(len, values)):
            return False
        rows.add(numbers, values)
        self._number += len(block)
        return True

    def _line_by_line(self, rows: Rows) -> bool:
        """Add the rows of the lines at hand; whether there were any."""
        width, before = self._width, self._number
        numbers: list[int] = []
        values: list[Sequence[str | None]] = []
        for line in self._lines:
            self._number += 1
            if not line:
                continue
            number, row = self._number, self._row(line)
            if not isinstance(row, Malformed) and len(row) != width:
                problem = f"{len(row)} value(s) instead of {width}"
                if len(self._drawn) > 1:
                    self._swallowed(number, problem)
                row = Malformed(line, problem)
            if isinstance(row, Malformed):
                rows.malformed[len(rows.numbers) + len(numbers)] = row
                values.append([None] * width)
            else:
                values.append(row)
            numbers.append(number)
        rows.add(numbers, values)
        return self._number > before

    def _block(self) -> list[str] | None:
        block = next(self._blocks, None)
        self.characters += sum(map(len, block or ()))
        return block

    def _line(self) -> str | None:
        """The next line, from this block or the one behind it; null at the end of the file."""
        line = next(self._lines, None)
        if line is None and (block := self._block()) is not None:
            self._lines = iter(block)
            line = next(self._lines)
        self._number += line is not None
        return line

    def _csv(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._text.separator, quotechar=self._quote, strict=True)

    def _row(self, line: str) -> list[str] | Malformed:
        self._drawn.clear()
        if UNFIT.search(line):
            return Malformed(_shown(line), _unfit(line, self._text))
        quote, limit = self._text.quote, self._limits.cell_characters
        row = self._row_of(line) if quote and quote in line else line.split(self._text.separator)
        if not isinstance(row, Malformed) and (longest := max(map(len, row))) > limit:
            self._refuse(self._number, f"a value has {longest:,} characters, {limit:,} are allowed")
        return row

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
        if self._quote in "".join(row):
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
        line, self._next_line = self._next_line, None
        if line is None and len(self._drawn) < most:
            line = self._line()
        elif line is None and most > 1:
            number = self._number - most + 1
            self._swallowed(number, f"a quoted value runs over more than {most} lines")
        if line is None:
            raise StopIteration
        self._drawn.append(line + "\n")
        return self._drawn[-1]

    def _must_be_one_row(self, number: int, row: list[str]) -> None:
        """Raise if a quoted value holds so many separators that whole lines lie in it."""
        for value in row:
            line_ends = value.count("\n")
            if line_ends and value.count(self._text.separator) >= line_ends * (self._width - 1) > 0:
                self._swallowed(number, f"a quoted value holds {line_ends} whole line(s)")

    def _swallowed(self, number: int, problem: str) -> NoReturn:
        self._refuse(
            number,
            f"{problem}, so lines {number} to {self._number} cannot be told apart. A quote that "
            f"should be doubled, or not be there? It begins {''.join(self._drawn)[:SHOWN]!r}",
        )

    def _refuse(self, number: int, problem: str) -> NoReturn:
        raise DeliveryUnreadable(self._path, f"line {number}: {problem}")


class _Drawn:
    """An iterator that may go on after its end, as a generator may not."""

    def __init__(self, draw: Callable[[], str]) -> None:
        self._draw = draw

    def __iter__(self) -> "_Drawn":
        return self

    def __next__(self) -> str:
        return self._draw()


def _blocks(path: Path, text: Text, limits: Limits) -> Iterator[list[str]]:
    """The lines without their ends (LF or CRLF); a carriage return left in one stands alone."""
    codecs.register_error("mark", _mark)
    longest = CELLS_OF_A_LINE * limits.cell_characters
    with path.open(encoding=text.encoding, errors="mark", newline="\n") as file:
        rest, number = file.read(1).removeprefix("\ufeff"), 1
        while block := file.read(READ_CHARACTERS):
            lines = (rest + block).replace("\r\n", "\n").split("\n")
            rest = lines.pop()
            number += len(lines)
            if len(rest) > longest:
                raise DeliveryUnreadable(
                    path, f"line {number}: it is longer than {longest:,} characters"
                )
            if lines:
                yield lines
        if rest:
            yield [rest.removesuffix("\r")]


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


def _well_formed(separator: str, quote: str) -> re.Pattern[str]:
    separator, quote = re.escape(separator), re.escape(quote)
    value = rf"(?:{quote}(?>[^{quote}]|{quote}{quote})*+{quote}|[^{quote}{separator}]*+)"
    return re.compile(rf"{value}(?:{separator}{value})*+", re.DOTALL)


def _unfit(line: str, text: Text) -> str:
    """What is wrong with a line in which ``UNFIT`` finds something."""
    first = next(UNFIT.finditer(line))
    found = {
        "\r": "a carriage return without a line feed",
        "\0": "a NUL character",
        MARK: f"bytes that are not {text.encoding}",
    }[first.group()]
    return f"{found} at character {first.start() + 1}"


def _shown(line: str) -> str:
    return line.replace(MARK, "\ufffd")
