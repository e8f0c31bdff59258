"""A hook of MkDocs: which files are pages of the site, in which order, and the pages of examples and of the code.

Every page keeps its path in the repository, so a link between Markdown files is the same link on the site. A link
to a file that is no page (a script, a folder) becomes its text there; one that leads nowhere fails the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "protocol", "client", "server", "deploy")
FOLDERS = ("docs", *PACKAGES, "tests")
SHOWN = {".md", ".png", ".svg"}
SECTIONS: dict[str, dict[str, str]] = {
    "Use it": {
        "The schema": "docs/schema.md",
        "One table": "docs/synthesize.md",
        "Python": "docs/python.md",
        "A simulated study": "docs/simulate.md",
        "The files": "docs/outputs.md",
    },
    "Run a study": {
        "The coordinator": "docs/consortium.md",
        "The data steward": "docs/steward.md",
        "The administrator": "docs/deploy.md",
    },
    "Judge it": {"For a privacy officer": "docs/privacy.md", "Theorem and proof": "core/README.md"},
}
PROJECT = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's Markdown files and figures, the examples, and a page for each folder of code."""
    for path in _shown():
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for script in sorted((ROOT / "examples").glob("*.py")):
        text = notebook(script.read_text(encoding="utf-8"))
        files.append(File.generated(config, f"examples/{script.stem}.md", content=text))
    for folder in code_folders():
        files.append(File.generated(config, reference(folder), content=code_page(folder)))
    config.nav = navigation({file.src_uri for file in files})
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """The text of a page; links to what is no page of the site are its text alone."""
    here = Path(page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = (ROOT / here / target).resolve()
        if files.get_file_from_path(path.relative_to(ROOT).as_posix()) is not None:
            return link[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: the link {target!r} leads nowhere")
        return text

    return LINK.sub(shown, markdown)


def navigation(pages: set[str]) -> list[Any]:
    """What stands at the top and at the side; a page of docs/ without a place comes last under "Judge it"."""
    sections = {name: dict(inside) for name, inside in SECTIONS.items()}
    named = {page for inside in sections.values() for page in inside.values()}
    others = sorted(page for page in pages - named if re.fullmatch(r"docs/[\w-]+\.md", page))
    sections["Judge it"] |= {Path(page).stem.capitalize(): page for page in others}
    examples = sorted(page for page in pages if page.startswith("examples/"))
    readmes = [f"{folder}/README.md" for folder in (*PACKAGES[1:], "tests")]
    code = {folder.replace("/", "."): reference(folder) for folder in code_folders()}
    return [
        {"Home": "README.md"},
        *({name: _entries(inside)} for name, inside in sections.items()),
        {"Examples": examples},
        {"Code": _entries(code)},
        {"Project": [*PROJECT, *readmes]},
    ]


def notebook(script: str) -> str:
    """A script in cells (`# %%`) as Markdown: cells of text as text, the others as code."""
    parts = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        elif body.strip():
            parts.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def code_folders() -> Iterator[str]:
    """Every folder that holds modules, the packages first in the order in which they import each other."""
    for package in PACKAGES:
        folders = {path.parent for path in (ROOT / package).rglob("*.py") if modules(path.parent)}
        yield from sorted(path.relative_to(ROOT).as_posix() for path in folders)


def modules(folder: Path) -> list[str]:
    """The modules of a folder that a reader looks up, by name."""
    made = {"make", "site_pb2"}  # a script beside the demo's data, and generated code
    return sorted(path.stem for path in folder.glob("*.py") if path.stem not in made and path.stem != "__init__")


def reference(folder: str) -> str:
    """The page of a folder of code."""
    return f"reference/{folder.replace('/', '.')}.md"


def code_page(folder: str) -> str:
    """What mkdocstrings makes the page of a folder of."""
    package = f"cohortmix.{folder.replace('/', '.')}"
    return f"# {package}\n\n" + "".join(f"::: {package}.{name}\n\n" for name in modules(ROOT / folder))


def _entries(titles: dict[str, str]) -> list[dict[str, str]]:
    return [{title: page} for title, page in titles.items()]


def _shown() -> Iterator[Path]:
    yield from (ROOT / name for name in ("README.md", *PROJECT))
    for folder in FOLDERS:
        yield from sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in SHOWN and path.is_file())
