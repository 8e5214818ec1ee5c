"""How every job is started: ``python -m jobs.<name> --score-date 2026-04-01``.

Exit codes: 0 done; 20 the data is bad, a retry will not help; anything else a fault that a retry
may mend. The last line of standard output is the job's result as JSON, or `{"error": why}`;
everything else is logged to standard error. What our own code raises says what is wrong and what to
do, so it is logged without the way it took; only the unforeseen has a traceback.

What a job writes is for its user and group: the lake and the warehouse hold customers.
"""

import argparse
import errno
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from errors import BadData

BAD_DATA_EXIT = 20

UMASK = 0o027

# Modules whose errors are sentences for people; a job that was started is called `__main__`.
OURS = {
    *("__main__", "jobs", "deliveries", "expectations", "features", "models", "monitoring"),
    *("warehouse", "lake", "records", "params", "errors", "business_day"),
}

log = logging.getLogger("jobs")


def job_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the job's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def day(text: str) -> date:
    """The date in ``2026-04-01``."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-04-01") from None


def run_name(text: str) -> str:
    """A run id, which is also the name of a folder."""
    if not re.fullmatch(r"[\w-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no run id such as 3f2a90c1d4e5b607")
    return text


def night_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the night: ``--score-date``."""
    parser = job_parser(doc)
    parser.add_argument("--score-date", type=day, required=True, help="the business day described")
    return parser


def run_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the night and the opened run: ``--score-date`` and ``--run-id``."""
    parser = night_parser(doc)
    parser.add_argument("--run-id", type=run_name, required=True, help="as printed by open_run")
    return parser


def start(parser: argparse.ArgumentParser, job: Callable[[argparse.Namespace], dict]) -> None:
    """Parse the command line, do the job, print its result, and exit by the codes above."""
    arguments = parser.parse_args()
    os.umask(UMASK)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    # What these have to say below a warning is about themselves; the third sets its own level.
    for library in (
        "alembic.runtime.plugins",
        "great_expectations",
        "great_expectations.data_context.types.base",
        "py4j",
    ):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        result = job(arguments)
    except BadData as error:
        log.error("%s", error)
        _print_result({"error": str(error)})
        sys.exit(BAD_DATA_EXIT)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            why = disk_full(error)
        else:
            why = f"{type(error).__name__}: {error}"
            if not is_for_people(error):
                _print_result({"error": why})
                raise
        log.error("%s", why)
        _print_result({"error": why})
        sys.exit(1)
    _print_result(result)


def is_for_people(error: Exception) -> bool:
    """Whether our own code raised it, with a sentence that says what to do."""
    is_our_class = type(error).__module__.split(".")[0] in OURS
    # The system's own have a number.
    is_our_text = isinstance(error, OSError) and error.errno is None
    return is_our_class or is_our_text


def disk_full(error: OSError) -> str:
    """What to do about a full disk, with the place where one is known to be full."""
    from settings import Settings

    places = {Path(tempfile.gettempdir()), Settings().data_root}
    if error.filename:
        places = {Path(error.filename).parent}
    left = [
        f"{place} has {shutil.disk_usage(place).free // 1024**2:,} MB left"
        for place in sorted(places)
        if place.exists()
    ]
    return (
        f"no space left on a disk ({'; '.join(left)}). Nothing of this job counts; readers still "
        "see what was published before. Make room and run the job again."
    )


def _print_result(result: dict) -> None:
    print(json.dumps(result, sort_keys=True, default=str), flush=True)
