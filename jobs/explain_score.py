"""Show why a customer has the score they have on a night, or why they have none.

One screen: score and decision, what every feature adds, what the windows looked at, what changed
since the night before, and the way back to the delivered files. Reads the warehouse and the lake,
changes nothing. What is shown is about one person: show it to those who may see it.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

import catalog
import warehouse
from errors import BadData
from jobs.entry import night_parser, run_name, start, writable
from jobs.registry import open_registry, usable_bundle
from lake import Piece, PieceAltered, RecordDamaged, check_pieces, rows_where
from ledger import delivery_of, entries, rules_of
from models.bundle import Bundle, read_bundle
from models.bundle_hash import BundleRefused
from models.explain import Attribution, attribute, figure
from models.sections import Points, Section, Table, sections_page, sections_text
from models.store import BundleDiffers, StoreUnavailable
from params import MICROS, read_params
from records import ActivityRecord, IntakeRecord, RunRecord, StageRecord
from sealed import RecordOutdated
from settings import Settings

PARSER = night_parser(__doc__, "--customer 48758")
PARSER.add_argument("--customer", required=True, help="the customer's id, as it was delivered")
PARSER.add_argument(
    "--run-id", type=run_name, help="a run of that night; default the one that readers see"
)
PARSER.add_argument("--html", type=writable, metavar="FILE", help="write a page instead")

SHOWN = 3
"""The newest days, deliveries and unused lines that are shown of many."""

SHOWN_OF = {"invoices": "invoice_id", "products": "product_id"}
"""What is counted, each with the column of the line that it needs."""

CHANGES_SHOWN = 6

EXACT = 1e-12
"""Scores are the same to the last bits of the exponential, in which processors differ."""

HASH_DIGITS = 12
CANNOT_BE_READ = (
    *(FileNotFoundError, PieceAltered, RecordDamaged, RecordOutdated, warehouse.RunDropped),
    *(BundleRefused, BundleDiffers, StoreUnavailable),
)


class NothingToExplain(BadData):
    """There is no such night, run or customer, or what it rests on is not there any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a run holds of one customer; ``score`` and what explains it are null without a score.

    ``attribution`` is null also for a fallback score. ``threshold`` is that of the customer's arm.
    """

    record: RunRecord
    features: pa.Table
    score: warehouse.CustomerScore | None = None
    threshold: float | None = None
    season_step: float = 0.0
    attribution: Attribution | None = None


@dataclass(frozen=True, slots=True)
class Unused:
    """A line of the customer that was not accepted; ``origin`` is its file, where that is kept."""

    known_on: date
    outcome: str
    rule: str
    origin: str
    line: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is shown; ``status`` is the score's, or ``none``."""

    title: str
    sections: list[Section]
    run_id: str
    status: str


def explain(
    settings: Settings, customer: str, score_date: date, run_id: str | None = None
) -> Explanation:
    """Everything that led to the customer's score; what tests call.

    Raises:
        NothingToExplain: If there is no such night, run or customer, or what the score rests on is
            not as it was written.
    """
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    published = warehouse.current_run(engine, score_date)
    name = run_id or published
    if name is None:
        newest = warehouse.newest_night(engine)
        raise NothingToExplain(
            f"no run of {score_date} is published, so nobody has a score for it. "
            f"{f'The newest published night is {newest}.' if newest else 'No night is published.'}"
        )
    try:
        record = RunRecord.read(settings.data_root, score_date, name)
        seen = look(settings, engine, record, customer)
        sections = sections_of(settings, engine, seen, customer, published)
    except CANNOT_BE_READ as error:
        raise NothingToExplain(str(error)) from error
    status = seen.score.status if seen.score else "none"
    title = f"Customer {customer} on the night of {score_date}"
    return Explanation(title, sections, record.run_id, status)


