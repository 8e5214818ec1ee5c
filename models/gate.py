"""The gate: whether a challenger may score beside the champion, and what it would change.

The judged fits of both are compared, on rows of the challenger's holdout, of dates on which all
that either has learnt was known. They lie as far apart as the live fits do, so what is compared is
what a retraining brings. The live fits have seen these rows, or may have, and are not judged on
them; they only show whose decision would change. Ties keep the champion.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from intervals import DIGITS, rounded
from models.apply import score
from models.bundle import Bundle
from models.control import is_control
from models.deciles import DECILES, deciles
from models.golden import GoldenRun
from models.judge import country_and_date_slices, group_names, judge_rows
from models.metrics import (
    DECISIVE,
    KINDS,
    METRICS,
    TENURE_BANDS,
    clearly_better_in,
    clearly_worse_in,
    difference_text,
    signed_cell,
)
from models.pages import render_page
from models.schema import FeatureMismatch
from params import Gate, Params, Question

LOWER_IS_BETTER = ("log_loss", "brier", "expected_calibration_error")

# Single rows may hold an infinite number, which gets no score; more of them is an ill model.
SCORED_SHARE = 0.99

AS_CALIBRATED = 1.1
"""Up to this multiple of its error a challenger is as well calibrated as the champion."""

REFUSED_SHARE = 0.05
"""Of challengers that are nowhere worse, at most this share is refused for a slice, by chance."""

NOTICED_SHARE = 0.8
"""How often a slice that is as much worse as its ``noticed_from`` is noticed."""


NORMAL = NormalDist()
UNDEFINED = {"value": None, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold; ``value`` and ``bound`` are for people, ``reason`` a sentence."""

    name: str
    is_met: bool
    value: str
    bound: str
    reason: str


@dataclass(frozen=True, slots=True)
class SliceResult:
    """A part of the judged rows. ``champion``, ``challenger`` and ``difference`` are ROC AUC with
    interval, null without both outcomes.

    ``at_best`` is how good the challenger may still be: the upper end of an interval of the
    difference that holds for all slices together. ``noticed_from`` is the loss that is noticed
    four times of five; a smaller one may go unnoticed. ``is_met`` says that the challenger is not
    much worse: not by more than the margin, or not clearly.
    """

    name: str
    rows: int
    base_rate: float
    champion: dict
    challenger: dict
    difference: dict
    at_best: float | None = None
    noticed_from: float | None = None
    is_met: bool = True


