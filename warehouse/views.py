"""The views of the warehouse: their SQL, in the one place where it is.

They are made by `warehouse.migrate` once the tables are up to date, so a migration that changes a
table drops them (`drop_views`) and never makes them.
"""

import hashlib

import sqlalchemy as sa

from warehouse.tables import PREDICTIONS

_PREDICTIONS = ", ".join(f"predictions.{name}" for name in PREDICTIONS.columns.keys())  # noqa: SIM118

VIEWS = {
    "current_predictions": """
select current_runs.score_date, <columns of predictions>,
       case predictions.arm when 'challenger' then scoring_runs.challenger_version
            else scoring_runs.model_version end as model_version,
       case predictions.arm when 'challenger' then scoring_runs.challenger_threshold_version
            else scoring_runs.threshold_version end as threshold_version
from current_runs
join scoring_runs on scoring_runs.run_id = current_runs.run_id
join predictions on predictions.run_id = current_runs.run_id
""".replace("<columns of predictions>", _PREDICTIONS),
    "latest_predictions": """
select * from current_predictions
where run_id = (select run_id from current_runs order by score_date desc limit 1)
""",
    "newest_performance": """
select * from performance
where measured_on = (select max(measured_on) from performance later
                     where later.run_id = performance.run_id and later.arm = performance.arm
                       and later.maturity = performance.maturity)
""",
    "retrainings": """
select model_versions.name, model_versions.version, retraining_decisions.score_date,
       retraining_decisions.trigger, model_versions.asked_at,
       model_versions.recorded_at as registered_at,
       min(case promotions.stage when 'challenger' then promotions.at end) as tried_at,
       min(case promotions.stage when 'champion' then promotions.at end) as live_at
from model_versions
left join retraining_decisions on retraining_decisions.child_run = model_versions.token
left join promotions on promotions.name = model_versions.name
                    and promotions.version = model_versions.version
group by model_versions.name, model_versions.version, retraining_decisions.score_date,
         retraining_decisions.trigger, model_versions.asked_at, model_versions.recorded_at
""",
}
"""Each view's query, in an order in which they can be made; `warehouse.tables` has the columns."""


def make_views(connection: sa.Connection) -> None:
    """Make the views, in the connection's transaction; those that are as they should be stay."""
    if _made_of(connection) == {name: _sha256(query) for name, query in VIEWS.items()}:
        return
    drop_views(connection)
    for name, query in VIEWS.items():
        connection.exec_driver_sql(_statement(name, query))
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"comment on view {name} is '{_sha256(query)}'")


def drop_views(connection: sa.Connection) -> None:
    """Drop the views that are there."""
    for name in reversed(VIEWS):
        connection.exec_driver_sql(f"drop view if exists {name}")


def _made_of(connection: sa.Connection) -> dict[str, str | None]:
    """The hash of the query that each view here was made of, null if that is not ours."""
    if connection.dialect.name == "postgresql":
        query = "select relname, obj_description(oid, 'pg_class') from pg_class where relkind = 'v'"
        rows = connection.exec_driver_sql(query)
        return {name: sha256 for name, sha256 in rows if name in VIEWS}
    rows = connection.exec_driver_sql("select name, sql from sqlite_master where type = 'view'")
    known = {_statement(name, query): _sha256(query) for name, query in VIEWS.items()}
    return {name: known.get(sql.replace("CREATE VIEW", "create view", 1)) for name, sql in rows}


def _statement(name: str, query: str) -> str:
    return f"create view {name} as{query}"


def _sha256(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()