def sections_of(
    settings: Settings, engine: sa.Engine, seen: Seen, customer: str, published: str | None
) -> list[Section]:
    """The whole screen; ``published`` is the run that readers see."""
    root, record = settings.data_root, seen.record
    activity = activity_of(root, record, customer)
    unused = unused_lines(root, record, customer)
    score, attribution = seen.score, seen.attribution
    if score is None:
        reason = why_no_score(root, record, customer, activity, unused)
        sections = [Section("No score", [reason])]
    else:
        sections = [
            score_section(seen, score, published),
            change_section(settings, engine, seen, score, customer),
        ]
        if attribution is not None:
            sections.append(why_section(attribution, score, seen.season_step))
    if activity:
        sections.append(window_section(seen, activity))
    return [*sections, origin_section(root, record, activity), *unused_section(unused)]


def look(settings: Settings, engine: sa.Engine, record: RunRecord, customer: str) -> Seen:
    """What the run holds of the customer.

    Raises:
        FileNotFoundError: If the run has not got as far as scores.
        RunDropped: If its scores were dropped.
        BundleRefused, StoreUnavailable: If the model that scored cannot be had.
    """
    warehouse.check_kept(engine, record.run_id)
    root = settings.data_root
    described = StageRecord.read(root, record, "build_features").pieces["features"]
    features = rows_where(root, [described], "customer_id", customer, again(record))
    score = warehouse.score_of(engine, record.run_id, customer) or unpublished_score(
        root, record, customer
    )
    if score is None:
        return Seen(record, features)
    bundle = arm_bundle(settings, record, score)
    attribution = attribute(features, bundle) if score.status == "scored" else None
    step = bundle.season.step(record.score_date)
    return Seen(record, features, score, bundle.threshold, step, attribution)


def again(record: RunRecord) -> str:
    """How what a run has written is had again."""
    return f"Make it again: {record.command('build_features')} and the jobs after it."


def unpublished_score(
    root: Path, record: RunRecord, customer: str
) -> warehouse.CustomerScore | None:
    """The score in the lake: for a run that was not published."""
    scoring = StageRecord.read(root, record, "score_customers")
    piece = scoring.pieces[catalog.PREDICTIONS.name]
    rows = rows_where(root, [piece], "customer_id", customer, again(record)).to_pylist()
    if not rows:
        return None
    [row] = rows
    version, facts = record.model_version, scoring.facts
    if row["arm"] == "challenger" and record.challenger is not None:
        version, facts = record.challenger.version, facts["challenger"]
    names = ("probability", "decile", "is_contacted", "status", "arm")
    return warehouse.CustomerScore(
        **{name: row[name] for name in names},
        # Runs of older code had no control.
        is_control=row.get("is_control", False),
        model_version=version,
        threshold_version=facts["threshold_version"],
    )


def arm_bundle(settings: Settings, record: RunRecord, score: warehouse.CustomerScore) -> Bundle:
    """The model whose score the customer has, as it scores that night."""
    sha256 = record.bundle_sha256
    if score.arm == "challenger" and record.challenger is not None:
        sha256 = record.challenger.bundle_sha256
    folder = settings.data_root / "bundles" / sha256
    if folder.exists():
        return read_bundle(folder, sha256).on(record.score_date)
    registry = open_registry(settings, read_params())
    return usable_bundle(settings, registry.resolve(score.model_version)).on(record.score_date)


# ------------------------------------------------------------------------------- with a score


def score_section(seen: Seen, score: warehouse.CustomerScore, published: str | None) -> Section:
    """Score, decision, model, arm, and whether readers see it."""
    record = seen.record
    decision = "contacted" if score.is_contacted else "not contacted"
    if score.is_control:
        decision = "in the control, so never contacted"
    shown = {
        record.run_id: "which readers see",
        None: "which is not published",
    }.get(published, f"which readers do not see: they see run {published}")
    is_named = score.arm == "champion" and not record.is_champion
    arm = "a version asked for by name, not the champion:" if is_named else f"the {score.arm}"
    blocks = [
        f"{score.probability:.6f}: how likely it is that the customer {record.question}. Decile "
        f"{score.decile} of 10, {decision} (from {seen.threshold:.6f} on, rule "
        f"{score.threshold_version}).",
        f"Status {score.status}, by {arm} {record.model_name} {score.model_version}, in "
        f"run {record.run_id}, {shown}.",
    ]
    if score.status != "scored":
        kept = "the score of the night before" if score.status == "previous" else "the prior"
        blocks.append(
            "The features break a promise of expectations/features.py, so they were not scored and "
            f"the customer got {kept}. The page: "
            f"{catalog.REPORTS.format(**record.key)}/data_docs/features/index.html"
        )
    return Section("Score", blocks)


