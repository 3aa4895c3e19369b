"""The Alembic environment. Run by `ragstone.records.migrate`, never from a command line."""
