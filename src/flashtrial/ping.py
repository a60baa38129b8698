"""``python -m flashtrial.ping``: the same as ``flashtrial ping``."""

import sys

from flashtrial.cli.main import app

if __name__ == "__main__":
    app(["ping", *sys.argv[1:]])
