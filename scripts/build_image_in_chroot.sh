#!/bin/sh
# Execute the steps of Dockerfile-cpu in a clean Debian, and try what comes out: for machines on which no engine runs.
# Usage: build_image_in_chroot.sh [WORK_DIR]   build/image when not named; the bare Debian and fetched packages stay there
#
#   debootstrap → a bare Debian with Python, as a base → buildah (vfs, chroot) → the image → scripts/try_image.py
#
# Needs root, debootstrap and buildah. Nothing is pulled but packages. The Python is Debian's, so BASE_IMAGE's own is the
# one thing that this leaves untried.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
suite=bookworm
tag=localhost/flashtrial:cpu

if [ "${1:-}" != --inside ]; then
    mkdir -p "${1:-$root/build/image}"
    work=$(cd "${1:-$root/build/image}" && pwd)
    # One at a time. chroot leaves processes in the caller's namespace: in one of our own nothing outlives us, and no
    # worker of this machine is mistaken for ours.
    exec flock "$work" unshare --pid --fork --kill-child --mount-proc "$0" --inside "$work"
fi
work=$2
base=$work/$suite.tar
store="buildah --root $work/store --runroot $work/run --storage-driver vfs"

export TMPDIR="$work/tmp" # where buildah keeps the caches that steps mount: what pip and uv fetched is fetched once
mkdir -p "$TMPDIR"

say() { printf '%s  %s\n' "$(date +%T)" "$1"; }

[ -s "$base" ] || {
    say "a bare Debian $suite"
    rm -rf "$work/debian"
    debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates "$suite" "$work/debian" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 20 "$work/debootstrap.log" >&2 && exit 1; }
    rm -rf "$work/debian/var/cache/apt/archives" "$work/debian/var/lib/apt/lists"
    tar -C "$work/debian" --one-file-system -cf "$base.part" .
    mv "$base.part" "$base"
    rm -rf "$work/debian"
}
rm -rf "$work/store" "$work/run"
trap 'rm -rf "$work/store" "$work/run"' EXIT

say "the base image"
container=$($store from scratch)
$store add --quiet "$container" "$base" / >/dev/null
$store commit --quiet --rm "$container" localhost/base >/dev/null

say "the steps of Dockerfile-cpu"
# what this machine trusts, so that an index behind a company's own authority is reached
trusted="--volume /etc/ssl/certs:/etc/ssl/certs:ro"
# shellcheck disable=SC2086
ENGINE=$store "$root/scripts/build_image.sh" cpu "$tag" --isolation chroot --build-arg BASE_IMAGE=localhost/base $trusted

say "the image: $($store images --format '{{.Size}}' "$tag"), the base: $($store images --format '{{.Size}}' localhost/base)"
$store inspect --type image --format '{{.Docker.Config.Cmd}} {{.Docker.Config.Healthcheck.Test}} {{.Docker.Config.Labels}}{{"\n"}}' "$tag"
container=$($store from --pull-never "$tag")
# shellcheck disable=SC2086
"$root/scripts/try_image.py" $store run --isolation chroot $trusted "$container" -- \
    env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
say "done"