def why_section(
    attribution: Attribution, score: warehouse.CustomerScore, season_step: float
) -> Section:
    """What every feature adds, and whether the sum is the score."""
    parts = attribution.contributions
    is_same = attribution.adds_up and abs(attribution.probability - score.probability) <= EXACT
    verdict = "the score" if is_same else f"NOT the score, {score.probability:.6f}"
    total = sum(each.log_odds for each in parts)
    season = ""
    if season_step:
        season = (
            f", of which {season_step:+.4f} for the season (as the odds changed a year ago, from "
            "the weeks of the calibration to this one)"
        )
    table = Table(
        ["feature", "value", "adds"],
        [[each.feature, each.value, f"{each.log_odds:+.2f}"] for each in parts],
    )
    return Section(
        "Why: what each feature adds to the log-odds",
        [
            table,
            f"{attribution.start:+.4f} (start) {total:+.4f} (features) = "
            f"{attribution.log_odds:+.4f} log-odds = {attribution.summed:.6f}: {verdict}. "
            f"Calibrated: the model's contributions times {attribution.slope:.4f}; "
            f"{attribution.intercept:+.4f} is in the start{season}.",
        ],
    )


def change_section(
    settings: Settings,
    engine: sa.Engine,
    seen: Seen,
    score: warehouse.CustomerScore,
    customer: str,
) -> Section:
    """What is not as it was the night before: values, model, rules, or nothing."""
    title = "Changed since the night before"
    name = warehouse.run_before(engine, seen.record.score_date)
    if name is None:
        return Section(title, ["No night before this one is published."])
    try:
        before = look(settings, engine, RunRecord.find(settings.data_root, name), customer)
    except CANNOT_BE_READ as error:
        return Section(title, [f"The night before cannot be compared: {error}"])
    night = f"{before.record.score_date} (run {name})"
    was = before.score
    if was is None:
        return Section(title, [f"No score on {night}: the customer was not in its population."])
    difference = score.probability - was.probability
    rules = rules_changed(rules_used(before, was), rules_used(seen, score))
    changed = [*rules, *values_changed(before, seen)]
    return Section(
        title,
        [
            f"{was.probability:.6f} on {night}: {difference:+.6f}.",
            Points(changed or ["Nothing: the same values, model and rules."]),
        ],
    )


def rules_used(seen: Seen, score: warehouse.CustomerScore) -> dict[str, str]:
    """Whose score it is, and by which rules and code, by name."""
    record = seen.record
    return {
        "model": f"{score.arm} {score.model_version}",
        "status": score.status,
        "rule of the decision": score.threshold_version,
        "season, of the log-odds": f"{seen.season_step:+.4f}",
        "parameters": record.params_sha256[:HASH_DIGITS],
        "code of features/": record.features_sha256[:HASH_DIGITS],
        "code of the night": record.code_sha256[:HASH_DIGITS],
        "rules of intake": rules_of(record.intake),
    }


def rules_changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What of it differs."""
    return [f"{name}: {before[name]} -> {new}" for name, new in now.items() if before[name] != new]


def values_changed(before: Seen, now: Seen) -> list[str]:
    """The features that differ, those that moved the score most first; the rest is counted."""
    if not before.features.num_rows or not now.features.num_rows:
        return []
    [old], [new] = before.features.to_pylist(), now.features.to_pylist()
    differ = [name for name in new if repr(old.get(name)) != repr(new[name])]
    moved = {name: effect(now, name) - effect(before, name) for name in differ}
    differ.sort(key=lambda name: -abs(moved[name]))
    sentences = [
        f"{name}: {value_text(old.get(name))} -> {value_text(new[name])}, {moved[name]:+.2f}"
        for name in differ[:CHANGES_SHOWN]
    ]
    if len(differ) > CHANGES_SHOWN:
        rest = differ[CHANGES_SHOWN:]
        moves = sum(moved[name] for name in rest)
        sentences.append(f"{len(rest)} more features, {moves:+.2f} together")
    return sentences


def effect(seen: Seen, name: str) -> float:
    """What a feature adds to the log-odds; 0 if the score was not computed from it."""
    parts = seen.attribution.contributions if seen.attribution else ()
    return sum(part.log_odds for part in parts if part.feature.split(" = ")[0] == name)


def value_text(value: float | str | None) -> str:
    """A feature's value for people."""
    if value is None:
        return "missing"
    return value if isinstance(value, str) else figure(value)


