"""What may happen to a Parquet file of the lake, and how a job that reads it stops."""

from pathlib import Path

import pyarrow.parquet as pq

from lake import PieceAltered, PieceMissing


def gone(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def one_byte_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def a_row_dropped(path: Path) -> None:
    rows = pq.read_table(path)
    pq.write_table(rows.slice(0, rows.num_rows - 1), path)


def the_same_rows_in_another_file(path: Path) -> None:
    pq.write_table(pq.read_table(path), path, compression="zstd", use_dictionary=False)


HARMS = [
    (gone, PieceMissing),
    (emptied, PieceAltered),
    (one_byte_flipped, PieceAltered),
    (truncated, PieceAltered),
    (a_row_dropped, PieceAltered),
    (the_same_rows_in_another_file, PieceAltered),
]
