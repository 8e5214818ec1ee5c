"""How every job is started: ``python -m jobs.<name> --score-date 2026-04-01``.

Exit codes: 0 done; 20 the data is bad, a retry will not help; anything else a fault that a retry
may mend. The last line of standard output is the job's result as JSON, or `{"error": why}`;
everything else is logged to standard error.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from datetime import date

from errors import BadData

BAD_DATA_EXIT = 20

log = logging.getLogger("jobs")


def job_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the job's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def day(text: str) -> date:
    """The date in a command line.

    Raises:
        argparse.ArgumentTypeError: If it is none; the parser shows the sentence.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write it as 2026-04-01") from None


def night_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the night: ``--score-date``."""
    parser = job_parser(doc)
    parser.add_argument("--score-date", type=day, required=True, help="the business day described")
    return parser


def run_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the night and the opened run: ``--score-date`` and ``--run-id``."""
    parser = night_parser(doc)
    parser.add_argument("--run-id", required=True, help="as printed by open_run")
    return parser


def start(parser: argparse.ArgumentParser, job: Callable[[argparse.Namespace], dict]) -> None:
    """Parse the command line, do the job, print its result, and exit by the codes above."""
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    # What these have to say below a warning is about themselves; the second sets its own level.
    for library in ("great_expectations", "great_expectations.data_context.types.base", "py4j"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        result = job(arguments)
    except BadData as error:
        log.error("%s", error)
        _print_result({"error": str(error)})
        sys.exit(BAD_DATA_EXIT)
    except Exception as error:
        _print_result({"error": f"{type(error).__name__}: {error}"})
        raise
    _print_result(result)


def _print_result(result: dict) -> None:
    print(json.dumps(result, sort_keys=True, default=str), flush=True)