# ---------------------------------------------------------------------------- what it rests on


def activity_of(root: Path, record: RunRecord, customer: str) -> list[dict]:
    """The customer's activity that the run has pinned, the newest day first."""
    pieces = [ActivityRecord.read(root, day, intake).activity for day, intake in record.all_intakes]
    rows = rows_where(root, pieces, "customer_id", customer).to_pylist()
    return sorted(rows, key=lambda row: (row["activity_on"], row["known_on"]), reverse=True)


def window_section(seen: Seen, activity: Sequence[dict]) -> Section:
    """What lay in each window, and the newest days in it."""
    night = seen.record.score_date
    source = seen.record.params["sources"][seen.record.source]
    absent = [name for name, ours in SHOWN_OF.items() if not source["columns"].get(ours)]
    names = seen.features.column_names
    windows = sorted({int(days) for name in names for days in re.findall(r"_(\d+)d$", name)})
    rows = [
        window_row(f"{days} days", [row for row in activity if days_ago(row, night) < days])
        for days in windows
    ]
    newest = [
        [
            str(row["activity_on"]),
            f"{days_ago(row, night)}",
            short_list(row["purchase_invoice_ids"]),
            f"{row['purchase_lines']:,}",
            amount(row["purchase_micros"]),
            amount(row["return_micros"]),
            str(row["known_on"]),
        ]
        for row in activity[:SHOWN]
    ]
    return Section(
        f"What the windows looked at ({source['currency']})",
        [
            without(
                absent,
                Table(
                    ["last", "days", "invoices", "lines", "products", "bought", "returned"],
                    [*rows, window_row("all", activity)],
                ),
            ),
            f"The newest {len(newest)} of {len(activity)} days with activity:",
            without(
                absent,
                Table(
                    ["day", "ago", "invoices", "lines", "bought", "returned", "delivered"],
                    newest,
                    first_number=3,
                ),
            ),
        ],
    )


def without(absent: Collection[str], table: Table) -> Table:
    """The table without the columns under these heads."""
    shown = [at for at, head in enumerate(table.header) if head not in absent]
    header, *rows = ([row[at] for at in shown] for row in [table.header, *table.rows])
    return Table(header, rows, sum(at < table.first_number for at in shown))


def days_ago(row: dict, night: date) -> int:
    """How many days before the night's day it was."""
    return (night - row["activity_on"]).days


def window_row(name: str, activity: Sequence[dict]) -> list[str]:
    """Counts and sums over these rows of activity, each day, invoice and product once."""
    purchases = [row for row in activity if row["purchase_lines"] > 0]
    counts = (
        len({row["activity_on"] for row in purchases}),
        len({each for row in purchases for each in row["purchase_invoice_ids"]}),
        sum(row["purchase_lines"] for row in purchases),
        len({each for row in purchases for each in row["purchase_product_ids"]}),
    )
    sums = (sum(row[f"{kind}_micros"] for row in activity) for kind in ("purchase", "return"))
    return [name, *(f"{count:,}" for count in counts), *map(amount, sums)]


def amount(micros: int) -> str:
    """Millionths as currency units."""
    return f"{micros / MICROS:,.2f}"


def short_list(names: Sequence[str]) -> str:
    """The last of many, and how many more there are."""
    if not names:
        return "-"
    return names[-1] if len(names) == 1 else f"{names[-1]} +{len(names) - 1}"


