#!/bin/sh
# What `make test-all` needs beside .venv: an environment of its own with torch for CPUs and what draws, from PyPI or
# from a folder of wheels that PIP_FIND_LINKS or UV_FIND_LINKS names. In no lock file.
set -eu
cd "$(dirname "$0")/.."
to=.venv-heavy
python=$to/bin/python
install() { scripts/uv.sh pip install --quiet --python "$python" "$@"; }
[ -x "$python" ] || scripts/uv.sh venv --quiet --python .venv/bin/python "$to"
install --require-hashes -r requirements.lock
install --no-deps -e .
# uv asks neither pip's variable nor its own for a build without CUDA: a folder that has one is named, or the backend is
links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
if ls "$links"/torch-*+cpu-*.whl >/dev/null 2>&1; then
    UV_FIND_LINKS=$links install --group heavy
else
    install --group heavy --torch-backend=cpu
fi
