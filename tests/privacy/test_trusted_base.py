"""The trusted base: which files a privacy expert has to read, and that nothing else can break the guarantee.

It is what `core/privacy/vault.py` imports at run time, without what is only about signed numbers, and without what
is computed from the public schema alone and never sees a record. `core/README.md` names the files in the order in
which to read them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from extremes import ENCODING, HIGH, LOW, SCHEMA, arrow, both, distance2

from cohortmix.core.data import encoding
from cohortmix.core.data.reading import ColumnReader

ROOT = Path(__file__).parents[2]
VAULT = "core/privacy/vault.py"
VARIANT = {
    f"core/privacy/questions/{name}.py" for name in ("level_sum", "level_moment", "class_moment", "score_moment")
}
"""Questions about signed numbers: whoever trusts the variant reads these and `coordinates` as well."""
PUBLIC = {"core/data/encoding.py"}
"""The grid, a function of the schema alone; all that only it needs is public, too."""
# 490 until there were products of signs and counts of values, 592 until keys were ids in arrays, 620 until a table
# could lie in pieces: which rows of a patient count in a piece follows from the pieces before it; 652 until a text
# for each cell was looked at in place of a value for each record; 655 until a class was read from several columns.
MOST = 669
"""Lines of code; imports, blank lines, comments and docstrings do not count."""
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
PER_HOUR = 200
"""Lines that a careful reviewer reads in an hour."""


@cache
def parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def is_for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, which nothing runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All of a program but what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from at_run_time(child)


def imported(path: str) -> Iterator[str]:
    """Modules that a file imports at run time, wherever in it."""
    for node in at_run_time(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needs(path: str) -> set[str]:
    """The project's files among them."""
    found = set()
    for name in imported(path):
        parts = name.removeprefix("cohortmix.").split(".")
        for length in range(len(parts), 0, -1):
            file = "/".join(parts[:length]) + ".py"
            if name.startswith("cohortmix.") and (ROOT / file).is_file():
                found.add(file)
                break
    return found


def reached(start: str, without: set[str]) -> set[str]:
    """The file and all that it needs, by way of others too, but not by way of those `without`."""
    found, left = {start}, [start]
    while left:
        more = needs(left.pop()) - found - without
        found |= more
        left += more
    return found


def lines_of_code(path: str) -> int:
    """Lines that hold code: no blank lines, comments, docstrings or imports."""
    text, lines = (ROOT / path).read_text(encoding="utf-8"), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(parsed(path)):
        text_alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text_alone or isinstance(node, ast.Import | ast.ImportFrom) or is_for_types(node):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))  # type: ignore[attr-defined]
    return len(lines)


BASE = reached(VAULT, VARIANT | PUBLIC)


def section() -> str:
    """What core's README says of it."""
    text = (ROOT / "core/README.md").read_text(encoding="utf-8")
    return text.split("## The trusted base\n", 1)[1].split("\n## ", 1)[0]


def test_the_readme_names_the_trusted_base_in_an_order_in_which_it_can_be_read() -> None:
    named = [f"core/{path}" for path in re.findall(r"`((?:data|privacy)/[\w/]+\.py)`", section())]
    assert len(named) == len(set(named))
    assert set(named) == BASE
    for at, path in enumerate(named):
        assert needs(path) & BASE <= set(named[:at]), f"{path} needs what is read after it"


def test_the_trusted_base_is_as_small_as_the_readme_says() -> None:
    total = sum(lines_of_code(path) for path in BASE)
    said = re.search(r"(\d+) files, (\d+) lines of code", section())
    assert said is not None
    assert (int(said[1]), int(said[2])) == (len(BASE), total)
    assert total <= MOST
    hours = re.search(r"about ([\d.]+) hours", section())
    assert hours is not None
    assert abs(float(hours[1]) - total / PER_HOUR) < 0.3


COUNTED = """
'''Module.'''

import ast
if TYPE_CHECKING:
    import io

X = (
    1,  # one
)
# a comment


def f():
    '''Docstring.'''
    return '''two
lines'''
"""


def test_lines_are_counted_as_a_reader_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counted.py").write_text(COUNTED, encoding="utf-8")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert lines_of_code("counted.py") == 3 + 1 + 2


def test_what_is_public_never_sees_a_record() -> None:
    """It is given the schema, and has nothing in which a record could be held."""
    public = set().union(*(reached(path, set()) for path in PUBLIC)) - BASE
    assert "core/data/schema.py" in public
    for path in public:
        assert not {name.split(".")[0] for name in imported(path)} & {"pyarrow", "pandas"}, path
        assert path != "core/data/table.py"
    of_the_grid = re.findall(
        r"Encoding\b[^\n]*", (ROOT / VAULT).read_text(encoding="utf-8").split("class Vault")[1]
    )
    assert of_the_grid == ["Encoding.of(schema).reader"]


def test_the_vault_itself_never_gets_at_another_table_than_its_own() -> None:
    """Files, networks and processes are out of the reach of the whole base."""
    outside = {"os", "io", "pathlib", "socket", "subprocess", "pandas", "random", "secrets", "time", "logging"}
    assert {path: names for path in BASE if (names := {n.split(".")[0] for n in imported(path)} & outside)} == {}


# The bounds hold whatever the grid is: so it may be left out.


@pytest.mark.parametrize("seed", range(5))
def test_the_bounds_hold_on_any_grid(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, edges = np.random.default_rng(seed), {}
    for name, column in SCHEMA.columns.items():
        count = len(encoding.Cells.of(name, column).edges or ())  # the questions of these tests have so many cells
        edges[id(column)] = tuple(np.sort(rng.normal(0, 10.0 ** rng.integers(-3, 7), count)).tolist())
    monkeypatch.setattr(encoding, "edges_of", lambda column: edges[id(column)])
    assert encoding.Encoding.of(SCHEMA) != ENCODING
    patients = [[row | {"outcome": outcome}] for row, outcome in ((LOW, "well"), (HIGH, "dead"))]
    one, other = (arrow([patient, patients[0]], [], True, 0, 3) for patient in patients)
    for a, b in both((one, other), SCHEMA):
        assert 0 < distance2(a, b) <= a.sensitivity2
        assert a.mu2 == Fraction(a.sensitivity2, a.sigma**2)


@pytest.mark.parametrize("edges", [(1.0, 0.0), (0.0, 0.0), (0.0, float("nan")), (float("nan"), 1.0)])
def test_a_grid_on_which_a_search_is_no_comparison_is_refused(edges: tuple[float, ...]) -> None:
    """A search among edges that do not ascend may depend on the values that were looked for before."""
    with pytest.raises(ValueError, match="edges must ascend"):
        ColumnReader("age", SCHEMA.columns["number"], edges)
