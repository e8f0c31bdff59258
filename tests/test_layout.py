"""Who may import whom, who draws random numbers, and who reads records: rules that a review would miss one day."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
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
FLOWER = {
    "client/app.py",
    "server/app.py",
    "server/carrier.py",
    "protocol/transport/codec.py",
}  # and deploy, which runs it
SOCKET = {"client/site/daemon.py", "client/site/connection.py"}  # the only ones that know gRPC
OUTSIDE = {  # what a module of core has no business with: files, processes, networks
    "asyncio", "flwr", "grpc", "http", "io", "multiprocessing", "os", "pathlib", "requests", "shutil", "socket",
    "sqlalchemy", "sqlite3", "subprocess", "tempfile", "urllib",
}  # fmt: skip
FLOORS = {  # of each package, the lowest first: a folder imports from itself and from what stands before it
    "core": (
        "core/data",
        "core/privacy/questions",
        "core/privacy",
        "core/steps/distributions",
        "core/steps/scores",
        "core/steps/products",
        "core/steps",
        "core/gaussian",
        "core/release/condense",
        "core/release",
        "core",
        "core/audit",
    ),
    "protocol": ("protocol", "protocol/masking", "protocol/transport", "protocol/storage", "protocol/local"),
    "client": ("client/table", "client/ledger", "client/site", "client", "client/steward"),
    "server": ("server", "server/publish", "server/commands"),
    "deploy": ("deploy/package", "deploy/demo", "deploy/meeting", "deploy/simulation", "deploy"),
}
WITHIN = {
    "core/data/dictionary": "core/data",
    "core/data/keeping": "core/data",
    "core/steps/adapting": "core/steps",
    "core/utility/checks": "core/utility",
}  # folders on the floor of another one: they import from it, and it from them
BESIDE = {
    "core/utility": {"core/data", "core/steps"},
    "client/local": {"client/table"},
}  # what stands apart from the floors, and all that it may import
ABOVE = {"core/utility": {"core", "core/audit"}}  # and who in its package may import it
FRONT = {"core/__init__.py"}  # what Python's users import by one name
NOISE = {"core/privacy/noise.py"}  # the only privacy noise
SEEDS = {"protocol/masking/seeds.py"}  # of the masks of joint studies
DRAWING_FREELY = (
    "core/audit", "core/data", "core/data/keeping", "core/gaussian", "core/release/condense", "core/release",
    "core/steps/adapting", "core/steps/scores", "core/steps", "core/utility",
)  # fmt: skip
"""Where numbers are drawn as well: for tests, from released values, and for splits of an evaluation."""
READERS = {  # of records: the vault, what feeds it, and what never answers a coordinator
    "core/privacy/vault.py", "core/data/table.py", "core/data/patients.py", "core/release/condensed.py",
    "core/utility/checks/check.py", "core/utility/columns.py", "core/audit/neighbours.py", "client/table/data.py",
    "client/table/snapshot.py", "client/table/parquet_file.py", "client/table/run.py", "client/table/cluster.py",
    "client/table/cells.py", "client/local/draft.py",
}  # fmt: skip
OF_A_SOURCE = {"NoiseSource", "OpenDPNoise", "KeyedNoise", "NOT_PRIVATE", "private", "name"}
LOOKS_INSIDE = {  # of a function, or of whatever it was given
    "__self__", "__func__", "__closure__", "__code__", "__class__", "__name__", "__qualname__", "__module__",
    "getattr", "hasattr", "vars", "dir", "type", "inspect", "eval", "exec", "globals",
}  # fmt: skip
LOOKS_AT_A_QUESTION = ("question", "plain_data")  # whether it is plain data of the closed set
NOT_IN_A_REPLY = (
    "cohortmix.client.local", "cohortmix.client.steward", "cohortmix.core.audit", "cohortmix.core.utility",
    "cohortmix.deploy", "cohortmix.server",
)  # fmt: skip

TERMINAL = "protocol/local/terminal.py"  # the one place that prints, and knows that names are no markup
HARMLESS = {  # of rich: what holds what is given to it
    "rich.box", "rich.console.Group", "rich.console.RenderableType", "rich.progress.BarColumn",
    "rich.progress.MofNCompleteColumn", "rich.progress.Progress", "rich.progress.TextColumn",
    "rich.progress.TimeElapsedColumn",
}  # fmt: skip
BARE = {
    "client/site/start.py",
    "deploy/simulation/flower_engine.py",
}  # they print no name: an interrupt, events as JSON


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


def folder_of(path: str) -> str:
    """Of a module; that of a package's own file is the package."""
    return path.rpartition("/")[0]


