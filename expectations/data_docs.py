"""The page for people: what was promised about a batch, why, and what was found.

Great Expectations' own site asks nine addresses on the internet for its styles and scripts and
is a bare list without them. Here its results, and its own sentence for each expectation, go
into one page that needs nothing but itself.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from great_expectations.expectations.expectation import Expectation
from great_expectations.render.renderer.inline_renderer import InlineRenderer
from jinja2 import Environment, PackageLoader, StrictUndefined

from expectations.promise import Outcome
from lake import replacing

MICROS = 1_000_000

PAGES = Environment(
    loader=PackageLoader("expectations", "."), autoescape=True, undefined=StrictUndefined
)


def write_page(
    docs: Path,
    name: str,
    about: str,
    outcomes: Sequence[Outcome],
    notes: Sequence[str] = (),
    currency: str = "",
) -> None:
    """Replace the folder ``docs`` by one with an ``index.html``; broken promises come first.

    Args:
        notes: Sentences above the table.
        currency: Of the amounts.
    """
    page = PAGES.get_template("data_docs.html.j2").render(
        name=name,
        about=about,
        notes=notes,
        outcomes=sorted(outcomes, key=lambda outcome: (outcome.is_kept, not outcome.must_hold)),
        said=lambda promise: _said(promise, currency),
    )
    with replacing(docs) as fresh:
        fresh.mkdir()
        (fresh / "index.html").write_text(page, encoding="utf-8")


@lru_cache(maxsize=1000)
def _said(promise: Expectation, currency: str) -> str:
    """Great Expectations' own sentence for a promise; kept, because making one takes it 4 ms.

    >>> import great_expectations.expectations as gxe
    >>> _said(gxe.ExpectColumnValuesToNotBeNull(column="quantity"), "USD")
    'quantity values must never be null.'
    """
    [block] = InlineRenderer(render_object=promise.configuration).get_rendered_content()
    sentence = block.value.template or ""
    parameters = block.value.params or {}
    column = promise.configuration.kwargs.get("column", "")
    unit = "pieces" if column == "quantity_micros" else currency
    # Longer names first: `$min_value` is also the beginning of `$min_value_of_other`.
    for key in sorted(parameters, key=len, reverse=True):
        value = parameters[key]["value"]
        if column.endswith("_micros") and isinstance(value, int | float):
            value = f"{value / MICROS:,.2f} {unit}"
        sentence = sentence.replace(f"${key}", str(value))
    return sentence
