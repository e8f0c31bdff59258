"""Ctrl-C: a sentence and status 130 at any moment, and never a traceback."""

from __future__ import annotations

import inspect
import signal
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cohortmix.client.local import cli as client
from cohortmix.core.utility.checks.check import MisfitError
from cohortmix.deploy.cli import OF_A_TABLE, STATUS, app
from cohortmix.deploy.later import Later


def every_command(group: click.Command, words: str = "") -> dict[str, Later]:
    """The stub of each command by its words, those of groups included."""
    if isinstance(group, Later):
        return {words.strip(): group}
    assert isinstance(group, click.Group)
    below = [every_command(command, f"{words} {name}") for name, command in group.commands.items()]
    return {path: stub for part in below for path, stub in part.items()}


EVERY = every_command(get_command(app))
COMMANDS = "from cohortmix.deploy.entry import main; main()"
DAEMON = "import sys; from cohortmix.client.site.start import Path, main; sys.exit(main(Path('none.yaml')))"
UNGUARDED = "import cohortmix.client.steward.steward"
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
        *((COMMANDS, module) for module in ("typer", "numpy", "pydantic", "cohortmix.client.ledger.ledger")),
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
    status, said = interrupted(UNGUARDED, "numpy")
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


OF_SOME = {"cryptography", "numpy", "pyarrow", "pydantic", "scipy", "yaml"}  # which commands use for their options
HEAVY = {
    "flwr", "grpc", "jax", "lightgbm", "matplotlib", "opendp", "pandas", "ray", "scipy.special", "sklearn",
    "sqlalchemy",
}  # fmt: skip
HELP = """
import sys
from cohortmix.deploy.entry import main
sys.argv[1:] = {words} + ["--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded_by(program: str) -> tuple[str, set[str]]:
    """What a program prints, and the names on standard error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("words", [[], ["schema"], ["site"], ["study"]])
def test_help_of_a_group_loads_no_command(words: list[str]) -> None:
    said, loaded = loaded_by(HELP.format(words=words))
    assert "Usage" in said
    assert not (OF_SOME | HEAVY) & loaded
    assert {name for name in loaded if name.startswith("cohortmix.")} <= {
        *("cohortmix.core", "cohortmix.core.data", "cohortmix.core.data.words", "cohortmix.deploy"),
        *("cohortmix.deploy.cli", "cohortmix.deploy.entry", "cohortmix.deploy.later", "cohortmix.protocol"),
        *("cohortmix.protocol.local", "cohortmix.protocol.local.interrupt", "cohortmix.protocol.local.terminal"),
    }


@pytest.mark.parametrize(
    "words", ["evaluate", "demo", "verify", "audit", "site check", "site quote", "study new", "study run"]
)
def test_help_of_a_command_waits_for_nothing_heavy(words: str) -> None:
    """One command of each module."""
    said, loaded = loaded_by(HELP.format(words=words.split()))
    assert "Options" in said
    assert OF_SOME & loaded  # the probe sees them
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("module", "needed"), [("client.site.daemon", {"grpc", "jax"}), ("server.coordinator", {"jax"})]
)
def test_a_daemon_and_a_coordinator_load_what_they_need(module: str, needed: set[str]) -> None:
    """And not scikit-learn, with which a start takes twice as long: a site clusters once in a study, if at all."""
    program = f"import sys, cohortmix.{module}; print(*sys.modules, file=sys.stderr)"
    loaded = HEAVY & loaded_by(program)[1]
    assert needed <= loaded
    assert not {"sklearn", "pandas", "lightgbm", "matplotlib", "ray"} & loaded


@pytest.mark.parametrize("words", EVERY)
def test_a_summary_is_what_the_command_says_itself(words: str) -> None:
    load, said = EVERY[words].callback, EVERY[words].help
    assert load is not None
    function = load()
    assert function.__name__ == words.split()[-1]
    assert said == (inspect.getdoc(function) or "").splitlines()[0]


def test_there_is_a_stub_for_every_command_of_a_hospital_and_a_coordinator() -> None:
    assert len(EVERY) == 22
    assert {"evaluate", "schema draft", "site serve", "study publish"} <= set(EVERY)


@pytest.mark.parametrize("place", STATUS)
def test_an_exit_status_is_that_of_an_error_that_exists(place: str) -> None:
    module, _, name = place.rpartition(".")
    error = getattr(import_module(module), name)
    assert issubclass(error, Exception)
    assert (error.__module__, error.__qualname__) == (module, name)


def test_a_misfit_is_known_by_its_name() -> None:
    assert f"{MisfitError.__module__}.{MisfitError.__qualname__}" == OF_A_TABLE
