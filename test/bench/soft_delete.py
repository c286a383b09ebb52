"""dbops.purge beside hand-written DELETEs, children first: two levels of foreign keys, one deletion for each user.

  purge    CALL dbops.purge('users') and, on a copy of the same database, DELETE FROM lines, orders, users; in turn
  calls    dbops.soft_delete and dbops.undelete of one user with what belongs to him: calls a second
"""

import argparse
import os
import statistics
import sys
import time

from server import Server

SETTINGS = """
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
"""

# As soft deletes of every second user would have left it.
MAKE = """
CREATE EXTENSION dbops;
CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE, note text);
CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE, note text);
CREATE INDEX ON orders (user_id);
CREATE INDEX ON lines (order_id);
SELECT dbops.soft_delete_enable(t::regclass, purge_schedule => NULL, max_share => 1) FROM unnest(ARRAY['users', 'orders', 'lines']) t;
INSERT INTO dbops.soft_deletion (target, key, deleted_at, deleted_by, actor, tables, counts, open, transaction_id, transaction_start)
  SELECT 'users'::regclass, (2 * i)::text, now() - interval '90 days', current_user, 10, ARRAY['users', 'orders',
    'lines']::regclass[], ARRAY[1, 4, 12], false, pg_current_xact_id(), now()
  FROM generate_series(1, {users} / 2) i;
INSERT INTO users SELECT i, 'user' || i, d.deleted_at, d.deleted_by, d.deletion_id FROM generate_series(1, {users}) i
  LEFT JOIN dbops.soft_deletion d ON d.key = i::text;
INSERT INTO orders SELECT 4 * u.id + i, u.id, 'note', deleted_at, deleted_by, deletion_id FROM users u, generate_series(0, 3) i;
INSERT INTO lines SELECT 3 * o.id + i, o.id, 'note', deleted_at, deleted_by, deletion_id FROM orders o, generate_series(0, 2) i;
VACUUM (ANALYZE, FREEZE);
"""

BY_HAND = """
DELETE FROM lines WHERE deletion_id IS NOT NULL;
DELETE FROM orders WHERE deletion_id IS NOT NULL;
DELETE FROM users WHERE deletion_id IS NOT NULL;
"""


def timed(server, sql, database):
    server.sql("CHECKPOINT")
    begin = time.monotonic()
    server.sql(sql, database)
    return time.monotonic() - begin


def purge(server, arguments):
    server.sql("CREATE DATABASE original")
    server.sql(MAKE.format(users=arguments.users), "original")
    variants = {"by hand": BY_HAND, "dbops.purge": "CALL dbops.purge('users', nice_ratio => 0)"}
    times = {name: [] for name in variants}
    for _ in range(arguments.rounds):
        for name, sql in variants.items():
            server.sql("CREATE DATABASE copy TEMPLATE original")
            times[name].append(timed(server, sql, "copy"))
            left = server.sql("SELECT count(*) FROM (SELECT deletion_id FROM users UNION ALL SELECT deletion_id FROM orders UNION"
                              " ALL SELECT deletion_id FROM lines) r WHERE deletion_id IS NOT NULL", "copy")
            assert left == "0", left
            server.sql("DROP DATABASE copy")
    for name, values in times.items():
        print(f"{name:12} {statistics.median(values):7.2f} s (median of {', '.join(f'{v:.2f}' for v in values)})", flush=True)
    print(f"ratio {statistics.median(times['dbops.purge']) / statistics.median(times['by hand']):.2f} for"
          f" {arguments.users // 2 * 17} rows of 3 tables", flush=True)


def calls(server, arguments):
    count = arguments.calls
    server.sql("CREATE DATABASE calls")
    server.sql(MAKE.format(users=1000), "calls")
    begin = time.monotonic()
    server.sql("\n".join(f"SELECT dbops.soft_delete('users', {2 * (i % 500) + 1});\n"
                         "SELECT dbops.undelete(max(deletion_id)) FROM dbops.soft_deletion;" for i in range(count)), "calls")
    passed = time.monotonic() - begin
    print(f"soft_delete and undelete of a user with 16 rows: {passed / count * 1000:.1f} ms a pair", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="purge,calls")
    parser.add_argument("--users", type=int, default=60_000, help="half of them are deleted, each with 16 rows more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=500)
    arguments = parser.parse_args()
    server = Server("bench-soft-delete", SETTINGS)
    try:
        print(server.sql("SELECT version()"), f"{os.cpu_count()} processors", flush=True)
        for case in arguments.cases.split(","):
            {"purge": purge, "calls": calls}[case](server, arguments)
    finally:
        server.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
