"""How often a collection's kept answers were cleared."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("collections") as table:
        table.add_column(
            sa.Column("cache_epoch", sa.BigInteger(), nullable=False, server_default="0")
        )
    with op.batch_alter_table("collections") as table:
        table.alter_column("cache_epoch", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("collections") as table:
        table.drop_column("cache_epoch")
