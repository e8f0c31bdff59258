"""Names from outside reach the screen as they are: no markup, no emoji, no command to the terminal."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Group

from cohortmix.protocol.local.progress import step, steps
from cohortmix.protocol.local.terminal import Terminal, compact_table, panel, say, styled, visible

HOSTILE = {
    "RR [/min]": "RR [/min]",
    "[bold red]x[/bold red]": "[bold red]x[/bold red]",
    "[/]": "[/]",
    ":cross_mark: 1": ":cross_mark: 1",
    "a\x1b[2J\x1b]0;title\x07b": "a\\x1b[2J\\x1b]0;title\\x07b",
    "two\nlines\rback": "two\\nlines\\rback",
    "gnp.\u202ecod": "gnp.\\u202ecod",
    "\u009b2J": "\\x9b2J",
    "lone \ud800": "lone \\ud800",
    "Größe µg/L, 体重, می\u200cخواهم": "Größe µg/L, 体重, می\u200cخواهم",
}


def everywhere(name: str) -> str:
    """What a terminal gets of a name that is printed in every way that the module offers."""
    out = io.StringIO()
    console = Terminal(file=out, force_terminal=True, width=200, soft_wrap=True)
    table = compact_table(("name", name))
    table.add_row(name, "2")
    console.print(table)
    console.print(name, style="bold")
    console.print(panel(Group(name, styled(name, "dim")), name))
    with step(name, console):
        pass
    with steps(console) as report:
        report(name, 1, 1)
    with step(name, Terminal(file=out)), steps(Terminal(file=out)) as report:
        report(name, 1, 1)
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_printed_as_it_is_with_controls_made_visible(name: str) -> None:
    printed = everywhere(name)
    assert printed.count(HOSTILE[name]) >= 10
    assert visible(name) == HOSTILE[name]
    if name != HOSTILE[name]:
        assert name not in printed


def test_a_name_makes_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    say("spent: nothing\nspent: mu 0")
    say("x\ny", err=True)
    assert capsys.readouterr() == ("spent: nothing\\nspent: mu 0\n", "x\\ny\n")


def test_what_a_terminal_cannot_encode_is_escaped() -> None:
    program = "from cohortmix.protocol.local.terminal import printable, say; printable(); say('体重 ✓')"
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment, check=True)
    assert done.stdout == b"\\u4f53\\u91cd \\u2713\n"
