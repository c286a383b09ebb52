#!/bin/bash
# lint.sh [FILE...]: clang-format (nothing is rewritten) and clang-tidy, warnings are errors; over all C++ files of src and
# test, or those given. Environment: JOBS.
set -euo pipefail
cd "$(dirname "$0")/.."
JOBS=${JOBS:-$(nproc)}
for tool in clang-format clang-tidy cmake ninja; do
  command -v $tool >/dev/null || { echo "lint.sh: no $tool; run test/setup/packages.sh" >&2; exit 2; }
done
if [ $# -gt 0 ]; then files=("$@")
else mapfile -t files < <(find src test -name '*.cpp' -o -name '*.h' | LC_ALL=C sort); fi

status=0
clang-format --dry-run -Werror "${files[@]}" || status=1

# One compile command a source file; headers are looked at through the sources that include them.
mkdir -p build
cmake -S . -B build/lint -G Ninja >build/lint.log 2>&1 || { cat build/lint.log; exit 1; }
mapfile -t sources < <(python3 - "${files[@]}" <<'PYTHON'
import json, os, sys
known = {os.path.relpath(entry["file"]) for entry in json.load(open("build/lint/compile_commands.json"))}
print("\n".join(file for file in map(os.path.relpath, sys.argv[1:]) if file in known))
PYTHON
)
if [ ${#sources[@]} -gt 0 ]; then
  printf '%s\n' "${sources[@]}" | xargs -d '\n' -P "$JOBS" -n 1 \
    clang-tidy --quiet -p build/lint --extra-arg=-Wno-unknown-warning-option \
    2> >(grep -vE '^[0-9]+ warnings?( and [0-9]+ errors?)? generated\.$' >&2) || status=1
fi
[ $status -eq 0 ] && echo "lint: nothing to say about ${#files[@]} files"
exit $status
