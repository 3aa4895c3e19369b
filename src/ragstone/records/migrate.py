"""Bring the tables of a database to this version's form.

The revisions lie in `migrations/versions/` and travel with the package. A change of
`tables.py` needs a new one there, and `HEAD` raised; a test compares the three.
"""

import logging
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from ragstone.domain.errors import HomeTooNew
from ragstone.records.engine import for_writing

HEAD: Final = "0007"
"""The newest revision."""

_ADVISORY_LOCK: Final = 0x5261_6773_746F_6E65
"""On PostgreSQL, what processes that migrate at once wait for: `Ragstone` in ASCII."""


def migrate(engine: Engine) -> None:
    """Upgrade in one transaction; safe when several processes do so at once.

    Raises `HomeTooNew` for tables that a later version wrote, and the driver's errors.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with for_writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        revision = _revision(connection)
        if revision != HEAD:
            _upgrade(connection, revision)


def alembic_config(connection: Connection) -> Any:
    """Alembic's configuration for the packaged revisions, upon an open connection."""
    from alembic.config import Config  # costs 100 ms; not needed where nothing is to be done

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, revision: str | None) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise HomeTooNew(
            f"The records were written by a later version of Ragstone (revision {revision}; "
            f"this version knows revisions up to {HEAD}).",
            remedy="Upgrade Ragstone, or use another data folder or database.",
        )
    logging.getLogger(__name__).info("records: upgrading from %s to %s", revision, HEAD)
    command.upgrade(config, "head")
