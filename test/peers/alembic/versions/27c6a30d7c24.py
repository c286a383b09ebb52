"""the second"""
from alembic import op
revision = "27c6a30d7c24"
down_revision = "ae1027a6acf"
def upgrade():
    op.execute("CREATE TABLE t_27c6a30d7c24 (x int)")
def downgrade():
    op.execute("DROP TABLE t_27c6a30d7c24")
