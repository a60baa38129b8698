#!/bin/sh
# Everything a fresh machine with Python 3.11+, make and git needs: .venv from the lock, then the dashboard.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or newer is needed, and $python is none: name one, as in: make setup PYTHON=python3.12" >&2
    exit 1
}
[ -x .venv/bin/python ] || scripts/uv.sh venv --quiet --python "$python" .venv
# named, because UV_PYTHON and UV_SYSTEM_PYTHON would lead uv elsewhere
scripts/uv.sh pip install --quiet --python .venv/bin/python --require-hashes -r requirements.lock
scripts/uv.sh pip install --quiet --python .venv/bin/python --no-deps -e .
scripts/build_dashboard.sh
