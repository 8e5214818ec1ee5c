"""The model card: what a person should know before trusting a score. As Markdown and as a page."""

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from models.choice import choice_blocks
from models.metrics import KINDS, METRICS, metric_cell
from models.pages import render_page
from models.sections import Block, Points, Section, Table
from params import Question

LINE_LENGTH = 100

CHANGES = {
    "shift_0.2": "mean up by 0.2 sd",
    "shift_0.5": "mean up by 0.5 sd",
    "constant": "99 % alike",
    "missing": "half missing",
    "scaled": "scaled by 0.75",
    "raised_0.1": "mean probability up by 10 %",
    "raised_0.25": "by 25 %",
}
"""The changes that monitors should hear, and what the card calls them."""

PARTS = {"fit": "fit, judged", "holdout": "holdout", "live": "fit, live"}
"""The parts of the training set, and what the card calls them."""

# What Markdown, or the HTML in it, would take for its own.
SPECIAL = re.compile(r"([\\`*\[\]<|])")


@dataclass(frozen=True, slots=True)
class Approval:
    """Something that was decided about a version. ``at`` and ``actor`` are ready to be read."""

    at: str
    what: str
    actor: str
    reason: str


def model_card(description: dict, metrics: dict) -> str:
    """Purpose, data, quality, fairness, calibration and limits of a model, as Markdown.

    Args:
        description: What is in ``bundle.json``.
        metrics: What is in ``metrics.json``.
    """
    parts = [f"# Model card: {_escaped(description['model_name'])}"]
    for section in card_sections(description, metrics):
        parts.append(f"## {section.title}")
        parts += [_markdown(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def card_page(
    version: str,
    description: dict,
    metrics: dict,
    approvals: Sequence[Approval],
    verdict: str | None,
) -> str:
    """The card of a registered version as an HTML page, with who let it go how far.

    Args:
        version: Its name.
        description: What is in ``bundle.json``.
        metrics: What is in ``metrics.json``.
        approvals: In order of time.
        verdict: What the gate said, in a few words; its page is expected in ``../gate``. None if
            the version was never judged.
    """
    return render_page(
        "card.html.j2",
        version=version,
        name=description["model_name"],
        owner=description["owner"],
        sections=card_sections(description, metrics),
        approvals=approvals,
        verdict=verdict,
    )


def card_sections(description: dict, metrics: dict) -> list[Section]:
    """The card, before it is put into a form."""
    question = _question(description)
    return [
        _purpose(description),
        _data(description),
        _quality(metrics, question),
        _slices(metrics["slices"], question),
        _fairness(metrics["groups"], question),
        _calibration(metrics, question),
        _season(description.get("season"), description.get("calibrated_on", [])),
        _features(description["schema"]),
        _hears(description["hears"]),
        _limits(description),
        _origin(description),
    ]


def _question(description: dict) -> Question:
    return Question(**description["question"])


def _purpose(description: dict) -> Section:
    question = _question(description)
    return Section(
        "Purpose",
        [
            f"{question.name}: how likely is it that an active customer {question.does} within the "
            f"next {question.horizon_days} days? The score ranks customers for a nightly decision "
            f"(whom to contact: the threshold is {description['threshold']:.4f}, version "
            f"{description['threshold_version']}, which the best "
            f"{description['contact_share']:.0%} of the newest date reached). It is a forecast of "
            "what happens anyway, not of what a contact changes, and it is not meant for decisions "
            "about credit, prices or access.",
            f"Owner: {description['owner']}.",
        ],
    )


def _data(description: dict) -> Section:
    origin, question = description["origin"], _question(description)
    second = description["second_fit"]
    return Section(
        "Data",
        [
            f"Source {origin['source']}, transactions known by {origin['training_until']}. A row "
            "is a customer on an as-of date, with what was known by its end; the label says "
            f"whether the customer {question.did} within the {question.horizon_days} days after.",
            Table(
                ["part", "as-of dates", "rows"],
                [
                    [name, _dates(origin["as_of"][part]), f"{origin['rows'][part]:,}"]
                    for part, name in PARTS.items()
                ],
                first_number=2,
            ),
            f"The model, {_kind(description)}, was fitted twice by one recipe. The judged fit "
            "learnt from the first part; between it and the holdout lies a gap of one horizon. The "
            "figures below are the judged fit's, unless they say otherwise. The live fit learnt "
            "from all dates; it is what scores, and threshold, drift reference and golden rows are "
            "its own. Each is calibrated (Platt scaling) on its newest dates, every customer by a "
            "fit that had not seen them.",
            "On the newest date the second fit alone changes who is contacted for "
            f"{second['moved_share']:.1%} of the customers, and a probability by "
            f"{second['mean_change']:.3f} on average.",
            _left_out(origin["left_out"]),
        ],
    )


def _kind(description: dict) -> str:
    kind, rounds = KINDS[description["kind"]], description["rounds"]
    return kind if rounds is None else f"{kind} with {rounds} trees"


def _dates(days: list[str]) -> str:
    return f"{days[0]} to {days[-1]} ({len(days)})" if len(days) > 1 else days[0]


def _left_out(left_out: dict[str, str]) -> str:
    if not left_out:
        return "No as-of date was left out."
    by_reason: dict[str, list[str]] = {}
    for day, reason in left_out.items():
        by_reason.setdefault(reason.partition(": ")[2] or "too little history", []).append(day)
    reasons = "; ".join(f"{_dates(days)}, {reason}" for reason, days in by_reason.items())
    return f"Left out, neither teaching nor judging: {reasons}."


def _quality(metrics: dict, question: Question) -> Section:
    holdout = metrics["holdout"]
    return Section(
        "Quality on the holdout",
        [
            f"{holdout['rows']:,} rows of {holdout['customers']:,} customers, of which "
            f"{holdout['base_rate']:.1%} {question.did}. In brackets 95 % bootstrap intervals, "
            "customers drawn. For log loss and Brier score less is better.",
            Table(
                ["metric", *KINDS.values()],
                [
                    [title, *[metric_cell(metrics[kind][metric]) for kind in KINDS]]
                    for metric, title in METRICS.items()
                ],
            ),
            "All three learnt from the same rows and were calibrated on the same dates.",
            *choice_blocks(metrics),
            "For these customers the live fit of that kind has a ROC AUC of "
            f"{metric_cell(metrics['live']['model']['roc_auc'])}. It did not have to look a "
            "horizon ahead, as the judged fit had to, so its figure is the kinder one; where the "
            "two differ by much, customers have changed their ways since the judged fit learnt.",
            _control(metrics.get("control"), question),
        ],
    )


def _control(control: dict | None, question: Question) -> str:
    if control is None:
        return (
            "There was no control (decision.control_share in params.yaml), or it was too small: "
            "where a contact makes customers buy, part of these figures is the contacts' doing."
        )
    return (
        f"Of the control, whom nobody contacts, {control['customers']:,} customers were in the "
        f"holdout and {control['buyers']:,} {question.did}: ROC AUC "
        f"{metric_cell(control['model']['roc_auc'])}. It costs what contacting them would have "
        "earned, and shows what customers do by themselves; what a contact brings is in "
        "performance (contact_effect)."
    )


def _slices(slices: dict, question: Question) -> Section:
    rows = []
    for name, found in slices.items():
        holdout = found["holdout"]
        shown = ("roc_auc", "pr_auc", "log_loss", "top_decile_lift")
        cells = [metric_cell(found["model"][metric]) for metric in shown]
        rows.append([name, f"{holdout['rows']:,}", f"{holdout['base_rate']:.1%}", *cells])
    shown_metrics = ("ROC AUC", "PR AUC", "log loss", "lift in the top decile")
    header = ["slice", "rows", question.did, *shown_metrics]
    return Section("Slices", [Table(header, rows)])


def _fairness(groups: dict, question: Question) -> Section:
    blocks: list[Block] = [
        "Does the model serve groups of customers alike? Where the mean probability lies far from "
        f"the share that {question.did}, a group is judged by a wrong level; where fewer of its "
        f"{question.doers} are contacted, it is passed over."
    ]
    header = [
        *("rows", question.did, "mean probability", "contacted", f"{question.doers} contacted"),
        *(f"contacted who {question.did}", "calibration error", "ROC AUC"),
    ]
    for column, found in groups.items():
        rows = [
            [
                name,
                f"{group['rows']:,}",
                *[
                    _share(group[share])
                    for share in (
                        *("base_rate", "mean_probability", "contacted_share"),
                        *("recall", "precision"),
                    )
                ],
                f"{group['expected_calibration_error']:.4f}",
                metric_cell(group["roc_auc"]),
            ]
            for name, group in found["groups"].items()
        ]
        blocks.append(Table([column, *header], rows))
        if found["too_few"]:
            blocks.append(
                f"Too few rows to say anything: {found['too_few']:,} more values of {column}."
            )
    if not groups:
        blocks.append("No group columns are named in params.yaml (gate.group_columns).")
    return Section("Fairness", blocks)


def _calibration(metrics: dict, question: Question) -> Section:
    error = metrics["model"]["expected_calibration_error"]["value"]
    return Section(
        "Calibration",
        [
            f"Of customers with about this probability, how many {question.did}? The expected "
            f"calibration error is {error:.4f}.",
            Table(
                ["mean probability", f"share that {question.did}", "rows"],
                [
                    [f"{bin['predicted']:.3f}", f"{bin['observed']:.3f}", f"{bin['rows']:,}"]
                    for bin in metrics["calibration_curve"]
                ],
                first_number=0,
            ),
        ],
    )


def _season(steps: dict[str, float] | None, calibrated_on: list[str]) -> Section:
    if steps is None:
        return Section(
            "Season",
            [
                "Probabilities have the level of the newest weeks all year round: the same weeks a "
                "year before are not known, or training.seasonal_prior is off."
            ],
        )
    return Section(
        "Season",
        [
            f"Probabilities have the level of the weeks of calibration, {_dates(calibrated_on)}. "
            "For a night the odds of everybody are multiplied by one number: how the odds changed "
            "a year ago from those weeks to that night's. Threshold and base rate move along, so "
            "who is contacted does not depend on it.",
            Table(
                ["night", "odds times"],
                [[day, f"{math.exp(step):.2f}"] for day, step in steps.items()],
                first_number=1,
            ),
        ],
    )


def _features(schema: list[dict]) -> Section:
    return Section(
        "Features",
        [
            "Numbers are shown with their range in the rows of the fit. A category that was not "
            "seen then is treated as missing.",
            Table(
                ["feature", "values", "missing"],
                [
                    [feature["name"], _values(feature), f"{feature['missing_share']:.1%}"]
                    for feature in schema
                ],
                first_number=2,
            ),
        ],
    )


def _hears(hears: dict) -> Section:
    deaf, fading = (", ".join(hears.get(name, ())) or "none" for name in ("deaf", "fading"))
    rows = [
        [name, *[_share(heard.get(change)) for change in CHANGES]]
        for name, heard in hears["power"].items()
    ]
    return Section(
        "What its monitors hear",
        [
            "Changes were made in quiet nights of the training set, one column at a time: the "
            "share of the nights that are then called drifted, against this model's reference or "
            "the same weekday of the weeks before. A dash: the change cannot be made in that "
            "column, or is not asked for.",
            f"Deaf, so that the column could lose its meaning unnoticed: {deaf}.",
            "Heard only while it is new, since the column moves as far by itself in a year: "
            f"{fading}.",
            Table(["column", *CHANGES.values()], rows),
        ],
    )


def _limits(description: dict) -> Section:
    as_of = description["origin"]["as_of"]
    horizon = timedelta(days=_question(description).horizon_days)
    last = {part: date.fromisoformat(max(as_of[part])) + horizon for part in as_of}
    return Section(
        "Limits",
        [
            Points(
                [
                    "Trained on as-of dates of one stretch of time: a season it has not seen "
                    "shifts the level of the probabilities more than the order of the customers. "
                    "Compare the as-of dates above with the night.",
                    "The figures are of the judged fit. The live fit has learnt what happened up "
                    f"to {last['live']}, the judged one up to {last['fit']}: how well the live fit "
                    "does is known once the labels of its own nights are there.",
                    "Only customers with a purchase within the population's window are scored; a "
                    "customer who is new or returns later has no score before the first purchase "
                    "is delivered.",
                    "Where a slice above has few rows, its interval is wide or undefined (-): do "
                    "not rely on it.",
                ]
            )
        ],
    )


def _origin(description: dict) -> Section:
    origin, libraries = description["origin"], description["libraries"]
    made_with = ", ".join(f"{name} {version}" for name, version in libraries.items())
    return Section(
        "Origin",
        [
            f"Made with {made_with}. Training set {origin['training_set_sha256'][:12]}, features "
            f"{origin['features_sha256'][:12]}, parameters {origin['params_sha256'][:12]}. Who "
            "registered and promoted a version, when and why, is in the model registry."
        ],
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _values(feature: dict) -> str:
    if feature["kind"] == "category":
        count, first = len(feature["categories"]), ", ".join(feature["categories"][:3])
        return f"{count} categories: {first}{', ...' if count > 3 else ''}"
    if feature["low"] is None:
        return "always missing"
    return f"{feature['low']:g} to {feature['high']:g}"


def _markdown(block: str | Points | Table) -> str:
    if isinstance(block, str):
        return _filled(_escaped(block))
    if isinstance(block, Points):
        return "\n".join(_filled(_escaped(sentence), "- ", "  ") for sentence in block.sentences)
    numbers = len(block.header) - block.first_number
    lines = [block.header, ["---"] * block.first_number + ["---:"] * numbers]
    cells = [[_escaped(cell) for cell in row] for row in [lines[0], *block.rows]]
    rows = [cells[0], lines[1], *cells[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _filled(text: str, first: str = "", others: str = "") -> str:
    return textwrap.fill(
        text,
        LINE_LENGTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escaped(text: str) -> str:
    r"""The text as Markdown shows it, on one line.

    >>> _escaped("<b>*bold*</b> | `x`")
    '\\<b>\\*bold\\*\\</b> \\| \\`x\\`'
    """
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
