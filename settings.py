"""Where we run: one frozen class, filled from environment variables named ``SCORING_...``."""

from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent


class Settings(BaseSettings):
    """One field per environment variable (``SCORING_DATA_ROOT``, ...). A bad value fails at start.

    What changes a *result* is not here but in ``params.yaml``.
    """

    model_config = SettingsConfigDict(env_prefix="SCORING_", frozen=True)

    source: str = Field("generated", description="The entry of params.yaml `sources` that we read.")
    data_root: Path = Field(
        None, description="All data and state of this deployment; default data/<source>."
    )
    warehouse_url: str = Field(
        None, description="SQLAlchemy URL; default a SQLite file in data_root."
    )
    registry_url: str = Field(
        None, description="Git repository with the model tags; default a bare one in data_root."
    )
    model_store_url: str = Field(
        None, description="DVC remote with the model bytes; default a folder in data_root."
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
    spark_embedded_memory: str = Field("4g", description="That the embedded engine may take.")
    spark_driver_memory: str = Field("2g", description="Of Apache Spark's Java beside the job.")
    spark_executor_memory: str = Field("2g", description="Of each worker; local masters have none.")

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: dict) -> dict:
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
        return (
            defaults | {key: value for key, value in values.items() if value} | {"data_root": root}
        )