def origin_section(root: Path, record: RunRecord, activity: Sequence[dict]) -> Section:
    """The way back: code, rules and parameters, and the deliveries with their files."""
    newest = dict.fromkeys([record.score_date, *(row["known_on"] for row in activity[:SHOWN])])
    hashes = {
        "features/": record.features_sha256,
        "code": record.code_sha256,
        "parameters": record.params_sha256,
        "bundle": record.bundle_sha256,
    }
    short = ", ".join(f"{name} {sha256[:HASH_DIGITS]}" for name, sha256 in hashes.items())
    return Section(
        "Where it comes from",
        [
            f"Commit {record.code_version}: {short}, rules of intake {rules_of(record.intake)}. Of "
            f"{len(record.intakes)} deliveries, the night's own and those of the days above:",
            Table(
                ["day", "delivery", "known from", "file", "sha256"],
                [delivery_row(root, day, record.intakes[day]) for day in newest],
                first_number=5,
            ),
        ],
    )


def delivery_row(root: Path, day: date, intake: str) -> list[str]:
    """A delivery as the ledger has it; of several files the first is shown."""
    name = delivery_of(intake)
    for entry in entries(root, day):
        if entry.delivery_id == name:
            file, more = entry.files[0], len(entry.files) - 1
            shown = f"{file.name} +{more}" if more else file.name
            known = f"{entry.known_from} #{entry.number}"
            return [str(day), name, known, shown, file.sha256[:HASH_DIGITS]]
    return [str(day), name, "not in the ledger", "-", "-"]


def unused_lines(root: Path, record: RunRecord, customer: str) -> list[Unused]:
    """The customer's lines that were quarantined or excluded, the newest delivery first."""
    column = record.params["sources"][record.source]["columns"]["customer_id"]
    found: list[Unused] = []
    for day, intake in sorted(record.all_intakes, reverse=True):
        taken = IntakeRecord.read(root, day, intake)
        if any(taken.excluded.values()):
            piece = taken.pieces[catalog.EXCLUDED_TRANSACTIONS.name]
            rows = rows_where(root, [piece], "customer_id", customer).to_pylist()
            found += [Unused(day, "excluded", row["rule"], "", excluded_text(row)) for row in rows]
        if any(taken.quarantined.values()):
            found += quarantined_lines(
                root, day, taken.pieces[catalog.QUARANTINED_TRANSACTIONS.name], column, customer
            )
    return found


def quarantined_lines(
    root: Path, day: date, piece: Piece, column: str, customer: str
) -> Iterable[Unused]:
    """The lines of one delivery's quarantine that name the customer, in whatever spelling."""
    for path in check_pieces(root, [piece]):
        for row in pq.read_table(path).to_pylist():
            raw = dict(row["raw"])
            if names_customer(raw, column, customer):
                text = ", ".join(f"{name} {value}" for name, value in raw.items() if name != column)
                yield Unused(day, "quarantined", row["rule"], row["source_file"], text)


def names_customer(raw: dict[str, str | None], column: str, customer: str) -> bool:
    """Whether a delivered row is of the customer; a line that was cut counts if it holds the id."""
    if column in raw:
        # As ids are read: trimmed, and a number without its empty fraction.
        text = (raw[column] or "").strip(" \t\r\n\u00a0")
        return re.sub(r"^(-?\d+)\.0*$", r"\1", text) == customer
    as_a_word = rf"(?<!\w){re.escape(customer)}(?!\w)"
    return any(re.search(as_a_word, text or "") for text in raw.values())


def excluded_text(row: dict) -> str:
    """What was on an excluded line.

    >>> line = {"invoice_id": "7", "product_id": "flour", "unit_price_micros": 990_000}
    >>> excluded_text(line | {"quantity_micros": 1_250_000})
    'invoice 7, 1.25 x flour at 0.99'
    >>> excluded_text(line | {"quantity_micros": 0, "invoice_id": None, "product_id": None})
    '0 at 0.99'
    """
    # As a decimal, which shows no more digits than there are.
    quantity = Decimal(row["quantity_micros"]) / MICROS
    price = row["unit_price_micros"] / MICROS
    invoice = f"invoice {row['invoice_id']}, " if row["invoice_id"] else ""
    product = f" x {row['product_id']}" if row["product_id"] else ""
    return f"{invoice}{quantity:f}{product} at {price:,.2f}"


