"""`manifest-service`: finds the command that was asked for, and turns errors into sentences and exit codes."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from manifest_service import __version__
from manifest_service.commands.printing import printable
from manifest_service.errors import ManifestServiceError, ProcessCode, UsageError

# Command → module. A command's module is imported when it is called: what a compute node runs needs none of the rest.
COMMANDS = {
    "api": "manifest_service.commands.api",
    "audit": "manifest_service.commands.audit",
    "backfill": "manifest_service.commands.backfill",
    "convert": "manifest_service.commands.convert",
    "db": "manifest_service.commands.db",
    "demo": "manifest_service.commands.demo",
    "digest": "manifest_service.commands.digest",
    "export": "manifest_service.commands.export",
    "fetch": "manifest_service.commands.fetch",
    "import": "manifest_service.commands.import_manifests",
    "keys": "manifest_service.commands.keys",
    "listener": "manifest_service.commands.listener",
    "reconcile": "manifest_service.commands.reconcile",
    "scan": "manifest_service.commands.scan",
    "scrub": "manifest_service.commands.scrub",
    "serve": "manifest_service.commands.serve",
    "status": "manifest_service.commands.status",
    "try": "manifest_service.commands.try_image",
    "upgrade-check": "manifest_service.commands.upgrade_check",
    "verify": "manifest_service.commands.verify",
    "worker": "manifest_service.commands.worker",
}

EXIT_ERROR = 1
EXIT_USAGE = 2


class LazyGroup(click.Group):
    """A group whose commands are imported one by one (https://click.palletsprojects.com/en/stable/complex/)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, for the help text."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; one whose libraries are not installed says which extra brings them."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = importlib.import_module(COMMANDS[cmd_name])
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith(("manifest_service", "api", "notifications")):
                raise
            return _needs_service(cmd_name, error.name)
        # What was imported stays: to look there for garbage, again at the end, takes a tenth of a short command's time.
        gc.freeze()
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that a user may cause or meet is a sentence on stderr, never a traceback."""
        try:
            return super().invoke(ctx)
        except ManifestServiceError as error:
            click.echo(f"manifest-service: {printable(str(error))}", err=True)
            if error.next_step:
                click.echo(f"  {error.next_step}", err=True)
            ctx.exit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR)


def _needs_service(name: str, missing: str) -> click.Command:
    """Stand in for a command of the service on a light installation."""

    def explain() -> None:
        raise UsageError(
            "not-installed",
            f"`{name}` needs {missing}, which is not installed here: pip install 'manifest-service[service]'",
        )

    return click.Command(name, callback=explain, short_help="(needs manifest-service[service])")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config-file", multiple=True, metavar="FILE", help="Configuration; repeat it, later files win.")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def group(context: click.Context, config_file: Sequence[str]) -> None:
    """Tell what an OpenStack image should hash to after conversion."""
    context.obj = tuple(config_file)


def main() -> None:
    """Console script."""
    # futurist, which oslo.messaging needs, imports eventlet where it is installed; we use threads.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    if sys.stdout is None or sys.stderr is None:
        sys.exit(EXIT_ERROR)  # They were closed: nobody would learn anything.
    if sys.stdin is None:
        # Otherwise the first file that is opened becomes a child process's standard input.
        os.open(os.devnull, os.O_RDONLY)
    try:
        group(prog_name="manifest-service")
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does.
        sys.stderr.close()
        sys.exit(EXIT_ERROR)
    except MemoryError:
        reason = "there is too little memory for this; `ulimit -v` limits it"
        click.echo(f"manifest-service: {ProcessCode.OUT_OF_MEMORY}: {reason}", err=True)
        sys.exit(EXIT_ERROR)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        click.echo(f"manifest-service: output-failed: the output cannot be written: {error.strerror}", err=True)
        os._exit(EXIT_ERROR)  # An ordinary exit would try to write the rest once more.
