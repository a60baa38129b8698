#!/bin/sh
# Run uv: the one on PATH, else one fetched from PyPI into a venv of its own (.uv).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
export UV_PYTHON_DOWNLOADS=never
if command -v uv >/dev/null 2>&1; then exec uv "$@"; fi
if [ ! -x "$root/.uv/bin/uv" ]; then
    "${PYTHON:-python3}" -m venv "$root/.uv"
    "$root/.uv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9"
fi
exec "$root/.uv/bin/uv" "$@"
