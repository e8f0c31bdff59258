"""What surrounds the code: one version everywhere, a wheel that holds all of it, and files that tools read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import cohortmix
from cohortmix.deploy.cli import app

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "protocol", "client", "server", "deploy")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_there_is_one_version() -> None:
    bundle = tomllib.loads((ROOT / "deploy/bundle/pyproject.toml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    result = CliRunner().invoke(app, ["--version"])
    assert result.output == f"cohortmix {cohortmix.__version__}\n"
    assert version("cohortmix") == cohortmix.__version__
    assert bundle["project"]["version"] == str(citation["version"]) == cohortmix.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel, as an installation puts them beside other packages."""
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    source.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):  # as deploy/docker/Dockerfile copies them
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(root), str(source)], check=True, capture_output=True)
    (file,) = root.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(root / "site")
    return root / "site"


def test_a_wheel_holds_every_module(wheel: Path) -> None:
    """A folder that is missing in pyproject.toml would be missed by nobody who works on the code."""
    modules = {path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    scripts = {Path("deploy/package/__init__.py"), Path("deploy/demo/make.py")}
    installed = {path.relative_to(wheel / "cohortmix") for path in (wheel / "cohortmix").rglob("*.py")}
    assert installed - {Path("__init__.py"), Path("deploy/demo/make.py")} == modules - scripts
    for name in ("py.typed", "deploy/demo/stroke.parquet", "deploy/bundle/pyproject.toml", "protocol/site.proto"):
        assert (wheel / "cohortmix" / name).is_file()


def test_an_installed_wheel_is_used_and_has_the_version(wheel: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import cohortmix, cohortmix.core.privacy.vault as vault;"
        "print(cohortmix.__version__, cohortmix.__file__, vault.__file__)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    found, *files = done.stdout.split()
    assert found == cohortmix.__version__
    assert all(Path(file).is_relative_to(wheel) for file in files)


def test_types_are_seen_by_whoever_installs_it(wheel: Path, tmp_path: Path) -> None:
    """Without py.typed, mypy takes an installed package for untyped."""
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    shutil.copytree(wheel, packages)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    script = tmp_path / "use.py"
    script.write_text(
        "import cohortmix\nfrom cohortmix.core.privacy.budget import Budget\n"
        "reveal_type(cohortmix.__version__)\nreveal_type(Budget.from_epsilon(1.0))\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--python-executable", str(tmp_path / "bin/python"), "--no-incremental"]
    done = subprocess.run([*mypy, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.findall(r'Revealed type is "([\w.]+)"', done.stdout.replace("builtins.", "")) == [
        "str",
        "cohortmix.core.privacy.budget.Budget",
    ], done.stdout
    (packages / "cohortmix/py.typed").unlink()
    done = subprocess.run([*mypy, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "missing library stubs or py.typed" in done.stdout


def test_the_citation_has_what_it_needs() -> None:
    """Of the Citation File Format 1.2.0: the required keys, and what is said elsewhere too."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["title"] == PROJECT["project"]["name"]
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["authors"] == PROJECT["project"]["authors"] == [{"name": "The cohortmix authors"}]
    assert citation["message"]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_the_changelog_is_kept_in_one_form() -> None:
    """Keep a Changelog: versions with a date, the newest first, below them kinds of change in their order."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", name) for name in releases)
    for part in text.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        for body in part.split("\n### ")[1:]:
            assert re.search(r"^- ", body, re.MULTILINE)
