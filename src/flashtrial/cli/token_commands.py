"""The command line of `flashtrial token`; the work is done in `cli.tokens`, imported when a command runs."""

from typing import Annotated

import typer

from flashtrial.core import env

app = typer.Typer(help="Give others tokens for this home's server, and take them back.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for; the list and refusals name it.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="read, write or control; may be given again. Default: read and write.")
    ] = None,
    expires: Annotated[str, typer.Option(help="How long it is good: 30m, 12h, 90d, 8w, or never.")] = "90d",
) -> None:
    """Print a new token, this once: clients take it from FLASHTRIAL_TOKEN. The home's key stays with you."""
    from flashtrial.cli import tokens

    typer.echo(tokens.create(env.home(), name, scope or ("read", "write"), expires))


@app.command("list")
def list_() -> None:
    """List what was given out; the tokens themselves are kept nowhere."""
    from flashtrial.cli import tokens

    for line in tokens.listed(env.home()):
        typer.echo(line)


@app.command()
def revoke(token_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a token back: the server refuses it from the next request on."""
    from flashtrial.cli import tokens

    gone = tokens.revoke(env.home(), token_id)
    typer.echo(f"revoked {gone.id} ({gone.name})")
