"""Whether scores gain from a prior that follows the season.

Every night's log-odds are moved by one number and held against the labels that came: by none; by
what the newest cohorts whose labels are there would have needed; by the step of the bundle, how the
share of buyers changed a year ago between the dates of the calibration and this one. On the
generated shop of benchmarks.year and on Online Retail II, both of which must have run. Prints the
table that docs/decisions/0010 quotes.
"""

import argparse
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from scipy.optimize import brentq
from sklearn.metrics import log_loss

from benchmarks.autumn_2011 import AUTUMN, SOURCE
from benchmarks.year import STORIES, YEAR, Calendar
from lake import value_sha256
from models.apply import score
from models.bundle import Bundle, read_bundle
from models.bundle_hash import bundle_sha256
from models.season import moved
from params import Params, read_params
from settings import PROJECT_ROOT, Settings

COHORTS = 28
"""The days of cohorts, the newest whose labels are there, that a prior is taken from."""


def compare(
    settings: Settings, params: Params, calendar: Calendar, bundle: Bundle
) -> Mapping[str, pd.DataFrame]:
    """By prior, the log loss of every night and how far the mean probability was from the share
    that bought."""
    horizon = timedelta(days=params.training.horizon_days)
    nights = [night for night in calendar.nights if night + horizon <= calendar.last_night]
    scores, bought = {}, {}
    for night in nights:
        folder = settings.data_root / "nights"
        rows = pq.ParquetDataset(folder, filters=[("as_of", "=", str(night))]).read()
        scores[night] = score(rows, bundle, reasons=0)["probability"].to_numpy()
        bought[night] = rows["label"].to_numpy()

    def of_cohorts(night: date) -> float:
        known = [night - horizon - timedelta(days=back) for back in range(COHORTS)]
        known = [day for day in known if day in scores]
        if not known:
            return 0.0
        scored = np.concatenate([scores[day] for day in known])
        share = np.concatenate([bought[day] for day in known]).mean()
        return brentq(lambda step: moved(scored, step).mean() - share, -5, 5)

    priors = {
        "nothing": lambda _: 0.0,
        f"what the newest {COHORTS} cohorts with labels needed": of_cohorts,
        "the change of a year ago": bundle.season.step,
    }
    found = {}
    for name, step in priors.items():
        lines = []
        for night in nights:
            p = moved(scores[night], step(night))
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
        "| shop | moved by | nights | log loss | lower on | mean off by, on average | at most |"
    )
    console.print("|---|---|---|---|---|---|---|")
    for shop, (settings, calendar, artifacts) in shops.items():
        bundle = artifacts / "bundle"
        read = read_bundle(bundle, bundle_sha256(bundle))
        found = compare(settings, params, calendar, read)
        for prior, nights in found.items():
            off, lower = nights["mean off by"], nights["log loss"] < found["nothing"]["log loss"]
            console.print(
                f"| {shop} | {prior} | {len(nights)} | {nights['log loss'].mean():.4f} "
                f"| {lower.mean():.0%} | {off.mean():.4f} | {off.max():.4f} |"
            )


if __name__ == "__main__":
    main()
