"""Where we run: one frozen class, filled from environment variables named ``SCORING_...``."""

import os
from pathlib import Path
from typing import Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from errors import wrong_values

PROJECT_ROOT = Path(__file__).resolve().parent


class Settings(BaseSettings):
    """One field per environment variable (``SCORING_DATA_ROOT``, ...).

    A bad value stops at start, with an error ``WrongInput`` that names it.
    What changes a *result* is not here but in ``params.yaml``.
    """

    model_config = SettingsConfigDict(env_prefix="SCORING_", frozen=True)

    source: str = Field("generated", description="The entry of params.yaml `sources` that we read.")
    data_root: Path = Field(
        Path(), description="All data and state of this deployment; default data/<source>."
    )
    warehouse_url: str = Field(
        "", description="SQLAlchemy URL; default a SQLite file in data_root."
    )
    warehouse_owner_url: str = Field(
        "",
        description="The same warehouse as the owner of its tables, for migrate_warehouse alone; "
        "default SCORING_WAREHOUSE_URL.",
    )
    registry_url: str = Field(
        "", description="Git repository with the model tags; default a bare one in data_root."
    )
    model_store_url: str = Field(
        "", description="DVC remote with the model bytes; default a folder in data_root."
    )
    code_url: str = Field(str(PROJECT_ROOT), description="Git repository that training clones.")
    evidently_url: str = Field(
        "http://127.0.0.1:8085",
        description="Where Airflow's side bar finds the dashboard of nights.",
    )
    spark: str = Field(
        "auto",
        pattern=r"^(auto|embedded|local(\[.+\])?|yarn|(spark|k8s|sc)://.+)$",
        description="The engine: auto chooses by size between embedded (Sail, in the job's own "
        "process) and local[*] (Apache Spark on this machine); or a cluster (spark://, yarn, "
        "k8s://), or a Spark Connect server that runs already (sc://host:port).",
    )
    spark_embedded_memory: str = Field(
        "4g",
        pattern=r"^\d+[kmgKMG]$",
        description="That a job on the embedded engine may take, as 512m or 4g.",
    )
    spark_driver_memory: str = Field("2g", description="Of Apache Spark's Java beside the job.")
    spark_executor_memory: str = Field("2g", description="Of each worker; local masters have none.")

    @field_validator("spark_embedded_memory")
    @classmethod
    def _is_enough(cls, size: str) -> str:
        if size[-1] in "kK" or (size[-1] in "mM" and int(size[:-1]) < 1024):
            raise ValueError(f"{size} is too little even for a night of nobody; give at least 1g")
        return size

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: dict) -> dict:
        if "SCORING_SPARK_MASTER" in os.environ:
            raise ValueError("SCORING_SPARK_MASTER is now SCORING_SPARK; set that instead")
        root = Path(
            values.get("data_root")
            or PROJECT_ROOT / "data" / values.get("source", cls.model_fields["source"].default)
        ).resolve()
        defaults = {
            "data_root": root,
            "warehouse_url": f"sqlite:///{root}/warehouse.db",
            "registry_url": str(root / "registry.git"),
            "model_store_url": str(root / "model-store"),
        }
        given = {key: value for key, value in values.items() if value}
        merged = defaults | given | {"data_root": root}
        return {"warehouse_owner_url": merged["warehouse_url"]} | merged

    @model_validator(mode="wrap")
    @classmethod
    def _say_what_is_wrong(cls, values: dict, fill: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return fill(values)
        except ValidationError as error:
            raise wrong_values(
                error, "environment", lambda field: f"SCORING_{field.upper()}"
            ) from None
