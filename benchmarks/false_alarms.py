"""How often a drift alarm is false, and what it misses: ``python -m benchmarks.false_alarms``.

The alarm of the pipeline and Evidently's defaults look at the same nights of a generated shop:
quiet ones, drawn from the nights after the training, which no threshold has seen; quiet ones as
they follow each other; and nights on which some features are shifted. Writes
docs/false_alarms.md.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from evidently.legacy.calculations.stattests import (
    jensenshannon_stat_test,
    wasserstein_stat_test,
)
from rich.console import Console
from rich.progress import track

from benchmarks.year import (
    STORIES,
    YEAR,
    describe_nights,
    prepare_history,
    prepare_story,
    train,
    with_scores,
)
from jobs.engine import choose_engine
from jobs.session import session
from lake import read_json
from models.bundle import Bundle
from monitoring.changes import CHANGES, raised, shifted
from monitoring.drift import (
    DRIFT_THRESHOLDS,
    PREDICTION_COLUMNS,
    PROBABILITY,
    Thresholds,
    find_drift_of_both,
    verdict_of_both,
)
from params import Params, read_params
from settings import PROJECT_ROOT, Settings
from warehouse import weekdays_before

# Evidently's defaults for more than a thousand rows: methods, thresholds, and the share of columns
# from which on it calls a dataset drifted.
EVIDENTLY_THRESHOLD = 0.1
EVIDENTLY_SHARE = 0.5

# Quiet nights are drawn from this many nights after the training.
DAYS_AFTER = 180
FEATURES_SHIFTED = (1, 3, 10)
SHIFTS = (0.1, 0.2, 0.5)
COLUMN_NIGHTS = 40
COLUMN_CHANGES = ("shift_0.5", "constant", "missing")
SEED = 11

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Alarms:
    """Shares of nights that were called drifted."""

    pipeline: float
    evidently_dataset: float
    evidently_any: float


@dataclass(frozen=True, slots=True)
class World:
    """The reference of a model, its thresholds, and the customers of every night after it, with
    features and predictions."""

    bundle: Bundle
    thresholds: Thresholds
    reference: pd.DataFrame
    customers: Mapping[date, pd.DataFrame]
    params: Params

    def night(self, night: date) -> "Night":
        """That night's population, and the same weekday of the weeks before, from the first night
        after the training on."""
        weekdays = weekdays_before(night, self.params.drift.weekday_nights)
        before = [self.customers[day] for day in weekdays if day in self.customers]
        return Night(night, self.customers[night], pd.concat(before) if before else None)

    def is_called(self, night: "Night", columns: Sequence[str] = ()) -> bool:
        """Whether the pipeline calls the night drifted; for the scores and these columns alone, or
        for all."""
        names = [*columns, *PREDICTION_COLUMNS] if columns else list(night.customers)
        before = night.weeks_before
        found = find_drift_of_both(
            self.reference[names],
            None if before is None else before[names],
            night.customers[names],
            self.thresholds.on(night.date),
            self.params.drift,
            self.bundle.categories,
        )
        return verdict_of_both(*found) == "drift"

    def evidently(self, night: "Night") -> float:
        """The share of features that Evidently's defaults call drifted."""
        called = []
        for name in self.bundle.feature_names:
            is_category = name in self.bundle.categories
            test = jensenshannon_stat_test if is_category else wasserstein_stat_test
            kind = "cat" if is_category else "num"
            before, now = self.reference[name].dropna(), night.customers[name].dropna()
            called.append(test.func(before, now, kind, EVIDENTLY_THRESHOLD)[1])
        return float(np.mean(called))


@dataclass(frozen=True, slots=True)
class Night:
    """Customers with their predictions, and those of the weeks before where there are some."""

    date: date
    customers: pd.DataFrame
    weeks_before: pd.DataFrame | None


