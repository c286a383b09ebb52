#!/bin/bash
# demo.sh [--scale N] [--rate N] [--max-rows-per-second N]: rename a column of a busy table without downtime, on a private server.
exec "$(dirname "$0")/../setup/private-server.sh" demo/rename_column.py "$@"
