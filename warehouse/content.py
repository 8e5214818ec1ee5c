"""The rows of a night, checked and hashed while they are read once."""

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from errors import BadData
from lake import value_sha256
from warehouse.bulk import SCHEMAS
from warehouse.tables import ARM_SCORES, PREDICTIONS


class PredictionsBroken(BadData):
    """The predictions cannot be published as they are."""


class Content:
    """The rows of one run on their way into a table of the warehouse, or held against one.

    Iterating gives batches as in `warehouse.bulk.SCHEMAS`; afterwards ``sha256`` is the hash of all
    values in the order of the customers, whatever the sizes of the batches were.

    Args:
        run_id: Goes into every row; not into the hash.
        batches: Columns of the table without ``run_id``, ordered by ``customer_id``.
        table: Where they go: `predictions` or `arm_scores`.
        columns: The columns to read and hash; default all that the table has.

    Raises (when iterating):
        PredictionsBroken: If a column is missing or of another type, customers are not in
            strictly ascending order (so one may be there twice), or a text cannot be stored.
    """

    def __init__(
        self,
        run_id: str,
        batches: Iterable[pa.RecordBatch],
        table: sa.Table = PREDICTIONS,
        columns: Collection[str] | None = None,
    ) -> None:
        self._run_id = run_id
        self._schema = pa.schema(
            field
            for field in SCHEMAS[table.name]
            if columns is None or field.name in {"customer_id", "run_id", *columns}
        )
        self._title = f"the {table.name.replace('_', ' ')} of run {run_id}"
        self._batches = batches
        self._last = pa.scalar(None, pa.string())
        self._hashes = {
            name: (hashlib.sha256(), hashlib.sha256())
            for name in self._schema.names
            if name != "run_id"
        }

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if not batch.num_rows:
                continue
            columns = {name: self._column(batch, name) for name in self._hashes}
            self._check_order(columns["customer_id"])
            for name, values in columns.items():
                self._hash(name, values)
            columns["run_id"] = pa.repeat(self._run_id, batch.num_rows)
            yield pa.record_batch(
                [columns[name] for name in self._schema.names], schema=self._schema
            )

    def sha256(self, columns: Collection[str] | None = None) -> str:
        """The hash of the values of ``columns``; default of all that were read."""
        return value_sha256(
            {
                name: [part.hexdigest() for part in parts]
                for name, parts in self._hashes.items()
                if columns is None or name in columns
            }
        )

    def _column(self, batch: pa.RecordBatch, name: str) -> pa.Array:
        if name not in batch.schema.names:
            raise PredictionsBroken(
                f"{self._title} have no column {name}, only "
                f"{batch.schema.names}. Run score_customers again."
            )
        try:
            return batch.column(name).cast(self._schema.field(name).type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise PredictionsBroken(
                f"column {name} of {self._title} does not fit the warehouse: {error}. "
                "Run score_customers again."
            ) from None

    def _check_order(self, customers: pa.Array) -> None:
        before = pa.concat_arrays([pa.array([self._last.as_py()], pa.string()), customers[:-1]])
        ascends = pc.less(before, customers)
        # The very first customer follows on nothing, which compares as null.
        wrong = pc.index(ascends, pa.scalar(False)).as_py()
        if wrong >= 0:
            raise PredictionsBroken(
                f"{self._title} are not in the order of their customers, or hold one twice: "
                f"{customers[wrong].as_py()!r} comes after {before[wrong].as_py()!r}. "
                "Nothing was published; run score_customers again."
            )
        self._last = customers[-1]

    def _hash(self, name: str, values: pa.Array) -> None:
        """Feed one hash with lengths or presence, the other with the values end to end."""
        shape, content = self._hashes[name]
        if values.type == pa.string():
            text = _end_to_end(values)
            if b"\0" in text:
                self._refuse_nul(name, values)
            shape.update(pc.binary_length(values).cast(pa.int64()).fill_null(-1).to_numpy())
            content.update(text)
        else:
            shape.update(values.is_valid().to_numpy(zero_copy_only=False))
            zero = pa.scalar(0).cast(values.type)
            content.update(values.fill_null(zero).to_numpy(zero_copy_only=False))

    def _refuse_nul(self, name: str, values: pa.Array) -> NoReturn:
        found = pc.index(pc.match_substring(values, "\0"), pa.scalar(True)).as_py()
        raise PredictionsBroken(
            f"column {name} of {self._title} holds {values[found].as_py()!r}: text with "
            "a NUL character cannot be stored in PostgreSQL. Ask upstream to repair it."
        )


def _end_to_end(texts: pa.StringArray) -> bytes:
    """All texts, in UTF-8, without anything between them; nothing for a null."""
    if texts.null_count:
        # What lies below a null may be anything.
        texts = texts.fill_null("")
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return b"" if data is None else data[ends[0] : ends[-1]].to_pybytes()


def columns_to_hash(is_challenged: bool) -> dict[str, list[str]]:
    """By table, the columns that a run published today is hashed over.

    Without a challenger all rows are the champion's, which is counted: the hash is the one that
    nights had before there were challengers.
    """
    tables = (PREDICTIONS, ARM_SCORES) if is_challenged else (PREDICTIONS,)
    left_out = {"run_id"} if is_challenged else {"run_id", "arm"}
    return {
        table.name: [name for name in SCHEMAS[table.name].names if name not in left_out]
        for table in tables
    }


def sha256_of_run(
    predictions: Content, arm_scores: Content, columns: Mapping[str, Collection[str]]
) -> str:
    """The hash of all that is published of a run, once both have streamed by.

    Args:
        predictions: Of the run.
        arm_scores: Of the run; not looked at without a challenger.
        columns: As `columns_to_hash` gave them when it was published.
    """
    of_predictions = predictions.sha256(columns[PREDICTIONS.name])
    if ARM_SCORES.name not in columns:
        return of_predictions
    return value_sha256([of_predictions, arm_scores.sha256(columns[ARM_SCORES.name])])


def sha256_as_published(
    run_id: str,
    predictions: Iterable[pa.RecordBatch],
    arm_scores: Iterable[pa.RecordBatch],
    columns: Mapping[str, Collection[str]],
) -> str:
    """The hash of these rows over the columns that the run was published with.

    Raises:
        PredictionsBroken: If they could never have been published.
    """
    content = Content(run_id, predictions, PREDICTIONS, columns[PREDICTIONS.name])
    arms = Content(run_id, arm_scores, ARM_SCORES, columns.get(ARM_SCORES.name))
    for each in (content, arms) if ARM_SCORES.name in columns else (content,):
        deque(each, maxlen=0)
    return sha256_of_run(content, arms, columns)
