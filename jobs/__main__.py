"""What jobs there are: ``python -m jobs``."""

import ast
import sys
import textwrap
from pathlib import Path

WIDTH = 80


def jobs() -> dict[str, str]:
    """The first line of each job's docstring, by its name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        names = {name.id for name in ast.walk(module) if isinstance(name, ast.Name)}
        # What jobs share has no command line of its own.
        if {"PARSER", "start"} <= names:
            found[path.stem] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def listing() -> str:
    """The jobs as a person reads them, no wider than a terminal."""
    found = jobs()
    column = max(map(len, found)) + 4
    lines = [
        textwrap.fill(
            sentence,
            WIDTH,
            initial_indent=f"  {name}".ljust(column),
            subsequent_indent=" " * column,
        )
        for name, sentence in found.items()
    ]
    return "\n".join(["python -m jobs.<name> --help says more of each.", "", *lines])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(f"a job is started as: python -m jobs.{sys.argv[1]}; python -m jobs lists them")
    print(listing())
