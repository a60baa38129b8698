"""The command line: reads arguments, calls the module of the noun, prints what it gives back.

Modules are imported inside the commands, so that ``flashtrial --help`` stays quick. A `FlashtrialError`, and files that
cannot be used, become one line and exit code 1; a traceback is always our bug.
"""

import errno
import json
import logging
import sqlite3
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flashtrial.cli import exchange_commands, login_commands, token_commands
from flashtrial.core import env
from flashtrial.core.errors import FlashtrialError

# What is wrong with the machine's files and not with us.
_UNUSABLE = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


class _OneLineErrors(TyperGroup):
    """The edge at which errors become words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FlashtrialError as error:
            raise _said(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise _said(f"a database in FLASHTRIAL_HOME ({env.home()}) cannot be used: {error}") from error
        except OSError as error:
            if error.errno not in _UNUSABLE:
                raise
            raise _said(_of_files(error)) from error


def _of_files(error: OSError) -> str:
    if error.filename is None:  # it was written to, standard output perhaps
        return str(error.strerror)
    return f"{error.filename}: {error.strerror} (FLASHTRIAL_HOME can name another directory)"


def _said(words: str) -> typer.Exit:
    typer.echo(f"flashtrial: {words}", err=True)
    return typer.Exit(1)


app = typer.Typer(
    name="flashtrial",
    cls=_OneLineErrors,
    help="Train and compare models on GPUs you do not own, and lose no metric.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(token_commands.app, name="token")
exchange_commands.register(app)
app.command()(login_commands.login)
app.command()(login_commands.logout)


def _version(wanted: bool) -> None:
    if wanted:
        import flashtrial

        typer.echo(f"flashtrial {flashtrial.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train and compare models on GPUs you do not own, and lose no metric."""
    # What our libraries log is for servers' logs; a command says what matters itself. Without this, Python prints it.
    logging.getLogger("flashtrial").addHandler(logging.NullHandler())


@app.command()
def up(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; the next free one when it is taken.")
    ] = env.DEFAULT_PORT,
    workers: Annotated[int, typer.Option(min=1, help="Most worker processes of one endpoint.")] = 4,
    runpod: Annotated[bool, typer.Option("--runpod/--no-runpod", help="Serve a local RunPod too.")] = True,
    detach: Annotated[bool, typer.Option("--detach", help="Run in the background.")] = False,
    dispatcher_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="A second port, for dispatcher clients: 8081 is what they know."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="A name under which a proxy forwards to this; then a token is needed.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its PEM key.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error. Default: LOG_LEVEL.")] = None,
    access_log: Annotated[bool, typer.Option("--access-log", help="Log each request.")] = False,
    grace: Annotated[int, typer.Option(min=0, help="Seconds to answer what is under way at the end.")] = 5,
    keep_alive: Annotated[int, typer.Option(min=1, help="Seconds until an idle connection is closed.")] = 5,
) -> None:
    """Serve the dashboard, the tracking server and a local RunPod on one port."""
    from flashtrial.cli import up as up_
    from flashtrial.cli.up_options import UpOptions

    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    options = UpOptions(
        host=host,
        port=port,
        workers=workers,
        runpod=runpod,
        dispatcher_port=dispatcher_port,
        allowed_hosts=tuple(allowed_host or ()),
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_level=log_level,
        access_log=access_log,
        grace_s=grace,
        keep_alive_s=keep_alive,
    )
    if detach:
        up_.detach(env.home(), options, typer.echo)
    else:
        up_.serve(env.home(), options, typer.echo)


@app.command()
def down(
    grace: Annotated[float, typer.Option(min=0, help="Seconds until it is killed.")] = 25.0,
) -> None:
    """Stop the instance that runs in the background."""
    from flashtrial.cli import down as down_

    typer.echo(down_.stop(env.home(), grace))


