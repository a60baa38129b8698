"""`flashtrial login` and `logout`: where a token comes from. The work is done in `flashtrial.tracking.settings.login`.

A token on the command line stands in the shell's history and in the list of processes, so that is warned of.
"""

import logging
import sys
from typing import Annotated

import typer

from flashtrial.core import env

_STANDARD_INPUT = "-"


def login(
    token: Annotated[
        str | None, typer.Argument(help="Better left out: others see it in the list of processes. '-': standard input.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The server's address.")] = None,
    keyring: Annotated[bool, typer.Option(help="Use the system's keyring where there is one.")] = True,
) -> None:
    """Keep a server's token for you: from the environment, standard input or a prompt."""
    from flashtrial.tracking.settings import login as login_

    logging.basicConfig(format="flashtrial: %(message)s", stream=sys.stderr)  # warnings are for the user here
    typer.echo(str(login_.login(_said(token), url=url, use_keyring=keyring)))


def logout(url: Annotated[str | None, typer.Option(help="The server's address; else all of them.")] = None) -> None:
    """Forget what `login` kept."""
    from flashtrial.tracking.settings import login as login_

    gone = login_.logout(url=url)
    typer.echo(f"logged out of {', '.join(gone)}" if gone else "there was no login")


def _said(token: str | None) -> str | None:
    """The token of the command line or of standard input; None leaves it to the environment and the prompt.

    Standard input is read without being named only where the environment has none: in a CI it may never end.
    """
    if token == _STANDARD_INPUT or (token is None and not env.get(env.TOKEN) and not sys.stdin.isatty()):
        return sys.stdin.readline()
    if token is not None:
        typer.echo(f"flashtrial: a token on the command line is seen by others; better set {env.TOKEN}", err=True)
    return token
