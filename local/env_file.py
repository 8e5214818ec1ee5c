"""Write ``.env`` with fresh secrets, for docker compose: ``python -m local.env_file``.

Only its owner can read the file. One that is there is left alone: the databases know its passwords.
"""

import base64
import os
import secrets
import sys
from pathlib import Path

from settings import PROJECT_ROOT

PASSWORDS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DATABASE_PASSWORD",
    "WAREHOUSE_OWNER_PASSWORD",
    "WAREHOUSE_PASSWORD",
    "WAREHOUSE_READER_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD",
)
KEYS = ("AIRFLOW_SESSION_SECRET", "AIRFLOW_JWT_SECRET")


def write_env_file(path: Path) -> None:
    """Write every secret that ``docker-compose.yaml`` asks for, each made for this file.

    Raises:
        FileExistsError: If the file is there; it is not touched.
    """
    # Letters, digits, "-" and "_": they stand in URLs and in JSON as they are.
    made = {name: secrets.token_urlsafe(24) for name in PASSWORDS}
    made |= {name: secrets.token_urlsafe(64) for name in KEYS}
    made["AIRFLOW_FERNET_KEY"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={value}\n" for name, value in made.items())


def main() -> None:
    """Write the file beside ``docker-compose.yaml``, or say why not."""
    path = PROJECT_ROOT / ".env"
    try:
        write_env_file(path)
    except FileExistsError:
        sys.exit(
            f"{path} is there and is kept. New passwords would lock the services out of the "
            "databases they have; to start over, remove the file and the volumes "
            "(docker compose down --volumes)."
        )
    print(f"Wrote {path}. The login of the UI is admin, with AIRFLOW_ADMIN_PASSWORD in there.")


if __name__ == "__main__":
    main()
