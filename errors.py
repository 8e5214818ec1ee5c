"""Errors that a retry cannot mend: the data are wrong, or what a person has set or typed."""

import re
from collections.abc import Callable

from pydantic import ValidationError


class BadData(Exception):
    """What was delivered is wrong, not the code: jobs exit with 20, and Airflow does not retry.

    The message names the file, the column, the row count and the next step, for the people who
    own the data. Subclasses live beside the code that raises them.
    """


class WrongInput(Exception):
    """What a person has set or typed is wrong; the message says where, and what would be right."""


def wrong_values(
    error: ValidationError, where: str, name: Callable[[str], str] = str
) -> WrongInput:
    """What pydantic found: one sentence, or a line for each value at fault.

    Args:
        error: What it raised.
        where: The file, or whatever holds the values.
        name: What a person calls the value at a path such as ``training.question.horizon_days``.
    """
    found = what_is_wrong(error, name)
    some = len(found) > 1
    return WrongInput(("\n  " if some else " ").join([f"{where}:", *found]))


def what_is_wrong(error: ValidationError, name: Callable[[str], str] = str) -> list[str]:
    """What pydantic found, a phrase for each value at fault, with what a person calls it."""
    found = []
    for one in error.errors(include_url=False):
        place = name(".".join(map(str, one["loc"]))) if one["loc"] else ""
        match one["type"]:
            case "missing":
                found.append(f"{place} is missing")
            case "extra_forbidden":
                found.append(f"{place} is not known")
            case "value_error":
                found.append(": ".join(filter(None, [place, str(one["ctx"]["error"])])))
            case _:
                words = re.sub("^(Input|String) ", "", one["msg"])
                found.append(f"{place} {words}; it is {one['input']!r}")
    return found