@app.command()
def status() -> None:
    """Say whether an instance runs, and where; exit code 1 when none does."""
    from flashtrial.cli import instance, probe

    running = instance.require(env.home())
    readiness = probe.readiness(running.url)
    state = "up" if readiness.is_up else "does not answer"
    typer.echo(f"{running.url}  {state}  pid {running.pid}  flashtrial {running.version}  home {env.home()}")
    if not readiness.is_up:
        raise typer.Exit(1)
    if readiness.detail:
        typer.echo(readiness.detail)


@app.command("env")
def env_(
    cloud: Annotated[bool, typer.Option("--cloud", help="What RunPod's own cloud needs instead.")] = False,
    as_json: Json = False,
) -> None:
    """Print the variables that point unmodified SDKs at the instance: eval "$(flashtrial env)"."""
    from flashtrial.cli import environment, instance

    variables: dict[str, str | None] = environment.cloud()
    if not cloud:
        home = env.home()
        url = instance.require(home).url
        variables = dict(environment.for_shell(url, environment.read_key(home), env.snapshot()))
    typer.echo(json.dumps(variables, indent=2) if as_json else environment.as_shell(variables))
    if cloud and not as_json:
        typer.echo(environment.CLOUD_NOTES)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def run(
    script: Annotated[Path, typer.Argument(help="The Python script.", show_default=False)],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Its arguments, options included.")
    ] = None,
) -> None:
    """Run a script against the local instance, which is started when none runs; exits with the script's code."""
    from flashtrial.cli import run as run_

    raise typer.Exit(run_.run(env.home(), script, arguments or [], typer.echo))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def worker() -> None:
    """Be a RunPod worker: what a worker container starts. RunPod's own options (--test_input JSON) are passed on."""
    from flashtrial.worker.entrypoint import main

    main()


@app.command()
def ping(as_json: Json = False) -> None:
    """Ask each part of the instance whether it is up; exit code 1 when one is not."""
    from flashtrial.cli import ping as ping_

    parts = ping_.ping(env.home())
    if as_json:
        typer.echo(json.dumps(ping_.as_json(parts), indent=2))
    else:
        for name, part in parts.items():
            typer.echo(f"{name:<12}  {'up' if part.up else 'DOWN'}  {part.url}  {part.detail}".rstrip())
    if not all(part.up for part in parts.values()):
        raise typer.Exit(1)


@app.command()
def runs(as_json: Json = False) -> None:
    """List the runs in this home, read from disk."""
    from flashtrial.cli import runs as runs_

    runs_.show(env.home(), as_json=as_json, echo=typer.echo)


@app.command()
def verify(run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """Prove by sequence numbers which records of a run arrived; exit code 1 when some are missing or doubled."""
    from flashtrial.cli import verify as verify_

    audit = verify_.audit(env.home(), env.outbox_dir(), run_id)
    if as_json:
        typer.echo(json.dumps(audit.as_json()))
    else:
        typer.echo("\n".join(audit.lines()))
    if not audit.is_clean:
        raise typer.Exit(1)


@app.command()
def sync(
    listing: Annotated[bool, typer.Option("--list", help="Only say what waits, since when, and why.")] = False,
    url: Annotated[str | None, typer.Option(help="Send all of it to this server instead of each run's own.")] = None,
    as_json: Json = False,
) -> None:
    """Send what the outbox holds, in the foreground, and end when nothing is left."""
    from dataclasses import asdict

    from flashtrial.cli import outbox as outbox_
    from flashtrial.cli import sync as sync_

    if listing and as_json:
        typer.echo(json.dumps([asdict(each) for each in outbox_.waiting(env.outbox_dir())]))
    elif listing:
        typer.echo(sync_.listed(env.outbox_dir()))
    else:
        typer.echo(sync_.drain(env.home(), env.outbox_dir(), url))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what matters when something does not work; exit code 1 when a part is missing."""
    from dataclasses import asdict

    from flashtrial.cli import doctor as doctor_

    findings = doctor_.examine(env.home())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'ok ' if finding.ok else '!! '} {finding.name:<13} {finding.value}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
