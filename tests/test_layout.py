"""Who may import whom, who draws random numbers, and who reads records: rules that a review would miss one day."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "core": {"core"},
    "protocol": {"core", "protocol"},
    "client": {"core", "protocol", "client"},
    "server": {"core", "protocol", "server"},
    "deploy": {"core", "protocol", "client", "server", "deploy"},
}
FLOWER = {"client/app.py", "server/app.py", "server/carrier.py", "protocol/codec.py"}  # and deploy, which runs it
SOCKET = {"client/daemon.py", "client/connection.py"}  # the only ones that know gRPC
OUTSIDE = {  # what a module of core has no business with: files, processes, networks
    "asyncio", "flwr", "grpc", "http", "io", "multiprocessing", "os", "pathlib", "requests", "shutil", "socket",
    "sqlalchemy", "sqlite3", "subprocess", "tempfile", "urllib",
}  # fmt: skip
NOISE = {"core/noise.py"}  # the only draws that a guarantee rests on
TEST_NOISE = {"core/noise_keyed.py"}
POST_PROCESSING = {  # draws from released values, and splits of evaluation
    "core/adapt.py", "core/approximate.py", "core/encoding.py", "core/evaluate.py", "core/gaussian.py",
    "core/field.py", "core/pipeline.py", "core/pool.py", "core/records.py",
}  # fmt: skip
AUDIT = {  # of public tables only, and never imported by a site
    "core/audit.py", "core/lower_bound.py", "core/neighbours.py", "core/one_run.py", "core/pairs.py",
    "core/replay.py", "core/whole.py",
}  # fmt: skip
READERS = {  # of records: the vault, what feeds it, and what never answers a coordinator
    "core/vault.py", "core/table.py", "core/columns.py", "core/condensed.py", "client/data.py", "core/check.py",
    "client/draft.py", "core/neighbours.py", "client/snapshot.py",
}  # fmt: skip
OF_A_SOURCE = {"NoiseSource", "OpenDPNoise", "KeyedNoise", "NOT_PRIVATE", "private", "name"}
LOOKS_INSIDE = {  # of a function, or of whatever it was given
    "__self__", "__func__", "__closure__", "__code__", "__class__", "__name__", "__qualname__", "__module__",
    "getattr", "hasattr", "vars", "dir", "type", "inspect", "eval", "exec", "globals",
}  # fmt: skip
NOT_IN_A_REPLY = {
    "cohortmix.client.cli", "cohortmix.client.draft", "cohortmix.client.fits", "cohortmix.client.steward",
    "cohortmix.core.audit", "cohortmix.core.cause", "cohortmix.core.check", "cohortmix.core.columns",
    "cohortmix.core.evaluate", "cohortmix.core.interval", "cohortmix.core.lower_bound",
    "cohortmix.core.marginals", "cohortmix.core.neighbours", "cohortmix.core.noise_keyed",
    "cohortmix.core.one_run", "cohortmix.core.pairs", "cohortmix.core.replay", "cohortmix.core.whole",
    "cohortmix.deploy", "cohortmix.server",
}  # fmt: skip

TERMINAL = "protocol/terminal.py"  # the one place that prints, and knows that names are no markup
HARMLESS = {  # of rich: what holds what is given to it
    "rich.box", "rich.console.Group", "rich.console.RenderableType", "rich.progress.BarColumn",
    "rich.progress.MofNCompleteColumn", "rich.progress.Progress", "rich.progress.TextColumn",
    "rich.progress.TimeElapsedColumn",
}  # fmt: skip
BARE = {"client/start.py", "deploy/flower_engine.py"}  # they print no name: an interrupt, events as JSON


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the five packages, parsed; by path."""
    files = [file for package in MAY_IMPORT for file in sorted((ROOT / package).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names(tree: ast.AST) -> set[str]:
    """Every attribute, name and imported name that occurs."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found | {part for name in imports(tree) for part in name.split(".")}


def using(words: set[str], folders: set[str]) -> set[str]:
    return {path for path, tree in modules().items() if path.split("/")[0] in folders and names(tree) & words}


def test_all_packages_are_there() -> None:
    assert {path.split("/")[0] for path in modules()} == set(MAY_IMPORT)
    assert len(modules()) > 50


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    for path, tree in modules().items():
        if path.startswith(package + "/"):
            own = {name.split(".")[1] for name in imports(tree) if name.startswith("cohortmix.")}
            assert own <= MAY_IMPORT[package], path
            assert "cohortmix" not in {name for name in imports(tree) if "." not in name}, path


def test_flower_is_at_the_edges() -> None:
    using_flower = {path for path, tree in modules().items() if any(n.startswith("flwr.") for n in imports(tree))}
    assert {path for path in using_flower if not path.startswith("deploy/")} == FLOWER


def test_grpc_is_at_the_socket() -> None:
    assert {path for path, tree in modules().items() if "grpc" in set(imports(tree))} == SOCKET


def test_core_has_no_files_and_no_network() -> None:
    for path, tree in modules().items():
        if path.startswith("core/"):
            assert not {name.split(".")[0] for name in imports(tree)} & OUTSIDE, path
            calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
            assert "open" not in {call.id for call in calls if isinstance(call, ast.Name)}, path


def test_randomness_is_in_the_files_that_are_known_for_it() -> None:
    """A draw anywhere else would be noise that a guarantee might come to rest on; the list is exact."""
    words = {"random", "default_rng", "Generator", "secrets", "urandom", "uuid", "uuid4", "getrandbits"}
    assert using(words, {"core", "client", "server", "protocol"}) - AUDIT == TEST_NOISE | POST_PROCESSING
    assert using({"opendp"}, set(MAY_IMPORT)) == NOISE


def test_post_processing_cannot_reach_a_record() -> None:
    """What draws for itself is given answers: only the pipeline and its questions know a vault."""
    knowing = using({"Vault"}, {"core"}) - AUDIT
    assert knowing == {"core/anonymize.py", "core/gaussian_answers.py", "core/pipeline.py", "core/synthesis.py"}


def test_records_are_read_where_it_is_known() -> None:
    """What records add to an answer before its noise is computed for the vault alone."""
    assert using({"batches"}, {"core", "client", "server", "protocol"}) == READERS
    assert using({"contributions"}, set(MAY_IMPORT)) == {"core/vault.py"}
    assert using({"_exact", "_rows", "_rows_of"}, set(MAY_IMPORT)) == {"core/vault.py"}


def test_one_place_prints() -> None:
    """A console, a table or a text of rich that is made elsewhere would take a name for markup one day."""
    for path, tree in modules().items():
        assert path == TERMINAL or {name for name in imports(tree) if name.split(".")[0] == "rich"} <= HARMLESS, (
            path
        )
    assert using({"echo", "secho"}, set(MAY_IMPORT)) == {"client/cli.py"}  # a schema, which is YAML and no line
    printing = {
        path
        for path, tree in modules().items()
        if any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))
    }
    assert printing == BARE


def test_one_function_writes_cells_of_a_spreadsheet() -> None:
    """A text that begins like a formula would be one."""
    assert using({"writerow", "writerows", "to_csv", "write_csv", "DictWriter"}, set(MAY_IMPORT)) == {
        "client/sheet.py"
    }


def test_the_vault_cannot_tell_the_real_noise_from_a_test_s() -> None:
    """It knows `add` alone: what tests see of it with a source of theirs holds for OpenDP's."""
    for path in ("vault", "contributions", "lattice", "meter"):
        assert not names(modules()[f"core/{path}.py"]) & (OF_A_SOURCE | LOOKS_INSIDE), path
    assert "AddNoise" in names(modules()["core/vault.py"])
    assert using({"NoiseSource", "OpenDPNoise"}, {"core"}) - AUDIT == {"core/synthesis.py"}
    asked = [
        path
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "private" and path not in AUDIT
    ]
    assert sorted(asked) == ["client/site.py", *["core/synthesis.py"] * 3, "protocol/receipts.py"]


def loaded_by(module: str) -> set[str]:
    """The modules of this project in a fresh interpreter that has imported one of them."""
    program = f"import sys, {module}; print(*[name for name in sys.modules if name.startswith('cohortmix.')])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize("module", ["cohortmix.client.site", "cohortmix.client.app", "cohortmix.client.daemon"])
def test_the_reply_path_cannot_import_what_is_not_private(module: str) -> None:
    loaded = loaded_by(module)
    assert {module, "cohortmix.core.vault"} <= loaded
    parents = {".".join(name.split(".")[:2]) for name in loaded}
    assert not (loaded | parents) & NOT_IN_A_REPLY


def test_the_probe_sees_what_is_imported() -> None:
    assert {"cohortmix.core.evaluate", "cohortmix.core.check"} & loaded_by("cohortmix.core.check")


def tracked() -> list[Path]:
    """Text files of the repository; outside of one, of the five packages."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = [ROOT / name for name in listed.stdout.split("\0") if name] or [ROOT / path for path in modules()]
    return [file for file in found if file.is_file() and b"\0" not in file.read_bytes()[:4096]]


def test_no_file_names_a_place_on_one_machine() -> None:
    place = re.compile(r"(?<![\w.~$}])/(?:home|Users|root|tmp|work|mnt|private|scratch)/\w|[A-Z]:\\\w")
    assert place.search("read /" + "home/someone/table.csv")
    for file in tracked():
        found = place.search(file.read_text(encoding="utf-8"))
        assert found is None, f"{file.relative_to(ROOT)}: {found}"


def test_the_lock_names_versions_and_hashes_and_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert lock.count("--hash=sha256:") > 100
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", lock)
