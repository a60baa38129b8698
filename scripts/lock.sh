#!/bin/sh
# Renew requirements.lock: hashes, no addresses; without torch and ray, which come from elsewhere.
set -eu
cd "$(dirname "$0")/.."
scripts/uv.sh lock --upgrade
scripts/uv.sh export --no-header --no-annotate --no-emit-project --format requirements-txt \
    --extra worker --extra server --extra experiments --extra mlflow --group dev >requirements.lock
