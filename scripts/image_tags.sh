#!/bin/sh
# The tags of an image, one a line.
# Usage: image_tags.sh gpu|cpu main|vMAJOR.MINOR.PATCH[-PRERELEASE]
#
#   gpu main    main                          cpu main    main-cpu
#   gpu v1.2.3  1.2.3  1.2  1  latest         cpu v1.2.3  1.2.3-cpu  1.2-cpu  1-cpu  latest-cpu
#
# A pre-release moves no other tag, and 0.x promises nothing that a tag "0" could name.
set -eu
case ${1:-} in
    gpu) suffix= ;;
    cpu) suffix=-cpu ;;
    *) echo "image_tags.sh: gpu or cpu, not '${1:-}'" >&2 && exit 2 ;;
esac
printf '%s\n' "${2:-}" | sed -nE "
    s/^main\$/main$suffix/p
    t
    s/^v([0-9]+\.[0-9]+\.[0-9]+-[0-9A-Za-z.-]+)\$/\1$suffix/p
    t
    s/^v(0\.[0-9]+)(\.[0-9]+)\$/\1\2$suffix\n\1$suffix\nlatest$suffix/p
    t
    s/^v([1-9][0-9]*)(\.[0-9]+)(\.[0-9]+)\$/\1\2\3$suffix\n\1\2$suffix\n\1$suffix\nlatest$suffix/p
" | grep . || { echo "image_tags.sh: '${2:-}' is neither main nor a version" >&2 && exit 2; }
