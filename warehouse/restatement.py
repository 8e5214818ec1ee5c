"""Nights that were computed again later, switched together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from records import Pointer
from warehouse.audit import append_audit
from warehouse.bulk import bulk_engine
from warehouse.connection import writing
from warehouse.nights import RESTATED, restated_runs
from warehouse.publish import PublishedRun, publish


@dataclass(frozen=True, slots=True)
class RestatedNight:
    """A run that is to take the place of ``replaces``, which is what readers saw when it was
    computed; with its rows as `publish` takes them."""

    run: PublishedRun
    replaces: Pointer
    batches: Iterable[pa.RecordBatch]
    arm_scores: Iterable[pa.RecordBatch] = ()


def publish_restated(
    engine: sa.Engine, nights: Sequence[RestatedNight], *, actor: str, reason: str
) -> int:
    """Let readers see all these runs, or none, in one transaction; how many they did not yet see.

    The nights go on being judged by the runs that readers had in their time: nothing that is
    measured, alarmed about or learnt from rests on these (`judged_runs`).

    Raises:
        What `publish` raises, `Overtaken` among them: if readers see another run of one of the
            nights than the one to be replaced. Nothing was changed then.
    """
    moved = []
    with writing(bulk_engine(engine)) as connection:
        judged = restated_runs(connection)
        # In this order everywhere, so that two cannot wait for each other.
        for night in sorted(nights, key=lambda each: each.run.score_date):
            outcome = publish(
                connection,
                night.run,
                night.batches,
                replaces=night.replaces,
                arm_scores=night.arm_scores,
            )
            if outcome != "unchanged":
                moved.append(
                    {
                        "score_date": str(night.run.score_date),
                        "run_id": night.run.run_id,
                        "instead_of": night.replaces.run_id,
                        "judged_by": judged.get(night.replaces.run_id, night.replaces.run_id),
                    }
                )
        if moved:
            append_audit(connection, RESTATED, {"nights": moved, "by": actor, "reason": reason})
    return len(moved)
