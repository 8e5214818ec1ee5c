"""A promise, and what became of it.

A promise is one expectation with the name people know it by and the reason it is made.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from great_expectations.core import ExpectationSuite
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

Kind = TypeVar("Kind", bound=Expectation)

WARN, FAIL = FailureSeverity.WARNING, FailureSeverity.CRITICAL


def promise(
    kind: type[Kind],
    rule: str,
    reason: str,
    severity: FailureSeverity = WARN,
    **arguments: Any,
) -> Kind:
    """The expectation ``kind(**arguments)``, called ``rule``, made because of ``reason``.

    A broken promise of severity ``FAIL`` stops the night; one of severity ``WARN`` is recorded.
    """
    return kind(meta={"rule": rule}, notes=reason, severity=severity, **arguments)


def rule_of(expectation: Expectation) -> str:
    """The name of a promise."""
    return (expectation.meta or {})["rule"]


def suite(name: str, promises: list[Expectation]) -> ExpectationSuite:
    """The promises about one dataset, as Great Expectations takes them."""
    return ExpectationSuite(name=name, expectations=promises)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One promise and what became of it.

    ``broken`` rows, and ``examples`` of values in them (some, any, for people only), are of
    promises about single rows; ``observed`` is of promises about the whole table. The one that
    does not apply is null. ``rows`` are those of the batch.
    """

    promise: Expectation
    is_kept: bool
    rows: int
    broken: int | None
    examples: list[object]
    observed: object

    @property
    def must_hold(self) -> bool:
        """Whether the night stops when the promise is broken."""
        return self.promise.severity == FAIL

    @property
    def rule(self) -> str:
        """The name of the promise."""
        return rule_of(self.promise)

    def sentence(self) -> str:
        """What is wrong, in one line: ``quantity_not_zero: 3 of 120 rows (2.50%). A line ...``."""
        if self.broken is None:
            found = f"found {self.observed}"
        else:
            found = f"{self.broken:,} of {self.rows:,} rows ({self.broken / self.rows:.2%})"
        return f"{self.rule}: {found}. {self.promise.notes}"
