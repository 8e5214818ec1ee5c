"""The nights side by side in Evidently's own UI (``evidently ui --workspace <folder>``).

A local workspace keeps one snapshot per published run, some tens of kilobytes of numbers.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.report import Snapshot
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
CONTACTS = "What a contact brings: how much likelier it makes a purchase, with 95 % interval"

_SCORES = (MEAN_PROBABILITY, CONTACTED_SHARE)
_EFFECT = {"value": "contact effect", "low": "at least", "high": "at most"}


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
    workspace, project = _opened(folder, project_name)
    compared = result.compared
    _draw_panels(
        project,
        {
            MEANS: {n.replace("_", " "): ("MeanValue", n) for n in _SCORES},
            OF_SCORES: {PROBABILITY: ("ValueDrift", PROBABILITY)},
            BY_COLUMN: {name: ("ValueDrift", name) for name in compared},
            MISSING: {name: ("MeanValue", _missing_of(name)) for name in missing},
        },
    )
    register_methods()
    means = [*_SCORES, *map(_missing_of, missing)]
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
    snapshot = report.run(
        now, before, timestamp=_midnight(score_date), name=run_id, tags=[result.verdict]
    )
    _put(workspace, project, run_id, snapshot)


def add_contact_effect(
    folder: Path,
    project_name: str,
    run_id: str,
    score_date: date,
    effect: Mapping[str, float | None],
) -> None:
    """Put what a night's contacts brought beside it, in place of what is there; known once its
    labels are.

    Args:
        folder: As for ``add_night``.
        project_name: Likewise.
        run_id: Of the night's run.
        score_date: Of the night.
        effect: ``value``, ``low`` and ``high``, as ``contact_metrics`` has them.
    """
    workspace, project = _opened(folder, project_name)
    _draw_panels(project, {CONTACTS: {n: ("MeanValue", n) for n in _EFFECT.values()}})
    ends = pd.DataFrame([{name: effect[end] for end, name in _EFFECT.items()}])
    known = Dataset.from_pandas(ends, DataDefinition(numerical_columns=list(ends)))
    report = Report([MeanValue(column=name) for name in ends])
    name = f"{run_id} contacts"
    snapshot = report.run(known, None, timestamp=_midnight(score_date), name=name)
    _put(workspace, project, name, snapshot)


def _opened(folder: Path, project_name: str) -> tuple[Workspace, Project]:
    folder.mkdir(parents=True, exist_ok=True)
    workspace = Workspace.create(str(folder))
    known = workspace.search_project(project_name)
    return workspace, known[0] if known else workspace.create_project(project_name)


def _put(workspace: Workspace, project: Project, name: str, snapshot: Snapshot) -> None:
    """Keep the snapshot in place of an earlier one of that name."""
    for run in workspace.list_runs(project.id):
        if workspace.get_run(project.id, run).name == name:
            workspace.delete_run(project.id, run)
    workspace.add_run(project.id, snapshot, include_data=False)


def _midnight(score_date: date) -> datetime:
    return datetime.combine(score_date, time(), tzinfo=UTC).replace(tzinfo=None)


def _missing_of(name: str) -> str:
    return f"missing {name}"


def _draw_panels(project: Project, wanted: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
    """Draw what is shown already and what is new; a line that once was is not taken away.

    ``wanted`` has by the title of a panel, and by the name of a line, its metric and column.
    """
    drawn = {
        panel.title: {each.legend: each for each in panel.values}
        for panel in project.dashboard.model().panels
    }
    lines = {
        title: {
            legend: PanelMetric(legend=legend, metric=metric, metric_labels={"column": column})
            for legend, (metric, column) in found.items()
        }
        for title, found in wanted.items()
    }
    whole = {
        title: drawn.get(title, {}) | lines.get(title, {})
        for title in dict.fromkeys([*drawn, *lines])
    }
    if any(title not in drawn or whole[title].keys() != drawn[title].keys() for title in whole):
        project.dashboard.clear_dashboard()
        for title, found in whole.items():
            project.dashboard.add_panel(line_plot_panel(title, list(found.values())))
