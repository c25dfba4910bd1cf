#!/usr/bin/env bash
# Installs the gates beside this script into the Python on the PATH, as `make` does: with pinned versions, and with what
# must come without its dependencies (requirements-nodeps.txt says why).
set -eu

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
pip=(python -m pip install --disable-pip-version-check --quiet -c "$root/constraints.txt")

"${pip[@]}" torch
"${pip[@]}" --no-deps -r "$root/requirements-nodeps.txt"
"${pip[@]}" "$root"
