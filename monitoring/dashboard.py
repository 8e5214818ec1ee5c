"""The nights side by side in Evidently's own UI (``evidently ui --workspace <folder>``).

A local workspace keeps one snapshot per published run, some tens of kilobytes of numbers.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import MeanValue, ValueDrift
from evidently.sdk.models import PanelMetric
from evidently.sdk.panels import line_plot_panel
from evidently.ui.workspace import Project, Workspace

from monitoring.drift import IS_CONTACTED, PROBABILITY, DriftResult
from monitoring.report import as_bins, register_methods

MEAN_PROBABILITY, CONTACTED_SHARE = "mean_probability", "contacted_share"

MEANS = "Scores and contacts, tonight's mean"
OF_SCORES = "How far the scores are from those of the reference"
BY_COLUMN = "How far each column is from the reference, in its own method"
MISSING = "Share of all rows that have no value"


def add_night(
    folder: Path,
    project_name: str,
    run_id: str,
    score_date: date,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    result: DriftResult,
    categories: Collection[str],
    missing: Mapping[str, float],
) -> None:
    """Put a night into the workspace in ``folder``, in place of what it has of that run.

    Args:
        folder: Made if it is not there.
        project_name: Of the model; its panels show every column that a night was compared in.
        run_id: Names the snapshot.
        score_date: Where it stands on the axis of time.
        reference: As given to ``find_drift``.
        current: Likewise.
        result: What ``find_drift`` found.
        categories: As given to ``find_drift``.
        missing: The share of all rows, not only of the sample, that have no value, by column.
    """
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.create(str(folder))
    compared = result.compared
    known = workspace.search_project(project_name)
    project = known[0] if known else workspace.create_project(project_name)
    _draw_panels(project, compared, missing)

    for snapshot in workspace.list_runs(project.id):
        if workspace.get_run(project.id, snapshot).name == run_id:
            workspace.delete_run(project.id, snapshot)
    register_methods()
    means = [MEAN_PROBABILITY, CONTACTED_SHARE, *map(_missing_of, missing)]
    definition = DataDefinition(categorical_columns=list(compared), numerical_columns=means)
    shares = {_missing_of(name): share for name, share in missing.items()}
    before, now = (
        Dataset.from_pandas(
            pd.concat([side, pd.DataFrame(shares, side.index)], axis="columns").assign(
                **{
                    MEAN_PROBABILITY: rows[PROBABILITY].to_numpy(),
                    CONTACTED_SHARE: rows[IS_CONTACTED].astype(float).to_numpy(),
                }
            ),
            data_definition=definition,
        )
        for side, rows in zip(
            as_bins(reference, current, compared, categories), (reference, current), strict=True
        )
    )
    report = Report(
        [
            *(MeanValue(column=name) for name in means),
            *(
                ValueDrift(column=each.column, method=each.method, threshold=each.threshold)
                for each in compared.values()
            ),
        ]
    )
    midnight = datetime.combine(score_date, time(), tzinfo=UTC).replace(tzinfo=None)
    snapshot = report.run(now, before, timestamp=midnight, name=run_id, tags=[result.verdict])
    workspace.add_run(project.id, snapshot, include_data=False)


def _missing_of(name: str) -> str:
    return f"missing {name}"


def _draw_panels(project: Project, compared: Collection[str], missing: Collection[str]) -> None:
    """Draw what is shown already and what is new; a column that once was is not taken away."""

    def series(metric: str, columns: Mapping[str, str]) -> dict[str, PanelMetric]:
        return {
            legend: PanelMetric(legend=legend, metric=metric, metric_labels={"column": column})
            for legend, column in columns.items()
        }

    columns = {name: name for name in compared}
    wanted = {
        MEANS: series(
            "MeanValue", {n.replace("_", " "): n for n in (MEAN_PROBABILITY, CONTACTED_SHARE)}
        ),
        OF_SCORES: series("ValueDrift", {PROBABILITY: PROBABILITY}),
        BY_COLUMN: series("ValueDrift", columns),
        MISSING: series("MeanValue", {name: _missing_of(name) for name in missing}),
    }
    drawn = {
        panel.title: {each.legend: each for each in panel.values}
        for panel in project.dashboard.model().panels
    }
    whole = {title: drawn.get(title, {}) | found for title, found in wanted.items()}
    if any(whole[title].keys() != drawn.get(title, {}).keys() for title in whole):
        project.dashboard.clear_dashboard()
        for title, found in whole.items():
            project.dashboard.add_panel(line_plot_panel(title, list(found.values())))
