"""``python -m flashtrial.cli``: the same as the ``flashtrial`` script, found by interpreter rather than by PATH."""

from flashtrial.cli.main import app

app()
