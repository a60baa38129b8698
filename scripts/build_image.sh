#!/bin/sh
# Build a worker image with the engine at hand.
# Usage: build_image.sh gpu|cpu [TAG] [OPTION…]   TAG is flashtrial:gpu or flashtrial:cpu; OPTIONs go to the engine's build
# ENGINE: the command to build with, arguments allowed; else docker, podman or buildah, whichever comes first.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
    gpu) file=Dockerfile ;;
    cpu) file=Dockerfile-cpu ;;
    *) sed -n '3,4s/^# //p' "$0" >&2 && exit 2 ;;
esac
tag=${2:-flashtrial:$1}
shift "$(($# < 2 ? 1 : 2))"

first_of() {
    for name in "$@"; do
        if command -v "$name"; then return; fi
    done
    echo "build_image.sh: none of $* is installed; scripts/build_image_in_chroot.sh needs no engine that runs" >&2
    return 1
}
engine=${ENGINE:-$(first_of docker podman buildah)}
# their own format has no health check
case $engine in *podman* | *buildah*) set -- --format docker "$@" ;; esac

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/flashtrial/__init__.py)
commit=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}
# shellcheck disable=SC2086 # an engine may come with arguments
exec $engine build --platform linux/amd64 --file "$file" --tag "$tag" \
    --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" "$@" .
