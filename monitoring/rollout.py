"""How far a challenger may go: is it fit to be served tonight, and what is its next step?

Pure functions over what was counted and recorded; jobs gather the evidence and do what they say.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from params import Rollout

Action = Literal["none", "stay", "advance", "promote", "withdraw"]

EVERYBODY = 100


@dataclass(frozen=True, slots=True)
class TwoModels:
    """What two models say of the same customers, those whom the champion could score; exact counts.

    Attributes:
        deciles: Customers by the champion's decile (row) and the challenger's (column), 10 x 10:
            the score migration matrix. Equal scores share the middle of the deciles they reach
            over. Customers that the challenger could not score are not in it.
        champion_contacted: Customers of the matrix whom the champion would contact.
        challenger_contacted: Those whom the challenger would.
        distinct_scores: Different probabilities of the challenger.
        unscored: Customers that the champion could score and the challenger could not.
    """

    deciles: tuple[tuple[int, ...], ...]
    champion_contacted: int
    challenger_contacted: int
    distinct_scores: int
    unscored: int

    @property
    def customers(self) -> int:
        """Customers that both could score."""
        return sum(map(sum, self.deciles))

    def as_dict(self) -> dict:
        """The counts and the correlation, JSON-able."""
        return asdict(self) | {"rank_correlation": rank_correlation(self.deciles)}


def unfit(seen: TwoModels, rollout: Rollout) -> list[str]:
    """Why nobody may get the challenger's score tonight, in sentences; empty if it is fit.

    No outcome is needed for this: it catches a model that is broken here, not one that is worse.
    """
    reasons = []
    if seen.unscored:
        reasons.append(f"it could not score {seen.unscored} customers whom the champion scores")
    if not seen.customers:
        return [*reasons, "it scored nobody whom the champion scores"]
    if seen.distinct_scores < 2:
        return [*reasons, f"it gives all {seen.customers} customers the same score"]

    correlation = rank_correlation(seen.deciles)
    if correlation is None:
        reasons.append("its ranking cannot be compared: all customers are in one decile")
    elif correlation < rollout.min_rank_correlation:
        reasons.append(
            f"its deciles go with the champion's at a rank correlation of {correlation:.2f}, "
            f"allowed is {rollout.min_rank_correlation} and more"
        )

    fewer, more = sorted((seen.champion_contacted, seen.challenger_contacted))
    if more > rollout.max_contacted_factor * fewer:
        reasons.append(
            f"it would contact {seen.challenger_contacted} customers where the champion contacts "
            f"{seen.champion_contacted}, allowed is a factor of {rollout.max_contacted_factor}"
        )
    return reasons


def rank_correlation(table: Sequence[Sequence[int]]) -> float | None:
    """Spearman's correlation of rows and columns of a table of counts; ties share their mean rank.

    Sums are of integers, so the order of the customers changes no bit. None if all are in one row
    or in one column.

    >>> rank_correlation([[5, 0], [0, 5]]), rank_correlation([[0, 5], [5, 0]])
    (1.0, -1.0)
    >>> rank_correlation([[2, 2], [2, 2]]), rank_correlation([[5, 0], [5, 0]])
    (0.0, None)
    """
    rows = _centred_ranks([sum(row) for row in table])
    columns = _centred_ranks([sum(column) for column in zip(*table, strict=True)])
    together = sum(
        count * rows[i] * columns[j] for i, row in enumerate(table) for j, count in enumerate(row)
    )
    of_rows = sum(sum(row) * rank**2 for row, rank in zip(table, rows, strict=True))
    of_columns = sum(
        sum(column) * rank**2
        for column, rank in zip(zip(*table, strict=True), columns, strict=True)
    )
    if not of_rows or not of_columns:
        return None
    return together / math.sqrt(of_rows * of_columns)


def _centred_ranks(counts: Sequence[int]) -> list[int]:
    """Twice the mean rank of each class, less twice the mean rank of all; whole numbers."""
    total, before, ranks = sum(counts), 0, []
    for count in counts:
        ranks.append(2 * before + count - total)
        before += count
    return ranks


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Realised:
    """How far the challenger was from the champion on the newest cohort whose labels are all there:
    the same customers, compared in pairs. ``difference`` is challenger minus champion, by metric.
    """

    score_date: str
    difference: dict[str, Interval]


@dataclass(frozen=True, slots=True)
class RolloutEvidence:
    """What is known when a night with a challenger is published.

    Attributes:
        percent: Of the customers; 0 is shadow.
        nights: Published nights with this challenger at this percent, tonight included; those
            whose data had an incident do not count.
        unfit: Why tonight nobody got its score; empty if it was fit.
        incidents: What was wrong with tonight's data. Wrong data make a sound challenger look
            unfit, so they take it neither a step on nor back; whom it serves tonight was decided
            when it scored.
        realised: The newest comparison on outcomes; None if there is none yet, or if wrong data
            may have decided it.
    """

    percent: int
    nights: int
    unfit: tuple[str, ...] = ()
    incidents: tuple[str, ...] = ()
    realised: Realised | None = None


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """What to do with the challenger; ``percent`` is what it has afterwards, null if unknown."""

    action: Action
    percent: int | None
    reasons: tuple[str, ...]


def decide_rollout(evidence: RolloutEvidence, rollout: Rollout) -> RolloutStep:
    """The next step of a challenger.

    >>> rollout = Rollout(percents=[0, 5, 50], min_nights=3, min_rank_correlation=0.5,
    ...                   max_contacted_factor=2.0)
    >>> decide_rollout(RolloutEvidence(percent=0, nights=2), rollout).action
    'stay'
    >>> decide_rollout(RolloutEvidence(percent=0, nights=3), rollout).percent
    5
    >>> decide_rollout(RolloutEvidence(percent=50, nights=3), rollout).action
    'promote'
    >>> decide_rollout(RolloutEvidence(percent=0, nights=1, unfit=("constant",)), rollout).action
    'withdraw'
    """
    if evidence.incidents:
        found = "; ".join(evidence.incidents)
        why = f"tonight's data had an incident, so the night counts for nothing: {found}"
        return RolloutStep("stay", evidence.percent, (why,))
    reasons = (*evidence.unfit, *_losses(evidence.realised))
    if reasons:
        return RolloutStep("withdraw", 0, reasons)

    served = f"at {evidence.percent} % of the customers: night {evidence.nights}"
    if evidence.nights < rollout.min_nights:
        why = f"{served} of the {rollout.min_nights} that are needed"
        return RolloutStep("stay", evidence.percent, (why,))
    further = [percent for percent in rollout.percents if percent > evidence.percent]
    if further:
        return RolloutStep("advance", min(further), (f"{served}, and it is fit",))
    return RolloutStep("promote", EVERYBODY, (f"{served}, the last step, and it is fit",))


def _losses(realised: Realised | None) -> list[str]:
    """The metrics in which the challenger is clearly worse: the whole interval says so."""
    if realised is None:
        return []
    losses = []
    for metric, is_better_high in (("roc_auc", True), ("log_loss", False)):
        found = realised.difference.get(metric)
        if found is not None and (found.high < 0 if is_better_high else found.low > 0):
            losses.append(
                f"on the cohort of {realised.score_date} its {metric} differs from the champion's "
                f"by {found.low:+.4f} to {found.high:+.4f}"
            )
    return losses