@dataclass(frozen=True, slots=True)
class Flips:
    """Customers of a slice and how many of them each model would contact, or only one of them."""

    name: str
    customers: int
    champion: int
    challenger: int
    newly: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Change:
    """What customers would notice, on the newest judged date; ``flips`` begins with everybody.

    ``migration[i][j]`` are the customers in the champion's decile i + 1 and the challenger's
    j + 1; the first decile is the likeliest.
    """

    as_of: str
    flips: tuple[Flips, ...]
    migration: list[list[int]]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate found.

    ``metrics`` has ``holdout``, ``challenger`` and, beside a champion, ``champion`` and
    ``difference`` (challenger minus champion), each as ``judge_rows`` gives it; null when there was
    nothing to judge on. ``dates`` are the as-of dates of the judged rows, as text. ``slices`` and
    ``change`` are of a comparison with a champion. ``is_by_control`` says that the judged rows are
    those of the control alone; ``change`` is always of all customers.
    """

    conditions: tuple[Condition, ...]
    metrics: dict | None = None
    dates: tuple[str, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    change: Change | None = None
    is_by_control: bool = False

    @property
    def is_passed(self) -> bool:
        """Whether every condition holds."""
        return all(condition.is_met for condition in self.conditions)

    @property
    def reasons(self) -> list[str]:
        """The conditions that do not hold, as sentences; if all do, all of them."""
        broken = [condition.reason for condition in self.conditions if not condition.is_met]
        return broken or [condition.reason for condition in self.conditions]

    def to_json(self) -> dict:
        """All of it as plain values."""
        return {"verdict": "pass" if self.is_passed else "fail", **asdict(self)}


def judge_challenger(
    challenger: Bundle,
    champion: Bundle | None,
    rows: pa.Table,
    golden: GoldenRun,
    params: Params,
) -> GateVerdict:
    """The verdict on a challenger; the same arguments give the same verdict.

    The two may be of different kinds. A first model has nobody to be better than: it is the
    simplest that was not clearly beaten in its training, and needs only to be fit to score.

    Args:
        challenger: The model to judge.
        champion: The model that scores now; None for a first model.
        rows: The challenger's holdout: as-of date, customer, features, label.
        golden: How its golden rows were scored.
        params: The sections ``gate`` and ``rollout``, the seed of the training, and the control.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    if champion is not None and champion.question != challenger.question:
        return _not_comparable(
            f"it answers {challenger.question.name}, the champion {champion.question.name}: to ask "
            "another question is a person's decision",
            golden,
            params,
        )
    unseen = rows_unseen(rows, models.values())
    try:
        scored = _scored(unseen, models)
    except FeatureMismatch as error:
        return _not_comparable(
            f"one of them cannot score the rows to judge on: {error}", golden, params
        )
    usable = scored.dropna(subset=[f"p_{name}" for name in models]).reset_index(drop=True)
    dates = tuple(str(day) for day in sorted(usable["as_of"].unique()))
    sound, near = _predictions_conditions(_live_scores(rows, challenger), challenger, params)
    if champion is None:
        first = (_first_condition(challenger), sound, *_golden_conditions(golden, params.gate))
        return GateVerdict(first, _judge(usable, models, params), dates)
    if len(usable) < params.gate.min_slice_rows or usable["label"].nunique() < 2:
        return _not_comparable(_too_little(rows, usable, models, params), golden, params)

    control = usable[is_control(usable["customer_id"], params.decision.control_share)]
    is_by_control = params.performance.is_control_enough(
        buyers=control.loc[control["label"] == 1, "customer_id"].nunique(),
        customers=control["customer_id"].nunique(),
    )
    judged = control.reset_index(drop=True) if is_by_control else usable
    metrics = _judge(judged, models, params)
    parts = {name: judged[mask] for name, mask in _slices(judged, params.gate).items()}
    slices = judge_slices(parts, params)
    change = _change(usable, challenger, champion, _slices(usable, params.gate))
    conditions = (
        *_improvement_conditions(metrics["difference"]),
        _slices_condition(slices, params.gate.slice_margin),
        _calibration_condition(metrics, params.gate.calibration_bound),
        sound,
        near,
        *_golden_conditions(golden, params.gate),
    )
    return GateVerdict(conditions, metrics, dates, slices, change, is_by_control)


def rows_unseen(rows: pa.Table, models: Iterable[Bundle]) -> pa.Table:
    """The rows of dates on which every label that any of the judged fits learnt from was known.

    An earlier row shares days with what a model was taught, and would judge it too kindly.
    """
    known = max(model.judged.unseen_from(model.horizon_days) for model in models)
    return rows.filter(pc.greater_equal(rows["as_of"], pa.scalar(known, pa.date32())))


def gate_page(verdict: GateVerdict, version: str, champion: str | None, question: Question) -> str:
    """The verdict as an HTML page; ``version`` and ``champion`` (or None) are names."""
    return render_page(
        "gate.html.j2",
        verdict=verdict,
        version=version,
        champion=champion,
        question=question,
        metrics={
            **METRICS,
            "expected_calibration_error": "calibration error",
        },
        lower_is_better=LOWER_IS_BETTER,
    )


def _scored(rows: pa.Table, models: Mapping[str, Bundle]) -> pd.DataFrame:
    """The rows and, by each model's judged fit on the night of the row's date, ``p_<name>``; NaN
    where it gives none."""
    probabilities = {
        f"p_{name}": model.judged.season.move(
            score(rows, model.judged, reasons=0)["probability"].to_numpy(zero_copy_only=False),
            rows["as_of"],
        )
        for name, model in models.items()
    }
    return rows.to_pandas().assign(**probabilities)


def _live_scores(rows: pa.Table | pd.DataFrame, model: Bundle) -> np.ndarray:
    """What nights would get before the season moves scores and threshold alike; NaN where there is
    no score."""
    return score(rows, model, reasons=0)["probability"].to_numpy(zero_copy_only=False)


