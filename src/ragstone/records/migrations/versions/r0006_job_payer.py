"""Who submitted a source: the key and the user whose budgets its embedding is paid from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("job_sources", sa.Column("key_id", NAME))
    op.add_column("job_sources", sa.Column("user_name", NAME))


def downgrade() -> None:
    with op.batch_alter_table("job_sources") as table:
        table.drop_column("user_name")
        table.drop_column("key_id")
