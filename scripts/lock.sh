#!/bin/sh
# Renew the locks: hashes, no addresses; without torch and ray, which come from elsewhere.
# Usage: lock.sh [--keep]   with --keep versions stay as they are, and only what pyproject.toml lacks or adds changes
set -eu
cd "$(dirname "$0")/.."
export_to() {
    lock=$1
    shift
    scripts/uv.sh export --quiet --no-header --no-annotate --no-emit-project --format requirements-txt "$@" >"$lock"
}
if [ "${1:-}" = --keep ]; then scripts/uv.sh lock; else scripts/uv.sh lock --upgrade; fi
export_to requirements.lock --extra worker --extra server --extra experiments --extra mlflow --group dev
# the images': what builds one, and what is in one
export_to requirements-build.lock --only-group image-build
export_to requirements-worker.lock --no-dev --extra worker --group image