def _judge(rows: pd.DataFrame, models: Iterable[str], params: Params) -> dict:
    names = sorted(models)
    judged = judge_rows(
        rows["label"].to_numpy(dtype=np.float64),
        rows["customer_id"].to_numpy(),
        {name: rows[f"p_{name}"].to_numpy() for name in names},
        {"difference": ("challenger", "champion")} if "champion" in names else {},
        params.gate.rounds,
        params.training.seed,
    )
    return rounded(judged)


def _slices(rows: pd.DataFrame, gate: Gate) -> dict[str, np.ndarray]:
    """Which rows are of each slice that has enough of them."""
    masks = country_and_date_slices(rows)
    if "tenure_days" in rows:
        first = -np.inf
        for band, beyond in TENURE_BANDS.items():
            masks[f"tenure: {band}"] = rows["tenure_days"].between(first, beyond, "left").to_numpy()
            first = beyond
    for column in gate.group_columns:
        if column not in rows:
            continue
        names = group_names(rows[column])
        for name in sorted(names.unique()):
            masks[f"{column}: {name}"] = (names == name).to_numpy()
    return {name: mask for name, mask in masks.items() if mask.sum() >= gate.min_slice_rows}


def judge_slices(parts: Mapping[str, pd.DataFrame], params: Params) -> tuple[SliceResult, ...]:
    """Where the challenger ranks worse than the champion by more than chance and the margin.

    Among many small slices some always look worse. So the interval is widened for their number
    (Bonferroni): of challengers that are nowhere worse at most REFUSED_SHARE have a slice that is
    not met. The price is power, which is shown with each slice.

    Args:
        parts: By name, ``customer_id``, ``label``, ``p_champion`` and ``p_challenger`` of its rows.
        params: The margin.
    """
    ranked = {name: _rank(rows) for name, rows in parts.items()}
    judged = sum(each is not None for each in ranked.values())
    reach = NORMAL.inv_cdf(1 - REFUSED_SHARE / max(judged, 1))
    results = []
    for name, rows in parts.items():
        base_rate, compared = round(rows["label"].mean(), DIGITS), ranked[name]
        if compared is None:
            # One outcome only: nothing can be said, so nothing is held against it.
            results.append(SliceResult(name, len(rows), base_rate, UNDEFINED, UNDEFINED, UNDEFINED))
            continue
        difference, spread = compared["difference"]
        least = max(reach * spread, params.gate.slice_margin)
        results.append(
            SliceResult(
                name,
                len(rows),
                base_rate,
                champion=_normal_interval(*compared["champion"]),
                challenger=_normal_interval(*compared["challenger"]),
                difference=_normal_interval(*compared["difference"]),
                at_best=round(difference + reach * spread, DIGITS),
                noticed_from=round(least + NORMAL.inv_cdf(NOTICED_SHARE) * spread, DIGITS),
                is_met=difference >= -least,
            )
        )
    return tuple(results)


def _rank(rows: pd.DataFrame) -> dict[str, tuple[float, float]] | None:
    """The ROC AUC of either model and the difference, each with its standard error.

    The error is that of DeLong, with all rows of a customer as one: exact, where draws of a few
    hundred rows would add noise of their own to the many intervals. None without both outcomes.
    """
    label = rows["label"].to_numpy() == 1
    if label.all() or not label.any():
        return None
    customer, customers = pd.factorize(rows["customer_id"])
    influences = {}
    for name in ("challenger", "champion"):
        probability = rows[f"p_{name}"].to_numpy()
        buyers, others = probability[label], probability[~label]
        beaten = _share_below(buyers, others)
        influence = np.empty(len(label))
        influence[label] = beaten / len(buyers)
        influence[~label] = (1 - _share_below(others, buyers)) / len(others)
        influences[name] = beaten.mean(), influence
    (one, of_one), (other, of_other) = influences["challenger"], influences["champion"]
    found = {
        "champion": (other, of_other),
        "challenger": (one, of_one),
        "difference": (one - other, of_one - of_other),
    }
    size, count = np.where(label, 1 / label.sum(), 1 / (~label).sum()), len(customers)
    result = {}
    for name, (value, influence) in found.items():
        of_customer = np.bincount(customer, influence - value * size)
        error = math.sqrt((of_customer**2).sum() * count / max(count - 1, 1))
        result[name] = float(value), error
    return result


