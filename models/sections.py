"""What people read, before it is put into a form: headings with paragraphs, points and tables."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from models.pages import render_page

SCREEN = 80
"""The columns of a terminal."""

COLUMN_GAP = 2
LONG_TABLE = 12
"""Rows from which on a narrow table is set in two columns."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people; the columns from ``first_number`` on are numbers."""

    header: list[str]
    rows: list[list[str]]
    first_number: int = 1


@dataclass(frozen=True, slots=True)
class Points:
    """A list of sentences."""

    sentences: list[str]


Block = str | Points | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it; a text is a paragraph."""

    title: str
    blocks: Sequence[Block]


def sections_page(title: str, sections: Sequence[Section]) -> str:
    """An HTML page that needs nothing but itself; whatever it is given is escaped."""
    return render_page("sections_page.html.j2", title=title, sections=sections)


def sections_text(title: str, sections: Sequence[Section]) -> str:
    """The same for a terminal: lines of at most ``SCREEN`` columns, none with blanks at its end.

    Control characters are shown, not sent to the terminal.
    """
    lines = [*_wrapped(title)]
    for section in sections:
        lines += ["", *_wrapped(section.title), "-" * min(SCREEN, len(section.title))]
        for block in section.blocks:
            if isinstance(block, Table):
                lines += _table(block)
            elif isinstance(block, Points):
                lines += [line for each in block.sentences for line in _wrapped(each, "- ")]
            else:
                lines += _wrapped(block)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _wrapped(text: str, lead: str = "") -> list[str]:
    return textwrap.wrap(
        _printable(text),
        SCREEN,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _table(table: Table) -> list[str]:
    rows = [[_printable(cell) for cell in row] for row in (table.header, *table.rows)]
    half = (SCREEN - COLUMN_GAP) // 2
    if len(table.rows) >= LONG_TABLE and _width(rows) <= half:
        return _side_by_side(rows, table.first_number, half)
    return _aligned(rows, table.first_number, SCREEN)


def _side_by_side(rows: list[list[str]], first_number: int, half: int) -> list[str]:
    header, *body = rows
    middle = -(-len(body) // 2)
    blank = [""] * len(header)
    filled = [header, *body[:middle], header, *body[middle:], *[blank] * (2 * middle - len(body))]
    lines = _aligned(filled, first_number, half)
    left, right = lines[: middle + 1], lines[middle + 1 :]
    gap = " " * COLUMN_GAP
    return [f"{one:<{half}}{gap}{other}" for one, other in zip(left, right, strict=True)]


def _width(rows: list[list[str]]) -> int:
    return sum(_widths(rows)) + len(rows[0]) - 1


def _widths(rows: list[list[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _aligned(rows: list[list[str]], first_number: int, width: int) -> list[str]:
    """Rows with their cells below each other; the widest text column gives way to the screen."""
    widths = _widths(rows)
    separator = " " * (1 if sum(widths) + COLUMN_GAP * (len(widths) - 1) > width else COLUMN_GAP)
    over = sum(widths) + len(separator) * (len(widths) - 1) - width
    if over > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        widths[widest] = max(1, widths[widest] - over)
    return [
        separator.join(
            _cell(cell, size, is_number=position >= first_number)
            for position, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _cell(text: str, size: int, *, is_number: bool) -> str:
    cut = text if len(text) <= size else f"{text[: size - 1]}…"
    return cut.rjust(size) if is_number else cut.ljust(size)
