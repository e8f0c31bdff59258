"""Later: commands whose modules are loaded when they are called, so that help comes at once.

All of them together take two seconds to load, and a command needs its own alone.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
import typer
from typer.core import TyperCommand
from typer.main import get_command

from cohortmix.protocol.local.interrupt import loading


class Later(TyperCommand):
    """A command of which name and summary are known; the rest is loaded when it is called, or for its own help.

    Its callback returns the function that it stands for.
    """

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Load the command, and have it read its arguments."""
        assert self.callback is not None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        with loading():
            alone.command(self.name)(self.callback())
        return get_command(alone).make_context(info_name, args, parent, **extra)


def add(group: typer.Typer, module: str, **summaries: str) -> None:
    """Add commands to a group.

    Parameters
    ----------
    module : where their functions are, below `cohortmix`.
    summaries : the first line of each function's docstring, by its name.
    """
    for name, summary in summaries.items():
        group.command(name, cls=Later, help=summary)(_loader(module, name))


def _loader(module: str, name: str) -> Callable[[], Any]:
    def load() -> Any:
        return getattr(import_module(f"cohortmix.{module}"), name)

    return load
