"""Make the tables of the warehouse, or bring them up to date.

Works as the owner of the tables (SCORING_WAREHOUSE_OWNER_URL, else SCORING_WAREHOUSE_URL). On
PostgreSQL it also gives writers and readers their rights, and says what it must not do itself.
"""

import argparse
import logging

import warehouse
from jobs.entry import job_parser, start
from params import read_params
from settings import Settings

PARSER = job_parser(__doc__)

log = logging.getLogger("jobs.migrate_warehouse")


def main(arguments: argparse.Namespace) -> dict:  # noqa: ARG001
    """Migrate the warehouse of the settings."""
    settings = Settings()
    # A slip in the name of the source would else make a new, empty deployment.
    read_params().source(settings.source)
    revision = warehouse.migrate(settings.warehouse_owner_url)
    log.info("the tables are at revision %s", revision)
    warning = warehouse.owner_warning(warehouse.connect(settings.warehouse_url))
    if warning is not None:
        log.warning(warning)
    return {"revision": revision}


if __name__ == "__main__":
    start(PARSER, main)