def targets(tree: ast.AST) -> set[str]:
    """The modules of this project that are imported, by path."""
    found = set()
    for name in imports(tree):
        parts = name.removeprefix("cohortmix.").split(".") if name.startswith("cohortmix.") else []
        paths = ["/".join(parts[:length]) + ".py" for length in range(len(parts), 0, -1)]
        found |= set([path for path in paths if path in modules()][:1])
    return found


def floor_of(path: str) -> str:
    """The folder among the floors to which a module belongs."""
    folder = folder_of(path)
    return WITHIN.get(folder, folder)


def inside(package: str, tree: ast.AST) -> set[str]:
    """The floors of a package from which is imported."""
    return {floor_of(path) for path in targets(tree) if path.startswith(package + "/")}


def under(folder: str) -> set[str]:
    """The modules of a folder."""
    return {path for path in modules() if folder_of(path) == folder}


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


@pytest.mark.parametrize("package", FLOORS)
def test_floors_of_a_package(package: str) -> None:
    """A folder imports from itself, from the floors below it, and from nothing above."""
    floors = FLOORS[package]
    folders = {floor_of(path) for path in modules() if path.startswith(package + "/") and path not in FRONT}
    assert folders == {*floors, *(folder for folder in BESIDE if folder.startswith(package))}
    for path, tree in modules().items():
        if not path.startswith(package + "/") or path in FRONT:
            continue
        folder = floor_of(path)
        below = BESIDE.get(folder) or set(floors[: floors.index(folder)])
        beside = {other for other, by in ABOVE.items() if folder in by}
        assert inside(package, tree) <= {folder} | below | beside, path


