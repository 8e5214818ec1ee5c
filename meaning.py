"""What a piece of code means: its syntax tree without comments and docstrings, hashed."""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from settings import PROJECT_ROOT


def code_sha256(paths: Iterable[Path]) -> str:
    """SHA-256 of what these Python files mean, in hex; their order does not matter.

    Layout, comments and docstrings change nothing; everything else does, names of files included.
    """
    digest = hashlib.sha256()
    for path in sorted(path.resolve() for path in paths):
        meaning = source_meaning(path.read_text(encoding="utf-8"))
        digest.update(f"{path.relative_to(PROJECT_ROOT)} {len(meaning)}\n{meaning}".encode())
    return digest.hexdigest()


@functools.cache
def source_meaning(source: str) -> str:
    """The source as Python writes it by itself, without comments and docstrings.

    >>> source_meaning('''def f(x):
    ...     "Says what it does."
    ...     return (x)  # a comment''')
    'def f(x):\\n    return x'
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A text by itself does nothing: the docstring, and those below attributes.
            node.body = [one for one in node.body if not _is_text(one)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)
