"""A promise: one expectation with the name people know it by and the reason it is made."""

from typing import Literal

from great_expectations.core import ExpectationSuite
from great_expectations.expectations.expectation import Expectation

WARN, FAIL = "warning", "critical"


def promise(
    kind: type[Expectation],
    rule: str,
    reason: str,
    severity: Literal["warning", "critical"] = WARN,
    **arguments: object,
) -> Expectation:
    """The expectation ``kind(**arguments)``, called ``rule``, made because of ``reason``.

    A broken promise of severity ``FAIL`` stops the night; one of severity ``WARN`` is recorded.
    """
    return kind(meta={"rule": rule}, notes=reason, severity=severity, **arguments)


def rule_of(expectation: Expectation) -> str:
    """The name of a promise."""
    return expectation.meta["rule"]


def suite(name: str, promises: list[Expectation]) -> ExpectationSuite:
    """The promises about one dataset, as Great Expectations takes them."""
    return ExpectationSuite(name=name, expectations=promises)
