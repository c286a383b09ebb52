"""one branch"""
from alembic import op
revision = "b1a"
down_revision = "27c6a30d7c24"
def upgrade():
    op.execute("CREATE TABLE t_b1a (x int)")
def downgrade():
    op.execute("DROP TABLE t_b1a")
