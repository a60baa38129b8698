#!/bin/sh
# Push a local image under all the tags that it is to have.
# Usage: push_image.sh LOCAL_IMAGE REPOSITORY gpu|cpu main|vMAJOR.MINOR.PATCH[-PRERELEASE]
set -eu
tags=$("$(dirname "$0")/image_tags.sh" "$3" "$4")
for tag in $tags; do
    docker tag "$1" "$2:$tag"
    docker push --quiet "$2:$tag"
done
