"""The model card: what a person should know before trusting a score."""

import pandas as pd

from models.judge import comparison_table, metric_cell


def model_card(description: dict, metrics: dict, curve: pd.DataFrame) -> str:
    """Purpose, data, quality, calibration and limits of a model, as Markdown.

    Args:
        description: What is in ``bundle.json``.
        metrics: What ``judge`` found.
        curve: What ``calibration_curve`` found.
    """
    origin, holdout = description["origin"], metrics["holdout"]
    horizon = description["horizon_days"]
    parts = "\n".join(
        f"| {part} | {', '.join(origin['as_of'][part])} | {origin['rows'][part]:,} |"
        for part in ("fit", "calibration", "holdout")
    )
    return f"""\
# Model card: {description["model_name"]}

## Purpose

How likely is it that an active customer buys within the next {horizon} days? The score ranks
customers for a nightly decision (whom to contact: the threshold is
{description["threshold"]:.4f}, version `{description["threshold_version"]}`, which the best
{description["contact_share"]:.0%} of the holdout reached). It is a forecast of what happens anyway,
not of what a contact changes, and it is not meant for decisions about credit, prices or access.

## Data

Source `{origin["source"]}`, transactions known by {origin["training_until"]}. A row is a customer
on an as-of date, with what was known by its end; the label says whether a purchase followed within
{horizon} days.

| part | as-of dates | rows |
|---|---|---:|
{parts}

Between the parts lies a gap of one horizon. XGBoost ({description["rounds"]} trees) was fitted on
the first part, its number of trees found on that part's newest date, its probabilities calibrated
(Platt scaling) on the second. The third was used for nothing but the figures below.

## Quality on the holdout

{holdout["rows"]:,} rows of {holdout["customers"]:,} customers, of which {holdout["base_rate"]:.1%}
bought. In brackets 95 % bootstrap intervals, customers drawn. For log loss and Brier score less is
better, so there a gain is negative.

{comparison_table(metrics)}

The model is accepted only if the intervals of its gains in log loss and PR AUC exclude zero,
against both baselines. All three learnt from the same rows and were calibrated on the same dates.

## Slices

{_slices(metrics["slices"])}

## Calibration

Of customers with about this probability, how many bought? The expected calibration error is
{metrics["model"]["expected_calibration_error"]["value"]:.4f}.

| mean probability | share that bought | rows |
|---:|---:|---:|
{_curve(curve)}

## Features

Numbers are shown with their range in the rows of the fit. A category that was not seen then is
treated as missing.

| feature | values | missing |
|---|---|---:|
{_features(description["schema"])}

## Limits

- Trained on as-of dates of one stretch of time: a season it has not seen shifts the level of the
  probabilities more than the order of the customers. Compare the as-of dates above with the night.
- The judged model is the one that scores; it was not fitted again on the holdout, so the newest
  {horizon} days and more before {origin["training_until"]} have taught it nothing.
- Only customers with a purchase within the population's window are scored; a customer who is new or
  returns later has no score before the first purchase is delivered.
- Where a slice above has few rows, its interval is wide or undefined (-): do not rely on it.

Made with {", ".join(f"{name} {version}" for name, version in description["libraries"].items())}.
Training set `{origin["training_set_sha256"][:12]}`, features `{origin["features_sha256"][:12]}`,
parameters `{origin["params_sha256"][:12]}`.
"""


def _slices(slices: dict) -> str:
    lines = [
        "| slice | rows | bought | ROC AUC | PR AUC | log loss | lift in the top decile |",
        "|---|---:|---:|---|---|---|---|",
    ]
    for name, found in slices.items():
        cells = [
            metric_cell(found["model"][metric])
            for metric in ("roc_auc", "pr_auc", "log_loss", "top_decile_lift")
        ]
        size = f"{found['holdout']['rows']:,} | {found['holdout']['base_rate']:.1%}"
        lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _curve(curve: pd.DataFrame) -> str:
    return "\n".join(
        f"| {bin.predicted:.3f} | {bin.observed:.3f} | {bin.rows:,} |" for bin in curve.itertuples()
    )


def _features(schema: list[dict]) -> str:
    return "\n".join(
        f"| {feature['name']} | {_values(feature)} | {feature['missing_share']:.1%} |"
        for feature in schema
    )


def _values(feature: dict) -> str:
    if feature["kind"] == "category":
        count, first = len(feature["categories"]), ", ".join(feature["categories"][:3])
        return f"{count} categories: {first}{', ...' if count > 3 else ''}"
    if feature["low"] is None:
        return "always missing"
    return f"{feature['low']:g} to {feature['high']:g}"
