"""What monitoring decides on real nights: ``python -m benchmarks.autumn_2011 --source-files DIR``.

Online Retail II as it was, on all nights that it has after its first training, under params.yaml as
it stands; else as benchmarks.year does it. Writes docs/autumn_2011.md.
"""

import argparse
from collections import Counter
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.year import Calendar, Deployment
from jobs import describe_source, load_history
from jobs.engine import choose_engine
from jobs.session import session
from params import PARAMS_FILE, Params, read_params
from settings import PROJECT_ROOT, Settings

SOURCE = "online_retail_ii"
AUTUMN = Calendar(date(2009, 12, 1), date(2011, 9, 5), date(2011, 12, 9))

console = Console(stderr=True)


def live(folder: Path, source_files: Path, params: Params) -> Deployment:
    """All nights, one after the other."""
    settings = Settings(data_root=folder / "world", source=SOURCE)
    with session(settings, "autumn 2011", choose_engine(settings.spark, 0)) as spark:
        into = settings.data_root / "incoming"
        describe_source.run(PARAMS_FILE, source_files, SOURCE, into=into)
        load_history.run(spark, settings, params, AUTUMN.last_night)
        deployment = Deployment(spark, settings, params, AUTUMN)
        for night in track(AUTUMN.nights, "nights", console=console):
            deployment.night(night)
    return deployment


def write_page(lived: Deployment, params: Params, path: Path) -> None:
    """What was found, as a page of the docs."""
    rules, nights = params.retraining, AUTUMN.nights
    year = lived.year
    realised = Counter(lived.realised[night] for night in nights)
    estimated = Counter(lived.estimated[night] for night in nights)
    lines = [
        "# The nights of autumn 2011",
        "",
        "Made by `python -m benchmarks.autumn_2011`; nothing on this page was written by hand.",
        "",
        f"Online Retail II as it was, on all {len(nights)} nights from {nights[0]} to "
        f"{nights[-1]}, by a model trained until {AUTUMN.eve}, under `params.yaml` as it stands: "
        f"who {params.training.question}, {rules.loss_cohorts} cohorts in a "
        "row that lost, "
        f"{rules.drift_nights} drifted nights in a row, {rules.cool_down_days} days of cool-down. "
        "Intake, features, training, drift, performance, decision and gate are the pipeline's own "
        "code; Airflow, DVC and the warehouse are left out.",
        "",
        "| what | came out |",
        "|---|---|",
        f"| customers a night | {min(map(len, lived.scored.values())):,} to "
        f"{max(map(len, lived.scored.values())):,} |",
        f"| nights that drifted | {_nights(year.drifted)} |",
        *(f"| alarm `{name}` | {_nights(found)} |" for name, found in sorted(year.alarms.items())),
        f"| mature cohorts | {_counts(realised, 'unknown')} |",
        f"| estimated before the labels | {_counts(estimated, 'unknown')} |",
        f"| retrainings asked for | {', '.join(map(str, year.asked)) or 'none'} |",
        f"| gate | {', '.join(year.gate) or '-'} |",
        f"| new champion from | {', '.join(map(str, year.live)) or '-'} |",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _nights(found: list[date]) -> str:
    return f"{len(found)}, the first on {found[0]}" if found else "none"


def _counts(found: Counter, nothing: str) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(found.items()) if what != nothing) or "-"


def main() -> None:
    """Live the nights and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source-files", type=Path, required=True, help="of Online Retail II")
    parser.add_argument("--folder", type=Path, default=PROJECT_ROOT / "data" / "benchmark-autumn")
    arguments = parser.parse_args()
    params = read_params()
    lived = live(arguments.folder.resolve(), arguments.source_files, params)
    page = PROJECT_ROOT / "docs" / "autumn_2011.md"
    write_page(lived, params, page)
    console.print(page.read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main()
