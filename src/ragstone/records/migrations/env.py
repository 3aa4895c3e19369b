"""Executed by Alembic: runs revisions upon the connection, and inside the transaction, given."""

from alembic import context

from ragstone.records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column: Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
