"""The scripts of examples/ run as they are, one after the other in one folder; fewer steps make them quick."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = ("one_table", "survival", "simulated_consortium", "reading_a_published_study")
"""In the order in which a reader runs them: the last one reads what the second one wrote."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, few_steps: None) -> Iterator[Path]:
    """Where all of them run."""
    path = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@pytest.fixture(scope="module")
def consortium(folder: Path) -> Path:
    """The folder that the example of a consortium has written."""
    runpy.run_path(str(EXAMPLES / "simulated_consortium.py"))
    return folder / "simulated-study"


def said(name: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a script prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"))
    return capsys.readouterr().out


def test_every_script_is_run_here() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_notebook(name: str) -> None:
    """Its cells begin with `# %%`, the first one with a title, and text stands in cells of text alone."""
    script = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert script.startswith("# %% [markdown]\n# # ")
    cells = re.split(r"^# %%", script, flags=re.MULTILINE)[1:]
    for cell in cells:
        kind, _, body = cell.partition("\n")
        text = all(line.startswith("#") or not line for line in body.splitlines())
        assert text == (kind.strip() == "[markdown]"), body


@pytest.mark.usefixtures("folder")
def test_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = said("one_table", capsys)
    assert "1,631 patients" in out
    assert "mu 0.268: epsilon 1.00 at delta 1e-05" in out
    assert "finds at most 8.5 % of these patients" in out
    assert "NOT PRIVATE" not in out  # the noise is the real one


@pytest.mark.usefixtures("folder")
def test_survival(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hazard ratios of the synthetic records are on the same side of 1 as the true ones; the plot is there."""
    out = said("survival", capsys)
    assert "NOT PRIVATE" not in out
    lines = [line.rsplit(maxsplit=3) for line in out.splitlines()[-4:]]
    assert [name for name, *_ in lines] == ["age, by 10 years", "stage II", "stage III", "treated"]
    for _, true, real, synthetic in lines:
        assert (float(true) > 1) == (float(real) > 1) == (float(synthetic) > 1)
    (distance,) = re.findall(r"largest distance of the curves: ([.\d]+)", out)
    assert float(distance) < 0.1
    assert (folder / "survival.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_consortium_writes_a_study_and_says_that_its_noise_is_a_test(
    consortium: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (consortium / "report.html").is_file()
    assert "NOT PRIVATE: test noise" in said("simulated_consortium", capsys)  # again: it replaces its own folder


def test_the_study_is_read(consortium: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), (str(consortium),)):
        out = said("reading_a_published_study", capsys, *arguments)
        assert "of 3 hospitals: every receipt holds" in out
        assert "NOT PRIVATE: test noise" in out
        assert "2,912 synthetic records of 2,912 patients" in out


def test_without_a_study_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["reading_a_published_study.py"])
    with pytest.raises(SystemExit, match=r"run simulated_consortium\.py first"):
        runpy.run_path(str(EXAMPLES / "reading_a_published_study.py"))
