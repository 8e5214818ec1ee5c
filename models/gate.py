"""The gate: whether a challenger may score beside the champion, and what it would change.

Both are judged on the same rows, of dates that neither has learnt from. Ties keep the champion.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from intervals import rounded
from models.apply import score
from models.bundle import Bundle
from models.deciles import DECILES, deciles
from models.golden import GoldenRun
from models.judge import country_and_date_slices, group_names, judge_rows
from models.metrics import DECISIVE, METRICS, TENURE_BANDS, worst_gain
from models.pages import render_page
from models.schema import FeatureMismatch
from params import Gate, Params

LOWER_IS_BETTER = ("log_loss", "brier", "expected_calibration_error")

# Single rows may hold an infinite number, which gets no score; more of them is an ill model.
SCORED_SHARE = 0.99


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
    interval, null without both outcomes; ``is_met`` says that the challenger is not too much worse.
    """

    name: str
    rows: int
    base_rate: float
    champion: dict
    challenger: dict
    difference: dict
    is_met: bool


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
    ``change`` are of a comparison with a champion.
    """

    conditions: tuple[Condition, ...]
    metrics: dict | None = None
    dates: tuple[str, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    change: Change | None = None

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
    beats_baselines: bool,
    golden: GoldenRun,
    params: Params,
) -> GateVerdict:
    """The verdict on a challenger; the same arguments give the same verdict.

    Args:
        challenger: The model to judge.
        champion: The model that scores now; None for a first model, which must beat the baselines.
        rows: The challenger's holdout: as-of date, customer, features, label.
        beats_baselines: What was found when the challenger was evaluated.
        golden: How its golden rows were scored.
        params: The sections ``gate`` and ``rollout``, and the seed of the training.
    """
    models = {"challenger": challenger} | ({"champion": champion} if champion else {})
    unseen = rows_unseen(rows, models.values())
    try:
        scored = _scored(unseen, models)
    except FeatureMismatch as error:
        return _not_comparable(
            f"one of them cannot score the rows to judge on: {error}", golden, params
        )
    usable = scored.dropna(subset=[f"p_{name}" for name in models]).reset_index(drop=True)
    if len(usable) < params.gate.min_slice_rows or usable["label"].nunique() < 2:
        return _not_comparable(_too_little(rows, usable, models, params), golden, params)

    metrics = _judge(usable, models, params)
    conditions, change = [_baselines_condition(beats_baselines)], None
    slices: tuple[SliceResult, ...] = ()
    if champion is not None:
        masks = _slices(usable, params.gate)
        slices = tuple(_judge_slice(usable[mask], name, params) for name, mask in masks.items())
        change = _change(usable, challenger, champion, masks)
        conditions = [
            *_improvement_conditions(metrics["difference"]),
            _slices_condition(slices, params.gate.slice_margin),
        ]
    conditions += [
        _calibration_condition(metrics, params.gate.calibration_bound),
        *_predictions_conditions(scored["p_challenger"].to_numpy(), challenger, params),
        *_golden_conditions(golden, params.gate),
    ]
    dates = tuple(str(day) for day in sorted(usable["as_of"].unique()))
    return GateVerdict(tuple(conditions), metrics, dates, slices, change)


def rows_unseen(rows: pa.Table, models: Iterable[Bundle]) -> pa.Table:
    """The rows of dates on which every label that any of the models learnt from was known.

    An earlier row shares days with what a model was taught, and would judge it too kindly.
    """
    known = max(max(model.learnt_on) + timedelta(days=model.horizon_days) for model in models)
    return rows.filter(pc.greater_equal(rows["as_of"], pa.scalar(known, pa.date32())))


def gate_page(verdict: GateVerdict, version: str, champion: str | None) -> str:
    """The verdict as an HTML page; ``version`` and ``champion`` (or None) are names."""
    return render_page(
        "gate.html.j2",
        verdict=verdict,
        version=version,
        champion=champion,
        metrics={
            **METRICS,
            "expected_calibration_error": "calibration error",
        },
        lower_is_better=LOWER_IS_BETTER,
    )


def _scored(rows: pa.Table, models: Mapping[str, Bundle]) -> pd.DataFrame:
    """The rows and, for each model, ``p_<name>``; NaN where it gives none."""
    probabilities = {
        f"p_{name}": score(rows, model, reasons=0)["probability"].to_numpy(zero_copy_only=False)
        for name, model in models.items()
    }
    return rows.to_pandas().assign(**probabilities)


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
        names = group_names(rows[column])
        for name in sorted(names.unique()):
            masks[f"{column}: {name}"] = (names == name).to_numpy()
    return {name: mask for name, mask in masks.items() if mask.sum() >= gate.min_slice_rows}


def _judge_slice(rows: pd.DataFrame, name: str, params: Params) -> SliceResult:
    found = _judge(rows, ("champion", "challenger"), params)
    difference = found["difference"]["roc_auc"]
    return SliceResult(
        name,
        found["holdout"]["rows"],
        found["holdout"]["base_rate"],
        found["champion"]["roc_auc"],
        found["challenger"]["roc_auc"],
        difference,
        # One outcome only: nothing can be said, so nothing is held against it.
        difference["value"] is None or difference["value"] >= -params.gate.slice_margin,
    )


def _change(
    rows: pd.DataFrame, challenger: Bundle, champion: Bundle, masks: Mapping[str, np.ndarray]
) -> Change:
    # On one date a row is a customer.
    newest = (rows["as_of"] == rows["as_of"].max()).to_numpy()
    before = (rows["p_champion"] >= champion.threshold).to_numpy()
    after = (rows["p_challenger"] >= challenger.threshold).to_numpy()
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
    moves = [
        deciles(rows.loc[newest, f"p_{name}"].to_numpy()) - 1 for name in ("champion", "challenger")
    ]
    np.add.at(migration, tuple(moves), 1)
    return Change(str(rows["as_of"].max()), tuple(flips), migration.tolist())


def _improvement_conditions(difference: dict) -> list[Condition]:
    worst = {metric: worst_gain(difference[metric], sign) for metric, sign in DECISIVE.items()}
    best = {metric: worst_gain(difference[metric], -sign) for metric, sign in DECISIVE.items()}
    value = ", ".join(f"{METRICS[m]} {_signed(difference[m])}" for m in DECISIVE)
    better = [METRICS[metric] for metric in DECISIVE if worst[metric] > 0]
    worse = [METRICS[metric] for metric in DECISIVE if best[metric] > 0]
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
            ", ".join(worse) or "-",
            f"for neither {names.replace(' or ', ' nor ')} does it lie wholly on the worse side",
            f"clearly worse in {' and '.join(worse)}: {value}"
            if worse
            else "not clearly worse in either",
        ),
    ]


def _signed(difference: dict) -> str:
    """A difference with its interval, or a dash where it is undefined."""
    if difference["value"] is None:
        return "-"
    ends = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
    return f"{difference['value']:+.4f} ({ends})"


def _baselines_condition(beats_baselines: bool) -> Condition:
    return Condition(
        "better than the baselines",
        beats_baselines,
        "yes" if beats_baselines else "no",
        "clearly better than recency alone and than a logistic regression, in log loss and PR AUC",
        "a first model that clearly beats both baselines"
        if beats_baselines
        else "a first model must clearly beat both baselines, and this one does not: see its card",
    )


def _slices_condition(slices: Sequence[SliceResult], margin: float) -> Condition:
    judged = [part for part in slices if part.difference["value"] is not None]
    worst = min(judged, key=lambda part: part.difference["value"], default=None)
    broken = [
        f"{part.name} ({part.difference['value']:+.4f})" for part in judged if not part.is_met
    ]
    return Condition(
        "no slice much worse",
        not broken,
        f"{worst.name} {_signed(worst.difference)}" if worst else "no slice has enough rows",
        f"ROC AUC at the most {margin:g} below the champion's",
        f"loses more than {margin:g} ROC AUC for {', '.join(broken)}"
        if broken
        else f"no slice loses more than {margin:g} ROC AUC",
    )


def _calibration_condition(metrics: dict, bound: float) -> Condition:
    error = metrics["challenger"]["expected_calibration_error"]["value"]
    others = metrics.get("champion", {}).get("expected_calibration_error")
    beside = f" (champion {others['value']:.4f})" if others else ""
    is_met = error <= bound
    return Condition(
        "calibrated",
        is_met,
        f"{error:.4f}{beside}",
        f"expected calibration error at the most {bound:g}",
        f"its calibration error is {error:.4f}, {'within' if is_met else 'beyond'} {bound:g}",
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
    if golden.error:
        return [
            Condition(
                "golden rows score here",
                False,
                golden.error,
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
            f"at the most {gate.golden_seconds:g} s, from the start of a process",
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
    condition = Condition("can be judged", False, "no", "rows that neither model has seen", why)
    return GateVerdict((condition, *_golden_conditions(golden, params.gate)))


def _too_little(
    rows: pa.Table, usable: pd.DataFrame, models: Mapping[str, Bundle], params: Params
) -> str:
    learnt = ", ".join(
        f"the {name} learnt from dates up to {max(model.learnt_on)}"
        for name, model in sorted(models.items())
    )
    return (
        f"{len(usable):,} of the {rows.num_rows:,} rows of the holdout, of which "
        f"{usable['label'].sum():,.0f} bought, are left to judge on ({learnt}, and a label takes "
        f"{params.training.horizon_days} days to be known); "
        f"{params.gate.min_slice_rows:,} with both outcomes are needed. Train with a later --until."
    )
