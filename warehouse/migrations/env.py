"""What Alembic runs; the connection comes from `warehouse.migrate`."""

from alembic import context

from warehouse.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite too, as warehouse/connection.py begins its transactions itself.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