def make_world(folder: Path, params: Params) -> World:
    """A shop, a model of it, and a quiet year after."""
    here = Settings(data_root=folder)
    with session(here, "false_alarms", choose_engine(here.spark, 0)) as spark:
        history = prepare_history(spark, folder, params)
        settings, _ = prepare_story(spark, folder, params, STORIES[0])
        described = describe_nights(spark, settings, params, YEAR)
        bundle = train(spark, history, params, YEAR.eve, folder / "first")
    reference = pd.read_parquet(bundle.folder / "reference.parquet")
    reference["is_contacted"] = reference["probability"] >= bundle.threshold
    thresholds = Thresholds(**read_json(bundle.folder / DRIFT_THRESHOLDS))
    customers = {}
    for night in YEAR.nights:
        rows = pq.ParquetDataset(described, filters=[("as_of", "=", str(night))]).read()
        features = rows.select(list(bundle.feature_names)).to_pandas()
        customers[night] = with_scores(features, bundle)
    return World(bundle, thresholds, reference, customers, params)


def drawn_nights(
    world: World,
    count: int,
    change: Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame] | None = None,
) -> Iterator[Night]:
    """``count`` nights: customers drawn with replacement from one of the nights, then changed."""
    random = np.random.default_rng(SEED)
    for _ in range(count):
        night = world.night(YEAR.nights[random.integers(DAYS_AFTER)])
        customers = night.customers
        chosen = random.integers(0, len(customers), len(customers))
        drawn = customers.iloc[chosen].reset_index(drop=True)
        yield replace(night, customers=change(drawn, random) if change else drawn)


