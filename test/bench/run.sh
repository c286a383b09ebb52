#!/bin/bash
# run.sh [--rows N] [--rounds N] [CASE...]: the benchmarks, on a private server. Figures go to docs/performance.md by hand.
exec "$(dirname "$0")/../setup/private-server.sh" bench/backfill.py "$@"
