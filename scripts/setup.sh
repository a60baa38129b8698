#!/bin/sh
# Everything a fresh machine with Python 3.11+, make and git needs: .venv from the lock, then the dashboard.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export VIRTUAL_ENV="$PWD/.venv"
[ -x .venv/bin/python ] || scripts/uv.sh venv --quiet --python "$python" .venv
scripts/uv.sh pip install --quiet --require-hashes -r requirements.lock
scripts/uv.sh pip install --quiet --no-deps -e .
scripts/build_dashboard.sh
