"""The drift page that people open. Apart from drift.py because Evidently takes long to import."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.container import MetricContainer, MetricOrContainer
from evidently.core.report import Context, Snapshot
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.model.widget import BaseWidgetInfo, WidgetType
from evidently.legacy.renderers.html_widgets import (
    CounterData,
    counter,
    header_text,
    table_data,
    text_widget,
)
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

from monitoring.drift import (
    NIGHT,
    PROBABILITY,
    DriftFinding,
    DriftResult,
    binned,
    method_of,
    verdict_of_both,
)

REFERENCE, WEEKS_BEFORE = "the reference", "the weeks before"


class DriftPage(MetricContainer):
    """The verdict, the prediction and every column that is not steady; below it the comparison."""

    title: str
    counters: dict[str, str]
    deaf: list[str]
    rows: list[list[str]]
    parts: list[MetricOrContainer]

    def generate_metrics(self, context: Context) -> list[MetricOrContainer]:  # noqa: ARG002
        """The comparison."""
        return self.parts

    def render(self, context: Context, child_widgets: list | None = None) -> list[BaseWidgetInfo]:
        """A heading, the counters, a table; then what the comparison shows, bins by name."""
        compared = super().render(context, child_widgets)
        for chart in _charts(compared):
            labels = sorted({label for trace in chart["data"] for label in trace["x"]})
            # Evidently would show the fullest bin first.
            chart["layout"]["xaxis"] |= {"categoryorder": "array", "categoryarray": labels}
        unheard = [text_widget(text=f"Changes go unheard in {', '.join(self.deaf)}")]
        return [
            header_text(label=self.title),
            counter(counters=[CounterData(*each) for each in self.counters.items()]),
            table_data(
                title="The prediction, and the columns to look at",
                column_names=[
                    *("compared with", "column", "verdict", "times its threshold", "value"),
                    *("threshold", "method", "what was seen"),
                ],
                data=self.rows,
            ),
            *(unheard if self.deaf else []),
            *compared,
        ]


def comparison(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    result: DriftResult,
    categories: Collection[str],
    title: str,
    lately: DriftResult | None = None,
) -> Snapshot:
    """The page before it is drawn.

    Args:
        reference: As given to ``find_drift``.
        current: Likewise.
        result: What ``find_drift`` found; the page shows the same values.
        categories: As given to ``find_drift``.
        title: The heading.
        lately: What ``find_drift`` found against the weeks before, if there are any.
    """
    register_methods()
    compared = result.compared
    definition = DataDefinition(categorical_columns=list(compared))
    before, now = (
        Dataset.from_pandas(side, data_definition=definition)
        for side in as_bins(reference, current, compared, categories)
    )

    parts: list[MetricOrContainer] = []
    if PROBABILITY in compared:
        finding = compared.pop(PROBABILITY)
        parts.append(
            ValueDrift(column=PROBABILITY, method=finding.method, threshold=finding.threshold)
        )
    if compared:
        share = sum(each.verdict == "drift" for each in compared.values()) / len(compared)
        parts.append(
            DataDriftPreset(
                columns=list(compared),
                # Evidently's own verdict on the night goes by the share of columns; it shall agree.
                drift_share=share if result.verdict == "drift" else 1.0,
                per_column_method={name: each.method for name, each in compared.items()},
                per_column_threshold={name: each.threshold for name, each in compared.items()},
            )
        )
    return Report([_page(result, lately, title, parts)]).run(now, before)


def as_bins(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Iterable[str],
    categories: Collection[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Those columns of the reference and of tonight as labels of bins, fit for Evidently."""
    pairs = {name: binned(reference[name], current[name], name in categories) for name in columns}
    before, now = (
        pd.DataFrame({name: pair[side].map(inert).to_numpy() for name, pair in pairs.items()})
        for side in (0, 1)
    )
    return before, now


def register_methods() -> None:
    """Make our methods known to Evidently.

    Its own index cuts bins of equal width over both samples, so that one large amount hides the
    rest, and leaves nulls out. Ours takes its place under a name of its own; the columns are handed
    over as bins, which is also what the charts should show.
    """
    for is_category in (False, True):
        name, distance = method_of(is_category)
        register_stattest(
            StatTest(name, name, allowed_feature_types=[ColumnType.Categorical]),
            lambda before, now, _kind, threshold, distance=distance: (
                value := distance(before, now),
                value >= threshold,
            ),
        )


def write_page(snapshot: Snapshot, folder: Path) -> Path:
    """Write ``folder/index.html``, one file that needs no network; some 4 MB.

    The folder is made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    snapshot.save_html(str(page))
    return page


def _page(
    result: DriftResult, lately: DriftResult | None, title: str, parts: list[MetricOrContainer]
) -> DriftPage:
    against = {REFERENCE: result} | ({WEEKS_BEFORE: lately} if lately else {})
    rows = [
        [inert(cell) for cell in (name, *_cells(finding))]
        for name, found in against.items()
        for finding in found.findings
        if finding.kind in (NIGHT, "prediction") or finding.verdict != "steady"
    ]
    return DriftPage(
        title=inert(title),
        counters={
            "verdict": verdict_of_both(result, lately).replace("_", " "),
            **{
                f"farthest column from {name}, in times its threshold for the night": _times(
                    found.score
                )
                for name, found in against.items()
            },
            "columns beyond their own thresholds, of those compared": (
                f"{sum(each.verdict == 'drift' for each in result.compared.values())} of "
                f"{len(result.compared)}"
            ),
            # Names would not fit, and cover what stands beside them.
            "columns whose changes go unheard": str(len(result.deaf)),
            "customers in tonight's sample": f"{result.current_rows:,}",
            "rows in the model's reference": f"{result.reference_rows:,}",
        },
        deaf=[inert(name) for name in result.deaf],
        rows=rows,
        parts=parts,
    )


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _charts(widgets: Iterable[BaseWidgetInfo]) -> Iterator[dict]:
    """``data`` and ``layout`` of every chart in the widgets and below them."""
    for widget in widgets:
        if widget.type == WidgetType.BIG_GRAPH.value:
            yield widget.params
        yield from _charts(widget.additionalGraphs)
        yield from _charts(tab.widget for tab in widget.tabs)


def _cells(finding: DriftFinding) -> list[str]:
    value, threshold = (
        "–" if number is None else f"{number:.4f}" for number in (finding.value, finding.threshold)
    )
    verdict = finding.verdict.replace("_", " ")
    times = _times(finding.times)
    return [finding.column, verdict, times, value, threshold, finding.method, finding.detail]


def inert(text: str) -> str:
    """The text without what could end Evidently's script element: it writes JSON there as it is."""
    return text.replace("<", "‹")
