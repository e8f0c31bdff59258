"""What is installed with the package is what the package needs at run time."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "protocol", "client", "server", "deploy")
MODULES = {
    "flwr[simulation]": "flwr", "grpcio": "grpc", "neural-tangents": "neural_tangents", "protobuf": "google",
    "pyyaml": "yaml", "scikit-learn": "sklearn",
}  # fmt: skip
"""The names under which a distribution is imported, where these are not its own."""

NEEDED_BY_OTHERS = {
    "jaxlib": "JAX's compiled half",
    "tzdata": "the time zones of `zoneinfo`, where a system has none",
}


def imported() -> set[str]:
    """The top-level names that the five packages import."""
    trees = [ast.parse(file.read_text("utf-8")) for name in PACKAGES for file in (ROOT / name).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_every_dependency_is_imported_at_run_time() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split("[<>=]", line)[0] for line in project["dependencies"]}
    assert len(declared) > 15
    used = imported()
    unused = {name for name in declared if MODULES.get(name, name) not in used}
    assert unused == set(NEEDED_BY_OTHERS)