def test_utility_takes_of_the_steps_only_who_is_told_of_progress() -> None:
    found = set().union(
        *(targets(modules()[path]) for path in under("core/utility") | under("core/utility/checks"))
    )
    assert {path for path in found if path.startswith("core/steps")} == {"core/steps/progress.py"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {path: targets(tree) - {path} for path, tree in modules().items() if path not in FRONT}
    while graph:
        leaves = {path for path, needs in graph.items() if not needs & set(graph)}
        assert leaves, f"these import each other in a circle: {sorted(graph)}"
        graph = {path: needs for path, needs in graph.items() if path not in leaves}


def test_folders_can_be_held_in_mind() -> None:
    count = Counter(folder_of(path) for path in modules() if not path.endswith("__init__.py"))
    assert {folder: number for folder, number in count.items() if number > 14} == {}
    core = [*FLOORS["core"], *(folder for folder in BESIDE if folder.startswith("core/"))]
    rooms = {"/".join(folder.split("/")[:2]) for folder in core}  # the questions are in the room of privacy
    assert len(rooms) <= 8


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Of a body: neither the signature nor the docstring, blank lines and comments counts."""
    body = function.body[ast.get_docstring(function) is not None :]
    written = lines[body[0].lineno - 1 : body[-1].end_lineno] if body else []
    return sum(not line.lstrip().startswith("#") for line in written if line.strip())


def test_functions_can_be_held_in_mind() -> None:
    """Of 40 lines at most, and nine in ten of 14 at most."""
    sizes = []
    for path, tree in modules().items():
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        sizes += [(code_lines(function, lines), f"{path}: {function.name}") for function in functions]
    assert [entry for entry in sizes if entry[0] > 40] == []
    assert len(sizes) > 1000
    assert sorted(sizes)[9 * len(sizes) // 10][0] <= 14


def test_helpers_of_tests_are_told_apart() -> None:
    """They are imported by their bare names, from whichever folder has one first."""
    helpers = [
        file.stem for file in (ROOT / "tests").glob("*/*.py") if not file.stem.startswith(("test_", "conf"))
    ]
    assert {name for name, number in Counter(helpers).items() if number > 1} == set()


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
    found = using(words, {"core", "client", "server", "protocol"})
    assert {path for path in found if folder_of(path) not in DRAWING_FREELY} == SEEDS
    assert using({"opendp"}, set(MAY_IMPORT)) == NOISE


def test_post_processing_cannot_reach_a_record() -> None:
    """What draws for itself is given answers: only the pipeline and its questions know a vault."""
    knowing = using({"Vault"}, {"core"}) - under("core/audit")
    assert knowing == {
        "core/steps/anonymize.py",
        "core/gaussian/learn.py",
        "core/steps/pipeline.py",
        "core/synthesis.py",
    }


def test_records_are_read_where_it_is_known() -> None:
    """What records add to an answer before its noise is computed for the vault alone."""
    assert using({"batches"}, {"core", "client", "server", "protocol"}) == READERS
    assert using({"contribution"}, set(MAY_IMPORT)) == {"core/privacy/vault.py"}
    assert using({"_exact", "_rows", "_counting", "contributions"}, set(MAY_IMPORT)) == {"core/privacy/vault.py"}


def test_one_place_prints() -> None:
    """A console, a table or a text of rich that is made elsewhere would take a name for markup one day."""
    for path, tree in modules().items():
        assert path == TERMINAL or {name for name in imports(tree) if name.split(".")[0] == "rich"} <= HARMLESS, (
            path
        )
    assert using({"echo", "secho"}, set(MAY_IMPORT)) == {
        "client/local/cli.py"
    }  # a schema, which is YAML and no line
    printing = {
        path
        for path, tree in modules().items()
        if any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))
    }
    assert printing == BARE


def test_one_function_writes_cells_of_a_spreadsheet() -> None:
    """A text that begins like a formula would be one."""
    assert using({"writerow", "writerows", "to_csv", "write_csv", "DictWriter"}, set(MAY_IMPORT)) == {
        "protocol/local/sheet.py"
    }


def test_the_vault_cannot_tell_the_real_noise_from_a_test_s() -> None:
    """It knows `add` alone: what tests see of it with a source of theirs holds for OpenDP's."""
    asked = under("core/privacy/questions") - {f"core/privacy/questions/{name}.py" for name in LOOKS_AT_A_QUESTION}
    for path in ("core/privacy/vault.py", "core/privacy/scale.py", "core/privacy/meter.py", *sorted(asked)):
        assert not names(modules()[path]) & (OF_A_SOURCE | LOOKS_INSIDE), path
    assert "AddNoise" in names(modules()["core/privacy/vault.py"])
    assert using({"NoiseSource", "OpenDPNoise"}, {"core"}) - under("core/audit") == {"core/synthesis.py"}
    knowing = [
        path
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "private" and folder_of(path) != "core/audit"
    ]
    release = ["core/single_release.py"] * 2
    assert sorted(knowing) == ["client/site/site.py", *release, "core/synthesis.py", "protocol/receipts.py"]


def loaded_by(module: str) -> set[str]:
    """The modules of this project in a fresh interpreter that has imported one of them."""
    program = f"import sys, {module}; print(*[name for name in sys.modules if name.startswith('cohortmix.')])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


@pytest.mark.parametrize(
    "module", ["cohortmix.client.site.site", "cohortmix.client.app", "cohortmix.client.site.daemon"]
)
def test_the_reply_path_cannot_import_what_is_not_private(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert ("cohortmix.core.privacy.vault" in loaded) == (module != "cohortmix.client.app")  # a relay has none
    assert not [name for name in loaded if f"{name}.".startswith(tuple(f"{each}." for each in NOT_IN_A_REPLY))]


def test_the_probe_sees_what_is_imported() -> None:
    assert {"cohortmix.core.utility.evaluate", "cohortmix.core.utility.checks.check"} & loaded_by(
        "cohortmix.core.utility.checks.check"
    )


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