def _share_below(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each value the share of ``among`` that lies below it; equal ones count half."""
    ordered = np.sort(among)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(among))


def _normal_interval(value: float, error: float) -> dict[str, float]:
    reach = NORMAL.inv_cdf(0.975) * error
    return rounded({"value": value, "low": value - reach, "high": value + reach})


def _change(
    rows: pd.DataFrame, challenger: Bundle, champion: Bundle, masks: Mapping[str, np.ndarray]
) -> Change:
    # On one date a row is a customer.
    newest = (rows["as_of"] == rows["as_of"].max()).to_numpy()
    scores = {
        "champion": _live_scores(rows, champion),
        "challenger": _live_scores(rows, challenger),
    }
    before = scores["champion"] >= champion.threshold
    after = scores["challenger"] >= challenger.threshold
    flips = []
    for name, mask in {"everybody": newest, **masks}.items():
        here = mask & newest
        if here.any() and not name.startswith("as of "):
            contacted, would = before[here], after[here]
            flips.append(
                Flips(
                    name,
                    customers=int(here.sum()),
                    champion=int(contacted.sum()),
                    challenger=int(would.sum()),
                    newly=int((would & ~contacted).sum()),
                    dropped=int((contacted & ~would).sum()),
                )
            )
    migration = np.zeros((DECILES, DECILES), dtype=int)
    moves = [deciles(scores[name][newest]) - 1 for name in ("champion", "challenger")]
    np.add.at(migration, tuple(moves), 1)
    return Change(str(rows["as_of"].max()), tuple(flips), migration.tolist())


def _improvement_conditions(difference: dict) -> list[Condition]:
    value = difference_text(difference)
    better = [METRICS[metric] for metric in clearly_better_in(difference)]
    worse = clearly_worse_in(difference)
    shown = ", ".join(f"{METRICS[metric]} {signed_cell(difference[metric])}" for metric in worse)
    names = " or ".join(METRICS[metric] for metric in DECISIVE)
    return [
        Condition(
            "clearly better",
            bool(better),
            value,
            f"for {names} the interval of the difference lies wholly on the better side",
            f"clearly better in {' and '.join(better)}: {value}"
            if better
            else f"no clear improvement, so the champion stays: {value}",
        ),
        Condition(
            "nowhere clearly worse",
            not worse,
            shown or "-",
            f"for neither {names.replace(' or ', ' nor ')} does it lie wholly on the worse side",
            f"clearly worse in {shown}" if worse else "not clearly worse in either",
        ),
    ]


def _first_condition(challenger: Bundle) -> Condition:
    kind = KINDS[challenger.kind]
    return Condition(
        "a first model",
        True,
        kind,
        "there is no champion to be better than",
        f"the first model ({kind}), the simplest that no more complex one clearly beat: see its "
        "card",
    )


def _slices_condition(slices: Sequence[SliceResult], margin: float) -> Condition:
    judged = [part for part in slices if part.difference["value"] is not None]
    worst = min(judged, key=lambda part: part.difference["value"], default=None)
    broken = [f"{part.name} {signed_cell(part.difference)}" for part in judged if not part.is_met]
    unnoticed = max((part.noticed_from for part in judged if part.noticed_from), default=None)
    power = "" if unnoticed is None else f"; a loss below {unnoticed:.2f} may go unnoticed in some"
    return Condition(
        "no slice much worse",
        not broken,
        f"{worst.name} {signed_cell(worst.difference)}" if worst else "no slice has enough rows",
        f"in none of {len(judged)} slices is the ROC AUC clearly below the champion's, and by more "
        f"than {margin:g}{power}",
        f"clearly loses more than {margin:g} ROC AUC for {', '.join(broken)}"
        if broken
        else f"no slice clearly loses more than {margin:g} ROC AUC{power}",
    )


def _calibration_condition(metrics: dict, bound: float) -> Condition:
    error, others = (
        metrics[name]["expected_calibration_error"]["value"] for name in ("challenger", "champion")
    )
    # Where customers have changed, both are off, and the one that is no worse may take over.
    allowed = max(bound, AS_CALIBRATED * others)
    is_met = error <= allowed
    return Condition(
        "calibrated",
        is_met,
        f"{error:.4f} (champion {others:.4f})",
        f"expected calibration error at the most {bound:g}, or {AS_CALIBRATED:g} times the "
        "champion's",
        f"its calibration error is {error:.4f}, {'within' if is_met else 'beyond'} {allowed:.4g}",
    )


def _predictions_conditions(
    probability: np.ndarray, challenger: Bundle, params: Params
) -> list[Condition]:
    """What the promises about a night's predictions ask of the scores, and the share contacted."""
    given = probability[~np.isnan(probability)]
    scored_share = len(given) / len(probability)
    distinct, low, high = len(np.unique(given)), float(given.min()), float(given.max())
    is_sound = scored_share >= SCORED_SHARE and distinct > 1 and 0 <= low <= high <= 1
    contacted = float((given >= challenger.threshold).mean())
    wanted, factor = challenger.contact_share, params.rollout.max_contacted_factor
    is_near = wanted / factor <= contacted <= wanted * factor
    return [
        Condition(
            "sound predictions",
            is_sound,
            f"{scored_share:.1%} scored, {distinct:,} different scores from {low:.4f} to "
            f"{high:.4f}",
            f"at least {SCORED_SHARE:.0%} scored, not all alike, from 0 to 1",
            "its predictions keep the promises"
            if is_sound
            else f"its predictions break the promises: {scored_share:.1%} scored, {distinct:,} "
            f"different scores from {low:g} to {high:g}",
        ),
        Condition(
            "contacts about as many as asked",
            is_near,
            f"{contacted:.1%}",
            f"{wanted / factor:.1%} to {wanted * factor:.1%}",
            f"it would contact {contacted:.1%} of the customers, where {wanted:.1%} is asked for",
        ),
    ]


def _golden_conditions(golden: GoldenRun, gate: Gate) -> list[Condition]:
    if golden.mebibytes is None:
        return [
            Condition(
                "golden rows score here",
                False,
                str(golden.error),
                f"in {gate.golden_seconds:g} s and {gate.golden_mebibytes:,} MiB",
                f"its golden rows could not be scored here: {golden.error}",
            )
        ]
    is_quick = golden.seconds <= gate.golden_seconds
    is_small = golden.mebibytes <= gate.golden_mebibytes
    return [
        Condition(
            "golden rows score in time",
            is_quick,
            f"{golden.seconds:.1f} s",
            f"at the most {gate.golden_seconds:g} s of CPU time, from the start of a process",
            f"its golden rows score here {'within' if is_quick else 'in more than'} "
            f"{gate.golden_seconds:g} s",
        ),
        Condition(
            "golden rows score in memory",
            is_small,
            f"{golden.mebibytes:,.0f} MiB",
            f"at the most {gate.golden_mebibytes:,} MiB",
            f"its golden rows score here {'within' if is_small else 'in more than'} "
            f"{gate.golden_mebibytes:,} MiB",
        ),
    ]


def _not_comparable(why: str, golden: GoldenRun, params: Params) -> GateVerdict:
    bound = "rows that neither judged fit has seen"
    condition = Condition("can be judged", False, "no", bound, why)
    return GateVerdict((condition, *_golden_conditions(golden, params.gate)))


def _too_little(
    rows: pa.Table, usable: pd.DataFrame, models: Mapping[str, Bundle], params: Params
) -> str:
    learnt = ", ".join(
        f"the judged fit of the {name} learnt from dates up to {max(model.judged.learnt_on)}"
        for name, model in sorted(models.items())
    )
    question = models["challenger"].question
    return (
        f"{len(usable):,} of the {rows.num_rows:,} rows of the holdout, of which "
        f"{usable['label'].sum():,.0f} {question.did}, are left to judge on ({learnt}, and a label "
        f"takes {question.horizon_days} days to be known); "
        f"{params.gate.min_slice_rows:,} with both outcomes are needed. Train with a later --until."
    )
