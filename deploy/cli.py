"""The command `cohortmix`: puts the commands of all parts together, and turns how they end into an exit status.

0 done; 1 an audit saw the guarantee fail; 2 wrong usage or input, with one sentence on standard error and nothing
written, or `verify` found a fault; 3 refused by policy, budget or ledger; 4 a site or Flower did not answer; 130
interrupted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed
from itertools import pairwise
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from cohortmix.client.ledger.journal import LedgerError
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.local import cli as client
from cohortmix.client.steward import service, steward
from cohortmix.core.data.schema import SchemaError
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.core.utility.check import MisfitError
from cohortmix.deploy import commands
from cohortmix.deploy.audit import audit
from cohortmix.deploy.meeting import submit
from cohortmix.deploy.tour import demo
from cohortmix.protocol.local.interrupt import STATUS as INTERRUPTED
from cohortmix.protocol.local.terminal import say
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.server.commands import cli as server
from cohortmix.server.commands.outcome import EngineError, StudyRefused, StudyUnanswered
from cohortmix.server.publish.manifest import ManifestError

WRONG = 2  # exit status of what a person can put right: an option, a file, a machine
STATUS: dict[type[Exception], int] = {
    click.ClickException: WRONG,
    InputError: WRONG,
    SchemaError: WRONG,
    ReceiptError: WRONG,
    BudgetExceeded: 3,
    LedgerError: 3,
    Refused: 3,
    ManifestError: WRONG,
    StudyRefused: 3,
    StudyUnanswered: 4,
    EngineError: 4,
}


class Commands(TyperGroup):
    """A group that reports every expected fault as one sentence and a status, without a traceback."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False  # else click reports the fault in its own words and exits by itself
        try:
            _require_values(sys.argv[1:] if args is None else args)
            status = super().main(args, *others, **extra)
        except tuple(STATUS) as error:
            for line in _lines(error):
                say(line, err=True)
            status = next(status for kind, status in STATUS.items() if isinstance(error, kind))
        except MemoryError:
            say("cohortmix: there is not enough memory for this on this machine", err=True)
            status = WRONG
        except OSError as error:
            if error.filename is None:
                raise
            say(f"cohortmix: cannot use {in_quotes(error.filename)}: {error.strerror}", err=True)
            status = WRONG
        except click.Abort:
            status = INTERRUPTED
        if status == INTERRUPTED:  # Typer can return it for Ctrl-C as well
            say("cohortmix: interrupted", err=True)
        sys.exit(status or 0)


def _lines(error: Exception) -> list[str]:
    """A fault as it is printed. Only a check of a table has several lines, in which every name is in quotes.

    In any other text a line break comes from a name, and is shown as an escape.
    """
    text = f"cohortmix: {_sentence(error)}"
    return text.split("\n") if isinstance(error, MisfitError) else [text]


def _require_values(arguments: Sequence[str]) -> None:
    """Raise UsageError for an empty text, which would be read as the folder that the command was started in."""
    for option, text in pairwise(["", *arguments]):
        if not text or re.fullmatch(r"--[a-z-]+=", text):
            where = text.removesuffix("=") or (option if option.startswith("-") else "an argument")
            raise click.UsageError(f"{where} has an empty value; give one, or leave it out")


def _sentence(error: Exception) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message().rstrip('.')}; see {error.ctx.command_path} --help"
    return error.format_message() if isinstance(error, click.ClickException) else str(error)


app = typer.Typer(
    name="cohortmix",
    cls=Commands,
    help="Many hospital cohorts, mixed into one synthetic cohort under Gaussian differential privacy.",
    add_completion=False,
    suggest_commands=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"cohortmix {installed('cohortmix')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options that stand before a command."""


app.command()(client.synthesize)
app.command()(client.evaluate)
app.command()(demo)
app.command()(commands.simulate)
app.command()(commands.verify)
app.command()(audit)
app.add_typer(client.schema_commands, name="schema")

site = typer.Typer(help="A hospital's site: its records, its rules, and the daemon that answers studies.")
site.command()(service.init)
site.command()(service.check)
site.command()(service.serve)
site.command()(steward.enrol)
site.command()(steward.quote)
site.command()(steward.approve)
site.command()(steward.revoke)
site.command()(steward.ledger)
site.command()(steward.preview)
app.add_typer(site, name="site")

study = typer.Typer(help="A study of several hospitals, at its coordinator.")
study.command()(server.new)
study.command()(server.sign)
study.command()(submit.run)
study.command()(server.status)
study.command()(server.publish)
app.add_typer(study, name="study")
