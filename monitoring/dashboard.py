"""The nights side by side in Evidently's own UI (``evidently ui --workspace <folder>``).

A local workspace keeps one snapshot per published run, some tens of kilobytes of numbers.
"""

from collections.abc import Collection
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

MEANS = "Scores and contacts, tonight's mean"
OF_SCORES = "How far the scores are from those of the reference"
BY_COLUMN = "How far each column is from the reference, in its own method"


def add_night(
    folder: Path,
    project_name: str,
    run_id: str,
    score_date: date,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    result: DriftResult,
    categories: Collection[str],
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
    """
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.create(str(folder))
    compared = result.compared
    known = workspace.search_project(project_name)
    project = known[0] if known else workspace.create_project(project_name)
    _draw_panels(project, list(compared))

    for snapshot in workspace.list_runs(project.id):
        if workspace.get_run(project.id, snapshot).name == run_id:
            workspace.delete_run(project.id, snapshot)
    register_methods()
    definition = DataDefinition(
        categorical_columns=list(compared),
        numerical_columns=["mean_probability", "contacted_share"],
    )
    bins = as_bins(reference, current, compared, categories)
    before, now = (
        Dataset.from_pandas(
            side.assign(
                mean_probability=rows[PROBABILITY].to_numpy(),
                contacted_share=rows[IS_CONTACTED].astype(float).to_numpy(),
            ),
            data_definition=definition,
        )
        for side, rows in zip(bins, (reference, current), strict=True)
    )
    report = Report(
        [
            MeanValue(column="mean_probability"),
            MeanValue(column="contacted_share"),
            *(
                ValueDrift(column=each.column, method=each.method, threshold=each.threshold)
                for each in compared.values()
            ),
        ]
    )
    midnight = datetime.combine(score_date, time(), tzinfo=UTC).replace(tzinfo=None)
    snapshot = report.run(now, before, timestamp=midnight, name=run_id, tags=[result.verdict])
    workspace.add_run(project.id, snapshot, include_data=False)


def _draw_panels(project: Project, columns: list[str]) -> None:
    drawn = [
        series.legend
        for panel in project.dashboard.model().panels
        if panel.title == BY_COLUMN
        for series in panel.values
    ]
    new = [name for name in columns if name not in drawn]
    if drawn and not new:
        return
    drift = [
        PanelMetric(legend=name, metric="ValueDrift", metric_labels={"column": name})
        for name in [*drawn, *new]
    ]
    means = [
        PanelMetric(
            legend=name.replace("_", " "), metric="MeanValue", metric_labels={"column": name}
        )
        for name in ("mean_probability", "contacted_share")
    ]
    of_scores = [each for each in drift if each.legend == PROBABILITY]
    project.dashboard.clear_dashboard()
    for title, series in ((MEANS, means), (OF_SCORES, of_scores), (BY_COLUMN, drift)):
        project.dashboard.add_panel(line_plot_panel(title, series))
