"""Ctrl-C: a sentence and status 130 at any moment, and never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from cohortmix.client.local import cli as client
from cohortmix.deploy.cli import app

COMMANDS = "from cohortmix.deploy.entry import main; main()"
DAEMON = "import sys; from cohortmix.client.site.start import Path, main; sys.exit(main(Path('none.yaml')))"
UNGUARDED = "import cohortmix.deploy.cli"
DEFAULT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # also below nohup
SENTENCE = "cohortmix: interrupted while it was loading; nothing was written"


def interrupted(program: str, module: str) -> tuple[int, list[str]]:
    """Status and last words of a program that gets SIGINT when it has just loaded `module`."""
    command = [sys.executable, "-X", "importtime", "-c", DEFAULT + program, "site", "ledger"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                process.send_signal(signal.SIGINT)
                break
        said = [line for line in process.stderr.read().splitlines() if not line.startswith("import time:")]
        return process.wait(), [line for line in said if line]


@pytest.mark.parametrize(
    ("program", "module"),
    [
        *((COMMANDS, module) for module in ("numpy", "scipy.special", "pydantic", "cohortmix.client.local.cli")),
        *((DAEMON, module) for module in ("numpy", "grpc", "jax")),
    ],
)
def test_an_interrupt_while_loading_is_one_sentence(program: str, module: str) -> None:
    assert interrupted(program, module) == (130, [SENTENCE])


def test_an_interrupt_while_one_program_takes_the_place_of_another_waits() -> None:
    """Python itself would print a traceback, before a line of ours has run."""
    replace = "import os, sys; from cohortmix.protocol.local.interrupt import hold; hold(); import this; "
    become = f"os.execv(sys.executable, [sys.executable, '-c', {DEFAULT + DAEMON!r}])"
    assert interrupted(replace + become, "this") == (130, [SENTENCE])


def test_without_the_guard_it_is_a_traceback() -> None:
    status, said = interrupted(UNGUARDED, "scipy.special")
    assert status != 130
    assert any(line.startswith("Traceback") for line in said)


def test_the_console_script_is_the_guarded_one() -> None:
    (script,) = entry_points(group="console_scripts", name="cohortmix")
    assert script.value == "cohortmix.deploy.entry:main"


def test_what_was_told_to_ignore_an_interrupt_does() -> None:
    ignore = DEFAULT + "signal.signal(signal.SIGINT, signal.SIG_IGN); "
    status, said = interrupted(ignore + DAEMON, "numpy")
    assert (status, len(said)) == (2, 1)
    assert "none.yaml" in said[0]


def test_an_interrupted_command_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "open_all", interrupt)
    result = CliRunner().invoke(app, ["schema", "draft", "--data", "t.csv"])
    assert (result.exit_code, result.stderr.strip()) == (130, "cohortmix: interrupted")


HEAVY = {"flwr", "grpc", "jax", "lightgbm", "matplotlib", "opendp", "pandas", "ray", "sklearn", "sqlalchemy"}


@pytest.mark.parametrize(
    ("module", "loads"), [("cohortmix.deploy.cli", set()), ("cohortmix.client.site.daemon", {"grpc", "jax"})]
)
def test_no_command_waits_for_what_it_does_not_use(module: str, loads: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert HEAVY & set(loaded.split()) >= loads
    assert loads or not HEAVY & set(loaded.split())
