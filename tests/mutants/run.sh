#!/bin/sh
# Mutation testing of the judges: run.sh PYTHON [options of tests.mutants]. Its tool is installed here and not with the
# project, since nothing else needs it; constraints.txt pins it.
set -eu
python=$1
shift
"$python" -c 'import cosmic_ray' 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt cosmic-ray
exec "$python" -m tests.mutants "$@"