def unused_section(unused: Sequence[Unused]) -> list[Section]:
    """How many lines were not used, by which rule, and the newest of them."""
    if not unused:
        return []
    return [
        Section(
            "Lines that were not used",
            [
                f"{by_rule(unused)}. The newest:",
                Points(
                    [
                        f"{each.known_on}{f', {each.origin}' if each.origin else ''}: "
                        f"{each.rule} ({each.outcome}): {each.line}"
                        for each in unused[:SHOWN]
                    ]
                ),
            ],
        )
    ]


def by_rule(unused: Iterable[Unused]) -> str:
    """Counts by outcome and rule."""
    counts = Counter((each.outcome, each.rule) for each in unused)
    return ", ".join(f"{count} {outcome} ({rule})" for (outcome, rule), count in counts.items())


# ----------------------------------------------------------------------------- without a score


def why_no_score(
    root: Path,
    record: RunRecord,
    customer: str,
    activity: Sequence[dict],
    unused: Sequence[Unused],
) -> str:
    """The reason, in a sentence.

    Raises:
        NothingToExplain: If nobody has ever heard of the customer.
    """
    run, active_days = f"run {record.run_id}", record.params["population"]["active_days"]
    purchases = [row["activity_on"] for row in activity if row["purchase_lines"] > 0]
    if purchases:
        last = max(purchases)
        return (
            f"Not active: the last purchase known to {run} was on {last}, "
            f"{(record.score_date - last).days} days before. Scored is who bought within "
            f"{active_days} days."
        )
    if activity:
        return (
            f"Never bought: {run} knows only returns, on {len(activity)} days, the newest on "
            f"{activity[0]['activity_on']}."
        )
    if unused:
        return f"None of the customer's lines known to {run} was accepted: {by_rule(unused)}."
    later = known_later(root, record, customer)
    if later:
        day, intake, first = later[0]
        known_from = next(
            entry.known_from
            for entry in entries(root, day)
            if entry.delivery_id == delivery_of(intake)
        )
        return (
            f"Not known yet: {run} has no line of the customer. The first is of {first}, in the "
            f"delivery of {day}, which nights know from {known_from} on."
        )
    raise NothingToExplain(
        f"no line of customer {customer!r} is in the {len(record.intakes)} deliveries that {run} "
        "knew, nor in any that came later. Ids are compared as text, letter by letter: look for "
        "another spelling."
    )


def known_later(root: Path, record: RunRecord, customer: str) -> list[tuple[date, str, date]]:
    """Deliveries that the run did not know and that have the customer: day, intake, first day."""
    pinned = set(record.all_intakes)
    found = []
    for path in sorted(root.glob(catalog.ACTIVITY_RECORD.format(known_on="*", intake="*"))):
        day = date.fromisoformat(path.parent.name.removeprefix("known_on="))
        intake = path.name.removesuffix(".activity.json")
        if (day, intake) not in pinned:
            piece = ActivityRecord.read(root, day, intake).activity
            rows = rows_where(root, [piece], "customer_id", customer).to_pylist()
            found += [(day, intake, row["activity_on"]) for row in rows]
    return sorted(found, key=lambda each: each[2])


def write_private(path: Path, text: str) -> None:
    """Write a page about a person, which only its owner may read."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments: argparse.Namespace) -> dict:
    """Explain what the command line asks for."""
    explanation = explain(Settings(), arguments.customer, arguments.score_date, arguments.run_id)
    facts = {"run_id": explanation.run_id, "status": explanation.status}
    if arguments.html is None:
        print(sections_text(explanation.title, explanation.sections))
        return facts
    write_private(arguments.html, sections_page(explanation.title, explanation.sections))
    return facts | {"page": str(arguments.html)}


if __name__ == "__main__":
    start(PARSER, main)
