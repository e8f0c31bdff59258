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

from cohortmix.core.data.words import in_quotes
from cohortmix.deploy.later import add
from cohortmix.protocol.local.interrupt import STATUS as INTERRUPTED
from cohortmix.protocol.local.terminal import say

WRONG = 2  # exit status of what a person can put right: an option, a file, a machine
STATUS = {  # by where a class of errors is: one that no module has loaded was not raised
    "click.exceptions.ClickException": WRONG,
    "cohortmix.core.data.table.InputError": WRONG,
    "cohortmix.core.data.schema.SchemaError": WRONG,
    "cohortmix.protocol.receipts.ReceiptError": WRONG,
    "cohortmix.server.publish.manifest.ManifestError": WRONG,
    "cohortmix.core.privacy.meter.BudgetExceeded": 3,
    "cohortmix.client.ledger.journal.LedgerError": 3,
    "cohortmix.client.ledger.policy.Refused": 3,
    "cohortmix.server.commands.outcome.StudyRefused": 3,
    "cohortmix.server.commands.outcome.StudyUnanswered": 4,
    "cohortmix.server.commands.outcome.EngineError": 4,
}
OF_A_TABLE = "cohortmix.core.utility.checks.check.MisfitError"  # has a line for each column that does not fit


class Commands(TyperGroup):
    """A group that reports every expected fault as one sentence and a status, without a traceback."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False  # else click reports the fault in its own words and exits by itself
        try:
            _require_values(sys.argv[1:] if args is None else args)
            status = super().main(args, *others, **extra)
        except MemoryError:
            say("cohortmix: there is not enough memory for this on this machine", err=True)
            status = WRONG
        except click.Abort:
            status = INTERRUPTED
        except Exception as error:
            status = _status(error)
            if status is None:
                raise
            for line in _lines(error):
                say(line, err=True)
        if status == INTERRUPTED:  # Typer can return it for Ctrl-C as well
            say("cohortmix: interrupted", err=True)
        sys.exit(status or 0)


def _kinds(error: Exception) -> list[str]:
    """Where its class is and those above it, the nearest first."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]


def _status(error: Exception) -> int | None:
    """The exit status of an expected fault; None for any other error."""
    if isinstance(error, OSError) and error.filename is not None:
        return WRONG
    return next((STATUS[kind] for kind in _kinds(error) if kind in STATUS), None)


def _lines(error: Exception) -> list[str]:
    """A fault as it is printed. Only a check of a table has several lines, in which every name is in quotes.

    In any other text a line break comes from a name, and is shown as an escape.
    """
    text = f"cohortmix: {_sentence(error)}"
    return text.split("\n") if OF_A_TABLE in _kinds(error) else [text]


def _require_values(arguments: Sequence[str]) -> None:
    """Raise UsageError for an empty text, which would be read as the folder that the command was started in."""
    for option, text in pairwise(["", *arguments]):
        if not text or re.fullmatch(r"--[a-z-]+=", text):
            where = text.removesuffix("=") or (option if option.startswith("-") else "an argument")
            raise click.UsageError(f"{where} has an empty value; give one, or leave it out")


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot use {in_quotes(error.filename)}: {error.strerror}"
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


add(
    app,
    "client.local.cli",
    synthesize="Make a private synthetic version of one table, without any server.",
    evaluate="Train on synthetic records, test on real ones. The figures are not private.",
)
add(
    app,
    "deploy.condense",
    condense="Find a few weighted rows on which one model comes near to what all records of a release give it.",
)
add(
    app,
    "deploy.tour",
    demo="Four steps on a real stroke trial, with noise of each site's own and with joint noise.",
)
add(
    app,
    "deploy.commands",
    simulate="Run a whole study on one machine: split a table into sites, federate, pool and publish.",
    verify=(
        "Check published studies: signatures, hash chains, what they cost together, whether a file was altered."
    ),
)
add(
    app,
    "deploy.audit",
    audit="Test the guarantee on a public table: replays on neighbours, and lower bounds on mu.",
)

schema = typer.Typer(help="The data dictionary of a table.")
add(
    schema,
    "client.local.cli",
    draft="Print a first schema of a table, with gaps for a person to fill from the data dictionary.",
)
app.add_typer(schema, name="schema")

site = typer.Typer(help="A hospital's site: its records, its rules, and the daemon that answers studies.")
add(
    site,
    "client.steward.service",
    init="Make the folder of a new site: configuration, signing key, and a state that allows nothing yet.",
    check="Read the table, check that it fits its schema, and pin a copy of it, which is what will be served.",
    serve="Answer studies on the site's socket until told to stop; becomes the daemon's own process.",
)
add(
    site,
    "client.steward.steward",
    enrol="Note other hospitals' keys, for joint studies: first compare each with its hospital, say by telephone.",
    quote="Show what a study would cost this site's patients; from public numbers, at no budget.",
    approve="Show a study's quote, then allow it, by its hash; nothing is computed or sent yet.",
    revoke=(
        "Withdraw an approval: the site refuses the study from now on. What was committed stays, and stays spent."
    ),
    ledger="Show what was spent, on which study and request, and what is left.",
    preview=(
        "Make the release of round 1 and show it: its budget is spent, and the coordinator will get these bytes."
    ),
)
app.add_typer(site, name="site")

study = typer.Typer(help="A study of several hospitals, at its coordinator.")
add(
    study,
    "server.commands.cli",
    new="Draft a study: what every site will compute, and what it will cost each patient.",
    sign="Sign a drafted study, for the stewards to approve.",
)
add(
    study,
    "deploy.meeting.submit",
    run="Ask the sites until all have answered or the deadline has passed; after an interruption, run it again.",
)
add(
    study,
    "server.commands.cli",
    status="Say who has answered, who has refused and why, and until when the study waits.",
    publish=(
        "Pool what has been released, draw synthetic records, and write both with a report and a signed manifest."
    ),
)
app.add_typer(study, name="study")