def shift(count: int, by: float, world: World) -> Callable:
    """Move the means of ``count`` numbers by ``by`` standard deviations, without new values."""

    def change(night: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        numbers = [
            name for name in world.bundle.feature_names if name not in world.bundle.categories
        ]
        moved = night[list(world.bundle.feature_names)].copy()
        for name in random.choice(numbers, count, replace=False):
            other = shifted(by)(moved[name], random)
            moved[name] = moved[name] if other is None else other
        return with_scores(moved, world.bundle)

    return change


def heard(world: World, count: int) -> list[str]:
    """By column, the share of nights after the training on which a change of it alone is heard."""
    nights = list(drawn_nights(world, count))
    random = np.random.default_rng(SEED)
    lines = []
    for name in track(world.bundle.feature_names, "columns", console=console):
        cells = [name]
        for change in COLUMN_CHANGES:
            apply, is_for_text = CHANGES[change]
            possible = is_for_text or name not in world.bundle.categories
            changed = [apply(each.customers[name], random) for each in nights] if possible else []
            called = [
                world.is_called(with_column(night, name, column), [name])
                for night, column in zip(nights, changed, strict=possible)
                if column is not None
            ]
            cells.append(f"{np.mean(called):.0%}" if called else "-")
        named = {"deaf": world.thresholds.deaf, "while it is new": world.thresholds.fading}
        cells.append(", ".join(word for word, names in named.items() if name in names))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def with_column(night: Night, name: str, values: pd.Series) -> Night:
    """The night with other values in one column."""
    return replace(night, customers=night.customers.assign(**{name: values}))


def heard_scores(world: World, count: int) -> list[str]:
    """The share of nights on which a change of the mean probability is heard."""
    nights = list(drawn_nights(world, count))
    lines = []
    for by in (0.1, 0.25):
        called = [
            world.is_called(
                with_column(night, PROBABILITY, raised(by)(night.customers[PROBABILITY]))
            )
            for night in nights
        ]
        lines.append(f"| mean probability up by {by:.0%} | {np.mean(called):.0%} |")
    return lines


def alarms(world: World, some: Iterable[Night], also: int) -> Alarms:
    """How many nights are called; Evidently sees the first ``also`` of them."""
    called, shares = [], []
    for at, night in enumerate(some):
        called.append(world.is_called(night))
        if at < also:
            shares.append(world.evidently(night))
    shares = np.array(shares)
    return Alarms(
        float(np.mean(called)),
        float(np.mean(shares >= EVIDENTLY_SHARE)),
        float(np.mean(shares > 0)),
    )


def measure(world: World, count: int, shifted_nights: int, also: int) -> list[str]:
    """The page, line by line."""
    still = drawn_nights(world, count)
    quiet = alarms(world, track(still, "quiet nights", count, console=console), also)
    days = YEAR.nights[:DAYS_AFTER]
    following = (world.night(day) for day in track(days, "consecutive nights", console=console))
    consecutive = alarms(world, following, len(days))
    rest = YEAR.nights[DAYS_AFTER:]
    later = (world.night(day) for day in track(rest, "the nights after those", console=console))
    aged = alarms(world, later, len(rest))

    drift, rows = world.params.drift, len(world.reference)
    lines = [
        "# False alarms, and what is missed",
        "",
        "Made by `python -m benchmarks.false_alarms`; nothing on this page was written by hand.",
        "",
        f"A model of a generated shop, trained until {YEAR.eve}; {len(world.bundle.feature_names)} "
        f"features, {rows:,} customers in its reference, about as many a night. Its thresholds "
        f"come from {world.thresholds.nights:,} quiet nights between {world.thresholds.pairs} "
        "pairs of as-of dates of the training set, and from as many between a date and the same "
        f"weekday of the {drift.weekday_nights} weeks before it; one false verdict is allowed in "
        f"{drift.false_alarm_nights} nights. The nights below lie after the training; no threshold "
        "has seen them. Evidently's defaults for samples of this size: normed Wasserstein distance "
        f"and Jensen-Shannon distance at {EVIDENTLY_THRESHOLD}; *dataset* is its own verdict (half "
        f"of the columns), *any* is one column or more.",
        "",
        "## Nights on which nothing has happened",
        "",
        "| nights | called by the pipeline | by Evidently, dataset | by Evidently, any column |",
        "|---|---|---|---|",
        f"| {count:,} drawn from the {DAYS_AFTER} nights after the training "
        f"(Evidently: the first {also}) | {_cells(quiet)} |",
        f"| those {DAYS_AFTER} nights as they follow each other | {_cells(consecutive)} |",
        f"| the {len(rest)} nights after those, {DAYS_AFTER} to {len(YEAR.nights)} days on "
        f"| {_cells(aged)} |",
        "",
        "Nights that follow each other hold nearly the same customers, so their verdicts come in "
        "runs: a share of 1 % is one episode of some nights rather than a night here and there.",
        "",
        "## Nights on which something has",
        "",
        f"Per line {shifted_nights} nights; the features are chosen at random, their values drawn "
        "again so that the mean lies that many standard deviations higher, without a value that "
        "was not there before. All changes are new: the weeks before were without them.",
        "",
        "| features shifted | by | called by the pipeline | by Evidently, dataset "
        "| by Evidently, any column |",
        "|---|---|---|---|---|",
    ]
    for features in FEATURES_SHIFTED:
        for by in SHIFTS:
            some = drawn_nights(world, shifted_nights, shift(features, by, world))
            label = f"{features} features by {by} sd"
            seen = track(some, label, shifted_nights, console=console)
            found = alarms(world, seen, min(also, shifted_nights))
            lines.append(f"| {features} | {by} sd | {_cells(found)} |")
    deaf = ", ".join(world.thresholds.deaf) or "none"
    count = min(shifted_nights, COLUMN_NIGHTS)
    return [
        *lines,
        "",
        "## Column by column",
        "",
        f"Per cell {count} nights after the training, one change in one column: the share of the "
        "nights that are called drifted. *99 % alike*: nearly everybody holds the commonest value; "
        "a dash where that is so anyway. The bundle itself was built with the same changes in "
        f"nights of its training set, and names as deaf: {deaf}. *While it is new*: the reference "
        "alone does not hear the change, because by itself the column moves as far in a year; what "
        "hears it is the comparison with the weeks before, for as long as they were without it.",
        "",
        "| column | mean up by 0.5 sd | 99 % alike | half missing | named |",
        "|---|---|---|---|---|",
        *heard(world, count),
        "",
        "| the scores | called by the pipeline |",
        "|---|---|",
        *heard_scores(world, count),
    ]


def _cells(found: Alarms) -> str:
    values = (found.pipeline, found.evidently_dataset, found.evidently_any)
    return " | ".join(f"{value:.1%}" for value in values)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "data" / "benchmark-year")
    parser.add_argument("--nights", type=int, default=1000, help="quiet nights (1000)")
    parser.add_argument("--shifted", type=int, default=200, help="nights of each shift (200)")
    parser.add_argument("--evidently", type=int, default=100, help="of these, seen by Evidently")
    arguments = parser.parse_args()
    world = make_world(arguments.folder.resolve(), read_params())
    lines = measure(world, arguments.nights, arguments.shifted, arguments.evidently)
    page = PROJECT_ROOT / "docs" / "false_alarms.md"
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(page.read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main()
