"""Make the tables of the warehouse, or bring them up to date.

Does nothing when they are.
"""

import argparse

import warehouse
from jobs.entry import job_parser, start
from settings import Settings

PARSER = job_parser(__doc__)


def main(arguments: argparse.Namespace) -> dict:  # noqa: ARG001
    """Migrate the warehouse of the settings."""
    return {"revision": warehouse.migrate(Settings().warehouse_url)}


if __name__ == "__main__":
    start(PARSER, main)
