"""The console script `cohortmix`: loads the command line, which takes a second, and runs the command."""

from __future__ import annotations

from cohortmix.protocol.local.interrupt import loading


def main() -> None:
    """Entry point of the console script."""
    with loading():
        from typer.main import get_command

        from cohortmix.deploy.cli import app
        from cohortmix.protocol.local.terminal import printable

        command = get_command(app)
    printable()
    command()
