"""How often a collection's kept answers were cleared."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not by batch, which makes the table anew: documents refer to it.
    op.add_column(
        "collections",
        sa.Column("cache_epoch", sa.BigInteger(), nullable=False, server_default="0"),
    )


def downgrade() -> None:
    op.drop_column("collections", "cache_epoch")
