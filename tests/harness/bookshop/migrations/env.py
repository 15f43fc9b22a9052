# mypy: ignore-errors
"""As `alembic init` writes it: it reconfigures logging, prints, and takes a connection that is handed over."""

from logging.config import fileConfig

from alembic import context

from bookshop import Row

fileConfig(str(context.config.config_file_name))
print("migrating")

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Row.metadata)
with context.begin_transaction():
    context.run_migrations()
