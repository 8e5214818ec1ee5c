"""HTML pages for people: one file each, that needs nothing but itself."""

from jinja2 import Environment, PackageLoader, StrictUndefined

PAGES = Environment(loader=PackageLoader("models", "."), autoescape=True, undefined=StrictUndefined)
"""Whatever a template is given is escaped: names of categories come from deliveries."""


def render_page(template: str, **values: object) -> str:
    """The template of this folder, filled in."""
    return PAGES.get_template(template).render(**values)
