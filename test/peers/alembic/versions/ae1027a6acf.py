"""the first"""
from alembic import op
revision = "ae1027a6acf"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE t_ae1027a6acf (x int)")
def downgrade():
    op.execute("DROP TABLE t_ae1027a6acf")
