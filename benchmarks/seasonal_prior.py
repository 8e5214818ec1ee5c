"""Whether scores gain from a prior that follows the season.

Every night's log-odds are moved by one number and held against the labels that came: by none, as
the pipeline does; by what the newest cohorts whose labels are there would have needed; by how the
share of buyers changed a year ago between the dates of the calibration and this one. On the
generated shop of benchmarks.year and on Online Retail II, both of which must have run. Prints the
table that docs/decisions/0010 quotes.
"""

import argparse
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from scipy.optimize import brentq
from sklearn.metrics import log_loss

from benchmarks.autumn_2011 import AUTUMN, SOURCE
from benchmarks.year import STORIES, YEAR, Calendar, on_time
from lake import read_json, value_sha256
from models.apply import score
from models.bundle import Bundle, read_bundle
from models.bundle_hash import bundle_sha256
from params import Params, read_params
from records import ActivityRecord
from settings import PROJECT_ROOT, Settings

YEAR_AGO = timedelta(weeks=52)
COHORTS = 28
"""The days of cohorts, the newest whose labels are there, that a prior is taken from."""


def shares_of_buyers(
    settings: Settings, params: Params, dates: Iterable[date], until: date
) -> dict[date, float]:
    """By date, the share of the population that bought within the horizon."""
    root = settings.data_root
    files = [
        root / file.path
        for day, name in on_time(settings, params, until).items()
        for file in ActivityRecord.read(root, day, name).activity.files
    ]
    rows = pd.concat(
        pq.read_table(file, columns=["customer_id", "activity_on", "purchase_lines"]).to_pandas()
        for file in files
    )
    bought = rows[rows["purchase_lines"] > 0]
    customer, on = bought["customer_id"].to_numpy(), bought["activity_on"].to_numpy()
    active = timedelta(days=params.population.active_days)
    horizon = timedelta(days=params.training.horizon_days)
    shares = {}
    for day in set(dates):
        population = set(customer[(on > day - active) & (on <= day)])
        buyers = set(customer[(on > day) & (on <= day + horizon)])
        shares[day] = len(population & buyers) / len(population)
    return shares


def log_odds(probability: float | np.ndarray) -> float | np.ndarray:
    """The logarithm of the odds."""
    return np.log(probability / (1 - probability))


def moved(odds: np.ndarray, step: float) -> np.ndarray:
    """Probabilities from log-odds that are moved by ``step``."""
    return 1 / (1 + np.exp(-(odds + step)))


def compare(
    settings: Settings, params: Params, calendar: Calendar, bundle: Bundle
) -> Mapping[str, pd.DataFrame]:
    """By prior, the log loss of every night and how far the mean probability was from the share
    that bought."""
    horizon = timedelta(days=params.training.horizon_days)
    nights = [night for night in calendar.nights if night + horizon <= calendar.last_night]
    learnt = read_json(bundle.folder / "bundle.json")["origin"]["as_of"]["live"]
    calibrated = [date.fromisoformat(day) for day in learnt[-params.training.calibration_count :]]
    before = {day: day - YEAR_AGO for day in [*calibrated, *nights]}
    shares = shares_of_buyers(settings, params, before.values(), calendar.last_night)
    usual = mean(log_odds(shares[before[day]]) for day in calibrated)

    odds, bought = {}, {}
    for night in nights:
        folder = settings.data_root / "nights"
        rows = pq.ParquetDataset(folder, filters=[("as_of", "=", str(night))]).read()
        odds[night] = log_odds(score(rows, bundle, reasons=0)["probability"].to_numpy())
        bought[night] = rows["label"].to_numpy()

    def of_cohorts(night: date) -> float:
        known = [night - horizon - timedelta(days=back) for back in range(COHORTS)]
        known = [day for day in known if day in odds]
        if not known:
            return 0.0
        scored, share = (
            np.concatenate([odds[day] for day in known]),
            np.concatenate([bought[day] for day in known]).mean(),
        )
        return brentq(lambda step: moved(scored, step).mean() - share, -5, 5)

    priors = {
        "none": lambda _: 0.0,
        f"the newest {COHORTS} cohorts with labels": of_cohorts,
        "the change of a year ago": lambda night: log_odds(shares[before[night]]) - usual,
    }
    found = {}
    for name, step in priors.items():
        lines = []
        for night in nights:
            p = moved(odds[night], step(night))
            lines.append((log_loss(bought[night], p), abs(p.mean() - bought[night].mean())))
        found[name] = pd.DataFrame(lines, nights, ["log loss", "mean off by"])
    return found


def main() -> None:
    """Compare the priors on both shops."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "data")
    folder, params = parser.parse_args().folder.resolve(), read_params()
    year = folder / "benchmark-year"
    quiet = year / f"world-{value_sha256(STORIES[0].faults)[:8]}"
    autumn = folder / "benchmark-autumn"
    shops = {
        "generated": (Settings(data_root=quiet), YEAR, year / "first"),
        "Online Retail II": (
            Settings(data_root=autumn / "world", source=SOURCE),
            AUTUMN,
            autumn / "first",
        ),
    }
    console = Console(width=200)
    console.print(
        "| shop | prior | nights | log loss | lower than without on | mean off by, on average "
        "| at most |"
    )
    console.print("|---|---|---|---|---|---|---|")
    for shop, (settings, calendar, artifacts) in shops.items():
        bundle = artifacts / "bundle"
        read = read_bundle(bundle, bundle_sha256(bundle))
        found = compare(settings, params, calendar, read)
        for prior, nights in found.items():
            off, lower = nights["mean off by"], nights["log loss"] < found["none"]["log loss"]
            console.print(
                f"| {shop} | {prior} | {len(nights)} | {nights['log loss'].mean():.4f} "
                f"| {lower.mean():.0%} of nights | {off.mean():.4f} | {off.max():.4f} |"
            )


if __name__ == "__main__":
    main()
